"""Where commands and events become durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from agent.model import Command, Event, Outcome

__all__ = ["JoinedLedger", "Ledger", "Outcomes"]


class Outcomes(Protocol):
    """Where commands become durable (the outbox)."""

    async def outcome(self, command: Command) -> Outcome | None:
        """The last stored outcome of a command's id; None if it was never seen.

        While nobody can look that up, it is `rejected`, and told.
        """

    async def begin(self, command: Command) -> Outcome | None:
        """At most once: None, and the acceptance is durable; or the stored outcome of an id that was seen before."""

    async def record(self, outcome: Outcome) -> None: ...

    async def unfinished(self) -> list[Outcome]:
        """Commands whose last outcome is not a final one; StorageError if they cannot be read now."""


class Events(Protocol):
    """Where events become durable, and who knows which alarms are open (the register)."""

    async def put_event(self, event: Event) -> None: ...

    def raised(self) -> Iterable[tuple[str, str]]:
        """The alarms that were raised and not cleared: code and subject."""


class Ledger(Outcomes, Events, Protocol):
    """Where commands and events become durable."""


class JoinedLedger:
    """A ledger of two: commands are one's, events another's.

    `kept` is called with the id of each command of which the ledger knows by now that it was accepted.
    """

    def __init__(
        self,
        ledger: Outcomes,
        events: Events,
        kept: Callable[[str], None] = lambda command: None,
    ) -> None:
        self._ledger, self._kept = ledger, kept
        self.outcome, self.record, self.unfinished = ledger.outcome, ledger.record, ledger.unfinished
        self.put_event, self.raised = events.put_event, events.raised

    async def begin(self, command: Command) -> Outcome | None:
        known = await self._ledger.begin(command)
        self._kept(command.id)
        return known
