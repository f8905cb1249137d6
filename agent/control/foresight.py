"""The next wish or alarm of a control if its inputs stay as they are. It is stepped from due to due. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any, NamedTuple

from agent.control.api import NEVER, Control, Happening, Now, Step, View, Wish
from agent.model import Quality

__all__ = ["HORIZON", "STEPS", "Coming", "ComingAlarm", "look_ahead", "look_for_alarm"]

HORIZON = 48 * 3600.0
"""Seconds that are looked ahead."""
STEPS = 2000
"""Steps at most: a control that is due each second has no plan for the night."""


class Coming(NamedTuple):
    """At `at` (monotonic s) the control will wish for an actuator; None: it will wish for nothing any more."""

    at: float
    wish: Wish | None


class ComingAlarm(NamedTuple):
    """At `at` (monotonic s) the control will tell an alarm."""

    at: float
    alarm: Happening


def look_ahead(control: Control[Any], state: Any, view: View, now: Now, actuator: str) -> Iterator[Coming | None]:
    """Step a control ahead. Yields None after each step that changes nothing, and at last the first change.

    Ends without one where nothing changes within `HORIZON` or `STEPS`. A caller with other work does it in between.
    """
    steps = _steps(control, state, view, now)
    before = _strongest(next(steps)[1].wishes, actuator)
    for at, step in steps:
        found = _strongest(step.wishes, actuator)
        if _value(found) != _value(before):
            yield Coming(at, found)
            return
        yield None


def look_for_alarm(control: Control[Any], state: Any, view: View, now: Now) -> Iterator[ComingAlarm | None]:
    """As `look_ahead`, up to the first alarm."""
    for at, step in _steps(control, state, view, now):
        alarm = next((one for one in step.happenings if one.kind == "alarm"), None)
        if alarm is not None:
            yield ComingAlarm(at, alarm)
            return
        yield None


def _steps(control: Control[Any], state: Any, view: View, now: Now) -> Iterator[tuple[float, Step[Any]]]:
    """The step of a control now and those to come, with their moments."""
    step = control.step(state, view, now)
    yield now.monotonic, step
    due = step.due
    for _ in range(STEPS):
        if due == NEVER or due > now.monotonic + HORIZON:
            return
        step = control.step(step.state, _later_view(control, view, due - now.monotonic), _later(now, due))
        yield due, step
        due = max(step.due, due + 0.001)


def _later(now: Now, at: float) -> Now:
    """The moment at `at` (monotonic s)."""
    civil = now.civil
    if civil is not None:
        zone = civil.tzinfo
        civil = (civil.astimezone(UTC) + timedelta(seconds=at - now.monotonic)).astimezone(zone)
    return now._replace(monotonic=at, civil=civil)


def _later_view(control: Control[Any], view: View, seconds: float) -> View:
    """The inputs of a control as they will be: what is good is read again and again."""
    found = {name: view.points[name] for name in control.inputs if name in view.points}
    points = {
        name: one._replace(at=one.at + seconds) if one.quality is Quality.GOOD else one for name, one in found.items()
    }
    return view._replace(points=points)


def _strongest(wishes: Any, actuator: str) -> Wish | None:
    return min((wish for wish in wishes if wish.actuator == actuator), key=lambda wish: wish.priority, default=None)


def _value(wish: Wish | None) -> object:
    return None if wish is None else (wish.value, wish.priority)
