"""The models of a profile's section `lora`: how payloads are read and written (drivers/lora/codecs/README.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from agent.lib.suggestion import did_you_mean
from agent.site.language.base import Many, Model
from agent.site.language.document import Document, Keys
from agent.site.language.problems import listed
from agent.site.language.values import Choice, TimeSpan, Written, plain

__all__ = ["LoraMap", "check_lora"]

_BITS = {"u8": 8, "i8": 8, "u16": 16, "i16": 16, "u24": 24, "i24": 24, "u32": 32, "i32": 32, "u64": 64, "i64": 64}
_TYPES = (
    "u8", "i8", "u16be", "u16le", "i16be", "i16le", "u24be", "u24le", "i24be", "i24le", "u32be", "u32le", "i32be",
    "i32le", "u64be", "u64le", "i64be", "i64le", "f32be", "f32le", "f64be", "f64le", "bool", "hex", "ascii",
)  # fmt: skip


def _field(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[^.\s]+(\.[^.\s]+)*", value):
        raise ValueError(f"{plain(value)} is not the name of a field; write temperature, or valve.position")
    return value


def _bytes(value: Any) -> str:
    text = value.replace(" ", "") if isinstance(value, str) else ""
    if not re.fullmatch(r"([0-9a-fA-F]{2})+", text):
        raise ValueError(f'{plain(value)} is not bytes; write two hexadecimal digits for each, in quotes: "ff0b"')
    return text.lower()


def _address(value: Any) -> str:
    if not isinstance(value, str) or not re.match(r"https?://[^/\s]", value):
        raise ValueError(f"{plain(value)} is not a web address; write https://…")
    return value


def _whole(value: Any) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(item, int) and not isinstance(item, bool) for item in numbers):
        raise ValueError(f"{plain(value)} is not a whole number, nor a list of them")
    return tuple(numbers)


FieldName = Annotated[str, Written(_field, {"type": "string"}, "a field, nested by dots: valve.position")]
HexBytes = Annotated[str, Written(_bytes, {"type": "string"}, 'bytes in hexadecimal, such as "ff0b"')]
WebAddress = Annotated[str, Written(_address, {"type": "string"}, "a web address")]
_WHOLE = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}
Unavailable = Annotated[tuple[int, ...], Written(_whole, _WHOLE, "a whole number, or a list of them")]
FPort = Annotated[int, Field(ge=1, le=223)]
FieldType = Annotated[str, Choice(*_TYPES)]


class Part(Model):
    """How a value lies in its bytes: value = raw x scale + offset."""

    scale: float = 1
    offset: float = 0
    unit: str = ""
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    """One bit of it; 0 is the lowest."""
    bits: Annotated[int, Field(ge=1, le=64)] | None = None
    """So many bits from `bit` on, as a number."""
    length: Annotated[int, Field(ge=1, le=242)] | None = None
    """Bytes of a hex or ascii; default: all that follow."""
    unavailable: Unavailable | None = None
    """The raw value that means: not available; or a list of them."""


class StructField(Part):
    """One field of a binary payload, in the order of its bytes."""

    field: FieldName
    type: FieldType
    at: Annotated[int, Field(ge=-242, le=241)] | None = None
    """The place of its first byte, from 0; below 0 from the end. Default: after the field before it."""
    when: dict[FieldName, Unavailable] | None = None
    """Only in payloads where these fields have this value, or one of these: {mode: [1, 5]}. Default: in all."""
    optional: bool = False
    """The shorter payloads of some devices end before it."""


class RecordField(Part):
    """One of several fields of a record."""

    field: FieldName
    as_: FieldType = Field(alias="as")
    when: dict[FieldName, Unavailable] | None = None
    """Only in records where these of its fields have this value, or one of these: {mode: 1}. Default: in all."""


class Record(Part):
    """One type-length record: a channel and a type (or a type alone), and what follows them."""

    channel: Annotated[int, Field(ge=0, le=255)] | None = None
    type: Annotated[int, Field(ge=0, le=255)]
    field: FieldName | None = None
    as_: FieldType | None = Field(default=None, alias="as")
    fields: Many[RecordField] | None = None
    """In place of field and as, where the record holds several."""
    list_: FieldName | None = Field(default=None, alias="list")
    """Each such record is an entry of this list: a history."""


class DownlinkConfig(Part):
    """How one field is sent: prefix, value, suffix."""

    field: FieldName
    fport: FPort | None = None
    """Default: the port of lora."""
    prefix: HexBytes | None = None
    suffix: HexBytes | None = None
    as_: FieldType | None = Field(default=None, alias="as")
    values: dict[str, HexBytes] | None = None
    """In place of as, where each value has bytes of its own: {on: "ff1d20", off: "ff1d00"}."""


class HistoryConfig(Model):
    """The list of the decoded payload that holds samples stored while the device was not heard."""

    field: FieldName
    """The list; its entries name their values as the live payload does."""
    time: FieldName
    """The entry's own time."""
    unit: Annotated[Literal["s", "ms", "iso"], Choice("s", "ms", "iso")] = "s"
    """The form of the time: Unix seconds, Unix milliseconds, or ISO 8601."""


