"""The scenes of a site in the demo, by which each alarm, interlock and request of its file has its turn.

The scenes come from the site file, one after the other and then again: a measurement leaves its limits and comes back,
the contact of an interlock closes, rain falls on a lift station. By night the buttons of the lamps are pressed. Tanks
have theirs at times of the day: a fire that empties one, a sensor that stands still, a cable that is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from agent.demo.world import Reservoir, Value, WetWell, World
from agent.site.models.conditions import ConditionConfig

__all__ = ["Scene", "Story"]

DAY = 86400.0
FIRST, EVERY, AGAIN = 5700.0, 6000.0, DAY
"""Seconds of the site's time to the first scene, from one to the next, and from the first to where all begins anew."""
AFTER, PRESSED = (2400.0, 7200.0), 90.0
"""Seconds after the lamps went out in the night at which a button is pressed, and for how long."""
LEAST = 4.0
"""Real seconds that a scene lasts, so that devices are read meanwhile; a button half of that."""
BURNS, STANDS, TURN = 10.5 * 3600, 14 * 3600.0, 2 * DAY
"""The time of the first whole day at which a fire breaks out, and at which a sensor may stop; they come again every
other day, as the cut cable of the second night does."""
BLIND = 1200.0
"""Seconds of the hours without a level at which it is not lost for long enough yet."""
CROWDED = 1700.0
"""ppm of CO2 in a full room with its windows shut."""


@dataclass(slots=True)
class Scene:
    """Something that goes on for so many seconds. `said` tells its beginning, `over` its end."""

    said: str
    over: str
    seconds: float
    forced: dict[str, Value] = field(default_factory=dict)
    part: WetWell | Reservoir | None = None
    """A part of the world that has trouble meanwhile."""
    frozen: str = ""
    """A measurement that stays as it is."""
    is_ready: Callable[[], bool] = lambda: True
    """Whether it may begin, once it is due."""
    is_over: Callable[[], bool] = lambda: False
    """Whether it ends before its time."""

    def begin(self, world: World) -> None:
        world.forced |= self.forced
        if self.frozen:
            world.forced[self.frozen] = world.sensed(self.frozen)
        if self.part is not None:
            self.part.trouble(True)

    def end(self, world: World, calm: dict[str, Value]) -> None:
        for name in (*self.forced, self.frozen):
            world.forced.pop(name, None)
            if name in calm:
                world.forced[name] = calm[name]
        if self.part is not None:
            self.part.trouble(False)


