"""Rules between the keys of actuators: their outputs, states and limits."""

from __future__ import annotations

from agent.site.checks.names import Checked, Pin, PointRef
from agent.site.language.document import Keys
from agent.site.language.values import DURATION, number

__all__ = ["check_actuators"]


def check_actuators(at: Checked) -> None:
    """Check each actuator by itself, then that no two share an output."""
    for name in at.site.actuators:
        _check_actuator(at, name)
    _check_outputs(at)


def _check_actuator(at: Checked, name: str) -> None:
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    output = at.point((*keys, "output"), actuator.output)
    if actuator.feedback is not None:
        at.contact((*keys, "feedback"), actuator.feedback)
    if actuator.feedback == actuator.output:
        at.error((*keys, "feedback"), f"{actuator.feedback} is the output itself; its read-back is checked anyway")
    if isinstance(output, PointRef):
        _check_device_output(at, name, output)
    if isinstance(output, Pin):
        at.site.buses[output.bus].check_pin(at, name, output.number)
    elif output is not None:
        _check_refresh(at, name, output)
        for key in ("active", "override"):
            if at.written(*keys, key):
                at.error((*keys, key), f'"{key}" is for pins, and {actuator.output} is not a pin', at_key=True)
    _check_stands(at, name)
    _check_limits(at, name)


def _check_refresh(at: Checked, name: str, output: PointRef) -> None:
    actuator, device = at.site.actuators[name], at.site.devices[output.device]
    keys: Keys = ("actuators", name, "refresh")
    if actuator.refresh is None:
        return
    often, bus = DURATION.format(actuator.refresh), at.site.buses.get(device.bus)
    if actuator.fallback_after is not None:
        line = at.line("actuators", name, "fallback_after")
        at.error(keys, f"fallback_after (line {line}) says already when it is written again; write one of the two")
    elif actuator.refresh < 1:
        at.error(keys, f"{often} is too often: refresh must be at least 1 s")
    elif bus is not None:
        bus.check_refresh(at, name, output)


def _check_device_output(at: Checked, name: str, output: PointRef) -> None:
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    if not output.data["writable"]:
        at.error((*keys, "output"), f"{actuator.output} cannot be written (profile of {output.device})")
    if output.data.get("moves"):
        relay = f"{output.device}.{output.data['moves']}"
        at.error((*keys, "output"), f"{actuator.output} is a pulse output; use {relay}")
    elif actuator.kind == "relay":  # a word that is read back never tells that it did not move
        at.contact((*keys, "output"), actuator.output)
    bus = at.site.buses.get(at.site.devices[output.device].bus)
    if bus is not None:
        bus.check_output(at, name, output)
    dog = at.site.devices[output.device].output_watchdog
    if dog is None or actuator.safe_state == "off" or (actuator.kind, type(actuator.safe_state)) == ("relay", float):
        return
    must = {"hold": "hold its state", "on": "stay on"}.get(str(actuator.safe_state), f"go to {actuator.safe_state} %")
    where = (*keys, "safe_state") if at.written(*keys, "safe_state") else (*keys, "output")
    at.error(
        where,
        f"{name} ({actuator.output}) must {must} on failure, but {output.device} drops its outputs after "
        f"{DURATION.format(dog)} (output_watchdog, line {at.line('devices', output.device, 'output_watchdog')})",
    )


def _check_stands(at: Checked, name: str) -> None:
    """A relay is on or off, a level has a level."""
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    if actuator.kind == "relay":
        for key in ("safe_state", "boot_state", "stop_state"):
            value = getattr(actuator, key)
            if isinstance(value, float) and at.written(*keys, key):
                at.error((*keys, key), f"{number(value)} is a level, and {name} is a relay; write on or off")
        if actuator.failure_level is not None:
            at.error((*keys, "failure_level"), '"failure_level" is for kind: level', at_key=True)
    if actuator.stop_state == "recompute":
        at.error((*keys, "stop_state"), "recompute is not possible as stop_state; write on, off or hold")


def _check_limits(at: Checked, name: str) -> None:
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    if actuator.max_on is not None and actuator.min_on is not None and actuator.max_on < actuator.min_on:
        at.error(
            (*keys, "max_on"),
            f"max_on {DURATION.format(actuator.max_on)} is shorter than min_on {DURATION.format(actuator.min_on)}",
        )
    exercise = actuator.exercise
    if exercise is None:
        return
    if exercise.run >= exercise.every:
        at.error(
            (*keys, "exercise", "run"),
            f"run {DURATION.format(exercise.run)} is not shorter than every {DURATION.format(exercise.every)}",
        )
    if actuator.max_on is not None and exercise.run > actuator.max_on:
        at.error((*keys, "exercise", "run"), f"run is longer than max_on {DURATION.format(actuator.max_on)}")


def _check_outputs(at: Checked) -> None:
    """An output has one actuator, a pin one use."""
    used: dict[str, tuple[str, str]] = {}
    for name, actuator in at.site.actuators.items():
        first = used.setdefault(actuator.output, ("actuators", name))
        if first != ("actuators", name):
            at.error(
                ("actuators", name, "output"),
                f"{actuator.output} is already the output of {first[1]} (line {at.line(*first)})",
            )
    pins = {f"{name}." for name, bus in at.site.buses.items() if bus.has_pins}
    for name, signal in at.site.signals.items():
        if any(signal.from_.startswith(prefix) for prefix in pins):
            first = used.setdefault(signal.from_, ("signals", name))
            if first != ("signals", name):
                at.error(
                    ("signals", name, "from"), f"{signal.from_} is already used by {first[1]} (line {at.line(*first)})"
                )  # fmt: skip
