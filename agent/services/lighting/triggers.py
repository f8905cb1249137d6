"""Buttons and motion sensors that ask for light: when each was on last, and whether it is stuck or lost.

A contact is on until it is read off. A radio button sends its presses alone and is never off: of a trigger that was
never read off, each reading that is on is a press.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agent.control.api import NEVER, Input
from agent.control.boot_time import BootShift
from agent.model import Quality

__all__ = ["TriggerState", "is_known", "lost_triggers"]

LATE = 60.0
"""Seconds after which a reading comes late: that a contact went on then does not say that it is on now."""
ANOTHER = 60.0
"""Seconds without a press after which the next one counts as another detection."""


class TriggerState(NamedTuple):
    """One trigger, as far as it is known. Times are monotonic seconds."""

    at: float = -NEVER
    """When it was on last."""
    on: bool = False
    """It was on at the last reading, which is good."""
    stands: bool = False
    """It is a contact that is on until it is read off."""
    has_rest: bool = False
    """It was read off before: it is a contact, which is on until it is read off."""
    since: float | None = None
    """Since when it has been on without a pause, while requests were possible."""
    stuck: bool = False
    detections: int = 0
    """How often it went on."""

    def look(self, found: Input | None, now: float, pause: float, stuck_after: float, judged: bool) -> TriggerState:
        """After a reading. It is stuck when it was on for `stuck_after` s without a pause of `pause` s; that is counted
        while `judged`, and is over after such a pause. A bad or stale reading says nothing."""
        if self.has_rest and self.since is None and not (self.on or self.stuck or (found and found.value)):
            return self  # it rests, as nearly always
        at, on, stands, has_rest, detections = self.at, False, False, self.has_rest, self.detections
        if is_known(found):
            assert found is not None
            on, has_rest, read = bool(found.value), has_rest or not found.value, min(now, found.at)
            pressed = not has_rest and read - self.at >= ANOTHER
            detections += on and (not self.on or pressed)
            stands = on and has_rest and (self.stands or now - read < LATE)
            if on or self.stands:
                at = now if stands else max(at, read)
        over = not stands and now - at >= pause
        stuck, since = self.stuck and not over, self.since
        if over or not (judged or stuck):
            since = None
        elif since is None:
            since = at
        stuck = stuck or (since is not None and at - since >= stuck_after)
        return TriggerState(at, on, stands, has_rest, since, stuck, detections)

    def due(self, now: float, pause: float, stuck_after: float) -> float:
        """When it is stuck, or is not stuck any more, if it stays as it is (monotonic s)."""
        if not self.stands:
            return self.at + pause if (self.since is not None or self.stuck) and self.at + pause > now else NEVER
        return NEVER if self.stuck or self.since is None else self.since + stuck_after

    def dump(self) -> dict[str, Any]:
        at = None if self.at == -NEVER or (self.since is None and not self.stuck) else self.at
        return {"at": at, "has_rest": self.has_rest, "since": self.since, "stuck": self.stuck}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> TriggerState:
        at, since = kept["at"], kept["since"]
        since = None if since is None else float(since)
        at = -NEVER if at is None else float(at)
        return cls(at, has_rest=bool(kept["has_rest"]), since=since, stuck=bool(kept["stuck"]))

    def shifted(self, by: BootShift) -> TriggerState:
        """With the times of this boot."""
        return self._replace(at=self.at if self.at == -NEVER else by.past(self.at), since=by.optional(self.since))


def is_known(found: Input | None) -> bool:
    """Whether it is known if a trigger is on."""
    return found is not None and found.quality is Quality.GOOD and isinstance(found.value, bool | int | float)


def lost_triggers(names: Iterable[str], points: Mapping[str, Input]) -> list[str]:
    """Find those whose reading is bad or stale. One that was not read since the start is not known to be lost."""
    return [name for name in names if name in points and not is_known(points[name])]
