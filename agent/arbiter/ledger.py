"""Where commands and events become durable."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from agent.model import Command, Event, Outcome

__all__ = ["Books", "Ledger"]


class Ledger(Protocol):
    """Where commands and events become durable (the outbox)."""

    async def outcome(self, command: str) -> Outcome | None:
        """The last stored outcome of a command's id; None if it was never seen."""

    async def begin(self, command: Command) -> Outcome | None:
        """At most once: None, and the acceptance is durable; or the stored outcome of an id that was seen before."""

    async def record(self, outcome: Outcome) -> None: ...

    async def unfinished(self) -> list[Outcome]:
        """Commands whose last outcome is not a final one."""

    async def put_event(self, event: Event) -> None: ...


class Books:
    """A ledger whose events pass through somebody else's hands (`tell`).

    `kept` is called with the id of each command of which the ledger knows by now that it was accepted.
    """

    def __init__(
        self,
        ledger: Ledger,
        tell: Callable[[Event], Coroutine[Any, Any, None]],
        kept: Callable[[str], None] = lambda command: None,
    ) -> None:
        self._ledger, self._kept = ledger, kept
        self.outcome, self.record, self.unfinished = ledger.outcome, ledger.record, ledger.unfinished
        self.put_event = tell

    async def begin(self, command: Command) -> Outcome | None:
        known = await self._ledger.begin(command)
        self._kept(command.id)
        return known
