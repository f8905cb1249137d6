"""Rules and interlocks on the bench: what they wish, for how long, and what a stale point or a restart makes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from agent.control.api import Input, Output, View
from agent.control.calendar import Calendar
from agent.control.conditions import ON, AllOf, AnyOf, Compare, Is, Lasting, Moves, Operand, Still, Times
from agent.control.week import Span, Week
from agent.model import Quality
from agent.services.rules.control import AWAITED, PATIENCE, Rule
from tests.services.water.bench import Bench

COLD = Lasting(Compare(Operand("air"), 1.0, below=True, hysteresis=1.0), 600.0)
TRACE = Rule("trace-heating", COLD, "trace", True, max_on=12 * 3600.0, otherwise=False, points=("air",))
HATCH = Rule("hatch-open", Is(Operand("hatch"), True), "well", False, locks=True, on_stale="keep", points=("hatch",))


def bench(rule: Rule, start: str = "2026-01-15T12:00:00") -> Bench:
    return Bench(rule, start, {rule.actuator: rule is HATCH})


def test_a_rule_switches_after_its_time_and_back_by_the_hysteresis():
    house = bench(TRACE)
    house.set("air", 0.5)
    house.until(599)
    assert house.value("trace") is False
    house.until(601)
    assert house.edges == [(600, "trace", True, 14)]
    house.set("air", 1.5)
    assert house.value("trace") is True, "within the hysteresis"
    house.set("air", 2.1)
    assert house.edges[1:] == [(601, "trace", False, 15)] and not house.events


@pytest.mark.parametrize("rule", [TRACE, replace(TRACE, locks=True, value=False, max_on=None, on_stale="lock")])
def test_it_tells_what_it_counts_until_it_acts(rule):
    house = bench(rule)
    house.set("air", 5.0)
    assert counts(house) == []
    house.until(100)
    house.set("air", 0.5)
    house.until(340)
    assert counts(house) == [(240, 600, 100)]
    house.restart()
    house.set("air", 0.5)
    house.until(400)
    assert counts(house) == [(300, 600, 100)], "over a kill"
    house.until(701)
    assert house.value("trace") is (not rule.locks) and counts(house) == []


def counts(house):
    view = View(house.points, house.outputs)
    found = house.control.counting(house.state, view, house.now)
    return [(round(one.seconds), one.needs, round(one.since - house.boot)) for one in found]


def test_a_rule_that_was_on_for_max_on_rests_until_its_condition_has_ended():
    house = bench(TRACE)
    house.set("air", -5.0)
    house.until(600 + 12 * 3600 + 1)
    assert [edge[2:] for edge in house.edges] == [(True, 14), (False, 15)]
    assert house.of("rule_max_on") == [(600 + 12 * 3600, "alarm")]
    house.restart()
    house.until(60 * 3600)
    house.set("air", None, Quality.BAD)
    house.until(61 * 3600)
    house.set("air", -5.0)
    house.until(62 * 3600)
    assert len(house.edges) == 2, "not again, neither after a restart nor after a gap"
    house.set("air", 3.0)
    house.set("air", -5.0)
    house.until(63 * 3600)
    assert house.edges[2][2:] == (True, 14) and house.of("rule_max_on")[1] == (62 * 3600, "cleared")


@pytest.mark.parametrize("how", ["kill", "power cut", "power cut, time unknown", "blip"])
def test_max_on_counts_on_over(how):
    """Of the time without power nothing counts, and up to ten minutes before it are lost."""
    house = bench(TRACE)
    house.set("air", -5.0)
    house.until(600 + 11 * 3600)
    if how == "kill":
        house.restart()
    if how.startswith("power cut"):
        house.civil = house.trusted = "unknown" not in how
        house.reboot(30 * 3600.0)
    if how == "blip":
        house.set("air", None, Quality.BAD)
        house.until(house.t + 5)
        house.set("air", -5.0)
    began = house.t
    house.until(began + 3600 + 601)
    (alarm,) = house.of("rule_max_on")
    assert alarm[1] == "alarm" and began + 3590 <= alarm[0] <= began + 3600 + 600
    assert house.value("trace") is False


@pytest.mark.parametrize(
    ("on_stale", "before", "after"),
    [("release", True, False), ("release", False, False), ("keep", True, True), ("keep", False, False)],
)
def test_what_a_rule_does_while_its_point_is_stale(on_stale, before, after):
    house = bench(replace(TRACE, on_stale=on_stale))
    house.set("air", -5.0 if before else 5.0)
    house.until(700)
    house.set("air", -5.0 if before else 5.0, Quality.STALE)
    assert house.value("trace") is after
    house.until(700 + PATIENCE - 1)
    assert not house.of("sensor_fault")
    house.until(700 + PATIENCE + 1)
    assert house.of("sensor_fault") == [(700 + PATIENCE, "alarm")] and house.details[-1] == {"points": ["air"]}
    house.set("air", 5.0)
    assert house.value("trace") is False and house.of("sensor_fault")[1][1] == "cleared"


@pytest.mark.parametrize(
    ("on_stale", "before", "after"),
    [("keep", True, False), ("keep", False, True), ("lock", False, False), ("release", True, True)],
)
def test_what_an_interlock_does_while_its_point_is_stale(on_stale, before, after):
    house = bench(replace(HATCH, on_stale=on_stale))
    house.rest["well"] = True
    house.set("hatch", before)
    house.set("hatch", before, Quality.BAD)
    assert house.value("well") is after


def test_a_point_that_was_bad_before_a_power_cut_has_its_time_anew():
    """For how long it was bad without power is not known: it may be read in a moment."""
    house = bench(TRACE)
    house.set("air", None, Quality.BAD)
    house.until(300)
    house.reboot(10 * 3600.0)
    began = house.t
    house.until(began + PATIENCE - 1)
    assert not house.of("sensor_fault")
    house.until(began + PATIENCE + 1)
    assert house.of("sensor_fault") == [(began + PATIENCE, "alarm")]


def test_an_interlock_holds_over_a_command():
    house = bench(HATCH)
    house.set("hatch", False)
    house.override("well", True)
    house.set("hatch", True)
    assert house.edges[-1] == (0, "well", False, 2) and house.of("interlock") == [(0, "alarm")]
    house.restart()
    assert house.value("well") is False and house.of("interlock") == [(0, "alarm")], "raised once"
    house.set("hatch", False)
    assert house.value("well") is True and house.of("interlock")[-1] == (0, "cleared")


@pytest.mark.parametrize("rule", [TRACE, HATCH])
def test_after_a_restart_a_point_that_was_not_read_yet_leaves_it_as_it_was(rule):
    """A radio node sends seldom: what is not read yet is not stale. After an hour it is."""
    house, (point,) = bench(rule), rule.points
    house.set(point, -5.0 if rule is TRACE else True)
    house.until(700)
    active = house.value(rule.actuator)
    house.restart(heard=False)
    house.points.clear()
    house.settle()
    edges = len(house.edges)
    house.until(700 + AWAITED - 1)
    assert house.value(rule.actuator) is active and len(house.edges) == edges
    house.until(700 + AWAITED + 1)
    assert house.value(rule.actuator) is (False if rule is TRACE else active)


def test_another_condition_under_its_name_begins_anew_and_keeps_its_alarm_until_it_is_over():
    house = bench(HATCH)
    house.set("hatch", True)
    changed = replace(HATCH, condition=AllOf((HATCH.condition, Is(Operand("key"), False))), points=("hatch", "key"))
    house.state = changed.load(HATCH.dump(house.state))
    house.control = changed
    house.set("key", True)
    assert house.of("interlock") == [(0, "alarm"), (0, "cleared")]


@settings(max_examples=60, deadline=None)
@given(
    some.lists(
        some.tuples(
            some.integers(1, 900),
            some.sampled_from([-5.0, 0.5, 1.5, 2.5, None]),
            some.booleans(),
        ),
        max_size=25,
    ),
    some.sampled_from(["release", "keep"]),
)
def test_kills_change_nothing(steps, on_stale):
    """The same inputs with and without kills: the same edges and the same alarms."""
    rule = replace(TRACE, on_stale=on_stale, max_on=1800.0)
    calm, hit = bench(rule), bench(rule)
    for seconds, value, killed in steps:
        for house in (calm, hit):
            house.until(house.t + seconds)
            quality = Quality.GOOD if value is not None else Quality.BAD
            house.set("air", value, quality)
        if killed:
            hit.restart()
    assert hit.edges == calm.edges and hit.events == calm.events


@pytest.mark.parametrize(("on_stale", "locked"), [("keep", True), ("lock", True), ("release", False)])
@pytest.mark.parametrize("read", [True, False])
def test_an_interlock_whose_contact_was_never_known_locks(on_stale, locked, read):
    """It is new, or has another name or condition, and its contact cannot be read: it must not take it for closed."""
    house = Bench(replace(HATCH, on_stale=on_stale), "2026-01-15T12:00:00", {"well": True})
    if read:
        house.set("hatch", None, Quality.BAD)
    house.until(4000)
    assert house.value("well") is not locked
    assert [kind for _, kind in house.of("interlock")] == (["alarm"] if locked else [])
    house.set("hatch", False)
    house.set("hatch", None, Quality.BAD)
    house.restart(heard=False)
    house.until(house.t + 4000)
    assert house.value("well") is (on_stale != "lock"), "it was known, and closed"


def test_an_interlock_with_another_condition_does_not_take_an_unread_contact_for_closed():
    house = bench(HATCH)
    house.set("hatch", True)
    house.set("hatch", None, Quality.BAD)
    wider = replace(HATCH, condition=AnyOf((HATCH.condition, Is(Operand("key"), True))), points=("hatch", "key"))
    house.state, house.control = wider.load(HATCH.dump(house.state)), wider
    house.set("key", False)
    assert house.value("well") is False and house.of("interlock") == [(0, "alarm")]
    house.set("hatch", False)
    assert house.value("well") is True


OPEN, KEY = Is(Operand("hatch"), True), Is(Operand("key"), True)

WHAT_IT_DOES = {
    # the contact was, then, and now is:  interlock keep, lock, release; rule keep, release
    ("never read", "", "unread"):          ("1 1", "1 1", "0 0", "0 0", "0 0"),
    ("never read", "", "bad"):             ("1 1", "1 1", "0 0", "0 0", "0 0"),
    ("never read", "restart", "unread"):   ("1 1", "1 1", "0 0", "0 0", "0 0"),
    ("never read", "restart", "bad"):      ("1 1", "1 1", "0 0", "0 0", "0 0"),
    ("never read", "power cut", "unread"): ("1 1", "1 1", "0 0", "0 0", "0 0"),
    ("never read", "power cut", "bad"):    ("1 1", "1 1", "0 0", "0 0", "0 0"),
    ("closed", "", "bad"):                 ("0 0", "1 1", "0 0", "0 0", "0 0"),
    ("closed", "restart", "unread"):       ("0 0", "0 1", "0 0", "0 0", "0 0"),
    ("closed", "restart", "bad"):          ("0 0", "1 1", "0 0", "0 0", "0 0"),
    ("closed", "power cut", "unread"):     ("0 0", "0 1", "0 0", "0 0", "0 0"),
    ("closed", "power cut", "bad"):        ("0 0", "1 1", "0 0", "0 0", "0 0"),
    ("open", "", "bad"):                   ("1 1", "1 1", "0 0", "1 1", "0 0"),
    ("open", "restart", "unread"):         ("1 1", "1 1", "1 0", "1 1", "1 0"),
    ("open", "restart", "bad"):            ("1 1", "1 1", "0 0", "1 1", "0 0"),
    ("open", "power cut", "unread"):       ("1 1", "1 1", "1 0", "1 1", "1 0"),
    ("open", "power cut", "bad"):          ("1 1", "1 1", "0 0", "1 1", "0 0"),
}  # fmt: skip
"""Whether it acts, at once and after an hour: the table of the page."""
KINDS = [(True, "keep"), (True, "lock"), (True, "release"), (False, "keep"), (False, "release")]
SHAPES = {
    "plain": (OPEN, None),
    "for": (Lasting(OPEN, 20.0), None),
    "all": (AllOf((OPEN, KEY)), False),
    "any": (AnyOf((OPEN, KEY)), True),
    "all for": (Lasting(AllOf((OPEN, KEY)), 20.0), False),
    "for in any": (AnyOf((KEY, Lasting(OPEN, 20.0))), True),
    "any in all": (AllOf((AnyOf((OPEN, OPEN)), KEY)), False),
}
"""A condition, and the key that decides it whatever the contact says."""


def lost(house: Bench, was: str, then: str, now: str) -> None:
    """The contact was that, and is not known any more."""
    if was != "never read":
        house.set("hatch", was == "open")
        house.until(house.t + 60)
    kept = {} if now == "unread" else {"hatch": Input(None, Quality.BAD, house.now.monotonic)}
    house.points = {name: one for name, one in house.points.items() if name != "hatch"} | kept
    if then == "restart":
        house.restart()
    if then == "power cut":
        house.reboot(600.0)
    house.settle()


def acts(house: Bench) -> str:
    at_once = house.state.active
    house.until(house.t + AWAITED + 1)
    return f"{at_once:d} {house.state.active:d}"


@pytest.mark.parametrize("case", WHAT_IT_DOES)
@pytest.mark.parametrize(("index", "kind"), list(enumerate(KINDS)))
def test_what_it_does_while_its_contact_is_lost(case, index, kind):
    locks, on_stale = kind
    house = bench(Rule("it", OPEN, "well", False, locks, on_stale, points=("hatch",)))
    lost(house, *case)
    assert acts(house) == WHAT_IT_DOES[case][index]


@pytest.mark.parametrize("case", WHAT_IT_DOES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("index", "on_stale"), list(enumerate(["keep", "lock"])))
def test_another_part_that_decided_says_nothing_of_a_contact(case, shape, index, on_stale):
    """The time of day decided until now: that is no reading of the hatch."""
    condition, decides = SHAPES[shape]
    points = tuple(sorted(condition.inputs))
    house = bench(Rule("it", condition, "well", False, True, on_stale, points=points))
    if decides is not None:
        house.set("key", decides)
    lost(house, *case)
    if decides is not None:
        house.set("key", not decides)
    if shape == "all for" and case[0] == "open":  # seen open, but not for its time yet
        house.until(house.t + 21)
    assert acts(house) == WHAT_IT_DOES[case][index]


def test_the_time_of_an_interlock_goes_on_while_its_contact_is_lost():
    """A reading that is missed neither stops it nor starts it early."""
    house = bench(replace(HATCH, condition=Lasting(OPEN, 20.0)))
    house.set("hatch", False)
    house.set("hatch", True)
    house.until(5)
    house.set("hatch", None, Quality.BAD)
    house.until(19)
    assert not house.state.active
    house.until(20.1)
    assert house.state.active


def test_an_interlock_on_times_is_as_it_was_while_the_time_is_unknown():
    night = Times(Week(Calendar("Europe/Paris"), "", ((Span(1320, 1800, ON),),) * 7))
    rule = replace(HATCH, condition=AllOf((OPEN, night)))
    for start, locked in (("2026-01-15T23:00:00", True), ("2026-01-15T12:00:00", False)):
        house = bench(rule, start)
        house.set("hatch", True)
        house.civil = house.trusted = False
        house.reboot(600.0)
        assert house.state.active is locked
    house = bench(rule)
    house.civil = house.trusted = False
    house.set("hatch", True)
    assert house.state.active, "it was never known"


@pytest.mark.parametrize("condition", [OPEN, Lasting(OPEN, 20.0)])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("on_stale", ["keep", "lock"])
def test_the_state_of_an_earlier_release_is_as_it_was(condition, before, on_stale):
    """It said of the condition as a whole that it was known."""
    house = bench(replace(HATCH, condition=condition, on_stale=on_stale))
    house.set("hatch", before)
    house.until(60)
    house.points.clear()
    kept = house.control.dump(house.state)
    kept["memory"] = of_before(kept["memory"])
    house.state = house.control.load(kept)
    house.settle()
    assert house.state.active is before
    of_two = replace(HATCH, condition=AnyOf((condition, KEY)), on_stale=on_stale, points=("hatch", "key"))
    kept |= {"of": of_two.key, "memory": {"parts": [kept["memory"], {}]}}
    two = bench(of_two)
    two.state = of_two.load(kept)
    two.set("key", False)
    assert two.state.active, "which of its points was known is not"


@settings(max_examples=80, deadline=None)
@given(
    some.recursive(
        some.sampled_from([OPEN, KEY, Is(Operand("hatch"), False)]),
        lambda inner: some.tuples(some.sampled_from([AllOf, AnyOf]), some.lists(inner, min_size=1, max_size=3)).map(
            lambda one: one[0](tuple(one[1]))
        ),
        max_leaves=5,
    ),
    some.lists(
        some.tuples(some.sampled_from(["hatch", "key"]), some.sampled_from([True, False, None]), some.booleans()),
        max_size=12,
    ),
)
def test_an_interlock_acts_by_the_last_that_is_known_of_each_part(condition, readings):
    house = bench(replace(HATCH, condition=condition, points=tuple(sorted(condition.inputs))))
    read: dict[str, bool] = {}

    def holds(one) -> bool:
        if isinstance(one, AllOf | AnyOf):
            return (all if isinstance(one, AllOf) else any)(map(holds, one.conditions))
        return one.source.name not in read or read[one.source.name] is one.wanted

    for point, value, killed in readings:
        house.set(point, value, Quality.BAD if value is None else Quality.GOOD)
        if value is not None:
            read[point] = value
        if killed:
            house.restart(heard=False)
        assert house.state.active is holds(condition)


def test_a_contact_that_opens_while_another_part_decides_is_kept_at_once():
    house = bench(replace(HATCH, condition=AllOf((OPEN, KEY)), points=("hatch", "key")))
    house.set("key", False)
    house.set("hatch", False)
    before = house.control.mark(house.state)
    house.set("hatch", True)
    assert not house.state.active and house.control.mark(house.state) != before


def of_before(memory: dict) -> dict:
    parts = {"parts": [of_before(one) for one in memory["parts"]]} if "parts" in memory else {}
    return {key: value for key, value in memory.items() if key != "known"} | parts


def reload(house: Bench, rule: Rule) -> None:
    """The file has another rule of this name; nothing was read yet."""
    kept = json.loads(json.dumps(house.control.dump(house.state)))
    points = dict(house.points)
    house.points.clear()
    house.control, house.state = rule, rule.load(kept)
    house.settle()
    house.points.update(points)


@pytest.mark.parametrize("on_stale", ["keep", "lock"])
@pytest.mark.parametrize(
    "condition",
    [
        Lasting(OPEN, 20.0),
        AnyOf((Lasting(OPEN, 20.0), Lasting(Is(Operand("other"), True), 5.0))),
        AllOf((OPEN, Is(Operand("other"), True))),
        Compare(Operand("hatch"), 1.5, hysteresis=1.0),
        Still(Operand("hatch"), 0.5, 7200.0),
        Moves(Operand("hatch"), 0.5, 600.0, rises=True),
    ],
)
def test_an_interlock_holds_over_a_reload_until_its_new_condition_is_known_not_to(condition, on_stale):
    """The hatch is open, and the condition of the interlock was changed in the file: it goes on holding."""
    house = bench(HATCH)
    house.rest["well"] = True
    house.set("hatch", True)
    house.until(100)
    reload(house, replace(HATCH, condition=condition, on_stale=on_stale, points=tuple(sorted(condition.inputs))))
    house.restart(heard=False)
    assert house.value("well") is False, "nothing is known yet"
    house.until(130)
    house.set("hatch", None, Quality.BAD)
    assert house.value("well") is False
    house.set("hatch", True)
    house.until(4000)
    house.restart()
    house.until(4100)
    assert house.value("well") is False and house.of("interlock") == [(0, "alarm")]
    house.set("other", False)
    house.set("hatch", False)
    house.until(4200)
    assert house.value("well") is True and house.of("interlock")[1:] == [(4100, "cleared")]


def test_a_rule_with_another_condition_begins_anew():
    house = bench(TRACE)
    house.set("air", -5.0)
    house.until(700)
    reload(house, replace(TRACE, condition=replace(COLD, seconds=900.0)))
    house.settle()
    assert house.value("trace") is False


def test_an_interlock_says_that_another_one_holds_its_actuator_elsewhere():
    """A valve that is to open in a fire is shut by a latched burst."""
    fire = Rule("fire", Is(Operand("fire"), True), "ev1", True, locks=True, on_stale="keep", points=("fire",))
    house = Bench(fire, "2026-01-15T12:00:00", {"ev1": False})
    view = View({"fire": Input(True, Quality.GOOD, 1000.0)}, {"ev1": Output(False, 2, "burst", 900.0, None)})
    step = fire.step(house.state, view, house.now)
    assert [(one.code, one.detail) for one in step.happenings] == [
        ("interlock", {"actuator": "ev1", "value": True}),
        ("interlock_overruled", {"actuator": "ev1", "value": True, "by": "burst"}),
    ]
    held = view._replace(outputs={"ev1": Output(False, 2, "lock smoke", 900.0, None)})
    step = fire.step(step.state, held, house.now)
    assert [(one.kind, one.code) for one in step.happenings] == [("cleared", "interlock_overruled")]


def test_an_interlock_towards_off_is_overruled_by_none():
    """Off wins: a drain that frost holds open is shut by it, also in the step before that is seen."""
    lock = Rule("nodrain", Is(Operand("hand"), True), "ev2", False, locks=True, on_stale="keep", points=("hand",))
    house = Bench(lock, "2026-01-15T12:00:00", {"ev2": True})
    view = View({"hand": Input(True, Quality.GOOD, 1000.0)}, {"ev2": Output(True, 2, "frost", 900.0, None)})
    step = lock.step(house.state, view, house.now)
    assert [one.code for one in step.happenings] == ["interlock"]
