"""What is installed is locked, bounded and listed."""

from __future__ import annotations

import configparser
import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

CLONE = Path(__file__).parents[2]
LOCKS = sorted((CLONE / "requirements").glob("py*.txt"))
SBOM = runpy.run_path(str(CLONE / "scripts/sbom"))


def setup() -> dict[str, list[Requirement]]:
    """What setup.cfg asks for, by extra; "" for all."""
    parser = configparser.ConfigParser()
    parser.read(CLONE / "setup.cfg")
    texts = {"": parser["options"]["install_requires"], **parser["options.extras_require"]}
    return {extra: [Requirement(line) for line in text.split("\n") if line] for extra, text in texts.items()}


def test_there_is_a_lock_for_each_python_of_debian_on_each_machine() -> None:
    names = {f"py{version}-{machine}.txt" for version in (311, 312, 313) for machine in ("x86_64", "aarch64")}
    assert {lock.name for lock in LOCKS} == names


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_what_setup_asks_for_with_a_hash_each_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    pins = {pin["name"]: pin for pin in SBOM["parse"](text)}
    for wanted in (*setup()[""], *setup()["js"]):
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]["version"]), wanted
    assert all(pin["hashes"] for pin in pins.values())
    assert "setuptools" in pins, "it builds ourselves without an index"
    assert not re.search(r"://|index|[a-z]\.(org|com|net|io)\b", text)


def test_every_dependency_has_an_upper_bound() -> None:
    for requirement in (one for extra in setup().values() for one in extra):
        bounds = {part.operator for part in requirement.specifier}
        assert bounds & {"<", "=="}, requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_the_sbom_is_cyclonedx(lock: Path) -> None:
    """By the schema of CycloneDX 1.5 (Apache-2.0; without its descriptions). Licences and signatures are not used."""
    document = made(lock)
    schema = json.loads((Path(__file__).parent / "cyclonedx/bom-1.5.schema.json").read_text())
    unused = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", Resource({}, DRAFT7))
        for name in ("spdx", "jsf-0.82")
    ]
    jsonschema.Draft7Validator(schema, registry=Registry().with_resources(unused)).validate(document)
    names = [component["name"] for component in document["components"]]
    assert len(names) == len(set(names)) == lock.read_text().count("==")
    (own,) = [entry for entry in document["dependencies"] if entry["ref"] == "pkg:pypi/bocage@1.2.3"]
    assert {canonicalize_name(one.name) for one in setup()[""]} <= {
        ref[9:].partition("@")[0] for ref in own["dependsOn"]
    }
    assert document == made(lock), "the same lock, the same document"


def made(lock: Path) -> dict[str, Any]:
    done = subprocess.run(
        [CLONE / "scripts/sbom", lock, "1.2.3"], capture_output=True, text=True, timeout=60, check=True
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("nonsense", "3: expected a pin"),
        ("-e git+ssh://somewhere", "3: expected a pin"),
        ("late", "3: expected a pin"),
        ("other>=2", "3: expected a pin"),
        ("other==2", "3: other has no hash"),
        ("    --hash=md5:00", "3: expected a pin"),
    ],
)
def test_a_line_of_a_lock_that_is_not_understood_makes_no_sbom(added: str, said: str, tmp_path: Path) -> None:
    """What is left out of the document would be missing without a word."""
    lock = tmp_path / "py311-x86_64.txt"
    lock.write_text(f"one==1.0 \\\n    --hash=sha256:{'0' * 64}\n{added}\n")
    done = subprocess.run([CLONE / "scripts/sbom", lock, "1.2.3"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{lock}:{said}" in done.stderr
