"""Which commands are allowed: by the site file's list for MQTT, and by the condition that a command carries."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from fnmatch import fnmatchcase

from agent.errors import Rejected
from agent.model import Command, Origin, Quality, Reading, Value

__all__ = ["Authorization"]


class Authorization:
    """Called with a command before it is accepted; raises Rejected if it is not allowed.

    `allow` lists the points that commands by MQTT may name, as names and patterns (`*`); None allows every point. A
    meter's index, and a `writable` point that no actuator owns, must be listed by its own name: no pattern allows it.
    `outputs` has the output of each actuator by its name; a condition may name either. `last` are the last readings.
    `present` gives the value of an output, with what was written since it was read; None if it is unknown. `personal`
    are points and devices whose readings do not leave the box, so no outcome of a command by MQTT tells them.
    """

    def __init__(
        self,
        allow: tuple[str, ...] | None,
        outputs: Mapping[str, str],
        last: Mapping[str, Reading],
        present: Callable[[str], Value] = lambda _name: None,
        writable: Container[str] = (),
        personal: Container[str] = (),
    ) -> None:
        self._writable, self._personal = writable, personal
        self._allow, self._outputs, self._last, self._present = allow, outputs, last, present
        self._owners = {output: name for name, output in outputs.items()}

    def __call__(self, command: Command) -> None:
        if command.origin is Origin.MQTT:
            self._check_list(command.point)
        if command.condition is not None:
            if command.origin is Origin.MQTT:
                self._check_personal(command.condition[0])
            self._check(*command.condition)

    def _check_list(self, point: str) -> None:
        if self._allow is not None and not self._is_listed(point):
            raise Rejected(f"{point} is not among uplink.commands.allow of this site")
        allow = self._allow or ()
        if point.endswith(".index") and point not in allow:
            raise Rejected(f"{point} is a meter's index, which uplink.commands.allow of this site does not name")
        if point not in allow and point not in self._owners and point not in self._outputs and point in self._writable:
            raise Rejected(f"{point} is no actuator's, and uplink.commands.allow of this site does not name it")

    def _is_listed(self, point: str) -> bool:
        """Whether the list has the point, by the name of the actuator or of its output."""
        names = {point, self._outputs.get(point, point), self._owners.get(point, point)}
        return any(fnmatchcase(name, pattern) for name in names for pattern in self._allow or ())

    def _check_personal(self, point: str) -> None:
        if point in self._personal or point.partition(".")[0] in self._personal:
            raise Rejected(f"the condition names {point}, whose values stay on the gateway")

    def _check(self, point: str, expected: Value) -> None:
        reading, present = self._last.get(self._outputs.get(point, point)), self._present(point)
        if reading is None and present is None:
            raise Rejected(f"the condition names {point}, which has no value")
        if reading is not None and reading.quality is not Quality.GOOD:
            raise Rejected(f"the condition names {point}, which is {reading.quality}")
        value = reading.value if reading is not None and present is None else present
        if not _same(value, expected):
            raise Rejected(f"{point} is {_said(value)}, and the condition wants {_said(expected)}")


def _same(value: Value, expected: Value) -> bool:
    """on is true and 1; a number that came over a wire equals what a person writes of it (nine digits)."""
    if isinstance(value, str) or isinstance(expected, str) or value is None or expected is None:
        return value == expected
    return abs(float(value) - float(expected)) <= 1e-9 * max(1.0, abs(float(expected)))


def _said(value: Value) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"
