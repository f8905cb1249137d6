"""The site file's keys of LoRa buses and of the nodes on them, and their rules."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from agent.lib.files import read_regular
from agent.lib.secret import Kept
from agent.site.checks.brokers import check_login
from agent.site.language.base import Many
from agent.site.language.ports import Baudrate, Url
from agent.site.language.secret import Secret, Username
from agent.site.language.spellings import spell
from agent.site.language.values import DURATION, Choice, Decibel, FileName, Frequency, TimeSpan, number
from agent.site.models.bus import BusModel, DeviceOptions, SerialBus
from drivers.lora.config.keys import (
    Application,
    CommandTopic,
    Eui,
    EventTopic,
    Listen,
    PacketPattern,
    Variables,
    hexadecimal,
)

if TYPE_CHECKING:
    from agent.site.checks.names import Checked, PointRef
    from agent.site.models.devices import Device

__all__ = ["ChirpStackConfig", "Ebyte", "GwmpConfig", "LoraLineConfig", "RakP2pConfig", "Rn2483"]

spell({"deveui": "dev_eui", "appkey": "app_key"})

_AIR = 300.0
"""Seconds between two downlinks to a radio node that a duty cycle of 1 % and 10 % bears."""
_OF_OUR_SERVER = "adr", "rx1_delay", "rx2_spreading_factor"
_ABP = "dev_addr", "nwk_s_key", "app_s_key"
_AES_KEY = re.compile("[0-9a-fA-F]{32}")
_BANDWIDTHS = (125_000, 250_000, 500_000)
_WEAKEST, _STRONGEST = 5, 22  # dBm: AT+P2P of the RAK3172
_BAND = (863e6, 870e6)  # Hz: non-specific short range devices in Europe, ERC/REC 70-03 annex 1
_STRONG = (869.4e6, 869.65e6)  # Hz, where 500 mW ERP are allowed: more than the modem has
_USUAL = 14  # dBm: 25 mW ERP, everywhere else


class LorawanNode(DeviceOptions):
    family: ClassVar = "LoRaWAN"
    unique: ClassVar = ("dev_eui", "dev_addr")

    dev_eui: Eui | None = None
    """LoRaWAN: the device's EUI."""
    join_eui: Eui | None = None
    """LoRaWAN by OTAA."""
    app_key: Secret | None = None
    """LoRaWAN by OTAA."""
    dev_addr: Annotated[str, hexadecimal(8, "260b1234")] | None = None
    """LoRaWAN by ABP."""
    nwk_s_key: Secret | None = None
    """LoRaWAN by ABP."""
    app_s_key: Secret | None = None
    """LoRaWAN by ABP."""
    skip_fcnt_check: bool = False
    """LoRaWAN by ABP: accept a frame counter that begins again."""
    adr: Annotated[Literal["on", "off"], Choice("on", "off")] | None = None
    """LoRaWAN without a server: `off` leaves the node's data rate and power as they are. Default: on."""
    rx1_delay: TimeSpan | None = None
    """LoRaWAN without a server: whole seconds to the first receive window, 1 to 15; told when the node joins, by ABP as
    it is written in the node. Default: 5s; by ABP 1s."""
    rx2_spreading_factor: Annotated[int, Field(ge=7, le=12)] | None = None
    """LoRaWAN without a server: of the second receive window, like `rx1_delay`. Default: 12."""


class P2pNode(DeviceOptions):
    family: ClassVar = "a point to point radio"
    unique: ClassVar = ("node",)

    node: Annotated[str, hexadecimal(2, "01")] | None = None
    """Point to point radio: the byte that its payloads start with."""


class CodecConfig(DeviceOptions):
    in_address: ClassVar = False

    variables: Variables = Field(default_factory=dict)
    """LoRa: what its JavaScript codec finds in `input.variables`: {offset: 2, place: cellar}."""


class _Lora(BusModel):
    profile_kind: ClassVar = "lora"

    def check_refresh(self, at: Checked, name: str, _output: PointRef) -> None:
        """Every refresh is a downlink, and a sub-band has little time for them."""
        often = at.site.actuators[name].refresh
        if often is not None and often < _AIR:
            text = f"a downlink every {DURATION.format(often)} fills the air; write {DURATION.format(_AIR)} or more"
            at.warn(("actuators", name, "refresh"), text)

    def options(self, device: Device) -> dict[str, Any]:
        variables = cast(CodecConfig, device).variables
        told = {"stale_after": device.stale_after, "interval": device.interval}
        return {**told, "variables": dict(variables)} if variables else told


