"""Class-0 records as they are published: events, outcomes of commands, gaps (docs/schemas/event.json, result.json)."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from agent.lib.jsonable import jsonable
from agent.model import Event, Instant, Outcome, Severity
from agent.outbox.blocks import dumps
from agent.outbox.dates import Boots

if TYPE_CHECKING:  # the store renames records
    from agent.outbox.store import Loss

__all__ = [
    "AUDIT", "GAP", "MessageKind", "answer_body", "dated", "event_body", "former_topic", "gap_event", "is_counted",
    "is_gap", "loss_detail", "of_former_topic", "parted_gap", "renamed_record", "result_body",
]  # fmt: skip


class MessageKind(StrEnum):
    """Kind of a message. Topic and payload are the affair of the dialect."""

    READINGS = "readings"
    EVENT = "event"
    RESULT = "result"
    """The outcome of a command."""


def former_topic(kind: MessageKind, command: str) -> str:
    """The text by which version 2 of the database, and the stage, say what a message is; `command` is a result's id."""
    return {MessageKind.READINGS: "telemetry", MessageKind.EVENT: "event"}.get(kind, f"cmd/{command}/result")


def of_former_topic(topic: str) -> tuple[MessageKind, str]:
    """Kind of a message, and the command's id of a result."""
    if topic.startswith("cmd/"):
        return MessageKind.RESULT, topic.removeprefix("cmd/").removesuffix("/result")
    return (MessageKind.READINGS if topic == "telemetry" else MessageKind.EVENT), ""


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


def loss_detail(loss: Loss) -> dict[str, Any]:
    """Of readings that were dropped: class, count, time (Unix ms) and numbers of the first and the last."""
    return {
        "store": loss.store, "class": loss.cls, "count": loss.count, "first": loss.first, "last": loss.last,
        "from": loss.from_ms, "to": loss.to_ms,
    }  # fmt: skip


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
    except (ValueError, TypeError):  # NaN in a detail, or a thing that JSON has no word for: as text, never lost
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