class Blocks(Model):
    """Payloads of stored samples: one block after the other, each with the fields of struct."""

    length: Annotated[int, Field(ge=1, le=242)]
    """Bytes of a block."""
    list_: FieldName = Field(alias="list")
    """Each block is an entry of this list: a history."""
    when: dict[FieldName, Unavailable]
    """The payloads that are such: those where these fields have this value, or one of these, in the first block."""


class LoraMap(Model):
    """How a node's payload is read: by struct, tlv, cayenne or codec."""

    fport: FPort | None = None
    """Only payloads of this port; default: all."""
    class_: Annotated[Literal["A", "C"], Choice("A", "C")] = Field(default="A", alias="class")
    """LoRaWAN: C always listens, A only after its own uplink."""
    confirmed: bool = True
    """Whether the node confirms what it is sent."""
    interval: TimeSpan | None = None
    """How often the node sends with the maker's settings."""
    struct: Many[StructField] | None = None
    blocks: Blocks | None = None
    """Which payloads of struct are stored samples."""
    aside: list[dict[FieldName, Unavailable]] | None = None
    """Payloads of struct that come beside the others: where these fields have these values, what is missing stays."""
    tlv: Many[Record] | None = None
    skip: dict[str, Annotated[int, Field(ge=0, le=242)]] | None = None
    """Records of tlv to pass over: what they begin with, and how many bytes follow."""
    cayenne: bool = False
    """Cayenne LPP: fields are called by type and channel, such as temperature_1."""
    codec: Annotated[str, Field(min_length=1)] | None = None
    """A JavaScript codec as makers publish them: a file beside the profile."""
    source: WebAddress | None = None
    """Where the maker publishes the codec."""
    history: HistoryConfig | None = None
    downlink: Many[DownlinkConfig] | None = None
    """How fields are sent; without it a codec or cayenne writes, and struct and tlv cannot."""

    @property
    def flags(self) -> set[str]:
        """The fields that are on or off."""
        return {name for name, part in self.live() if _type(part) == "bool" or (part.bit is not None and not part.bits)}

    def live(self) -> Iterator[tuple[str, Part]]:
        """The fields of struct and tlv, but for those of lists."""
        for item in self.struct or ():
            yield item.field, item
        for record in self.tlv or ():
            for inner in (record.fields or ()) if record.list_ is None else ():
                yield inner.field, inner
            if record.field is not None and record.list_ is None:
                yield record.field, record


