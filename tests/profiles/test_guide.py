"""The guide "add a Modbus device in five minutes", followed word by word on slaves that are not the demo's."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import modbus_slave

GUIDE = Path(__file__).parent.parent.parent / "docs" / "add-a-modbus-device.md"
CSV_IN_DOCS = GUIDE.parent / "profiles.md"


def commands(step: str) -> list[str]:
    """The commands of one step: indented blocks that are no output."""
    text = GUIDE.read_text(encoding="utf-8")
    section = text[text.index(step) :]
    section = section[: section.index("\n## ", 1)]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    scripts = [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]
    return [script for script in scripts if re.match(r"cat|bocage (?!demo)|mkdir", script)]


def floats(**at: float) -> dict[int, int]:
    found = dict.fromkeys(range(0x180), 0)
    for name, value in at.items():
        found |= dict(enumerate(struct.unpack(">HH", struct.pack(">f", value)), int(name[1:], 16)))
    return found


@pytest.fixture
def line(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "demo" / "dev").mkdir(parents=True)
    made = modbus_slave.RtuSlave(
        tmp_path / "demo" / "dev" / "rtu",
        {1: modbus_slave.Unit(input=floats(a00=230.1)), 2: modbus_slave.Unit(input=floats(a00=231.2, a34=2300.5)),
         10: modbus_slave.Unit(coil=dict.fromkeys(range(8), 0))},
    )  # fmt: skip
    yield made
    made.end()


def test_the_guide_can_be_followed(tmp_path: Path, line: object) -> None:
    place = str(tmp_path / "own")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
           "BOCAGE_STATE_DIR": place, "BOCAGE_RUNTIME_DIR": place}  # fmt: skip
    said = ""
    for step in ("## 1.", "## 2.", "## 3.", "## 4."):
        for script in commands(step):
            done = subprocess.run(
                ["bash", "-e", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (script, done.stdout, done.stderr)
            said += done.stdout
    assert re.findall(r"^unit +(\d+) ", said, re.MULTILINE) == ["1", "2", "10"]
    assert "street: ok: 10 points read" in said and "street.voltage" in said and "230.1 V" in said
    assert "hall: ok: 4 points read" in said and re.search(r"hall\.active_power +2300\.5 W", said)


def test_the_table_of_the_docs_is_right(tmp_path: Path) -> None:
    from agent.site.profiles.model import Library

    table = re.search(r"```csv\n(.*?)```", CSV_IN_DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert table
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.csv").write_text(table[1], encoding="utf-8")
    library = Library(tmp_path)
    profile = library.get("mine")
    assert library.problems == [] and profile is not None
    assert list(profile["points"]) == ["active_power", "energy_import", "relay1"]
    assert profile["modbus"]["max_gap"] == 4 and profile["points"]["active_power"]["scale"] == 0.1
