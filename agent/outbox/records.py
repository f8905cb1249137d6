"""Class-0 records: events, outcomes of commands and gaps, as they are stored, staged and published; and their dates.

They are published as docs/schemas/event.json and result.json say. What was written while the clock was not trusted is
dated later: one fact a start of the box (boot), Unix time minus CLOCK_BOOTTIME, makes a date of every moment in it. A
boot that never got one lies between its neighbours: what it wrote keeps its order and is told with the earliest and the
latest it can be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from agent.clock import Clock
from agent.lib.jsonable import jsonable
from agent.model import Event, Instant, Outcome, Severity
from agent.outbox.blocks import Lot, dumps

__all__ = [
    "AUDIT", "GAP", "Boot", "Boots", "Dating", "Loss", "MessageKind", "StagedRecord", "StoredMessage", "answer_body",
    "dated", "event_body", "former_topic", "gap_event", "is_counted", "is_gap", "of_former_topic", "parted_gap",
    "renamed_record", "result_body", "stored_message",
]  # fmt: skip


class MessageKind(StrEnum):
    """Kind of a message. Topic and payload are the affair of the dialect."""

    READINGS = "readings"
    EVENT = "event"
    RESULT = "result"
    """The outcome of a command."""


class StoredMessage(NamedTuple):
    """A class-0 record: an event or the result of a `command`."""

    id: int
    store: str
    seq: int
    kind: MessageKind
    command: str
    body: bytes


class StagedRecord(NamedTuple):
    """A class-0 record of the stage, and the outcome that it reports."""

    store: str
    seq: int
    kind: MessageKind
    command: str
    body: bytes
    outcome: Outcome | None


@dataclass(slots=True)
class Loss:
    """Numbers of one class that are dropped."""

    cls: int
    store: str
    first: int
    last: int
    from_ms: int | None
    to_ms: int | None
    count: int = 0

    def add(self, other: Loss) -> None:
        """Others of the class and the store are dropped too, older or younger ones."""
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        known = [ms for ms in (self.from_ms, self.to_ms, other.from_ms, other.to_ms) if ms is not None]
        self.from_ms, self.to_ms = min(known, default=None), max(known, default=None)

    def detail(self) -> dict[str, Any]:
        """As a gap record tells it: class, count, time (Unix ms) and numbers of the first and the last."""
        return {
            "store": self.store, "class": self.cls, "count": self.count, "first": self.first, "last": self.last,
            "from": self.from_ms, "to": self.to_ms,
        }  # fmt: skip


def former_topic(kind: MessageKind, command: str) -> str:
    """The text by which version 2 of the database, and the stage, say what a message is; `command` is a result's id."""
    return {MessageKind.READINGS: "telemetry", MessageKind.EVENT: "event"}.get(kind, f"cmd/{command}/result")


def of_former_topic(topic: str) -> tuple[MessageKind, str]:
    """Kind of a message, and the command's id of a result."""
    if topic.startswith("cmd/"):
        return MessageKind.RESULT, topic.removeprefix("cmd/").removesuffix("/result")
    return (MessageKind.READINGS if topic == "telemetry" else MessageKind.EVENT), ""


def stored_message(row: int, store: str, seq: int, kind: str | None, topic: str, body: bytes) -> StoredMessage:
    known = MessageKind(kind) if kind else of_former_topic(topic)[0]  # the program before leaves it empty
    command = str(json.loads(body)["id"]) if known is MessageKind.RESULT else ""
    return StoredMessage(row, store, seq, known, command, body)


def event_body(event: Event, store: str, seq: int) -> bytes:
    return _body({
        "k": [store, seq], **_when(event.at), "kind": event.kind, "code": event.code, "subject": event.subject,
        "severity": str(event.severity), "detail": event.detail or {},
    })  # fmt: skip


def result_body(outcome: Outcome, store: str, seq: int) -> bytes:
    return _body({**_result(outcome), "k": [store, seq]})


def answer_body(outcome: Outcome) -> bytes:
    """A result that is said to the asker alone: it is no record of its own, and has no key."""
    return _body(_result(outcome))


def _result(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.command, "point": outcome.point, "value": outcome.value, "state": str(outcome.state),
        "reason": outcome.reason[:REASON], **_when(outcome.at),
    }  # fmt: skip


def is_gap(body: bytes) -> bool:
    """Whether a record tells of lost numbers: it goes last of all."""
    return GAP in body


def is_counted(gap: dict[str, Any]) -> bool:
    """Whether a gap record names a count and a class."""
    return gap.get("count") is not None and gap.get("class") is not None


def dated(body: bytes, boots: Boots) -> bytes:
    """A record that was written without a date, with the one that is known by now, or with its bounds."""
    if _UNDATED not in body:
        return body
    record = json.loads(body)
    moment = boots.moment(record.pop("boot"), record.pop("boottime_ms"))
    if moment["clock"] == "unsynced":
        return body
    del record["clock"]
    if moment["t"] is not None:
        del moment["clock"]
    return dumps({**record, **moment})


