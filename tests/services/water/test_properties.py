"""What holds of water under any sequence of inputs, commands and restarts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.control.calendar import Calendar
from agent.control.week import Span, Week
from agent.model import Quality
from agent.services.water.control import Flush, Quota, WaterPoint
from agent.services.water.frost import Frost
from agent.services.water.hours import OpeningHours
from agent.services.water.leaks import Leak, NightFlow
from agent.services.water.level_lost import FILL, LevelLost
from agent.services.water.pump import DryRun, PumpSpec
from agent.services.water.rotation import Rotation
from agent.services.water.tanks import Group, Tank
from agent.services.water.tariff import CHEAP, FillLevels, Tariff
from agent.services.water.valve import Valve
from tests.services.water.bench import Bench

H = 3600.0
CALENDAR = Calendar("Europe/Paris", "FR", "A")
FOUNTAIN = WaterPoint(
    "fountain",
    "ct",
    CALENDAR,
    pulse=10.0,
    valve=Valve("ev1", travel=20.0),
    drain=Valve("ev2", normally_open=True, travel=30.0),
    hours=OpeningHours(Week(CALENDAR, "closed", ((Span(420, 1260, "open"),),) * 7)),
    frost=Frost("air", CALENDAR, hold=2 * H),
    leak=Leak(NightFlow(CALENDAR, 120, 240, 10.0), 6 * H, (1500.0, 180.0), 20.0, pulse=10.0),
    quota=Quota(3000.0, close=True),
    flush=Flush(20 * H, 180.0),
    tamper="door",
)
TANK = Tank("reservoir", "level", (PumpSpec("well", DryRun("flow")),))
MONTHS = st.sampled_from(["2026-01-15T12:00:00", "2026-03-31T20:00:00", "2026-07-01T05:00:00", "2026-10-25T00:00:00"])
QUALITY = st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.STALE, Quality.BAD])
WAIT = st.tuples(st.just("wait"), st.sampled_from([1.0, 10.0, 19.9, 20.0, 30.0, 60.0, 600.0, 3600.0, 7 * H]))
AIR = st.tuples(st.just("air"), st.sampled_from([-3.0, 1.9, 3.0, 4.5, 20.0]), QUALITY)
COMMAND = st.tuples(st.sampled_from(["ev1", "ev2"]), st.sampled_from([True, False, None]))
RUSH = st.tuples(st.just("rush"), st.sampled_from([30.0, 1500.0, 4000.0]), st.sampled_from([120.0, 400.0, 8 * H]))
METER = st.tuples(st.just("meter"), QUALITY)
RESTART = st.tuples(st.just("restart"), st.booleans())
CLOCK = st.tuples(st.just("clock"), st.booleans())
FEW = settings(max_examples=40, deadline=None)


class Positions(Bench):
    """Where the two valves stand, as their coils and their travel have it; looked at whenever anything moves."""

    TRAVEL: ClassVar = {"ev1": 20.0, "ev2": 30.0}

    def _apply(self) -> bool:
        before = dict(self.outputs)
        moved = super()._apply()
        self.since = getattr(self, "since", {"ev1": -1e9, "ev2": -1e9})
        for name in before:
            if before[name].value != self.outputs[name].value:
                self.since[name] = self.t
        both = [self._open("ev1", normally_open=False), self._open("ev2", normally_open=True)]
        assert not all(both), f"both open at {self.t}"
        return moved

    def _open(self, name: str, normally_open: bool) -> bool:
        commanded = bool(self.value(name)) is not normally_open
        return commanded or self.t < self.since[name] + self.TRAVEL[name]


def fountain(start: str, kind: type[Bench] = Bench, point: WaterPoint = FOUNTAIN) -> Bench:
    one = kind(point, start, {"ev1": False, "ev2": False})
    one.set("ct", 1000)
    one.set("air", 10.0)
    return one


def play(one: Bench, action: tuple[Any, ...]) -> None:
    match action:
        case "wait", seconds:
            one.until(one.t + seconds)
        case "air", degrees, quality:
            one.set("air", degrees, quality)
        case "rush", flow, lasts:
            index = one.points["ct"].value
            one.pulses("ct", flow, one.t, one.t + lasts, index if isinstance(index, int | float) else 1000.0)
            one.until(one.t + lasts + 1)
        case "meter", quality:
            one.set("ct", one.points["ct"].value, quality)
        case "restart", heard:
            one.restart(heard)
        case "clock", known:
            one.civil = known
            one.settle()
        case ("reset",):
            one.command("fountain.latch", "reset")
        case actuator, value:
            one.override(actuator, value)


@FEW
@given(MONTHS, st.lists(st.one_of(WAIT, WAIT, AIR, AIR, COMMAND, RUSH, METER, RESTART, CLOCK), max_size=25))
def test_supply_and_drain_are_never_both_open(start: str, actions: list[tuple[Any, ...]]) -> None:
    one = fountain(start, Positions)
    for action in actions:
        play(one, action)


@FEW
@given(st.lists(st.one_of(WAIT, AIR, COMMAND, METER, RESTART, CLOCK), max_size=15), st.booleans())
def test_a_latch_survives_everything_but_its_reset(actions: list[tuple[Any, ...]], reboot: bool) -> None:
    one = fountain("2026-07-01T12:00:00")
    one.until(60)
    play(one, ("rush", 4000.0, 400.0))
    for action in actions:
        play(one, action)
    if reboot:
        one.reboot(3 * H)
    assert one.state.latched and one.value("ev1") is False
    assert one.of("burst")[-1][1] == "alarm" and len(one.of("burst")) == 1
    play(one, ("reset",))
    assert not one.state.latched and one.of("burst")[-1][1] == "cleared"


def a_week(one: Bench) -> None:
    """Draws, a burst, frost, a leak at night, a lost meter."""
    index = one.pulses("ct", 200, 1 * H, 6 * H, 1000.0)
    index = one.pulses("ct", 30, 10 * H, 18 * H, index)
    one.plan(30 * H, "air", 1.0)
    one.plan(33 * H, "air", 6.0)
    one.plan(36 * H, "ct", index, Quality.STALE)
    one.plan(37 * H, "ct", index)
    index = one.pulses("ct", 4000, 45 * H, 45 * H + 300, index)


@settings(max_examples=25, deadline=None)
@given(MONTHS, st.lists(st.floats(0, 80 * H), min_size=1, max_size=6), st.booleans())
def test_the_same_levels_from_any_moment_of_a_restart(start: str, moments: list[float], heard: bool) -> None:
    steady, restarted = fountain(start), fountain(start)
    a_week(steady)
    a_week(restarted)
    for moment in sorted(moments):
        restarted.until(moment)
        restarted.restart(heard)
    steady.until(80 * H)
    restarted.until(80 * H)
    assert restarted.edges == steady.edges
    assert restarted.events == steady.events


def test_jumping_from_due_to_due_is_stepping_every_few_seconds() -> None:
    jumping, stepping = fountain("2026-03-28T12:00:00"), fountain("2026-03-28T12:00:00")
    a_week(jumping)
    a_week(stepping)
    jumping.until(50 * H)
    stepping.until(50 * H, every=7.0)
    assert jumping.edges == stepping.edges and len(jumping.edges) > 8
    assert jumping.events == stepping.events and {code for *_, code in jumping.events} >= {"burst", "frost_closed"}
    assert jumping.steps < 5000


@FEW
@given(st.lists(st.one_of(WAIT, METER, st.tuples(st.just("air"), st.just(9.0), QUALITY)), max_size=15))
def test_what_is_bad_or_stale_moves_nothing_in_summer(actions: list[tuple[Any, ...]]) -> None:
    one, quiet = (fountain("2026-07-01T05:00:00", point=replace(FOUNTAIN, flush=None)) for _ in range(2))
    for action in actions:
        play(one, action)
        quiet.until(one.t)
    assert one.edges == quiet.edges


LEVEL = st.tuples(st.just("level"), st.sampled_from([5.0, 30.0, 60.0, 90.0, 97.0, None]), QUALITY)
FLOW = st.tuples(st.just("flow"), st.sampled_from([0.0, 5.0]), QUALITY)
PUMP = st.tuples(st.just("well"), st.sampled_from([True, False, None]))


@FEW
@given(st.lists(st.one_of(WAIT, LEVEL, FLOW, PUMP, RESTART), max_size=25))
def test_a_level_that_is_not_good_never_runs_the_pump(actions: list[tuple[Any, ...]]) -> None:
    one = Bench(TANK, "2026-07-01T12:00:00", {"well": False})
    one.set("level", 60.0)
    for action in actions:
        match action:
            case "level" | "flow" as point, value, quality:
                one.set(point, value, Quality.BAD if value is None else quality)
            case _:
                play(one, action)
        if one.points["level"].quality is not Quality.GOOD:
            assert one.value("well") is False
        if one.state.pumps[0].latched:
            assert one.value("well") is False


@FEW
@given(st.lists(st.one_of(WAIT, LEVEL, FLOW), max_size=20), st.lists(st.integers(0, 19), max_size=4))
def test_a_tank_goes_on_after_any_restart(actions: list[tuple[Any, ...]], restarts: list[int]) -> None:
    steady, restarted = (Bench(TANK, "2026-07-01T12:00:00", {"well": False}) for _ in range(2))
    for one in (steady, restarted):
        one.set("level", 60.0)
        for number, action in enumerate(actions):
            match action:
                case "level" | "flow" as point, value, quality:
                    one.set(point, value, Quality.BAD if value is None else quality)
                case _:
                    play(one, action)
            if one is restarted and number in restarts:
                one.restart(heard=False)
    assert restarted.edges == steady.edges


def test_the_quota_of_a_spring_night_ends_at_midnight() -> None:
    one = fountain("2026-03-28T12:00:00", point=replace(FOUNTAIN, quota=Quota(20.0), flush=None))
    one.pulses("ct", 60, 0, 1 * H, 1000.0)
    one.until(40 * H)
    assert [at for at, kind in one.of("quota_exceeded") if kind == "cleared"] == [12 * H]


DRY = DryRun("flow")
PAIR = (PumpSpec("p1", DRY, "hot1"), PumpSpec("p2", DRY, "hot2", "key2"))
GROUP = replace(
    TANK, pumps=PAIR, group=Group(Rotation(("p1", "p2")), both_below=15.0),
    tariff=Tariff(Week(CALENDAR, "", ((Span(1350, 1830, CHEAP),),) * 7), FillLevels(60, 92), FillLevels(35, 50)),
    level_lost=LevelLost(2 * H, Week(CALENDAR, "", ((Span(120, 270, FILL),),) * 7), 1 * H, 1 * H),
)  # fmt: skip
CONTACT = st.tuples(st.sampled_from(["hot1", "hot2", "key2"]), st.sampled_from([0, 1]), QUALITY)
BROKEN = st.tuples(st.just("broken"), st.sets(st.sampled_from(["p1", "p2"])))
ORDER = st.tuples(st.sampled_from(["p1", "p2"]), st.sampled_from([True, False, None]))
LATCH = st.tuples(st.just("latch"), st.sampled_from(["reservoir", "p1", "p2"]))


def act(one: Bench, action: tuple[Any, ...]) -> None:
    match action:
        case "level" | "flow" | "hot1" | "hot2" | "key2" as point, value, quality:
            one.set(point, value, Quality.BAD if value is None else quality)
        case "broken", names:
            one.broken = set(names)
            one.override("p1", one.overrides.get("p1"))
        case "latch", name:
            one.command(f"{name}.latch", "reset")
        case _:
            play(one, action)


def pair(level: float = 60.0) -> Bench:
    one = Bench(GROUP, "2026-07-01T12:00:00", {"p1": False, "p2": False})
    for name, value in {"hot1": 0, "hot2": 0, "key2": 0, "flow": 5.0, "level": level}.items():
        one.set(name, value)
    return one


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(WAIT, WAIT, LEVEL, FLOW, CONTACT, BROKEN, ORDER, LATCH, RESTART), max_size=30))
def test_no_pump_runs_that_may_not_and_one_runs_that_can(actions: list[tuple[Any, ...]]) -> None:
    one = pair()
    for action in actions:
        act(one, action)
        going = {name for name, output in one.outputs.items() if output.value}
        for pump, state in zip(PAIR, one.state.pumps, strict=True):
            if state.latched or state.hot or state.serviced:
                assert pump.actuator not in going
        level = one.points["level"]
        if level.quality is not Quality.GOOD and not one.state.lost.blind:
            assert not going, "no level is known"
        if level.quality is Quality.GOOD and level.value == 97.0 and one.state.high:
            assert not going, "it is full to the brim"
        records = one.state.rotation.records
        assert all(record.starts <= len(one.edges) + 2 for record in records)
    one.overrides.clear()
    one.broken = set()
    for name, value in {"hot1": 0, "hot2": 0, "key2": 0, "flow": 5.0}.items():
        one.set(name, value)
    one.command("reservoir.latch", "reset")
    one.set("level", 12.0)
    one.until(one.t + 1500)
    one.set("level", 12.5)
    one.until(one.t + 60)
    assert [one.value("p1"), one.value("p2")] == [True, True], "all is well again, and the tank is nearly empty"


FELL = [("wait", 1.0), ("level", 5.0, Quality.GOOD), ("wait", 1.0), ("level", 5.0, Quality.GOOD), ("wait", 600.0)]


@FEW
@given(st.lists(st.one_of(WAIT, LEVEL, FLOW, CONTACT), max_size=20), st.lists(st.integers(0, 19), max_size=4))
@example(actions=FELL, restarts=[3])
def test_a_group_goes_on_after_any_restart(actions: list[tuple[Any, ...]], restarts: list[int]) -> None:
    steady, restarted = pair(), pair()
    for one in (steady, restarted):
        for number, action in enumerate(actions):
            act(one, action)
            if one is restarted and number in restarts:
                one.restart(heard=False)
    assert restarted.edges == steady.edges
    figures = [GROUP.figures(one.state) for one in (steady, restarted)]
    assert figures[0] == figures[1]
