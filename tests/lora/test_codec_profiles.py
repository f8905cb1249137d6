"""The packaged profiles of radio nodes against what their makers say of real payloads (`vectors/profiles.json`).

Makers' JavaScript codecs are not part of the project: BOCAGE_CODECS names a folder that has those that are tested too.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.site.profiles.model import Library
from drivers.lora.codecs import codec_of

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "vectors" / "profiles.json").read_text())
LIBRARY = Library(Path("/nonexistent"))
NODES = sorted(name for name in LIBRARY.names() if "lora" in (LIBRARY.get(name) or {}))


def lora_of(name: str) -> Mapping[str, Any]:
    profile = LIBRARY.get(name)
    assert profile is not None, LIBRARY.problems
    lora: dict[str, Any] = dict(profile["lora"])
    if "codec" in lora:
        path = Path(os.environ.get("BOCAGE_CODECS", "/nonexistent")) / Path(lora["codec"]).name
        if not path.is_file():
            pytest.skip(f"the maker's codec is not here; BOCAGE_CODECS/{path.name}, from {lora['source']}")
        lora["codec"] = str(path)
    return lora


def contains(found: Any, wanted: Any) -> bool:
    """Codecs that are not ours may tell more than the vector."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and contains(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['profile']}-{vector['hex'][:12]}")
def test_a_makers_vector(vector: dict[str, Any]) -> None:
    lora = lora_of(vector["profile"])
    found = asyncio.run(codec_of({"lora": lora}).decode(bytes.fromhex(vector["hex"]), vector["fport"], None))
    if "codec" in lora:
        assert contains(found.data, vector["data"])
    else:
        assert (found.data, found.warnings) == (vector["data"], ())


DOWNLINKS = [  # of the makers' encoders and manuals that the profiles name
    ("milesight_wt101", {"setpoint": 21}, 85, "ffb1150500"),
    ("milesight_uc511", {"valve1": {"open": True}}, 85, "ff1d2000"),
    ("milesight_uc511", {"valve2": {"open": False}}, 85, "ff1d0100"),
    ("dragino_lt22222_l", {"relay1": True}, 2, "030111"),
    ("dragino_lt22222_l", {"relay2": False}, 2, "031100"),
]


@pytest.mark.parametrize(("profile", "data", "fport", "payload"), DOWNLINKS)
def test_a_downlink(profile: str, data: dict[str, Any], fport: int, payload: str) -> None:
    sent = asyncio.run(codec_of({"lora": lora_of(profile)}).encode(data, None))
    assert sent == (fport, bytes.fromhex(payload))


def test_every_profile_has_a_vector() -> None:
    assert {vector["profile"] for vector in VECTORS} == set(NODES)
    assert len([name for name in NODES if "codec" not in (LIBRARY.get(name) or {})["lora"]]) >= 12
    assert not LIBRARY.problems


@pytest.mark.parametrize("name", NODES)
def test_every_profile_says_what_it_is_and_from_where(name: str) -> None:
    text = (Path(__file__).parents[2] / "drivers" / "profiles" / f"{name}.yaml").read_text()
    assert "description:" in text and "https://" in text


def test_the_runner_of_public_vectors_counts_right(tmp_path: Path) -> None:
    """A checkout in small: literals that are no JSON, a codec named with its constants, one wrong expectation."""
    codecs = tmp_path / "vendors" / "someone" / "codecs"
    codecs.mkdir(parents=True)
    (codecs / "thing-12.js").write_text(
        "function decodeUplink(input) { return {data: {x: input.bytes[0] / 10}} }\n"
        "function encodeDownlink(input) { return {bytes: [input.data.x], fPort: 3} }"
    )
    (codecs / "test_decode_thing.json").write_text(
        "[{name: 'one', input: {bytes: [0x0A], fPort: 0x02}, expected: {'data': {x: 1.0,}}}, // a comment\n"
        " {name: 'two', input: {bytes: [3]}, expected: {data: {x: 0.1 * 3}}},"
        " {name: 'three', input: {bytes: [3]}, expected: {data: {x: 4}}}]"
    )
    (codecs / "test_encode_thing.json").write_text(
        "[{name: 'out', input: {data: {x: 7}}, expected: {bytes: [7], fPort: 3}}]"
    )
    driver = tmp_path / "vendors" / "tiny" / "drivers" / "meter"  # as Actility's catalogue has them
    driver.mkdir(parents=True)
    (driver / "index.js").write_text("exports.decodeUplink = (i) => ({data: {x: i.bytes[0], at: i.recvTime}})")
    (driver / "examples.json").write_text(
        '[{"type": "uplink", "input": {"bytes": "0A", "fPort": 1, "recvTime": "2023-07-19T07:51:31.598957793Z"},'
        ' "output": {"data": {"x": 10, "at": "2023-07-19T07:51:31.598957793Z"}}},'
        ' {"type": "downlink-decode", "input": {}, "output": {}}]'
    )
    done = subprocess.run(
        [sys.executable, str(HERE / "run_vectors.py"), str(tmp_path)], capture_output=True, text=True, timeout=60,
        check=False, cwd=HERE.parents[1],
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 1, done.stderr
    assert said[0] == 'someone/thing-12 decode: three: {"data": {"x": 0.3}} instead of {"data": {"x": 4}}'
    assert said[1].split() == ["someone/thing-12", "decode", "passed", "2", "failed", "1"]
    assert said[3].split() == ["tiny/meter", "decode", "passed", "1", "failed", "0"]
    assert said[-3:] == [
        "decode: passed 3, failed 1", "encode: passed 1, failed 0",
        "total: passed 4, failed 1, of 5; failed without an explanation 1",
    ]  # fmt: skip


@pytest.mark.skipif("BOCAGE_DEVICE_PROFILES" not in os.environ, reason="needs a copy of chirpstack-device-profiles")
def test_the_public_vectors() -> None:
    checkout = os.environ["BOCAGE_DEVICE_PROFILES"]
    done = subprocess.run([sys.executable, str(HERE / "run_vectors.py"), checkout], check=False)
    assert done.returncode == 0
