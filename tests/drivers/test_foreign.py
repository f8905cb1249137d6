"""A driver of another distribution: one folder, and nothing of ours edited."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.drivers.conftest import ROOT, Bocage, LoggerDevice

SITE = """\
site: {id: village}
buses:
  logger: {type: mylogger, host: 127.0.0.1, port: PORT, timeout: 5s}
devices:
  well: {bus: logger, channel: 3, measures: m, poll: 1s}
  pond: {bus: logger, channel: 4, measures: m, poll: 1s}
signals:
  level: {from: well.value, unit: m}
actuators:
  pump: {output: well.output, safe_state: off}
"""


@pytest.fixture
def site(tmp_path: Path, logger: LoggerDevice) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("PORT", str(logger.port)))
    return path


def test_check_knows_its_keys(run: Bocage, site: Path) -> None:
    done = run("agent", "check", site)
    assert (done.returncode, done.stdout.splitlines()) == (
        0, [f'{site}:1:1: warning: no "uplink": readings stay on the gateway'],
    ), done.stderr  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("channel: 4,", ""), '6:9: error: "channel" is missing in pond (bus logger is mylogger)'),
        (("channel: 4", "channel: 3"), "6:32: error: channel 3 is already used by well on logger (line 5)"),
        (("channel: 4", "channel: 16"), "6:32: error: 16 is too much; write at most 15"),
        (("channel: 4", "chanel: 4"), '6:23: error: unknown key "chanel"; did you mean "channel"?'),
        (("channel: 4", "voie: 4"), '6:23: error: unknown key "voie"; did you mean "channel"?'),
        (("channel: 4", "channel: 4, profile: eastron_sdm120"),
         "6:35: error: devices of a bus of type mylogger have no profile: their points follow from their own keys"),
        (("channel: 4", "channel: 4, unit_id: 4"), "6:35: error: unit_id is for Modbus, and bus logger is mylogger"),
        (("measures: m, poll: 1s}\nsig", "measures: m}\n  g: {bus: gpio, channel: 1}\nsig"),
         '7:12: error: unknown bus "gpio"'),
        (("host: 127.0.0.1", "hoost: 127.0.0.1"), '3:28: error: unknown key "hoost"; did you mean "host"?'),
        (("from: well.value", "from: well.valu"),
         '8:17: error: well has no point "valu"; did you mean "value"?'),
        (("output: well.output", "output: well.value"), "10:18: error: well.value cannot be written"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong(run: Bocage, site: Path, wrong: tuple[str, str], said: str) -> None:
    site.write_text(site.read_text().replace(*wrong))
    done = run("agent", "check", site)
    assert done.returncode == 1
    assert any(line.startswith(f"{site}:{said}") for line in done.stdout.splitlines()), done.stdout + done.stderr


def test_schema_and_reference_have_its_keys(run: Bocage, installed: Path) -> None:
    schema = json.loads(run("agent", "schema").stdout)
    assert schema["$defs"]["MyLoggerConfig"]["title"] == "MyLoggerConfig"  # only our own names lose their "Config"
    assert schema["$defs"]["MyLoggerConfig"]["properties"]["type"]["const"] == "mylogger"
    assert schema["$defs"]["Device"]["properties"]["channel"]["description"] == "Data logger: its input, 0 to 15."
    assert schema["$defs"]["Circuit"]["title"] == "Circuit"
    page = run("agent.site.reference").stdout
    assert "### buses.NAME (mylogger)\n\nA data logger that answers one line of text for each channel." in page
    assert "| `channel` | Data logger: its input, 0 to 15." in page
    links = [Path(link) for link in re.findall(r"\[More\]\(([^)]*)\)", page)]
    assert installed / "my_logger" / "README.md" in [(ROOT / "docs" / link).resolve() for link in links]


def test_buses_and_devices_are_tried_without_an_agent(run: Bocage, site: Path) -> None:
    done = run("agent", "check", site, "--bus")
    assert "well: ok: 2 points read" in done.stdout
    assert "pond: ok: 2 points read" in done.stdout
    site.write_text(site.read_text().replace("channel: 4", "channel: 5"))
    done = run("agent", "check", site, "--bus")
    assert f"{site}:6:9: error: pond: no sensor" in done.stdout
    assert done.returncode == 1


def test_scan_finds_its_channels(run: Bocage, site: Path) -> None:
    done = run("agent", "scan", site, "logger", "--json")
    assert [json.loads(line)["unit_id"] for line in done.stdout.splitlines()] == [3, 4], done.stderr
    done = run("agent", "scan", site, "logger", "--ids", "16")
    assert "bocage: logger has channels 0 to 15; 16 is not one of them" in done.stderr


def test_the_agent_reads_and_writes_it(
    run: Bocage, site: Path, logger: LoggerDevice, environment: dict[str, str]
) -> None:
    folders = ["--state-dir", str(site.parent / "state"), "--runtime-dir", str(site.parent / "run")]
    environment = {**environment, "BOCAGE_CLOCK": "trusted"}
    command = [sys.executable, "-m", "agent", "run", str(site), *folders]
    agent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end = time.monotonic() + 60
        while not (site.parent / "run" / "agent.sock").exists():  # until then `read` asks the device itself
            assert agent.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        while "12.5" not in (said := run("agent", "read", site, "level", *folders[2:])).stdout:
            assert time.monotonic() < end, said.stdout + said.stderr
            time.sleep(0.5)
        done = run("agent", "write", site, "pump", "on", *folders[2:])
        assert done.returncode == 0, done.stdout + done.stderr
        assert logger.outputs[3] == "on"
        maps = Path(f"/proc/{agent.pid}/maps").read_text()
        assert "pydantic" not in maps, "the running agent has the models"
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.communicate(timeout=60)
    assert logger.outputs[3] == "off", "its safe state"