class _Lorawan(_Lora):
    device_options: ClassVar = (LorawanNode, CodecConfig)

    def check_output(self, at: Checked, name: str, output: PointRef) -> None:
        """A node of class A listens only after its own uplink."""
        lora = (at.site.devices[output.device].profile_data or {}).get("lora")
        if lora is not None and lora["class"] == "A":
            text = f"{output.device} is of class A: a command waits until it speaks by itself"
            at.warn(("actuators", name, "output"), text)


class ChirpStackConfig(_Lorawan):
    """A ChirpStack v4 network server, over its MQTT integration."""

    type: Literal["lora_chirpstack"]
    url: Url
    application: Application
    """The application's id."""
    username: Username | None = None
    password: Secret | None = None
    insecure: bool = False
    """Whether a password may go to another host without TLS, where others can read it."""
    ca: FileName | None = None
    cert: FileName | None = None
    key: FileName | None = None
    event_topic: EventTopic = "application/{application}/device/{dev_eui}/event/{event}"
    command_topic: CommandTopic = "application/{application}/device/{dev_eui}/command/down"

    def check(self, at: Checked, name: str) -> None:
        check_login(at, name, self)

    def check_device(self, at: Checked, name: str) -> None:
        """Keys that ChirpStack's device profile decides are refused."""
        for key in _OF_OUR_SERVER:
            if at.written("devices", name, key):
                text = f"{key} is ChirpStack's to say, in its device profile"
                at.error(("devices", name, key), text, at_key=True)

    def needs(self, _at: Checked, _name: str) -> Collection[str]:
        return ("dev_eui",)


class GwmpConfig(_Lorawan):
    """Our own network server, for gateways with the Semtech packet forwarder (UDP)."""

    type: Literal["lora_gwmp"]
    listen: Listen = "127.0.0.1:1700"
    """The protocol has no passwords: keep it on the machine, or in a network of its own."""
    gateways: Many[Eui] = ()
    """The gateways that are listened to."""

    def check(self, at: Checked, name: str) -> None:
        """The protocol has no passwords: a port that others can reach needs the list of the gateways."""
        reached = not _is_loopback(self.listen.rpartition(":")[0])
        if not self.gateways and reached and not at.wrong("buses", name, "gateways"):
            text = f"{self.listen} can be reached from other machines, and the protocol has no passwords"
            at.error(("buses", name, "listen"), text, 'write the EUIs that may speak: gateways: ["0102030405060708"]')
        servers = ((one, other) for one, other in at.site.buses.items() if isinstance(other, GwmpConfig))
        first = next(one for one, other in servers if other.listen == self.listen)
        if first != name:
            text = f"{self.listen} is already used by bus {first} (line {at.line('buses', first)})"
            at.error(("buses", name, "listen"), text)
        for device, settings in at.site.devices.items():
            if settings.bus == name:
                _check_session(at, device, cast(LorawanNode, settings))

    def needs(self, at: Checked, name: str) -> Collection[str]:
        """The keys of a session: by OTAA or by ABP."""
        by_abp = any(at.written("devices", name, key) for key in _ABP)
        return _ABP if by_abp else ("dev_eui", "join_eui", "app_key")


class _PointToPoint(_Lora):
    device_options: ClassVar = (P2pNode, CodecConfig)


class _Radio(_PointToPoint, SerialBus):
    baudrate: Baudrate = 115200
    frequency: Frequency
    spreading_factor: Annotated[int, Field(ge=5, le=12)] = 7
    bandwidth: Frequency = 125_000
    coding_rate: Annotated[Literal["4/5", "4/6", "4/7", "4/8"], Choice("4/5", "4/6", "4/7", "4/8")] = "4/5"
    preamble: Annotated[int, Field(ge=2, le=65535)] = 8
    power: Decibel = 14


