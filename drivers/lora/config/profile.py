"""Payload maps: the section `lora` of a profile, and the keys of its points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import Field

from agent.errors import BocageError
from agent.lib.files import is_file
from agent.lib.suggestion import did_you_mean
from agent.site.language.document import Document, Keys
from agent.site.language.problems import Problem
from agent.site.language.values import Written, plain
from agent.site.profiles.kind import Normalised, PointKeys, ProfileKind, Words, kind_or_usual
from drivers.lora.codecs import look
from drivers.lora.config import CodecConfig
from drivers.lora.config.payloads import LoraMap, check_lora
from drivers.lora.config.words import is_unclear, words_of

if TYPE_CHECKING:
    from agent.site.checks.names import Checked
    from agent.site.profiles.model import Profile

__all__ = ["KIND", "LoraPoint"]


def _names_of(word: Any) -> list[str]:
    """A word as `states` are looked up: of a number also as a codec gives it, 1 for 0x01 and 1.0."""
    text = (str(word).lower() if isinstance(word, bool) else str(word)).strip().casefold()
    if re.fullmatch("0x[0-9a-f]{1,8}", text):
        return [text, str(int(text, 16))]
    return [text, f"{float(text):.10g}"] if re.fullmatch(r"-?[0-9]{1,9}\.[0-9]{1,9}", text) else [text]


def _states(value: Any) -> dict[str, bool]:
    truth = {True: True, False: False, "on": True, "off": False, "true": True, "false": False}
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{plain(value)} does not say which words are on and off; write {{open: on, close: off}}")
    found: dict[str, bool] = {}
    for word, state in value.items():
        if not isinstance(state, bool | str) or state not in truth:
            raise ValueError(f"{plain(word)} is on or off, not {plain(state)}")
        for name in _names_of(word):
            if found.setdefault(name, truth[state]) is not truth[state]:
                raise ValueError(f"{plain(word)} is on and off here; great and small letters are the same")
    return found


States = Annotated[
    dict[str, bool], Written(_states, {"type": "object"}, "words that mean on or off: {open: on, close: off}")
]


def _range(value: Any) -> tuple[float, float]:
    ends = value if isinstance(value, list) else []
    if len(ends) != 2 or not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        raise ValueError(f"{plain(value)} is not the least and the most that it can measure; write [-40, 85]")
    if not ends[0] < ends[1]:
        raise ValueError(f"{plain(ends[0])} is not below {plain(ends[1])}; write the lower one first")
    return float(ends[0]), float(ends[1])


_TWO_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
Range = Annotated[tuple[float, float], Written(_range, _TWO_NUMBERS, "the least and the most: [-40, 85]")]


class LoraPoint(PointKeys):
    elsewhere: ClassVar = {
        "states": '"states" is for LoRa, where a codec gives words',
        "range": '"range" is for LoRa; a Modbus point has unavailable',
        "field": '"field" is for LoRa; a Modbus point has register and address',
    }

    field: str | None = None
    """LoRa: the field of the payload."""
    states: States | None = None
    """LoRa: which words of the field are on and which are off: {open: on, close: off}."""
    range_: Range | None = Field(default=None, alias="range")
    """LoRa: what the sensor can measure, in `unit`; a value beyond it is bad."""


class _Lora(ProfileKind):
    section: ClassVar = "lora"
    family: ClassVar = "LoRa"
    noun: ClassVar = "a LoRa node"
    section_model: ClassVar = LoraMap
    point_keys: ClassVar = LoraPoint
    is_polled: ClassVar = False
    file_key: ClassVar = "codec"

    def check(self, document: Document, profile: Profile, left_out: set[Keys]) -> None:
        """The fields of the points are read from the payload, and what is written has its downlink."""
        lora: LoraMap = profile.section(self)
        check_lora(document, lora, left_out)
        fields = {name for name, _ in lora.live()}
        sent = {record.field for record in lora.downlink or ()}
        for name, point in profile.points.items():
            _check_field(document, name, point, lora, fields, sent)

    def point(self, name: str, point: Any, section: LoraMap) -> dict[str, Any]:
        field = point.field or name
        binary = field in section.flags or point.states is not None
        found = {"field": field, "scale": point.scale, "offset": point.offset, "unit": point.unit,
                 "writable": point.writable, "low": point.low, "high": point.high,
                 "kind": kind_or_usual(point, binary)}  # fmt: skip
        more = {"states": point.states, "range": point.range_}
        return {**found, **{key: value for key, value in more.items() if value is not None}}

    def check_files(self, files: Iterable[str]) -> Iterator[Problem]:
        """Load each codec: a node whose codec cannot be loaded would say nothing."""
        try:
            for file, fault in look.faults(files):
                said = f"this codec cannot be loaded: {fault.text}"
                yield Problem(file, fault.line, fault.column, "error", said, rule=True)
        except BocageError as error:
            for file in files:
                yield Problem(file, 1, 1, "warning", f"this codec cannot be looked at: {error}")

    def check_device(self, at: Checked, name: str, profile: Normalised) -> None:
        """A maker's codec is there, and variables are for a codec."""
        device, codec = at.site.devices[name], profile["lora"].get("codec")
        if cast(CodecConfig, device).variables and codec is None:
            text = f"variables are for JavaScript codecs, and profile {device.profile} has none"
            at.error(("devices", name, "variables"), text, at_key=True)
        if codec is not None and not is_file(Path(codec)):
            source = profile["lora"].get("source")
            at.warn(
                ("devices", name, "profile"),
                f"profile {device.profile} needs its maker's codec, which is not there",
                f"put it at {codec}" + (f" (published at {source})" if source else ""),
            )

    def interval(self, profile: Normalised) -> float | None:
        found = profile["lora"].get("interval")
        return None if found is None else float(found)

    def place(self, profile: Normalised, point: str) -> Normalised:
        """By its field in struct or tlv; a codec's number has no place."""
        entry = profile["points"].get(point) or {}
        return {**entry, **_payload_place(profile["lora"], entry.get("field") or point, entry)}

    def words(self, profile: Normalised, point: str) -> Words | None:
        return words_of(profile, point)

    def is_unclear(self, profile: Normalised, point: str) -> bool:
        return is_unclear(profile, point)