class Story:
    """The scenes of a world that runs at `speed`."""

    def __init__(self, world: World, speed: float) -> None:
        self._world, self._speed = world, speed
        self._calm: dict[str, Value] = {}
        """The values that alarms are content with, of points that nothing else moves."""
        self._scenes = list(self._make())
        world.forced |= self._calm
        self._least = LEAST * speed
        self._next, self._number = max(FIRST, self._least), 0
        self._playing: list[tuple[float, Scene]] = []
        self._timed = [*self._buttons(), *self._of_tanks(), *self._of_still_sensors()]
        """When each is due next, after how many seconds it comes again, and the scene."""

    def step(self) -> Iterator[str]:
        """Begin and end what is due now; yields it in words."""
        world = self._world
        for end, scene in [one for one in self._playing if one[0] <= world.seconds or one[1].is_over()]:
            self._playing.remove((end, scene))
            scene.end(world, self._calm)
            if scene.over:
                yield scene.over
        if self._scenes and world.seconds >= self._next:
            day, place = divmod(self._number, len(self._scenes))
            seconds = max(self._scenes[place].seconds, self._least)
            yield self._play(self._scenes[place], seconds)
            self._number += 1
            begins = FIRST + AGAIN * (day + 1) if place + 1 == len(self._scenes) else self._next + EVERY
            self._next = max(begins, world.seconds + seconds + 0.3 * self._least)
        for number, (at, again, scene) in enumerate(self._timed):
            if world.seconds >= at and scene.is_ready():
                self._timed[number] = at + again, again, scene
                yield self._play(scene, max(scene.seconds, self._least / 2))

    def _play(self, scene: Scene, seconds: float) -> str:
        scene.begin(self._world)
        self._playing.append((self._world.seconds + seconds, scene))
        return scene.said

    def _make(self) -> Iterator[Scene]:
        """Interlocks first, then rain, then alarms: those that are looked at only at times come last, by day."""
        site: Any = self._world.site
        locks = {rule.if_.model_dump_json(): rule.if_ for rule in site.rules.values() if rule.lock}
        wishes = [rule.if_ for rule in site.rules.values() if rule.then]
        alarms = sorted(site.alarms.values(), key=lambda alarm: (alarm.when or alarm.while_) is not None)
        yield from self._scenes_of(locks.values())
        for name, part in self._stations():
            said = f"a cloudburst: {name} gets more than its pumps can empty"
            yield Scene(said, f"the rain at {name} is over", 2400, {}, part)
        yield from self._scenes_of([*wishes, *alarms])

    def _scenes_of(self, conditions: Iterable[ConditionConfig]) -> Iterator[Scene]:
        found = (self._scene(one) for one in conditions)
        return (one for one in found if one is not None)

    def _stations(self) -> Iterator[tuple[str, WetWell]]:
        parts = [part for part in self._world.parts if isinstance(part, WetWell)]
        yield from zip(self._world.site.water.lift_stations, parts, strict=True)  # type: ignore[attr-defined]

    def _scene(self, condition: ConditionConfig) -> Scene | None:
        """A scene in which the condition holds; None if nothing of the world can be moved for it."""
        for one in (*(condition.all or ()), *(condition.any or ())):
            if (scene := self._scene(one)) is not None:
                return scene
        point = condition.point
        if point is None or point in self._world.modelled:
            return None
        long = 1.3 * (condition.for_ or condition.within or 0.0) + 900
        if isinstance(condition.is_, bool):
            self._calm[point] = not condition.is_
            verb = ("opens", "closes") if condition.is_ else ("closes", "opens")
            return Scene(
                f"the contact {point} {verb[1]}", f"the contact {point} {verb[0]}", long, {point: condition.is_}
            )
        if (values := self._values(condition, point)) is None:
            return None
        calm, forced = values
        unit = self._world.unit_of(point)
        self._calm[point] = calm
        return Scene(
            f"{point} goes to {forced:.4g} {unit}", f"{point} is back at {calm:.4g} {unit}", long, {point: forced}
        )

    def _values(self, condition: ConditionConfig, point: str) -> tuple[float, float] | None:
        """A value that the condition is content with, and one for which it holds."""
        low, high = self._world.span(point)
        step = (high - low) / 20
        back = step + (condition.hysteresis.value if condition.hysteresis else 0.0)
        if condition.above is not None:
            return condition.above.value - back, condition.above.value + step
        if condition.below is not None:
            return condition.below.value + back, max(low, condition.below.value - step)
        if condition.falls is not None:
            return (low + high) / 2, (low + high) / 2 - 1.3 * condition.falls.value
        if condition.rises is not None:
            return (low + high) / 2, (low + high) / 2 + 1.3 * condition.rises.value
        return (600.0, CROWDED) if self._world.unit_of(point) == "ppm" else None

    def _of_tanks(self) -> Iterator[tuple[float, float, Scene]]:
        """By day a fire that calls for all pumps; in a night a level that is lost, up to the end of the hours in which
        it is filled all the same."""
        world, site = self._world, self._world.site
        parts = [part for part in world.parts if isinstance(part, Reservoir)]
        for (name, tank), part in zip(site.water.tanks.items(), parts, strict=True):  # type: ignore[attr-defined]
            if tank.both_below is not None:
                least = (tank.low + tank.both_below) / 2
                yield self._whole_day() + BURNS, TURN, Scene(
                    f"a fire: much is drawn from {name}", f"the fire is out, {name} is nearly empty", 4 * 3600.0,
                    part=part, is_over=lambda part=part, least=least: part.level <= least,  # type: ignore[misc]
                )  # fmt: skip
            signal = site.signals.get(tank.level)
            if tank.level_lost is not None and signal is not None and signal.signal:
                window, after = tank.level_lost.fill[0], tank.level_lost.after
                begins = self._whole_day() + DAY + 60.0 * window.start - after + BLIND
                seconds = 60.0 * ((window.end - window.start) % 1440 or 1440) + after - 1.5 * BLIND
                said = f"the cable of {tank.level}"
                broken: dict[str, Value] = {signal.from_: 0.0}  # mA
                yield begins, TURN, Scene(f"{said} is cut", f"{said} is mended", seconds, broken)

    def _of_still_sensors(self) -> Iterator[tuple[float, float, Scene]]:
        """A sensor stands still for each alarm that waits for it, while the outputs run that it looks at."""
        for alarm in self._world.site.alarms.values():  # type: ignore[attr-defined]
            if alarm.still is not None and alarm.point is not None:
                seconds = 1.3 * (alarm.for_ or 0.0) + 900
                moving = set(_actuators(alarm.while_ or alarm.when))
                yield self._whole_day() + STANDS, TURN, Scene(
                    f"{alarm.point} stands still", f"{alarm.point} moves again", seconds, frozen=alarm.point,
                    is_ready=lambda moving=moving: not moving or any(map(self._world.output, moving)),  # type: ignore[misc]
                )  # fmt: skip

    def _whole_day(self) -> float:
        """When the first whole day begins."""
        now = self._world.at(0.0)
        return (now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) - now).total_seconds()

    def _buttons(self) -> Iterator[tuple[float, float, Scene]]:
        """The first press of each button and the first passer-by, when the lamps have been dark or dim for a while."""
        world, site = self._world, self._world.site
        midnight = world.now.replace(hour=0, minute=0, second=0)
        for name, circuit in site.lighting.circuits.items():  # type: ignore[attr-defined]
            saved = (*circuit.part_night_off, *(circuit.dimming.levels if circuit.dimming else ()))
            seen = {
                **dict.fromkeys(circuit.on_demand.triggers if circuit.on_demand else (), "a button is pressed"),
                **dict.fromkeys((circuit.presence.signal,) if circuit.presence else (), "a passer-by is seen"),
            }
            for after, (trigger, said) in zip(AFTER, seen.items(), strict=False):
                at = midnight + timedelta(minutes=saved[0].from_ if saved else 23 * 60, seconds=after)
                seconds = (at - world.now).total_seconds() % DAY
                yield seconds, DAY, Scene(f"{said}: {trigger} ({name})", "", PRESSED, {trigger: True})


def _actuators(condition: ConditionConfig | None) -> Iterator[str]:
    """The actuators that a condition looks at."""
    if condition is not None:
        if condition.actuator is not None:
            yield condition.actuator
        for one in (*(condition.all or ()), *(condition.any or ())):
            yield from _actuators(one)
