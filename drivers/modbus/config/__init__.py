"""The site file's keys of Modbus buses and of the devices on them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

from pydantic import Field

from agent.site.language.ports import Baudrate, Host, Parity, StopBits, TcpPort
from agent.site.language.spellings import spell
from agent.site.language.values import DURATION, TimeSpan
from agent.site.models.bus import BusModel, DeviceOptions, SerialBus
from drivers.modbus.config.load import check_load, line_load

if TYPE_CHECKING:
    from agent.site.checks.names import Checked, PointRef
    from agent.site.models.site import Site

__all__ = ["ModbusDevice", "ModbusRtu", "ModbusRtuOverTcp", "ModbusTcp"]

spell(
    {
        "address": "unit_id", "adresse": "unit_id", "slave": "unit_id", "slave_id": "unit_id", "esclave": "unit_id",
        "unit": "unit_id", "id": "unit_id", "vitesse": "baudrate", "baud": "baudrate", "speed": "baudrate",
        "bauds": "baudrate", "parité": "parity", "parite": "parity",
    },
    {
        "none": "N", "aucune": "N", "sans": "N", "even": "E", "paire": "E", "pair": "E", "odd": "O", "impaire": "O",
        "impair": "O",
    },
)  # fmt: skip

_ON_A_LINE = range(1, 248)


class ModbusDevice(DeviceOptions):
    family: ClassVar = "Modbus"
    unique: ClassVar = ("unit_id",)
    watches: ClassVar = True

    unit_id: Annotated[int, Field(ge=0, le=255)] | None = None
    """Modbus: its address on the line, 1 to 247. Over TCP 0 to 255: 255 is usual for a device without a line."""


class _Modbus(BusModel):
    device_options: ClassVar = (ModbusDevice,)
    profile_kind: ClassVar = "modbus"
    needs_profile: ClassVar = True
    unit_ids: ClassVar[range] = _ON_A_LINE

    def check_device(self, at: Checked, name: str) -> None:
        """A unit id of 0 or above 247 is for a host without a line behind it."""
        unit = cast(ModbusDevice, at.site.devices[name]).unit_id
        if unit is not None and unit not in self.unit_ids:
            bound = "too little; write at least 1" if unit == 0 else "too much; write at most 247"
            text = f"{unit} is {bound}: 0 and 248 to 255 are for modbus_tcp"
            at.error(("devices", name, "unit_id"), text)

    def check_output(self, at: Checked, name: str, output: PointRef) -> None:
        """A number in a holding register says nothing about on and off."""
        actuator, data = at.site.actuators[name], output.data
        number = data.get("register") == "holding" and data["type"] != "bool" and data["bit"] is None
        if actuator.kind == "relay" and number and not data.get("moves"):
            at.error(
                ("actuators", name, "output"),
                f"{actuator.output} is a {data['type']}, and nothing says what on is; "
                "write type: bool (1 and 0) or on: and off: in its profile, or kind: level here",
            )

    def check_refresh(self, at: Checked, name: str, output: PointRef) -> None:
        """A refresh faster than the poll hides what the device falls back to."""
        often, device = at.site.actuators[name].refresh, at.site.devices[output.device]
        if often is not None and often < (device.interval or 0):
            poll = DURATION.format(device.interval or 0)
            at.warn(
                ("actuators", name, "refresh"),
                f"{DURATION.format(often)} is shorter than the poll of {output.device}, {poll}: "
                "its fallback would go unseen until then",
            )

    def needs(self, _at: Checked, _name: str) -> Collection[str]:
        return ("unit_id",)


class ModbusRtu(_Modbus, SerialBus):
    """An RS-485 line with Modbus RTU."""

    type: Literal["modbus_rtu"]
    baudrate: Baudrate = 9600
    parity: Parity = "N"
    """N, E or O."""
    stopbits: StopBits = 1
    timeout: TimeSpan = 0.5
    """How long a device may take to answer."""

    def check_devices(self, at: Checked, name: str) -> None:
        check_load(at, name)

    def load(self, site: Site, name: str) -> float:
        return line_load(site, name)


class ModbusTcp(_Modbus):
    """A Modbus TCP host; a gateway has several unit ids behind it."""

    type: Literal["modbus_tcp"]
    host: Host
    port: TcpPort = 502
    timeout: TimeSpan = 1

    unit_ids: ClassVar[range] = range(256)


class ModbusRtuOverTcp(_Modbus):
    """An RS-485 line behind a serial server that passes RTU frames on as they are."""

    type: Literal["modbus_rtu_over_tcp"]
    host: Host
    port: TcpPort
    timeout: TimeSpan = 1
