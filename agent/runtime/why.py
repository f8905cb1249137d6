"""The answer to `bocage why`: why an output, or a service, is as it is, and what comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from datetime import UTC, timedelta
from typing import Any, TypeVar

from agent.control.api import Alarming, Factual, Filling, Now, Overridden, Ruling
from agent.control.engine import Doing
from agent.control.foresight import Coming, ComingAlarm, look_ahead, look_for_alarm
from agent.control.named_calendars import CALENDAR
from agent.errors import BocageError
from agent.lib.suggestion import did_you_mean
from agent.lib.timetext import local_text
from agent.model import Quality
from agent.runtime.parts import Parts

__all__ = ["explain"]

T = TypeVar("T")

AT_ONCE = 20
"""Steps ahead without a pause for the other tasks: a step takes 0.1 ms, on a small box ten times that."""


async def explain(parts: Parts, name: str) -> dict[str, Any]:
    """The chain that decides about an actuator (also by its output), a circuit, a water point, a zone, a rule …

    `actuators` are as `Arbiter.explain` has them. `controls` have the points that they tell themselves (a mode), the
    commands that hold and until when, their wishes and inputs, with their quality and the age (s) of the last good
    reading, and what comes `next` if all inputs stay as they are; an alarm, a rule and an interlock have the times that
    they are `counting`, a tank the levels between which it `fills` (percent). `alarms` are those that are open about
    any of them. BocageError for a name that is not known.
    """
    engine, arbiter, now = parts.engine, parts.arbiter, parts.engine.now
    found = arbiter.explain(name)
    doing = list(engine.about(name if found is None else found["name"]))
    if found is None and not doing:
        known = [one["name"] for one in arbiter.status()]
        known += [str(getattr(control, "subject", control.name)) for control in parts.settings.controls]
        hint = did_you_mean(name, known)
        raise BocageError(f'"{name}" is no actuator and no service of this site' + (f"; {hint}" if hint else ""))
    if found is not None:
        doing += _soon_ruling(parts, found["name"], doing, now)
    names = [found["name"]] if found is not None else _actuators(doing)
    actuators = [one for one in map(arbiter.explain, names) if one is not None]
    controls = [await _control(parts, one, now, names) for one in doing]
    open_alarms = parts.open_alarms.status((), parts.engine.latched())
    subjects = {name, *names, *(control["name"] for control in controls)}
    return {
        "name": name,
        "at": local_text(now.civil, None if now.civil is None else now.civil.tzinfo),
        "timezone": parts.settings.timezone,
        "actuators": actuators,
        "controls": controls,
        "alarms": [alarm for alarm in open_alarms if alarm["subject"] in subjects],
    }


def _soon_ruling(parts: Parts, actuator: str, doing: list[Doing], now: Now) -> Iterator[Doing]:
    """The rules and interlocks that are about to move an actuator: their conditions count."""
    known, view = {one.control.name for one in doing}, parts.engine.view
    for control in parts.settings.controls:
        if isinstance(control, Ruling) and control.actuator == actuator and control.name not in known:
            yield from (one for one in parts.engine.about(control.name) if control.counting(one.state, view, now))


def _actuators(doing: list[Doing]) -> list[str]:
    return list(dict.fromkeys(wish.actuator for one in doing for wish in one.wishes))


async def _control(parts: Parts, one: Doing, now: Now, actuators: list[str]) -> dict[str, Any]:
    coming = []
    ruled = {one.control.actuator} if isinstance(one.control, Ruling) else set[str]()
    moved = ruled.union(wish.actuator for wish in one.wishes)
    for actuator in dict.fromkeys((*actuators, *ruled)):
        if actuator in moved:
            coming += [_coming(actuator, found, now) for found in [await _next(parts, one, now, actuator)] if found]
    if isinstance(one.control, Alarming):
        alarm = await _first(look_for_alarm(one.control, one.state, parts.engine.view, now))
        coming += [] if alarm is None else [_coming_alarm(alarm, now)]
    return {
        "name": getattr(one.control, "subject", one.control.name),
        "failed": one.failed,
        "tells": list(_tells(one)),
        "commands": list(_commands(one, now)),
        "wishes": [wish._asdict() for wish in one.wishes],
        "inputs": list(_inputs(parts, one, now, actuators)),
        "counting": list(_counting(parts, one, now)),
        "fills": _fills(one),
        "next": coming,
    }


def _tells(one: Doing) -> Iterator[dict[str, Any]]:
    """The points of the control's own, as its state has them."""
    if isinstance(one.control, Factual):
        units = {point.id: point.unit for point in one.control.points}
        for name, value in one.control.facts(one.state).items():
            yield {"point": name, "value": value, "unit": units.get(name, "")}


