"""Values of LoRa's keys as people write them: EUIs, keys of topics, patterns of a modem's lines."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from agent.lib.pattern import Pattern, TooSlow, slow_line
from agent.site.language.values import Written, plain

__all__ = ["Application", "CommandTopic", "Eui", "EventTopic", "Listen", "PacketPattern", "Variables", "hexadecimal"]


def _eui(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[0-9a-fA-F]{16}", text):
        digits = re.sub(r"^0x|[\s:.-]", "", str(value).lower().replace("o", "0"))
        example = digits if re.fullmatch("[0-9a-f]{16}", digits) else "24e124136b316001"
        raise ValueError(f'{plain(value)} is not an EUI; write its 16 hexadecimal digits in quotes: "{example}"')
    return text.lower()


def _pattern(value: Any) -> str:
    try:
        groups = Pattern(value).groups if isinstance(value, str) else frozenset()
        line = slow_line(value) if "data" in groups else None
    except (re.error, OverflowError, RecursionError, TooSlow) as error:
        raise ValueError(f"{plain(value)} is not a pattern: {error}") from None
    if "data" not in groups:
        raise ValueError(f"{plain(value)} does not say where the payload is; write (?P<data>[0-9A-F]+) around it")
    if line is not None:
        raise ValueError(
            f"{plain(value)} takes too long for a line such as {plain(line[:20])}…; "
            "repeats within repeats try all ways to share it: write [0-9A-F]+, not ([0-9A-F]+)+"
        )
    return str(value)


def _level(value: Any) -> str:
    if not isinstance(value, str) or not value or re.search(r"[/+#{}\s\0]", value):
        raise ValueError(f"{plain(value)} is no application; write its id in quotes, as ChirpStack shows it")
    return value


def _topic(*levels: str) -> Callable[[Any], str]:
    """A template of a topic in which `levels` stand for a level each."""

    def parse(value: Any) -> str:
        text = value if isinstance(value, str) else ""
        own = text.split("/")
        braced = [level for level in own if "{" in level or "}" in level]
        wrong = [level for level in braced if level not in ("{application}", *levels)]
        if not text or wrong or any("+" in level or "#" in level for level in own) or any(map(str.isspace, text)):
            raise ValueError(
                f"{wrong[0] if wrong else plain(value)} is no part of a topic here; "
                f"{{application}}, {' and '.join(levels)} stand for a whole level each"
            )
        for level in levels:
            if own.count(level) != 1:
                raise ValueError(f"{plain(value)} does not say where {level} stands; write it once, as a level")
        return text

    return parse


EventTopic = Annotated[
    str, Written(_topic("{dev_eui}", "{event}"), {"type": "string"}, "a topic with {dev_eui} and {event}")
]
CommandTopic = Annotated[str, Written(_topic("{dev_eui}"), {"type": "string"}, "a topic with {dev_eui}")]
Eui = Annotated[str, Written(_eui, {"type": "string", "pattern": "^[0-9a-fA-F]{16}$"}, "16 hexadecimal digits")]


def _listen(value: Any) -> str:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f'{plain(value)} is not an address and port; write "127.0.0.1:1700"')
    return str(value)


def hexadecimal(digits: int, example: str) -> Written:
    def parse(value: Any) -> str:
        text = value if isinstance(value, str) else ""
        if not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", text):
            raise ValueError(f'{plain(value)} is not {digits} hexadecimal digits in quotes; write "{example}"')
        return text.lower()

    schema = {"type": "string", "pattern": f"^[0-9a-fA-F]{{{digits}}}$"}
    return Written(parse, schema, f'{digits} hexadecimal digits in quotes, such as "{example}"')


def _variables(value: Any) -> dict[str, str | int | float]:
    if not isinstance(value, dict):
        raise ValueError(f"{plain(value)} has no names; write variables: {{offset: 2, place: cellar}}")
    for name, one in value.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{plain(name)} is no name of a variable; put it in quotes")
        if isinstance(one, bool) or not (isinstance(one, str | int) or (isinstance(one, float) and math.isfinite(one))):
            raise ValueError(f"{name} is a text or a number, not {plain(one)}")
    return value


_NAMED = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
Variables = Annotated[dict[str, str | int | float], Written(_variables, _NAMED, "names with a text or a number each")]
Application = Annotated[str, Written(_level, {"type": "string", "pattern": "^[^/+#{}]+$"}, "the application's id")]
Listen = Annotated[str, Written(_listen, {"type": "string"}, 'an address and port, such as "127.0.0.1:1700"')]
PacketPattern = Annotated[str, Written(_pattern, {"type": "string"}, "a regular expression with (?P<data>…)")]
