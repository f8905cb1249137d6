"""The state of a heating zone, its persistence, and how temperatures are read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from agent.control.api import View, good
from agent.control.named_calendars import NamedCalendar
from agent.services.heating.boiler import Burner
from agent.services.heating.cascade import Stages
from agent.services.heating.exercise import Pump
from agent.services.heating.loops import Loop
from agent.services.heating.modulating import Flow
from agent.services.heating.override import ZoneOverride
from agent.services.heating.room import Airing, Start, Stop
from agent.services.heating.season import Season
from agent.services.heating.sg_ready import SgState
from agent.services.heating.stuck_sensor import Stillness
from agent.services.heating.trail import Trail
from agent.services.heating.tuning import Tuning

__all__ = ["LOOK", "STUCK", "Said", "Seen", "ZoneState", "dumped", "in_this_boot", "loaded", "look"]

STUCK = "sensor_stuck"
LOOK = 300.0
"""A repeated reading does not wake the control: the time of the last reading is noted this often (s)."""


class Seen(NamedTuple):
    """A good reading: degC, and when (monotonic s)."""

    value: float
    at: float


class Said(NamedTuple):
    """The mode of the programme from `since` to `until`; `occupied` is when comfort begins next (Unix s).

    `ending`: the table of the school holidays, which this zone keeps, ends within `ENDING`. `ends` is when comfort,
    which holds, is over. `calendar` is what it was found out with.
    """

    since: float
    until: float
    mode: str
    occupied: float | None
    ending: bool
    ends: float | None = None
    calendar: NamedCalendar | None = None


class ZoneState(NamedTuple):
    """The state of a zone. All times are monotonic seconds."""

    begun: float | None = None
    """The first step: a room sensor without a reading is lost from then."""
    room: Seen | None = None
    outdoor: Seen | None = None
    mode: str | None = None
    """The last mode of the week while the time was known."""
    loop: Loop = Loop()
    burner: Burner = Burner()
    pump: Pump = Pump()
    start: Start = Start()
    airing: Airing = Airing()
    alarms: frozenset[str] = frozenset()
    trail: Trail = Trail()
    season: Season = Season()
    still: Stillness = Stillness()
    tuning: Tuning = Tuning()
    cold: float | None = None
    """Since when the room is below comfort while it is occupied."""
    flow: Flow = Flow()
    """The target of a plant that modulates."""
    stages: Stages = Stages()
    """The burners of a cascade."""
    sg: SgState = SgState()
    said: Said | None = None
    """Worked out from the programme; not kept."""
    stop: Stop = Stop()
    override: ZoneOverride = ZoneOverride()
    aim: float | None = None
    """The setpoint that holds (degC); not kept."""


_PARTS: Mapping[str, Any] = {"loop": Loop, "burner": Burner, "pump": Pump, "start": Start, "airing": Airing}
_LATER: Mapping[str, Any] = {
    "trail": Trail.load,
    "season": lambda kept: Season(**kept),
    "still": Stillness.load,
    "tuning": lambda kept: Tuning(**kept),
    "stop": lambda kept: Stop(**kept),
}
"""Parts that came after the first version: a state without them opens, and that version reads one with them."""
_OF_PLANTS: Mapping[str, Any] = {"flow": Flow, "stages": Stages, "sg": SgState}
"""Parts that only zones with such a plant have."""


_WHOLE = (*_PARTS, *(name for name in _LATER if name != "still"))
_NO_PLANTS = {name: part() for name, part in _OF_PLANTS.items()}


@lru_cache(maxsize=256, typed=True)
def _as_dict(part: Any) -> dict[str, Any]:
    """The fields of a part; most parts are what they were a minute ago."""
    found: dict[str, Any] = part._asdict()
    return found


def dumped(state: ZoneState) -> dict[str, Any]:
    parts: dict[str, Any] = {name: _as_dict(getattr(state, name)) for name in _WHOLE}
    parts["still"] = state.still.dump()
    parts |= {name: found.dump() for name, part in _NO_PLANTS.items() if (found := getattr(state, name)) != part}
    parts["override"] = state.override.dump()
    seen = {name: list(found) if (found := getattr(state, name)) else None for name in ("room", "outdoor")}
    alarms = sorted(state.alarms - {STUCK})  # the first version does not know it: it is restored from `still`
    return {**parts, **seen, "begun": state.begun, "mode": state.mode, "alarms": alarms, "cold": state.cold}


def loaded(kept: Mapping[str, Any]) -> ZoneState:
    parts: dict[str, Any] = {name: part(**kept[name]) for name, part in _PARTS.items()}
    parts |= {name: load(kept[name]) for name, load in _LATER.items() if name in kept}
    parts |= {name: part.load(kept[name]) for name, part in _OF_PLANTS.items() if name in kept}
    seen: dict[str, Any] = {name: Seen(*found) if (found := kept[name]) else None for name in ("room", "outdoor")}
    state = ZoneState(
        **parts, **seen, begun=kept["begun"], mode=kept["mode"], alarms=frozenset(kept["alarms"]),
        cold=kept.get("cold"), override=ZoneOverride.load(kept.get("override")),
    )  # fmt: skip
    return state._replace(alarms=state.alarms | {STUCK}) if state.still.stuck else state


def look(view: View, name: str | None, kept: Seen | None, t: float, within: float) -> tuple[float | None, Seen | None]:
    """A temperature, and its last good reading.

    One that is not there yet, after a restart, is the last good one for `within` s. What is bad or stale is None.
    A good sensor counts as read, even with the same value for hours.
    """
    if name is None:
        return None, kept
    found, value = view.points.get(name), good(view, name)
    if found is not None and value is not None:
        at = min(found.at, t) if t - found.at < within else t // LOOK * LOOK
        return value, kept if kept is not None and kept == (value, at) else Seen(value, at)
    if found is None and kept is not None and t < kept.at + within:
        return kept.value, kept
    if found is not None and kept is not None and isfinite(found.at) and kept.at != found.at <= t:
        kept = Seen(kept.value, found.at)  # read last then: not when it was noted that it is good still
    return None, kept


def in_this_boot(state: ZoneState, t: float) -> ZoneState:
    """Monotonic times of another boot mean nothing: latches, counts and what was learned stay, and what was wrong.

    How long it was cold goes on from what the last boot saw of it.
    """
    if state.said is not None:  # which is not kept: it is of this boot
        return state
    seen = [found.at for found in (state.room, state.outdoor) if found is not None]
    times = (*seen, state.begun, state.loop.begun, state.airing.at, state.burner.on, state.burner.off)
    last = max([at for at in times if at is not None])
    if last <= t:
        return state
    cold = None if state.cold is None else t - max(last - state.cold, 0.0)
    was = state.burner
    loop = state.loop._replace(begun=None, on=0.0)
    burner = Burner(locked=was.locked, cut=was.cut, hot=was.hot, failed=was.failed)
    return state._replace(
        begun=t, room=None, outdoor=None, loop=loop, burner=burner, pump=state.pump._replace(until=None),
        start=Start(state.start.rate), stop=Stop(state.stop.rate),
        airing=Airing(since=t if state.airing.open() else None), said=None, cold=cold,
        trail=state.trail.in_this_boot(), season=Season(), tuning=state.tuning.in_this_boot(),
        flow=state.flow.in_this_boot(), stages=state.stages.in_this_boot(), sg=state.sg.in_this_boot(),
    )  # fmt: skip
