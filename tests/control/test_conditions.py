"""Conditions: verdicts against a naive reference over the whole history, kills, power cuts, stale points."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control.api import Input, Now, Output, View
from agent.control.boot_time import BootShift
from agent.control.calendar import Calendar
from agent.control.conditions import (
    MARKS,
    ON,
    PARTS,
    AllOf,
    AnyOf,
    Compare,
    Condition,
    During,
    InCalendar,
    Is,
    Lasting,
    Memory,
    Moves,
    Operand,
    Still,
    Times,
    began,
    dumped,
    loaded,
    paused,
    shifted,
)  # fmt: skip
from agent.control.named_calendars import Occurrences
from agent.control.week import Span, Week
from agent.model import Quality

P, Q, PUMP = Operand("p"), Operand("q"), Operand("pump", output=True)
START = datetime(2026, 1, 15, 8, tzinfo=UTC)


class Life:
    """A condition as the engine runs it: judged at each change and when it is due."""

    def __init__(self, condition: Condition, start: float = 0.0, memory: Memory | None = None) -> None:
        self.condition, self.t = condition, start
        self.memory = condition.initial if memory is None else memory
        self.points: dict[str, Input] = {}
        self.outputs: dict[str, Output] = {}
        self.calendars: dict[str, Occurrences] = {}
        self.due, self.known = float("inf"), True
        self.said: list[tuple[float, bool | None]] = []

    @property
    def holds(self) -> bool | None:
        return self.said[-1][1]

    def judge(self) -> bool | None:
        civil = START + timedelta(seconds=self.t) if self.known else None
        view = View(self.points, self.outputs, self.calendars)
        found = self.condition.judge(self.memory, view, Now(self.t, civil, self.known))
        self.memory, self.due = found.memory, found.due
        self.said.append((self.t, found.holds))
        return found.holds

    def pass_(self, seconds: float) -> None:
        until = self.t + seconds
        while self.due <= until:
            self.t = max(self.t, self.due)
            before = self.due
            self.judge()
            assert self.due > before, "a due that never passes"
        self.t = until

    def read(self, **values: Any) -> bool | None:
        """A reading of each point; None: it is stale."""
        for name, value in values.items():
            old = self.points.get(name)
            if value is None:
                at = -float("inf") if old is None else old.at
                self.points[name] = Input(None if old is None else old.value, Quality.STALE, at)
            else:
                self.points[name] = Input(value, Quality.GOOD, self.t)
        return self.judge()

    def write(self, value: Any) -> bool | None:
        self.outputs["pump"] = Output(value, 15, "", self.t, None)
        return self.judge()

    def kill(self) -> None:
        """A process that ends and begins anew in the same boot."""
        kept = json.loads(json.dumps(dumped(self.memory, self.condition), allow_nan=False))
        self.memory = shifted(loaded(kept, self.condition), BootShift(0.0, self.t))

    def power_cut(self, off: float, now: float = 40.0, known: bool = True) -> None:
        """A new boot: monotonic time starts anew. Without a known time no shift is known."""
        kept = json.loads(json.dumps(dumped(self.memory, self.condition), allow_nan=False))
        self.memory = shifted(loaded(kept, self.condition), BootShift(now - self.t - off if known else 0.0, now))
        self.t, self.points, self.due = now, {}, float("inf")


def verdicts(condition: Condition, steps: list[tuple[float, Any]], name: str = "p") -> list[bool | None]:
    life = Life(condition)
    found = []
    for seconds, value in steps:
        life.pass_(seconds)
        found.append(life.read(**{name: value}))
    return found


# -- comparisons ---------------------------------------------------------------------------------------------------


def test_above_is_over_when_the_value_is_back_by_the_hysteresis() -> None:
    cold = Compare(P, -15.0, hysteresis=1.0)
    read = [(60, value) for value in (-18, -15, -14.9, -15.5, -15.99, -16, -15.5, -14)]
    assert verdicts(cold, read) == [False, False, True, True, True, False, False, True]


def test_below_is_the_same_the_other_way_round() -> None:
    low = Compare(P, 0.1, below=True, hysteresis=0.05)
    assert verdicts(low, [(60, v) for v in (0.2, 0.1, 0.09, 0.12, 0.16, 0.12)]) == [
        False, False, True, True, False, False,
    ]  # fmt: skip


def test_without_a_good_value_a_condition_is_unknown_and_its_hysteresis_is_kept() -> None:
    hot = Compare(P, 10.0, hysteresis=2.0)
    assert verdicts(hot, [(60, None), (60, 11), (60, None), (60, 9), (60, 8), (60, "HC")]) == [
        None, True, None, True, False, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "value", "holds"),
    [
        (True, True, True), (True, 40.0, True), (True, 0, False), (False, False, True), (False, 0.0, True),
        (3.0, 3, True), (3.0, 3.5, False), ("HC", " hc ", True), ("HC", "HP", False), ("HC", 1.0, None),
        (True, "on", None), (1.0, True, True),
    ],
)  # fmt: skip
def test_is_reads_a_state_a_number_and_a_word(wanted: Any, value: Any, holds: bool | None) -> None:
    assert verdicts(Is(P, wanted), [(1, value)]) == [holds]


def test_an_actuator_is_looked_at_by_its_output() -> None:
    life = Life(Is(PUMP, True))
    assert life.judge() is None, "it is not known yet"
    assert life.write(True) is True
    assert life.write(0) is False
    assert life.write(None) is None


# -- time that lasts -----------------------------------------------------------------------------------------------


def test_for_counts_time_without_a_break() -> None:
    life = Life(Lasting(Compare(P, 10.0), 600.0))
    assert life.read(p=11) is False
    life.pass_(599)
    assert life.judge() is False
    life.pass_(1)
    assert life.holds is True, "at its due, although nothing was read"
    assert life.read(p=9) is False
    assert life.read(p=11) is False, "it begins anew"


def test_time_while_unknown_does_not_count_and_is_not_lost() -> None:
    life = Life(Lasting(Compare(P, 10.0), 600.0))
    life.read(p=11)
    life.pass_(400)
    assert life.read(p=None) is None
    life.pass_(3600)
    assert life.read(p=11) is False
    life.pass_(199)
    assert life.judge() is False
    life.pass_(1)
    assert life.holds is True
    assert life.read(p=None) is None
    assert life.read(p=12) is True, "what has lasted holds at once when the point is good again"


def test_what_is_told_began_before_it_had_lasted() -> None:
    life = Life(During(Lasting(Compare(P, 10.0), 600.0), Lasting(Is(PUMP, True), 60.0)))
    life.write(True)
    life.pass_(900)
    life.read(p=11)
    life.pass_(600)
    assert life.holds is True
    assert began(life.memory, life.condition) == 900.0, "not since the gate is open"


@given(
    st.lists(st.tuples(st.integers(1, 900), st.sampled_from([9, 11, 11, None])), max_size=30),
    st.integers(1, 2000),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_for_against_the_whole_history(steps: list[tuple[int, Any]], seconds: int, kills: list[int]) -> None:
    life, counted, value = Life(Lasting(Compare(P, 10.0), float(seconds))), 0, None
    for number, (passed, read) in enumerate(steps):
        life.pass_(passed)
        counted += passed if value == 11 else 0
        if number in kills:
            life.kill()
        value = read
        counted = 0 if read == 9 else counted
        assert life.read(p=read) is (None if read is None else read == 11 and counted >= seconds)


@given(
    st.lists(st.tuples(st.integers(1, 900), st.sampled_from([9, 11, 11, 11, None])), max_size=20),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 100_000), st.booleans()), max_size=4),
    st.integers(60, 4000),
)
def test_a_power_cut_never_raises_early(
    steps: list[tuple[int, Any]], cuts: list[tuple[int, int, bool]], seconds: int
) -> None:
    """Only time with power counts; a cut may cost some of it."""
    life, counted, value = Life(Lasting(Compare(P, 10.0), float(seconds))), 0, None
    for number, (passed, read) in enumerate(steps):
        life.pass_(passed)
        counted += passed if value == 11 else 0
        for _, off, known in (one for one in cuts if one[0] == number):
            life.power_cut(off, known=known)
            assert life.judge() is None
        value = read
        counted = 0 if read == 9 else counted
        if life.read(p=read):
            assert counted >= seconds


def test_an_hour_that_was_counted_outlives_a_power_cut_but_for_ten_minutes() -> None:
    for known in (True, False):
        life = Life(Lasting(Compare(P, 10.0), 7200.0), start=30.0)
        life.read(p=11)
        life.pass_(3600)
        life.power_cut(50_000, known=known)
        life.read(p=11)
        life.pass_(3599)
        assert life.judge() is False
        life.pass_(601)
        assert life.holds is True


# -- still ---------------------------------------------------------------------------------------------------------

histories = st.lists(
    st.tuples(st.integers(1, 2000), st.one_of(st.none(), st.integers(-20, 20), st.integers(-3, 3))), max_size=40
)


class Good:
    """The whole history on the axis of good time: (from, to, value)."""

    def __init__(self) -> None:
        self.parts: list[list[float]] = []
        self.now, self.value = 0.0, None

    def step(self, passed: float, value: float | None) -> None:
        if self.value is not None:
            self.now += passed
            self.parts[-1][1] = self.now
        self.value = value
        if value is not None:
            self.parts.append([self.now, self.now, value])

    def spread(self, seconds: float, closed: bool) -> float:
        """Between the lowest and the highest value of the last `seconds`."""
        since = self.now - seconds
        found = [value for _, end, value in self.parts if end > since or (closed and end == since)]
        return max(found) - min(found)


@given(histories, st.integers(60, 9000), st.lists(st.integers(0, 40), max_size=4))
def test_still_against_the_whole_history(steps: list[tuple[int, Any]], seconds: int, kills: list[int]) -> None:
    """Without a kill it is late by nothing; it misses movements by a part of its amount, after a kill by one more."""
    still, good, killed = Still(P, 4.0, float(seconds)), Good(), False
    life = Life(still)
    for number, (passed, value) in enumerate(steps):
        life.pass_(passed)
        good.step(passed, value)
        if number in kills:
            life.kill()
            killed = True
        holds = life.read(p=value)
        assert len(life.memory.levels) <= PARTS + 2, "its memory is bounded"
        if value is None:
            assert holds is None
        elif holds:
            assert good.now >= seconds
            assert good.spread(seconds, closed=False) < 4.0 * (1 + (2 if killed else 1) / PARTS)
        elif not killed and good.now >= seconds:
            assert good.spread(seconds, closed=True) >= 4.0


def test_a_slow_movement_by_small_steps_is_seen() -> None:
    life = Life(Still(P, 0.5, 7200.0))
    for step in range(600):
        assert not life.read(p=step * 0.01), "0.6 an hour is a movement"
        life.pass_(60)


def test_a_value_that_stays_is_still_without_a_reading_and_a_jump_ends_it() -> None:
    life = Life(Still(P, 0.5, 7200.0))
    life.read(p=40.0)
    life.pass_(7200)
    assert life.holds is True
    assert began(life.memory, life.condition) == 0.0
    life.pass_(7200)
    assert life.read(p=40.5) is False
    life.pass_(7199)
    assert life.judge() is False
    life.pass_(1)
    assert life.holds is True


def test_a_value_that_creeps_by_less_is_still_all_the_time() -> None:
    life = Life(Still(P, 0.5, 7200.0))
    for step in range(600):
        life.read(p=step * 0.003)
        life.pass_(60)
    assert [holds for _, holds in life.said] == sorted(holds for _, holds in life.said), "raised once, and not over"
    assert life.holds is True


def test_stillness_that_was_counted_outlives_a_kill_and_a_power_cut() -> None:
    for off in (0, 86_400):
        life = Life(Still(P, 0.5, 7200.0))
        life.read(p=40.0)
        life.pass_(6000)
        if off:
            life.power_cut(off)
        else:
            life.kill()
        life.read(p=40.1)
        life.pass_(1199)
        assert life.judge() is False
        life.pass_(602)
        assert life.holds is True


def test_what_is_still_stays_so_over_a_kill() -> None:
    life = Life(Still(P, 0.8, 3600.0))
    life.read(p=0.0)
    life.pass_(60)
    life.read(p=0.79)
    life.pass_(3600)
    assert life.holds is True
    life.kill()
    assert life.read(p=0.0) is True


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(-3, 3)), max_size=20), st.integers(0, 20))
def test_still_is_not_early_after_a_power_cut(steps: list[tuple[int, int]], cut: int) -> None:
    life, good = Life(Still(P, 4.0, 1800.0)), Good()
    for number, (passed, value) in enumerate(steps):
        life.pass_(passed)
        good.step(passed, value)
        if number == cut:
            life.power_cut(100_000)
        if life.read(p=value):
            assert good.now >= 1800
            assert good.spread(1800, closed=False) < 4.0 * (1 + 2 / PARTS)


# -- falls and rises -----------------------------------------------------------------------------------------------


@given(
    histories, st.integers(60, 9000), st.booleans(), st.lists(st.integers(0, 40), max_size=4),
)  # fmt: skip
def test_falls_against_the_whole_history(
    steps: list[tuple[int, Any]], seconds: int, rises: bool, kills: list[int]
) -> None:
    """It holds where a value within `seconds` was higher by the amount; within all but a part of it none is missed."""
    life, killed = Life(Moves(P, 4.0, float(seconds), rises)), False
    ends: list[list[float]] = []
    """When each value was seen last, and the value."""
    lowest: float | None = None
    t, read = 0.0, None
    for number, (passed, value) in enumerate(steps):
        life.pass_(passed)
        t += passed
        if number in kills:
            life.kill()
            killed = True
        holds = life.read(p=value)
        assert len(life.memory.marks) <= MARKS + 3, "its memory is bounded"
        if read is not None and value is not None:
            ends[-1][0] = t
        read = value
        if value is None:
            assert holds is None
            continue
        now = -value if rises else value
        ends.append([t, now])

        def fell(within: float, at: float = t, now: float = now, ends: list[list[float]] = ends) -> bool:
            return any(end >= at - within and one - now >= 4.0 for end, one in ends)

        if lowest is not None:
            lowest = min(lowest, now)
            assert holds is (now < lowest + 2.0) or killed
            if not holds:
                lowest, ends = None, [[t, now]]
        elif holds:
            assert fell(seconds)
            lowest = now
        elif not killed:
            assert not fell(seconds * (1 - 1 / MARKS) - 1e-6)


def test_a_fall_that_is_read_each_second_is_remembered_in_few_marks() -> None:
    life = Life(Moves(P, 1000.0, 3600.0))
    for second in range(7200):
        life.read(p=-second / 10)
        life.pass_(1)
        assert len(life.memory.marks) <= MARKS + 3


def test_a_pressure_that_stayed_for_hours_and_drops_has_fallen() -> None:
    life = Life(Moves(P, 1.0, 600.0))
    life.read(p=4.0)
    life.pass_(36_000)
    assert life.read(p=3.5) is False
    life.pass_(500)
    assert life.read(p=2.9) is True
    life.pass_(36_000)
    assert life.judge() is True, "it is not well because time passes"
    assert life.read(p=2.5) is True
    assert life.read(p=2.9) is True
    assert life.read(p=3.0) is False, "half of the fall has come back from the lowest value"


def test_a_slow_fall_is_none() -> None:
    assert not any(verdicts(Moves(P, 1.0, 600.0), [(60, 4.0 - 0.09 * step) for step in range(40)]))


def test_a_fall_across_a_gap_counts_from_the_last_good_reading() -> None:
    for gap, fell in ((500, True), (700, False)):
        life = Life(Moves(P, 1.0, 600.0))
        life.read(p=4.0)
        life.pass_(60)
        life.read(p=4.0)
        life.pass_(30)
        assert life.read(p=None) is None
        life.pass_(gap - 30)
        assert life.read(p=2.9) is fell


def test_a_fall_across_a_power_cut_is_not_judged() -> None:
    for known in (True, False):
        life = Life(Moves(P, 1.0, 600.0), start=50_000.0)
        life.read(p=4.0)
        life.pass_(60)
        life.read(p=3.4)
        life.power_cut(30, known=known)
        assert life.read(p=2.9) is False
        life.pass_(60)
        assert life.read(p=1.8) is True
        life.power_cut(30, known=known)
        assert life.read(p=2.0) is True, "one that was seen is open until half has come back"
        assert life.read(p=2.4) is False


def test_a_fall_under_way_outlives_a_kill() -> None:
    life = Life(Moves(P, 1.0, 600.0))
    life.read(p=4.0)
    life.pass_(120)
    life.read(p=3.4)
    life.kill()
    life.pass_(60)
    assert life.read(p=2.8) is True
    life.kill()
    assert life.read(p=2.8) is True


# -- several, gates, hours -----------------------------------------------------------------------------------------

THREE = (True, False, None)
VALUES = {True: 1, False: 0, None: None}


@pytest.mark.parametrize(("one", "other"), list(itertools.product(THREE, THREE)))
def test_all_and_any_know_three_values(one: bool | None, other: bool | None) -> None:
    parts = (Is(P, True), Is(Q, True))
    for condition, decides in ((AllOf(parts), False), (AnyOf(parts), True)):
        life = Life(condition)
        life.read(p=VALUES[one], q=VALUES[other])
        expected = decides if decides in (one, other) else None if None in (one, other) else not decides
        assert life.holds is expected


def test_a_gate_that_opens_again_begins_anew_and_one_that_is_unknown_decides_nothing() -> None:
    life = Life(During(Lasting(Compare(P, 10.0), 600.0), Is(Q, True)))
    life.read(p=11, q=None)
    assert life.holds is None
    life.read(q=1)
    life.pass_(400)
    life.read(q=None)
    life.pass_(3600)
    assert life.read(q=1) is False, "the time stood still"
    life.pass_(200)
    assert life.holds is True
    assert life.read(q=0) is False
    life.pass_(3600)
    assert life.read(q=1) is False
    life.pass_(599)
    assert life.judge() is False


def test_a_fall_while_the_gate_is_unknown_is_not_judged() -> None:
    life = Life(During(Moves(P, 1.0, 600.0), Is(Q, True)))
    life.read(p=4.0, q=1)
    life.read(q=None)
    life.pass_(3000)
    life.read(p=2.9)
    assert life.read(q=1) is False, "it fell at some time in between"


def test_hours_are_in_civil_time_and_unknown_while_that_is() -> None:
    week = Week(Calendar(), "", ((Span(9 * 60, 10 * 60, ON),),) * 7)  # 9 in Paris is 8 in UTC: at the start
    life = Life(Times(week))
    assert life.judge() is True
    assert life.due == 3600.0
    life.pass_(3600)
    assert life.holds is False
    life.pass_(23 * 3600)
    assert life.holds is True
    life.known = False
    assert life.judge() is None
    assert dumped(life.memory, life.condition) == {}


def test_a_calendar_is_asked_again_when_it_ends_or_has_another_content() -> None:
    begin = int(START.timestamp())
    hall = Occurrences.of([(begin + 600, begin + 1200)], begin - 86_400, begin + 86_400)
    life = Life(InCalendar("hall"))
    assert life.condition.inputs == {"calendar:hall"}
    assert life.judge() is None, "it is not known yet"
    life.calendars["hall"] = hall
    assert life.judge() is False
    life.pass_(600)
    assert life.holds is True
    assert life.due == 1200.0
    life.calendars["hall"] = Occurrences.of([], begin - 86_400, begin + 86_400)
    assert life.judge() is False
    life.calendars["hall"] = Occurrences.of([], begin - 86_400, begin)
    assert life.judge() is None, "its last copy is too old"
    life.calendars["hall"] = hall
    assert life.judge() is True
    life.known = False
    assert life.judge() is None


# -- memories ------------------------------------------------------------------------------------------------------

leaves = st.one_of(
    st.builds(Compare, st.sampled_from([P, Q]), st.just(1.0), st.booleans(), st.sampled_from([0.0, 2.0])),
    st.builds(Is, st.just(PUMP), st.booleans()),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Lasting, inner, st.integers(1, 2000).map(float)),
        st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(During, inner, inner),
    ),
    max_leaves=6,
)
events = st.lists(
    st.tuples(
        st.integers(0, 1000),
        st.sampled_from(["p", "q", "pump"]),
        st.one_of(st.none(), st.integers(-2, 3)),
    ),
    max_size=30,
)


@given(conditions, events, st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_a_kill_at_any_moment_changes_no_verdict(
    condition: Condition, steps: list[tuple[int, str, Any]], kills: list[int]
) -> None:
    one, other = Life(condition), Life(condition)
    for number, (passed, name, value) in enumerate(steps):
        for life in (one, other):
            life.pass_(passed)
            if life is other and number in kills:
                life.kill()
            if name == "pump":
                life.write(value)
            else:
                life.read(**{name: value})
    assert [holds for _, holds in one.said] == [holds for _, holds in other.said]


@given(conditions, events)
def test_a_memory_that_is_looked_at_again_at_once_says_the_same(
    condition: Condition, steps: list[tuple[int, str, Any]]
) -> None:
    life = Life(condition)
    for passed, name, value in steps:
        life.pass_(passed)
        found = life.write(value) if name == "pump" else life.read(**{name: value})
        memory = life.memory
        assert life.judge() is found
        assert life.memory is memory, "the same object: the engine sees that nothing changed"
        assert paused(paused(memory, life.t), life.t) == paused(memory, life.t)


@pytest.mark.parametrize(
    ("condition", "swing"),
    [
        (Moves(P, 1.0, 600.0), 0.2), (Moves(P, 1.0, 600.0, rises=True), 0.2), (Still(P, 0.5, 7200.0), 1.0),
        (Still(P, 0.5, 86_400.0), 3.0), (Compare(P, 30.0, hysteresis=1.0), 5.0),
        (Lasting(Compare(P, 30.0), 600.0), 5.0),
    ],
)  # fmt: skip
def test_a_value_that_varies_each_minute_costs_no_write(condition: Condition, swing: float) -> None:
    life, kept = Life(condition), []
    for minute in range(3 * 1440):
        life.pass_(60)
        life.read(p=20.0 + swing * ((minute * 7919) % 13 / 13 - 0.5))
        kept.append(json.dumps(dumped(life.memory, condition), sort_keys=True))
    assert sum(one != other for one, other in itertools.pairwise(kept)) == 0


def test_what_lasts_for_days_costs_no_write() -> None:
    life = Life(Lasting(Compare(P, 10.0), 600.0))
    life.read(p=11)
    life.pass_(600)
    kept = dumped(life.memory, life.condition)
    for minute in range(1440):
        life.pass_(60)
        life.read(p=11 + minute % 7)
        assert dumped(life.memory, life.condition) == kept


def test_a_still_value_costs_few_writes() -> None:
    life, kept = Life(Still(P, 0.5, 7200.0)), []
    for minute in range(1440):
        life.pass_(60)
        life.read(p=20.0 + 0.2 * ((minute * 7919) % 13 / 13))
        kept.append(json.dumps(dumped(life.memory, life.condition), sort_keys=True))
    assert sum(one != other for one, other in itertools.pairwise(kept)) <= 15


def test_the_memory_of_another_condition_is_refused() -> None:
    kept = dumped(Lasting(Compare(P, 1.0), 60.0).initial, Lasting(Compare(P, 1.0), 60.0))
    with pytest.raises(ValueError, match="zip"):
        loaded(kept, AllOf((Compare(P, 1.0), Compare(P, 2.0))))
