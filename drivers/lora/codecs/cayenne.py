"""Cayenne Low Power Payload: records of channel, type and value, the types fixed for all devices.

Source of types and scales: myDevices, "Cayenne Docs", chapter LoRa, Data Types (IPSO object id less 3200), and the
types that the library CayenneLPP of ElectronicCats adds to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.lora.codecs.downlink import Declared
from drivers.lora.codecs.fields import Layout
from drivers.lora.codecs.result import CodecError, Decoded

__all__ = ["Cayenne"]


def _one(name: str, kind: str, scale: float = 1) -> tuple[str, tuple[dict[str, Any], ...]]:
    return name, ({"field": name, "type": kind, "scale": scale},)


def _many(name: str, kind: str, parts: Mapping[str, float]) -> tuple[str, tuple[dict[str, Any], ...]]:
    return name, tuple({"field": part, "type": kind, "scale": scale} for part, scale in parts.items())


_TYPES = {
    0: _one("digital_input", "u8"),
    1: _one("digital_output", "u8"),
    2: _one("analog_input", "i16be", 0.01),
    3: _one("analog_output", "i16be", 0.01),
    100: _one("generic", "u32be"),
    101: _one("illuminance", "u16be"),  # lx
    102: _one("presence", "u8"),
    103: _one("temperature", "i16be", 0.1),  # degC
    104: _one("humidity", "u8", 0.5),  # %
    113: _many("accelerometer", "i16be", {"x": 0.001, "y": 0.001, "z": 0.001}),  # g
    115: _one("barometer", "u16be", 0.1),  # hPa
    116: _one("voltage", "u16be", 0.01),  # V
    117: _one("current", "u16be", 0.001),  # A
    118: _one("frequency", "u32be"),  # Hz
    120: _one("percentage", "u8"),  # %
    121: _one("altitude", "i16be"),  # m
    125: _one("concentration", "u16be"),  # ppm
    128: _one("power", "u16be"),  # W
    130: _one("distance", "u32be", 0.001),  # m
    131: _one("energy", "u32be", 0.001),  # kWh
    132: _one("direction", "u16be"),  # degrees
    133: _one("unixtime", "u32be"),  # s
    134: _many("gyrometer", "i16be", {"x": 0.01, "y": 0.01, "z": 0.01}),  # degrees/s
    135: _many("colour", "u8", {"r": 1, "g": 1, "b": 1}),
    136: _many("gps", "i24be", {"latitude": 0.0001, "longitude": 0.0001, "altitude": 0.01}),  # degrees, m
    142: _one("switch", "u8"),
}
_LAYOUTS = {number: (name, Layout(fields), len(fields) > 1) for number, (name, fields) in _TYPES.items()}
_NUMBERS = {name: number for number, (name, _) in _TYPES.items()}


class Cayenne(Declared):
    """Fields are named by type and channel: `temperature_1`; what has axes is nested: `gps_3.latitude`."""

    async def decode(self, payload: bytes, fport: int, _received_ms: int | None) -> Decoded:
        foreign = self._foreign(fport)
        if foreign is not None:
            return foreign
        data: dict[str, Any] = {}
        at = 0
        while at < len(payload):
            begin, rest = payload[at : at + 2], payload[at + 2 :]
            found = _LAYOUTS.get(begin[1]) if len(begin) == 2 else None
            if found is None or found[1].size is None or len(rest) < found[1].size:
                why = f"unknown or cut off record {begin.hex()} at byte {at}"
                if not data:
                    raise CodecError(f"not Cayenne LPP: {why}")
                return Decoded(data, (f"{why}: the rest was not read",))
            name, layout, nested = found
            values = layout.read(rest[: layout.size])
            data[f"{name}_{begin[0]}"] = values if nested else values[name]
            at += 2 + (layout.size or 0)
        return Decoded(data)

    async def encode(self, data: Mapping[str, Any], fport: int | None) -> tuple[int, bytes]:
        """The same records as in an uplink, where the profile has none: `{"analog_output_3": 21.5}` is 03 03 08 66."""
        if self._downlinks:
            return await super().encode(data, fport)
        port = fport or self._fport
        if port is None:
            raise CodecError("no port to send to; name one: --fport, or lora.fport of the profile")
        return port, b"".join(_record(name, value) for name, value in data.items())


def _record(key: str, value: Any) -> bytes:
    name, _, channel = key.rpartition("_")
    number = _NUMBERS.get(name)
    if number is None or not channel.isascii() or not channel.isdigit() or int(channel) > 255:
        raise CodecError(f"{key} is no Cayenne LPP field; write its type and channel, such as temperature_1")
    _, layout, nested = _LAYOUTS[number]
    values = [value]
    if nested:
        names = [field.name for field in layout.fields]
        if not isinstance(value, Mapping) or set(value) != set(names):
            raise CodecError(f"{key} has {', '.join(names)}")
        values = [value[name] for name in names]
    body = b"".join(field.write(one) for field, one in zip(layout.fields, values, strict=True))
    return bytes([int(channel), number]) + body
