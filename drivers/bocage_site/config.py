"""The site file's keys of a bus to another site and of the devices on it. `bocage check` alone imports this module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from agent.site.checks.brokers import check_login
from agent.site.language.base import Model, Name, Reference, Section
from agent.site.language.ports import Url
from agent.site.language.secret import Secret, Username
from agent.site.language.spellings import spell
from agent.site.language.units import is_known, unknown_unit
from agent.site.language.values import DURATION, Choice, FileName, TimeSpan
from agent.site.models.bus import BusModel, DeviceOptions, profile_point
from drivers.bocage_site.messages import MOST as MOST_NAMES

if TYPE_CHECKING:
    from agent.site.checks.names import Checked, PointRef
    from agent.site.models.devices import Device

__all__ = ["BocageSite", "OtherSite", "RemotePoint"]

spell({"distant": "remote", "demander": "ask", "autre_site": "site"})

LEAST, MOST = 5.0, 900.0
"""Seconds between two messages at the least and at the most: a message holds for three times that, at most an hour."""


class RemotePoint(Model):
    """A point of the other site."""

    from_: Reference = Field(alias="from")
    """Its name there: a signal, an actuator or device.point."""
    unit: str = ""
    """The unit that it has there."""
    kind: Annotated[Literal["telemetry", "state", "counter"], Choice("telemetry", "state", "counter")] | None = None
    """state is on or off, counter an index. Default: telemetry; state for what is asked for."""
    ask: bool = False
    """It is an output that is asked for, where `peers` of the other site lets us."""
    low: float | None = None
    """The least number that is asked for (kind: telemetry)."""
    high: float | None = None
    """The largest one."""

    @property
    def sort(self) -> str:
        """The kind with its default."""
        return self.kind or ("state" if self.ask else "telemetry")


class OtherSite(DeviceOptions):
    family: ClassVar = "a bus to another site"
    in_address: ClassVar = False

    remote: Section[RemotePoint] = Field(default_factory=dict)
    """Another site: its points that are used here, by the names that they have here."""


class BocageSite(BusModel):
    """Another site: its points, and wishes for its outputs."""

    type: Literal["bocage_site"]
    site: Name
    """The other site's `site.id`."""
    every: Annotated[TimeSpan, Field(ge=LEAST, le=MOST)] = 60
    """How often the other site tells its points, and how often a wish is repeated while it is wanted: it ends there
    after three of these. 5 s to 15 min."""
    uplink: bool = True
    """Whether the uplink's broker carries it. Without that, only the broker of `url` does."""
    url: Url | None = None
    """A broker on the network that both sites share, which carries it as well."""
    username: Username | None = None
    password: Secret | None = None
    insecure: bool = False
    """Whether a password may go to another host without TLS, where others can read it."""
    ca: FileName | None = None
    cert: FileName | None = None
    key: FileName | None = None

    device_options: ClassVar = (OtherSite,)

    @property
    def other_site(self) -> str:
        return self.site

    def check(self, at: Checked, name: str) -> None:
        keys = ("buses", name)
        if self.site == at.site.site.id:
            at.error((*keys, "site"), f"{self.site} is this site; write the id of the other one")
        for other, bus in at.site.buses.items():
            if other == name:
                break
            if isinstance(bus, BocageSite) and bus.site == self.site:
                line = at.line("buses", other)
                at.error((*keys, "site"), f"{self.site} is already the site of {other} (line {line})")
                break
        if self.url is not None:
            check_login(at, name, cast(Any, self))
        else:
            for key in ("username", "password", "insecure", "ca", "cert", "key"):
                if at.written(*keys, key):
                    at.error((*keys, key), f'"{key}" is for the broker of "url", and there is none', at_key=True)
        by_uplink = self.uplink and at.site.uplink is not None
        if self.url is None and not by_uplink and not at.wrong("uplink"):
            why = "the file has no uplink: that leaves" if self.uplink else "uplink: false leaves"
            at.error(keys, f"{why} no way to {self.site}", "write url: of a broker that both sites reach")
        if not any(device.bus == name for device in at.site.devices.values()) and self.site not in at.names("peers"):
            at.warn(keys, f"nothing of {self.site} is used here: no device is on {name}")
        remotes = [cast(OtherSite, device).remote for device in at.site.devices.values() if device.bus == name]
        read = {one.from_ for remote in remotes for one in remote.values() if not one.ask}
        if len(read) > MOST_NAMES:
            text = f"{len(read)} points of {self.site} are read here"
            text = f"{text}, and it takes no request for more than {MOST_NAMES}"
            at.warn(keys, text, "leave out those that nothing needs")

    def check_device(self, at: Checked, name: str) -> None:
        remote = cast(OtherSite, at.site.devices[name]).remote
        if at.written("devices", name, "poll"):
            at.error(("devices", name, "poll"), f"{self.site} tells by itself; leave poll out", at_key=True)
        if not remote and not at.has_wrong("devices", name, "remote"):
            example = "write remote: {level: {from: tank-level, unit: m}}"
            at.error(("devices", name), f"{name} has no point of {self.site}", example)
        asked: dict[str, str] = {}
        for point, one in remote.items():
            self._check_point(at, ("devices", name, "remote", point), one)
            if one.ask and asked.setdefault(one.from_, point) != point:
                at.error(("devices", name, "remote", point, "from"), f"{one.from_} is asked for by {asked[one.from_]}")

    def _check_point(self, at: Checked, keys: tuple[str, ...], one: RemotePoint) -> None:
        if one.unit and not is_known(one.unit):
            at.warn((*keys, "unit"), *unknown_unit(one.unit))
        if one.ask and one.sort == "counter":
            at.error((*keys, "kind"), "a counter cannot be asked for; write state or telemetry")
        for key in ("low", "high"):
            if getattr(one, key) is not None and not (one.ask and one.sort == "telemetry"):
                text = f'"{key}" is for a number that is asked for; write ask: true and kind: telemetry'
                at.error((*keys, key), text, at_key=True)
        if one.low is not None and one.high is not None:
            at.below(keys, one, "low", "high")

    def check_output(self, at: Checked, name: str, _output: PointRef) -> None:
        """A wish ends with its sender: an output that must be on without it cannot be another site's."""
        actuator = at.site.actuators[name]
        if actuator.safe_state == "on" or (isinstance(actuator.safe_state, float) and actuator.safe_state > 0):
            where = ("actuators", name, "safe_state" if at.written("actuators", name, "safe_state") else "output")
            text = f"{self.site} drops what is not asked for any more: {name} cannot stay on without this gateway"
            at.error(where, text, "write safe_state: off, or hold")
        for key in ("min_off", "max_on", "max_starts_per_hour"):
            if at.written("actuators", name, key):
                text = f"{key} bounds what is asked for here alone: others at {self.site} may move it; write it there"
                at.warn(("actuators", name, key), text)

    def check_refresh(self, at: Checked, name: str, _output: PointRef) -> None:
        text = f"a wish is repeated every {DURATION.format(self.every)} by itself; leave refresh out"
        at.error(("actuators", name, "refresh"), text, at_key=True)

    def points(self, device: Device) -> Mapping[str, Any]:
        remote = cast(OtherSite, device).remote
        return {
            name: profile_point(one.unit, one.sort, one.ask, one.low, one.high)
            | {"remote": one.from_, "poll": self.every}
            for name, one in remote.items()
        }

    def options(self, device: Device) -> dict[str, Any]:
        return {"stale_after": 3 * self.every if device.stale_after is None else device.stale_after}

    def address(self, _device: Device) -> dict[str, Any]:
        return {"site": self.site}
