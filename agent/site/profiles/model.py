"""Profiles: register maps and payload maps as data.

A profile is looked for as `profiles/NAME.yaml` or `NAME.csv` beside the site file, then in the package `drivers`. What
the rest of the program gets is a plain mapping with every default filled in (`normalised`).
"""

from __future__ import annotations

import importlib
import importlib.resources
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from agent.errors import BocageError
from agent.lib.files import is_file
from agent.lib.suggestion import did_you_mean
from agent.site.language.base import Model, Section
from agent.site.language.document import Document, Keys, read
from agent.site.language.problems import Problem, Severity
from agent.site.language.units import is_known, unknown_unit
from agent.site.language.validation import validate
from agent.site.language.values import Choice, Duration, TimeSpan, Written, plain
from agent.site.profiles.notation import Address, Register, check_notation
from agent.site.profiles.payloads import LoraMap, check_lora
from agent.site.profiles.table import read_csv

__all__ = ["Library", "LoraMap", "ModbusMap", "Profile", "ProfilePoint"]

RegisterType = Literal[
    "bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "string"
]  # fmt: skip
_TYPES = ("bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bcd16", "bcd32", "string")
_ORDERS = {  # the spelling of 4 bytes says it for every size
    4: ("abcd", "cdab", "badc", "dcba"),
    8: ("abcdefgh", "ghefcdab", "badcfehg", "hgfedcba"),
}
_BITS = {"u16": 16, "i16": 16, "bcd16": 16, "bool": 16, "u32": 32, "i32": 32, "bcd32": 32, "u64": 64, "i64": 64}
_MODBUS_KEYS = (
    "register", "address", "type", "order", "length", "bit", "unavailable", "poll", "moves", "write", "on", "off",
)  # fmt: skip
_COUNTED = {"kWh", "Wh", "MWh", "kvarh", "varh", "kVAh", "m3", "L"}
Kind = Annotated[
    Literal["telemetry", "state", "counter", "diagnostic"] | None,
    Choice("telemetry", "state", "counter", "diagnostic"),
]  # fmt: skip
Write = Annotated[Literal["auto", "single", "multiple"], Choice("auto", "single", "multiple")]


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


class ProfilePoint(Model):
    """One point: a register (or coil) of a Modbus device, or a field of a payload."""

    register_: Register | None = Field(default=None, alias="register")
    """coil, discrete, input or holding."""
    address: Address | None = None
    """Of the PDU: the first one is 0."""
    type: Annotated[RegisterType | None, Choice(*_TYPES)] = None
    """Default u16; a coil or a discrete input is a bool."""
    order: Annotated[str | None, Choice(*_ORDERS[4], *_ORDERS[8])] = None
    """Of the bytes on the wire. Default abcd: the high byte first."""
    field: str | None = None
    """LoRa: the field of the payload."""
    scale: float = 1
    """value = raw x scale + offset."""
    offset: float = 0
    unit: str = ""
    kind: Kind = None
    """Default: state for a coil or a discrete input, counter for an energy or a volume, else telemetry."""
    unavailable: int | None = None
    """The raw value that means: not available."""
    poll: TimeSpan | None = None
    """A period of its own; default: the device's."""
    writable: bool = False
    write: Write | None = None
    """single (functions 5 and 6), multiple (15 and 16), or auto: what the device takes, found out. Default auto."""
    on: Annotated[int, Field(ge=0, le=65535)] | None = None
    """The word that a holding register takes for on, where that is not 1. With off it makes a point that is a state."""
    off: Annotated[int, Field(ge=0, le=65535)] | None = None
    """The word for off."""
    moves: str | None = None
    """The output that a write here moves once, as a timed pulse does: this point is a command, and is never read."""
    low: float | None = None
    """The least that may be written."""
    high: float | None = None
    """The most that may be written."""
    states: States | None = None
    """LoRa: which words of the field are on and which are off: {open: on, close: off}."""
    range_: Range | None = Field(default=None, alias="range")
    """LoRa: what the sensor can measure, in `unit`; a value beyond it is bad."""
    length: Annotated[int, Field(ge=1, le=125)] | None = None
    """Registers of a string."""
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    """One bit of the register; 0 is the lowest."""


