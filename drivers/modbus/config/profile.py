"""Register maps: the section `modbus` of a profile, and the keys of its points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from agent.lib.suggestion import did_you_mean
from agent.site.language.base import Model
from agent.site.language.document import Document, Keys
from agent.site.language.values import Choice, Duration, TimeSpan
from agent.site.profiles.kind import Normalised, PointKeys, ProfileKind, Words, kind_or_usual
from drivers.modbus.config.notation import Address, Register, check_notation
from drivers.modbus.config.table import read_csv

if TYPE_CHECKING:
    from agent.site.profiles.model import Profile

__all__ = ["KIND", "ModbusMap", "ModbusPoint"]

RegisterType = Literal[
    "bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "string"
]  # fmt: skip
_TYPES = ("bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "string")
_ORDERS = {  # the spelling of 4 bytes says it for every size
    4: ("abcd", "cdab", "badc", "dcba"),
    8: ("abcdefgh", "ghefcdab", "badcfehg", "hgfedcba"),
}
_BITS = {"u16": 16, "i16": 16, "bcd16": 16, "bool": 16, "u32": 32, "i32": 32, "bcd32": 32, "u64": 64, "i64": 64}
Write = Annotated[Literal["auto", "single", "multiple"], Choice("auto", "single", "multiple")]


class ModbusMap(Model):
    """How a Modbus device likes to be read."""

    max_gap: Annotated[int, Field(ge=0, le=124)] = 8
    """Registers between two points that are read along rather than asked apart."""
    max_read: Annotated[int, Field(ge=1, le=125)] = 125
    """The most registers in one request."""
    guard: Duration = 0
    """Silence that the device needs between two requests, beyond the 3.5 characters of the line."""
    write: Write = "auto"
    """For every point that does not say it itself."""


class ModbusPoint(PointKeys):
    register_: Register | None = Field(default=None, alias="register")
    """coil, discrete, input or holding."""
    address: Address | None = None
    """The address in the PDU: the first one is 0."""
    type: Annotated[RegisterType | None, Choice(*_TYPES)] = None
    """Default u16; a coil or a discrete input is a bool."""
    order: Annotated[str | None, Choice(*_ORDERS[4], *_ORDERS[8])] = None
    """The order of the bytes on the wire. Default abcd: the high byte first."""
    unavailable: int | None = None
    """The raw value that means: not available."""
    poll: TimeSpan | None = None
    """A period of its own; default: the device's."""
    write: Write | None = None
    """single (functions 5 and 6), multiple (15 and 16), or auto: what the device takes, found out. Default auto."""
    on: Annotated[int, Field(ge=0, le=65535)] | None = None
    """The word that a holding register takes for on, where that is not 1. With off it makes a point that is a state."""
    off: Annotated[int, Field(ge=0, le=65535)] | None = None
    """The word for off."""
    moves: str | None = None
    """The output that a write here moves once, as a timed pulse does: this point is a command, and is never read."""
    length: Annotated[int, Field(ge=1, le=125)] | None = None
    """Registers of a string."""
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    """One bit of the register; 0 is the lowest."""


class _Modbus(ProfileKind):
    section: ClassVar = "modbus"
    family: ClassVar = "Modbus"
    noun: ClassVar = "a Modbus device"
    section_model: ClassVar = ModbusMap
    point_keys: ClassVar = ModbusPoint

    def check(self, document: Document, profile: Profile, left_out: set[Keys]) -> None:
        for name, point in profile.points.items():
            _check_register(document, ("points", name), point, left_out)
        check_notation(document, profile.points)

    def normalised(self, section: ModbusMap | None) -> dict[str, Any]:
        return (section or ModbusMap()).model_dump(exclude={"write"})

    def point(self, _name: str, point: Any, section: ModbusMap | None) -> dict[str, Any]:
        single = point.register_ in ("coil", "discrete")
        words = {"on": point.on, "off": point.off} if point.on is not None else {}
        kind = "bool" if words or (single and point.moves is None) else point.type or "u16"
        how = point.write or (section or ModbusMap()).write
        return {
            "register": point.register_, "address": point.address, "type": kind,
            "order": point.order or "abcd", "scale": point.scale, "offset": point.offset, "unit": point.unit,
            "unavailable": point.unavailable, "poll": point.poll, "writable": point.writable, "low": point.low,
            "high": point.high, "length": point.length, "bit": point.bit, "moves": point.moves,
            "kind": kind_or_usual(point, (single and point.moves is None) or kind == "bool" or point.bit is not None),
        } | words | ({} if how == "auto" else {"write": how})  # fmt: skip

    def read_table(self, path: Path) -> Document:
        return read_csv(path)

    def words(self, profile: Normalised, point: str) -> Words | None:
        entry = profile["points"][point]
        return Words(()) if entry["type"] == "string" and not entry["unit"] else None

    def is_binary(self, profile: Normalised, point: str) -> bool:
        """A register may be a state of many values, such as a mode: its kind tells nothing."""
        entry = profile["points"][point]
        return entry["type"] == "bool" or entry["bit"] is not None

    def usual_poll(self, profile: Normalised) -> float:
        """Relay and input modules are polled fast: people wait for what they show."""
        points = profile["points"].values()
        modules = [point for point in points if point.get("register") in ("coil", "discrete")]
        fast = bool(modules) and (len(modules) == len(points) or any(point["writable"] for point in modules))
        return 1.0 if fast else super().usual_poll(profile)


