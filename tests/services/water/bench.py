"""A control on the bench: virtual time, inputs on a timetable, outputs that follow the lowest priority at once."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from agent.control.api import Control, Input, Now, Output, View, Wish
from agent.control.named_calendars import NamedCalendar
from agent.model import Quality, Value

PARIS = ZoneInfo("Europe/Paris")


class Bench:
    """`outputs`: where each actuator rests. Times are seconds since the start."""

    def __init__(self, control: Control[Any], start: str, outputs: Mapping[str, Value]) -> None:
        self.control, self.start = control, datetime.fromisoformat(start).replace(tzinfo=PARIS).astimezone(UTC)
        self.state = control.initial()
        self.t, self.boot = 0.0, 1000.0
        self.trusted = True
        self.civil = True
        self.points: dict[str, Input] = {}
        self.calendars: dict[str, NamedCalendar] = {}
        self.rest = dict(outputs)
        self.overrides: dict[str, Value] = {}
        self.broken: set[str] = set()
        """Actuators that do not go on."""
        self.outputs = {name: Output(value, 16, "", float("-inf"), None) for name, value in outputs.items()}
        self.wishes: list[Wish] = []
        self.events: list[tuple[float, str, str]] = []
        self.details: list[Any] = []
        self.edges: list[tuple[float, str, Value, int]] = []
        self.steps = 0
        self.due = 0.0
        self._plan: list[tuple[float, int, str, Value, Quality]] = []

    @property
    def now(self) -> Now:
        civil = (self.start + timedelta(seconds=self.t)).astimezone(PARIS) if self.civil else None
        return Now(self.boot + self.t, civil, self.trusted)

    # -- inputs ------------------------------------------------------------------------------------------------

    def set(self, point: str, value: Value, quality: Quality = Quality.GOOD) -> None:
        """Now, and stepped at once."""
        self.points[point] = Input(value, quality, self.now.monotonic)
        self.settle()

    def plan(self, at: float, point: str, value: Value, quality: Quality = Quality.GOOD) -> None:
        heapq.heappush(self._plan, (at, len(self._plan), point, value, quality))

    def pulses(self, point: str, flow: float, begin: float, end: float, index: float, litres: float = 10.0) -> float:
        """A pulse meter at `flow` (L/h) from `begin` to `end`; returns its index then."""
        every, at = litres * 3600 / flow, begin
        while (at := at + every) <= end:
            index += litres
            self.plan(at, point, index)
        return index

    def override(self, actuator: str, value: Value) -> None:
        """A command at priority 8; None releases it."""
        self.overrides[actuator] = value
        self._apply()
        self.settle()

    def command(self, point: str, value: Value) -> None:
        assert point in self.control.commands
        self.state = self.control.command(self.state, point, value, self.now)
        self.settle()

    # -- time --------------------------------------------------------------------------------------------------

    def until(self, at: float, every: float | None = None) -> None:
        """Go on to `at`: from due to due, or (`every`) also on a grid."""
        self.settle()
        while True:
            soon = [at, max(self.due - self.boot, self.t + 1e-9)]  # after a reboot the last bits of a sum may differ
            if self._plan:
                soon.append(self._plan[0][0])
            if every is not None:
                soon.append((self.t // every + 1) * every)
            self.t = min(soon)
            while self._plan and self._plan[0][0] <= self.t:
                _, _, point, value, quality = heapq.heappop(self._plan)
                self.points[point] = Input(value, quality, self.now.monotonic)
            self.settle()
            if self.t >= at:
                return

    def restart(self, heard: bool = True) -> None:
        """The process ends and starts again: what `dump` says is all that it knows, and no input was heard yet."""
        self.state = self.control.load(json.loads(json.dumps(self.control.dump(self.state))))
        points = dict(self.points)
        if not heard:
            self.points.clear()
            self.settle()
        self.points.update(points)
        self.settle()

    def reboot(self, off: float) -> None:
        """The box is off for so long: the monotonic clock begins anew."""
        kept = json.loads(json.dumps(self.control.dump(self.state)))
        self.t += off
        self.boot = 5.0 - self.t
        self.state = self.control.load(kept)
        self.points = {name: one._replace(at=self.now.monotonic) for name, one in self.points.items()}
        self.outputs = {name: out._replace(since=float("-inf")) for name, out in self.outputs.items()}
        self.settle()

    def settle(self) -> None:
        """Step until nothing moves any more, as the engine does."""
        for _ in range(6):
            now, view = self.now, View(self.points, self.outputs, dict(self.calendars))
            step = self.control.step(self.state, view, now)
            self.steps += 1
            again = self.control.step(step.state, view, now)
            assert again.state == step.state and not again.happenings and list(again.wishes) == list(step.wishes)
            assert step.due > now.monotonic
            self.state, self.due, self.wishes = step.state, step.due, list(step.wishes)
            assert len({(wish.actuator, wish.priority) for wish in self.wishes}) == len(self.wishes)
            for one in step.happenings:
                self.events.append((round(self.t, 3), one.kind, one.code))
                self.details.append(one.detail)
            if not self._apply():
                return
        raise AssertionError("it never settles")

    def _apply(self) -> bool:
        moved = False
        for name, before in list(self.outputs.items()):
            slots = {wish.priority: (wish.value, wish.cause) for wish in self.wishes if wish.actuator == name}
            if self.overrides.get(name) is not None:
                slots[8] = (self.overrides[name], "command")
            priority = min(slots, default=16)
            value, cause = slots.get(priority, (self.rest[name], ""))
            value = False if name in self.broken else value
            since = self.now.monotonic if value != before.value else before.since
            after = before._replace(value=value, priority=priority, cause=cause, since=since)
            if after != before:
                self.outputs[name] = after
                moved = True
            if value != before.value:
                self.edges.append((round(self.t, 3), name, value, priority))
        return moved

    # -- what came of it ---------------------------------------------------------------------------------------

    def of(self, code: str) -> list[tuple[float, str]]:
        return [(at, kind) for at, kind, found in self.events if found == code]

    def value(self, actuator: str) -> Value:
        return self.outputs[actuator].value
