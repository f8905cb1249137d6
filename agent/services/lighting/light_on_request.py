"""Light on request, and presence: the part of a circuit's control that people decide.

Both wish at priority 12, above the programme and a dated exception, below a command and the local switch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from agent.control.api import NEVER, Happening, Input, Issued, Now, View, Wish
from agent.control.boot_time import BootShift
from agent.control.wishes import INTERLOCK
from agent.model import Kind, Point, Severity, Value
from agent.services.lighting.night import Night, Programme
from agent.services.lighting.on_demand import OnDemand, RequestHours, RequestState, RequestWindow
from agent.services.lighting.presence import Presence, PresenceState
from agent.services.lighting.request_account import Cost, RequestAccount
from agent.services.lighting.triggers import lost_triggers

__all__ = ["ON_REQUEST", "LightOnRequest", "ProgrammeNow", "RequestedLight"]

ON_REQUEST = 12
"""Priority of the wishes."""
OFF = (None, False, 0, "auto")
"""Values of a command that ends the light."""


class ProgrammeNow(NamedTuple):
    """The programme now. `lit` None: it says nothing, for neither time nor light is known. `level` in %; `is_step`:
    it is that of a dimming step."""

    lit: bool | None
    level: float
    is_step: bool
    windows: Sequence[RequestWindow]
    night: Night | None
    at: datetime | None
    anchor: float | None
    """Unix seconds at monotonic 0, as far as they are known."""


class RequestedLight(NamedTuple):
    """The state. `share` is the part of the lamps' power that is due to it, 0 to 1."""

    requests: RequestState = RequestState()
    presence: PresenceState = PresenceState()
    account: RequestAccount = RequestAccount()
    share: float = 0.0
    asked: RequestHours = RequestHours(None)
    """The hours at the last step; not kept."""
    seen: tuple[Any, ...] | None = None
    """All that the last step looked at; None: it is to be looked at anew."""
    fresh: float = 0.0
    """Until when (monotonic s) the same gives the same `wishes`."""
    wishes: tuple[Wish, ...] = ()

    def shifted(self, by: BootShift) -> RequestedLight:
        """With the times of this boot."""
        return self._replace(requests=self.requests.shifted(by), presence=self.presence.shifted(by), seen=None)

    @property
    def is_stuck(self) -> bool:
        """Whether a trigger is, or the presence signal."""
        return self.presence.trigger.stuck or any(one.stuck for one in self.requests.triggers.values())


