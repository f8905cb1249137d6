"""Light on request and presence: what asks, what it lights, what it counts, and what it does not survive."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.api import Happening, Input, Issued, Now, Output, View
from agent.control.calendar import Calendar
from agent.model import Quality, Value
from agent.services.lighting.control import Circuit, CircuitState
from agent.services.lighting.lamps import Lamps
from agent.services.lighting.light_on_request import LightOnRequest
from agent.services.lighting.night import NightPart, Programme, Switch
from agent.services.lighting.on_demand import LegalHours, OnDemand
from agent.services.lighting.presence import Presence

PARIS = Calendar("Europe/Paris", "FR", "A")
CUT = Programme(PARIS, 47.32, 5.04, Switch("civil_dusk"), Switch("civil_dawn"), cuts=(NightPart(1380, 300),))
MIN, HOUR = 60.0, 3600.0
CUT_BEGINS, CUT_ENDS = 11 * HOUR, 17 * HOUR
"""Seconds after the noon of the scenario."""
NOON = "2026-01-15T12:00:00"
DEMAND = OnDemand(("button", "motion"), 900.0, at_most=6, cuts_only=True, min_on=900.0)
WALK = Presence("motion", 100.0, 30.0, 300.0)


def street(on_demand: OnDemand | None = DEMAND, programme: Programme = CUT, **more: Any) -> Circuit:
    asked = LightOnRequest(
        "street", "km1", more.get("dimmer"), more.get("proportional", False), on_demand, more.pop("presence", None),
        has_steps=bool(programme.levels), rated=True,
    )  # fmt: skip
    return Circuit("street", "km1", programme, Lamps(1000.0, 30), on_request=asked, **more)


@dataclass
class Street:
    """A circuit whose outputs obey at once. `heard` puts readings on the wire; `run` goes on, in s after noon."""

    circuit: Circuit
    start: str = NOON
    trusted: bool = True
    civil: bool = True
    boot: float = 1000.0
    """Monotonic seconds at the start."""
    held: int | None = None
    """Something of this priority holds the contactor off."""

    def __post_init__(self) -> None:
        self.zero = datetime.fromisoformat(self.start).replace(tzinfo=PARIS.zone).timestamp()
        self.state: CircuitState = self.circuit.initial()
        self.at = 0.0
        self.points: dict[str, Input] = {}
        self.outputs: dict[str, Output] = {"km1": Output(False, 16, "", -math.inf, None)}
        if self.circuit.dimmer is not None:
            self.outputs[self.circuit.dimmer] = Output(100.0, 16, "", -math.inf, None)
        self.edges: list[tuple[float, str, Value, int]] = []
        self.happened: list[tuple[float, Happening]] = []

    @property
    def now(self) -> Now:
        civil = datetime.fromtimestamp(self.zero + self.at, PARIS.zone) if self.civil else None
        return Now(self.boot + self.at, civil, self.trusted)

    def heard(self, quality: Quality = Quality.GOOD, late: float = 0.0, **values: Value) -> None:
        for name, value in values.items():
            self.points[name] = Input(value, quality, self.boot + self.at - late)
        self.step()

    def press(self, name: str = "button") -> None:
        self.heard(**{name: True})
        self.heard(**{name: False})

    def step(self) -> None:
        for _ in range(10):
            step = self.circuit.step(self.state, View(self.points, self.outputs), self.now)
            self.state, self.due = step.state, step.due - self.boot
            self.happened += [(self.at, one) for one in step.happenings]
            moved = False
            for actuator, output in self.outputs.items():
                wishes = [(wish.priority, wish.value, wish.cause) for wish in step.wishes if wish.actuator == actuator]
                if self.held is not None and actuator == "km1":
                    wishes.append((self.held, False, "held"))
                priority, value, cause = min(wishes, default=(16, output.value, ""))
                if (value, priority) != output[:2]:
                    moved = True
                    since = output.since if value == output.value else self.boot + self.at
                    self.outputs[actuator] = Output(value, priority, cause, since, None)
                    if value != output.value:
                        self.edges.append((self.at, actuator, value, priority))
            if not moved:
                return
        raise AssertionError("the outputs never rest")

    def run(self, until: float) -> Street:
        """Steps by what is due, and a poll of all that is on each minute."""
        while True:
            at = min(self.due if self.due > self.at else self.at + 0.001, (self.at // 60 + 1) * 60)
            if at > until:
                break
            self.at = at
            if not at % 60:
                for name, one in self.points.items():
                    if one.quality is Quality.GOOD and name in self.polled:
                        self.points[name] = one._replace(at=self.boot + at)
            self.step()
        self.at = until
        self.step()
        return self

    polled: tuple[str, ...] = ("button", "motion")
    due: float = field(default=0.0, init=False)

    def restart(self, gone: float = 0.0, boot: float | None = None) -> None:
        """Kill -9: what was kept is all there is. `gone`: s without current; `boot`: monotonic s at that noon."""
        kept = json.loads(json.dumps(self.circuit.dump(self.state)))
        self.state, self.points = self.circuit.load(kept), {}
        self.at += gone
        self.boot = self.boot if boot is None else boot
        self.outputs = {name: one._replace(since=self.boot + self.at) for name, one in self.outputs.items()}
        self.step()

    def command(self, value: Value, age: float = 0.0, hold: float | None = None) -> None:
        given = Issued(age, hold)
        self.state = self.circuit.timed_command(self.state, "street.on_demand", value, self.now, given)
        self.step()

    @property
    def lit(self) -> bool:
        return bool(self.outputs["km1"].value)

    @property
    def requests(self) -> int:
        return self.state.requested.requests.counted

    def lights(self) -> list[tuple[float, float]]:
        """The times (min after noon) of light at priority 12 that began, and how long (min) it was."""
        found, on = [], None
        for at, actuator, value, priority in self.edges:
            if actuator == "km1" and value and priority == 12:
                on = at
            elif actuator == "km1" and on is not None:
                found.append((round(on / 60, 2), round((at - on) / 60, 2)))
                on = None
        return found

    def told(self) -> list[tuple[str, str]]:
        return [(one.kind, one.code) for _, one in self.happened if one.code in ("trigger_stuck", "sensor_fault",
                                                                                "requests_spent")]  # fmt: skip


def in_the_cut(circuit: Circuit | None = None, at: float = CUT_BEGINS + HOUR, **more: Any) -> Street:
    found = Street(circuit or street(), **more)
    found.heard(button=False, motion=False)
    return found.run(at)


# -- a request -------------------------------------------------------------------------------------------------


def test_a_press_lights_for_its_time() -> None:
    one = in_the_cut()
    one.press()
    assert one.lit and one.outputs["km1"].priority == 12
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 15)] and one.requests == 1


def test_motion_that_goes_on_prolongs_and_each_time_counts() -> None:
    one = in_the_cut()
    for _ in range(5):
        one.press("motion")
        one.run(one.at + 10 * MIN)
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 55)]
    assert one.requests == 4  # 15, 30, 45 and 60 min of light begun


def test_a_button_that_is_held_for_a_moment_counts_once() -> None:
    one = in_the_cut()
    one.heard(button=True)
    one.run(one.at + 90)
    one.heard(button=False)
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 16.5)] and one.requests == 1


def test_a_second_press_a_moment_later_counts_nothing() -> None:
    one = in_the_cut()
    one.press()
    one.run(one.at + 10)
    one.press()
    one.run(one.at + 14 * MIN)
    assert one.requests == 1 and one.lit


@pytest.mark.parametrize("at", [HOUR, 8 * HOUR, CUT_BEGINS - 1, CUT_ENDS + 1, 23 * HOUR])
def test_by_day_and_while_the_lamps_burn_it_counts_nothing(at: float) -> None:
    one = in_the_cut(at=at)
    before = one.outputs["km1"]
    one.press()
    assert one.outputs["km1"] == before and one.requests == 0
    one.run(one.at + 5)
    assert one.requests == 0 and not one.lights()


def test_a_request_shortly_before_the_cut_ends_goes_over_into_the_programme() -> None:
    one = in_the_cut(at=CUT_ENDS - 5 * MIN)
    one.press()
    one.run(CUT_ENDS + HOUR)
    assert one.edges[-1] == (CUT_ENDS - 5 * MIN, "km1", True, 12)
    assert one.lit and one.outputs["km1"].priority == 15


def test_a_request_older_than_its_time_lights_nothing() -> None:
    one = in_the_cut()
    one.heard(button=True, late=901)
    assert not one.lit and one.requests == 0


def test_a_late_request_lights_for_what_is_left_of_it() -> None:
    one = in_the_cut()
    one.polled = ()
    one.heard(button=True, late=300)
    one.points["button"] = one.points["button"]._replace(value=False)
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 10)]


def test_a_request_from_before_the_cut_lights_nothing_in_it() -> None:
    one = in_the_cut(at=CUT_BEGINS - 2 * MIN)
    one.press()
    one.run(CUT_BEGINS + HOUR)
    assert not one.lights()


def test_who_still_moves_when_the_cut_begins_keeps_the_light() -> None:
    one = in_the_cut(at=CUT_BEGINS - 2 * MIN)
    one.heard(motion=True)
    one.run(CUT_BEGINS + MIN)
    assert one.lit and one.requests == 1


def test_a_radio_button_that_is_never_let_go_asks_with_each_press() -> None:
    one = Street(street())
    one.polled = ()
    one.run(CUT_BEGINS + HOUR)
    for _ in range(3):
        one.heard(button=True)
        one.run(one.at + 40 * MIN)
    assert [length for _, length in one.lights()] == [15, 15, 15]
    assert one.requests == 3 and not one.told()
    assert one.state.requested.account.cost.detections == 3


# -- the night's limit ------------------------------------------------------------------------------------------


def test_no_more_than_at_most_a_night_and_it_is_told_once() -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=2)))
    for _ in range(4):
        one.press()
        one.run(one.at + 20 * MIN)
    assert len(one.lights()) == 2 and one.told() == [("change", "requests_spent")]
    one.run(24 * HOUR + CUT_BEGINS + MIN)
    one.press()
    assert one.lit and one.requests == 1 and one.state.requested.requests.last == 2


def test_the_limit_is_kept_over_kill_and_power_cut() -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=2)))
    one.press()
    one.run(one.at + 20 * MIN)
    one.restart()
    one.heard(button=False, motion=False)
    one.press()
    one.run(one.at + 5 * MIN)
    one.restart(gone=20 * MIN, boot=-CUT_BEGINS - HOUR - 1000.0)
    one.heard(button=False, motion=False)
    one.press()
    one.run(CUT_ENDS - 1)
    assert one.requests == 2 and len(one.lights()) == 2


def test_light_goes_on_to_its_end_after_a_kill() -> None:
    one = in_the_cut()
    one.press()
    one.run(one.at + 5 * MIN)
    one.restart()
    assert one.lit
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 15)] and one.requests == 1


def test_a_count_is_marked_for_flash_at_once() -> None:
    one = in_the_cut()
    before = one.circuit.mark(one.state)
    one.press()
    assert one.circuit.mark(one.state) != before


def test_a_clock_that_goes_back_gives_no_further_requests() -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=1)))
    one.press()
    one.run(one.at + 20 * MIN)
    one.zero -= 24 * HOUR
    one.run(one.at + MIN)
    one.press()
    assert one.requests == 1 and not one.lit


# -- stuck and lost ---------------------------------------------------------------------------------------------


def test_a_jammed_button_does_not_light_all_night_and_is_told() -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=None)))
    one.heard(button=True)
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 60)] and one.told() == [("alarm", "trigger_stuck")]
    assert next(one.detail for _, one in one.happened if one.code == "trigger_stuck") == {"trigger": "button"}
    one.run(36 * HOUR)
    assert not one.lights()[1:], "not in the next night either"
    one.heard(button=False)
    one.run(one.at + 20 * MIN)
    assert one.told() == [("alarm", "trigger_stuck"), ("cleared", "trigger_stuck")]
    one.press()
    assert one.lit


def test_a_sensor_in_the_wind_does_not_light_all_night() -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=None)))
    while one.at < CUT_ENDS - 10 * MIN:
        one.press("motion")
        one.run(one.at + 4 * MIN)
    assert one.lights() == [(720, 60)] and one.told() == [("alarm", "trigger_stuck")]
    one.press()
    assert one.lit, "the button is another one"


def test_a_stuck_trigger_stays_stuck_over_a_kill() -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=None)))
    one.heard(button=True)
    one.run(one.at + 50 * MIN)
    one.restart()
    one.heard(button=True)
    one.run(one.at + 11 * MIN)
    assert not one.lit
    one.restart()
    one.heard(button=True)
    one.run(CUT_ENDS - 1)
    assert not one.lit and one.told().count(("alarm", "trigger_stuck")) == 1


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD])
def test_a_lost_trigger_asks_nothing_and_is_told(quality: Quality) -> None:
    one = in_the_cut()
    one.heard(quality, button=True)
    one.run(one.at + 2 * MIN)
    assert not one.lit and one.told() == [("alarm", "sensor_fault")]
    one.heard(button=False)
    one.run(one.at + 2 * MIN)
    assert one.told()[1:] == [("cleared", "sensor_fault")]


def test_light_that_was_asked_for_outlasts_its_trigger() -> None:
    one = in_the_cut()
    one.press()
    one.run(one.at + MIN)
    one.heard(Quality.BAD, button=None, motion=None)
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 15)]


# -- who decides ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [1, 2, 8])
def test_a_command_and_the_local_switch_win_and_nothing_counts(priority: int) -> None:
    one = in_the_cut(held=priority)
    one.press()
    one.run(one.at + 5 * MIN)
    assert not one.lit and one.requests == 0
    one.held = None
    one.run(one.at + MIN)
    assert not one.lit, "who asked meanwhile has gone home"


def test_an_unknown_time_lights_a_road_by_the_last_known_one() -> None:
    one = in_the_cut(trusted=False)
    one.press()
    assert one.lit


def test_without_any_time_nothing_can_be_asked_for() -> None:
    one = in_the_cut(civil=False, trusted=False)
    one.press()
    one.run(one.at + HOUR)
    assert not one.lit and one.requests == 0
    with pytest.raises(ValueError, match="no light on request"):
        one.command(True)


def test_an_unknown_time_holds_no_legal_hours() -> None:
    church = replace(DEMAND, cuts_only=False, legal=LegalHours(True, 60))
    one = in_the_cut(street(church), trusted=False)
    one.press()
    assert not one.lit and one.requests == 0


def test_light_ends_before_the_legal_hour_with_the_least_time_of_the_contactor() -> None:
    church = replace(DEMAND, cuts_only=False, legal=LegalHours(True, 60))
    one = in_the_cut(street(church), at=13 * HOUR - 16 * MIN)
    one.press()
    one.run(13 * HOUR + HOUR)
    assert one.lights() == [(764, 15)]
    late = in_the_cut(street(church), at=13 * HOUR - 14 * MIN)
    late.press()
    late.run(14 * HOUR)
    assert not late.lights() and late.requests == 0
    while_lit = in_the_cut(street(church), at=13 * HOUR - 20 * MIN)
    while_lit.press()
    while_lit.run(while_lit.at + 10 * MIN)
    while_lit.press()
    while_lit.run(14 * HOUR)
    assert while_lit.lights() == [(760, 20)], "it ends at 01:00"


# -- commands ---------------------------------------------------------------------------------------------------


def test_a_command_asks_as_a_button_does_and_ends_it() -> None:
    one = in_the_cut()
    one.command(True)
    assert one.lit and one.requests == 1
    one.run(one.at + MIN)
    one.command(False)
    assert not one.lit
    one.command(True)
    assert one.lit and one.requests == 2
    one.command(None)
    assert not one.lit


@pytest.mark.parametrize("value", ["reset", 50, "on"])
def test_a_wrong_value_is_refused(value: Value) -> None:
    with pytest.raises(ValueError, match="takes on or off"):
        in_the_cut().command(value)


@pytest.mark.parametrize(
    ("priority", "reason"),
    [
        (1, "a command or the local switch decides about the lamps"),
        (2, r"the lamps are held by held \(priority 2\)"),
        (8, "a command or the local switch decides about the lamps"),
    ],
)
def test_a_refusal_names_what_holds_the_lamps(priority: int, reason: str) -> None:
    one = in_the_cut()
    one.held = priority
    one.step()
    with pytest.raises(ValueError, match=f"^no light on request: {reason}$"):
        one.command(True)


def test_a_command_with_an_end_lasts_so_long() -> None:
    one = in_the_cut()
    one.command(True, hold=5 * MIN)
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 5)] and one.requests == 1
    with pytest.raises(ValueError, match="at most 15 min"):
        one.command(True, hold=16 * MIN)


def test_a_command_that_waited_at_the_broker_lights_for_what_is_left() -> None:
    one = in_the_cut()
    with pytest.raises(ValueError, match="it was asked for 15 min ago, and lasts 15 min"):
        one.command(True, age=15 * MIN)
    one.command(True, age=10 * MIN)
    one.run(CUT_ENDS - 1)
    assert one.lights() == [(720, 5)]


def test_a_command_that_has_no_effect_says_why() -> None:
    with pytest.raises(ValueError, match="burn already"):
        in_the_cut(at=8 * HOUR).command(True)
    with pytest.raises(ValueError, match="decides about"):
        in_the_cut(held=8).command(True)
    one = in_the_cut(street(replace(DEMAND, at_most=1)))
    one.command(True)
    one.run(one.at + 20 * MIN)
    with pytest.raises(ValueError, match="the 1 requests of this night are used up"):
        one.command(True)


# -- dimmed lamps -----------------------------------------------------------------------------------------------

DIMMED = replace(CUT, cuts=(), levels=(NightPart(1320, 360, level=50.0),))


def test_a_request_lights_dimmed_lamps_brighter() -> None:
    one = in_the_cut(street(replace(DEMAND, cuts_only=False), DIMMED, dimmer="dim1"))
    assert one.outputs["dim1"].value == 50
    one.press()
    assert one.outputs["dim1"][:2] == (100, 12) and one.outputs["km1"].priority == 15
    one.run(one.at + HOUR)
    assert one.outputs["dim1"].value == 50
    assert one.state.requested.account.cost.energy == pytest.approx(125, abs=1)  # half of 1000 W for 15 min


def test_an_actuator_with_levels_lights_at_the_level_of_the_request() -> None:
    one = in_the_cut(street(replace(DEMAND, level=60.0), proportional=True))
    one.press()
    assert one.outputs["km1"].value == 60 and one.state.level in (None, 60, 100)
    one.run(one.at + 14 * MIN)
    assert one.state.level == 60


def test_presence_dims_the_burning_lamps() -> None:
    one = Street(street(None, replace(CUT, cuts=()), dimmer="dim1", presence=WALK))
    one.heard(motion=False)
    one.run(8 * HOUR)
    assert one.outputs["dim1"][:2] == (30, 12)
    one.press("motion")
    assert one.outputs["dim1"][:2] == (100, 12)
    one.run(8 * HOUR + 301)
    assert one.outputs["dim1"].value == 30


def test_presence_holds_within_the_dimming_steps() -> None:
    one = Street(street(None, DIMMED, dimmer="dim1", presence=WALK))
    one.heard(motion=False)
    one.run(8 * HOUR)
    assert one.outputs["dim1"].value == 100, "the evening is the programme's"
    one.run(12 * HOUR)
    assert one.outputs["dim1"].value == 30


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD])
def test_without_the_sensor_the_programme_holds(quality: Quality) -> None:
    one = Street(street(None, DIMMED, dimmer="dim1", presence=WALK))
    one.heard(motion=False)
    one.run(12 * HOUR)
    one.heard(quality, motion=False)
    assert one.outputs["dim1"].value == 50
    one.run(one.at + 2 * MIN)
    assert one.told() == [("alarm", "sensor_fault")]


def test_a_stuck_sensor_lets_the_programme_hold() -> None:
    one = Street(street(None, DIMMED, dimmer="dim1", presence=replace(WALK, stuck_after=HOUR)))
    one.heard(motion=False)
    one.run(12 * HOUR)
    one.heard(motion=True)
    one.run(14 * HOUR)
    assert one.outputs["dim1"].value == 50 and one.told() == [("alarm", "trigger_stuck")]


def test_a_sensor_that_is_on_all_day_is_stuck_only_by_the_hours_of_presence() -> None:
    one = Street(street(None, DIMMED, dimmer="dim1", presence=replace(WALK, stuck_after=HOUR)))
    one.heard(motion=False)
    one.heard(motion=True)
    one.run(11 * HOUR - MIN)  # the steps begin at 22:00, ten hours after the noon
    assert one.outputs["dim1"].value == 100 and one.told() == []
    one.run(11 * HOUR + MIN)
    assert one.outputs["dim1"].value == 50 and one.told() == [("alarm", "trigger_stuck")]


# -- what it cost, and what is told -----------------------------------------------------------------------------


def test_figures_are_told_at_full_hours_only() -> None:
    one = in_the_cut(at=CUT_BEGINS + 10 * MIN)
    before = one.circuit.figures(one.state)
    one.press()
    one.run(CUT_BEGINS + HOUR - 1)
    now = one.circuit.figures(one.state)
    own = ("detections", "requests", "request_minutes", "request_energy")
    assert [now[f"street.{what}"] for what in own] == [before[f"street.{what}"] for what in own] == [0, 0, 0, 0]
    assert one.circuit.figures_now(one.state)["street.requests"] == 1
    one.run(CUT_BEGINS + HOUR + 1)
    told = one.circuit.figures(one.state)
    assert [told[f"street.{what}"] for what in own] == [1, 1, 15, 0.25]


def test_no_wish_and_no_event_names_what_asked() -> None:
    one = in_the_cut()
    one.press("motion")
    causes = [one.outputs["km1"].cause, *(str(happening) for _, happening in one.happened)]
    assert not any("motion" in cause for cause in causes)


def test_a_trigger_that_left_the_file_is_not_stuck_for_good() -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=None)))
    one.heard(button=True)
    one.run(one.at + 2 * HOUR)
    assert one.told() == [("alarm", "trigger_stuck")]
    total = one.state.requested.requests.total
    one.circuit = street(replace(DEMAND, triggers=("motion",)))
    one.restart()
    assert one.told()[1:] == [("cleared", "trigger_stuck")]
    one.circuit = street(None, presence=WALK)
    one.restart()
    one.circuit = street()
    one.restart()
    assert one.state.requested.requests.total == total, "a counter that was told goes on"


def test_the_figures_survive_a_restart() -> None:
    one = in_the_cut()
    one.press()
    one.run(CUT_BEGINS + 2 * HOUR + 1)
    before = one.circuit.figures(one.state)
    one.restart()
    assert one.circuit.figures(one.state) == before


def test_a_state_of_before_is_read() -> None:
    plain = replace(street(), on_request=None)
    kept = plain.dump(plain.initial())
    assert "requested" not in kept
    assert street().load(kept).requested == CircuitState().requested


def test_it_can_be_handed_to_the_agent() -> None:
    assert pickle.loads(pickle.dumps(street())) == street()


# -- whatever comes ---------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.integers(1, 90),
        st.sampled_from(["press", "walk", "on", "off", "lost", "kill", "cut", "command", "release", "hold", "free"]),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(1, 6))
def test_a_night_never_has_more_light_than_its_requests(events: list[tuple[int, str]], at_most: int) -> None:
    one = in_the_cut(street(replace(DEMAND, at_most=at_most)), at=CUT_BEGINS - 30 * MIN)
    boot = one.boot
    for minutes, what in events:
        one.run(min(one.at + minutes * MIN, CUT_ENDS - 1))
        if what in ("press", "walk"):
            one.press("button" if what == "press" else "motion")
        elif what in ("on", "off"):
            one.heard(button=what == "on")
        elif what == "lost":
            one.heard(Quality.STALE, button=True, motion=False)
        elif what == "kill":
            one.restart()
        elif what == "cut":
            boot -= 500.0
            one.restart(gone=60.0, boot=boot)
        elif what in ("command", "release"):
            try:
                one.command(what == "command")
            except ValueError:
                pass
        else:
            one.held = 8 if what == "hold" else None
            one.step()
    one.held = None
    one.run(CUT_ENDS - 1)
    assert one.requests <= at_most
    light = sum(length for _, length in one.lights())
    light += 0 if not one.lit else (one.at - one.edges[-1][0]) / 60
    assert light <= at_most * 15 * 1.2 + 0.2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 120), st.booleans()), max_size=30))
def test_heritage_is_dark_after_one(events: list[tuple[int, bool]]) -> None:
    church = replace(DEMAND, cuts_only=False, at_most=None, legal=LegalHours(True, 60))
    one = Street(street(church, replace(CUT, off=Switch(minute=1380), cuts=())))
    one.heard(button=False)
    for minutes, on in events:
        one.run(one.at + minutes * MIN)
        one.heard(button=on)
        since_noon = one.at % (24 * HOUR)
        assert not one.lit or since_noon < 13 * HOUR, "after 01:00"
    assert all(length >= 14.9 for _, length in one.lights() if not one.lit)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.floats(1.0, 3000.0))
def test_it_is_the_same_however_often_it_is_stepped(events: list[tuple[int, str]], stride: float) -> None:
    found = []
    for every in (math.inf, stride):
        one = in_the_cut(at=CUT_BEGINS - 30 * MIN)
        for minutes, what in events:
            until = min(one.at + minutes * MIN, CUT_ENDS - 1)
            while one.at + every < until:
                one.run(one.at + every)
            one.run(until)
            if what in ("press", "walk"):
                one.press("button" if what == "press" else "motion")
            elif what in ("on", "off"):
                one.heard(button=what == "on")
            elif what == "lost":
                one.heard(Quality.STALE, button=True, motion=False)
        one.run(CUT_ENDS - 1)
        found.append((one.lights(), one.requests, one.told()))
    assert found[0] == found[1]


def windows(on_demand: OnDemand, programme: Programme, day: date = date(2026, 1, 15)) -> list[tuple[str, str, bool]]:
    night = programme.night(day)
    return [
        (f"{PARIS.civil(one.start):%H:%M}", f"{PARIS.civil(one.end):%H:%M}", one.dark_after)
        for one in on_demand.windows(programme, night)
    ]


@pytest.mark.parametrize(
    ("more", "programme", "expected"),
    [
        ({}, CUT, [("23:00", "05:00", False)]),
        ({"cuts_only": False}, CUT, [("23:00", "05:00", False)]),
        ({}, replace(CUT, cuts=()), []),
        ({}, replace(CUT, start_delay=600.0), [("23:00", "05:10", False)]),
        ({"cuts_only": False}, replace(CUT, cuts=(), off=Switch(minute=1380)), [("23:00", "07:46", True)]),
        ({}, replace(CUT, cuts=(), off=Switch(minute=1380)), []),
        ({"cuts_only": False, "legal": LegalHours(True, 60)}, replace(CUT, cuts=(), off=Switch(minute=1380)),
         [("23:00", "01:00", True)]),
        ({"cuts_only": False, "legal": LegalHours(True, 1200)}, replace(CUT, on=Switch(minute=1140), cuts=()),
         [("17:51", "19:00", False)]),
        ({"cuts_only": False}, DIMMED, [("22:00", "06:00", False)]),
        ({"cuts_only": False, "level": 50.0}, DIMMED, []),
    ],
)  # fmt: skip
def test_when_light_can_be_requested(
    more: Mapping[str, Any], programme: Programme, expected: list[tuple[str, str, bool]]
) -> None:
    assert windows(replace(replace(DEMAND, at_most=None), **more), programme) == expected
