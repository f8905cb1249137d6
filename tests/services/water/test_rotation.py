"""Pumps that share a duty. The bench's pumps follow their duty at once, unless the test says otherwise."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control.api import NEVER, Output, View
from agent.control.boot_time import BootShift
from agent.control.spell import Spell
from agent.services.water.pump_group import pump_figures
from agent.services.water.rotation import PumpRecord, Rotation, RotationState, rotate

HOUR = 3600.0


class Pumps:
    """`broken` ones do not run, `out` are the caller's, `commands` hold at priority 8, limits until `waits`."""

    def __init__(self, rotation: Rotation) -> None:
        self.rotation, self.state = rotation, RotationState.of(rotation)
        self.t, self.due, self.wanted = 0.0, 0.0, 0
        self.outputs = {pump: Output(False, 15, "", -NEVER, None) for pump in rotation.pumps}
        self.broken: set[str] = set()
        self.out: set[str] = set()
        self.commands: dict[str, bool] = {}
        self.waits: dict[str, float] = {}
        self.edges: list[tuple[float, str, bool]] = []

    def settle(self) -> None:
        for _ in range(6):
            args = (View({}, self.outputs), self.wanted, frozenset(self.out), self.t)
            self.state, self.due = rotate(self.rotation, self.state, *args)
            assert rotate(self.rotation, self.state, *args)[0] == self.state, "a step twice is a step once"
            assert self.due > self.t
            if not self._follow():
                return
        raise AssertionError("it never settles")

    def _follow(self) -> bool:
        moved = False
        for pump, before in self.outputs.items():
            wanted = self.commands.get(pump, pump in self.state.duty)
            waits = self.waits.get(pump, -NEVER) if wanted else -NEVER
            value = wanted and pump not in self.broken and (waits <= self.t or bool(before.value))
            priority = 8 if pump in self.commands else 15
            since = before.since if value is before.value else self.t
            after = Output(value, priority, "", since, None, waits if wanted and not value else -NEVER)
            moved = moved or after != before
            if value is not before.value:
                self.edges.append((self.t, pump, value))
            self.outputs[pump] = after
        return moved

    def want(self, number: int, until: float | None = None) -> None:
        self.wanted = number
        self.settle()
        if until is not None:
            self.until(until)

    def until(self, at: float) -> None:
        self.settle()
        while self.t < at:
            self.t = min([at, self.due, *(one for one in self.waits.values() if one > self.t)])
            self.settle()

    def running(self) -> set[str]:
        return {pump for pump, output in self.outputs.items() if output.value}

    def hours(self) -> Mapping[str, float]:
        records = zip(self.rotation.pumps, self.state.records, strict=True)
        return {pump: one.run.total(self.t) / HOUR for pump, one in records}

    def restart(self, off: float = 0.0) -> None:
        """`off` seconds later; a reboot if it is not 0, and the pumps stopped."""
        kept = json.loads(json.dumps(self.state.dump(self.rotation)))
        self.state = RotationState.load(self.rotation, kept)
        if off:
            self.t += off
            self.state = self.state.shifted(BootShift(1e-9, self.t))
            self.outputs = {pump: Output(False, 15, "", -NEVER, None) for pump in self.rotation.pumps}
        self.settle()


def pumps(**keys: object) -> Pumps:
    return Pumps(Rotation(("p1", "p2"), **keys))  # type: ignore[arg-type]


def fill(one: Pumps, hours: float, pause: float = HOUR) -> set[str]:
    """One fill and a pause; which pumps ran."""
    one.want(1, one.t + hours * HOUR)
    found = one.running()
    one.want(0, one.t + pause)
    return found


def test_the_pump_with_the_fewest_hours_has_its_turn() -> None:
    one = pumps()
    assert [fill(one, hours) for hours in (3, 1, 1, 2, 1)] == [{"p1"}, {"p2"}, {"p2"}, {"p2"}, {"p1"}]
    assert one.hours() == {"p1": 4, "p2": 4}
    assert [record.starts for record in one.state.records] == [2, 3]


