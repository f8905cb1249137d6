"""Who asked to join, and what came of it: the last hundred, for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["JoinLog"]

MOST, MOST_FOREIGN = 100, 20


class JoinLog:
    """The join requests, newest last. A device that is not in the site file has one entry, with a count: a neighbour's
    node that asks for ever drives nobody else out.
    """

    def __init__(self, kept: Any = None) -> None:
        kept = kept if isinstance(kept, dict) else {}
        self._ours: deque[dict[str, Any]] = deque(kept.get("ours", ()), MOST)
        self._foreign: dict[str, dict[str, Any]] = {entry["dev_eui"]: entry for entry in kept.get("foreign", ())}

    def add(self, entry: dict[str, Any], foreign: bool = False) -> None:
        if not foreign:
            self._ours.append(entry)
            return
        known = self._foreign.pop(entry["dev_eui"], {"count": 0})
        self._foreign[entry["dev_eui"]] = entry | {"count": known["count"] + 1}
        while len(self._foreign) > MOST_FOREIGN:
            del self._foreign[next(iter(self._foreign))]

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Oldest first; those without a trusted time stand first."""
        return sorted([*self._ours, *self._foreign.values()], key=lambda entry: entry["at_ms"] or 0)[-MOST:]

    def kept(self) -> dict[str, Any]:
        return {"ours": list(self._ours), "foreign": list(self._foreign.values())}
