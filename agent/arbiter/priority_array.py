"""The priority array of one output: who wants what of it. The lowest number wins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agent.core.actuator_spec import ActuatorSpec, say
from agent.model import Value

__all__ = ["AUTO", "DEFAULT", "LIMIT", "REMOTE", "PriorityArray", "Slot"]

AUTO = "auto"
"""The mode in which nobody overrides the rules, and the word that brings it back."""
LIMIT = 6
"""Priority of minimum times, starts an hour and longest run: only a lower number breaks them."""
REMOTE = 8
"""Priority of a command, from afar or from the box."""
DEFAULT = 16
"""Priority of what holds when nobody wants anything any more (BACnet's relinquish default)."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One entry of the priority array. `until` is monotonic seconds, None: until it is relinquished."""

    value: Value
    cause: str
    by: str = ""
    until: float | None = None
    command: str | None = None
    origin: str = ""
    """By which way a command came ("mqtt", "local"), as we know it ourselves; "" after a restart."""


class PriorityArray(dict[int, Slot]):
    """Each priority's entry. Empty: nobody has spoken yet, the output stays as it is."""

    def __init__(self, spec: ActuatorSpec) -> None:
        super().__init__()
        self._spec = spec
        self.ruled = False
        """Whether rules held it below the commands before the restart: they will speak again."""

    @property
    def await_rules(self) -> bool:
        """Whether rules that held it before the restart have not spoken yet: below the commands it stays as it is."""
        return self.ruled and not any(priority > REMOTE for priority in self)

    def winner(self) -> tuple[int, Slot] | None:
        """The lowest number that wants something; None: nobody has spoken yet."""
        if not self:
            return None
        priority = min(self)
        return priority, self[priority]

    def relinquish(self, priority: int) -> bool:
        """Somebody wants nothing any more: the next one below holds, in the end the relinquish default.

        A command that ends before rules have spoken leaves it to them.
        """
        if priority not in self:
            return False
        awaited = self.await_rules
        del self[priority]
        if not awaited:
            self.hold_default()
        return True

    def hold_default(self) -> None:
        """From now on the relinquish default holds below everybody.

        It is the boot state, else the safe state; where both say hold: off for a relay, and a level stays.
        """
        spec = self._spec
        value = spec.state(spec.boot_state)
        if value is None:
            value = spec.state(spec.safe_state)
        if value is None and spec.kind == "relay":
            value = False
        if value is not None:
            self[DEFAULT] = Slot(value, "nobody wants it")

    def fall_back(self, before: Value) -> None:
        """After a write that failed: it may have moved, and if nobody wants anything nobody would ever put it back."""
        if not self:
            self.hold_default()
            if before is not None:
                self[DEFAULT] = Slot(before, "as it was")

    def end(self, now: float) -> float:
        """Entries whose time is over at `now` are dropped; when the next one ends (monotonic s)."""
        at = math.inf
        for priority, slot in tuple(self.items()):
            if slot.until is None:
                continue
            if slot.until <= now:
                self.relinquish(priority)
            else:
                at = min(at, slot.until)
        return at

    @property
    def mode(self) -> str:
        """What people made of it: auto (rules hold it), manual or off (an override does)."""
        override = self.get(REMOTE)
        if override is None:
            return AUTO
        return "manual" if self._spec.is_on(override.value) else "off"

    def blocked(self) -> str:
        """Why a command would have no effect now: somebody of a lower number holds the output. "" if nobody does."""
        found = self.winner()
        if found is None or found[0] >= REMOTE:
            return ""
        priority, slot = found
        return f"{self._spec.name} is held {say(slot.value)} by {slot.cause} (priority {priority})"
