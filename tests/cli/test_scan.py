"""`bocage scan`: alone on the line, and through a running agent that goes on polling."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import termios

import pytest
import serial

from agent.cli import main
from agent.errors import BocageError
from agent.runtime.socket import connect
from tests.fakes import modbus_slave
from tests.fakes.waiting import wait_for

SITE = """\
version: 1
site: {{id: scan, name: Scan, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}}
uplink: {{url: "mqtt://127.0.0.1:9", prefix: bocage/v1}}
buses:
  rs485-1: {{type: modbus_rtu, port: {port}, baudrate: 115200, timeout: 50ms}}
  plant: {{type: modbus_tcp, host: 127.0.0.1, port: {tcp}, timeout: 200ms}}
  pins: {{type: gpio}}
devices:
  meter-a: {{bus: rs485-1, unit_id: 3, profile: two, poll: 100ms}}
"""
PROFILE = "points: {a: {register: holding, address: 10}, b: {register: holding, address: 11}}\n"


def units():
    """Unit 3 has the registers of the profile, 7 none at all: it answers with an exception."""
    return {3: modbus_slave.Unit(holding={0: 1, 10: 10, 11: 11}), 7: modbus_slave.Unit()}


@pytest.fixture
def line(tmp_path):
    made = modbus_slave.RtuSlave(tmp_path / "line", units())
    yield made
    made.end()


@pytest.fixture
def host():
    made = modbus_slave.TcpSlave(units())
    yield made
    made.end()


@pytest.fixture
def site(tmp_path, line, host):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "two.yaml").write_text(PROFILE)
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(port=line.link, tcp=host.port))
    return path


@pytest.fixture
def folders(tmp_path):
    return ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]


@pytest.fixture
def scan(site, folders, capsys):
    def run(*arguments):
        code = main(["scan", str(site), *arguments, *folders])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def agent(site, folders, tmp_path):
    with (tmp_path / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "run", str(site), *folders], stdout=log, stderr=log
        )
    wait_for(lambda: (tmp_path / "run" / "agent.sock").exists())
    yield process
    process.kill()
    process.wait()


def test_units_are_found_with_the_settings_of_the_line(scan):
    code, out, err = scan("rs485-1", "--ids", "1-8", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [list(one) for one in found] == [["unit_id", "baudrate", "parity", "stopbits", "ms"]] * 2
    assert [(one["unit_id"], one["baudrate"], one["parity"], one["stopbits"]) for one in found] == [
        (3, 115200, "N", 1), (7, 115200, "N", 1),
    ]  # fmt: skip
    assert all(0 < one["ms"] < 50 for one in found)


def test_devices_of_the_file_are_named(scan):
    _, out, _ = scan("rs485-1", "--ids", "3,7")
    assert [line[:8] for line in out.splitlines()] == ["unit   3", "unit   7"]
    assert [line.rpartition("  ")[2] for line in out.splitlines()] == ["meter-a", "not in the site file"]


def test_other_settings_are_tried_and_what_the_port_refuses_is_told(scan, monkeypatch):
    configure = serial.Serial._reconfigure_port

    def without_parity(self, force_update=False):
        if self.parity != "N":
            raise termios.error(22, "Invalid argument")
        configure(self, force_update)

    monkeypatch.setattr("serial.Serial._reconfigure_port", without_parity)
    code, out, err = scan("rs485-1", "--ids", "3", "--baudrates", "9600,19200", "--parities", "e,N", "--json")
    assert [(json.loads(line)["baudrate"], json.loads(line)["parity"]) for line in out.splitlines()] == [
        (9600, "N"), (19200, "N"),
    ]  # fmt: skip
    assert code == 0 and [line.partition(" refuses ")[2] for line in err.splitlines()] == [
        "9600 baud 8E1: Invalid argument", "19200 baud 8E1: Invalid argument",
    ]  # fmt: skip


def test_hosts_have_unit_ids_only(scan):
    code, out, _ = scan("plant", "--ids", "2,3", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [{**one, "ms": 0} for one in found] == [
        {"unit_id": 3, "baudrate": None, "parity": None, "stopbits": None, "ms": 0}
    ]
    code, _, err = scan("plant", "--baudrates", "9600")
    assert (code, err) == (2, "bocage: plant goes over TCP: leave --baudrates out, only unit ids can be tried\n")


def test_a_gateway_that_says_that_nobody_is_there_is_believed(scan, host):
    absent = b"\x83\x0b"
    host.units[5] = modbus_slave.Unit()
    host.behave = lambda r: [(0, r.frame[:5] + b"\x03" + bytes([r.unit]) + absent if r.unit == 5 else r.frame)]
    code, out, _ = scan("plant", "--ids", "3,5", "--json")
    assert code == 0 and [json.loads(line)["unit_id"] for line in out.splitlines()] == [3]


def test_a_host_without_a_line_is_looked_for_first(scan, host):
    host.units = {255: modbus_slave.Unit()}
    scan("plant", "--timeout", "5ms")  # too short for an answer on a busy machine
    assert list(dict.fromkeys(request.unit for _, request in host.requests))[:3] == [255, 0, 1]
    code, out, _ = scan("plant", "--ids", "255")
    assert code == 0 and out.startswith("unit 255  ") and len(out.splitlines()) == 1


def test_an_answer_under_another_unit_id_is_named(scan, host):
    host.behave = lambda r: [(0, r.frame[:6] + b"\0" + r.frame[7:])]
    assert scan("plant", "--ids", "3")[1] == "unit   3  answers as unit 0  not in the site file\n"


def test_check_takes_the_only_unit_under_whatever_id(site, folders, host, capsys):
    site.write_text(site.read_text().replace("bus: rs485-1, unit_id: 3", "bus: plant, unit_id: 0"))
    host.units = {0: modbus_slave.Unit(holding={10: 10, 11: 11})}
    assert main(["check", str(site), "--bus", *folders]) == 0
    assert capsys.readouterr().out == "meter-a: ok: 2 points read\n"
    host.behave = lambda r: [(0, r.frame[:6] + b"\xff" + r.frame[7:])]
    assert main(["check", str(site), "--bus", *folders]) == 0
    assert capsys.readouterr().out == "meter-a: ok: 2 points read; answers as unit 255, asked as 0\n"
    site.write_text(site.read_text() + "  meter-b: {bus: plant, unit_id: 1, profile: two}\n")
    assert main(["check", str(site), "--bus", *folders]) == 1
    assert "error: meter-a: answers as unit 255, asked as 0\n" in capsys.readouterr().out


def test_a_line_has_neither_0_nor_255(site, scan, capsys):
    assert scan("rs485-1", "--ids", "0-3")[0] == 2
    for unit, bound in ((0, "too little; write at least 1"), (255, "too much; write at most 247")):
        slip = site.with_name("slip.yaml")
        slip.write_text(site.read_text().replace("unit_id: 3", f"unit_id: {unit}"))
        assert main(["check", str(slip)]) == 1
        assert f"{unit} is {bound}: 0 and 248 to 255 are for modbus_tcp" in capsys.readouterr().out


def test_nobody_there(scan, line):
    line.units.clear()
    code, out, err = scan("rs485-1", "--ids", "1-3", "--timeout", "20ms")
    assert (code, out) == (1, "") and err.startswith("bocage: no device answers on rs485-1; have the devices power")
    assert [request.unit for _, request in line.requests] == [1, 2, 3]


def test_no_wire(scan, line):
    line.vanish()
    code, out, err = scan("rs485-1", "--ids", "1")
    assert (code, out, err) == (1, "", f"bocage: {line.link}: No such file or directory\n")


@pytest.mark.parametrize(
    ("bus", "says"),
    [
        ("pins", "bocage: pins is a bus of type gpio: there are no unit ids to look for; rs485-1 and plant can be "
                 "scanned"),
        ("rs485", 'bocage: unknown bus "rs485" in {}; did you mean "rs485-1"?'),
    ],
)  # fmt: skip
def test_other_buses_are_refused(scan, site, bus, says):
    assert scan(bus) == (1, "", says.format(site) + "\n")


@pytest.mark.parametrize(
    "arguments",
    [("--ids", "0-256"), ("--ids", "5-2"), ("--ids", "1,x"), ("--baudrates", "1"), ("--parities", "Q"),
     ("--stopbits", "3"), ("--timeout", "5"), ("--timeout", "1min")],
)  # fmt: skip
def test_wrong_arguments(scan, arguments):
    with pytest.raises(SystemExit) as end:
        scan("rs485-1", *arguments)
    assert end.value.code == 2


def test_a_running_agent_looks_and_goes_on_polling(scan, agent, line):
    wait_for(lambda: len(line.seen(3)) > 3)
    begin = len(line.requests)
    code, out, err = scan("rs485-1", "--ids", "1-20", "--json")
    between = [request for _, request in line.requests[begin:]]
    assert code == 0, err
    assert [json.loads(one)["unit_id"] for one in out.splitlines()] == [3, 7]
    assert json.loads(out.splitlines()[0])["baudrate"] == 115200
    probes = [n for n, request in enumerate(between) if request.address == 0]
    polls = [n for n, request in enumerate(between) if request.address == 10]
    assert len(probes) >= 20 and len([n for n in polls if probes[0] < n < probes[-1]]) >= 5, "20 x 50 ms, 10 polls/s"


def test_a_running_agent_keeps_its_settings(scan, agent, line):
    code, out, err = scan("rs485-1", "--ids", "1-2", "--baudrates", "9600,115200")
    assert (code, out) == (1, "")
    assert err == "bocage: the agent runs and keeps rs485-1 at 115200 baud 8N1; stop it to try 9600 baud 8N1\n"


def test_a_poll_that_is_due_gets_half_of_the_line(agent, line, tmp_path):
    """Ten who scan at once cannot keep the meter from being read."""

    async def look():
        async with connect(tmp_path / "run") as agent:
            for _ in range(2):
                await agent.request({"do": "scan", "bus": "rs485-1", "unit_id": 99})

    async def looks():
        await asyncio.gather(*(look() for _ in range(10)))

    wait_for(lambda: len(line.seen(3)) > 3)
    begin = len(line.requests)
    asyncio.run(looks())
    asked = [request.unit for _, request in line.requests[begin:]]
    assert asked.count(99) == 20 and asked.count(3) >= 5


def test_the_agent_refuses_what_it_does_not_understand(agent, tmp_path):
    line = {"bus": "rs485-1"}
    wrong = [line, {**line, "unit_id": 0}, {**line, "unit_id": 1, "timeout": 60}, {"bus": "pins", "unit_id": 1},
             {"bus": "x", "unit_id": 1}, {"unit_id": 1}]  # fmt: skip

    async def ask():
        async with connect(tmp_path / "run") as agent:
            for request in wrong:
                with pytest.raises(BocageError):
                    await agent.request({"do": "scan", **request})

    asyncio.run(ask())


def test_ctrl_c_ends_it_and_keeps_what_was_found(site, folders, line):
    """On a terminal there is a bar on standard error; what is found goes to the pipe at once."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "scan", str(site), "rs485-1", "--ids", "3,100-247", "--json", *folders],
        stdout=subprocess.PIPE, stderr=terminal, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    os.close(terminal)
    assert json.loads(process.stdout.readline())["unit_id"] == 3
    wait_for(lambda: line.seen(102))
    process.send_signal(signal.SIGINT)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:  # the terminal's last user is gone
        pass
    os.close(master)
    assert process.wait(10) == 130
    assert b"rs485-1 115200 baud 8N1" in shown and b"/149" in shown and b"Traceback" not in shown
    assert shown.endswith(b"\x1b[?25h") or b"\x1b[?25h" in shown, "the cursor is shown again"
