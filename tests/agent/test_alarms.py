"""docs/alarms.md is the closed list: what the source raises stands in it, with its severity."""

import ast
import asyncio
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from agent.core.alarms import Alarms, GatewayCondition, OpenAlarms
from agent.model import Event, Instant, Severity
from agent.services.alarms.control import ALARM, FAULT
from agent.services.registry import SERVICES
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "alarms.md").read_text()
CALLS = {"Event": 1, "AlarmChange": 1, "_event": 1, "_report": 1, "GatewayCondition": 0, "Happening": 1, "_Kind": 1}
"""Functions that raise something, and which argument is the code."""


def section(title):
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def documented():
    """Code -> severity of every alarm that may be raised now."""
    rows = [line.split("|") for line in section("Alarms of the gateway and its wires").splitlines() if "| `" in line]
    return {row[1].strip(" `"): row[3].strip() for row in rows}


def services():
    """Code -> severity of every alarm of lighting, water and heating."""
    return dict(re.findall(r"\| `(\w+)` \| (critical|major|minor|info) \|", section("Alarms of the services")))


def raised():
    """(where, kind, code, severity or None) of every call with a code that is written out."""
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            if name not in CALLS or len(node.args) <= CALLS[name]:
                continue
            code = node.args[CALLS[name]]
            kind = "alarm" if name == "GatewayCondition" else getattr(node.args[0], "value", None)
            if isinstance(code, ast.Constant):
                severities = [arg.attr.lower() for arg in node.args if "Severity." in ast.unparse(arg)]
                yield f"{path.name}:{node.lineno}", kind, code.value, severities[0] if severities else None


def test_what_is_raised_is_in_the_list_with_its_severity():
    found = list(raised())
    alarms, others = documented() | services(), set(re.findall(r"`(\w+)`", section("What is no alarm")))
    for where, kind, code, severity in found:
        if kind in ("alarm", "cleared"):
            assert code in alarms, f"{where}: {code} is not in docs/alarms.md"
        else:
            assert code in others, f"{where}: {code} is not in docs/alarms.md"
        if kind == "alarm" and severity is not None:
            assert severity == alarms[code], where
    by_controls = {"calendar_stale"}  # as those of the services are
    known = {code for _, kind, code, _ in found if kind == "alarm"}
    assert known >= documented().keys() - by_controls, "an alarm is never raised"


SEVERITY = "critical|major|minor|info"
SERVICE_SECTIONS = {
    folder: dict(re.findall(rf"^\| `(\w+)` \| (?:`[\w.]+`: )?({SEVERITY}) \|", rows, re.M))
    for folder, rows in re.findall(
        r"^### .*agent/services/(\w+)/README.*\n((?:(?!### ).*\n)*)", section("Alarms of the services"), re.M
    )
}
"""Folder of a service -> code -> severity, by the list."""


def test_each_service_has_its_section():
    assert SERVICE_SECTIONS.keys() == {service.folder.rpartition(".")[2] for service in SERVICES}
    assert all(SERVICE_SECTIONS.values())


@pytest.mark.parametrize("folder", SERVICE_SECTIONS)
def test_the_tables_of_the_code_are_those_of_the_list(folder):
    listed, modules = SERVICE_SECTIONS[folder], sorted((ROOT / "agent" / "services" / folder).glob("*.py"))
    for module in modules:
        for name, table in vars(import_module(f"agent.services.{folder}.{module.stem}")).items():
            if isinstance(table, dict) and name.endswith(("SEVERITY", "SEVERITIES")):
                wrong = {code: severity for code, severity in table.items() if listed.get(code) != severity.value}
                assert not wrong, f"{module.name}: {name}"
    code = "".join(module.read_text() for module in modules)
    assert not [alarm for alarm in listed if f'"{alarm}"' not in code], "it is never raised"


