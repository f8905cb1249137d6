"""A message that is too long for the broker becomes several; each reading keeps its own key (store, number)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from agent.outbox.blocks import cut, decode, encode, pieces, split
from agent.outbox.messages import Entry, Message
from agent.outbox.records import MessageKind

__all__ = ["split_entry"]

_OF_THE_WHOLE = ("k", "t", "boottime_ms", "p", "h", "agg")
"""What a batch says of its readings; the rest says when they were made, and is said by each piece again."""


def split_entry(entry: Entry, limit: int, tokens: Iterator[int]) -> list[Entry]:
    """Entries of at most `limit` bytes each in place of one, in its order; a single reading may be longer.

    It is live (with lots) or backlog (with a load, which then has more pieces). Fewer than two: it cannot be split.
    """
    if entry.message.kind is not MessageKind.READINGS or entry.message.n < 2:
        return []
    return _live(entry, limit, tokens) if entry.load is None else _backlog(entry, limit, tokens)


def _live(entry: Entry, limit: int, tokens: Iterator[int]) -> list[Entry]:
    made: list[Entry] = []
    rest, message = list(entry.lots), entry.message
    most = max(1, message.n * limit // max(1, len(message.body)))
    while rest:
        lots = cut(rest, most)
        body, n = encode(lots), sum(lot.n for lot in lots)
        if len(body) > limit and n > 1:
            most = max(1, n // 2)
            continue
        for lot in lots:
            head = rest.pop(0)
            if head.n > lot.n:
                rest.insert(0, split(head, lot.n)[1])
        part = Message(message.kind, body, False, lots[0].seq, lots[-1].last, n, next(tokens), message.lane)
        made.append(replace(entry, message=part, lots=lots, since=lots[0].since))
    return made


def _backlog(entry: Entry, limit: int, tokens: Iterator[int]) -> list[Entry]:
    message, load = entry.message, entry.load
    assert load is not None
    plain = zlib.decompress(message.body) if message.zlib else message.body
    batch = json.loads(plain)
    kept = {key: value for key, value in batch.items() if key not in _OF_THE_WHOLE}

    def moment(ms: int) -> dict[str, Any]:
        return {"t": ms, **kept} if batch["t"] is not None else {"t": None, **kept, "boottime_ms": ms}

    made = []
    for body, rows in pieces(decode(plain), moment, limit, message.zlib):
        part = replace(message, body=body, first=rows[0].seq, last=rows[-1].seq, n=len(rows), token=next(tokens))
        made.append(Entry(part, entry.store, load=load, cls=entry.cls, at=entry.at))
    if len(made) > 1:
        load.made += len(made) - 1
        load.left += len(made) - 1
    return made
