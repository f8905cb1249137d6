"""A driver of another distribution that cannot be used costs its own buses, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.socket import connect
from tests.drivers.conftest import Bocage, LoggerDevice, entry_point

SITE = """\
site: {id: village}
uplink: {url: "mqtt://127.0.0.1"}
buses:
  logger: {type: mylogger, host: 127.0.0.1, port: PORT}
  odd: {type: broken, tty: /dev/x, every: 3s}
devices:
  well: {bus: logger, channel: 3, measures: m, poll: 1s}
  pond: {bus: odd, slot: 3, colour: blue}
signals:
  level: {from: well.value, unit: m}
  depth: {from: pond.value, unit: m}
actuators:
  pump: {output: well.output, safe_state: off}
  gate: {output: pond.output, safe_state: off}
"""
DESCRIBED = """
from drivers.api import Driver
DRIVER = Driver(type="broken", open="broken_driver:{open}", config="{config}")
"""
KEYS = """
from drivers.api import Driver
DRIVER = Driver(type="broken", open="builtins:object", config="no_config:Model")
"""
OPENED = DESCRIBED.format(open="Wire", config="")
BROKEN = {
    "import": ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax": ("def (:\n", "SyntaxError: invalid syntax"),
    "body": ("raise RuntimeError('no licence\\nsecond line')\n", "RuntimeError: no licence"),
    "exit": ("import sys\nsys.exit('bye')\n", "SystemExit: bye"),
    "object": ("DRIVER = 5\n", "is neither a Driver nor a function, but int"),
    "name": ("OTHER = 5\n", "AttributeError: module 'broken_driver' has no attribute 'DRIVER'"),
    "description": (DESCRIBED.replace("open=", "opens=").format(open="", config=""), "TypeError: "),
    "open": (DESCRIBED.format(open="Nope", config=""), "module 'broken_driver' has no attribute 'Nope'"),
    "empty": (DESCRIBED.format(open="", config="broken_driver:"), "AttributeError: "),
    "keys": (KEYS, "ModuleNotFoundError: No module named 'no_config'"),
    "profile": (OPENED.replace("config=", "profile='a:b', config="), "profile is for the drivers of Bocage itself"),
    "kind": (DESCRIBED.format(open="Nope", config="broken_driver:Model").replace("Nope", "DRIVER")
             + "from agent.site.models.bus import BusModel\nclass Model(BusModel):\n profile_kind = 'mine'\n",
             'profile_kind "mine" is unknown; known are modbus, lora'),
    "model": (DESCRIBED.format(open="DRIVER", config="broken_driver:DRIVER"), "is no BusModel"),
}  # fmt: skip
"""What stands in the driver's module, and what `check` says of it."""
RULES = ("check", "check_device", "check_devices", "check_output", "needs", "points", "load", "address", "options")
MADE = {
    "constructor": ("class Wire:\n def __init__(self, *_): raise ZeroDivisionError('1/0')\n", "ZeroDivisionError: 1/0"),
    "arguments": ("class Wire:\n pass\n", "TypeError: Wire() takes no arguments"),
    "nothing": ("def Wire(*_): return None\n", "does not implement Wire"),
    "points": ("class Wire:\n def __init__(self, *_): pass\n def status(self): pass\n def due(self): pass\n"
               " async def close(self): pass\n @property\n def points(self): raise KeyError('unit')\n",
               "KeyError: 'unit'"),
}  # fmt: skip
"""What is wrong when a bus is made, and what is said of that bus."""


@pytest.fixture
def site(tmp_path: Path, logger: LoggerDevice) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("PORT", str(logger.port)))
    return path


@pytest.fixture
def broken(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], None]:
    """Install a driver `broken` with this module."""
    entry_point(tmp_path, "broken", "broken_driver:DRIVER")
    environment["PYTHONPATH"] += f":{tmp_path}"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"

    def write(text: str) -> None:
        (tmp_path / "broken_driver.py").write_text(text)

    return write


def with_profile(site: Path) -> None:
    """The device of the broken driver has a profile: its points are known."""
    text = site.read_text().replace("slot: 3, colour: blue", "profile: relay8_di8")
    site.write_text(text.replace("pond.value", "pond.di1").replace("pond.output", "pond.relay1"))