@pytest.mark.parametrize("folder", SERVICE_SECTIONS)
def test_the_pages_of_a_service_say_what_the_list_says(folder):
    listed = SERVICE_SECTIONS[folder]
    pages = "".join(page.read_text() for page in sorted((ROOT / "agent" / "services" / folder).glob("*.md")))
    rows = "\n".join(line for line in pages.splitlines() if line.startswith("|"))
    found = [(codes, said) for codes, said in re.findall(rf"^\| ((?:`\w+`(?:, )?)+) \| ({SEVERITY}) \|", rows, re.M)]
    found += re.findall(rf"(`\w+`) ({SEVERITY})\b", rows)
    told = [(code, said) for codes, said in found for code in re.findall(r"\w+", codes)]
    events = dict.fromkeys(re.findall(r"`(\w+)`", section("What is no alarm")), "info")
    known = events | documented() | listed
    assert [(code, said) for code, said in told if known.get(code) != said] == []
    assert [code for code in listed if f"`{code}`" not in pages] == []


def test_every_name_is_there_once():
    names = [*documented(), *services()]
    assert len(names) == len(set(names)) >= 39


@pytest.fixture
def gateway():
    class Gateway:
        wrong, told, memory, clock = [], [], FakeStore(), FakeClock(0.0)

        def __init__(self):
            self.boot()

        def boot(self):
            self.alarms = Alarms(lambda: list(self.wrong), self.tell, self.memory, self.clock)

        async def tell(self, event):
            self.told.append((event.kind, event.code, event.subject))

    return Gateway()


async def test_raised_once_and_cleared_once_across_a_restart(gateway):
    one = GatewayCondition("device_lost", "meter-a", Severity.MAJOR, {}, lasts=30)
    gateway.wrong = [one]
    await gateway.alarms.check()
    gateway.clock.at = 29
    await gateway.alarms.check()
    assert gateway.told == [], "not before it has lasted"
    gateway.wrong = []
    await gateway.alarms.check()
    gateway.wrong = [one]
    gateway.clock.at = 31
    await gateway.alarms.check()
    assert gateway.told == [], "a pause begins it anew"
    gateway.clock.at = 61
    await gateway.alarms.check()
    await gateway.alarms.check()
    assert gateway.told == [("alarm", "device_lost", "meter-a")]
    gateway.boot()
    await gateway.alarms.check()
    assert len(gateway.told) == 1, "known from before the restart"
    gateway.boot()
    gateway.wrong = []
    await gateway.alarms.check()
    await gateway.alarms.check()
    assert gateway.told[1:] == [("cleared", "device_lost", "meter-a")]


async def test_an_alarm_that_was_over_once_is_told_once_when_it_comes_again(gateway):
    one = GatewayCondition("crash_loop", "gateway", Severity.MAJOR, {})
    for wrong in ([one], [], [one]):
        gateway.wrong = wrong
        await gateway.alarms.check()
    for _ in range(3):
        gateway.boot()
        await gateway.alarms.check()
    assert [kind for kind, _, _ in gateway.told] == ["alarm", "cleared", "alarm"]


async def test_an_alarm_that_was_told_is_known_to_be_open_after_a_kill():
    """Else an uplink that is taken again tells its end a second time, or a refusal is raised anew."""
    flash, told = FakeStore(), []

    async def tell(event):
        told.append(event.kind)

    at = Instant("b", 0, 0)
    await OpenAlarms(tell, flash).put_event(Event("alarm", "uplink_refused", "status", at, Severity.MAJOR))
    flash.power_cut()
    register = OpenAlarms(tell, flash)
    assert register.is_open("uplink_refused.status")
    await register.put_event(Event("cleared", "uplink_refused", "status", at))
    flash.power_cut()
    assert not OpenAlarms(tell, flash).is_open("uplink_refused.status")


