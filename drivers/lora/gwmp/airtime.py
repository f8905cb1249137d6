"""How long a packet is on the air, and how much of a sub-band's hour is used."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from drivers.lora.gwmp.region import SUB_BANDS, SubBand

__all__ = ["AirtimeAccount", "Rolling", "airtime"]

HOUR = 3600.0
BIN = 60.0
"""Seconds of which the uses are kept as one: a sub-band's hour is 61 numbers at most."""


def airtime(size: int, sf: int, bandwidth: int = 125, *, crc: bool = False, preamble: int = 8) -> float:
    """Milliseconds that a packet of `size` bytes takes, with explicit header and coding rate 4/5.

    Semtech AN1200.13: 46.3 ms for 17 bytes at SF7 without payload CRC, 1155 ms at SF12. `bandwidth` in kHz.
    """
    symbol = (1 << sf) / bandwidth
    slow = symbol > 16
    bits = 8 * size - 4 * sf + 28 + 16 * crc
    symbols = 8 + max(0, math.ceil(bits / (4 * (sf - 2 * slow)))) * 5
    return (preamble + 4.25 + symbols) * symbol


class Rolling:
    """Milliseconds on the air in the last hour. Times are clock.monotonic seconds."""

    __slots__ = ("_bins", "_sum")

    def __init__(self, bins: Iterable[tuple[float, float]] = ()) -> None:
        self._bins = deque(bins)
        self._sum: float | None = None
        """The sum of all bins, until one comes or goes."""

    def used(self, now: float) -> float:
        """In the hour that ends now; a bin counts until its end is an hour ago."""
        while self._bins and self._bins[0][0] + BIN + HOUR <= now:
            self._bins.popleft()
            self._sum = None
        if self._sum is None:
            self._sum = sum(took for _, took in self._bins)
        return max(0.0, self._sum)

    def add(self, took: float, now: float) -> None:
        """Note a transmission; a negative time takes one back that did not happen."""
        start = now // BIN * BIN
        self._sum = None
        if self._bins and self._bins[-1][0] == start:
            self._bins[-1] = (start, self._bins[-1][1] + took)
        else:
            self._bins.append((start, took))
            self.used(now)

    def bins(self) -> list[list[float]]:
        return [[start, round(took, 1)] for start, took in self._bins]


class AirtimeAccount:
    """The airtime that one gateway has used in the last hour, by sub-band."""

    def __init__(self, boot: str, kept: Any = None) -> None:
        """Restore what `kept` returned. After a restart of the machine the time that it was off is unknown: what was
        used before counts from the start.
        """
        kept = kept if isinstance(kept, dict) else {}
        uses = {name: [(start, took) for start, took in bins] for name, bins in kept.get("bins", {}).items()}
        if kept.get("boot") != boot:
            uses = {name: [(0.0, sum(took for _, took in bins))] for name, bins in uses.items()}
        self._boot = boot
        self._bands = {band.name: Rolling(uses.get(band.name, ())) for band in SUB_BANDS}

    def used(self, band: SubBand, now: float) -> float:
        return self._bands[band.name].used(now)

    def share(self, now: float) -> float:
        """How much of its hour is used in the sub-band that comes off worst, 0 to 1 (more, where it was overdrawn)."""
        worst = 0.0
        for band, used in zip(SUB_BANDS, self._bands.values(), strict=True):
            if used._bins:
                worst = max(worst, used.used(now) / band.budget_ms)
        return worst

    def allows(self, band: SubBand | None, took: float, now: float) -> bool:
        return band is not None and self.used(band, now) + took <= band.budget_ms

    def spend(self, band: SubBand, took: float, now: float) -> None:
        self._bands[band.name].add(took, now)

    def kept(self) -> dict[str, Any]:
        """For the memory."""
        return {"boot": self._boot, "bins": {name: used.bins() for name, used in self._bands.items()}}
