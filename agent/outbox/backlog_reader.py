"""The backlog on its way: what was read from flash beside whatever goes on, few at a time: memory stays flat."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import replace

from agent.errors import StorageError
from agent.outbox.dates import Boots
from agent.outbox.drain import Form, Held, Load, fetch
from agent.outbox.flash import Flash
from agent.outbox.lanes import Pace
from agent.outbox.messages import Entry, Message
from agent.outbox.records import MessageKind

__all__ = ["FEW", "BacklogReader"]

FEW = 8
"""Class-0 records read from flash at a time, and messages of the backlog held ready."""


class BacklogReader:
    """`ready` in the order of the flash, and what came back from the link. `pace` says when one may go.

    Rows up to `cursor` are in memory, those up to `newest` are on flash; those to `skip` are never read (again).
    """

    def __init__(self, flash: Flash, tokens: Iterator[int], now: float) -> None:
        self._flash, self._tokens = flash, tokens
        self.pace = Pace(now)
        self.form = Form()
        self.ready: deque[Entry] = deque()
        self.returned: list[Entry] = []
        self.cursor = {"block": 0, "message": 0}
        self.newest = {"block": 0, "message": 0}
        self.skip: set[int] = set()
        self._generation = 0

    def adopt(self, newest: int) -> None:
        """A database was opened whose last row is this one."""
        self.newest = {"block": newest, "message": newest}
        self.cursor = {"block": 0, "message": 0}
        self.skip.clear()

    @property
    def known(self) -> int:
        """The youngest row on flash."""
        return max(self.newest.values())

    def start_over(self, held: Collection[int]) -> None:
        """What is on flash has other names now: all of it is read again, but for rows that are `held`."""
        self._generation += 1
        self.ready.clear()
        self.returned.clear()
        self.skip = set(held)
        self.cursor = {"block": 0, "message": 0}

    def behind(self, table: str) -> bool:
        """Whether there are rows that were not looked at."""
        return self.cursor[table] < self.newest[table]

    def wants_blocks(self) -> bool:
        return self.behind("block") and len(self.ready) < FEW // 2

    @property
    def holds(self) -> bool:
        """Whether something of it is in memory, and waits until it may go."""
        return bool(self.returned or self.ready)

    def wait(self, now: float) -> float | None:
        """Seconds until the next one may go; None: not before something happens."""
        return (self.pace.wait(now) or None) if self.holds else None

    def pick(self, now: float) -> Entry | None:
        """The oldest, if it may go."""
        if not self.holds or self.pace.wait(now) != 0:
            return None
        if self.returned and not (self.ready and _row(self.ready[0]) < _row(self.returned[0])):
            entry = self.returned.pop(0)
        else:
            entry = self.ready.popleft()
        self.pace.take(len(entry.message.body), now)
        return entry

    def come_back(self, entry: Entry) -> None:
        """The link was lost before the broker took it."""
        self.returned.append(entry)
        self.returned.sort(key=lambda other: (_row(other), other.message.first))

    def join(self, entry: Entry, row: int) -> None:
        """What was live came back and is on flash by now: it goes in this lane, in its turn."""
        if row > self.cursor["block"]:
            self.skip.discard(row)
            self._generation += 1  # a read that is under way passes it by: it is made again
            return
        message = entry.message
        held = Held(row, entry.store, message.first, message.last, message.n, entry.cls, entry.size)
        entry.load, entry.row = Load(entry.store, [held], [], 1, 1), None
        entry.message = replace(message, lane="backlog")
        self.come_back(entry)

    async def read_messages(self) -> list[Entry]:
        """The next class-0 records, the holder of the flash's lock says."""
        try:
            rows = await self._flash.job(lambda db: db.messages_after(self.cursor["message"], FEW))
        except StorageError:
            return []
        self.cursor["message"] = rows[-1].id if len(rows) == FEW else self.newest["message"]
        return [
            Entry(
                Message(row.kind, row.body, False, row.seq, row.seq, 1, next(self._tokens), command=row.command),
                row.store, row=row.id, queued=True,
            )
            for row in rows if row.id not in self.skip
        ]  # fmt: skip

    async def read_blocks(self, boots: Boots) -> list[Held]:
        """Make the next blocks ready; what of them nobody can read any more. Under the flash's lock."""
        after, form, skip, generation = self.cursor["block"], self.form, set(self.skip), self._generation
        try:
            last, loads, broken = await self._flash.job(lambda db: fetch(db, after, skip, boots, form))
        except StorageError:
            return []
        if generation != self._generation:  # a new connection began meanwhile, or the clock was set
            return []
        self.cursor["block"] = self.newest["block"] if last is None else last
        for load in loads:
            for piece in load.pieces:
                message = Message(
                    MessageKind.READINGS, piece.body, piece.zlib, piece.first, piece.last, piece.n,
                    next(self._tokens), "backlog",
                )  # fmt: skip
                self.ready.append(Entry(message, load.store, load=load, cls=min(row.cls for row in load.rows)))
            load.pieces.clear()
        return broken

    def read_again(self, out: Collection[Entry]) -> None:
        """Leave what is ready to be read in another form, with other dates; `out` is under way."""
        self._generation += 1
        ready = Counter(id(entry.load) for entry in self.ready)
        again = [p for p in self.ready if p.load is not None and p.load.rows and ready[id(p.load)] == p.load.made]
        if not again:
            return
        gone = {id(entry.load) for entry in again}
        self.ready = deque(entry for entry in self.ready if id(entry.load) not in gone)
        first = min(row.id for entry in again for row in (entry.load.rows if entry.load else ()))
        held = [*self.ready, *self.returned, *out]
        self.skip |= {row.id for entry in held if entry.load for row in entry.load.rows}
        self.cursor["block"] = first - 1


def _row(entry: Entry) -> int:
    """The block on flash at which an entry of the backlog begins; 0 if the flash has lost it."""
    return entry.load.rows[0].id if entry.load is not None and entry.load.rows else 0
