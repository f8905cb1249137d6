"""Where commands and events become durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from agent.model import Command, Event, Outcome

__all__ = ["CommandLedger", "JoinedLedger", "Ledger"]


class CommandLedger(Protocol):
    """Makes commands durable: the outbox."""

    async def outcome(self, command: Command) -> Outcome | None:
        """The last stored outcome of a command's id; None if the id is new.

        While that cannot be read the outcome is `rejected`, and published.
        """

    async def begin(self, command: Command) -> Outcome | None:
        """Store that a command is accepted, at most once. None if that is done, else the outcome of a known id."""

    async def record(self, outcome: Outcome) -> None: ...

    async def unfinished(self) -> list[Outcome]:
        """Commands whose last outcome is not a final one; StorageError if they cannot be read now."""


class EventLedger(Protocol):
    """Makes events durable, and knows the open alarms (`OpenAlarms`)."""

    async def put_event(self, event: Event) -> None: ...

    def raised(self) -> Iterable[tuple[str, str]]:
        """The alarms that were raised and not cleared: code and subject."""


class Ledger(CommandLedger, EventLedger, Protocol):
    """Makes commands and events durable."""


class JoinedLedger:
    """A ledger made of two stores, one for commands and one for events.

    `accepted` is called with the id of a command as soon as its acceptance is durable.
    """

    def __init__(
        self,
        outcomes: CommandLedger,
        events: EventLedger,
        accepted: Callable[[str], None] = lambda _command: None,
    ) -> None:
        self._outcomes, self._accepted = outcomes, accepted
        self.outcome, self.record, self.unfinished = outcomes.outcome, outcomes.record, outcomes.unfinished
        self.put_event, self.raised = events.put_event, events.raised

    async def begin(self, command: Command) -> Outcome | None:
        known = await self._outcomes.begin(command)
        self._accepted(command.id)
        return known