def test_or_that_with_the_fewest_starts() -> None:
    one = pumps(alternate="starts")
    assert [fill(one, hours) for hours in (3, 1, 5, 2)] == [{"p1"}, {"p2"}, {"p1"}, {"p2"}]


@pytest.mark.parametrize("seed", range(20))
def test_hours_stay_equal_to_one_fill(seed: int) -> None:
    dice, one = random.Random(seed), Pumps(Rotation(("p1", "p2", "p3")))
    for _ in range(60):
        fill(one, dice.uniform(0.1, 4), dice.uniform(60, 7200))
        if dice.random() < 0.2:
            one.restart()
        assert max(one.hours().values()) - min(one.hours().values()) <= 4.01
    assert one.state.idle_since is None


def test_the_other_takes_over_after_a_minute_and_the_failed_one_comes_last_for_an_hour() -> None:
    one = pumps()
    one.broken = {"p1"}
    one.want(1, 59)
    assert one.running() == set()
    one.until(60)
    assert one.running() == {"p2"} and one.state.duty == ("p2",)
    one.want(0, 1800)
    one.want(1, 1801)
    assert one.running() == {"p2"}, "it ran less, and would fail again"
    one.broken = set()
    one.until(2 * HOUR)
    assert one.running() == {"p2"}, "no needless changeover"
    one.want(0, 2 * HOUR + 60)
    one.want(1, 3 * HOUR)
    assert one.running() == {"p1"} and one.state.records[0].failed is None


def test_a_pump_that_is_out_hands_over_at_once_and_does_not_come_back_in_the_same_fill() -> None:
    one = pumps()
    one.want(1, 600)
    one.out = {"p1"}
    one.until(601)
    assert one.running() == {"p2"}
    one.out = set()
    one.until(2 * HOUR)
    assert one.edges == [(0.0, "p1", True), (600.0, "p1", False), (600.0, "p2", True)]


def test_both_failed_are_tried_in_turn_but_not_often() -> None:
    one = pumps()
    one.broken = {"p1", "p2"}
    tried: list[str] = []
    one.want(1)
    while one.t < 2 * HOUR:
        one.t = min(one.due, 2 * HOUR)
        one.settle()
        if not tried or one.state.duty[0] != tried[-1]:
            tried.append(one.state.duty[0])
    assert one.state.idle_since == 120.0
    assert 8 <= len(tried) <= 14 and set(tried) == {"p1", "p2"}
    one.broken = {"p1"}
    one.until(one.t + 700)
    assert one.running() == {"p2"} and one.state.idle_since is None


def test_off_by_command_is_maintenance_and_on_by_command_counts() -> None:
    one = pumps()
    one.want(1, 600)
    one.commands = {"p2": True}
    one.until(1200)
    assert one.running() == {"p2"}, "it does the work, so the other rests"
    one.commands = {}
    one.until(1800)
    assert one.running() == {"p2"}
    one.commands = {"p2": False}
    one.until(2400)
    assert one.running() == {"p1"}
    one.commands = {"p1": False, "p2": False}
    one.until(2500)
    assert one.running() == set() and one.state.duty == () and one.state.idle_since == 2400.0


def test_without_a_duty_a_command_runs_one_and_its_hours_count() -> None:
    one = pumps()
    one.commands = {"p1": True}
    one.until(2 * HOUR)
    assert one.state.duty == () and one.hours()["p1"] == 2
    one.commands = {}
    one.until(3 * HOUR)
    assert fill(one, 1) == {"p2"}


def test_both_and_back_to_one() -> None:
    one = pumps()
    fill(one, 2)
    one.want(1, one.t + 60)
    assert one.running() == {"p2"}
    one.want(2, one.t + 60)
    assert one.running() == {"p1", "p2"}
    one.want(1, one.t + 60)
    assert one.running() == {"p2"}, "the one with fewer hours stays"


