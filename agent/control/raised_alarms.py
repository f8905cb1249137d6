"""Which control raised which open alarm: none stays open for ever because its control left the site file or forgot it.

A control clears what it raised, for its state says so. It cannot where it is not there any more, nor where its state
does not know of the alarm: the process was killed after the event was stored and before the state was, or the state
could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.control.api import Happening
from agent.model import Severity

__all__ = ["RaisedAlarms"]

Key = tuple[str, str]
"""Code and subject."""


@dataclass(slots=True)
class _Raised:
    """An alarm that a control raised. `known`: the state of its control on flash knows of it; until then it may have
    been told or not. `left`: the control left the site file, and the alarm was cleared in its place."""

    owner: str
    severity: str
    known: bool = False
    left: bool = False


class RaisedAlarms:
    """`kept` is what `dump` gave, or None."""

    def __init__(self, kept: Iterable[Iterable[Any]] | None) -> None:
        self._all: dict[Key, _Raised] = {(code, subject): _Raised(*rest) for code, subject, *rest in kept or ()}
        self._over: set[Key] = set()
        """Alarms that were cleared, and that a state on flash may still know."""
        self._unkept: set[str] = set()
        """Controls with an alarm that was raised or cleared since their state was kept."""
        self.unsure: dict[str, set[Key]] = {}
        """By control: open alarms that its state does not know. Its first step tells whether they still stand."""

    def dump(self) -> list[list[Any]]:
        """All of it as JSON values."""
        return [[*key, one.owner, one.severity, one.known, one.left] for key, one in self._all.items()]

    def take_up(self, controls: Mapping[str, bool], opened: Iterable[Key]) -> list[Happening]:
        """At a start: clear the alarms of controls that are not there any more.

        `controls` has the names of those that are there, and whether their state was kept; `opened` is what is open. A
        control that is there again, and believes that its alarm is open, has it raised again.
        """
        opened, found = set(opened), list[Happening]()
        for key, one in list(self._all.items()):
            may_be_open = key in opened or not one.known
            is_known = one.known and controls.get(one.owner, True)
            if one.owner not in controls:
                if may_be_open:
                    found.append(Happening("cleared", *key, Severity.INFO))
                one.left = True
            elif may_be_open:
                one.left = False
                if not is_known:
                    self.unsure.setdefault(one.owner, set()).add(key)
            elif one.left and is_known:
                one.left = False
                found.append(Happening("alarm", *key, Severity(one.severity)))
            else:
                del self._all[key]
                continue
            if one.left and not one.known:
                del self._all[key]
        return found

    def note(self, owner: str, happened: Iterable[Happening]) -> list[Happening]:
        """Note the alarms of a step. Returns all that happened, with the end of those that its state did not know."""
        found = list(happened)
        raised = {(one.code, one.subject) for one in found}
        unsure = self.unsure.pop(owner, set())
        found += [Happening("cleared", *key, Severity.INFO) for key in sorted(unsure - raised)]
        for one in found:
            key = one.code, one.subject
            if one.kind == "alarm":
                self._over.discard(key)
                self._all[key] = _Raised(owner, str(one.severity))
            elif one.kind == "cleared":
                self._over.add(key)
        if found:
            self._unkept.add(owner)
        return found

    def keep(self, owner: str) -> bool:
        """The state of a control is kept: it knows its alarms. Returns whether that is news."""
        if owner not in self._unkept:
            return False
        self._unkept.discard(owner)
        for key, one in list(self._all.items()):
            if one.owner == owner and key in self._over:
                del self._all[key]
            elif one.owner == owner:
                one.known = True
        self._over &= self._all.keys()
        return True
