"""The site file's keys of the bus and of the devices on it. `bocage check` alone imports this module."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from agent.site.language.ports import Host, TcpPort
from agent.site.language.spellings import spell
from agent.site.language.values import TimeSpan
from agent.site.models.bus import BusModel, DeviceOptions, profile_point

if TYPE_CHECKING:
    from agent.site.checks.names import Checked
    from agent.site.models.devices import Device

__all__ = ["Blueprint", "Channel"]

spell({"voie": "channel", "grandeur": "measures"})  # for hints: "did you mean channel?"


class Channel(DeviceOptions):
    family: ClassVar = "data loggers"
    unique: ClassVar = ("channel",)

    channel: Annotated[int, Field(ge=0, le=15)] | None = None
    """Data logger: its input, 0 to 15."""
    measures: str = ""
    """Data logger: the unit of its value."""


class Blueprint(BusModel):
    """A data logger that answers one line of text for each channel."""

    type: Literal["blueprint"]
    host: Host
    port: TcpPort = 4001
    timeout: TimeSpan = 1
    """How long it may take to answer."""

    device_options: ClassVar = (Channel,)

    def needs(self, _at: Checked, _name: str) -> Collection[str]:
        return ("channel",)

    def points(self, device: Device) -> Mapping[str, Any]:
        """A channel has a value that is read, and an output that is switched."""
        unit = cast(Channel, device).measures
        return {"value": profile_point(unit), "output": profile_point(kind="state", writable=True)}

    def check_device(self, at: Checked, name: str) -> None:
        """A rule of its own, at the place in the file where it is broken."""
        if cast(Channel, at.site.devices[name]).channel == 0 and at.written("devices", name, "measures"):
            at.warn(("devices", name, "measures"), "channel 0 is the logger's own battery, in V; leave measures out")
