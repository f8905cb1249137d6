"""The plant of a zone: one burner, burners, or a flow setpoint, each with the keys that belong to it."""

from __future__ import annotations

from itertools import combinations

from agent.services.heating.config import Heating, PlantConfig, ZoneConfig
from agent.services.heating.hotwater import ABOVE
from agent.services.heating.sg_ready import LOCKS, LONGEST
from agent.site.checks.names import Checked, PointRef
from agent.site.language.document import Keys
from agent.site.language.units import canonical
from agent.site.language.values import DURATION, Window, number

__all__ = ["check_plant", "span_text"]

_SOURCES = ("burner", "burners", "flow_setpoint")
_OF_FLOW = (
    "refresh", "low", "high", "room_influence", "room_shift", "deadband", "min_interval", "enable", "hot_water",
    "flow_missed",
)  # fmt: skip
_BELONG = {"burners": ("lag_after", "rotation"), "flow_setpoint": _OF_FLOW, "sg_ready": ("sg_hours",)}
_DAY = 1440


def check_plant(at: Checked, keys: Keys, name: str, zone: ZoneConfig, heating: Heating) -> None:
    """Check what is not checked of every plant: `keys` are those of the zone `name`."""
    plant, where = zone.plant, (*keys, "plant")
    names = [one for one in (plant.burner, *(plant.burners or ())) if one is not None]
    _check_source(at, where, plant)
    for source, own in _BELONG.items():
        if getattr(plant, source) is None and not at.wrong(*where, source):
            for key in own:
                if at.written(*where, key):
                    at.error((*where, key), f'"{key}" is for a plant with {source}', at_key=True)
    needs = next((key for key in ("burners", "flow_setpoint") if getattr(plant, key) is not None), None)
    if needs is not None and zone.heat_curve is None and not at.wrong(*keys, "heat_curve"):
        why = "the target that is written" if needs == "flow_setpoint" else "the flow that calls the next burner"
        at.error((*where, needs), f'{needs} needs "heat_curve": {why}', at_key=True)
    for index, burner in enumerate(plant.burners or ()):
        _check_relay(at, (*where, "burners", index), burner, name, held_off=True)
    for index, relay in enumerate(plant.sg_ready or ()):
        _check_relay(at, (*where, "sg_ready", index), relay, name)
    if plant.enable is not None:
        _check_relay(at, (*where, "enable"), plant.enable, name, held_off=True)
    if plant.flow_setpoint is not None:
        _check_flow(at, where, zone, plant.flow_setpoint, heating)
    _check_hours(at, where, plant)
    if (plant.flow_setpoint, plant.sg_ready) != (None, None) and not names and at.written(*keys, "control"):
        at.warn((*keys, "control"), "control is for burners; this plant follows the heat curve and room_influence")


def _check_source(at: Checked, where: Keys, plant: PlantConfig) -> None:
    """A plant has one source of heat; a heat pump may have its contacts alone."""
    found = [key for key in _SOURCES if getattr(plant, key) is not None]
    if not found and plant.sg_ready is None and not at.has_wrong(*where):
        at.error(where, '"burner" is missing in plant')
    for key in found[1:]:
        line = at.line(*where, found[0])
        at.error(
            (*where, key), f"{key} and {found[0]} (line {line}) exclude each other: write one of them", at_key=True
        )
    if plant.burners is not None and len(plant.burners) < 2:
        one = f"; write burner: {plant.burners[0]}" if plant.burners else ""
        at.error((*where, "burners"), f"a cascade has two burners at least{one}")
    if plant.sg_ready is not None and len(plant.sg_ready) != 2:
        at.error(
            (*where, "sg_ready"), "SG Ready has two contacts; write [r1, r2], in the order of the heat pump's manual"
        )


def _check_relay(at: Checked, keys: Keys, name: str, zone: str, held_off: bool = False) -> None:
    at.actuator(keys, name, zone, held_off)
    if held_off:
        at.held_here(keys, name)
    actuator = at.site.actuators.get(name)
    if actuator is not None and actuator.kind != "relay":
        at.error(keys, f"{name} is a level; a relay is needed here")


