"""A valve: an actuator that opens or closes by its coil."""

from __future__ import annotations

from dataclasses import dataclass

from agent.control.api import NEVER, View, Wish

__all__ = ["Valve"]


@dataclass(frozen=True, slots=True)
class Valve:
    """An actuator that is a valve. `travel` is how long it moves (s)."""

    actuator: str
    normally_open: bool = False
    travel: float = 0.0

    def wish(self, priority: int, is_open: bool, cause: str) -> Wish:
        """The coil's value: a normally open valve is closed by its current."""
        return Wish(self.actuator, priority, is_open is not self.normally_open, cause)

    def shut_at(self, view: View) -> float:
        """When it is certainly closed (monotonic s). NEVER: it is open or unknown, or its feedback differs."""
        output = view.outputs.get(self.actuator)
        if output is None or output.value is None or bool(output.value) is not self.normally_open:
            return NEVER
        if output.feedback is not None and output.feedback is not bool(output.value):
            return NEVER
        return output.since + self.travel
