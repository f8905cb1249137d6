"""`check --bus` and `scan` beside a running agent that runs another file: what *this* file says is tried."""

import json
import os
import pty
import subprocess
import sys
import time
import tty

import pytest

from agent.cli import main
from tests.fakes import modbus_slave
from tests.fakes.ports import free_port

SITE = """\
version: 1
site: {{id: beside, name: Beside, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}}
uplink: {{url: "mqtt://127.0.0.1:9", prefix: bocage/v1}}
buses:
  rs485-1: {{type: modbus_rtu, port: {port}, baudrate: 115200, timeout: 50ms}}
devices:
  meter-a: {{bus: rs485-1, unit_id: 3, profile: two, poll: 100ms}}
"""
PROFILE = "points: {a: {register: holding, address: 10}, b: {register: holding, address: 11}}\n"
ANOTHER = ":1:1: warning: the agent runs another file than this one; this one is tried here"


@pytest.fixture
def line(tmp_path):
    """Unit 3 has the registers of the profile, 4 as well, 7 none at all: it answers with an exception."""
    units = {unit: modbus_slave.Unit(holding={0: 1, 10: 10, 11: 11}) for unit in (3, 4)}
    made = modbus_slave.RtuSlave(tmp_path / "line", {**units, 7: modbus_slave.Unit()})
    yield made
    made.end()


@pytest.fixture
def host():
    made = modbus_slave.TcpSlave({3: modbus_slave.Unit(holding={0: 1, 10: 10, 11: 11})})
    yield made
    made.end()


@pytest.fixture
def site(tmp_path, line):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "two.yaml").write_text(PROFILE)
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(port=line.link))
    return path