def check_lora(document: Document, lora: LoraMap, left_out: set[Keys]) -> None:
    """Check the rules between the keys of `lora`."""
    ways = [key for key in ("struct", "tlv", "cayenne", "codec") if getattr(lora, key)]
    if len(ways) != 1 and not any(keys[:1] == ("lora",) for keys in left_out):
        _extra(document, ("lora",), "write one of struct, tlv, cayenne and codec: how the payload is read")
    _check_places(document, lora.struct or ())
    _check_layouts(document, lora)
    _check_records(document, lora)
    _check_names(document, lora)
    for index, record in enumerate(lora.downlink or ()):
        _check_downlink(document, ("lora", "downlink", index), record)
    history = lora.history
    lists = {record.list_: record for record in lora.tlv or () if record.list_ is not None}
    if history is not None and lora.tlv is not None:
        into = lists.get(history.field)
        if into is None:
            near = did_you_mean(history.field, lists) or "a record of tlv says list: its name"
            document.report(("lora", "history", "field"), f'unknown list "{history.field}"', near)
        elif history.time not in (names := [item.field for item in into.fields or ()]):
            near = did_you_mean(history.time, names) or f"there are {listed(names or ['none'], 'and')}"
            document.report(("lora", "history", "time"), f'unknown field "{history.time}"', near)


def _check_places(document: Document, fields: Sequence[StructField]) -> None:
    before: StructField | None = None
    for index, item in enumerate(fields):
        keys: Keys = ("lora", "struct", index)
        _check_part(document, keys, item, last=index == len(fields) - 1)
        ends = before is not None and before.at is not None and before.at < 0 and item.at is None and item.bit is None
        if ends and before is not None and before.at is not None and before.at + _size(before) >= 0:
            document.report(keys, f"nothing follows {before.field}, which ends the payload; say where with at")
        if before is not None and before.optional and not item.optional and item.at is None:
            document.report(keys, f"{item.field} comes after {before.field}, which is optional; it is so too")
        before = item


def _check_layouts(document: Document, lora: LoraMap) -> None:
    """Check that fields named by `when` are in every payload, and that stored samples have a list and a time."""
    _check_when(document, ("lora", "struct"), lora.struct or ())
    for index, record in enumerate(lora.tlv or ()):
        _check_when(document, ("lora", "tlv", index, "fields"), record.fields or ())
    for index, aside in enumerate(lora.aside or ()):
        if lora.struct is None:
            _extra(document, ("lora", "aside"), '"aside" goes with struct')
            break
        _check_known(document, ("lora", "aside", index), aside, lora.struct)
    blocks = lora.blocks
    if blocks is not None and lora.struct is None:
        _extra(document, ("lora", "blocks"), '"blocks" goes with struct')
    elif blocks is not None:
        _check_known(document, ("lora", "blocks", "when"), blocks.when, lora.struct or ())
        if lora.history is None or lora.history.field != blocks.list_:
            document.report(("lora", "blocks", "list"), f"write history: {{field: {blocks.list_}, time: …}} beside it")
        elif lora.history.time not in (names := [item.field for item in lora.struct or ()]):
            near = did_you_mean(lora.history.time, names) or f"there are {listed(names or ['none'], 'and')}"
            document.report(("lora", "history", "time"), f'unknown field "{lora.history.time}"', near)


def _check_when(document: Document, keys: Keys, fields: Sequence[StructField | RecordField]) -> None:
    for index, item in enumerate(fields):
        _check_known(document, (*keys, index, "when"), item.when or {}, fields)


def _check_known(
    document: Document, keys: Keys, named: Iterable[str], fields: Sequence[StructField | RecordField]
) -> None:
    always = [item.field for item in fields if item.when is None]
    for name in named:
        if name not in always:
            near = did_you_mean(name, always) or "when names fields beside it that have no when themselves"
            document.report((*keys, name), f'unknown field "{name}"', near)