class Profile(Model):
    """A profile file."""

    name: str | None = None
    """As the file, without .yaml."""
    description: str = ""
    modbus: ModbusMap | None = None
    lora: LoraMap | None = None
    points: Section[ProfilePoint]

    def normalised(self, name: str) -> dict[str, Any]:
        """A plain mapping, every default filled in."""
        if self.lora is not None:
            lora = self.lora.model_dump(exclude_none=True, by_alias=True)
            flags = self.lora.flags
            points = {point: _lora_point(point, model, flags) for point, model in self.points.items()}
            return {"name": name, "lora": lora, "points": points}
        modbus = (self.modbus or ModbusMap()).model_dump()
        write = modbus.pop("write")
        points = {point: _modbus_point(model, write) for point, model in self.points.items()}
        return {"name": name, "modbus": modbus, "points": points}


def _kind(point: ProfilePoint, binary: bool) -> str:
    if point.kind is not None:
        return point.kind
    return "state" if binary else "counter" if point.unit in _COUNTED else "telemetry"


def _lora_point(name: str, point: ProfilePoint, flags: set[str]) -> dict[str, Any]:
    field = point.field or name
    found = {"field": field, "scale": point.scale, "offset": point.offset, "unit": point.unit,
             "writable": point.writable, "low": point.low, "high": point.high,
             "kind": _kind(point, field in flags or point.states is not None)}  # fmt: skip
    more = {"states": point.states, "range": point.range_}
    return {**found, **{key: value for key, value in more.items() if value is not None}}


def _modbus_point(point: ProfilePoint, write: str) -> dict[str, Any]:
    single = point.register_ in ("coil", "discrete")
    words = {"on": point.on, "off": point.off} if point.on is not None else {}
    kind = "bool" if words or (single and point.moves is None) else point.type or "u16"
    how = point.write or write
    return {
        "register": point.register_, "address": point.address, "type": kind,
        "order": point.order or "abcd", "scale": point.scale, "offset": point.offset, "unit": point.unit,
        "unavailable": point.unavailable, "poll": point.poll, "writable": point.writable, "low": point.low,
        "high": point.high, "length": point.length, "bit": point.bit, "moves": point.moves,
        "kind": _kind(point, (single and point.moves is None) or kind == "bool" or point.bit is not None),
    } | words | ({} if how == "auto" else {"write": how})  # fmt: skip