KIND = _Modbus()


def _check_register(document: Document, keys: Keys, point: Any, left_out: set[Keys]) -> None:
    for key, given in (("register", point.register_), ("address", point.address)):
        if given is None and (*keys, key) not in left_out:
            document.report(keys, f'"{key}" is missing in {keys[-1]}')
    kind = point.type or "u16"
    single = point.register_ in ("coil", "discrete")
    if single and point.type not in (None, "bool") and point.moves is None:
        document.report((*keys, "type"), f"a {point.register_} is a bool")
    if point.moves is not None:
        _check_command(document, keys, point)
    if point.writable and point.register_ in ("discrete", "input"):
        document.report((*keys, "writable"), f"{point.register_} registers cannot be written; coil and holding can")
    if kind == "string" and point.length is None:
        document.report(keys, '"length" (in registers) is missing for a string')
    if point.on is not None or point.off is not None:
        _check_words(document, keys, point)
    _check_format(document, keys, point, kind, single)


def _check_format(document: Document, keys: Keys, point: Any, kind: str, single: bool) -> None:
    """How the value lies in the registers, and how it is written."""
    if point.write is not None and not point.writable:
        document.report((*keys, "write"), f'"writable: true" is missing in {keys[-1]}', at_key=True)
    if point.write == "single" and not single and point.bit is None and _BITS.get(kind, 32) > 16:
        document.report((*keys, "write"), f"function 6 writes one register, and a {kind} has more; write multiple")
    if point.length is not None and kind != "string":
        document.report((*keys, "length"), f"the length of a {kind} is fixed; leave it out", at_key=True)
    if point.bit is not None and point.bit >= _BITS.get(kind, 0):
        document.report((*keys, "bit"), f"a {kind} has no bit {point.bit}")
    if point.order in _ORDERS[8] and kind not in ("u64", "i64", "f64"):
        document.report((*keys, "order"), f"the order of a {kind} is one of {', '.join(_ORDERS[4])}")
    if point.unavailable is not None and not single:
        bits = _BITS.get(kind)
        if bits is not None and not -(1 << (bits - 1)) <= point.unavailable < 1 << bits:
            document.report((*keys, "unavailable"), f"{point.unavailable} does not fit into {bits} bits of a {kind}")


def _check_words(document: Document, keys: Keys, point: Any) -> None:
    """A holding register with words of its own for on and off."""
    given = "on" if point.on is not None else "off"
    other = "off" if given == "on" else "on"
    if getattr(point, other) is None:
        document.report((*keys, given), f'"{other}" is missing in {keys[-1]}: write both words', at_key=True)
    elif point.on == point.off:
        document.report((*keys, "off"), f"on and off are the same word, {point.on}")
    if point.register_ != "holding":
        document.report((*keys, given), f"words for on and off are for holding registers; a {point.register_} has none")
    elif point.type not in (None, "bool", "u16", "i16"):
        document.report((*keys, "type"), f"on and off are values of one register, which a {point.type} is not")
    for key in ("bit", "scale", "offset", "unavailable", "low", "high", "moves"):
        if document.value((*keys, key)) is not None:
            document.report((*keys, key), f'"{key}" has no meaning beside words for on and off', at_key=True)


def _check_command(document: Document, keys: Keys, point: Any) -> None:
    """A register that moves another output once, and is never read."""
    outputs = [
        name for name, other in (document.value(keys[:1]) or {}).items()
        if isinstance(other, dict) and other.get("writable") is True and "moves" not in other
    ]  # fmt: skip
    if not point.writable and point.register_ not in ("discrete", "input"):
        document.report(keys, f'"writable: true" is missing in {keys[-1]}: what moves an output is written')
    if point.register_ == "coil" and point.type not in (None, "u16", "i16"):
        document.report((*keys, "type"), "what a coil takes for a command is one register: u16 or i16")
    if point.moves not in outputs:
        near = did_you_mean(point.moves or "", outputs) or "it names an output of this profile"
        document.report((*keys, "moves"), f'unknown output "{point.moves}"', near)