@pytest.mark.parametrize("lasts", [True, False], ids=["wrong again", "over"])
@pytest.mark.parametrize("dies", ["alarm", "cleared"])
async def test_a_kill_while_an_alarm_or_its_end_is_told_forgets_neither(gateway, dies, lasts):
    """The region may have heard it: what is wrong at the next start is said again, else its end is."""

    class Killed(Exception):
        pass

    tell, one = gateway.tell, GatewayCondition("config_invalid", "gateway", Severity.MAJOR, {})

    async def last_word(event):
        await tell(event)
        if event.kind == dies:
            raise Killed

    gateway.alarms._tell = last_word
    with pytest.raises(Killed):
        for wrong in ([one], []):
            gateway.wrong = wrong
            await gateway.alarms.check()
    gateway.boot()
    gateway.wrong = [one] if lasts else []
    await gateway.alarms.check()
    await gateway.alarms.check()
    before = ["alarm"] if dies == "alarm" else ["alarm", "cleared"]
    assert [kind for kind, *_ in gateway.told] == [*before, "alarm" if lasts else "cleared"]
    gateway.boot()
    await gateway.alarms.check()
    assert len(gateway.told) == len(before) + 1, "known by now"


async def test_an_alarm_of_before_stays_until_it_is_known_to_be_over(gateway):
    """A device that was not asked yet since the start, say: neither raised nor cleared for that."""
    one = GatewayCondition("points_refused", "m", Severity.MINOR, {}, lasts=30)
    unknown = one._replace(known=False, lasts=0)
    for at, wrong in ((0, [unknown]), (0, [one]), (30, [one])):
        gateway.clock.at, gateway.wrong = at, wrong
        await gateway.alarms.check()
    assert gateway.told == [("alarm", "points_refused", "m")]
    gateway.boot()
    for at, wrong in ((40, [unknown]), (50, [unknown, one]), (90, [unknown, one])):
        gateway.clock.at, gateway.wrong = at, wrong
        await gateway.alarms.check()
    assert len(gateway.told) == 1
    gateway.wrong = []
    await gateway.alarms.check()
    assert gateway.told[1:] == [("cleared", "points_refused", "m")]


async def test_what_is_not_known_lasts_for_no_time_at_all(gateway):
    one = GatewayCondition("points_refused", "m", Severity.MINOR, {}, lasts=30)
    for at, wrong in ((0, [one._replace(known=False)]), (40, [one]), (69, [one])):
        gateway.clock.at, gateway.wrong = at, wrong
        await gateway.alarms.check()
    assert gateway.told == []


async def test_another_alarm_forgets_nothing_of_what_a_kill_left_unsure(gateway):
    """It may have been told or not, and is not known at the first look: it is said again once it is."""
    one, other = (GatewayCondition("device_lost", name, Severity.MAJOR, {}) for name in ("m", "n"))
    gateway.memory.update(raised=[["device_lost", "m"]], ending=[["device_lost", "m"]])
    for wrong in ([one._replace(known=False), other], [one, other]):
        gateway.boot()
        gateway.wrong = wrong
        await gateway.alarms.check()
    assert gateway.told == [("alarm", "device_lost", "n"), ("alarm", "device_lost", "m")]


IMPATIENT = """
import agent.core.alarms, agent.runtime.status
agent.core.alarms.PERIOD = 0.2
agent.runtime.status.DEVICE_PATIENCE = agent.runtime.status.LINK_PATIENCE = agent.runtime.status.CLOCK_PATIENCE = 0.5
"""


