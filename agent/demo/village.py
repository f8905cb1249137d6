"""What stands in the village: two meters, a relay module, and the waterworks with its tank. Plausible and alive.

`Village.step` moves everything on by some seconds. The register maps are those of the makers: Eastron SDM120 and
SDM630 Modbus protocol documents (input registers, 32-bit floats, high word first), and the generic 8-relay modules
with 8 digital inputs or 8 analogue inputs in microamperes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping

from agent.demo.slave import ADDRESS, Illegal, Unit

__all__ = ["Meter", "RelayModule", "Village"]

INFLOW, OUTFLOW = 0.9, 0.15  # % of the tank a second: a tank for the impatient
LAMPS, STANDBY = 1760.0, 38.0  # W


class Meter:
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

    def bits(self, table: str, address: int, count: int) -> list[bool]:
        raise Illegal(ADDRESS)

    def set_bit(self, address: int, on: bool) -> None:
        raise Illegal(ADDRESS)

    def set_word(self, address: int, word: int) -> None:
        raise Illegal(ADDRESS)


class RelayModule:
    """Eight relays, with eight digital inputs that follow them (auxiliary contacts) or eight analogue ones in uA."""

    def __init__(self, analogue: Mapping[int, Callable[[], float]] | None = None) -> None:
        self.relays = [False] * 8
        self._analogue = analogue

    def bits(self, table: str, address: int, count: int) -> list[bool]:
        if address + count > 8 or (table == "discrete" and self._analogue is not None):
            raise Illegal(ADDRESS)
        return self.relays[address : address + count]

    def words(self, table: str, address: int, count: int) -> list[int]:
        if self._analogue is None or table != "input" or address + count > 8:
            raise Illegal(ADDRESS)
        return [round(self._analogue.get(n, lambda: 4000.0)()) for n in range(address, address + count)]

    def set_bit(self, address: int, on: bool) -> None:
        if address > 7:
            raise Illegal(ADDRESS)
        self.relays[address] = on

    def set_word(self, address: int, word: int) -> None:
        raise Illegal(ADDRESS)


class Village:
    """All of it. `line` are the unit ids of the RTU line, `plant` those of the Modbus TCP host."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.level = 42.0  # % of the tank
        self._street_kwh, self._hall_kwh = 18_342.6, 96_120.4
        self._io = RelayModule()
        self._works = RelayModule({0: lambda: 4000 + 160 * self.level, 1: lambda: 4000 + 800 * self._flow()})
        self.line: dict[int, Unit] = {1: Meter(self._street()), 2: Meter(self._hall()), 10: self._io}
        self.plant: dict[int, Unit] = {1: self._works}

    def step(self, seconds: float) -> None:
        """Let time pass: energy adds up, the tank fills while its pump runs, and the village drinks."""
        self.seconds += seconds
        self._street_kwh += self._street_power() * seconds / 3.6e6
        self._hall_kwh += 3 * self._hall_power(0) * seconds / 3.6e6
        flow = INFLOW if self._works.relays[0] else 0.0
        self.level = min(99.0, max(3.0, self.level + (flow - OUTFLOW) * seconds))

    def _wave(self, period: float, size: float, phase: float = 0.0) -> float:
        return size * math.sin(2 * math.pi * self.seconds / period + phase)

    def _volts(self, phase: float = 0.0) -> float:
        return 231.2 + self._wave(97, 1.6, phase) + self._wave(7.3, 0.3, phase)

    def _hertz(self) -> float:
        return 50.0 + self._wave(41, 0.02)

    def _street_power(self) -> float:
        return STANDBY + self._wave(13, 1.5) + (LAMPS + self._wave(23, 9) if self._io.relays[0] else 0.0)

    def _hall_power(self, phase: int) -> float:
        return 640 + 55 * phase + self._wave(31 + 5 * phase, 90, phase) + self._wave(5.1, 12)

    def _flow(self) -> float:
        """Of the well pump, m3/h."""
        return 12.4 + self._wave(3.7, 0.3) if self._works.relays[0] else 0.0

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