@dataclass(frozen=True, slots=True)
class LightOnRequest:
    """Names of the circuit and of its outputs, and its light on request."""

    name: str
    actuator: str
    dimmer: str | None = None
    proportional: bool = False
    """The actuator is a level."""
    on_demand: OnDemand | None = None
    presence: Presence | None = None
    has_steps: bool = False
    """The programme has dimming steps: presence holds within them. Without, while the lamps burn."""
    rated: bool = False
    """There is a figure of energy: by a meter, or by the rated power."""

    inputs: tuple[str, ...] = field(init=False)
    """The triggers and the presence signal: they tell when people come by, and never leave the box."""
    told: tuple[tuple[str, str], ...] = field(init=False)
    """The names of its figures, each with the id of its point."""

    def __post_init__(self) -> None:
        found = () if self.on_demand is None else self.on_demand.triggers
        signals = found if self.presence is None else (*found, self.presence.signal)
        object.__setattr__(self, "inputs", tuple(sorted(set(signals))))
        object.__setattr__(self, "told", tuple((what, f"{self.name}.{what}") for what, _, _ in self._figures()))

    # -- step --------------------------------------------------------------------------------------------------

    def windows(self, programme: Programme, night: Night) -> tuple[RequestWindow, ...]:
        return () if self.on_demand is None else self.on_demand.windows(programme, night)

    def step(
        self, state: RequestedLight, view: View, now: Now, programme: ProgrammeNow
    ) -> tuple[RequestedLight, Sequence[Happening]]:
        """The state with the wishes beside those of the programme. A step for something else costs next to nothing."""
        points, outputs = view.points, view.outputs
        dimmer = None if self.dimmer is None else outputs.get(self.dimmer)
        looks = [_look(points.get(name)) for name in self.inputs]
        seen = (*looks, outputs.get(self.actuator), dimmer, now.known, *programme[:5], programme.anchor)
        if now.monotonic < state.fresh and seen == state.seen:
            return state, ()
        state, happenings = self._step(state, view, now, programme)
        asked = state.asked
        fresh = min(self.due(state, now), asked.end if asked.end > now.monotonic else now.monotonic)
        return state._replace(seen=seen, fresh=fresh), happenings

    def _step(
        self, state: RequestedLight, view: View, now: Now, programme: ProgrammeNow
    ) -> tuple[RequestedLight, Sequence[Happening]]:
        requests, presence, asked = state.requests, state.presence, state.asked
        happenings: list[Happening] = []
        if self.on_demand is not None:
            asked = self._asked(view, now, programme)
            requests = self.on_demand.step(requests, view, now, asked)
            if self.on_demand.is_spent(requests) and not requests.spent:
                detail = {"requests": requests.counted}
                happenings.append(Happening("change", "requests_spent", self.name, Severity.INFO, detail))
                requests = requests._replace(spent=True)
        if self.presence is not None:
            presence = self.presence.step(presence, view, now, self._obeys_presence(programme))
        wishes, share = self._wishes(requests, presence, view, programme)
        account = state.account.turned(now)
        if requests is not state.requests or presence is not state.presence:
            seen = _detections(requests, presence) - _detections(state.requests, state.presence)
            account = account.add(requests.total, requests.last, seen)
        if not share and state.share and not programme.lit:
            output = view.outputs.get(self.actuator)
            if output is not None and output.value and output.priority >= ON_REQUEST:
                share = state.share  # the contactor's min_on keeps what was requested
        return RequestedLight(requests, presence, account, share, asked, wishes=tuple(wishes)), happenings

    def _asked(self, view: View, now: Now, programme: ProgrammeNow) -> RequestHours:
        output, t, at = view.outputs.get(self.actuator), now.monotonic, programme.at
        burns = output is not None and bool(output.value if output.feedback is None else output.feedback)
        held = output is not None and output.priority < ON_REQUEST
        interlock = output.cause if output is not None and output.priority == INTERLOCK else ""
        night = None if programme.night is None else programme.night.day
        if at is None or programme.lit is None or not (now.known or self._is_free):
            return RequestHours(None, night=night, burns=burns, is_held=held, interlock=interlock)
        window = next((one for one in programme.windows if one.start <= at < one.end), None)
        if window is None:
            ahead = min((one.start for one in programme.windows if at < one.start), default=None)
            end = NEVER if ahead is None else t + (ahead - at) / timedelta(seconds=1)
            return RequestHours(None, end=end, night=night, burns=burns, is_held=held, interlock=interlock)
        start, end = (t + (edge - at) / timedelta(seconds=1) for edge in (window.start, window.end))
        return RequestHours(window, start, end, night, burns, held, interlock)

    @property
    def _is_free(self) -> bool:
        """Whether no law gives the hours, which only a known time can hold."""
        return self.on_demand is not None and not self.on_demand.legal.bind

    def _obeys_presence(self, programme: ProgrammeNow) -> bool:
        return bool(programme.lit) and (programme.is_step or not self.has_steps)

    def _wishes(
        self, requests: RequestState, presence: PresenceState, view: View, programme: ProgrammeNow
    ) -> tuple[list[Wish], float]:
        """The wishes, and the part of the power that would not be without them."""
        usual = programme.level if programme.lit else 0.0
        level, cause = usual, ""
        if self.presence is not None and self._obeys_presence(programme):
            found = self.presence.wanted(presence)
            if found is not None:
                usual, level = self.presence.otherwise, found
                cause = "presence" if found == self.presence.level else "no presence"
        if self.on_demand is not None and requests.until is not None and self.on_demand.level > level:
            level, cause = self.on_demand.level, "on request"
        if not cause:
            return [], 0.0
        wishes = []
        if self.proportional or not programme.lit:
            value = level if self.proportional else True
            wishes.append(Wish(self.actuator, ON_REQUEST, value, f"{self.name} {cause}"))
        if self.dimmer is not None:
            wishes.append(Wish(self.dimmer, ON_REQUEST, level, f"{self.name} {cause}"))
        moved = view.outputs.get(wishes[0].actuator) if wishes else None
        wins = moved is not None and moved.priority == ON_REQUEST
        return wishes, (level - usual) / level if wins and level > usual else 0.0

    def burnt(self, state: RequestedLight, seconds: float, power: float) -> RequestedLight:
        """After `seconds` at `power` W with the lamps on."""
        if not state.share:
            return state
        return state._replace(account=state.account.burnt(seconds, power * state.share * seconds / 3600))

    def due(self, state: RequestedLight, now: Now) -> float:
        """When something changes by itself (monotonic s)."""
        found = [state.account.due]
        if self.on_demand is not None:
            found.append(self.on_demand.due(state.requests, now.monotonic))
        if self.presence is not None:
            found.append(self.presence.due(state.presence, now))
        return min(found)

    # -- faults ------------------------------------------------------------------------------------------------

    def verdicts(self, state: RequestedLight, view: View) -> dict[str, bool | None]:
        return {"trigger_stuck": state.is_stuck, "sensor_fault": bool(self.lost(view))}

    def lost(self, view: View) -> list[str]:
        """The triggers that cannot be read now."""
        return lost_triggers(self.inputs, view.points)

    def stuck(self, state: RequestedLight) -> list[str]:
        found = [name for name, one in state.requests.triggers.items() if one.stuck]
        return [*found, self.presence.signal] if self.presence is not None and state.presence.trigger.stuck else found

    def mark(self, state: RequestedLight) -> object:
        """The count of the night, and what is stuck."""
        return state.requests.night, state.requests.counted, state.is_stuck

    # -- commands ----------------------------------------------------------------------------------------------

    @property
    def commands(self) -> Sequence[str]:
        return () if self.on_demand is None else (f"{self.name}.on_demand",)

    def command(
        self, state: RequestedLight, point: str, value: Value, t: float, given: Issued
    ) -> RequestedLight:
        """`<circuit>.on_demand` takes on, as a press of a button, and off, which ends the light."""
        assert self.on_demand is not None
        if value in OFF:
            return state._replace(requests=self.on_demand.release(state.requests, t), seen=None)
        if value is not True and value != 1:
            raise ValueError(f"{point} takes on or off, not {value!r}")
        lasts = self.on_demand.seconds if given.hold is None else given.hold
        if not 0 < lasts <= self.on_demand.seconds:
            raise ValueError(f"{point} lasts more than 0 and at most {self.on_demand.seconds / 60:g} min")
        reason = self.on_demand.refusal(state.requests, state.asked, t)
        if given.age >= lasts:
            reason = f"it was asked for {given.age / 60:.0f} min ago, and lasts {lasts / 60:g} min"
        if reason:
            raise ValueError(f"no light on request: {reason}")
        requests = self.on_demand.ask(state.requests, state.asked, t, t - given.age + lasts)
        return state._replace(requests=requests, seen=None)

    # -- account and persistence -------------------------------------------------------------------------------

    @property
    def points(self) -> Sequence[Point]:
        return [Point(f"{self.name}.{what}", self.name, unit, kind) for what, unit, kind in self._figures()]

    def _figures(self) -> Sequence[tuple[str, str, Kind]]:
        found = [("detections", "", Kind.COUNTER)] if self.inputs else []
        if self.on_demand is not None:
            found += [("requests", "", Kind.COUNTER), ("requests_night", "", Kind.TELEMETRY)]
        found.append(("request_minutes", "min", Kind.COUNTER))
        return [*found, ("request_energy", "kWh", Kind.COUNTER)] if self.rated else found

    def figures(self, cost: Cost) -> Mapping[str, float]:
        """To 0.1 min and 0.01 kWh."""
        cost = cost.kept
        found: dict[str, float | None] = {
            "detections": cost.detections, "requests": cost.requests, "requests_night": cost.night,
            "request_minutes": round(cost.seconds / 60, 1), "request_energy": round(cost.energy / 1000, 2),
        }  # fmt: skip
        return {point: value for what, point in self.told if (value := found[what]) is not None}

    def dump(self, state: RequestedLight) -> dict[str, Any]:
        return {
            "requests": state.requests.dump(), "presence": state.presence.dump(), "account": state.account.dump(),
            "share": state.share,
        }  # fmt: skip

    def load(self, kept: Mapping[str, Any]) -> RequestedLight:
        """The state from what was kept; what belongs to keys and triggers that left the file is dropped, but totals."""
        requests = RequestState.load(kept["requests"])
        left = () if self.on_demand is None else self.on_demand.triggers
        triggers = {name: one for name, one in requests.triggers.items() if name in left}
        until = None if self.on_demand is None else requests.until
        requests = requests._replace(triggers=triggers, until=until)
        presence = PresenceState() if self.presence is None else PresenceState.load(kept["presence"])
        share = float(kept.get("share", 0.0))
        return RequestedLight(requests, presence, RequestAccount.load(kept["account"]), share)


def _look(found: Input | None) -> Any:
    """The part of a reading that makes a difference: of one that is off, its quality alone."""
    return found if found is None or found.value else (found.quality, found.value is None)


def _detections(requests: RequestState, presence: PresenceState) -> int:
    return requests.detections + presence.trigger.detections