@pytest.mark.parametrize("name", BROKEN)
def test_check_names_it_at_the_type(run: Bocage, site: Path, broken: Callable[[str], None], name: str) -> None:
    text, said = BROKEN[name]
    broken(text)
    done = run("agent", "check", site)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{site}:5:15: error: the driver of broken cannot be used: "), done.stdout
    assert said in line, line
    assert line.endswith("; odd is down, the rest of the site runs")
    assert "Traceback" not in done.stderr


@pytest.fixture
def odd_rule(site: Path, broken: Callable[[str], None], installed: Path) -> Callable[[str, str], None]:
    """Make the driver of the bus odd one whose model has this rule, of this statement."""

    def write(rule: str, statement: str) -> None:
        broken(
            "from dataclasses import replace\nfrom my_logger import DRIVERS\n"
            "DRIVER = replace(DRIVERS[0], config='broken_config:Odd')\n"
        )
        (site.parent / "broken_config.py").write_text(
            "from typing import Literal\nfrom my_logger.config import MyLoggerConfig\n"
            f"class Odd(MyLoggerConfig):\n type: Literal['broken']\n def {rule}(self, *_): {statement}\n"
        )
        text = site.read_text().replace("tty: /dev/x, every: 3s", "host: 127.0.0.2")
        site.write_text(text.replace("slot: 3, colour: blue", "channel: 4"))

    return write


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_fails_costs_its_own_bus(
    run: Bocage, site: Path, odd_rule: Callable[[str, str], None], rule: str
) -> None:
    odd_rule(rule, "raise ZeroDivisionError('1/0')")
    done = run("agent", "check", site)
    if rule == "load":  # asked for the line below the problems only
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
        return
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{site}:5:15: error: the driver of broken cannot be used: Odd.{rule}: ZeroDivisionError")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("rule", "returned"), [
    ("address", "None"), ("address", "{1: 2}"), ("options", "5"), ("load", "'much'"), ("needs", "None"),
    ("needs", "('nonsense',)"), ("points", "[]"), ("points", "{'value': None}"), ("points", "{'value': {}}"),
    ("points", "{'value': {'unit': 5, 'kind': 'state', 'writable': False, 'low': None, 'high': None}}"),
])  # fmt: skip
def test_a_rule_that_returns_something_else_costs_its_own_bus(
    run: Bocage, site: Path, odd_rule: Callable[[str, str], None], rule: str, returned: str
) -> None:
    odd_rule(rule, f"return {returned}")
    done = run("agent", "check", site)
    assert "Traceback" not in done.stderr
    if rule == "load":  # asked for the line below the problems only
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
        return
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{site}:5:15: error: the driver of broken cannot be used: Odd.{rule} returns "), line


@pytest.mark.parametrize("name", MADE)
def test_check_bus_names_what_fails_when_it_is_made(
    run: Bocage, site: Path, broken: Callable[[str], None], name: str
) -> None:
    text, said = MADE[name]
    broken(OPENED + text)
    with_profile(site)
    done = run("agent", "check", site, "--bus")
    assert done.returncode == 1
    assert "well: ok" in done.stdout
    assert re.search(rf"{site}:5:\d+: error: odd: the driver of broken .*{re.escape(said)}", done.stdout), done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["import", "exit", "keys"])
def test_a_driver_that_the_file_does_not_use_costs_nothing(
    run: Bocage, site: Path, broken: Callable[[str], None], name: str
) -> None:
    broken(BROKEN[name][0])
    text = site.read_text()
    for line in re.findall(r".*(?:odd|pond).*\n", text):
        text = text.replace(line, "")
    site.write_text(text)
    done = run("agent", "check", site)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "broken" not in done.stderr


def test_a_driver_that_the_file_does_not_use_is_not_imported(
    run: Bocage, site: Path, broken: Callable[[str], None], tmp_path: Path
) -> None:
    broken(f"open({str(tmp_path / 'imported')!r}, 'w')\n" + OPENED)
    site.write_text("site: {id: a}\nbuses: {g: {type: gpio}}\n")
    assert run("agent", "check", site).returncode == 0
    assert not (tmp_path / "imported").exists()