def test_what_lasts_is_told_and_its_end_too(site, slave, link, subscriber, wait_for):
    """A device that is silent, a link that is cut and a time that nobody knows, in a whole agent."""
    site.sabotage = IMPATIENT
    site.env["BOCAGE_CLOCK"] = "untrusted"
    site.start()
    wait_for(lambda: subscriber.events("clock_untrusted", "alarm"))
    slave.deaf.add(1)
    (lost,) = wait_for(lambda: subscriber.events("device_lost", "alarm"))
    assert lost["detail"]["reason"].startswith("no answer within ")
    assert "\n          no answer within " in site.bocage("alarms").stdout
    link.cut()
    wait_for(lambda: site.status()["uplink"]["state"] != "connected")
    slave.deaf.clear()
    wait_for(lambda: "alarm code=link_down" in site.log.read_text() and site.quality("m.fixed") == "good")
    link.mend()
    wait_for(lambda: subscriber.events("link_down", "cleared"))
    wait_for(lambda: subscriber.events("device_lost", "cleared"))
    told = [(event["kind"], event["code"], event["subject"]) for event in subscriber.on("event")]
    for code, subject in (("device_lost", "m"), ("link_down", "uplink")):
        assert [kind for kind, *rest in told if rest == [code, subject]] == ["alarm", "cleared"], told
    assert ("alarm", "clock_untrusted", "gateway") in told
    site.stop()
    site.env["BOCAGE_CLOCK"] = "trusted"
    site.start()
    wait_for(lambda: subscriber.events("clock_untrusted", "cleared"), what="the end, known across a restart")
    assert len(subscriber.events("clock_untrusted")) == 2


def test_points_that_a_device_refuses_are_told_until_it_gives_them(site, line, subscriber, wait_for):
    """A hole in the registers of one, and a function that another passes over in silence; both wires go on."""
    site.sabotage = f"""{IMPATIENT}
import drivers.modbus.schedule
drivers.modbus.schedule._REFUSED_AGAIN = drivers.modbus.schedule._SILENT_AGAIN = 1.0
"""
    points = "  have: {register: holding, address: 1}\n  hole: {register: holding, address: 2}\n"
    points += "  relay: {register: coil, address: 3}\n"
    (site.folder / "profiles" / "holed.yaml").write_text(f"name: holed\npoints:\n{points}")
    site.document["buses"]["rs485"] = {"type": "modbus_rtu", "port": str(line.link), "timeout": "100ms"}
    for name, unit in (("one", 1), ("two", 2)):
        site.document["devices"][name] = {"bus": "rs485", "unit_id": unit, "profile": "holed", "poll": "200ms"}
        line.units[unit].coil[3] = 1
    hole = line.units[1].holding.pop(2)
    line.behave = lambda r: [] if hole is not None and r.unit == 2 and r.function == 1 else [(0, r.frame)]
    site.start()
    told = wait_for(lambda: len(found := subscriber.events("points_refused", "alarm")) == 2 and found, 20)
    detail = {event["subject"]: event["detail"] for event in told}
    assert (detail["one"]["points"], detail["two"]["points"]) == ("one.hole", "two.relay")
    assert detail["one"]["reason"] == "function 3 at 2: exception 2, illegal data address"
    said = site.bocage("alarms").stdout
    assert "\n          one.hole: function 3 at 2: exception 2, illegal data address" in said
    assert "\n          two.relay: no answer within 0.1 s" in said
    assert site.quality("one.have") == site.quality("two.hole") == "good"
    line.units[1].holding[2], hole = hole, None
    wait_for(lambda: len(subscriber.events("points_refused", "cleared")) == 2, 20)
    wait_for(lambda: site.quality("one.hole") == site.quality("two.relay") == "good")


def test_an_alarm_of_before_a_kill_ends_when_its_device_answers_and_no_sooner(site, line, subscriber, wait_for):
    """Each was ended in the first second of the next process, before it had asked, and raised anew."""
    site.sabotage = f"""{IMPATIENT}
import drivers.modbus.schedule
drivers.modbus.schedule._REFUSED_AGAIN = 1.0
"""
    points = "  have: {register: holding, address: 1}\n  hole: {register: holding, address: 2}\n"
    (site.folder / "profiles" / "holed.yaml").write_text(f"name: holed\npoints:\n{points}")
    site.document["buses"]["rs485"] = {"type": "modbus_rtu", "port": str(line.link), "timeout": "100ms"}
    for name, unit in (("one", 1), ("two", 2)):
        site.document["devices"][name] = {"bus": "rs485", "unit_id": unit, "profile": "holed", "poll": "200ms"}
    hole, gone = line.units[1].holding.pop(2), line.units.pop(2)
    site.start()
    wait_for(lambda: subscriber.events("points_refused", "alarm") and subscriber.events("device_lost", "alarm"), 20)
    wait_for(lambda: '"key": "alarms.ending", "value": []' in site.facts(), what="that both were told")
    site.kill()
    site.start()
    wait_for(lambda: site.quality("one.have") == "good" and "two" in _lost(site), 20)
    wait_for(lambda: site.status()["uptime_s"] > 3)
    line.units[1].holding[2], line.units[2] = hole, gone
    for code in ("points_refused", "device_lost"):
        wait_for(lambda code=code: subscriber.events(code, "cleared"), 20)
        assert [event["kind"] for event in subscriber.events(code)] == ["alarm", "cleared"]


