"""The site file as a whole, and its sections about the site itself, its clock, its uplink and privacy."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, create_model

from agent.control.calendar import PREPARED, Calendar, GivenHolidays
from agent.services.registry import SERVICES, Service
from agent.site.language.base import Many, Model, Name, Reference, Section, Timezone
from agent.site.language.days import Feast
from agent.site.language.ports import Url, broker
from agent.site.language.secret import Secret, Username
from agent.site.language.values import (
    Choice,
    Duration,
    FileName,
    LongDuration,
    MessageSize,
    Size,
    TimeSpan,
    Written,
    plain,
)
from agent.site.models.actuators import ActuatorConfig
from agent.site.models.buses import BUILT_IN, Bus, BusTypes, bus_types
from agent.site.models.calendars import CalendarConfig
from agent.site.models.devices import AnyDevice, device_model
from agent.site.models.holidays import HolidayFile
from agent.site.models.peers import Peer
from agent.site.models.signals import SignalConfig

__all__ = ["SERVICES", "BufferConfig", "ClockSettings", "Privacy", "Site", "SiteInfo", "UplinkConfig", "site_model"]


def _topic(value: object) -> str:
    if not isinstance(value, str) or not value or set(value) & set("+#$\0") or value[0] == "/" or value[-1] == "/":
        raise ValueError(f"{plain(value)} is not the beginning of a topic; write one such as bocage/v1")
    return value


Topic = Annotated[str, Written(_topic, {"type": "string", "pattern": "^[^+#$/][^+#$]*$"}, "the beginning of a topic")]


def _holidays(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", value):
        raise ValueError(f"{plain(value)} is not a country; write FR, or FR-57 with its subdivision")
    if value != "FR":  # which saves the time of asking
        try:
            Calendar(public=value).is_public_holiday(date(PREPARED.start, 1, 1))
        except ValueError as error:
            raise ValueError(f"{error}; write FR, or FR-57 with its subdivision") from None
    return value


Holidays = Annotated[str, Written(_holidays, {"type": "string"}, "a country and its subdivision, FR or FR-57")]


def _protocol(value: object) -> int | str:
    if value in (5, "3.1.1") and not isinstance(value, bool):
        return 5 if value == 5 else "3.1.1"
    raise ValueError(f"{plain(value)} is not a supported version of MQTT; write 5 or 3.1.1")


class SiteInfo(Model):
    """Which site this is and where it lies."""

    id: Name
    """The name of the site in topics. It stays the same for good."""
    name: str = ""
    """The name of the site for people."""
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    """Degrees, north is positive; needed where the sun decides."""
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    """Degrees, east is positive; needed where the sun decides."""
    timezone: Timezone = "Europe/Paris"
    """By which all times in this file are meant."""
    public_holidays: Holidays | None = None
    """Country of the public holidays, with a subdivision where it has its own: FR, FR-57, FR-6AE."""
    more_holidays: Many[Feast] = ()
    """Public holidays that the country does not have: a patron saint's day."""
    no_holidays: Many[Feast] = ()
    """Public holidays of the country that are ordinary days here: good_friday in a commune of Moselle without a temple
    (Code du travail, L3134-13)."""
    school_zone: Annotated[Literal["A", "B", "C"] | None, Choice("A", "B", "C")] = None
    """Zone of the French school holidays, of the mainland. Overseas has calendars of its own: see holiday_tables."""
    holiday_tables: HolidayFile | None = None
    """Tables that win over the program's: school (first and last days, by zone or for the site) and public (days)."""


class ClockSettings(Model):
    """When the wall clock is trusted."""

    trust: Annotated[Literal["auto", "always", "never"], Choice("auto", "always", "never")] = "auto"
    """auto asks systemd-timesyncd or the kernel. A step of more than a minute is followed after holding for 10 min."""


class BufferConfig(Model):
    """How much is kept while the uplink is away."""

    days: Annotated[float, Field(gt=0, le=3650)] = 30
    """Readings older than this are dropped, in days."""
    max: Size = 200_000_000
    """The most that the outbox takes on the disk."""


class CommandsConfig(Model):
    """The permissions for commands over MQTT."""

    allow: Many[str] | None = None
    """Actuators and points by name, or with * (alarm.*, *.latch); default: all actuators, alarms and
    what services take commands on, such as latches and the mode of a zone.

    A meter's index, and an output that is no actuator's, only by its own name."""


