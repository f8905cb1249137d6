"""`bocage demo --site`: the copy of a site file, and the village with all of it as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.clock import SystemClock
from agent.demo import cabinet
from agent.demo.any_site import SiteDemo, beginning, hurried
from agent.demo.site_copy import SiteCopy, Wires
from agent.demo.telling import Teller
from agent.errors import BocageError, ConfigError
from agent.site.loader import check, load
from tests.fakes.ports import free_ports
from tests.fakes.waiting import wait_for

CONFIG = Path(__file__).parent.parent.parent / "config"
PARIS = ZoneInfo("Europe/Paris")
WIRES = Wires(18831, {"plant": 18832}, lambda name: Path("/tmp/dev") / name)


def copied(folder, speed, name="village.yaml"):
    """The copy of an example, with the files that it uses."""
    copy = SiteCopy(CONFIG / name)
    for beside, content in copy.files.items():
        (folder / beside).parent.mkdir(parents=True, exist_ok=True)
        (folder / beside).write_bytes(content)
    (folder / "site.yaml").write_text(copy.text(WIRES, speed))
    return folder / "site.yaml"


@pytest.mark.parametrize("speed", [1, 60, 1000])
def test_the_copy_of_the_village_checks_at_each_speed(tmp_path, speed):
    assert check(copied(tmp_path, speed)) == []
    (tmp_path / "drain.yaml").write_text(SiteCopy(CONFIG / "village.yaml").text(WIRES, speed, wired=False))
    assert check(tmp_path / "drain.yaml") == []


def test_a_copy_at_the_worlds_speed_is_the_file_with_other_wires(tmp_path):
    site, copy = load(CONFIG / "village.yaml"), load(copied(tmp_path, 1))
    for section in ("signals", "actuators", "calendars", "lighting", "water", "heating", "alarms", "rules", "peers"):
        assert getattr(copy, section) == getattr(site, section), section
    assert [device.period for device in copy.devices.values()] == [one.period for one in site.devices.values()]
    assert (copy.uplink.host, copy.uplink.port, copy.uplink.tls) == ("127.0.0.1", 18831, False)
    assert copy.uplink.username is None and copy.uplink.password is None
    assert copy.buses["cabinet"].port == "/tmp/dev/cabinet" and copy.buses["plant"].port == 18832


def test_a_hurried_copy_is_read_often_and_waits_for_devices(tmp_path):
    copy = load(copied(tmp_path, 600))
    assert {device.period for device in copy.devices.values() if device.bus != "station"} == {0.25}
    assert copy.actuators["p1"].min_off == pytest.approx(0.2) and copy.actuators["b1"].min_on == pytest.approx(0.4)
    reservoir = copy.water.tanks["reservoir"]
    assert (reservoir.standby_after, reservoir.dry_run.grace, reservoir.dry_run.no_flow) == (1800, 1800, 1800)
    assert reservoir.tariff == load(CONFIG / "village.yaml").water.tanks["reservoir"].tariff


def test_a_hurried_meter_has_short_edges_also_without_a_debounce_of_its_own(tmp_path):
    text = (CONFIG / "village.yaml").read_text()
    assert ", debounce: 20ms" in text
    for beside, content in SiteCopy(CONFIG / "village.yaml").files.items():
        (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / beside).write_bytes(content)
    (tmp_path / "mine.yaml").write_text(text.replace(", debounce: 20ms", ""))
    (tmp_path / "copy.yaml").write_text(SiteCopy(tmp_path / "mine.yaml").text(WIRES, 600))
    site, copy = load(tmp_path / "mine.yaml"), load(tmp_path / "copy.yaml")
    meters = [name for name, one in site.signals.items() if one.kind == "counter" and one.from_.startswith("gpio")]
    assert meters and {copy.signals[name].debounce for name in meters} == {0.005}


def test_buses_that_no_demo_has_are_said():
    with pytest.raises(BocageError, match=r"no devices for the bus lora-1 \(lora_chirpstack\)"):
        SiteCopy(CONFIG / "saint-seine.yaml")


def test_a_wrong_file_is_said_with_its_line(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("version: 1\nsite: {id: x}\nbusses: {}\n")
    with pytest.raises(ConfigError) as raised:
        SiteCopy(file)
    assert "wrong.yaml:3:1" in str(raised.value)


@pytest.mark.parametrize("today", ["2026-11-30", "2027-01-01", "2027-01-09", "2028-02-29", "2029-07-14"])
def test_a_hurried_demo_begins_on_a_wednesday_of_january_to_come(today):
    now = datetime.fromisoformat(today).replace(tzinfo=PARIS)
    begins = beginning(now)
    assert begins > now and begins.weekday() == 2 and begins.month == 1 and 8 <= begins.day <= 15
    assert (begins.hour, begins.minute) == (21, 15)


@pytest.mark.parametrize("speed", [10, 600, 1000])
def test_the_pace_has_the_date_now_and_goes_on_from_there(speed):
    now = datetime.now(PARIS)
    begins = beginning(now)
    pace, at = hurried(now, begins, speed), SystemClock().monotonic()
    assert pace.at(at) - at == pytest.approx((begins - now).total_seconds(), abs=speed * 5)
    assert pace.at(at + 10) - pace.at(at) == pytest.approx(10 * speed, abs=0.01)


class Pin:
    """An input of the mock chip."""

    function = "input"

    def __init__(self):
        self.lows, self.closed = 0, False

    def drive_low(self):
        self.lows, self.closed = self.lows + 1, True

    def drive_high(self):
        self.closed = False


def test_a_reed_pulses_at_its_rate_and_stands_as_it_is_put():
    pin = Pin()
    reed = cabinet.Reed(pin)
    reed.put("25")
    wait_for(lambda: pin.lows >= 5)
    reed.put("0")
    wait_for(lambda: not pin.closed)
    reed.put("on")
    assert pin.closed
    reed.put("off")
    assert not pin.closed


def test_the_other_site_has_what_ours_asks_for_and_reads(tmp_path):
    demo = SiteDemo(tmp_path, 20000, SiteCopy(CONFIG / "village.yaml"), None, 600)
    (peer,) = demo._peers.values()
    peer.prepare()
    assert check(peer.site_file) == []
    site = load(peer.site_file)
    assert (site.site.id, site.uplink.port, site.buses["works"].port) == ("pompage", 20000, 20003)
    assert list(site.actuators) == ["spring"] == list(site.peers["val-du-loup"].allow)
    assert site.signals["spring-flow"].unit == "m3/h"
    assert peer._module.words("input", 0, 1) == [4000] and not peer.is_on("spring")
    peer._module.set_bit(0, True)
    assert peer._module.words("input", 0, 1) == [12_000] and peer.is_on("spring")


def event(kind, code, subject, detail=None, severity="info"):
    return {"kind": kind, "code": code, "subject": subject, "severity": severity, "detail": detail}


def output(subject, to, cause, priority=15):
    return event("audit", "output", subject, {"from": None, "to": to, "priority": priority, "cause": cause})


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (output("p1", True, "filling"), "p1 on: filling"),
        (output("p1", False, "lock hatch-p1", 2), "p1 off: lock hatch-p1 (priority 2)"),
        (event("alarm", "overflow", "relevage-1", {}, "major"), "ALARM major overflow relevage-1"),
        (
            event("alarm", "point_alarm", "cold-room", {"since": "x", "value": -11.0, "text": "trop chaud"}, "major"),
            "ALARM major point_alarm cold-room: trop chaud",
        ),
        (event("cleared", "overflow", "relevage-1"), "over: overflow relevage-1"),
        (
            event("change", "overflow", "relevage-1", {"begin": "2027-01-14T00:37:29+01:00", "m3": 7.361}),
            "log: overflow relevage-1: begin 00:37, m3 7.361",
        ),
        (event("audit", "command", "km1", {}), ""),
    ],
)
def test_an_event_is_one_line(heard, said):
    assert Teller().told(heard) == said


def test_a_level_that_moves_a_little_is_told_once():
    teller = Teller()
    steps = [(40.0, "comfort"), (39.0, "comfort"), (37.0, "comfort"), (36.0, "reduced")]
    assert [bool(teller.told(output("hp.flow_setpoint", level, why))) for level, why in steps] == [
        True, False, True, True,
    ]  # fmt: skip


def test_what_services_count_is_told_when_it_changes():
    def status(balance):
        unit = {"unit": "m3"}
        return {"points": [{"id": "north.balance", "value": balance, **unit}, {"id": "sump", "value": 1.0, **unit}]}

    teller = Teller()
    assert [list(teller.counted(status(one))) for one in (None, 5.5, 5.5, 6.0)] == [
        [], ["north.balance 5.5 m3"], [], ["north.balance 6 m3"],
    ]  # fmt: skip


def test_the_copy_is_in_a_folder_of_its_own(tmp_path):
    demo = SiteDemo(tmp_path, 20000, SiteCopy(CONFIG / "village.yaml"), None, 600)
    demo.folder.prepare()
    folder = tmp_path / "val-du-loup"
    assert check(folder / "site.yaml") == []
    assert (folder / "village" / "hall.ics").read_bytes() == (CONFIG / "village" / "hall.ics").read_bytes()


def started(tmp_path, *options):
    environment = {**os.environ, "BOCAGE_DEMO_PORT": str(free_ports(4)),
                   "BOCAGE_RUNTIME_DIR": str(tmp_path / "runtime")}  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "agent", "demo", *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_two_demos_at_once_are_refused(tmp_path):
    done = started(tmp_path, "inter-sites", "--site", str(CONFIG / "village.yaml"))
    assert done.returncode == 1 and "leave out inter-sites" in done.stderr


def test_pumps_are_waited_for_also_where_the_file_has_no_times(tmp_path):
    file = tmp_path / "short.yaml"
    file.write_text("""\