def _lost(site):
    return [device for bus in site.status()["buses"] for device in bus.get("lost", ())]


async def test_an_alarm_whose_teller_was_cancelled_is_open_all_the_same() -> None:
    """The outbox lets the writing end; what was told then counts as told."""
    flash = FakeStore()
    held, told = asyncio.Event(), []

    async def tell(event: Event) -> None:
        told.append(event)
        await held.wait()

    register = OpenAlarms(tell, flash)
    alarm = Event("alarm", "max_on", "ev1", Instant("boot", 0, 0), Severity.MAJOR)
    teller = asyncio.create_task(register.put_event(alarm))
    while not told:
        await asyncio.sleep(0)
    teller.cancel()
    await asyncio.wait({teller})
    assert register.raised() == OpenAlarms(tell, flash).raised() == [("max_on", "ev1")]


def test_an_open_alarm_says_that_its_pump_was_latched_since(site, subscriber, wait_for):
    """The contact of the flow is off. Time runs 300 times as fast: the pump rests for a second between its dry runs."""
    site.sabotage = (
        "import time; from agent.app import Agent; from agent.control.civil import Pace; "
        "pace = Pace(300, time.clock_gettime(time.CLOCK_BOOTTIME)); "
        "Agent.__init__.__defaults__ = (pace, *Agent.__init__.__defaults__[1:])"
    )
    site.document["actuators"]["pump"] = {"output": "m.relay2", "safe_state": "off", "boot_state": "off"}
    dry = {"flow": "m.di1", "latch_after": 2}
    site.document["water"] = {
        "tanks": {"reservoir": {"level": "tank", "pump": "pump", "start": "60 %", "dry_run": dry}}
    }
    site.start()
    wait_for(lambda: subscriber.events("dry_run", "change"), 30, what="the latch")
    assert [one["detail"] for one in subscriber.events("dry_run", "alarm")] == [{"latched": False}]
    assert "latched: on" in site.bocage("alarms").stdout
    (alarm,) = json.loads(site.bocage("why", "reservoir", "--json").stdout)["alarms"]
    assert (alarm["code"], alarm["detail"]) == ("dry_run", {"latched": True})
    site.bocage("write", "reservoir.latch", "reset")
    wait_for(lambda: subscriber.events("dry_run", "cleared"), what="its end")


async def test_the_words_of_an_alarm_are_shown_while_it_is_open():
    memory, detail = FakeStore(), {"value": -14.0, "text": "Chambre froide -14 degC"}

    async def tell(_event):
        pass

    event = Event("alarm", "point_alarm", "cold-room", Instant("b", 0, None), Severity.MAJOR, detail)
    await OpenAlarms(tell, memory).put_event(event)
    (one,) = OpenAlarms(tell, memory).status()
    assert one == {
        "code": "point_alarm", "subject": "cold-room", "severity": "major", "since": None, "acked": False,
        "detail": {"text": "Chambre froide -14 degC"},
    }  # fmt: skip


def test_the_alarms_of_points_are_in_the_list():
    assert services()[ALARM] == "major"
    assert services()[FAULT] == "minor"