def _check_flow(at: Checked, where: Keys, zone: ZoneConfig, name: str, heating: Heating) -> None:
    """The setpoint is a level in degC that can be written, and its bounds are in their order."""
    plant, keys = zone.plant, (*where, "flow_setpoint")
    actuator = next((one for one, found in at.site.actuators.items() if name in (one, found.output)), None)
    if "." not in name:
        at.actuator(keys, name, "the heating")
    target = at.point(keys, name if actuator is None else at.site.actuators[actuator].output) if (
        "." in name or actuator is not None
    ) else None  # fmt: skip
    if actuator is not None and at.site.actuators[actuator].kind != "level":
        at.error(keys, f"{actuator} is a relay; a flow temperature needs kind: level")
    if actuator is not None and plant.refresh is not None:
        line = at.line("actuators", actuator)
        at.error((*where, "refresh"), f"refresh belongs to the actuator {actuator} (line {line})", at_key=True)
    elif plant.refresh is not None and plant.refresh < 1:
        at.error((*where, "refresh"), f"{DURATION.format(plant.refresh)} is too often: refresh must be at least 1 s")
    low, high = None, None
    if isinstance(target, PointRef):
        if actuator is None:
            at.moved(keys, name, "the heating")
        unit = target.data.get("unit") or ""
        if not target.data.get("writable"):
            at.error(keys, f"{name} cannot be written (profile of {target.device})")
        elif canonical(unit) != "degC" and (actuator is None or at.site.actuators[actuator].kind == "level"):
            at.error(
                keys, f"{name} is in {unit or 'no unit'}, and a flow setpoint is in degC (profile of {target.device})"
            )
        low, high = target.data.get("low"), target.data.get("high")
    elif target is not None:
        at.error(keys, f"{name} is a pin; a flow temperature needs a level")
    _check_bounds(at, where, zone, name, low, high)
    _check_store(at, where, plant, heating, high)


def _check_bounds(
    at: Checked, where: Keys, zone: ZoneConfig, name: str, least: float | None, most: float | None
) -> None:
    """The bounds of the target: those of the file, of max_flow, and of the profile (`least`, `most`)."""
    plant, curve = zone.plant, zone.heat_curve
    for key, value in (("low", plant.low), ("high", plant.high)):
        if value is None or not at.written(*where, key):
            continue
        if least is not None and value < least:
            at.error((*where, key), f"{key} {number(value)} degC is below {number(least)} degC, the least of {name}")
        if most is not None and value > most:
            at.error((*where, key), f"{key} {number(value)} degC is above {number(most)} degC, the most of {name}")
    if curve is None:
        return
    if plant.high is not None and curve.max_flow < plant.high <= (plant.high if most is None else most):
        at.error(
            (*where, "high"),
            f"high {number(plant.high)} degC is above max_flow {number(curve.max_flow)} degC, which stops the plant",
        )
    low = max(plant.low, plant.low if least is None else least)
    high = min(curve.max_flow if plant.high is None else plant.high, curve.max_flow if most is None else most)
    if low >= high:
        key = "low" if at.written(*where, "low") else "flow_setpoint"
        at.error((*where, key), f"low {number(low)} degC is not below high {number(high)} degC")
        return
    for index, point in enumerate(curve.points):
        if high < point[1] <= curve.max_flow:
            at.warn(
                (*where[:-1], "heat_curve", "points", index),
                f"flow {number(point[1])} degC is above {number(high)} degC, the highest target of {name}",
            )


def _check_store(at: Checked, where: Keys, plant: PlantConfig, heating: Heating, most: float | None) -> None:
    """A store that the plant heats is there, and no warmer than the plant can make it."""
    charging = plant.hot_water
    if charging is None or not at.known((*where, "hot_water", "store"), "store", charging.store, heating.hot_water):
        return
    high = min([one for one in (plant.high, most) if one is not None], default=None)
    if high is None:
        return
    if charging.flow is not None and charging.flow > high:
        text = f"flow {number(charging.flow)} degC is above high {number(high)} degC"
        at.error((*where, "hot_water", "flow"), text)
    store = heating.hot_water[charging.store]
    cycle = store.thermal_cycle
    warmest = max(store.setpoint + ABOVE, cycle.temperature if cycle is not None else 0.0)
    if warmest > high:
        at.warn(
            (*where, "hot_water", "store"),
            f"{charging.store} is heated to {number(warmest)} degC, and the plant gives {number(high)} degC at most",
        )


def _check_hours(at: Checked, where: Keys, plant: PlantConfig) -> None:
    """A lock is short and rare, and an hour has one state."""
    hours = plant.sg_hours
    if hours is None:
        return
    keys: Keys = (*where, "sg_hours")
    for index, window in enumerate(hours.lock):
        length = (window.end - window.start) % _DAY * 60 or _DAY * 60
        if length > LONGEST:
            at.error(
                (*keys, "lock", index),
                f"{span_text(window)} is {DURATION.format(length)}; a lock is 2h at most (SG Ready, state 1)",
            )
        if index >= LOCKS:
            at.error((*keys, "lock", index), f"a heat pump is locked {LOCKS} times a day at most (SG Ready, state 1)")
    spans = [
        (key, index, one) for key in ("lock", "recommend", "force") for index, one in enumerate(getattr(hours, key))
    ]
    for (key, _, one), (other_key, index, other) in combinations(spans, 2):
        if not _minutes(one).isdisjoint(_minutes(other)):
            at.error((*keys, other_key, index), f"{span_text(other)} is within {span_text(one)} of {key}")


def span_text(span: tuple[int, int]) -> str:
    """06:00-08:00, of minutes after midnight."""
    return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in span)


def _minutes(window: Window) -> set[int]:
    end = window.end if window.end > window.start else window.end + _DAY
    return {minute % _DAY for minute in range(window.start, end)}
