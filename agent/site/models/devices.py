"""Devices: what hangs on a bus, and which profile says what its points are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PrivateAttr, create_model

from agent.site.language.base import Model, Reference, Section
from agent.site.language.values import DeadbandText, Duration, TimeSpan
from agent.site.models.bus import DeviceOptions
from agent.site.models.buses import BUILT_IN
from agent.site.profiles.kinds import kind_of

__all__ = ["AnyDevice", "Device", "DevicePoint", "Publish", "device_model"]


class Publish(Model):
    """Report by exception: what is held back still serves control and the live view."""

    every: Duration | None = None
    """At most one value in this time; default: every poll."""
    deadband: DeadbandText | None = None
    """A value that moved less than this is held back."""
    max_silence: TimeSpan | None = None
    """One value at least in this time, moved or not."""


class DevicePoint(Model):
    """Keys of one point of a device."""

    poll: TimeSpan | None = None


class _Placed(Model):
    bus: Reference
    """The name of its bus."""
    profile: str | None = None
    """The register or payload map: of the package, or profiles/NAME.yaml beside this file, which wins."""


class Device(_Placed):
    """A meter, a module, a node. Which keys name it on its bus depends on the bus."""

    poll: TimeSpan | None = None
    """How often it is read. Default: the profile's; 1 s for relay and input modules, else 10 s."""
    points: Section[DevicePoint] = Field(default_factory=dict)
    """Keys of single points, by name."""
    publish: Publish = Publish.model_construct()
    personal: bool = False
    """Its readings tell about people: a daily index leaves the gateway, nothing finer."""
    stale_after: TimeSpan | None = None
    """A value older than this is stale. Default: three polls; for radio nodes three intervals as they are learned."""
    output_watchdog: TimeSpan | None = None
    """The device drops its outputs by itself when it gets no request for this long."""

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
        kind = kind_of(self._profile)
        return 10.0 if kind is None or self._profile is None else kind.usual_poll(self._profile)

    @property
    def interval(self) -> float | None:
        """Seconds between two readings: the poll, or what the profile says of a radio node; None if nothing does."""
        kind = kind_of(self._profile)
        if kind is None or kind.is_polled or self._profile is None:
            return self.period
        return kind.interval(self._profile)

    @property
    def is_polled(self) -> bool:
        """Whether it answers when it is asked. A radio node transmits by itself."""
        kind = kind_of(self._profile)
        return kind is None or kind.is_polled

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


def device_model(device_options: Iterable[type[DeviceOptions]]) -> Any:
    """The model of a device that has the keys of these drivers too."""
    # they stand between those of `_Placed` and of `Device`
    bases: Any = (Device, *reversed(tuple(device_options)), _Placed)
    return create_model("Device", __base__=bases, __doc__=Device.__doc__, __module__=__name__)


if TYPE_CHECKING:
    AnyDevice = Device
else:
    AnyDevice = device_model(BUILT_IN.device_options)