class RakP2pConfig(_Radio):
    """A RAK3172 modem, point to point."""

    type: Literal["lora_rak_p2p"]

    def check(self, at: Checked, name: str) -> None:
        """Settings that the modem would refuse are errors, those that the law does not allow are warnings."""
        power, frequency = number(self.power), number(self.frequency / 1e6)
        if round(self.bandwidth) not in _BANDWIDTHS:
            text = f"{number(self.bandwidth / 1e3)} kHz is no bandwidth of this modem; "
            at.error(("buses", name, "bandwidth"), text + "write 125 kHz, 250 kHz or 500 kHz")
        if not _WEAKEST <= self.power <= _STRONGEST or self.power != round(self.power):
            text = f"{power} dBm is no power of this modem; write {_WEAKEST} to {_STRONGEST} dBm in whole steps"
            at.error(("buses", name, "power"), text)
        if not _BAND[0] <= self.frequency <= _BAND[1]:
            at.warn(("buses", name, "frequency"), f"{frequency} MHz is outside 863-870 MHz, the band of LoRa in Europe")
        elif _USUAL < self.power <= _STRONGEST and not _STRONG[0] <= self.frequency <= _STRONG[1]:
            text = f"{power} dBm is above {_USUAL} dBm (25 mW), the most at {frequency} MHz (ERC/REC 70-03)"
            at.warn(("buses", name, "power"), text)

    def needs(self, _at: Checked, _name: str) -> Collection[str]:
        return ("node",)


class LoraLineConfig(_PointToPoint, SerialBus):
    """Any modem that prints a line for each packet."""

    type: Literal["lora_line"]
    baudrate: Baudrate = 115200
    pattern: PacketPattern
    """The pattern of a line: (?P<data>…) is the payload in hexadecimal; (?P<rssi>…), (?P<snr>…), (?P<node>…)."""

    def check_output(self, at: Checked, name: str, output: PointRef) -> None:
        bus = at.site.devices[output.device].bus
        at.error(("actuators", name, "output"), f"{output.device} is on {bus}, a lora_line, which only listens")

    def needs(self, at: Checked, name: str) -> Collection[str]:
        """The only device of a line needs no byte to be told from others."""
        bus = at.site.devices[name].bus
        return ("node",) if sum(device.bus == bus for device in at.site.devices.values()) > 1 else ()


class Rn2483(_Radio):
    """A Microchip RN2483 modem, point to point. Not driven yet: nothing is read there."""

    type: Literal["lora_rn2483"]
    baudrate: Baudrate = 57600


class Ebyte(_PointToPoint, SerialBus):
    """An EBYTE E22, E220 or E32 modem in transparent mode. Not driven yet: nothing is read there."""

    type: Literal["lora_ebyte"]
    baudrate: Baudrate = 9600
    frequency: Frequency
    power: Decibel = 14


def _check_session(at: Checked, name: str, node: LorawanNode) -> None:
    """Rules for a node of our own network server."""
    if node.dev_addr is None and node.skip_fcnt_check:
        text = "skip_fcnt_check is for a device by ABP; one that joins begins at 0 by itself"
        at.error(("devices", name, "skip_fcnt_check"), text, None, True)
    if (delay := node.rx1_delay) and (delay % 1 or delay > 15):
        at.error(("devices", name, "rx1_delay"), "LoRaWAN knows 1s to 15s, whole seconds")
    for key in ("app_key", "nwk_s_key", "app_s_key"):
        if (secret := getattr(node, key)) is not None and secret.source == "file":
            _check_key(at, ("devices", name, key), secret)


def _check_key(at: Checked, keys: tuple[str, ...], secret: Kept) -> None:
    """A file that is there already is looked at; what is in it is never shown."""
    try:
        path = secret.folder / secret.name
        text, mode = read_regular(path, 65_536).decode("utf-8-sig"), path.stat().st_mode
    except (OSError, UnicodeDecodeError):
        return  # it may come later
    text = re.sub("[ :]", "", text.strip())
    if not _AES_KEY.fullmatch(text):
        at.warn(keys, f"{secret} has no AES-128 key in it", f"32 hexadecimal digits, not {len(text)} characters")
    if mode & 0o007:
        at.warn(keys, f"{secret} can be read by every user of this machine", shlex.join(["chmod", "600", str(path)]))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
