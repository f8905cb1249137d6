"""Class 0, events and outcomes of commands: on flash before anyone acts on them, and first on the link."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import replace

from agent.model import Event, Outcome
from agent.outbox.dates import Boots
from agent.outbox.numbers import Numbers
from agent.outbox.parcels import Message, Parcel
from agent.outbox.records import dated, event_body, is_gap, result_body

__all__ = ["MANY", "Urgent"]

MANY = 1_000
"""Records kept in memory while the flash cannot be written, or the broker refuses them."""


class Urgent:
    """`unsaved` ones are to be written, `ready` ones to be sent; while the flash fails, one may be both."""

    def __init__(self, numbers: Numbers, tokens: Iterator[int]) -> None:
        self._numbers, self._tokens = numbers, tokens
        self.unsaved: list[Parcel] = []
        self.ready: deque[Parcel] = deque()

    def event(self, event: Event, limit: int | None = None) -> Parcel:
        """A record with a number of its own."""
        store, seq = self._numbers.take(1, limit)
        return self._record("event", event_body(event, store, seq), store, seq)

    def result(self, outcome: Outcome) -> Parcel:
        store, seq = self._numbers.take(1)
        parcel = self._record(f"cmd/{outcome.command}/result", result_body(outcome, store, seq), store, seq)
        parcel.outcome = outcome
        return parcel

    def reject(self, parcel: Parcel, refusal: Outcome) -> None:
        """An outcome that cannot be kept becomes the word that it was refused."""
        parcel.outcome = None
        parcel.message = replace(parcel.message, body=result_body(refusal, parcel.store, parcel.message.first))

    def outcome(self, command: str) -> Outcome | None:
        """What became of a command, of what is not on flash."""
        outcomes = (parcel.outcome for parcel in reversed(self.unsaved) if parcel.outcome is not None)
        return next((outcome for outcome in outcomes if outcome.command == command), None)

    def pick(self, held_back: Collection[str], boots: Boots) -> Parcel | None:
        """The first that may go, with its date if it is known by now."""
        parcel = next((one for one in self.ready if one.message.kind not in held_back), None)
        if parcel is not None:
            self.ready.remove(parcel)
            parcel.message = replace(parcel.message, body=dated(parcel.message.body, boots))
        return parcel

    def wants_more(self, held_back: Collection[str]) -> bool:
        """Whether others on flash may go, and nothing here."""
        return len(self.ready) < MANY and all(one.message.kind in held_back for one in self.ready)

    def come_back(self, parcel: Parcel) -> None:
        """The link was lost, or the broker refused it for now: again in the order in which they were made."""
        later = (at for at, one in enumerate(self.ready) if one.message.token > parcel.message.token)
        self.ready.insert(next(later, len(self.ready)), parcel)

    def send_unsaved(self) -> list[Parcel]:
        """The flash does not take them: deliver them all the same, and keep the newest; what is given up."""
        gone = []
        while len(self.unsaved) > MANY:
            parcel = next((one for one in self.unsaved if not is_gap(one.message.body)), self.unsaved[0])
            self.unsaved.remove(parcel)
            if not parcel.queued:
                gone.append(parcel)
        for parcel in self.unsaved:
            if not parcel.queued:
                parcel.queued = True
                self.ready.append(parcel)
        return gone

    def _record(self, topic: str, body: bytes, store: str, seq: int) -> Parcel:
        return Parcel(Message(topic, body, False, seq, seq, 1, next(self._tokens)), store)
