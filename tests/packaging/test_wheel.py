"""The wheel holds what the program needs, and nothing that belongs to the clone."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agent import VERSION

CLONE = Path(__file__).parents[2]


def bocage(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, from a folder that is not the clone."""
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, str(installed / "bin/bocage"), *arguments]
    return subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_it_holds_the_two_packages_and_no_more(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"agent", "drivers", f"bocage-{VERSION}.dist-info"}


def test_data_files_come_along(wheel: Path) -> None:
    """Whatever the tree holds beside its modules (profiles, templates, py.typed) is in the wheel."""
    there = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(CLONE))
        for package in ("agent", "drivers")
        for path in (CLONE / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= there, sorted(wanted - there)


def test_the_command_runs_from_the_wheel(installed: Path) -> None:
    answer = bocage(installed, "--version")
    assert (answer.returncode, answer.stdout.strip()) == (0, f"bocage {VERSION}"), answer.stderr


def test_the_code_is_the_wheels(installed: Path) -> None:
    """Guards the other tests here: nothing is read from the clone by accident."""
    answer = subprocess.run(
        [sys.executable, "-c", "import agent, drivers; print(agent.__file__, drivers.__file__)"],
        cwd="/", env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    assert answer.stdout.split() == [str(installed / "agent/__init__.py"), str(installed / "drivers/__init__.py")]


@pytest.mark.parametrize("profile", ["eastron_sdm120", "eastron_sdm630", "relay8_di8", "relay8_ai8"])
def test_profiles_are_found_outside_the_clone(installed: Path, tmp_path: Path, profile: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "version: 1\n"
        "site: {id: somewhere, name: Somewhere, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris}\n"
        "buses:\n  plant: {type: modbus_tcp, host: 127.0.0.1, port: 5020}\n"
        f"devices:\n  m: {{bus: plant, unit_id: 1, profile: {profile}}}\n"
    )
    answer = bocage(installed, "check", str(site))
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("package", ["agent", "drivers"])
def test_nobody_else_brings_our_packages(package: str) -> None:
    """They are imported under such plain names that another distribution could overwrite them."""
    assert set(importlib.metadata.packages_distributions()[package]) == {"bocage"}