def test_a_misspelt_type_is_meant_for_a_driver_that_is_installed(
    run: Bocage, site: Path, broken: Callable[[str], None]
) -> None:
    broken("import no_such_module\n")
    site.write_text("site: {id: a}\nbuses: {g: {type: mylogge}}\n")
    assert 'unknown type "mylogge"; did you mean "mylogger"?' in run("agent", "check", site).stdout


def test_schema_and_reference_do_without_it(run: Bocage, broken: Callable[[str], None]) -> None:
    broken("import no_such_module\n")
    done = run("agent", "schema")
    assert "MyLoggerConfig" in json.loads(done.stdout)["$defs"]
    assert "driver cannot be used type=broken" in done.stderr
    done = run("agent.site.reference")
    assert "buses.NAME (mylogger)" in done.stdout
    assert "driver cannot be used type=broken" in done.stderr


@pytest.fixture
def other() -> Iterator[LoggerDevice]:
    device = LoggerDevice()
    yield device
    device.close()


class Running:
    """An agent, and what it says."""

    def __init__(self, site: Path, environment: dict[str, str]) -> None:
        self._folder = site.parent / "run"
        folders = ["--state-dir", str(site.parent / "state"), "--runtime-dir", str(self._folder)]
        command = [sys.executable, "-m", "agent", "run", str(site), *folders]
        self.log = site.parent / "log"
        self._process = subprocess.Popen(
            command, env={**environment, "BOCAGE_CLOCK": "trusted"}, stdout=self.log.open("w"), stderr=subprocess.STDOUT
        )

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status that is as wanted."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._process.poll() is None, self.log.read_text()
            try:
                status = self.ask({"do": "status"})
            except Exception:  # noqa: BLE001  it is not there yet
                status = {}
            if status and wanted(status):
                return status
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        async def asked() -> dict[str, Any]:
            async with connect(self._folder) as agent:
                return await agent.request(request)

        return asyncio.run(asked())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=60)

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)


def values(status: dict[str, Any]) -> dict[str, Any]:
    return {point["id"]: point["value"] for point in status["points"]}


def bus(status: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in status["buses"] if one["name"] == name)
    return found


@pytest.mark.parametrize("name", ["import", "keys", "constructor", "points"])
def test_the_agent_runs_without_it(
    site: Path, logger: LoggerDevice, environment: dict[str, str], broken: Callable[[str], None], name: str
) -> None:
    text, said = BROKEN.get(name) or (OPENED + MADE[name][0], MADE[name][1])
    broken(text)
    if name in MADE:
        with_profile(site)
    agent = Running(site, environment)
    try:
        status = agent.until(lambda status: values(status).get("level") == 12.5)
        assert bus(status, "logger")["state"] == "up"
        odd = bus(status, "odd")
        assert (odd["state"], odd["lost"]) == ("down", ["pond"])
        assert said in odd["error"]
        done = agent.ask({"do": "write", "point": "pump", "value": "on", "hold_ms": None})
        assert done["state"] in ("applied", "verified"), done
        assert logger.outputs[3] == "on"
        done = agent.ask({"do": "write", "point": "gate", "value": "on", "hold_ms": None})
        assert (done["state"], said in done["reason"]) == ("failed" if name in MADE else "rejected", True), done
        if name not in MADE:
            assert done["reason"].startswith("gate cannot be commanded: its bus odd is down: the driver of broken ")
    finally:
        code = agent.stop()
    assert code == 0, agent.log.read_text()
    log = agent.log.read_text()
    assert log.count("bus is down bus=odd") == 1
    assert logger.outputs[3] == "off", "its safe state"