def renamed_record(body: bytes, old: str, store: str, first: int) -> bytes:
    """A record, now that numbers of a store from `first` on are another's: its own, and lost ones that it tells of."""
    record = json.loads(body)
    if record["k"][0] == old and record["k"][1] >= first:
        record["k"][0] = store
    detail = record.get("detail") or {}
    if record.get("kind") == "gap" and detail.get("store") == old and (detail.get("first") or 0) >= first:
        detail["store"] = store
    return dumps(record)


def parted_gap(
    body: bytes, old: str, store: str, first: int, renamed: bool
) -> tuple[bytes, tuple[str, dict[str, Any]] | None]:
    """A gap record, now that numbers of a store from `first` on are another's, and what tells of those, if any.

    Where the record itself got another name, it ends before them, and the share of its count on either side is
    unknown. Where it kept its own, a later state of the box may have sent it, and it stays as it is.
    """
    record = json.loads(body)
    detail = record["detail"]
    begins = detail.get("first") or first
    if detail.get("store") != old or (detail.get("last") or 0) < first or (renamed and begins >= first):
        return body, None
    rest = {name: value for name, value in detail.items() if name != "reason"} | {"store": store}
    if begins < first:
        rest |= {"first": first, "count": None}
        record["detail"] = {**detail, "last": first - 1, "count": None}
    return dumps(record) if renamed else body, (detail["reason"], rest)


def gap_event(reason: str, detail: dict[str, Any], at: Instant) -> Event:
    """Says which numbers a consumer will never see. `count` is None where it is unknown how many were in use."""
    return Event("gap", reason, "outbox", at, Severity.MINOR, {"reason": reason, **detail})


MOST = 200_000
"""Bytes of a record; what is longer is cut short. A consumer takes 256 kB."""
REASON = 4_000
"""Characters of the reason of an outcome."""
GAP = b'"kind":"gap"'
AUDIT = b'"kind":"audit"'
_UNDATED = b'"clock":"unsynced"'


