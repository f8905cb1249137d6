"""Buses: the wires and radios that devices hang on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Discriminator, Field, Tag

from agent.lib.pattern import Pattern, TooSlow, slow_line
from agent.site.language.base import Many, Model
from agent.site.language.secret import Secret, Username
from agent.site.language.values import Choice, Decibel, FileName, Frequency, TimeSpan, Written, plain

__all__ = ["BUS_TYPES", "LORAWAN", "MODBUS", "Bus", "ChirpStack", "Gpio", "ModbusRtu", "ModbusTcp", "PluginBus", "Url"]

MODBUS = {"modbus_rtu", "modbus_tcp", "modbus_rtu_over_tcp"}
LORAWAN = {"lora_chirpstack", "lora_gwmp"}


def _port(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError(f"{plain(value)} is not a serial port; write its path, such as /dev/serial/by-id/usb-FTDI-0")
    path, _, speed = value.rpartition(":")
    if re.fullmatch("[0-9]{4,7}", speed):
        raise ValueError(f"{plain(value)} is not a serial port; write port: {path}, baudrate: {speed}")
    return value


def _host(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    parts = text.removesuffix(".").split(".")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", text) or not all(0 < len(part) <= 63 for part in parts):
        raise ValueError(f"{plain(value)} is not a host; write its name or address, such as 192.168.1.20")
    return text


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


def _url(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if "@" in text:  # wherever a "/", "#" or "?" of the password has left it
        raise ValueError("a secret in the file; take it out of the address, and write username and password keys")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{plain(value)} is not an address; write mqtts://HOST:8883") from None
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or port == 0:
        raise ValueError(f"{plain(value)} is not an address; write mqtt://HOST:1883, or mqtts://HOST:8883 with TLS")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("the address has more than host and port; topics go under prefix")
    return text


Url = Annotated[
    str,
    Written(_url, {"type": "string", "pattern": "^mqtts?://[^/@]+/?$"}, "mqtt://HOST[:1883], or mqtts://HOST[:8883]"),
]


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
SerialPort = Annotated[
    str, Written(_port, {"type": "string", "pattern": "^/"}, "a serial port by /dev/serial/by-id or by-path")
]
Eui = Annotated[str, Written(_eui, {"type": "string", "pattern": "^[0-9a-fA-F]{16}$"}, "16 hexadecimal digits")]
Host = Annotated[str, Written(_host, {"type": "string"}, "a host's name or address")]
TcpPort = Annotated[int, Field(ge=1, le=65535)]
Baudrate = Annotated[int, Field(ge=300, le=4_000_000)]
_PARITY = Choice("N", "E", "O")


def _parity(value: Any) -> str:
    frame = re.fullmatch("[5-8]([neoNEO])([12])", value) if isinstance(value, str) else None
    if frame is not None:
        hint = f"write parity: {frame[1].upper()}, stopbits: {frame[2]}"
        raise ValueError(f"{plain(value)} is none of {_PARITY.words}; {hint}")
    return str(_PARITY.parse(value))


Parity = Annotated[Literal["N", "E", "O"], Written(_parity, _PARITY.schema, _PARITY.words)]
StopBits = Annotated[int, Field(ge=1, le=2)]


class Serial(Model):
    port: SerialPort
    """By /dev/serial/by-id or by-path: ttyUSB0 may be another adapter after the next start."""


class ModbusRtu(Serial):
    """An RS-485 line with Modbus RTU."""

    type: Literal["modbus_rtu"]
    baudrate: Baudrate = 9600
    parity: Parity = "N"
    """N, E or O."""
    stopbits: StopBits = 1
    timeout: TimeSpan = 0.5
    """How long a device may take to answer."""


class ModbusTcp(Model):
    """A host that speaks Modbus TCP; behind a gateway it has several unit ids."""

    type: Literal["modbus_tcp"]
    host: Host
    port: TcpPort = 502
    timeout: TimeSpan = 1


class ModbusRtuOverTcp(Model):
    """An RS-485 line behind a serial server that passes RTU frames on as they are."""

    type: Literal["modbus_rtu_over_tcp"]
    host: Host
    port: TcpPort
    timeout: TimeSpan = 1


class Gpio(Model):
    """The pins of the Raspberry Pi itself, by their BCM numbers: gpio.17."""

    type: Literal["gpio"]


class ChirpStack(Model):
    """A ChirpStack v4 network server, over its MQTT integration."""

    type: Literal["lora_chirpstack"]
    url: Url
    application: Annotated[str, Written(_level, {"type": "string", "pattern": "^[^/+#{}]+$"}, "the application's id")]
    """The application's id."""
    username: Username | None = None
    password: Secret | None = None
    insecure: bool = False
    """Whether a password may go to another host without TLS, readable for everybody on the way."""
    ca: FileName | None = None
    cert: FileName | None = None
    key: FileName | None = None
    event_topic: EventTopic = "application/{application}/device/{dev_eui}/event/{event}"
    command_topic: CommandTopic = "application/{application}/device/{dev_eui}/command/down"