class Library:
    """The profiles that a site may name; each is read once. `problems` are those of the files that were read."""

    def __init__(self, folder: Path, own: str = "profiles") -> None:
        self._own = folder / own
        self._package = importlib.resources.files("drivers") / "profiles"
        self._read: dict[str, dict[str, Any] | None] = {}
        self.problems: list[Problem] = []
        self.files: dict[str, bytes] = {}
        """The site's own profiles and codecs that were read, by their names relative to the site file."""
        self._codecs: dict[str, None] = {}
        self.absent: set[str] = set()
        """The codecs that a profile names and that are not there."""

    def names(self) -> set[str]:
        """All that can be named."""
        names = {entry.name[:-5] for entry in self._package.iterdir() if entry.name.endswith(".yaml")}
        if self._own.is_dir():
            names |= {path.stem for kind in ("yaml", "csv") for path in self._own.glob(f"*.{kind}") if path.is_file()}
        return names

    def nearly(self, name: str) -> str | None:
        """What to do where only the end of a file's name is wrong."""
        return f"call profiles/{name}.yml {name}.yaml" if is_file(self._own / f"{name}.yml") else None

    def get(self, name: str) -> dict[str, Any] | None:
        """A profile, normalised; None if its file is wrong. KeyError if there is none of that name."""
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> dict[str, Any] | None:
        if not re.fullmatch(r"[\w.-]{1,100}", name) or name.startswith("."):
            raise KeyError(name)
        own, table = self._own / f"{name}.yaml", self._own / f"{name}.csv"
        if own.is_file() and table.is_file():
            self.problems.append(Problem(str(table), 1, 1, "error", f"{own} has this name too; keep one of them"))
            return None
        if own.is_file() or table.is_file():
            return self._parse(name, own if own.is_file() else table)
        packaged = self._package / f"{name}.yaml"
        for path in (own, table):
            if os.path.lexists(path):
                words = f"a link to {path.readlink()}, which is not there" if path.is_symlink() else "not a file"
                end = "; the package's profile of this name is used" if packaged.is_file() else ""
                severity: Severity = "warning" if end else "error"
                self.problems.append(Problem(str(path), 1, 1, severity, f"this is {words}{end}"))
                if not end:
                    return None
        if not packaged.is_file():
            raise KeyError(name)
        with importlib.resources.as_file(packaged) as path:
            return self._parse(name, path)

    def _parse(self, name: str, path: Path) -> dict[str, Any] | None:
        document = read_csv(path) if path.suffix == ".csv" else read(path)
        profile = None
        if not document.problems or document.data is not None:
            profile, left_out = validate(document, Profile, path.parent)
        if profile is not None:
            _check(document, profile, name, left_out)
        self._check_ways(document, path, profile)
        self.problems += document.problems
        if path.parent == self._own:
            self.files[f"{self._own.name}/{path.name}"] = document.source
        broken = profile is None or any(problem.severity == "error" for problem in document.problems)
        if broken or profile is None:
            return None
        found = profile.normalised(name)
        if "codec" in found.get("lora", ()):
            found["lora"]["codec"] = str(self._codec(found["lora"]["codec"]))
        return found

    def _check_ways(self, document: Document, path: Path, profile: Profile | None) -> None:
        """A profile and its codec lie in the folder of profiles: no name and no link leads elsewhere."""
        if path.parent != self._own:
            return
        if _leads_out(self._own, path):
            document.note(1, 1, f"this profile is a link out of {self._own.name}; put the file itself there", rule=True)
        codec = profile.lora.codec if profile is not None and profile.lora is not None else None
        if codec is None:
            return
        if Path(codec).is_absolute() or ".." in Path(codec).parts or "\0" in codec:
            document.report(("lora", "codec"), f'"{codec}" leads out of {self._own.name}; name a file in it', rule=True)
        elif _leads_out(self._own, self._own / codec):
            words = f'"{codec}" is a link out of {self._own.name}; put the file itself there'
            document.report(("lora", "codec"), words, rule=True)

    def check_codecs(self) -> None:
        """Load each codec that was read, and report those that cannot be: a node of theirs would say nothing."""
        if not self._codecs:
            return
        look = importlib.import_module("drivers.lora.codecs.look")  # a driver's: it is reached by name
        try:
            for file, fault in look.faults(self._codecs):
                said = f"this codec cannot be loaded: {fault.text}"
                self.problems.append(Problem(file, fault.line, fault.column, "error", said, rule=True))
        except BocageError as error:
            for file in self._codecs:
                self.problems.append(Problem(file, 1, 1, "warning", f"this codec cannot be looked at: {error}"))

    def _codec(self, name: str) -> Path:
        """Where a maker's codec is. What is there is remembered; that it is not is said where the profile is used."""
        path = self._own.absolute() / name
        if ".." not in Path(name).parts and not Path(name).is_absolute():
            try:
                if not path.is_file():
                    raise FileNotFoundError  # a pipe would be waited for
                self.files[f"{self._own.name}/{name}"] = path.read_bytes()
                self._codecs[str(path)] = None
            except OSError:
                self.absent.add(f"{self._own.name}/{name}")
        return path


def _leads_out(folder: Path, path: Path) -> bool:
    """Whether a path ends elsewhere than in a folder, links followed. One that goes round in circles ends nowhere."""
    try:
        return not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return True