@pytest.fixture
def odd(site: Path, other: LoggerDevice, broken: Callable[[str], None], installed: Path) -> Callable[[str, str], None]:
    """Make the driver of the bus odd one whose wire has this method, and whose description this."""

    def write(method: str, description: str = "") -> None:
        broken(
            "import asyncio\nfrom datetime import datetime\nfrom agent.model import Reading\n"
            "from dataclasses import replace\nfrom my_logger import DRIVERS\n"
            "from my_logger.logger import Logger as Base\n"
            f"class Wire(Base):\n {method}\n"
            "def probe_fails(*_): raise KeyError('probe')\n"
            "def diagnose_fails(_counts): raise KeyError('diagnose')\n"
            f"DRIVER = replace(DRIVERS[0], open='broken_driver:Wire', config='broken_config:Odd'{description})\n"
        )
        (site.parent / "broken_config.py").write_text(
            "from typing import Literal\nfrom my_logger.config import MyLoggerConfig\n"
            "class Odd(MyLoggerConfig):\n type: Literal['broken']\n"
        )
        text = site.read_text().replace("tty: /dev/x, every: 3s", f"host: 127.0.0.1, port: {other.port}")
        site.write_text(text.replace("slot: 3, colour: blue", "channel: 4, poll: 1s"))

    return write


