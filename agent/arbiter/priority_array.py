"""The priority array of one actuator: an entry for each of sixteen priorities, the lowest number wins.

After BACnet's command prioritization (ISO 16484-5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from agent.core.actuator_spec import ActuatorSpec, say
from agent.model import Value

__all__ = ["AUTO", "DEFAULT", "LIMIT", "REMOTE", "PriorityArray", "Slot"]

AUTO = "auto"
"""The mode without an override, and the value of a command that ends one."""
LIMIT = 6
"""Priority of minimum times, starts per hour and longest run: only a lower number breaks them."""
REMOTE = 8
"""Priority of a command, by MQTT or from the gateway itself."""
DEFAULT = 16
"""Priority of the relinquish default, which holds when every other entry is relinquished."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One entry of the priority array. `until` is monotonic seconds, None: until it is relinquished."""

    value: Value
    cause: str
    by: str = ""
    until: float | None = None
    command: str | None = None
    """The id of the command that made the entry."""
    origin: str = ""
    """How the command came ("mqtt", "local"); "" after a restart."""


class PriorityArray(dict[int, Slot]):
    """Entries by priority. While it is empty, since the start, the output stays as it is."""

    def __init__(self, spec: ActuatorSpec) -> None:
        super().__init__()
        self._spec = spec
        self.ruled = False
        """Controls held the output below the commands before the restart: they will enter their wishes again."""

    @property
    def awaits_rules(self) -> bool:
        """Whether controls that held the output before the restart have not entered a wish yet."""
        return self.ruled and not any(priority > REMOTE for priority in self)

    @property
    def relinquish_default(self) -> Value:
        """The boot state, else the safe state; where both are hold: off for a relay, None for a level, which stays."""
        spec = self._spec
        value = spec.state(spec.boot_state)
        if value is None:
            value = spec.state(spec.safe_state)
        return False if value is None and spec.kind == "relay" else value

    def winner(self) -> tuple[int, Slot] | None:
        """Priority and entry of the lowest number; None while the array is empty."""
        if not self:
            return None
        priority = min(self)
        return priority, self[priority]

    def relinquish(self, priority: int) -> bool:
        """Remove an entry. The next higher number holds, in the end the relinquish default. False if there is none.

        A command that ends before the controls have entered their wishes leaves the output to them.
        """
        if priority not in self:
            return False
        awaited = self.awaits_rules
        del self[priority]
        if not awaited:
            self.hold_relinquish_default()
        return True

    def hold_relinquish_default(self) -> None:
        """Enter the relinquish default at priority 16."""
        value = self.relinquish_default
        if value is not None:
            self[DEFAULT] = Slot(value, "nobody wants it")

    def fall_back(self, before: Value) -> None:
        """After a failed write: the output may have moved. If the array is empty, put it back to `before`."""
        if not self:
            self.hold_relinquish_default()
            if before is not None:
                self[DEFAULT] = Slot(before, "as it was")

    def end(self, now: float) -> float:
        """Relinquish the entries whose time is over at `now`; return when the next one ends (monotonic s)."""
        at = math.inf
        for priority, slot in tuple(self.items()):
            if slot.until is None:
                continue
            if slot.until <= now:
                self.relinquish(priority)
            else:
                at = min(at, slot.until)
        return at

    def restore(self, ruled: bool, default: Slot | None) -> None:
        """Take over what an earlier process saved: `ruled`, and the entry at priority 16."""
        self.ruled = ruled
        if default is not None:
            self[DEFAULT] = default

    @property
    def mode(self) -> str:
        """auto (controls hold the output), manual or off (an override does)."""
        override = self.get(REMOTE)
        if override is None:
            return AUTO
        return "manual" if self._spec.is_on(override.value) else "off"

    def blocked(self) -> str:
        """Why a command would have no effect now: a lower number holds the output. "" if none does."""
        found = self.winner()
        if found is None or found[0] >= REMOTE:
            return ""
        priority, slot = found
        return f"{self._spec.name} is held {say(slot.value)} by {slot.cause} (priority {priority})"
