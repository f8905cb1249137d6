"""Bodies of messages as an agent sends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

STORE, OTHER = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
BOOT = "aaaaaaaa-2222-4333-8444-555555555555"
T = 1_764_000_000_000
"""Unix ms of the first reading."""


def batch(
    first: int, values: Sequence[Any], *, point: str = "m.v", store: str = STORE, t: int | None = T, **more: Any
) -> dict[str, Any]:
    """Readings of one point, a number each, 10 s apart."""
    entries = [[10_000 if i else 0, value, 1 if i else 0] for i, value in enumerate(values)]
    clock = "unsynced" if t is None else "synced"
    return {"k": [store, first, first + len(values) - 1], "t": t, "clock": clock, "p": {point: entries}, **more}


def event(
    seq: int, kind: str = "alarm", code: str = "burst", t: int | None = T, store: str = STORE, subject: str = "x",
    **detail: Any,
) -> dict[str, Any]:  # fmt: skip
    body = {"k": [store, seq], "t": t, "kind": kind, "code": code, "subject": subject, "severity": "info"}
    return {**body, "detail": detail}
