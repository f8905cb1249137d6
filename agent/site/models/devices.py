"""Devices: what hangs on a bus, and which profile says what its points are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr

from agent.site.language.base import Model, Reference, Section
from agent.site.language.secret import Secret
from agent.site.language.values import Choice, DeadbandText, Duration, TimeSpan, Written, plain
from agent.site.models.buses import Eui

__all__ = ["Device", "DevicePoint", "Publish"]


def _hex(digits: int, example: str) -> Written:
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


class Publish(Model):
    """Report by exception: what is held back still serves control and the live view."""

    every: Duration | None = None
    """At most one value in this time; default: every poll."""
    deadband: DeadbandText | None = None
    """A value that moved less than this is held back."""
    max_silence: TimeSpan | None = None
    """One value at least in this time, moved or not."""


class DevicePoint(Model):
    """What one point of a device has for itself."""

    poll: TimeSpan | None = None


class Device(Model):
    """A meter, a module, a node. Which keys name it on its bus depends on the bus."""

    bus: Reference
    """The name of its bus."""
    profile: str | None = None
    """The register or payload map: of the package, or profiles/NAME.yaml beside this file, which wins."""
    unit_id: Annotated[int, Field(ge=0, le=255)] | None = None
    """Modbus: its address on the line, 1 to 247. Over TCP 0 to 255: 255 is usual for a device without a line."""
    dev_eui: Eui | None = None
    """LoRaWAN: the device's EUI."""
    join_eui: Eui | None = None
    """LoRaWAN by OTAA."""
    app_key: Secret | None = None
    """LoRaWAN by OTAA."""
    dev_addr: Annotated[str, _hex(8, "260b1234")] | None = None
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
    node: Annotated[str, _hex(2, "01")] | None = None
    """Point to point radio: the byte that its payloads start with."""
    variables: Variables = Field(default_factory=dict)
    """LoRa: what its JavaScript codec finds in `input.variables`: {offset: 2, place: cellar}."""
    poll: TimeSpan | None = None
    """How often it is read. Default: the profile's; 1 s for relay and input modules, else 10 s."""
    points: Section[DevicePoint] = Field(default_factory=dict)
    """What single points have for themselves."""
    publish: Publish = Publish.model_construct()
    personal: bool = False
    """Its readings tell about people: a daily index leaves the gateway, nothing finer."""
    stale_after: TimeSpan | None = None
    """A value older than this is stale. Default: three polls; for radio nodes three intervals as they are learnt."""
    output_watchdog: TimeSpan | None = None
    """The device drops its outputs by itself when it is not spoken to for this long."""

    _profile: Mapping[str, Any] | None = PrivateAttr(default=None)

    @property
    def profile_data(self) -> Mapping[str, Any] | None:
        """The profile, checked and with every default filled in; None for a device without one."""
        return self._profile

    def with_profile(self, profile: Mapping[str, Any] | None) -> Self:
        """Keep the profile that was loaded for it."""
        self._profile = profile
        return self

    @property
    def period(self) -> float:
        """Seconds between two polls, with the defaults."""
        if self.poll is not None:
            return self.poll
        points = (self._profile or {}).get("points", {}).values()
        modules = [point for point in points if point.get("register") in ("coil", "discrete")]
        fast = bool(modules) and (len(modules) == len(points) or any(point["writable"] for point in modules))
        return 1.0 if fast else 10.0

    @property
    def interval(self) -> float | None:
        """Seconds between two readings: the poll, or what the profile says of a radio node; None if nothing does."""
        if self._profile is not None and "lora" in self._profile:
            found = self._profile["lora"].get("interval")
            return None if found is None else float(found)
        return self.period

    def point_interval(self, point: str) -> float | None:
        """The same for one point: its own poll in the site file, else the profile's for it, else the device's."""
        own = self.points.get(point)
        if own is not None and own.poll is not None:
            return own.poll
        found = ((self._profile or {}).get("points", {}).get(point) or {}).get("poll")
        return self.interval if found is None else float(found)

    @property
    def stale(self) -> float | None:
        """Seconds after which its values are stale, with the default of three intervals."""
        if self.stale_after is not None:
            return self.stale_after
        return None if self.interval is None else 3 * self.interval
