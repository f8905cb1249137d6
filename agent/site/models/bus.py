"""The common part of the models of buses. A driver's `config.py` derives its own from these.

The keys of a bus are the fields of its model. Keys that a driver needs on its devices are in `DeviceOptions`, which
become part of the model of all devices: their names must differ from those of other drivers.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from agent.site.language.base import Model
from agent.site.language.ports import SerialPort
from drivers.registry import find

if TYPE_CHECKING:
    from agent.site.checks.names import Checked, PointRef
    from agent.site.models.devices import Device
    from agent.site.models.site import Site

__all__ = ["BusModel", "DeviceOptions", "SerialBus", "profile_point"]


def profile_point(
    unit: str = "", kind: str = "telemetry", writable: bool = False, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    """A point of a device without a profile. `kind`: telemetry, state, counter or diagnostic; `low` and `high` bound
    what may be written."""
    return {"unit": unit, "kind": kind, "writable": writable, "low": low, "high": high}


class DeviceOptions(Model):
    """Keys that devices have for one family of buses."""

    family: ClassVar[str] = ""
    """The buses that the keys are for, in messages: Modbus. Empty: `check` does not say where they do not belong."""
    unique: ClassVar[tuple[str, ...]] = ()
    """Keys that no two devices of a bus have alike."""
    watches: ClassVar[bool] = False
    """Whether these devices may have an `output_watchdog`: they drop their outputs when they are not polled."""
    in_address: ClassVar[bool] = True
    """Whether a driver gets the keys in `DeviceSpec.address`."""


OptionModel = type[DeviceOptions]
"""BusModel has a field `type`, and is used as the built-in of this name there."""


class BusModel(Model):
    """A bus of the site file, with what `check` and the translation of the file ask of it.

    A rule that is broken is reported with `at.error` or `at.warn`, at the place in the file that its keys name.
    """

    if TYPE_CHECKING:
        type: str

    device_options: ClassVar[tuple[OptionModel, ...]] = ()
    """The keys that its devices have beside those of every device."""
    profile_kind: ClassVar[str] = ""
    """The section of a profile that makes it one for this bus: modbus, lora. Empty: its devices have none."""
    needs_profile: ClassVar[bool] = False
    has_pins: ClassVar[bool] = False
    """Whether it has pins, which are named bus.NUMBER and are no devices of the file."""

    @property
    def is_radio(self) -> bool:
        """Whether its devices transmit by themselves."""
        driver = find(self.type)
        return driver is not None and driver.is_radio

    @property
    def other_site(self) -> str | None:
        """The id of the other site whose points these are; None for a bus of our own devices."""
        return None

    @property
    def wire(self) -> tuple[str, str] | None:
        """The resource that no other bus may use, and its key. Default: the serial port, or the host and its port."""
        port, host = getattr(self, "port", None), getattr(self, "host", None)
        if isinstance(port, str):
            return os.path.normpath(port), "port"
        return None if host is None else (f"{'127.0.0.1' if host == 'localhost' else host}:{port}", "host")

    def check(self, at: Checked, name: str) -> None:
        """Rules between the keys of the bus. `name` is what the file calls it."""

    def check_device(self, at: Checked, name: str) -> None:
        """Rules for a device of this bus."""

    def check_devices(self, at: Checked, name: str) -> None:
        """Rules for all devices of this bus together, once their profiles are known."""

    def check_output(self, at: Checked, name: str, output: PointRef) -> None:
        """Rules for the actuator `name` whose output is a point of a device of this bus."""

    def check_refresh(self, at: Checked, name: str, output: PointRef) -> None:
        """Whether that actuator is written again too often."""

    def check_pin(self, at: Checked, name: str, number: int) -> None:
        """Rules for the actuator `name` on a pin of this bus."""

    def pin(self, name: str, text: str) -> int:
        """The number of a pin. ValueError, with what to write, if there is none such. `name` is the bus."""
        raise ValueError(f'{name} has no pin "{text}"')

    def needs(self, _at: Checked, _name: str) -> Collection[str]:
        """The keys that a device must have on this bus."""
        return ()

    def points(self, _device: Device) -> Mapping[str, Any] | None:
        """The points of a device that has no profile, each by its name as a `profile_point`. None: it has no points."""
        return None

    def load(self, _site: Site, _name: str) -> float | None:
        """The share of its time that the wire is asked for, 1 for all of it; None where that is not known."""
        return None

    def address(self, device: Device) -> dict[str, Any]:
        """The keys that address a device on this bus, for the driver. Default: those of its options that are set."""
        keys = (key for options in self.device_options if options.in_address for key in options.model_fields)
        return {key: value for key in keys if (value := getattr(device, key)) is not None}

    def options(self, _device: Device) -> dict[str, Any]:
        """Further options of a device for its driver."""
        return {}


class SerialBus(BusModel):
    port: SerialPort
    """By /dev/serial/by-id or by-path: ttyUSB0 may be another adapter after the next start."""