version: 1
site: {id: short}
buses: {plant: {type: modbus_tcp, host: 192.168.1.20}}
devices: {io-1: {bus: plant, unit_id: 1, profile: relay8_ai8}}
signals:
  level: {from: io-1.ai1, signal: 4-20mA, scale: [0, 100], unit: "%"}
  flow:  {from: io-1.ai2, signal: 4-20mA, scale: [0, 40], unit: m3/h}
actuators: {p1: {output: io-1.relay1}, p2: {output: io-1.relay2}}
water: {tanks: {t: {level: level, pumps: [p1, p2], dry_run: {flow: flow}}}}
""")
    (tmp_path / "site.yaml").write_text(SiteCopy(file).text(WIRES, 100))
    tank = load(tmp_path / "site.yaml").water.tanks["t"]
    assert (tank.standby_after, tank.dry_run.grace, tank.dry_run.no_flow) == (300, 300, 300)


@pytest.mark.slow
def test_a_night_of_the_village(tmp_path):
    """Fourteen seconds are almost four hours: cheap hours, an open hatch, the lamps' cut, a button, frost, and rain."""
    done = started(tmp_path, "--site", str(CONFIG / "village.yaml"), "--speed", "1000", "--seconds", "14")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^demo: read (\d{4,}), delivered \1, duplicates \d+, lost 0$", done.stdout, re.MULTILINE)
    for line in (
        r"p[12] on: filling",
        r"the contact io-2\.di8 closes",
        r"p[12] off: lock hatch-p[12] \(priority 2\)",
        r"ALARM info interlock hatch-p1: actuator p1, value off",
        r"over: interlock hatch-p1",
        r"km1 off: main-street part_night_off",
        r"a button is pressed: io-1\.di5 \(main-street\)",
        r"km1 on: main-street on request \(priority 12\)",
        r"trace on: rule trace-heating \(priority 14\)",
        r"hp\.flow_setpoint \d\d",
        r"dim1 100: lane presence \(priority 12\)",
        r"spring of pompage runs",
        r"spring on: filling",
        r"ALARM critical high_level relevage-1",
        r"ALARM major overflow relevage-1",
    ):
        assert re.search(rf"^(Wed|Thu) \d\d:\d\d +{line}", done.stdout, re.MULTILINE), (line, done.stdout)
    pumps = re.findall(r"(p[12]) on: filling", done.stdout)
    assert set(pumps) == {"p1", "p2"}, "they take turns"
    log = (tmp_path / "demo" / "val-du-loup" / "agent.log").read_text()
    log += (tmp_path / "demo" / "val-du-loup" / "pompage" / "agent.log").read_text()
    assert "control failed" not in log and " ERROR " not in log
