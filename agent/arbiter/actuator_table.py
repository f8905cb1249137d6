"""The actuators of a site: found by name, output or feedback; fed with readings; told as lines for `bocage watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agent.arbiter.actuator import Actuator
from agent.arbiter.admission import duration, iso
from agent.arbiter.priority_array import REMOTE
from agent.core.actuator_spec import ActuatorSpec, bounded, implicit
from agent.errors import Rejected
from agent.lib.suggestion import did_you_mean
from agent.model import Instant, Point, Quality, Readings

__all__ = ["ActuatorTable", "explained"]


class ActuatorTable:
    """The actuators of a site. A writable point that no actuator owns is one by itself (see `implicit`)."""

    def __init__(
        self,
        specs: Iterable[ActuatorSpec],
        points: Mapping[str, Point],
        why_down: Callable[[str], str] = lambda _point: "",
    ) -> None:
        self.points, self._why_down = points, why_down
        self.by_name: dict[str, Actuator] = {}
        self.by_output: dict[str, Actuator] = {}
        self.by_feedback: dict[str, list[Actuator]] = {}
        for spec in specs:
            self._add(bounded(spec, points.get(spec.output)), driven=spec.output in points)
        owned = set(self.by_output)
        for point in points.values():
            if point.writable and not owned & {point.id, point.moves}:
                self._add(implicit(point), driven=True)
        staggered = [one for one in self if one.spec.stagger]
        for one in staggered:
            one.stagger_with([other for other in staggered if other.spec.stagger_group == one.spec.stagger_group])

    def _add(self, spec: ActuatorSpec, driven: bool) -> None:
        point = self.points.get(spec.output)
        deferred = point is not None and point.deferred
        actuator = self.by_name[spec.name] = Actuator(spec, driven=driven, deferred=deferred)
        self.by_output[spec.output] = actuator
        if spec.feedback is not None:
            self.by_feedback.setdefault(spec.feedback, []).append(actuator)

    def __iter__(self) -> Iterator[Actuator]:
        return iter(self.by_name.values())

    def watched(self) -> set[str]:
        """Every point that is an output or a feedback."""
        return self.by_output.keys() | self.by_feedback.keys()

    def get(self, name: str) -> Actuator | None:
        """The actuator of this name or this output; None if there is none."""
        return self.by_name.get(name) or self.by_output.get(name)

    def find(self, name: str) -> Actuator:
        """The actuator that a command names. Rejected, with the reason, if it cannot be commanded."""
        actuator = self.get(name)
        if actuator is not None and actuator.driven:
            return actuator
        if actuator is not None and (why := self._why_down(actuator.spec.output)):
            raise Rejected(f"{name} cannot be commanded: {why}")
        if actuator is not None:
            raise Rejected(f"{name} is not driven yet: its output {actuator.spec.output} is on no wire")
        moves = self.points[name].moves if name in self.points else ""
        if moves:  # a relay is commanded by one name only
            raise Rejected(f"{name} moves {moves}, which is {self.by_output[moves].spec.name}: write that")
        if name in self.points:
            raise Rejected(f"{name} is read only")
        hint = did_you_mean(name, [*self.by_name, *self.by_output])
        raise Rejected(f'unknown point "{name}"' + (f"; {hint}" if hint else ""))

    def observe(self, readings: Readings, boot: str) -> tuple[bool, bool]:
        """Take the readings of outputs and feedbacks. Returns whether one moved, and whether one is to be decided.

        A bad or stale reading tells only that the output or the feedback was not read; readings of another boot are
        ignored. Outputs come first: the meaning of a feedback depends on whether its output was read.
        """
        moved = due = False
        shown = []
        for reading in readings:
            output, feedbacks = self.by_output.get(reading.point), self.by_feedback.get(reading.point, ())
            if (output is None and not feedbacks) or reading.at.boot != boot:
                continue
            if reading.quality is not Quality.GOOD:
                moved = _missed(output, feedbacks, reading.at.boottime_ns / 1e9) or moved
                continue
            at = reading.at.boottime_ns / 1e9
            if output is not None:
                state = output.output_state
                before, unread = state.shown, state.unread_since
                due = output.saw_output(reading.value, at) or due
                moved = moved or state.shown != before or state.unread_since != unread
            shown += [(actuator, reading.value, at) for actuator in feedbacks]
        for actuator, value, at in shown:
            before = actuator.output_state.shown
            due = actuator.saw_feedback(value, at) or due
            moved = moved or actuator.output_state.shown != before
        return moved, due

    def status(self, now: Instant) -> list[dict[str, Any]]:
        """One line per actuator for `bocage watch --json`. Implicit ones only while they are held or wrong."""
        return [
            _line(one, now)
            for one in self
            if one.spec.name != one.spec.output or one.priority_array or one.output_state.mismatch
        ]


def explained(actuator: Actuator, now: Instant) -> dict[str, Any]:
    """The status line of an actuator, its priority array, since when it is so, and its limits."""
    present, since, _ = actuator.output_state.shown
    limits = {name: value for name, value in asdict(actuator.limits).items() if value is not None}
    entries = [
        {"priority": priority, "value": slot.value, "cause": slot.cause, "by": slot.by, "until": iso(slot.until, now)}
        for priority, slot in sorted(actuator.priority_array.items())
    ]
    pending = actuator.command.pending
    return {
        **_line(actuator, now),
        "since": None if present is None else iso(since, now),
        "array": entries,
        "limits": limits,
        "command": None if pending is None else pending.cause,
        "overrun": actuator.overrun,
        "error": actuator.error,
    }


def _missed(output: Actuator | None, feedbacks: Sequence[Actuator], at: float) -> bool:
    """A point that is an output or a feedback could not be read. Returns whether it was read until then."""
    was_read = False
    if output is not None:
        before = output.output_state.unread_since
        output.output_state.missed_output(at)
        was_read = before != output.output_state.unread_since
    shown = [actuator.output_state.shown for actuator in feedbacks]
    for actuator in feedbacks:
        actuator.output_state.missed_feedback()
    return was_read or shown != [actuator.output_state.shown for actuator in feedbacks]


def _line(actuator: Actuator, now: Instant) -> dict[str, Any]:
    found, pending = actuator.holder(), actuator.command.pending
    slot = pending or (found[1] if found else None)
    return {
        "name": actuator.spec.name,
        "output": actuator.spec.output,
        "value": actuator.output_state.present,
        "wanted": slot.value if slot else None,
        "priority": REMOTE if pending else found[0] if found else None,
        "cause": slot.cause if slot else "",
        "by": slot.by if slot else "",
        "until": iso(found[1].until, now) if found and not pending else None,
        "feedback": actuator.output_state.shown[2],
        "mode": actuator.priority_array.mode,
        "writes": actuator.writes,
        "repeats": actuator.repeats,
        "state": _state(actuator, now),
    }


def _state(actuator: Actuator, now: Instant) -> str:
    mono, state = now.boottime_ns / 1e9, actuator.output_state
    waiting = actuator.waiting
    if actuator.command.pending is not None:
        waiting = actuator.may(actuator.command.pending.value, REMOTE, mono)
    if not actuator.driven:
        return "not driven yet"
    if actuator.error:
        return f"failed: {actuator.error}"
    if waiting is not None and waiting[0] > mono:
        return f"waiting {waiting[1]} until {iso(waiting[0], now) or f'in {duration(waiting[0] - mono)}'}"
    if actuator.sending is not None:
        return "waiting for the node"
    if state.mismatch:
        return "mismatch"
    if state.present is None:
        return "unknown"
    return "moving" if state.moving(mono) else "steady"
