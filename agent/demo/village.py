"""The devices of the village: two meters, a relay module, the waterworks with its tank, the school with its boiler.

Plausible and alive. `Village.step` moves everything on by some seconds, which need not be those of the world. The
register maps are those of the makers: Eastron SDM120 and SDM630 Modbus protocol documents (input registers, 32-bit
floats, high word first), and the generic 8-relay modules with 8 digital inputs or 8 analogue inputs in microamperes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from agent.demo.slave import ADDRESS, Illegal, Unit

__all__ = ["DemoMeter", "RelayModule", "Village"]

LAMPS, STANDBY = 1760.0, 38.0  # W
TANK, PUMP = 40.0, 12.4  # m3, m3/h
FLAME = 56.0  # degC that the flow comes up to
WATER, WALLS, RADIATORS = 600.0, 20 * 3600.0, 13 * 3600.0  # s: how slow the flow, the cooling and the warming are
GRAIN = 30.0  # seconds that the physics takes at once


class DemoMeter:
    """An energy meter: input registers that hold floats, by address. What is not listed, up to `end`, reads as 0."""

    def __init__(self, values: Mapping[int, Callable[[], float]], end: int = 0x0180) -> None:
        self._values, self._end = values, end

    def words(self, table: str, address: int, count: int) -> list[int]:
        if table != "input" or address + count > self._end:
            raise Illegal(ADDRESS)
        return [self._word(register) for register in range(address, address + count)]

    def _word(self, register: int) -> int:
        value = self._values.get(register & ~1)
        high, low = struct.unpack(">HH", struct.pack(">f", value() if value else 0.0))
        return int(low if register & 1 else high)

    def bits(self, _table: str, _address: int, _count: int) -> list[bool]:
        raise Illegal(ADDRESS)

    def set_bit(self, _address: int, _on: bool) -> None:
        raise Illegal(ADDRESS)

    def set_word(self, _address: int, _word: int) -> None:
        raise Illegal(ADDRESS)


class RelayModule:
    """Eight relays, with eight digital inputs that follow them (auxiliary contacts) or eight analogue ones in uA.

    Inputs 5 and 6 are those of a switch MAN/0/AUTO, which is on AUTO.
    """

    def __init__(self, analogue: Mapping[int, Callable[[], float]] | None = None) -> None:
        self.relays = [False] * 8
        self._analogue = analogue

    def bits(self, table: str, address: int, count: int) -> list[bool]:
        if address + count > 8 or (table == "discrete" and self._analogue is not None):
            raise Illegal(ADDRESS)
        found = self.relays if table == "coil" else [*self.relays[:4], False, False, *self.relays[6:]]
        return found[address : address + count]

    def words(self, table: str, address: int, count: int) -> list[int]:
        if self._analogue is None or table != "input" or address + count > 8:
            raise Illegal(ADDRESS)
        return [round(self._analogue.get(n, lambda: 4000.0)()) for n in range(address, address + count)]

    def set_bit(self, address: int, on: bool) -> None:
        if address > 7:
            raise Illegal(ADDRESS)
        self.relays[address] = on

    def set_word(self, _address: int, _word: int) -> None:
        raise Illegal(ADDRESS)


class Village:
    """All of it, from `began` on. `line` are the unit ids of the RTU line, `plant` those of the Modbus TCP host."""

    def __init__(self, began: datetime) -> None:
        self._began = began
        self.seconds = 0.0
        self.level = 40.05  # % of the tank
        self.room, self.flow = 18.2, 24.0  # degC
        self._street_kwh, self._hall_kwh = 18_342.6, 96_120.4
        self._io = RelayModule()
        self._works = RelayModule({0: lambda: _loop(self.level, 0, 100), 1: lambda: _loop(self._pumped(), 0, 20)})
        self._boiler = RelayModule(
            {
                0: lambda: _loop(self.room, 0, 40),
                1: lambda: _loop(self.flow, 0, 120),
                2: lambda: _loop(self.outdoors(), -20, 40),
            }
        )
        self.line: dict[int, Unit] = {1: DemoMeter(self._street()), 2: DemoMeter(self._hall()), 10: self._io}
        self.plant: dict[int, Unit] = {1: self._works, 2: self._boiler}

    @property
    def now(self) -> datetime:
        """The time of the village."""
        return (self._began.astimezone(UTC) + timedelta(seconds=self.seconds)).astimezone(self._began.tzinfo)

    @property
    def is_lit(self) -> bool:
        """Whether the street lamps burn."""
        return self._io.relays[0]

    def step(self, seconds: float) -> None:
        """Let time pass: energy adds up, the village drinks and its tank is filled, the school warms and cools."""
        while seconds > 0:
            past = min(seconds, GRAIN)
            self._pass(past)
            seconds -= past

    def _pass(self, seconds: float) -> None:
        self.seconds += seconds
        self._street_kwh += self._street_power() * seconds / 3.6e6
        self._hall_kwh += 3 * self._hall_power(0) * seconds / 3.6e6
        level = self.level + (self._pumped() - self._drunk()) / TANK * 100 * seconds / 3600
        self.level = min(99.0, max(3.0, level))
        self.flow += ((FLAME if self._boiler.relays[0] else self.room) - self.flow) * seconds / WATER
        self.room += (self.flow - self.room) * seconds / RADIATORS + (self.outdoors() - self.room) * seconds / WALLS

    def outdoors(self) -> float:
        """degC: a spring without end, coldest at five in the morning; every third night or so there is frost."""
        hours = self.now.hour + self.now.minute / 60
        return 6.5 - 4.0 * math.cos((hours - 5) / 12 * math.pi) + self.wave(3.3 * 86400, 1.5)

    def probe(self) -> bytes:
        """The payload of the probe in the cistern: level (0.1 cm), water temperature (0.1 degC), battery (%)."""
        return struct.pack(">HhB", round(10 * (143 + self.wave(600, 4))), round(10 * (9 + self.wave(900, 0.6))), 97)

    def _drunk(self) -> float:
        """m3/h, most of it in the morning and in the evening."""
        hours = self.now.hour + self.now.minute / 60
        return 2.0 + 4.0 * math.exp(-(((hours - 7.5) / 2) ** 2)) + 5.0 * math.exp(-(((hours - 19) / 2.5) ** 2))

    def wave(self, period: float, size: float, phase: float = 0.0) -> float:
        """Something that goes up and down by `size` in so many seconds."""
        return size * math.sin(2 * math.pi * self.seconds / period + phase)

    def _volts(self, phase: float = 0.0) -> float:
        return 231.2 + self.wave(97, 1.6, phase) + self.wave(7.3, 0.3, phase)

    def _hertz(self) -> float:
        return 50.0 + self.wave(41, 0.02)

    def _street_power(self) -> float:
        return STANDBY + self.wave(13, 1.5) + (LAMPS + self.wave(23, 9) if self.is_lit else 0.0)

    def _hall_power(self, phase: int) -> float:
        return 640 + 55 * phase + self.wave(31 + 5 * phase, 90, phase) + self.wave(5.1, 12)

    def _pumped(self) -> float:
        """By the pumps of the well, m3/h."""
        return sum(PUMP + self.wave(3.7, 0.3) for on in self._works.relays[:2] if on)

    def _street(self) -> dict[int, Callable[[], float]]:
        """Eastron SDM120."""
        return {
            0x00: self._volts,
            0x06: lambda: self._street_power() / self._volts() / 0.96,
            0x0C: self._street_power,
            0x12: lambda: self._street_power() / 0.96,
            0x18: lambda: self._street_power() * 0.29,
            0x1E: lambda: 0.96,
            0x46: self._hertz,
            0x48: lambda: self._street_kwh,
            0x0156: lambda: self._street_kwh,
        }

    def _hall(self) -> dict[int, Callable[[], float]]:
        """Eastron SDM630."""
        values: dict[int, Callable[[], float]] = {
            0x34: lambda: sum(self._hall_power(n) for n in range(3)),
            0x38: lambda: sum(self._hall_power(n) for n in range(3)) / 0.93,
            0x3E: lambda: 0.93,
            0x46: self._hertz,
            0x48: lambda: self._hall_kwh,
            0x0156: lambda: self._hall_kwh,
        }
        for n in range(3):
            values |= {
                0x00 + 2 * n: lambda n=n: self._volts(2.1 * n),  # type: ignore[misc]
                0x06 + 2 * n: lambda n=n: self._hall_power(n) / self._volts(2.1 * n) / 0.93,  # type: ignore[misc]
                0x0C + 2 * n: lambda n=n: self._hall_power(n),  # type: ignore[misc]
                0x12 + 2 * n: lambda n=n: self._hall_power(n) / 0.93,  # type: ignore[misc]
                0x1E + 2 * n: lambda: 0.93,
            }
        return values


def _loop(value: float, low: float, high: float) -> float:
    """A 4-20 mA transmitter with this range, in uA."""
    return 4000 + 16000 * (min(max(value, low), high) - low) / (high - low)