def _check_records(document: Document, lora: LoraMap) -> None:
    records = lora.tlv or ()
    seen: dict[tuple[int | None, int], int] = {}
    for index, record in enumerate(records):
        keys: Keys = ("lora", "tlv", index)
        if (record.channel is None) != (records[0].channel is None):
            document.report(keys, "records have a channel all, or none of them has one")
        first = seen.setdefault((record.channel, record.type), index)
        if first != index:
            line = document.place(("lora", "tlv", first)).line
            document.report(keys, f"this record is here twice (line {line}); what has several fields has fields")
        if record.fields is None:
            _check_single(document, keys, record)
            continue
        for key in ("field", "as", "bit", "bits", "length", "scale", "offset", "unavailable"):
            if document.value((*keys, key)) is not None:
                _extra(document, (*keys, key), f'"{key}" goes into fields, beside the field that it is about')
        for place, item in enumerate(record.fields):
            _check_part(document, (*keys, "fields", place), item, last=place == len(record.fields) - 1)
    width = 2 if records and records[0].channel is not None else 1
    for begin in lora.skip or {}:
        if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * width}}}", begin) or not records:
            what = f"{2 * width} hexadecimal digits, as a record of tlv begins" if records else "goes with tlv"
            _extra(document, ("lora", "skip", begin), f'"{begin}" in skip: {what}')


def _check_single(document: Document, keys: Keys, record: Record) -> None:
    for key, given in (("field", record.field), ("as", record.as_)):
        if given is None and document.value((*keys, key)) is None:
            document.report(keys, f'"{key}" is missing in this record')
    _check_part(document, keys, record, last=True)


def _check_names(document: Document, lora: LoraMap) -> None:
    """A field has one place, and is a value or holds others."""
    groups = {name[:end] for name, _ in lora.live() for end, letter in enumerate(name) if letter == "."}
    lists = {record.list_ for record in lora.tlv or ()}
    struct = lora.struct or ()
    for index, item in enumerate(struct):
        name, twins = item.field, [other for other in struct[:index] if other.field == item.field]
        if twins and not (item.when and all(other.when for other in twins)):
            document.report(("lora", "struct", index, "field"), f'"{name}" is here twice')
    for name, _ in lora.live():
        if name in groups or name in lists or name.partition(".")[0] in lists:
            _extra(document, ("lora",), f'"{name}" is a value, and holds other fields as well; rename one')


def _check_part(document: Document, keys: Keys, part: Part, last: bool) -> None:
    """One field: whether its bits, its length and its scale fit its type."""
    kind = _type(part)
    width = _BITS.get(kind, 0)
    if part.scale == 0:
        document.report((*keys, "scale"), "0 would make every value 0")
    if part.bits is not None and part.bit is None:
        _extra(document, (*keys, "bits"), '"bits" goes with "bit": the lowest of them')
    if part.bit is not None and part.bit + (part.bits or 1) > width:
        what = f"has {width} bits" if width else "has no bits to pick"
        document.report((*keys, "bit"), f"a {kind} {what}")
    if part.length is not None and kind not in ("hex", "ascii"):
        _extra(document, (*keys, "length"), f"the length of a {kind} is fixed; leave it out")
    if part.length is None and kind in ("hex", "ascii") and not last:
        document.report(keys, f'"length" is missing: a {kind} without it takes all bytes that follow')


def _check_downlink(document: Document, keys: Keys, record: DownlinkConfig) -> None:
    if (record.as_ is None) == (record.values is None) and document.value((*keys, "as")) is None:
        document.report(keys, f'write as (a type) or values (bytes for each value) for {record.field}')
    if record.values is not None:
        for key in ("prefix", "suffix", "scale", "offset", "as"):
            if document.value((*keys, key)) is not None:
                _extra(document, (*keys, key), f'"{key}" does not go with values, which are the whole payload')
        return
    if record.bit is not None:
        _extra(document, (*keys, "bit"), "a downlink writes whole bytes; give each value its bytes in values")
    _check_part(document, keys, record, last=True)


def _extra(document: Document, keys: Keys, message: str) -> None:
    document.report(keys, message, at_key=True)


def _type(part: Part) -> str:
    written = getattr(part, "as_", None) or getattr(part, "type", None)
    return re.sub(r"(be|le)$", "", written) if isinstance(written, str) else ""


def _size(part: Part) -> int:
    kind = _type(part)
    return {"bool": 1, "f32": 4, "f64": 8}.get(kind, _BITS[kind] // 8 if kind in _BITS else part.length or 0)
