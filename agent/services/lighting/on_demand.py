"""Light on request: a button, a motion sensor or a command lights the lamps for a while, in the dark of the programme.

Each `seconds` of light counts as one request, so a night has at most `at_most` times that, and a fifth more. What asks
while the lamps burn by the programme, by a command or by hand has no effect and counts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now, View
from agent.control.boot_time import BootShift
from agent.control.calendar import DAY
from agent.control.wishes import INTERLOCK
from agent.services.lighting.night import FULL, NOON, Night, Programme
from agent.services.lighting.sun import night_sun
from agent.services.lighting.triggers import TriggerState

__all__ = ["LegalHours", "OnDemand", "RequestHours", "RequestState", "RequestWindow"]


GRACE = 0.2
"""By this part of its time light may last longer than one request: a button is held, a person walks on."""
SHORTEST = 60.0
"""Seconds of a window at least: before them the lamps that start a little later than their hour are no darkness."""


class LegalHours(NamedTuple):
    """The hours of a kind of lighting by law: not before sunset, and dark by `until` (minutes after midnight)."""

    from_sunset: bool = False
    until: int | None = None

    @property
    def bind(self) -> bool:
        """Whether there are any: without a known time they cannot be held."""
        return self.from_sunset or self.until is not None


NO_LEGAL_HOURS = LegalHours()


class RequestWindow(NamedTuple):
    """From `start` (included) to `end` (not included) light can be requested. `dark_after`: then the lamps are off."""

    start: datetime
    end: datetime
    dark_after: bool


class RequestHours(NamedTuple):
    """The hours now: the window (None: no request is possible), and until when that lasts (monotonic s)."""

    window: RequestWindow | None
    start: float = -NEVER
    end: float = NEVER
    night: date | None = None
    burns: bool = False
    """The lamps burn by the programme, or for an earlier request."""
    is_held: bool = False
    """A command, a hand or a fault decides about the lamps."""
    interlock: str = ""
    """The cause of the interlock that holds them."""


class RequestState(NamedTuple):
    """The state of a circuit's requests. Times are monotonic seconds."""

    triggers: Mapping[str, TriggerState] = MappingProxyType({})
    until: float | None = None
    """Until when there is light on request; None: there is none."""
    paid: float = -NEVER
    """Until when that light is counted."""
    commanded: float = -NEVER
    """When a command asked last; not kept."""
    released: float = -NEVER
    """Requests up to then are over: a command ended them, or decided about the lamps."""
    night: date | None = None
    counted: int = 0
    """Requests of this night, and of the whole night before (None: it was not seen)."""
    last: int | None = None
    total: int = 0
    spent: bool = False
    """The requests of this night are used up, and that was told."""

    @property
    def detections(self) -> int:
        return sum(one.detections for one in self.triggers.values())

    def dump(self) -> dict[str, Any]:
        triggers = {name: one.dump() for name, one in self.triggers.items()}
        paid, released = (None if at == -NEVER else at for at in (self.paid, self.released))
        night = None if self.night is None else self.night.isoformat()
        return {
            "triggers": triggers, "until": self.until, "paid": paid, "released": released, "night": night,
            "counted": self.counted, "last": self.last, "total": self.total, "spent": self.spent,
        }  # fmt: skip

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> RequestState:
        paid, released = (-NEVER if kept[key] is None else float(kept[key]) for key in ("paid", "released"))
        return cls(
            {name: TriggerState.load(one) for name, one in kept["triggers"].items()},
            until=None if kept["until"] is None else float(kept["until"]),
            paid=paid,
            released=released,
            night=None if kept["night"] is None else date.fromisoformat(kept["night"]),
            counted=int(kept["counted"]),
            last=None if kept["last"] is None else int(kept["last"]),
            total=int(kept["total"]),
            spent=bool(kept["spent"]),
        )

    def shifted(self, by: BootShift) -> RequestState:
        """With the times of this boot."""
        paid, released = (at if at == -NEVER else at + by.seconds for at in (self.paid, self.released))
        until = None if self.until is None else self.until + by.seconds
        triggers = {name: one.shifted(by) for name, one in self.triggers.items()}
        return self._replace(triggers=triggers, until=until, paid=paid, released=released)

    def in_night(self, night: date | None) -> RequestState:
        """In another night, noon to noon, the count begins anew. A clock that goes back gives no further requests."""
        if night is None or night == self.night:
            return self
        if self.night is None or night < self.night:
            return self._replace(night=night)
        last = self.counted if night == self.night + DAY else 0
        return self._replace(night=night, counted=0, last=last, spent=False)


