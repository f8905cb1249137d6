"""The hours of rules that depend on nothing but times."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as some

from agent.control.api import Now, View
from agent.control.calendar import Calendar
from agent.control.conditions import ON, AllOf, AnyOf, Compare, InCalendar, Lasting, Operand, Times
from agent.control.named_calendars import WeeklyTimes
from agent.control.week import Span, Week
from agent.services.rules.plan import spans

PARIS = Calendar()
windows = some.tuples(some.integers(0, 1439), some.integers(1, 1439)).map(
    lambda one: Times(Week(PARIS, "", ((Span(one[0], one[0] + one[1], ON),),) * 7))
)
MARKET = {"market": WeeklyTimes(PARIS, frozenset({5}), ((360, 840),))}
conditions = some.recursive(
    windows | some.just(InCalendar("market")),
    lambda inner: some.one_of(
        some.lists(inner, min_size=1, max_size=3).map(lambda many: AllOf(tuple(many))),
        some.lists(inner, min_size=1, max_size=3).map(lambda many: AnyOf(tuple(many))),
    ),
    max_leaves=5,
)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS.zone)


@settings(max_examples=80, deadline=None)
@given(conditions, some.lists(some.integers(0, 48 * 60 - 1), max_size=10))
def test_the_plan_says_what_the_control_would(one, minutes):
    since = local("2026-10-24T00:00").astimezone(PARIS.zone)
    start = PARIS.instant(since.date(), 0)
    found = spans(one, MARKET, start, start + timedelta(hours=48))
    assert found is not None and found == sorted(found) and all(a < b for a, b in found)
    for minute in minutes:
        at = start + timedelta(minutes=minute, seconds=30)
        verdict = one.judge(one.initial, View({}, {}, MARKET), Now(0.0, at.astimezone(PARIS.zone), True))
        assert verdict.holds is any(a <= at < b for a, b in found), (at, found)


def test_a_rule_on_a_point_has_no_plan_and_a_time_that_must_last_begins_later():
    night = Times(Week(PARIS, "", ((Span(1320, 1800, ON),),) * 7))
    start = PARIS.instant(local("2026-01-15T00:00").date(), 0)
    assert spans(AllOf((night, Compare(Operand("air"), 1.0))), {}, start, start + timedelta(days=1)) is None
    assert spans(AnyOf((night, InCalendar("fete"))), MARKET, start, start + timedelta(days=1)) is None
    found = spans(Lasting(night, 3600.0), {}, start, start + timedelta(days=1))
    assert [(a.astimezone(PARIS.zone).hour, b.astimezone(PARIS.zone).hour) for a, b in found] == [(0, 6), (23, 0)]