@pytest.fixture
def bocage(site, tmp_path, line, capsys):
    """Commands beside an agent that has started with the first file."""
    folders = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    with (tmp_path / "agent.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "agent", "run", str(site), *folders], stdout=log, stderr=log)
    deadline = time.monotonic() + 15
    while not ((tmp_path / "run" / "agent.sock").exists() and line.seen(3)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)

    def run(command, *arguments):
        code = main([command, str(site), *arguments, *folders])
        out = capsys.readouterr().out.replace(str(site), "site.yaml")
        return code, out.splitlines()

    yield run
    process.kill()
    process.wait()


def add(site, text, section="devices:\n"):
    written = site.read_text()
    site.write_text(written.replace(section, section + text))


def test_the_same_file(bocage):
    assert bocage("check", "--bus") == (0, ["meter-a: ok: 2 points read by the running agent"])


def test_devices_that_only_the_file_has_are_tried_on_the_agents_line(bocage, site, line):
    add(site, "  b: {bus: rs485-1, unit_id: 4, profile: two}\n  c: {bus: rs485-1, unit_id: 7, profile: two}\n"
              "  d: {bus: rs485-1, unit_id: 9, profile: two}\n")  # fmt: skip
    code, out = bocage("check", "--bus")
    assert code == 1
    assert out == [
        "site.yaml" + ANOTHER,
        "site.yaml:8:6: error: c: the device refuses; is its profile right?",
        "site.yaml:9:6: error: d: no answer; is its unit_id right, does it have power?",
        "b: ok: 2 points read by the running agent",
        "meter-a: ok: 2 points read by the running agent",
    ]
    assert line.seen(9)


def test_what_the_file_changed_is_what_is_tried(bocage, site):
    site.write_text(site.read_text().replace("unit_id: 3", "unit_id: 9"))
    code, out = bocage("check", "--bus")
    assert (code, out[1]) == (1, "site.yaml:7:12: error: meter-a: no answer; is its unit_id right, does it have power?")


def test_a_profile_that_changed_beside_the_same_file_is_tried(bocage, site):
    (site.parent / "profiles" / "two.yaml").write_text(PROFILE.replace("address: 11", "address: 40"))
    code, out = bocage("check", "--bus")
    assert (code, out) == (
        1, ["site.yaml:7:12: error: meter-a: meter-a.b: the device refuses; is its profile right?"]
    )  # fmt: skip


def test_another_line_than_the_agents_is_said_and_not_tried(bocage, site):
    site.write_text(site.read_text().replace("baudrate: 115200", "baudrate: 9600"))
    code, out = bocage("check", "--bus")
    said = "the agent runs another file and keeps rs485-1 at 115200 baud 8N1; this file says 9600 baud 8N1"
    assert (code, out) == (0, ["site.yaml" + ANOTHER, f"site.yaml:7:12: warning: meter-a: not tried: {said}"])


def test_a_bus_that_only_the_file_has_is_tried_and_scanned(bocage, site, host):
    add(site, f"  plant: {{type: modbus_tcp, host: 127.0.0.1, port: {host.port}, timeout: 200ms}}\n", "buses:\n")
    add(site, "  pump: {bus: plant, unit_id: 3, profile: two}\n")
    code, out = bocage("check", "--bus")
    assert (code, out[1:]) == (0, ["meter-a: ok: 2 points read by the running agent", "pump: ok: 2 points read"])
    code, out = bocage("scan", "plant", "--ids", "2,3", "--json")
    assert (code, [json.loads(one)["unit_id"] for one in out]) == (0, [3])


def test_another_name_of_this_host_is_the_agents_wire(bocage, site, host):
    """A gateway often takes one connection only, which the agent has."""
    add(site, f"  plant: {{type: modbus_tcp, host: 127.0.0.1, port: {host.port}, timeout: 200ms}}\n", "buses:\n")
    add(site, "  pump: {bus: plant, unit_id: 3, profile: two}\n")
    assert bocage("reload")[0] == 0
    site.write_text(site.read_text().replace("host: 127.0.0.1", "host: localhost"))
    code, out = bocage("check", "--bus")
    assert code == 0
    assert "pump: ok: 2 points read by the running agent" in out


def test_a_bus_with_another_name_is_scanned_on_the_agents_line(bocage, site, line):
    site.write_text(site.read_text().replace("rs485-1", "meters"))
    code, out = bocage("scan", "meters", "--ids", "3-7", "--json")
    assert (code, [json.loads(one)["unit_id"] for one in out]) == (0, [3, 4, 7])


def test_a_radio_node_that_the_agent_does_not_have_so_is_not_tried(bocage, site):
    """Its bus is the agent's alone, and nobody else can listen there."""
    (site.parent / "room.key").write_text("00" * 16)
    (site.parent / "room.key").chmod(0o600)
    add(site, f"  radio: {{type: lora_gwmp, listen: 127.0.0.1:{free_port()}}}\n", "buses:\n")
    node = "{bus: radio, join_eui: a840410000000000, app_key: {file: room.key}, profile: milesight_em300_th, dev_eui: "
    add(site, f"  room: {node}a840410000000001}}\n  hall: {node}a840410000000002}}\n")
    assert bocage("reload")[0] == 0
    here = ["meter-a: ok: 2 points read by the running agent"]
    code, out = bocage("check", "--bus")
    assert [one.partition(": ")[0] for one in out[-4:]] == ["radio", "room", "hall", "meter-a"]
    site.write_text(site.read_text().replace("a840410000000001", "a840410000000009"))
    code, out = bocage("check", "--bus")
    said = [one for one in out if "room" in one]
    assert (code, said) == (0, ["site.yaml:8:9: warning: room: not tried: the agent does not have it so"])
    assert here[0] in out and any(one.startswith("hall: ok: listening") for one in out)


def test_a_radio_modem_of_the_agents_is_told_as_the_agent_hears_it(bocage, site, tmp_path):
    """Its port is a wire that is the agent's, and nothing can be asked there."""
    modem, port = pty.openpty()
    tty.setraw(port)
    (tmp_path / "profiles" / "room.yaml").write_text(
        "lora: {struct: [{field: t, type: i16be}]}\npoints: {t: {field: t, unit: degC, scale: 0.1}}\n"
    )
    pattern = "'(?P<node>[0-9]+) (?P<data>[0-9A-F]+)'"
    add(site, f"  air: {{type: lora_line, port: {os.ttyname(port)}, pattern: {pattern}}}\n", "buses:\n")
    add(site, '  room: {bus: air, node: "01", profile: room}\n')
    try:
        assert bocage("reload")[0] == 0
        code, out = bocage("check", "--bus")
        assert not [one for one in out if "not tried" in one]
        said = [one for one in out if one.startswith("room: ")]
        assert (code, said) == (0, ["room: ok: listening: nothing heard yet"])
    finally:
        os.close(modem)
        os.close(port)