_NEW = TriggerState()


@dataclass(frozen=True, slots=True)
class OnDemand:
    """The light of a circuit on request. Times in seconds, `level` in %, `at_most` a night (None: no limit)."""

    triggers: tuple[str, ...] = ()
    seconds: float = 900.0
    level: float = FULL
    at_most: int | None = None
    cuts_only: bool = False
    """In a part of the programme's hours that it cuts out, and at no other time."""
    stuck_after: float = 3600.0
    legal: LegalHours = NO_LEGAL_HOURS
    min_on: float = 0.0
    """The contactor stays on for so long: that must end before the lamps have to be dark."""

    def step(self, requests: RequestState, view: View, now: Now, asked: RequestHours) -> RequestState:
        """After a look at the triggers, at a moment with these hours."""
        t = now.monotonic
        requests, newly_stuck = self._look(requests, view, t, asked.window is not None)
        requests = requests.in_night(asked.night)
        if asked.window is None:
            return requests if requests.until is None else requests._replace(until=None, paid=-NEVER)
        at = max((one.at for one in requests.triggers.values() if not one.stuck), default=-NEVER)
        if newly_stuck and requests.until is not None:  # what it alone asked for is over
            until = min(requests.until, max(at, requests.commanded) + self.seconds)
            requests = requests._replace(until=until)
        if asked.is_held:
            if at > requests.released:
                requests = requests._replace(released=at)
        elif at > requests.released and at >= asked.start and at + self.seconds > t:
            requests = self._ask(requests, at, asked, t)
        requests = self._count(requests, asked, t)
        if requests.until is not None and self._is_too_late(asked, t):  # the contactor was held back for too long
            return requests._replace(until=None)
        return requests

    def _look(self, requests: RequestState, view: View, t: float, judged: bool) -> tuple[RequestState, bool]:
        """After a look at the triggers; whether one has become stuck."""
        found, newly_stuck = {}, False
        for name in self.triggers:
            known = requests.triggers.get(name, _NEW)
            one = known.look(view.points.get(name), t, self.seconds, self.stuck_after, judged)
            if one is not known:
                found[name] = one
                newly_stuck |= one.stuck and not known.stuck
        return (requests._replace(triggers={**requests.triggers, **found}) if found else requests), newly_stuck

    def refusal(self, requests: RequestState, asked: RequestHours, t: float) -> str:
        """Why a request has no effect at `t`; "" if it has one."""
        if asked.interlock:
            return f"the lamps are held by {asked.interlock} (priority {INTERLOCK})"
        if asked.is_held:
            return "a command or the local switch decides about the lamps"
        if asked.window is None:
            return "the lamps burn already, or the programme and the law leave no light now"
        if requests.until is not None and t < requests.until:
            return ""
        if self.at_most is not None and requests.counted >= self.at_most:
            return f"the {self.at_most} requests of this night are used up"
        if self._is_too_late(asked, t):
            return "the lamps must be dark too soon"
        return ""

    def ask(self, requests: RequestState, asked: RequestHours, t: float, until: float) -> RequestState:
        """After a command for light at `t`, which `refusal` does not refuse."""
        at = until - self.seconds
        return self._count(self._ask(requests, at, asked, t), asked, t)._replace(commanded=at)

    def release(self, requests: RequestState, t: float) -> RequestState:
        """After a command that ends the light. What is on still asks anew when it goes on again."""
        return requests._replace(until=None, paid=-NEVER, released=t)

    def _ask(self, requests: RequestState, at: float, asked: RequestHours, t: float) -> RequestState:
        """Light until `seconds` after the moment `at` at which it was asked: what is older lights nothing."""
        until = min(at + self.seconds, asked.end)
        if until <= t:
            return requests
        if requests.until is not None and t < requests.until:
            return requests if until <= requests.until else requests._replace(until=until)
        if self.refusal(requests, asked, t):
            return requests
        counted, total = requests.counted + 1, requests.total + 1
        return requests._replace(until=until, paid=at + self.seconds, counted=counted, total=total)

    def _count(self, requests: RequestState, asked: RequestHours, t: float) -> RequestState:
        """Light that goes on, by more than the grace, counts as a further request each `seconds`; without one left it
        ends."""
        until, paid, counted = requests.until, requests.paid, requests.counted
        if until is None:
            return requests
        until = min(until, asked.end)
        grace = GRACE * self.seconds
        while paid <= t and until > paid + grace:
            if self.at_most is not None and counted >= self.at_most:
                until = paid + grace
            else:
                counted, paid = counted + 1, paid + self.seconds
        if until == requests.until and t < until and counted == requests.counted:
            return requests
        total = requests.total + counted - requests.counted
        return requests._replace(until=None if until <= t else until, paid=paid, counted=counted, total=total)

    def _is_too_late(self, asked: RequestHours, t: float) -> bool:
        return asked.window is not None and asked.window.dark_after and not asked.burns and asked.end - t < self.min_on

    def is_spent(self, requests: RequestState) -> bool:
        """Whether all requests of this night are used up."""
        return self.at_most is not None and requests.counted >= self.at_most

    def due(self, requests: RequestState, t: float) -> float:
        """When something changes by itself (monotonic s)."""
        found = [one.due(t, self.seconds, self.stuck_after) for one in requests.triggers.values()]
        if requests.until is not None:
            found += [requests.until, requests.paid if requests.paid > t else NEVER]
        return min(found, default=NEVER)

    # -- hours -------------------------------------------------------------------------------------------------

    def windows(self, programme: Programme, night: Night) -> tuple[RequestWindow, ...]:
        """The parts of a night in which light can be requested: it is dark, the law allows it, and the programme gives
        less than `level`."""
        hours = self._hours(programme, night)
        if hours is None:
            return ()
        start, end = hours
        edges = {start, end} | {at for one in night.segments for at in (one.on, one.off)}
        edges |= {at for one in night.levels for at in one[:2]}
        pieces = pairwise(sorted(at for at in edges if start <= at <= end))
        dark = [(one, two) for one, two in pieces if self._is_wanting(night, one)]
        long = timedelta(seconds=SHORTEST + programme.start_delay)
        joined = [(one, two) for one, two in _joined(dark) if two - one >= long]
        return tuple(RequestWindow(one, two, not night.is_lit(two)[0]) for one, two in joined)

    def most(self, programme: Programme, night: Night) -> float:
        """Seconds of light on request in that night at the most."""
        whole = sum((one.end - one.start).total_seconds() for one in self.windows(programme, night))
        return whole if self.at_most is None else min(whole, self.at_most * self.seconds)

    def _is_wanting(self, night: Night, at: datetime) -> bool:
        if not night.is_lit(at)[0]:
            return True
        return not self.cuts_only and night.level(at) < self.level

    def _hours(self, programme: Programme, night: Night) -> tuple[datetime, datetime] | None:
        found = night.hours if self.cuts_only else programme.dark_hours(night.day)
        if found is None or not night.in_season:
            return None
        start, end = found
        if self.legal.from_sunset:
            sunset = night_sun(programme.latitude, programme.longitude, programme.calendar, night.day, "sunset")
            if sunset is None:
                return None
            start = max(start, sunset)
        if self.legal.until is not None:
            day = night.day if self.legal.until >= NOON else night.day + DAY
            end = min(end, programme.calendar.instant(day, self.legal.until))
        return (start, end) if start < end else None


def _joined(pieces: Iterable[tuple[datetime, datetime]]) -> Iterable[tuple[datetime, datetime]]:
    """Neighbours as one."""
    found: list[tuple[datetime, datetime]] = []
    for start, end in pieces:
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, end))
    return found