def _when(at: Instant) -> dict[str, Any]:
    if at.wall_ms is not None:
        return {"t": at.wall_ms}
    return {"t": None, "boot": at.boot, "boottime_ms": at.boottime_ns // 1_000_000, "clock": "unsynced"}


def _body(record: dict[str, Any]) -> bytes:
    try:
        body = dumps(record)
    except (ValueError, TypeError):  # NaN in a detail, or a value that JSON cannot express: as text, never lost
        record = jsonable(record)
        body = dumps(record)
    longest = MOST // 100
    while len(body) > MOST and longest > 1:
        body = dumps(_cut(record, longest))
        longest //= 4
    return body


def _cut(value: Any, longest: int) -> Any:
    """A detail with no text longer and no list with more items than that."""
    if isinstance(value, dict):
        return {key[:64]: _cut(value[key], longest) for key in list(value)[: max(longest, 20)]}
    if isinstance(value, (list, tuple)):
        return [_cut(item, longest) for item in value[:longest]]
    return value[: max(longest, 64)] if isinstance(value, str) else value


class Boot(NamedTuple):
    """`offset_ms`: Unix ms when CLOCK_BOOTTIME was 0, None if unknown. `seen_ms`: how long it lasted at least."""

    id: str
    offset_ms: int | None
    seen_ms: int


class Boots:
    """All known boots, the oldest first; the last one is the present one."""

    def __init__(self, boots: Sequence[Boot]) -> None:
        self._boots = list(boots)
        self._index = {boot.id: index for index, boot in enumerate(boots)}

    def with_present(self, boot: str) -> Boots:
        """With a boot at the end, unless it is in it already."""
        return self if boot in self._index else Boots([*self._boots, Boot(boot, None, 0)])

    def dated(self, boot: str, offset_ms: int) -> Boots:
        """With the date of one of them."""
        return Boots([one._replace(offset_ms=offset_ms) if one.id == boot else one for one in self._boots])

    def seen(self, boot: str, seen_ms: int) -> Boots:
        """With how long one of them has lasted by now."""
        return Boots([one._replace(seen_ms=seen_ms) if one.id == boot else one for one in self._boots])

    def offset(self, boot: str) -> int | None:
        """Unix ms when CLOCK_BOOTTIME was 0 in that boot; None if unknown."""
        index = self._index.get(boot)
        return None if index is None else self._boots[index].offset_ms

    def waits(self, boot: str) -> bool:
        """Whether that boot is known, and its date is not."""
        return boot in self._index and self.offset(boot) is None

    def moment(self, boot: str, boottime_ms: int, last_ms: int = 0) -> dict[str, Any]:
        """`t` and what goes with it in a message, for a moment that had no date when it was written.

        `last_ms`: CLOCK_BOOTTIME of the last reading of that message, which the boot lived to see.
        """
        offset = self.offset(boot)
        if offset is not None:
            return {"t": offset + boottime_ms, "clock": "synced"}
        low, high = self.bounds(boot, boottime_ms, last_ms)
        head = {"t": None, "boot": boot, "boottime_ms": boottime_ms, "clock": "unsynced"}
        return head if low is high is None else {**head, "clock": "bounded", "t_min": low, "t_max": high}

    def bounds(self, boot: str, boottime_ms: int, last_ms: int = 0) -> tuple[int | None, int | None]:
        """The earliest and the latest (Unix ms) that moment can have been, by the boots before and after it.

        `last_ms`: a later moment (CLOCK_BOOTTIME) of the same boot, noted or not.
        """
        here = self._index.get(boot)
        if here is None or here == len(self._boots) - 1:
            return None, None
        low = high = None
        between = boottime_ms
        for earlier in reversed(self._boots[:here]):
            if earlier.offset_ms is not None:
                low = earlier.offset_ms + earlier.seen_ms + between
                break
            between += earlier.seen_ms
        between = max(0, max(self._boots[here].seen_ms, last_ms) - boottime_ms)
        for later in self._boots[here + 1 :]:
            if later.offset_ms is not None:
                high = later.offset_ms - between
                break
            between += later.seen_ms
        return low, high

    def older_than(self, age_ms: int) -> dict[str, int]:
        """By boot: CLOCK_BOOTTIME (ms) of what is surely older than so much.

        Only time that the box lived through is counted, so no jump of the wall clock makes anything old.
        """
        limits, after = {}, 0
        for boot in reversed(self._boots):
            if (limit := boot.seen_ms + after - age_ms) > 0:
                limits[boot.id] = limit
            after += boot.seen_ms
        return limits

    def is_older(self, record: Mapping[str, Any], age_ms: int) -> bool:
        """Whether a record, as it is published, is surely older than so much of the box's running."""
        limits = self.older_than(age_ms)
        if record.get("t") is None:
            return bool(record.get("boottime_ms", 0) < limits.get(str(record.get("boot")), 0))
        return any((at := self.offset(boot)) is not None and record["t"] < at + limit for boot, limit in limits.items())


_SEEN = 600.0
"""Seconds between two notes of how long this start of the box has lasted, and between two looks for what is too old."""


class Dating:
    """The starts of the box (`boots`), the present one among them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.boots = Boots([Boot(clock.boot, None, 0)])
        self.known = False
        """Whether the clock could be trusted at any moment so far."""
        self._undated = False
        """Whether something of this start may have been told without a date."""
        self._noted_at = float("-inf")

    def adopt(self, known: Boots) -> Event | None:
        """Go on from what a database knows; what is to be told, if it opened late.

        Only now it is known whether an earlier process of this start of the box told something without a date.
        """
        boot = self._clock.boot
        offset = self.boots.offset(boot)
        self.boots = known.with_present(boot)
        if offset is not None:
            self.boots = self.boots.dated(boot, offset)
        waits = known.waits(boot)
        is_news = waits and self.known and not self._undated
        self._undated |= waits
        self._noted_at = float("-inf")
        return self._dated() if is_news else None

    def look(self) -> tuple[bool, Event | None]:
        """Whether this is the first moment at which the clock can be trusted, and the event that reports it."""
        if self.known or (now := self._clock.now()).wall_ms is None:
            return False, None
        self.known, told = True, None
        if self.boots.offset(now.boot) is None:
            offset = now.wall_ms - now.boottime_ns // 1_000_000
            self.boots = self.boots.dated(now.boot, offset)
            if self._undated:
                told = self._dated()
        self._noted_at = float("-inf")  # it is to be written
        return True, told

    def _dated(self) -> Event:
        now = self._clock.now()
        detail = {"boot": now.boot, "offset_ms": self.boots.offset(now.boot)}
        return Event("clock", "dated", "gateway", now, detail=detail)

    def begin(self) -> None:
        """Note that the outbox is open: what it takes from now on may go out undated."""
        self._undated |= not self.known

    def date(self, lot: Lot) -> Lot:
        """A lot without a date, with the one that is known by now."""
        if lot.wall_ms is not None:
            return lot
        offset = self.boots.offset(lot.boot)
        if offset is None:
            return lot
        return lot._replace(wall_ms=offset + lot.boottime_ns // 1_000_000)

    def should_note(self, now: float) -> bool:
        """Whether it is time (clock.monotonic) to note how long this start has lasted."""
        return now - self._noted_at >= _SEEN

    def fact(self) -> tuple[str, int | None, int]:
        """This start of the box for the database: id, offset (ms), length so far (ms)."""
        now = self._clock.now()
        return now.boot, self.boots.offset(now.boot), now.boottime_ns // 1_000_000

    def noted(self) -> None:
        self._noted_at = self._clock.monotonic()

    def note_again(self) -> None:
        """Write the date again: the database that had it is gone."""
        self._noted_at = float("-inf")

    def present(self) -> Boots:
        """The starts of the box, with how long this one has lasted."""
        return self.boots.seen(self._clock.boot, self._clock.now().boottime_ns // 1_000_000)
