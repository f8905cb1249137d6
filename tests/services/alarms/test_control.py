"""An alarm on a point: raised once and cleared once, whatever happens to the point, the process and the power."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.control.conditions import Compare, Condition, During, Is, Lasting, Operand
from agent.model import Event, Instant, Quality, Severity
from agent.runtime.status import discreet
from agent.services.alarms.control import ALARM, FAULT, PointAlarm
from tests.services.water.bench import Bench

COLD = Operand("cold-room.temperature")
WARM: Condition = Lasting(Compare(COLD, -15.0, hysteresis=1.0), 1200.0)


def alarm(condition: Condition = WARM, **more: Any) -> PointAlarm:
    settings = {
        "value": COLD, "unit": "degC", "limit": -15.0, "text": "Chambre froide {value} {unit} > {limit} ({name})",
        "points": (COLD.name,),
    }  # fmt: skip
    return PointAlarm("cold-room", condition, **settings | more)


def bench(control: PointAlarm | None = None) -> Bench:
    found = Bench(control or alarm(), "2026-07-01T12:00:00", {"well": False})
    found.set(COLD.name, -18.0)
    return found


def change(room: Bench, control: PointAlarm) -> None:
    """The site file has another entry from now on."""
    kept = json.loads(json.dumps(room.control.dump(room.state)))
    room.control, room.state = control, control.load(kept)
    room.settle()


def test_it_is_raised_once_and_cleared_once() -> None:
    room = bench()
    room.plan(600, COLD.name, -14.0)
    for at in range(660, 4000, 60):
        room.plan(at, COLD.name, -14.0 + at % 7 / 10)
    room.plan(4000, COLD.name, -15.5)
    room.plan(5000, COLD.name, -16.0)
    room.until(10_000)
    assert room.of(ALARM) == [(1800, "alarm"), (5000, "cleared")]
    assert room.details[0] == {
        "since": "2026-07-01T10:10:00Z", "point": COLD.name, "value": -13.9, "unit": "degC",
        "text": "Chambre froide -13.9 degC > -15 (cold-room)",
    }  # fmt: skip


def test_a_stale_point_is_no_value_and_an_alarm_of_its_own_after_its_own_time() -> None:
    room = bench()
    room.set(COLD.name, -14.0)
    room.until(1000)
    room.set(COLD.name, -14.0, Quality.STALE)
    room.until(1599)
    assert room.events == []
    room.until(5000)
    assert room.events == [(1600, "alarm", FAULT)]
    assert room.details == [{"points": [COLD.name]}]
    room.set(COLD.name, -14.0)
    room.until(5199)
    assert room.events[1:] == [(5000, "cleared", FAULT)], "1000 of 1200 s had been counted"
    room.until(6000)
    assert room.of(ALARM) == [(5200, "alarm")]
    room.set(COLD.name, -14.0, Quality.BAD)
    room.until(6500)
    room.set(COLD.name, -14.0)
    assert room.of(ALARM) == [(5200, "alarm")], "what is open stays open without a value"


def test_a_point_that_never_came_is_a_sensor_fault() -> None:
    room = Bench(alarm(), "2026-07-01T12:00:00", {})
    room.until(3600)
    assert room.events == [(600, "alarm", FAULT)]


def test_a_kill_at_any_moment_changes_nothing() -> None:
    expected = [(1260, "alarm"), (4000, "cleared")]
    for kill in (30, 61, 900, 1259, 1260, 1261, 3000, 3999, 4000):
        for heard in (True, False):
            room = bench()
            room.plan(60, COLD.name, -14.0)
            room.plan(4000, COLD.name, -17.0)
            room.until(kill)
            room.restart(heard)
            room.until(5000)
            assert room.of(ALARM) == expected, (kill, heard)


def test_a_power_cut_never_raises_early_and_keeps_what_is_open() -> None:
    for off in (10, 86_400):
        room = bench()
        room.set(COLD.name, -14.0)
        room.until(900)
        room.reboot(off)
        room.until(900 + off + 299)
        assert room.events == []
        room.until(900 + off + 1200)
        ((raised, _),) = room.of(ALARM)
        assert raised >= 1200 + off, "the time without power does not count"
        room.reboot(off)
        room.until(3000 + 2 * off)
        assert len(room.events) == 1, "it is not told again"
        room.set(COLD.name, -17.0)
        assert room.events[1:] == [(3000 + 2 * off, "cleared", ALARM)]


def test_a_sensor_that_was_lost_before_a_power_cut_has_its_time_again() -> None:
    room = bench()
    room.set(COLD.name, -18.0, Quality.STALE)
    room.until(60)
    room.reboot(86_400)
    room.until(86_460 + 599)
    assert room.events == []
    room.until(86_460 + 601)
    assert [event[1:] for event in room.events] == [("alarm", FAULT)]


@pytest.mark.parametrize("known", [True, False])
def test_since_is_told_where_the_time_is_known(known: bool) -> None:
    room = bench()
    room.trusted = known
    room.set(COLD.name, -14.0)
    room.until(1300)
    assert ("since" in room.details[0]) is known


def test_it_is_looked_at_only_while_its_gate_is_open() -> None:
    school = alarm(During(Lasting(Compare(COLD, -15.0), 600.0), Is(Operand("school.mode"), "comfort")))
    room = bench(school)
    room.set(COLD.name, -14.0)
    room.until(1000)
    assert room.events == [], "the zone says no mode yet"
    room.set("school.mode", "reduced")
    room.until(2000)
    assert room.events == []
    room.set("school.mode", "comfort")
    room.until(3000)
    assert room.of(ALARM) == [(2600, "alarm")]
    room.points.pop("school.mode")
    room.until(4000)
    assert len(room.events) == 1, "the gate is not known: nothing is cleared"
    room.set("school.mode", "reduced")
    assert room.events[1:] == [(4000, "cleared", ALARM)]


def test_a_changed_condition_begins_anew_and_clears_what_does_not_hold() -> None:
    room = bench()
    room.set(COLD.name, -14.0)
    room.until(1300)
    assert len(room.events) == 1
    change(room, alarm(Lasting(Compare(COLD, -10.0), 1200.0)))
    room.until(3000)
    assert room.events[1:] == [(1300, "cleared", ALARM)]
    room.set(COLD.name, -9.0)
    room.until(3600)
    change(room, alarm(Lasting(Compare(COLD, -20.0), 1200.0)))
    room.until(4799)
    assert len(room.events) == 2, "what was counted for another limit does not count"
    room.until(4800)
    assert room.events[2:] == [(4800, "alarm", ALARM)]


def test_other_words_and_another_severity_change_nothing_that_is_open() -> None:
    room = bench()
    room.set(COLD.name, -14.0)
    room.until(1300)
    change(room, alarm(text="{value}", severity=Severity.CRITICAL, patience=60.0))
    room.until(2000)
    assert len(room.events) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "on"), (False, "off"), (3, "3"), (0.1 + 0.2, "0.3"), (1_234_567.8, "1234567.8"), ("HC", "HC"),
        (-0.25, "-0.25"),
    ],
)  # fmt: skip
def test_words_for_a_value(value: Any, said: str) -> None:
    door = Operand("door")
    room = Bench(PointAlarm("door", Is(Operand("x"), True), value=door, text="{value}"), "2026-07-01T12:00:00", {})
    room.points.update(bench().points)
    room.set("door", value)
    room.set("x", True)
    assert room.details[0]["text"] == said


def test_of_a_personal_point_value_and_words_stay_in_the_box() -> None:
    for value in (21.5, True, "open"):
        kept = {"since": "2026-07-01T10:10:00Z", "point": "m.index", "unit": "L"}
        detail = kept | {"value": value, "text": f"{value} L"}
        event = Event("alarm", ALARM, "flat-3", Instant("b", 0, None), Severity.MAJOR, detail)
        assert discreet(event, frozenset()) is event
        assert discreet(event, frozenset({"flat-3"})).detail == kept


def test_a_value_that_varies_changes_nothing_on_flash() -> None:
    room = bench()
    kept = []
    for minute in range(600):
        room.set(COLD.name, -18.0 + minute % 7 / 10)
        room.until(room.t + 60)
        kept.append(room.control.dump(room.state))
    assert all(one == kept[0] for one in kept)
