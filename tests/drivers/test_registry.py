"""How drivers are found: by the descriptions in their folders, and as other distributions' entry points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from drivers import registry
from drivers.api import Driver
from tests.drivers.conftest import entry_point

ROOT = Path(__file__).parents[2]
GREEDY = """
from drivers.api import Driver

DRIVER = Driver(type="greedy", open="greedy_driver:Greedy", config="greedy_driver:Greedy")


def __getattr__(name):
    from agent.site.models.bus import BusModel, DeviceOptions

    class Options(DeviceOptions):
        unit_id: str

    class Greedy(BusModel):
        type: str
        device_options = (Options,)

    return Greedy
"""
BLUEPRINT = registry.load("drivers._blueprint:DRIVERS")
FACTORY = """
from agent.driver import BusSpec, Memory


class Old:
    points = ()

    def __init__(self, spec, clock, memory):
        self.port = spec.options["tty"]

    @classmethod
    def make(cls, spec, clock, memory):
        return cls(spec, clock, memory)


def open_old(spec: BusSpec, clock: object, memory: Memory) -> Old:
    return Old(spec, clock, memory)
"""
STRAY = """
from agent.model import Point


class Old(Old):
    points = (Point("stray.level", "stray"),)

    def status(self):
        return {}

    def due(self):
        return 0.0

    async def close(self):
        pass
"""


@pytest.mark.parametrize("driver", [*registry.built_in().values(), *BLUEPRINT], ids=lambda driver: driver.type)
def test_a_description_leads_to_what_it_names(driver: Driver) -> None:
    for reference in (driver.open, driver.config, driver.probe, driver.diagnose):
        assert not reference or callable(registry.load(reference)), reference
    folder = Path(registry.load(driver.config.partition(".config")[0] + ":__file__")).parent
    assert driver.type in (folder / driver.page).read_text(encoding="utf-8")


def test_a_description_imports_nothing_of_its_driver() -> None:
    code = """
import sys
from drivers.registry import built_in
built_in()
sys.exit(" ".join(m for m in ("pymodbus", "serial", "gpiozero", "aiomqtt", "pydantic") if m in sys.modules) or 0)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_no_driver_that_runs_imports_the_models() -> None:
    code = """
import sys, agent.app
from drivers.registry import built_in, load
for driver in built_in().values():
    for reference in (driver.open, driver.probe, driver.diagnose):
        if reference: load(reference)
wrong = [m for m in sys.modules if m.startswith(("pydantic", "agent.site"))]
wrong += [m for m in sys.modules if m.startswith("drivers.") and ".config" in m]
sys.exit(" ".join(wrong) or 0)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_a_factory_of_before_is_a_driver(tmp_path: Path) -> None:
    entry_point(tmp_path, "old_way", "old_driver:open_old")
    (tmp_path / "old_driver.py").write_text(FACTORY)
    code = """
from agent.driver import BusSpec, is_driven, open_bus
assert is_driven("old_way") and not is_driven("older_way")
print(open_bus(BusSpec("a", "old_way", {"tty": "/dev/x"}, ()), None, None).port)
"""
    done = python(code, tmp_path)
    assert done.stdout == "/dev/x\n", done.stderr
    site = tmp_path / "site.yaml"
    site.write_text('site: {id: a}\nuplink: {url: "mqtt://h"}\nbuses: {a: {type: old_way, tty: /dev/x, any: [1]}}\n'
                    "devices: {d: {bus: a, unit_id: 7}}\n")  # fmt: skip
    done = bocage(tmp_path, "check", site, "--json")
    assert json.loads(done.stdout)["problems"] == [], done.stderr


@pytest.mark.parametrize("value", ["old_driver:Old.make", "old_driver:open_old [serial]", "old_driver : open_old"])
def test_a_factory_is_found_however_its_entry_point_writes_it(tmp_path: Path, value: str) -> None:
    entry_point(tmp_path, "old_way", value)
    (tmp_path / "old_driver.py").write_text(FACTORY)
    code = """
