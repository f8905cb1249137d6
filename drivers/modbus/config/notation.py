"""Modbus addresses as manuals count them: 40001 is the first holding register, and address 0 on the wire.

The first digit names the table, the others count from 1 (Modicon's reference numbers; six digits where there are more
than 9,999 registers). Nothing on the wire knows them, so a profile has the table and the address by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from agent.site.language.document import Document, Keys
from agent.site.language.values import Choice, Written, plain

__all__ = ["Address", "Register", "check_notation", "reference"]

_TABLES = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_TABLE = Choice("coil", "discrete", "input", "holding")


def reference(text: str) -> tuple[str, int] | None:
    """Register and address of a reference number: holding and 0 of 40001, 400001 or 4x0001. None for another text."""
    match = re.fullmatch(r"([0134])(?:x|:)?([0-9]{4,5})", text.strip().lower())
    number = int(match[2]) if match is not None else 0
    return (_TABLES[match[1]], number - 1) if match is not None and 1 <= number <= 65536 else None


def _address(value: Any) -> int:
    meant = reference(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
        return value
    if meant is not None:
        raise ValueError(f"{value} is how manuals count; write register: {meant[0]}, address: {meant[1]}")
    if isinstance(value, int) and not isinstance(value, bool):
        bound = "too little; write at least 0" if value < 0 else "too much; write at most 65535"
        raise ValueError(f"{value} is {bound}")
    raise ValueError(f"expected a whole number, found {plain(value)}")


def _register(value: Any) -> Any:
    meant = reference(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if meant is not None:
        raise ValueError(f"{value} is how manuals count; write register: {meant[0]}, address: {meant[1]}")
    return _TABLE.parse(value)


Address = Annotated[
    int, Written(_address, {"type": "integer", "minimum": 0, "maximum": 65535}, "a whole number, 0 to 65535")
]
Register = Annotated[str, Written(_register, _TABLE.schema, _TABLE.words)]


def check_notation(document: Document, points: Mapping[str, Any]) -> None:
    """Warn of a table all of whose addresses look like reference numbers; said once, at the first.

    One address beside them that is none shows that they are meant as they stand: SunSpec begins at address 40000.
    """
    tables: dict[str, list[tuple[Keys, tuple[str, int] | None]]] = {}
    for name, point in points.items():
        if point.register_ is not None and point.address is not None:
            keys: Keys = ("points", name, "address")
            text = document.place(keys).text or ""
            meant = reference(text) if len(text.strip()) >= 5 else None
            tables.setdefault(point.register_, []).append((keys, meant))
    for table, found in tables.items():
        first, meant = found[0]
        if meant is None or any(one is None or one[0] != table for _, one in found):
            continue
        spelt = document.place(first).text
        more = "" if len(found) == 1 else " (so is 1 more)" if len(found) == 2 else f" (so are {len(found) - 1} more)"
        document.report(
            first,
            f"{spelt} is how manuals count{more}, and not the address on the wire",
            f"write address: {meant[1]}, unless address {spelt} itself is meant",
            severity="warning",
        )
