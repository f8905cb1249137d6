"""`bocage why`: the chain that decides about an output, from the running agent, and from the audit on the box."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from agent.cli.why import _actuator
from tests.fakes.waiting import wait_for

TANK = {"tanks": {"reservoir": {"level": "tank", "pump": "pump", "start": "60 %"}}}


@pytest.fixture
def village(site):
    site.document["actuators"]["pump"] = {
        "output": "m.relay2", "safe_state": "off", "boot_state": "off", "min_off": "10min",
    }  # fmt: skip
    site.document["water"] = TANK
    return site


def lines(site, name):
    return site.bocage("why", name, check=0).stdout.splitlines()


def actuator(site, name):
    return json.loads(site.bocage("why", name, "--json", check=0).stdout)["actuators"][0]


def test_the_chain_of_an_output_and_of_a_service(village, slave, subscriber):
    """The level is 50 %: the pump fills, and would be stopped if the level never moved. Then its device is lost."""
    village.start()
    wait_for(lambda: actuator(village, "pump")["value"] is True, what="the pump's start")
    told = lines(village, "pump")
    assert told[0].startswith("pump is on since ")
    assert told[1:3] == ["  because of priority 15: filling", "  then would come priority 16: off, boot state"]
    assert "  limit min_off: off for at least 10min" in told
    assert "reservoir decides" in told and "  wishes pump on at priority 15: filling" in told
    assert any(line.startswith("  looks at tank: 50 %, read ") for line in told)
    coming = [line for line in told if line.startswith("  next, if its inputs stay as they are: pump off, the level")]
    assert len(coming) == 1
    assert [line for line in lines(village, "m.relay2") if not line.startswith(("  looks", "pump is"))][:3] == told[1:4]
    assert "reservoir decides" in lines(village, "reservoir")
    slave.deaf.add(1)
    wait_for(lambda: any("level_fault" in line for line in lines(village, "reservoir")), 60, "the lost level")
    told = lines(village, "reservoir")
    assert any(re.match("  looks at tank: (bad|stale), last good ", line) for line in told)
    assert any(line.startswith("alarm level_fault reservoir (major) since ") for line in told)


def test_a_zone_tells_its_mode_and_the_commands_that_hold(site, subscriber):
    site.document["signals"]["room"] = {"from": "m.level", "signal": "4-20mA", "scale": [0, 40], "unit": "degC"}
    site.document["heating"] = {
        "zones": {
            "school": {
                "sensor": "room", "control": {"type": "hysteresis"}, "plant": {"burner": "lamp"},
                "setpoints": {"comfort": 19, "reduced": 16, "frost": 8}, "week": {"default": "reduced"},
            }
        }
    }  # fmt: skip
    site.start()
    wait_for(lambda: "  school.mode is reduced" in lines(site, "school"))
    assert site.bocage("write", "school.mode", "comfort", "--for", "30min").returncode == 0
    told = lines(site, "school")
    assert "  school.mode is comfort" in told and "  school.setpoint is 19 degC" in told
    (command,) = json.loads(site.bocage("why", "school", "--json").stdout)["controls"][0]["commands"]
    assert (command["point"], command["value"]) == ("school.mode", "comfort")
    assert timedelta(minutes=29) < datetime.fromisoformat(command["until"]) - datetime.now(UTC) < timedelta(minutes=31)
    assert f"  command school.mode comfort, until {command['until']}" in told


def test_a_command_its_end_and_the_limit_that_holds_it(village, subscriber):
    village.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    assert village.bocage("write", "lamp", "on", "--for", "30min").returncode == 0
    one = actuator(village, "lamp")
    assert (one["value"], one["priority"], one["array"][0]["priority"]) == (True, 8, 8)
    ends = datetime.fromisoformat(one["until"]) - datetime.fromisoformat(one["since"])
    assert timedelta(minutes=29) < ends < timedelta(minutes=31)
    told = lines(village, "lamp")
    assert told[0].startswith("lamp is on since ") and told[0].endswith("s)")
    assert told[1].startswith("  because of priority 8: command local-") and ", until 20" in told[1]


@pytest.mark.parametrize(
    ("value", "said"), [(100, "dim is 100, on since "), (0.0, "dim is 0, off since "), (True, "dim is on since ")]
)
def test_of_a_level_it_is_told_since_when_it_is_on(value, said):
    one = {"name": "dim", "value": value, "since": "2026-01-15T04:57:06Z", "cause": "", "array": [], "feedback": None,
           "state": "steady", "wanted": value, "overrun": False, "limits": {}}  # fmt: skip
    assert next(_actuator(one, None, ZoneInfo("Europe/Paris"))).startswith(said)


def test_an_alarm_says_what_it_counts_and_when_it_comes(village, subscriber):
    """The level is 50 %: the alarm counts while the pump runs, which it looks at as well."""
    condition = {"point": "tank", "below": 60, "for": "2h", "while": {"actuator": "pump", "is": "on"}}
    village.document["alarms"] = {"slow": condition}
    village.start()
    wait_for(lambda: actuator(village, "pump")["value"] is True, what="the pump's start")
    wait_for(lambda: any("  counts: " in line for line in lines(village, "slow")), what="the count")
    told = lines(village, "slow")
    assert "  looks at pump: on" in told
    assert any(re.match(r"  counts: \d+s of 2h, since 20", line) for line in told)
    (control,) = json.loads(village.bocage("why", "slow", "--json").stdout)["controls"]
    (count,), (coming,) = control["counting"], control["next"]
    assert count["needs_s"] == 7200 and coming["alarm"] == "point_alarm"
    assert coming["in_s"] == pytest.approx(7200 - count["counted_s"], abs=1)
    assert f"  next, if its inputs stay as they are: alarm point_alarm, {coming['at']}" in lines(village, "slow")
    assert "  fills from 60 % to 85 %" in lines(village, "reservoir")


def test_a_rule_and_an_interlock_say_what_they_count_and_when_they_act(village, subscriber):
    """The level is 50 %: both count, and neither moves anything yet."""
    condition = {"point": "tank", "below": 60, "for": "2h"}
    village.document["rules"] = {
        "light": {"if": condition, "then": {"actuator": "lamp", "value": "on"}, "max_on": "12h"},
        "hatch": {"if": condition, "lock": {"actuator": "pump", "value": "off"}},
    }
    village.start()
    wait_for(lambda: actuator(village, "pump")["value"] is True, what="the pump's start")
    for name, moves, then in (("light", "lamp", "lamp on, rule light"), ("hatch", "pump", "pump off, lock hatch")):
        wait_for(lambda name=name: any("  counts: " in line for line in lines(village, name)), what="the count")
        document = json.loads(village.bocage("why", name, "--json").stdout)
        (control,) = document["controls"]
        (count,), coming = control["counting"], control["next"][0]
        assert (coming["actuator"], count["needs_s"]) == (moves, 7200)
        assert coming["in_s"] == pytest.approx(7200 - count["counted_s"], abs=1)
        for asked in (name, moves):
            told = lines(village, asked)
            assert any(re.match(r"  counts: \d+s of 2h, since 20", line) for line in told), told
            assert f"  next, if its inputs stay as they are: {then}, {coming['at']}" in told
    alarm = f"  next, if its inputs stay as they are: alarm interlock, {coming['at']}"
    assert alarm in lines(village, "hatch")


def test_a_name_that_is_not_there(village):
    village.start()
    done = village.bocage("why", "resevoir")
    assert done.returncode == 1
    assert done.stderr == 'bocage: "resevoir" is no actuator and no service of this site; did you mean "reservoir"?\n'
    village.kill()
    assert village.bocage("why", "lamp").returncode == 3


def test_a_moment_of_the_past_from_the_audit_that_is_not_delivered(village, link, subscriber):
    """The link is down, so the audit is on the box: with the agent, and without it after a kill."""
    village.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    link.cut()
    assert village.bocage("write", "lamp", "on").returncode == 0
    between = datetime.now().astimezone()
    assert village.bocage("write", "lamp", "off").returncode == 0
    after = datetime.now().astimezone()

    def then(at, *arguments):
        return village.bocage("why", "lamp", "--at", at.isoformat(), *arguments)

    for killed in (False, True):
        if killed:
            village.kill()
        found = then(between)
        assert found.returncode == 0, found.stderr
        told = found.stdout.splitlines()
        assert told[0].startswith("lamp was on since ")
        assert told[1].startswith("  because of priority 8: command local-") and ", by uid " in told[1]
        assert told[2].startswith("  then off at ")
        assert json.loads(then(after, "--json").stdout)["change"]["detail"]["to"] is False
        early = then(between - timedelta(days=1))
        assert early.returncode == 1 and "no audit record on this box is from before" in early.stdout
    assert village.bocage("why", "lamp", "--at", "yesterday").stderr.startswith('bocage: "yesterday" is not a moment')
    assert village.bocage("why", "fountain", "--at", "2026-01-15T23:10").returncode == 1


def test_opening_hours_by_a_calendar(site, slave, subscriber):
    """The chain names the calendar that holds the valve closed, and tells when it opens it."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    site.document["site"]["timezone"] = "Etc/UTC"
    site.document["calendars"] = {"market": {"days": [f"{tomorrow:%a}".lower()], "times": ["12:00-13:00"]}}
    site.document["signals"]["tap-ct"] = {"from": "m.count", "kind": "counter", "unit": "L"}
    site.document["actuators"]["tap"] = {"output": "m.relay2", "safe_state": "off", "boot_state": "off"}
    site.document["water"] = {"points": {"market-tap": {
        "meter": "tap-ct", "valve": "tap", "opening_hours": {"calendar": "market"},
    }}}  # fmt: skip
    site.start()
    wait_for(lambda: actuator(site, "tap")["cause"] == "outside the opening hours (market)", what="its hours")
    told = "\n".join(lines(site, "market-tap"))
    assert "wishes tap off at priority 15: outside the opening hours (market)" in told
    assert f"tap on, opening hours (market), {tomorrow:%Y-%m-%d}T12:00:00+00:00" in told