def _listen(value: Any) -> str:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f'{plain(value)} is not an address and port; write "127.0.0.1:1700"')
    return str(value)


class Gwmp(Model):
    """Our own network server, for gateways with the Semtech packet forwarder (UDP)."""

    type: Literal["lora_gwmp"]
    listen: Annotated[str, Written(_listen, {"type": "string"}, 'an address and port, such as "127.0.0.1:1700"')] = (
        "127.0.0.1:1700"
    )
    """The protocol has no passwords: keep it on the machine, or in a network of its own."""
    gateways: Many[Eui] = ()
    """The gateways that are listened to."""


class Radio(Serial):
    baudrate: Baudrate = 115200
    frequency: Frequency
    spreading_factor: Annotated[int, Field(ge=5, le=12)] = 7
    bandwidth: Frequency = 125_000
    coding_rate: Annotated[Literal["4/5", "4/6", "4/7", "4/8"], Choice("4/5", "4/6", "4/7", "4/8")] = "4/5"
    preamble: Annotated[int, Field(ge=2, le=65535)] = 8
    power: Decibel = 14


class RakP2p(Radio):
    """A RAK3172 modem, point to point."""

    type: Literal["lora_rak_p2p"]


class LoraLine(Serial):
    """Any modem that prints a line for each packet."""

    type: Literal["lora_line"]
    baudrate: Baudrate = 115200
    pattern: Annotated[str, Written(_pattern, {"type": "string"}, "a regular expression with (?P<data>…)")]
    """What a line looks like: (?P<data>…) is the payload in hexadecimal; (?P<rssi>…), (?P<snr>…), (?P<node>…)."""


class Rn2483(Radio):
    """A Microchip RN2483 modem, point to point. Not driven yet: nothing is read there."""

    type: Literal["lora_rn2483"]
    baudrate: Baudrate = 57600


class Ebyte(Serial):
    """An EBYTE E22, E220 or E32 modem in transparent mode. Not driven yet: nothing is read there."""

    type: Literal["lora_ebyte"]
    baudrate: Baudrate = 9600
    frequency: Frequency
    power: Decibel = 14


class LinkyTic(Serial):
    """The customer output of a Linky meter. Not driven yet: nothing is read there."""

    type: Literal["linky_tic"]
    mode: Annotated[Literal["historique", "standard"], Choice("historique", "standard")] = "historique"


class Mbus(Serial):
    """A wired M-Bus behind a level converter. Not driven yet: nothing is read there."""

    type: Literal["mbus"]
    baudrate: Baudrate = 2400
    parity: Parity = "E"
    stopbits: StopBits = 1
    timeout: TimeSpan = 1


BUS_TYPES = (
    "modbus_rtu", "modbus_tcp", "modbus_rtu_over_tcp", "gpio", "lora_chirpstack", "lora_gwmp", "lora_rak_p2p",
    "lora_line", "lora_rn2483", "lora_ebyte", "linky_tic", "mbus",
)  # fmt: skip


class PluginBus(Model):
    """A bus of a driver that is installed apart (entry points `bocage.drivers`); its keys are its own."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(BUS_TYPES)}})]


def _tag(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(found, str) or found in BUS_TYPES:
        return found if isinstance(found, str) else None
    from importlib.metadata import entry_points

    return "plugin" if entry_points(group="bocage.drivers", name=found) else found


Bus = Annotated[
    Annotated[ModbusRtu, Tag("modbus_rtu")]
    | Annotated[ModbusTcp, Tag("modbus_tcp")]
    | Annotated[ModbusRtuOverTcp, Tag("modbus_rtu_over_tcp")]
    | Annotated[Gpio, Tag("gpio")]
    | Annotated[ChirpStack, Tag("lora_chirpstack")]
    | Annotated[Gwmp, Tag("lora_gwmp")]
    | Annotated[RakP2p, Tag("lora_rak_p2p")]
    | Annotated[LoraLine, Tag("lora_line")]
    | Annotated[Rn2483, Tag("lora_rn2483")]
    | Annotated[Ebyte, Tag("lora_ebyte")]
    | Annotated[LinkyTic, Tag("linky_tic")]
    | Annotated[Mbus, Tag("mbus")]
    | Annotated[PluginBus, Tag("plugin")],
    Discriminator(_tag),
]