READS = "async def readings(self):\n"
NOW = "self._clock.now()"
FAILS = {
    "due": ("def due(self): raise KeyError('due')", "KeyError: 'due'"),
    "due none": ("def due(self): return None", "TypeError: "),
    "status": ("def status(self): raise KeyError('status')", "KeyError: 'status'"),
    "status exit": ("def status(self): raise SystemExit('bye')", "SystemExit: bye"),
    "status none": ("def status(self): return None", "its status failed: TypeError: "),
    "status lost": ("def status(self): return {'state': 'up', 'lost': None}", "its status failed: TypeError: lost: "),
    "readings": (f"{READS}  raise KeyError('readings')\n  yield []", "KeyError: 'readings'"),
    "readings exit": (f"{READS}  raise SystemExit('bye')\n  yield []", "SystemExit: bye"),
    "readings cancelled": (f"{READS}  raise asyncio.CancelledError\n  yield []", "CancelledError"),
    "readings end": (f"{READS}  return\n  yield []", "its driver ended by itself"),
    "readings int": (f"{READS}  yield [5]", "gave int for a Reading"),
    "readings none": (f"{READS}  yield None", "gave NoneType for a list of readings"),
    "readings foreign": (f"{READS}  yield [Reading('well.value', 5.0, {NOW})]", "gave a reading of 'well.value', "),
    "readings naive": (f"{READS}  yield [Reading('pond.value', 5.0, datetime.now())]", "whose time is no Instant"),
    "readings bytes": (f"{READS}  yield [Reading('pond.value', b'', {NOW})]", "whose value or quality cannot be kept"),
    "readings huge": (f"{READS}  yield [Reading('pond.value', 10**5000, {NOW})]", "whose value or quality cannot be"),
    "read": ("async def read(self, _points): raise KeyError('read')", None),
    "read none": ("async def read(self, _points): return None", None),
    "read cancelled": ("async def read(self, _points): raise asyncio.CancelledError", None),
    "write": ("async def write(self, *_): raise KeyError('write')", None),
    "write exit": ("async def write(self, *_): raise SystemExit('bye')", None),
    "close": ("async def close(self): raise KeyError('close')", None),
    "close exit": ("async def close(self): raise SystemExit('bye')", None),
    "close hangs": ("async def close(self): await asyncio.Event().wait()", None),
}
"""What raises an error that a driver must not raise, and what the status of its bus says of that."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FAILS)
def test_a_method_that_fails_costs_its_own_bus(
    site: Path, logger: LoggerDevice, environment: dict[str, str], odd: Callable[[str], None], name: str
) -> None:
    method, said = FAILS[name]
    odd(method)
    agent = Running(site, environment)
    try:
        agent.until(lambda status: values(status).get("level") == 12.5)
        agent.until(lambda status: said is None or said in bus(status, "odd")["error"])
        done = agent.ask({"do": "write", "point": "gate", "value": "on", "hold_ms": None})
        assert done["state"] in (("failed",) if name.startswith("write") else ("applied", "verified")), done
        done = agent.ask({"do": "write", "point": "pump", "value": "on", "hold_ms": None})
        assert done["state"] in ("applied", "verified"), done
        assert logger.outputs[3] == "on"
        site.write_text(site.read_text().replace("channel: 4, poll: 1s", "channel: 4, poll: 2s"))  # closes the bus
        assert "odd" in agent.ask({"do": "reload"})["changed"]
    finally:
        code = agent.stop()
    assert code == 0, agent.log.read_text()
    assert logger.outputs[3] == "off", "its safe state"


OFFLINE = {
    "read": (
        "async def read(self, _points):\n  raise KeyError('read')",
        "the driver of broken failed: KeyError: 'read' (",
    ),
    "nothing": ("async def read(self, _points): return None", "the driver of broken gave NoneType for a list of"),
    "fewer": ("async def read(self, _points): return []", "no value; is a sensor connected to this channel?"),
    "status": ("def status(self): raise KeyError('status')", None),
    "no status": ("def status(self): return None", None),
    "scan": ("async def scan(self, *_):\n  raise KeyError('scan')\n  yield {}", None),
    "write": ("async def write(self, *_): raise KeyError('write')", None),
}
"""What raises an error that a driver must not raise, and what `check --bus` says of the device."""


def problem(done: subprocess.CompletedProcess[str], device: str) -> str:
    """What `check --bus --json` says is wrong with a device or bus; "" for nothing."""
    problems = json.loads(done.stdout)["problems"]
    return next((one["message"] for one in problems if one["message"].startswith(f"{device}: ")), "")


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFLINE)
def test_check_bus_reports_a_method_that_fails_and_the_other_buses(
    run: Bocage, site: Path, odd: Callable[[str], None], name: str
) -> None:
    method, said = OFFLINE[name]
    odd(method)
    done = run("agent", "check", site, "--bus")
    assert "well: ok: 2 points read" in done.stdout, done.stderr
    assert (f"error: pond: {said}" if said else "pond: ok: 2 points read") in done.stdout
    assert done.returncode == (1 if said else 0)
    assert said is None or problem(run("agent", "check", site, "--bus", "--json"), "pond").startswith(f"pond: {said}")
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(("name", "said"), [
    ("probe", "odd: the driver of broken failed: KeyError: 'probe' ("),
    ("diagnose", "pond: no sensor (broken_driver:diagnose_fails failed: KeyError: 'diagnose' ("),
])  # fmt: skip
def test_check_bus_reports_a_function_of_the_description_that_fails(
    run: Bocage, site: Path, other: LoggerDevice, odd: Callable[[str, str], None], name: str, said: str
) -> None:
    odd("pass", f", {name}='broken_driver:{name}_fails'")
    del other.values[4]
    done = run("agent", "check", site, "--bus", "--json")
    assert done.returncode == 1, done.stderr
    assert problem(done, said.partition(":")[0]).startswith(said)
    assert "Traceback" not in done.stderr
    assert "well: ok: 2 points read" in run("agent", "check", site, "--bus").stdout


def test_scan_knows_the_line_of_the_description(run: Bocage, site: Path, odd: Callable[[str, str], None]) -> None:
    odd("pass", ", line={'baudrate': 4800, 'bytesize': 7, 'parity': 'E'}")
    done = run("agent", "scan", site, "odd", "--ids", "4")
    assert done.stdout.startswith("unit   4  4800 baud 7E1  "), done.stderr
    (found,) = map(json.loads, run("agent", "scan", site, "odd", "--ids", "4", "--json").stdout.splitlines())
    assert (found["baudrate"], found["parity"], found["stopbits"]) == (4800, "E", 1)
    done = run("agent", "scan", site, "odd", "--ids", "4", "--parities", "N")
    assert (done.returncode, done.stderr) == (
        2,
        "bocage: buses of type broken have no key parity: leave --parities out\n",
    )


@pytest.mark.parametrize("with_agent", [False, True])
def test_a_command_says_in_one_line_what_fails(
    run: Bocage, site: Path, odd: Callable[[str], None], environment: dict[str, str], with_agent: bool
) -> None:
    odd("async def read(self, _points): raise KeyError('read')\n"
        " async def write(self, *_): raise KeyError('write')\n"
        " async def scan(self, *_):\n  raise KeyError('scan')\n  yield {}\n"
        " async def readings(self):\n  raise KeyError('readings')\n  yield []")  # fmt: skip
    folders = "--state-dir", site.parent / "state", "--runtime-dir", site.parent / "run"
    agent = Running(site, environment) if with_agent else None
    try:
        if agent is not None:
            agent.until(lambda status: values(status).get("level") == 12.5)
        scanned = run("agent", "scan", site, "odd", "--ids", "3,4", *folders[2:])
        read = run("agent", "read", site, "depth", "level", *folders[2:])
        written = run("agent", "write", site, "gate", "on", *(folders[2:] if with_agent else ("--direct", *folders)))
    finally:
        code = agent.stop() if agent is not None else 0
    assert code == 0
    assert scanned.stdout == ""
    assert re.fullmatch(r"bocage: the driver of broken failed: KeyError: 'scan' \(.*\)\n", scanned.stderr), (
        scanned.stderr
    )
    assert re.search("level +12.5 m", read.stdout)
    assert "Traceback" not in read.stderr + written.stderr
    if not with_agent:
        lines = [line for line in read.stderr.splitlines() if "time unknown" not in line]
        assert [line.partition("(")[0] for line in lines] == [
            "bocage: odd: the driver of broken failed: KeyError: 'read' "
        ]
    assert "gate on: failed: the driver of broken failed: KeyError: 'write' (" in written.stdout
    assert (scanned.returncode, read.returncode, written.returncode) == (1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", [
    "def __init__(self, *_): raise SystemExit('bye')", "points = None", "points = ['x']",
    "async def write(self, *_): raise RuntimeError('write')", "async def read(self, _points): raise SystemExit('bye')",
    "async def close(self): raise SystemExit('bye')",
])  # fmt: skip
def test_after_a_crash_the_outputs_of_the_others_are_safe(
    run: Bocage, site: Path, logger: LoggerDevice, environment: dict[str, str], odd: Callable[[str], None], method: str
) -> None:
    odd("pass")
    agent = Running(site, environment)
    agent.until(lambda status: values(status).get("level") == 12.5 and values(status).get("depth") is not None)
    for output in ("pump", "gate"):
        agent.ask({"do": "write", "point": output, "value": "on", "hold_ms": None})
    agent.kill()
    assert logger.outputs[3] == "on"
    odd(method)
    folders = ["--state-dir", site.parent / "state", "--runtime-dir", site.parent / "run"]
    done = run("agent", "stop-outputs", site, *folders)
    assert logger.outputs[3] == "off", done.stderr
    assert "Traceback" not in done.stdout


def test_a_reload_takes_it_up_when_it_is_mended_and_drops_it_when_it_breaks(
    site: Path, environment: dict[str, str], broken: Callable[[str], None], installed: Path, other: LoggerDevice
) -> None:
    mended = (
        "from dataclasses import replace\nfrom my_logger import DRIVERS\nfrom my_logger.logger import Logger as Base\n"
        "class Wire(Base):\n def __init__(self, spec, clock, store):\n  super().__init__(spec, clock, store)\n"
        "DRIVER = replace(DRIVERS[0], open='broken_driver:Wire', config='my_logger.config:MyLoggerConfig')\n"
    )
    broken("import no_such_module\n")
    text = site.read_text().replace("tty: /dev/x, every: 3s", f"host: 127.0.0.1, port: {other.port}")
    site.write_text(text.replace("slot: 3, colour: blue", "channel: 4, poll: 1s"))
    model = installed / "my_logger" / "config.py"
    before = model.read_text()
    agent = Running(site, environment)
    try:
        agent.until(lambda status: values(status).get("level") == 12.5)
        model.write_text(before.replace('Literal["mylogger"]', 'Literal["mylogger", "broken"]'))
        broken(mended)
        verdict = agent.ask({"do": "reload"})
        assert verdict["applied"], verdict
        assert "odd" in verdict["changed"]
        status = agent.until(lambda status: values(status).get("depth") == 0.7)
        assert bus(status, "odd")["state"] == "up"
        broken("import no_such_module\n")
        verdict = agent.ask({"do": "reload"})
        assert verdict["applied"], verdict
        assert any("the driver of broken cannot be used" in warning for warning in verdict["warnings"])
        status = agent.until(lambda status: bus(status, "odd")["state"] == "down")
        assert values(status)["level"] == 12.5
    finally:
        model.write_text(before)
        code = agent.stop()
    assert code == 0, agent.log.read_text()