def _commands(one: Doing, now: Now) -> Iterator[dict[str, Any]]:
    """The commands that hold for a time."""
    if isinstance(one.control, Overridden):
        for point, value, until in one.control.holding(one.state):
            at, _ = _moment(until, now)
            yield {"point": point, "value": value, "until": at}


async def _next(parts: Parts, one: Doing, now: Now, actuator: str) -> Coming | None:
    """The next change of a control's wish."""
    return await _first(look_ahead(one.control, one.state, parts.engine.view, now, actuator))


async def _first(steps: Iterator[T | None]) -> T | None:
    """The first that is found, in turns with the agent's other tasks."""
    for count, found in enumerate(steps):
        if found is not None:
            return found
        if count % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
    return None


def _coming(actuator: str, found: Coming, now: Now) -> dict[str, Any]:
    wish = found.wish
    at, in_s = _moment(found.at, now)
    return {
        "actuator": actuator,
        "in_s": in_s,
        "at": at,
        "value": None if wish is None else wish.value,
        "priority": None if wish is None else wish.priority,
        "cause": "" if wish is None else wish.cause,
    }


def _coming_alarm(found: ComingAlarm, now: Now) -> dict[str, Any]:
    at, in_s = _moment(found.at, now)
    return {"alarm": found.alarm.code, "in_s": in_s, "at": at}


def _counting(parts: Parts, one: Doing, now: Now) -> Iterator[dict[str, Any]]:
    """The times that an alarm or a rule counts."""
    if isinstance(one.control, Alarming):
        for count in one.control.counting(one.state, parts.engine.view, now):
            since, _ = _moment(count.since, now)
            yield {"counted_s": round(count.seconds, 1), "needs_s": count.needs, "since": since}


def _fills(one: Doing) -> dict[str, Any] | None:
    if not isinstance(one.control, Filling):
        return None
    start, stop, tariff = one.control.fills(one.state)
    return {"start": start, "stop": stop, "tariff": tariff}


def _moment(monotonic: float, now: Now) -> tuple[str | None, float]:
    """A moment (monotonic s) in the site's time, None while that is not known; and in how many seconds it comes."""
    after = timedelta(seconds=monotonic - now.monotonic)
    at = None if now.civil is None else now.civil.astimezone(UTC) + after
    return local_text(at, None if now.civil is None else now.civil.tzinfo), round(after.total_seconds(), 1)


def _inputs(parts: Parts, one: Doing, now: Now, actuators: Collection[str]) -> Iterator[dict[str, Any]]:
    """The points that a control looks at, and the outputs, without `actuators`, which have an answer of their own."""
    view, outputs = parts.engine.view, parts.arbiter.outputs()
    for name in sorted(one.control.inputs.difference(actuators, _actuators([one]))):
        if name.startswith(CALENDAR):
            continue
        if name in outputs:
            value = outputs[name].value
            quality = str(Quality.BAD if value is None else Quality.GOOD)
            known = {"unit": "", "quality": quality, "read": value is not None, "age_s": None}
            yield {"point": name, "value": value, **known}
            continue
        read, point = view.points.get(name), parts.hub.points.get(name)
        good_at = None if read is None or read.at == -float("inf") else read.at
        yield {
            "point": name,
            "value": None if read is None else read.value,
            "unit": "" if point is None else point.unit,
            "quality": str(Quality.BAD if read is None else read.quality),
            "read": read is not None,
            "age_s": None if good_at is None else round(now.monotonic - good_at, 1),
        }