def test_a_limit_is_waited_for_but_not_for_long() -> None:
    one = pumps()
    one.waits = {"p1": 300.0}
    one.want(1, 310)
    assert one.running() == {"p1"}, "min_off is no failure"
    one.want(0, 400)
    one.waits = {"p2": 4000.0}
    one.want(1, 500)
    assert one.running() == {"p1"} and one.state.records[1].failed is None


def test_a_restart_in_the_middle_is_no_changeover_and_counts_no_start() -> None:
    one = pumps()
    one.want(1, 1900)
    one.restart()
    one.until(3600)
    assert one.edges == [(0.0, "p1", True)] and one.hours()["p1"] == 1 and one.state.records[0].starts == 1


def test_a_power_cut_in_the_middle_costs_ten_minutes_of_the_count_at_most() -> None:
    one = pumps()
    one.want(1, 1900)
    one.restart(off=HOUR)
    one.until(one.t + 1800)
    assert one.running() == {"p1"} and one.state.records[0].starts == 2
    assert 1300 + 1800 <= one.hours()["p1"] * HOUR <= 1900 + 1800


def test_a_run_of_a_day_hands_over() -> None:
    one = pumps()
    one.want(1, 50 * HOUR)
    assert one.edges[:3] == [(0.0, "p1", True), (24 * HOUR, "p1", False), (24 * HOUR, "p2", True)]
    assert one.running() == {"p1"}


def test_a_pump_that_was_away_for_months_catches_up_a_day() -> None:
    one = pumps()
    one.out = {"p2"}
    for _ in range(100):
        fill(one, 10)
    one.out = set()
    found = [fill(one, 2) for _ in range(16)]
    assert found[:12] == [{"p2"}] * 12 and {"p1"} in found[12:14]


def test_other_pumps_in_the_file_keep_their_own_hours() -> None:
    one = pumps()
    fill(one, 3)
    kept = one.state.dump(one.rotation)
    found = RotationState.load(Rotation(("p3", "p1")), kept)
    assert [record.run.seconds for record in found.records] == [0.0, 3 * HOUR]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_water_flows_if_a_pump_can(seed: int) -> None:
    """Broken, out, commanded, restarted: a pump that can run does within two retries, and duty never chatters."""
    dice, one = random.Random(seed), Pumps(Rotation(("p1", "p2", "p3")))
    one.want(1)
    for _ in range(80):
        one.broken = {pump for pump in one.rotation.pumps if dice.random() < 0.4}
        one.out = {pump for pump in one.rotation.pumps if dice.random() < 0.2}
        one.commands = {pump: dice.random() < 0.3 for pump in one.rotation.pumps if dice.random() < 0.2}
        before = len(one.edges)
        if dice.random() < 0.2:
            one.restart()
        one.until(one.t + 4 * 700)
        able = [
            pump for pump in one.rotation.pumps
            if pump not in one.broken | one.out and one.commands.get(pump, True)
        ]  # fmt: skip
        assert bool(one.running() - one.out) is bool(able) or not able
        assert len(one.edges) - before <= 6


def test_a_pump_that_gives_way_is_on_duty_where_all_are_wanted() -> None:
    one = Pumps(Rotation(("p1", "p2")))
    one.broken.add("p1")
    one.out.add("p2")
    one.want(2, until=200)
    assert one.state.record(one.rotation, "p1").failed is not None
    one.out.clear()
    one.settle()
    assert one.state.duty == ("p1", "p2")


@given(st.floats(0, 1e8))
def test_the_hours_that_are_told_are_those_that_are_kept(seconds: float) -> None:
    record = PumpRecord(Spell(seconds))
    kept = PumpRecord.load(json.loads(json.dumps(record.dump())))
    assert pump_figures(["p1"], [kept]) == pump_figures(["p1"], [record])