class UplinkConfig(Model):
    """The MQTT broker that everything goes to and commands come from."""

    url: Url
    """mqtts:// with TLS, mqtt:// without."""
    insecure: bool = False
    """Whether a password may go to another host without TLS, where others can read it."""
    fallback: Many[Url] = ()
    """Brokers that are asked when this one does not answer, with the same credentials."""
    prefix: Topic = "bocage/v1"
    """The beginning of all topics."""
    protocol: Annotated[
        Literal[5, "3.1.1"], Written(_protocol, {"enum": [5, "3.1.1"]}, "5 or 3.1.1")
    ] = 5  # fmt: skip
    """The version of MQTT."""
    client_id: Name | None = None
    """Default: bocage- and the site's id."""
    username: Username | None = None
    """As text, or kept like a secret."""
    password: Secret | None = None
    """Never in the file itself."""
    ca: FileName | None = None
    """Certificates of the trusted authorities; default: the system's."""
    cert: FileName | None = None
    """The gateway's own certificate."""
    key: FileName | None = None
    """The private key of cert."""
    keepalive: Annotated[TimeSpan, Field(le=18 * 3600)] = 30
    """A link that is silent for longer is dead."""
    min_interval: Duration = 0
    """The least time between two messages, for links that are paid by the message."""
    state_interval: Duration = 60
    """The least time between two publications of the last values."""
    session_expiry: Duration = 3600
    """How long the broker keeps commands for us while we are away (MQTT 5)."""
    max_message: MessageSize = 16_000
    """The longest message; less than the broker's own limit (a longer record is sent alone)."""
    compress: bool | None = None
    """Whether history goes compressed (zlib); default: with MQTT 5, not with 3.1.1."""
    commands: CommandsConfig = CommandsConfig.model_construct()
    buffer: BufferConfig = BufferConfig.model_construct()
    durability_window: Annotated[TimeSpan, Field(le=600)] = 5
    """How long a reading may wait before it is on flash: what a power cut loses at most."""

    @property
    def tls(self) -> bool:
        return broker(self.url)[2]

    @property
    def host(self) -> str:
        return broker(self.url)[0]

    @property
    def port(self) -> int:
        return broker(self.url)[1]


class Privacy(Model):
    """Personal data (RGPD)."""

    personal: Many[Reference] = ()
    """Devices and signals that tell about people."""
    publish_step: LongDuration = 86400
    """Refused where something is personal: what is personal stays on the gateway, at every step."""
    log_retention: LongDuration = 180 * 86400
    """How long an audit record may wait for the broker, in time that the box was on. Then it is dropped."""


def _given(value: object) -> object:
    return {} if value is None else value


class Installation(Model):
    """The sections of a site file that come before the services'."""

    version: Literal[1] = 1
    """The version of this format."""
    site: SiteInfo
    """Which site this is and where it lies."""
    clock: Annotated[ClockSettings, BeforeValidator(_given)] = ClockSettings.model_construct()
    """When the wall clock is trusted."""
    uplink: UplinkConfig | None = None
    """Where everything goes. Without it readings stay on the gateway."""
    buses: Section[Bus] = Field(default_factory=dict)
    """Wires and radios."""
    devices: Section[AnyDevice] = Field(default_factory=dict)
    """The devices on the buses."""
    signals: Section[SignalConfig] = Field(default_factory=dict)
    """Measurements with names of their own."""
    actuators: Section[ActuatorConfig] = Field(default_factory=dict)
    """Outputs that may be commanded."""
    calendars: Section[CalendarConfig] = Field(default_factory=dict)
    """When something is on that the services ask for: the hall is booked, the market is held."""
    peers: Section[Peer] = Field(default_factory=dict)
    """Other sites, by their `site.id`: what they may ask for, and read."""


def _with_services() -> Any:
    """The model with a section for each service of the registry."""
    sections: dict[str, Any] = {}
    for service in SERVICES:
        model = service.model
        if service.is_named:
            sections[service.name] = (Section[model], Field(default_factory=dict))  # type: ignore[valid-type]
        else:
            sections[service.name] = (Annotated[model, BeforeValidator(_given)], model.model_construct())
    return create_model("Served", __base__=Installation, __module__=__name__, **sections)


if TYPE_CHECKING:
    Served = Installation
else:
    Served = _with_services()


class Site(Served):
    """One site: what hangs on its wires, what is measured and commanded, and the services that run on them."""

    privacy: Annotated[Privacy, BeforeValidator(_given)] = Privacy.model_construct()
    """Personal data."""

    bus_types: ClassVar[BusTypes] = BUILT_IN

    _path: Path = PrivateAttr(default=Path())
    _hash: str = PrivateAttr(default="")
    _given: GivenHolidays | None = PrivateAttr(default=None)

    @property
    def given_holidays(self) -> GivenHolidays | None:
        """The holiday tables of its own."""
        return self._given

    @property
    def path(self) -> Path:
        """The file that this was read from."""
        return self._path

    @property
    def config_hash(self) -> str:
        """`sha256:…` of the file's bytes."""
        return self._hash

    def services(self) -> Iterator[tuple[Service, Any]]:
        """The services, each with its section of the file; a section that the file does not have is empty."""
        for service in SERVICES:
            yield service, getattr(self, service.name)

    def read_from(self, path: Path, digest: str, given: GivenHolidays | None = None) -> Self:
        """Note where it comes from, and the holiday tables beside it."""
        self._path, self._hash, self._given = path, digest, given
        return self


def site_model(foreign: Collection[str]) -> type[Site]:
    """The model of a site that may have buses of these types, which other distributions drive."""
    if not foreign:
        return Site
    types = bus_types(sorted(foreign))
    sections: dict[str, Any] = {"buses": types.bus, "devices": device_model(types.device_options)}
    fields: Any = {name: (Section[one], Field(default_factory=dict)) for name, one in sections.items()}  # type: ignore[valid-type]
    made: type[Site] = create_model("Site", __base__=Site, __doc__=Site.__doc__, __module__=__name__, **fields)
    made.bus_types = types
    return made
