"""Making room on flash: what goes first when the buffer is full, and what is kept of it.

Class 3 goes first, the oldest of it; then the oldest of class 2 is thinned to aggregates of 15 minutes; then the
oldest of class 2 goes; class 1 and 0 only when nothing else is left. Everything here runs in the outbox's thread, in
short steps: class 0 waits for the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from agent.outbox.blocks import Block
from agent.outbox.dates import Boots
from agent.outbox.records import is_counted
from agent.outbox.store import Loss, Store, StoredBlock, StoredMessage

__all__ = ["QUOTA", "Removal", "RemovedBlock", "Thin", "expired", "free_space", "merged_gaps"]

QUOTA = {0: 1.0, 1: 1.0, 2: 0.8, 3: 0.1}
"""What a class may have of the buffer. The last fifth is for alarms and states: they never wait for room to be made."""

FEWER = 16
"""Records of gaps that must be saved by it, before some of them become one."""


class RemovedBlock(NamedTuple):
    """A block that is to be deleted: its row, readings, class and bytes."""

    id: int
    n: int
    cls: int
    size: int


@dataclass(slots=True)
class Removal:
    """What is to be deleted, what comes in its place, and which numbers are lost by it (by reason)."""

    blocks: list[RemovedBlock] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    withdrawn: list[tuple[int, str, int]] = field(default_factory=list)
    """Those of `messages` (row, store, number) that must not be sent any more, from memory either."""
    made: list[tuple[int, Block]] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    """Blocks that thinning would not make smaller."""
    losses: list[tuple[str, Loss]] = field(default_factory=list)
    joined: list[StoredMessage] = field(default_factory=list)
    """Records of gaps that go; a few others tell the same."""


Thin = Callable[[Store], "Removal | Literal[False] | None"]


def free_space(
    db: Store, excess: dict[int, int], total: int, after: int, skip: Collection[int], thin: Thin
) -> Removal | None:
    """One step towards `total` bytes less on flash, and `excess` bytes less of a class. None: it is not done yet.

    What is in memory too stays: blocks up to `after`, and those to `skip`. `thin` does a step of thinning, or says that
    there is nothing to thin (False).
    """
    if (size := max(total, excess.get(3, 0))) > 0 and (rows := db.oldest(3, size, after, skip)):
        return _drop(rows, "quota")
    if (size := max(total, excess.get(2, 0))) > 0:
        if (step := thin(db)) is not False:
            return step
        if rows := db.oldest(2, size, after, skip):
            return _drop(rows, "quota")
    if total > 0 and (rows := db.oldest(1, total, after, skip)):
        return _drop(rows, "quota")
    removal = Removal()
    for row, store, seq in db.oldest_messages(total) if total > 0 else ():
        removal.messages.append(row)
        _add(removal.losses, "quota", Loss(0, store, seq, seq, None, None, 1))
    return removal


def merged_gaps(db: Store, after: int, skip: Collection[int]) -> Removal | None:
    """Records of gaps that may become fewer ones; None where they are too few, or of too many kinds.

    Only those behind row `after`, and not to `skip`: what may have been sent keeps what it says. In a long outage
    with a full buffer each minute brings one of each class, and they would take the place of all else.
    """
    waiting = [(row, json.loads(row.body)["detail"]) for row in db.gaps_after(after) if row.id not in skip]
    counted = [(row, told) for row, told in waiting if is_counted(told)]
    kinds = {(told["reason"], told["class"], told["store"]) for _, told in counted}
    left = len(kinds) + len({row.store for row, _ in counted})
    return Removal(joined=[row for row, _ in counted]) if len(counted) - left >= FEWER else None


def expired(
    db: Store, boots: Boots, days: float, audit_days: float, after: int, skip: Collection[int], sent: Collection[int]
) -> Removal:
    """What of class 2 and 3 is older than so many days; audit records too, but for those under way (`sent`)."""
    removal = _drop(db.older(boots.older_than(round(days * 86_400_000)), after, skip), "age")
    age_ms = round(audit_days * 86_400_000)
    if not boots.older_than(age_ms):
        return removal
    old = db.audits(lambda body: boots.is_older(json.loads(body), age_ms))
    removal.withdrawn = [one for one in old if one[0] not in sent]
    for row, store, seq in removal.withdrawn:
        removal.messages.append(row)
        _add(removal.losses, "age", Loss(0, store, seq, seq, None, None, 1))
    return removal


def _drop(rows: Sequence[StoredBlock], reason: str) -> Removal:
    removal = Removal(blocks=[RemovedBlock(row.id, row.n, row.cls, len(row.body)) for row in rows])
    for row in rows:
        _add(removal.losses, reason, Loss(row.cls, row.store, row.first, row.last, row.from_ms, row.to_ms, row.n))
    return removal


def _add(losses: list[tuple[str, Loss]], reason: str, loss: Loss) -> None:
    for _, known in losses:
        if (known.cls, known.store) == (loss.cls, loss.store):
            known.add(loss)
            return
    losses.append((reason, loss))
