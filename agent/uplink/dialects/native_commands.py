"""Parse commands of the native dialect: JSON objects (docs/mqtt.md).

Only the form is checked here. The arbiter checks whether the command has expired, its id is known, its point is
writable and its value is within the range.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Never

from agent.errors import Rejected
from agent.lib.suggestion import nearest
from agent.model import Command, Instant, Value
from agent.uplink.session import LARGEST_COMMAND

__all__ = ["parse"]

_WORDS = ("ack", "reset", "comfort", "reduced", "frost", "auto")
"""Values for alarms, latches and the modes of zones."""
_MODES = "comfort, reduced, frost, off or auto"
_KEYS = ("id", "point", "value", "issued_at", "expires_at", "ttl_ms", "hold_ms", "by", "if", "key", "sig")
_LARGEST = 1e15
"""No value of an actuator comes near; beyond it a float no longer holds every whole number."""


def parse(topic_id: str, payload: bytes, received: Instant) -> Command:
    """Read a command. Rejected, with a reason a person understands, if it is not one.

    Keys that we do not know are refused: to pass over a misspelt `ttl_ms` would carry out more than was asked for.
    """
    body = _object(payload)
    try:
        return _command(topic_id, body, received)
    except Rejected as rejected:
        with contextlib.suppress(Rejected):
            rejected.point = _text(body, "point", 200)
        raise


def _command(topic_id: str, body: dict[str, Any], received: Instant) -> Command:
    for key in body:
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            raise Rejected(f"unknown key {_shown(key)}" + (f", did you mean {near}?" if near else ""))
    if body.get("sig") is not None:  # a signer expects that a forged command is refused
        raise Rejected("signatures are not checked yet, so a signed command is refused: send it without sig")
    if "value" not in body:
        raise Rejected("value is missing (null releases)")
    if (body_id := _text(body, "id", 64)) != topic_id:
        raise Rejected(f"id is {_shown(body_id)}, but the topic says {_shown(topic_id)}")
    point = _text(body, "point", 200)
    return Command(
        id=topic_id,
        point=point,
        value=_value(body["value"], point),
        received=received,
        issued_at=_milliseconds(body, "issued_at"),
        expires_at=_milliseconds(body, "expires_at"),
        ttl_ms=_milliseconds(body, "ttl_ms"),
        hold_ms=_milliseconds(body, "hold_ms"),
        by="" if body.get("by") in (None, "") else _text(body, "by", 100),
        condition=_condition(body.get("if")),
    )


def _object(payload: bytes) -> dict[str, Any]:
    if len(payload) > LARGEST_COMMAND:
        raise Rejected(f"longer than {LARGEST_COMMAND // 1024} kB")
    try:
        body = json.loads(payload.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise Rejected(f"not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise Rejected(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except RecursionError as error:
        raise Rejected("not JSON that anybody would write: nested too deeply") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise Rejected("a number is too long") from error
    if not isinstance(body, dict):
        raise Rejected("not a JSON object")
    return body


def _no_constant(name: str) -> Never:
    raise Rejected(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. A key that is there twice is refused: two parsers may take different values."""
    found = dict[str, Any]()
    for key, value in pairs:
        if key in found:
            raise Rejected(f"{_shown(key)} is there twice")
        found[key] = value
    return found


def _text(body: dict[str, Any], key: str, longest: int) -> str:
    text = body.get(key)
    if text is None:
        raise Rejected(f"{key} is missing")
    if not isinstance(text, str) or not 0 < len(text) <= longest or not text.isprintable():
        raise Rejected(f"{key} must be a text of 1 to {longest} characters, not {_shown(text)}")
    return text


def _value(value: Any, point: str = "") -> Value:
    if value in ("on", "off"):
        return bool(value == "on")
    if value is None or isinstance(value, bool) or value in _WORDS:
        return value  # type: ignore[no-any-return]
    if isinstance(value, int | float) and abs(value) <= _LARGEST:
        return value  # nothing else may be asked of a whole number of hundreds of digits: it is no float
    modes = f"; the mode of a zone takes {_MODES}" if point.endswith(".mode") else ""
    words = '"on", "off", "ack", "reset"'
    raise Rejected(f"value must be a number, true, false, {words} or null, not {_shown(value)}{modes}")


def _condition(wanted: Any) -> tuple[str, Value] | None:
    """`{"point": …, "equals": …}`: carried out only if that is so."""
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or set(wanted) != {"point", "equals"} or wanted["equals"] is None:
        raise Rejected(f'if must be {{"point": a name, "equals": a value}}, not {_shown(wanted)}')
    value = wanted["equals"]
    if isinstance(value, str) and value not in ("on", "off"):
        return _text(wanted, "point", 200), _text(wanted, "equals", 200)
    return _text(wanted, "point", 200), _value(value)


def _milliseconds(body: dict[str, Any], key: str) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected(f"{key} must be a number of milliseconds, not {_shown(value)}")
    if not 0 <= value <= _LARGEST or value != int(value):
        raise Rejected(f"{key} must be a whole, positive number of milliseconds, not {_shown(value)}")
    return int(value)


def _shown(value: Any) -> str:
    """A found value as JSON, cut to 40 characters."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else text[:37] + "..."