from agent.driver import BusSpec, open_bus
print(open_bus(BusSpec("a", "old_way", {"tty": "/dev/x"}, ()), None, None).port)
"""
    done = python(code, tmp_path)
    assert done.stdout == "/dev/x\n", done.stderr


def test_a_point_of_no_device_of_the_file_is_told(tmp_path: Path) -> None:
    entry_point(tmp_path, "old_way", "old_driver:open_old")
    (tmp_path / "old_driver.py").write_text(FACTORY + STRAY)
    site = tmp_path / "site.yaml"
    site.write_text('site: {id: a}\nuplink: {url: "mqtt://h"}\nbuses: {a: {type: old_way, tty: /dev/x}}\n'
                    "devices: {d: {bus: a, unit_id: 7}}\n")  # fmt: skip
    folders = ("--state-dir", tmp_path / "state", "--runtime-dir", tmp_path / "run")
    done = bocage(tmp_path, "check", "--bus", *folders, site)
    assert "error: stray: cannot be read" in done.stdout, done.stderr


def test_a_driver_with_a_key_of_another_costs_no_other_bus(tmp_path: Path) -> None:
    entry_point(tmp_path, "greedy", "greedy_driver:DRIVER")
    (tmp_path / "greedy_driver.py").write_text(GREEDY)
    site = tmp_path / "site.yaml"
    site.write_text('site: {id: a}\nuplink: {url: "mqtt://h"}\n'
                    "buses: {m: {type: modbus_tcp, host: h}, g: {type: greedy}}\n"
                    "devices: {d: {bus: m, unit_id: 7, profile: relay8_di8}}\n")  # fmt: skip
    done = bocage(tmp_path, "check", site)
    assert done.returncode == 1
    assert done.stdout.startswith(f'{site}:3:51: error: the driver of greedy cannot be used: "unit_id" is a key of')


def test_a_driver_brings_its_own_command(tmp_path: Path) -> None:
    entry_point(tmp_path, "speaking", "speaking_driver:DRIVER")
    entry_point(tmp_path, "broken", "broken_driver:DRIVER")
    (tmp_path / "broken_driver.py").write_text("import no_such_module\n")
    (tmp_path / "speaking_driver.py").write_text(
        "from drivers.api import Driver\n"
        "DRIVER = Driver(type='speaking', commands='speaking_driver:add')\n"
        "def add(commands):\n"
        "    from agent.cli.common import add_command\n"
        "    add_command(commands, 'greet', 'greet', '').set_defaults(run=lambda _options: print('hello') or 5)\n"
    )
    done = bocage(tmp_path, "greet")
    assert (done.stdout, done.returncode) == ("hello\n", 5), done.stderr
    done = bocage(tmp_path, "greed")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert 'did you mean "greet"?' in done.stderr


@pytest.mark.parametrize("code", ["raise ValueError('no licence')\n", "def add(_): raise ValueError('no licence')\n"])
def test_commands_that_fail_are_told_with_the_reason(tmp_path: Path, code: str) -> None:
    entry_point(tmp_path, "speaking", "speaking_driver:DRIVER")
    (tmp_path / "speaking_driver.py").write_text(
        "from drivers.api import Driver\nDRIVER = Driver(type='speaking', commands='speaking_commands:add')\n"
    )
    (tmp_path / "speaking_commands.py").write_text(code)
    done = bocage(tmp_path, "greet")
    first, *rest = done.stderr.splitlines()
    assert first == (
        "bocage: the commands of a driver cannot be used: speaking_commands:add: ValueError: no licence "
        f"({tmp_path.name}/speaking_commands.py:1)"
    )
    assert done.returncode == 2
    assert '"greet" is unknown' in "".join(rest)
    assert "Traceback" not in done.stderr
    assert "no licence" not in bocage(tmp_path, "check", "/nothing").stderr


def test_the_libraries_of_a_driver_are_silent(tmp_path: Path) -> None:
    code = """
import logging
from agent.clock import SystemClock
from drivers.api import BusSpec
from drivers.registry import open_bus
open_bus(BusSpec("a", "modbus_tcp", {"host": "h", "timeout": 1.0}, ()), SystemClock("always"), None)
print(logging.getLogger("pymodbus").isEnabledFor(logging.ERROR))
"""
    done = python(code)
    assert done.stdout == "False\n", done.stderr


def python(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    return _run(folders, "-c", code)


def bocage(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return _run((folder,), "-m", "agent", *map(str, arguments))


def _run(folders: tuple[Path, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, *folders)))
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