def _check(document: Document, profile: Profile, name: str, left_out: set[Keys]) -> None:
    """What holds between the keys of a profile."""
    if profile.name is not None and profile.name != name:
        document.report(("name",), f'the file is called {name}.yaml; write name: {name}')
    if profile.lora is not None and profile.modbus is not None:
        document.report(("lora",), "a profile is for modbus or for lora, not for both", at_key=True)
    if profile.lora is not None:
        check_lora(document, profile.lora, left_out)
        _check_fields(document, profile, profile.lora, left_out)
        _check_units(document, profile)
        return
    for point, model in profile.points.items():
        _check_register(document, ("points", point), model, left_out)
    check_notation(document, profile.points)
    _check_units(document, profile)


def _check_units(document: Document, profile: Profile) -> None:
    """A unit is only a name; one that nobody knows is seldom meant."""
    for name, point in profile.points.items():
        if point.unit and not is_known(point.unit):
            document.report(("points", name, "unit"), *unknown_unit(point.unit), severity="warning")


def _check_fields(document: Document, profile: Profile, lora: LoraMap, left_out: set[Keys]) -> None:
    """The points of a payload: their fields are read, and what is written has its downlink."""
    fields = {name for name, _ in lora.live()}
    sent = {record.field for record in lora.downlink or ()}
    for name, point in profile.points.items():
        keys = ("points", name)
        for key in _MODBUS_KEYS:
            if document.value((*keys, key)) is not None:
                document.report((*keys, key), f'"{key}" is for Modbus, and this profile is for LoRa', at_key=True)
        if point.low is not None and point.high is not None and point.low > point.high:
            document.report((*keys, "low"), f"low {point.low:g} is above high {point.high:g}")
        if point.scale == 0 and (*keys, "scale") not in left_out:
            document.report((*keys, "scale"), "0 would make every value 0")
        if point.range_ is not None and (point.states is not None or point.kind == "state"):
            document.report((*keys, "range"), "what is on or off has no range", at_key=True)
        wanted = point.field or name
        if lora.cayenne and not re.fullmatch(r"[a-z_]+_[0-9]{1,3}(\.[a-z]+)?", wanted):
            document.report((*keys, "field"), f'"{wanted}" is no Cayenne field; write type and channel: temperature_1')
        if not fields:
            continue
        if wanted not in fields and not (point.writable and wanted in sent):
            near = did_you_mean(wanted, fields) or f"there are {', '.join(sorted(fields))}"
            document.report((*keys, "field"), f'unknown field "{wanted}"', near)
        if point.writable and wanted not in sent:
            document.report((*keys, "writable"), f'"{wanted}" has no record in lora.downlink that says how it is sent')


def _check_register(document: Document, keys: Keys, point: ProfilePoint, left_out: set[Keys]) -> None:
    for key, given in (("register", point.register_), ("address", point.address)):
        if given is None and (*keys, key) not in left_out:
            document.report(keys, f'"{key}" is missing in {keys[-1]}')
    if point.states is not None:
        document.report((*keys, "states"), '"states" is for LoRa, where a codec gives words', at_key=True)
    if point.range_ is not None:
        document.report((*keys, "range"), '"range" is for LoRa; a Modbus point has unavailable', at_key=True)
    if point.field is not None:
        document.report((*keys, "field"), '"field" is for LoRa; a Modbus point has register and address', at_key=True)
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
    if point.low is not None and point.high is not None and point.low > point.high:
        document.report((*keys, "low"), f"low {point.low:g} is above high {point.high:g}")
    if point.scale == 0 and (*keys, "scale") not in left_out:
        document.report((*keys, "scale"), "0 would make every value 0")


def _check_words(document: Document, keys: Keys, point: ProfilePoint) -> None:
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
        document.report((*keys, "type"), f"words for on and off are one register; a {point.type} is none")
    for key in ("bit", "scale", "offset", "unavailable", "low", "high", "moves"):
        if document.value((*keys, key)) is not None:
            document.report((*keys, key), f'"{key}" has no meaning beside words for on and off', at_key=True)


def _check_command(document: Document, keys: Keys, point: ProfilePoint) -> None:
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
