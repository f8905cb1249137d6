"""The two messages between sites, as JSON: what a site tells (docs/schemas/peer.json), and what it asks for
(docs/schemas/want.json). Pure: bytes to values and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agent.model import Quality, Value

__all__ = [
    "LARGEST", "MOST", "Asked", "NoMessage", "Stamp", "Told", "ToldValue", "asked", "mark", "parse_asked", "parse_told",
    "told", "topics",
]  # fmt: skip

LARGEST = 16_384
"""Bytes of a message."""
MOST = 200
"""Names in one message."""
_LONGEST = 200  # characters of a name, a text or a reason
_MARK = 8  # characters of a boot id that tell it from others
_words = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class NoMessage(ValueError):
    """This is no such message, and why."""


class Stamp(NamedTuple):
    """When the sender wrote it: its boot, its CLOCK_BOOTTIME (ms), and its Unix time (ms), None if it is not known."""

    boot: str
    boottime_ms: int
    wall_ms: int | None


class ToldValue(NamedTuple):
    """A value of another site, and its age (s) when it was told."""

    value: Value
    age: float
    quality: Quality = Quality.GOOD


class Told(NamedTuple):
    """A message that tells another site everything. `wishes` are the other's own that it holds, by name; `heard` is
    the mark of the last request that it took in; `refused` has what it does not tell or do, by name, each with the
    reason."""

    stamp: Stamp
    values: Mapping[str, ToldValue]
    wishes: Mapping[str, Value] = {}
    heard: tuple[str, int] | None = None
    refused: Mapping[str, str] = {}


class Asked(NamedTuple):
    """A request to another site, for `life` seconds: wishes by name (None ends one), and names that are to be
    told each `every` seconds."""

    stamp: Stamp
    life: float
    every: float
    wishes: Mapping[str, Value]
    reads: Sequence[str]


def topics(prefix: str, site: str, other: str) -> tuple[str, str]:
    """Where `site` tells `other`, and where it asks it."""
    return f"{prefix}/{site}/peer/{other}", f"{prefix}/{site}/peer/{other}/want"


def mark(stamp: Stamp) -> tuple[str, int]:
    """Tells a request from the others of the same sender."""
    return stamp.boot[:_MARK], stamp.boottime_ms


def told(one: Told) -> bytes:
    points: dict[str, list[Any]] = {}
    for name, found in one.values.items():
        points[name] = [-round(found.age * 1000), found.value]
        if found.quality is not Quality.GOOD:
            points[name].append(found.quality.value)
    body: dict[str, Any] = {**_stamped(one.stamp), "p": points}
    if one.wishes:
        body["w"] = dict(one.wishes)
    if one.heard is not None:
        body["a"] = list(one.heard)
    if one.refused:
        body["r"] = {name: reason[:_LONGEST] for name, reason in one.refused.items()}
    return _encoded(body)


def asked(one: Asked) -> bytes:
    body: dict[str, Any] = {**_stamped(one.stamp), "for_ms": round(one.life * 1000),
                            "every_ms": round(one.every * 1000)}  # fmt: skip
    if one.wishes:
        body["set"] = dict(one.wishes)
    if one.reads:
        body["read"] = list(one.reads)
    return _encoded(body)


def parse_told(body: bytes) -> Told:
    """NoMessage, with the reason, if it is not one."""
    found = _object(body)
    values = {name: _value(name, entry) for name, entry in _mapping(found, "p").items()}
    refused = {name: _text(reason, f"r.{name}") for name, reason in _mapping(found, "r").items()}
    return Told(_stamp(found), values, _wishes(found, "w"), _heard(found.get("a")), refused)


def parse_asked(body: bytes) -> Asked:
    """NoMessage, with the reason, if it is not one."""
    found = _object(body)
    life, every = (_time(found, key) for key in ("for_ms", "every_ms"))
    reads = found.get("read", [])
    if not isinstance(reads, list) or len(reads) > MOST:
        raise NoMessage(f"read is no list of at most {MOST} names")
    return Asked(_stamp(found), life, every, _wishes(found, "set"), [_text(name, "read") for name in reads])


def _stamped(stamp: Stamp) -> dict[str, Any]:
    return {"t": stamp.wall_ms, "boot": stamp.boot, "boottime_ms": stamp.boottime_ms}


def _encoded(body: Mapping[str, Any]) -> bytes:
    return _words(body).encode()


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > LARGEST:
        raise NoMessage(f"longer than {LARGEST // 1024} kB")
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NoMessage(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise NoMessage("no object")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _stamp(found: Mapping[str, Any]) -> Stamp:
    boot, at, wall = found.get("boot"), found.get("boottime_ms"), found.get("t")
    if not isinstance(boot, str) or not 1 <= len(boot) <= 64:
        raise NoMessage("boot is missing")
    if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < 1 << 53:
        raise NoMessage(f"boottime_ms is {at!r:.40}, and no whole number")
    if wall is not None and (not isinstance(wall, int) or isinstance(wall, bool) or not 0 <= wall < 1 << 53):
        raise NoMessage(f"t is {wall!r:.40}, and no time")
    return Stamp(boot, at, wall)


def _time(found: Mapping[str, Any], key: str) -> float:
    """Seconds."""
    value: Any = found.get(key)
    if not _is_number(value) or value <= 0:
        raise NoMessage(f"{key} is {value!r:.40}, and no time")
    return float(value) / 1000


def _mapping(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = found.get(key, {})
    if not isinstance(inner, dict) or len(inner) > MOST or any(len(name) > _LONGEST for name in inner):
        raise NoMessage(f"{key} is no object of at most {MOST} names")
    return inner


def _value(name: str, entry: Any) -> ToldValue:
    if not isinstance(entry, list) or len(entry) not in (2, 3) or not _is_number(entry[0]):
        raise NoMessage(f"p.{name} is not [dt, value, quality]")
    quality = Quality.GOOD if len(entry) == 2 else next((one for one in Quality if one.value == entry[2]), None)
    if quality is None:
        raise NoMessage(f"p.{name} has no quality that is known")
    value = _plain(entry[1], f"p.{name}")
    if value is None and quality is Quality.GOOD:
        raise NoMessage(f"p.{name} is good and has no value")
    return ToldValue(value, max(-entry[0] / 1000, 0.0), quality)


def _wishes(found: Mapping[str, Any], key: str) -> dict[str, Value]:
    return {name: _plain(value, f"{key}.{name}") for name, value in _mapping(found, key).items()}


def _heard(entry: Any) -> tuple[str, int] | None:
    if entry is None:
        return None
    if not isinstance(entry, list) or [type(one) for one in entry] != [str, int]:
        raise NoMessage("a is not [boot, boottime_ms]")
    return entry[0], entry[1]


def _plain(value: Any, where: str) -> Value:
    if value is None or isinstance(value, bool) or _is_number(value):
        return value  # type: ignore[no-any-return]
    return _text(value, where)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise NoMessage(f"{where} is no text of at most {_LONGEST} characters")
    return value


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
