"""A room, its flow and its sensor, as `bocage simulate` models them, around a zone: for days in a moment.

`python -m tests.services.heating.room_model` prints the table of docs/decisions/0017-tpi-by-physics.md.
dT/dt = (outdoors + gain x on - T) / tau. The sensor rounds to `step` and speaks `every` so often.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import exp
from zoneinfo import ZoneInfo

from agent.control.api import Input, Now, Output, View
from agent.control.calendar import Calendar
from agent.control.week import Span, Week
from agent.model import Quality
from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.loops import Hysteresis, Tpi

PARIS = ZoneInfo("Europe/Paris")
ALWAYS = Week(Calendar("Europe/Paris"), "comfort", ((Span(0, 1440, "comfort"),),) * 7)


@dataclass
class Days:
    """What came of it. `starts` in time from the start (s), `rooms` the true room each minute."""

    starts: list = field(default_factory=list)
    rooms: list = field(default_factory=list)
    burning: float = 0.0
    alarms: list = field(default_factory=list)
    state: object = None


def live(zone, days, outdoors, tau_h, gain, room=19.0, step=0.01, every=60, frozen=None, stride=60, restart=None):
    """Run a zone for `days` with a room of `tau_h` hours and `gain` kelvins. `outdoors` is a number or a function of
    the time (s); from `frozen` s on the sensor says what it said. The burner obeys at once, but for its least times."""
    found, state, on, since, said, flow = Days(), zone.initial(), False, -1e6, None, 30.0
    begin = datetime(2026, 1, 19, tzinfo=PARIS).astimezone(ZoneInfo("UTC"))
    for t in range(0, int(days * 86400), stride):
        out = outdoors(t) if callable(outdoors) else outdoors
        if said is None or (t % every == 0 and (frozen is None or t < frozen)):
            said = round(round(room / step) * step, 4)
        points = {"room": Input(said, Quality.GOOD, t), "out": Input(out, Quality.GOOD, t)}
        points["flow"] = Input(flow, Quality.GOOD, t)
        now = Now(float(t), (begin + timedelta(seconds=t)).astimezone(PARIS), True)
        if restart is not None and t % restart == 0:
            state = zone.load(zone.dump(state))
        step_ = zone.step(state, View(points, {"burner": Output(on, 15, "", since, None)}), now)
        state = step_.state
        found.alarms += [(t, one.kind, one.code) for one in step_.happenings]
        wish = min((w for w in step_.wishes if w.actuator == "burner"), key=lambda w: w.priority)
        free = wish.priority < 6 or t - since >= (zone.min_on if on else zone.min_off)
        if wish.value is not on and free:
            on, since = wish.value, float(t)
            found.starts += [t] if on else []
        found.burning += stride if on else 0
        found.rooms.append(room)
        room = (target := out + gain * on) + (room - target) * exp(-stride / 3600 / tau_h)
        flow += ((60.0 if on else 25.0) - flow) * (1 - exp(-stride / 300))
    found.state = state
    return found


ROOMS = {
    "stone, 0 degC": (40, 0.0),
    "stone, -8 degC": (40, -8.0),
    "light, 0 degC": (12, 0.0),
    "light, -8 degC": (12, -8.0),
}
"""Time constant (h) and outdoors (degC) of the rooms of the measurement; full fire holds them `GAIN` K above that."""
GAIN = 45
LAWS = {"hysteresis 0.3 K": Hysteresis(), "tpi, 15 min, 0.01": Tpi(900, 0.6, 0.01), "tpi, found out": Tpi()}


def measured(law, tau_h, outdoors, days=5, gain=GAIN, **sensor):
    """Starts, the mean of the room and from where to where it swung after the first day (degC)."""
    limits = {"min_on": 240, "min_off": 360, "least_cycle": 600}
    zone = Zone("s", "room", "burner", ALWAYS, Setpoints(19, 16, 8), law, "out", **limits)
    found = live(zone, days, outdoors, tau_h, gain, **sensor)
    settled = found.rooms[1440:]
    return len(found.starts), sum(found.rooms) / len(found.rooms), min(settled), max(settled)


if __name__ == "__main__":
    for room, (tau_h, outdoors) in ROOMS.items():
        for step, every in ((0.01, 60), (0.1, 600), (0.5, 60)):
            sensor = f"{step:g} K, {every // 60} min"
            for name, law in LAWS.items():
                starts, mean, low, high = measured(law, tau_h, outdoors, step=step, every=every)
                print(f"| {room} | {sensor} | {name} | {starts} | {mean:.2f} | {low:.1f} to {high:.1f} |")