KIND = _Lora()


def _check_field(
    document: Document, name: str, point: Any, lora: LoraMap, fields: set[str], sent: set[str]
) -> None:
    keys = ("points", name)
    if point.range_ is not None and (point.states is not None or point.kind == "state"):
        document.report((*keys, "range"), "what is on or off has no range", at_key=True)
    wanted = point.field or name
    if lora.cayenne and not re.fullmatch(r"[a-z_]+_[0-9]{1,3}(\.[a-z]+)?", wanted):
        document.report((*keys, "field"), f'"{wanted}" is no Cayenne field; write type and channel: temperature_1')
    if not fields:
        return
    if wanted not in fields and not (point.writable and wanted in sent):
        near = did_you_mean(wanted, fields) or f"there are {', '.join(sorted(fields))}"
        document.report((*keys, "field"), f'unknown field "{wanted}"', near)
    if point.writable and wanted not in sent:
        document.report((*keys, "writable"), f'"{wanted}" has no record in lora.downlink that says how it is sent')


def _payload_place(lora: Mapping[str, Any], field: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a field lies in the payload of a radio node: `type` and `scale`; nothing where a codec reads it."""
    records = lora.get("tlv") or ()
    inner = (part for one in records if not one.get("list") for part in one.get("fields") or ())
    for part in (*(lora.get("struct") or ()), *records, *inner):
        if part.get("field") == field:
            kind = part["as"] if part.get("as") else part.get("type")
            scale = (part.get("scale") or 1) * (entry.get("scale") or 1)
            return {"type": f"u{part['bits']}" if part.get("bits") else str(kind), "scale": scale}
    return {}
