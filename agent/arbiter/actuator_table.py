"""Every actuator of a site, by its own name, its output's or its feedback's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agent.arbiter.actuator import Actuator
from agent.core.actuator_spec import ActuatorSpec, bounded, implicit
from agent.errors import Rejected
from agent.lib.suggestion import did_you_mean
from agent.model import Point, Quality, Readings

__all__ = ["ActuatorTable"]


class ActuatorTable:
    """The actuators of a site. A writable point that no actuator owns is one by itself (see `implicit`)."""

    def __init__(self, specs: Iterable[ActuatorSpec], points: Mapping[str, Point]) -> None:
        self.points = points
        self.by_name: dict[str, Actuator] = {}
        self.by_output: dict[str, Actuator] = {}
        self.by_feedback: dict[str, list[Actuator]] = {}
        for spec in specs:
            self._add(bounded(spec, points.get(spec.output)), driven=spec.output in points)
        owned = set(self.by_output)
        for point in points.values():
            if point.writable and not owned & {point.id, point.moves}:
                self._add(implicit(point), driven=True)
        for one in self:
            if one.spec.stagger:
                one.neighbours = [o for o in self if o.spec.stagger and o is not one]

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
        """By its own name or its output's; None if there is none."""
        return self.by_name.get(name) or self.by_output.get(name)

    def find(self, name: str) -> Actuator:
        """The one that a command names. Rejected, with the reason, if it cannot be commanded."""
        actuator = self.get(name)
        if actuator is not None and actuator.driven:
            return actuator
        if actuator is not None:
            raise Rejected(f"{name} is not driven yet: its output {actuator.spec.output} is on no wire")
        moves = self.points[name].moves if name in self.points else ""
        if moves:  # there is one door to a relay
            raise Rejected(f"{name} moves {moves}, which is {self.by_output[moves].spec.name}: write that")
        if name in self.points:
            raise Rejected(f"{name} is read only")
        hint = did_you_mean(name, [*self.by_name, *self.by_output])
        raise Rejected(f'unknown point "{name}"' + (f"; {hint}" if hint else ""))

    def observe(self, readings: Readings, boot: str) -> tuple[bool, bool]:
        """Take note of outputs and feedbacks. Whether one of them moved, and whether there is something to decide.

        Of bad and stale readings only counts that the output was not read; those of another boot say nothing. Outputs
        come first: what a feedback means depends on whether its output was read.
        """
        moved = due = False
        shown = []
        for reading in readings:
            output, feedbacks = self.by_output.get(reading.point), self.by_feedback.get(reading.point, ())
            if (output is None and not feedbacks) or reading.at.boot != boot:
                continue
            if reading.quality is not Quality.GOOD:
                if output is not None:
                    output.output_state.missed_output()
                continue
            at = reading.at.boottime_ns / 1e9
            if output is not None:
                before = output.output_state.shown
                due = output.saw_output(reading.value, at) or due
                moved = moved or output.output_state.shown != before
            shown += [(actuator, reading.value, at) for actuator in feedbacks]
        for actuator, value, at in shown:
            before = actuator.output_state.shown
            due = actuator.saw_feedback(value, at) or due
            moved = moved or actuator.output_state.shown != before
        return moved, due
