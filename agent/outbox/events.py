"""Class 0, events and outcomes of commands: on flash before they take effect, and first on the link."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from agent.model import Event, Outcome, OutcomeState
from agent.outbox.messages import Entry, Message, State
from agent.outbox.numbers import Numbers
from agent.outbox.records import (
    Boots,
    MessageKind,
    StagedRecord,
    dated,
    event_body,
    is_gap,
    renamed_record,
    result_body,
)
from agent.outbox.stage import Stage

__all__ = ["MANY", "Events"]

MANY = 1_000
"""Records kept in memory while the flash cannot be written, or the broker refuses them."""
_ENDS = {OutcomeState.VERIFIED, OutcomeState.MISMATCH, OutcomeState.FAILED, OutcomeState.UNKNOWN}


class Events:
    """`unsaved` ones are to be written, `ready` ones to be sent; while the flash fails, one may be both.

    What is unsaved is on the stage: a process that is killed before the flash could take it has lost nothing.
    """

    def __init__(self, numbers: Numbers, tokens: Iterator[int], stage: Stage, monotonic: Callable[[], float]) -> None:
        self._numbers, self._tokens, self._stage, self._monotonic = numbers, tokens, stage, monotonic
        self.unsaved: list[Entry] = []
        self.ready: deque[Entry] = deque()

    def add_event(self, event: Event) -> Entry:
        """Number and stage a record of an event."""
        store, seq = self._numbers.take(1, "records")
        return self.keep(self._record(MessageKind.EVENT, event_body(event, store, seq), store, seq))

    def make(self, event: Event) -> Entry:
        """Make a record for the transaction at hand; `keep` it if that fails."""
        store, seq = self._numbers.take(1, "gaps" if event.kind == "gap" else "records")
        entry = self._record(MessageKind.EVENT, event_body(event, store, seq), store, seq)
        if event.kind == "gap" and event.detail:
            entry.gap = (event.detail.get("store", ""), event.detail.get("first") or 1)
        return entry

    def add_result(self, outcome: Outcome) -> Entry:
        return self.keep(self.promise(outcome))

    def refuse(self, refusal: Outcome) -> Entry:
        """Make and stage a refusal that leaves the stored outcome of the command as it is."""
        return self.keep(self._word(refusal))

    def promise(self, outcome: Outcome) -> Entry:
        """Make a record that counts only if the flash takes it: `keep` it once that is decided."""
        entry = self._word(outcome)
        entry.outcome = outcome
        self._stage.give(entry.store, entry.message.first)
        return entry

    def keep(self, entry: Entry) -> Entry:
        """Write it to the stage."""
        message = entry.message
        entry.since = self._monotonic()
        kept = StagedRecord(
            entry.store, message.first, message.kind, message.command, message.body, entry.outcome
        )
        entry.staged = self._stage.keep(kept, entry.since)
        return entry

    def keep_gaps(self) -> bool:
        """Bring the gap records to the stage that found no room there before; return whether it has all of them."""
        found_no_room = [entry for entry in self.unsaved if entry.gap and not entry.staged]
        return all(self.keep(entry).staged for entry in found_no_room)

    def restore(self, kept: StagedRecord, delivered: bool) -> None:
        """Take up a record that an earlier process left on the stage; a delivered one has its outcome to store."""
        entry = self._record(kept.kind, kept.body, kept.store, kept.seq, kept.command)
        entry.outcome, entry.since, entry.staged = kept.outcome, float("-inf"), True
        entry.state = State.DONE if delivered else State.NEW
        if delivered and kept.outcome is None:
            return
        if is_gap(kept.body):
            detail = json.loads(kept.body)["detail"]
            entry.gap = (detail.get("store", ""), detail.get("first") or 1)
        self.unsaved.append(entry)

    def reject(self, entry: Entry, refusal: Outcome) -> None:
        """Turn an outcome that cannot be recorded into a refusal."""
        entry.outcome = None
        body = result_body(refusal, entry.store, entry.message.first)
        entry.message = replace(entry.message, body=body)
        self.keep(entry)

    def rename(self, old: str, new: str, first: int) -> None:
        """Unsaved ones go under the name of another store from this number on, and what they tell of it."""
        for entry in self.unsaved:
            entry.message = replace(entry.message, body=renamed_record(entry.message.body, old, new, first))
            if entry.store == old and entry.message.first >= first:
                entry.store = new
            if entry.gap and entry.gap[0] == old and entry.gap[1] >= first:
                entry.gap = new, entry.gap[1]

    def known(self, records: Mapping[str, Collection[int]], ledger: Mapping[str, Outcome]) -> None:
        """Drop what the flash has: `records` by store and number, `ledger`: the last outcomes of commands."""
        for entry in self.unsaved:
            known = ledger.get(entry.outcome.command) if entry.outcome else None
            if known and entry.outcome and known.at[:2] >= entry.outcome.at[:2]:
                entry.outcome = None

        def is_only_here(entry: Entry) -> bool:
            return entry.message.first not in records.get(entry.store, ())

        self.unsaved = [
            one for one in self.unsaved if is_only_here(one) and (one.outcome or one.state is not State.DONE)
        ]
        self.ready = deque(entry for entry in self.ready if is_only_here(entry))

    def leave(self) -> None:
        """Drop queued records that are on flash: they are read again."""
        self.ready = deque(entry for entry in self.ready if entry.row is None)

    def withdraw(self, records: Collection[tuple[int, str, int]]) -> None:
        """Records (row, store, number) that are too old to be sent: a kill does not bring them back either."""
        rows = {row for row, _, _ in records}
        if rows:
            self.ready = deque(entry for entry in self.ready if entry.row not in rows)
        for _, store, seq in records:
            self._stage.accept(store, seq, seq)

    def first(self, store: str, staged: bool = False) -> int | None:
        """The lowest number of a store that one of the unsaved has, or tells of; `staged`: and is not on the stage."""
        firsts = [entry.message.first for entry in self.unsaved if entry.store == store]
        telling = [entry.gap for entry in self.unsaved if entry.gap and not (staged and entry.staged)]
        firsts += [first for name, first in telling if name == store]
        return min(firsts, default=None)

    def has_gaps(self) -> bool:
        """Whether a gap record waits to be sent."""
        return any(entry.gap for entry in self.ready)

    def oldest_since(self) -> float:
        """Arrival (clock.monotonic) of the oldest unsaved record; infinity if there is none."""
        return min((entry.since for entry in self.unsaved), default=float("inf"))

    def outcome(self, command: str) -> Outcome | None:
        """The last outcome of a command that is not on flash yet."""
        outcomes = (entry.outcome for entry in reversed(self.unsaved) if entry.outcome is not None)
        return next((outcome for outcome in outcomes if outcome.command == command), None)

    def has_ended(self, known: Outcome) -> bool:
        """Whether a command that is open on flash has an end that is not there yet; a refused repetition is none."""
        states = {one.outcome.state for one in self.unsaved if one.outcome and one.outcome.command == known.command}
        return bool(states & _ENDS) or (known.state is OutcomeState.ACCEPTED and OutcomeState.EXPIRED in states)

    def pick(self, held_back: Collection[MessageKind], boots: Boots, durable: bool = False) -> Entry | None:
        """The first that may go, with its date if it is known by now; `durable`: of those with a durable number.

        Gap records without one, or of what has none, go first: a power cut would lose what they tell.
        """
        if not self.ready:
            return None
        mine, free = self._numbers.store, [one for one in self.ready if one.message.kind not in held_back]
        if durable:
            free = [one for one in free if one.store == mine]
        first = (one for one in free if one.gap and {one.store, one.gap[0]} != {mine})
        entry = next(first, free[0] if free else None)
        if entry is not None:
            self.ready.remove(entry)
            entry.message = replace(entry.message, body=dated(entry.message.body, boots))
        return entry

    def wants_more(self, held_back: Collection[MessageKind]) -> bool:
        """Whether others on flash may go, and nothing here."""
        return len(self.ready) < MANY and all(one.message.kind in held_back for one in self.ready)

    def queue(self, entry: Entry) -> None:
        """Queue a record behind those that wait. Its token keeps this place, also when it comes back."""
        entry.state = State.WAITING
        entry.message = replace(entry.message, token=next(self._tokens))
        self.ready.append(entry)

    def come_back(self, entry: Entry) -> None:
        """The link was lost, or the broker refused it for now: it waits again in its place."""
        later = (at for at, one in enumerate(self.ready) if one.message.token > entry.message.token)
        self.ready.insert(next(later, len(self.ready)), entry)

    def send_unsaved(self) -> list[Entry]:
        """Queue the unsaved while the flash fails, and keep the newest; returns those that are given up."""
        gone = self._give_up(len(self.unsaved) - MANY) if len(self.unsaved) > MANY else []
        self.send(self.unsaved)
        return gone

    def send(self, unsaved: Sequence[Entry]) -> None:
        """Queue these without waiting for the flash."""
        for entry in unsaved:
            if entry.state is State.NEW:
                self.queue(entry)

    def _give_up(self, n: int) -> list[Entry]:
        """Drop the `n` oldest, gap records last, none in flight; returns those that were not delivered."""
        free = [one for one in self.unsaved if one.state is not State.IN_FLIGHT]
        free.sort(key=lambda one: is_gap(one.message.body))
        gone = set(free[:n])
        self.unsaved = [one for one in self.unsaved if one not in gone]
        self.ready = deque(one for one in self.ready if one not in gone)
        return [one for one in free[:n] if one.state is not State.DONE]

    def _word(self, outcome: Outcome) -> Entry:
        store, seq = self._numbers.take(1, "records")
        return self._record(MessageKind.RESULT, result_body(outcome, store, seq), store, seq, outcome.command)

    def _record(self, kind: MessageKind, body: bytes, store: str, seq: int, command: str = "") -> Entry:
        message = Message(kind, body, False, seq, seq, 1, next(self._tokens), command=command)
        return Entry(message, store, since=self._monotonic())
