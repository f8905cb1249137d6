"""From the object that a codec gives to values of points, whatever it put there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agent.model import Kind, Point, Value

__all__ = ["MISSING", "NoValue", "check_range", "look_up", "milliseconds", "state_of", "value_of", "whole"]

MISSING: Any = object()
"""The result of `look_up` for a field that is not there."""
_LONGEST_TEXT = 250
_LARGEST = 1 << 63
_EARLIEST = 946_684_800_000  # 2000-01-01: a node's clock that was never set begins before
_AHEAD = 86_400_000  # ms, that a node's clock may be ahead of ours


class NoValue(ValueError):
    """A field holds no value; the message says what it holds."""


def look_up(data: Any, path: str) -> Any:
    """A field by its dotted path in nested objects; a number is a place in a list. MISSING if it is not there."""
    if isinstance(data, Mapping) and path in data:
        return data[path]
    for part in path.split("."):
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        elif isinstance(data, list | tuple) and part.isdecimal() and len(part) < 6 and int(part) < len(data):
            data = data[int(part)]
        else:
            return MISSING
    return data


def value_of(point: Point, raw: Any, scale: float = 1, offset: float = 0) -> Value:
    """The value of a point from its field: raw x scale + offset. NoValue for null, lists, objects, NaN, words."""
    if raw is None:  # so does JSON write NaN and Infinity of a codec
        raise NoValue("null stands where a value should")
    if isinstance(raw, bool):
        if point.kind is not Kind.STATE and (point.unit or point.kind is Kind.COUNTER):  # makers' word for none, mostly
            raise NoValue(f"{str(raw).lower()} stands where a number should")
        return raw
    if isinstance(raw, str):
        number = _number(raw) if point.kind is not Kind.STATE else None
        if number is None:
            if point.unit or point.kind is Kind.COUNTER:
                raise NoValue(f"{raw[:40]!r} is no number")
            return raw[:_LONGEST_TEXT]
        raw = number
    if not isinstance(raw, int | float):
        kind = "a list" if isinstance(raw, list | tuple) else "an object" if isinstance(raw, Mapping) else "no value"
        raise NoValue(f"{kind} stands where a value should")
    try:
        value = raw if scale == 1 and offset == 0 else float(f"{raw * scale + offset:.12g}")
        if not math.isfinite(value):
            raise NoValue("not a finite number")
        return value if abs(value) < _LARGEST else float(value)
    except OverflowError:
        raise NoValue("a number beyond all bounds") from None


def check_range(value: Value, ends: Sequence[float] | None) -> None:
    """NoValue for a number that the sensor cannot measure: noise of a broken one, or its sign for none."""
    if ends is None or isinstance(value, bool | str) or value is None:
        return
    if value < ends[0]:
        raise NoValue(f"below {ends[0]:g}, the least that it can measure")
    if value > ends[1]:
        raise NoValue(f"above {ends[1]:g}, the most that it can measure")


def state_of(raw: Any, states: Mapping[str, bool]) -> Any:
    """On or off for a word or a number of the profile's `states`. NoValue for another one; 0, 1, true and false that
    it does not name stay as they are.
    """
    if isinstance(raw, bool):
        return states.get(str(raw).lower(), raw)
    if not isinstance(raw, str | int | float):
        return raw
    word = raw.strip() if isinstance(raw, str) else f"{raw:.10g}"
    found = states.get(word.casefold())
    if found is None and raw not in (0, 1):
        what = f"{raw[:40]!r}" if isinstance(raw, str) else word
        raise NoValue(f"{what} is none of the states {', '.join(states)}")
    return raw if found is None else found


def milliseconds(raw: Any, unit: str, now_ms: int | None) -> int:
    """A node's own time as Unix milliseconds; `unit` is s, ms or iso. NoValue for one that cannot be."""
    try:
        if unit == "iso":
            stated = datetime.fromisoformat(raw)
            found = round((stated if stated.tzinfo else stated.replace(tzinfo=UTC)).timestamp() * 1000)
        else:
            found = round(float(raw) * (1000 if unit == "s" else 1))
    except (TypeError, ValueError, OverflowError):
        raise NoValue("no time") from None
    if found < _EARLIEST or (now_ms is not None and found > now_ms + _AHEAD):
        raise NoValue("a time that cannot be")
    return found


def _number(text: str) -> float | None:
    try:
        found = float(text[:_LONGEST_TEXT])
    except ValueError:
        return None
    return int(found) if found.is_integer() and "." not in text and "e" not in text.lower() else found


def whole(digits: str) -> int | float:
    """A number of JSON. Python refuses to read one of thousands of digits, and with it all that is beside it."""
    return int(digits) if len(digits) < 40 else math.inf
