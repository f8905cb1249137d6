"""Requests of other sites: wishes at priority 15, like those of any service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.control.api import NEVER, Now, Step, View, Wish
from agent.model import Quality, Value

__all__ = ["PeerRequests"]

ASKED = 15
"""The priority of a schedule: whatever protects a pump, a person or a lamp comes first."""
_SETTLES = 1.0
"""Seconds for which an output is left as it was found at the start, before it is given up."""


@dataclass(frozen=True, slots=True)
class PeerRequests:
    """The requests of one other site, `points` to the actuators that they are for. A request that holds is a good
    reading; where there is none, or one that is off, nothing is wished.

    After a restart an output stays as it was until a control wishes something for it. Where the peer's is the only
    one, and has ended meanwhile, nothing ever would: so at the start what is there is wished, for a second, and then
    given up. The state is whether that is over (None: not begun), until when.
    """

    name: str
    site: str
    points: Mapping[str, str]
    inputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", frozenset((*self.points, *self.points.values())))

    def initial(self) -> float | None:
        return None

    def dump(self, _state: float | None) -> dict[str, Any]:
        return {}

    def load(self, _kept: Mapping[str, Any]) -> float | None:
        return None

    def step(self, state: float | None, view: View, now: Now) -> Step[float | None]:
        until = now.monotonic + _SETTLES if state is None else state
        settles = now.monotonic < until
        wishes = []
        for point, actuator in self.points.items():
            asked = view.points.get(point)
            if asked is not None and asked.quality is Quality.GOOD and asked.value not in (None, False):
                wishes.append(Wish(actuator, ASKED, asked.value, f"asked by {self.site}"))
            elif settles and (present := _present(view, actuator)) is not None:
                wishes.append(Wish(actuator, ASKED, present, f"as it was, before {self.site} asks"))
        return Step(until, wishes, (), until if settles else NEVER)


def _present(view: View, actuator: str) -> Value:
    """The value of an output as it is; None where it is not known."""
    output = view.outputs.get(actuator)
    return None if output is None else output.value
