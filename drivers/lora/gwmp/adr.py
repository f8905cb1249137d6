"""Adaptive data rate: what a device is told to send with, from how well it was heard.

The rule is that of ChirpStack (its adr module, "default algorithm") and of The Things Network: of the last 20 uplinks
the best SNR, less what the data rate needs, less 10 dB for fading, in steps of 3 dB. Each step up is a faster rate,
then 2 dB less power; each step down is 2 dB more power. A slower data rate is never asked for: the device takes it by
itself when it is not answered (LoRaWAN 1.0.3, 4.3.1.1). LinkADRReq and LinkADRAns: 5.3 there; EU868 values: Regional
Parameters 1.0.3, 2.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.lora.gwmp.region import FLOOR

__all__ = ["Adr"]

HISTORY = 20
"""Uplinks that are looked at; none of them from before the last change."""
BACKOFF = 32
"""Uplinks without an answer after which a device changes something by itself (ADR_ACK_DELAY)."""
INSTALLATION_MARGIN, STEP = 10.0, 3.0
"""dB."""
FASTEST, SLOWEST = 7, 12
LEAST_POWER = 7
"""Steps of 2 dB below 16 dBm EIRP."""
ALL_CHANNELS, FIRST_THREE = (0, 6), (0b111, 0)
"""ChMask and ChMaskCntl: all that the device has; 868.1, 868.3 and 868.5 MHz, which every device has."""
_REPEATS = ((5, (1, 1, 2)), (10, (1, 2, 3)), (30, (2, 3, 3)), (101, (3, 3, 3)))
"""NbTrans by the share of lost frames (below, in %) and by what it is now (ChirpStack's table)."""
MOST_REFUSALS = 10
"""Then the device is left as it is, until it joins anew."""
_MASK_OK, _RATE_OK, _POWER_OK = 1, 2, 4


@dataclass(frozen=True, slots=True)
class _Asked:
    sf: int
    power: int
    repeats: int


@dataclass(slots=True)
class Adr:
    """One session's. `power` is the step (0: full power), `repeats` NbTrans, as the device was told and agreed."""

    power: int = 0
    repeats: int = 1
    least_power: int = LEAST_POWER
    fastest: int = FASTEST
    """The settings that it takes, as its refusals have shown."""
    masks: int = 0
    """Channel masks that it has refused."""
    refusals: int = 0
    sf: int | None = None
    heard: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """Counter and SNR (dB) of the last uplinks."""
    asked: _Asked | None = None

    def hear(self, counter: int, sf: int | None, snr: float | None, answer: bytes | None) -> None:
        """An uplink, with the LinkADRAns in it."""
        if answer is not None:
            self._answered(answer)
        if self.heard and counter - self.heard[-1][0] > BACKOFF:
            self.power = 0  # it was far away, and goes to full power first
            self.heard.clear()
        if sf is not None and sf != self.sf:
            if self.asked is not None and sf == self.asked.sf:
                self.power, self.repeats = self.asked.power, self.asked.repeats  # its answer was lost
            elif self.sf is not None and sf > self.sf:
                self.power = 0  # it was not answered for long: full power first, then a slower data rate
            self.sf, self.asked = sf, None
            self.heard.clear()
        if sf is not None and snr is not None:
            self.heard.append((counter, snr))

    def request(self) -> bytes:
        """LinkADRReq, if there is something to change; the next one comes 20 uplinks later at the earliest."""
        if len(self.heard) < HISTORY or self.sf not in FLOOR:
            return b""
        if self.masks > 1 or self.refusals >= MOST_REFUSALS:
            return b""
        wanted = self._wanted(self.sf)
        if wanted == _Asked(self.sf, self.power, self.repeats):
            return b""
        self.heard.clear()
        self.asked = wanted
        mask, control = FIRST_THREE if self.masks else ALL_CHANNELS
        rate = SLOWEST - wanted.sf
        return bytes([0x03, rate << 4 | wanted.power, *mask.to_bytes(2, "little"), control << 4 | wanted.repeats])

    def record(self) -> dict[str, Any]:
        return {
            "power": self.power, "repeats": self.repeats, "least_power": self.least_power, "fastest": self.fastest,
            "masks": self.masks, "refusals": self.refusals, "sf": self.sf,
        }  # fmt: skip

    @classmethod
    def resumed(cls, kept: Mapping[str, Any] | None) -> Adr:
        """As `record` returned it; without one a device at full power."""
        return cls(**kept) if kept else cls()

    def _wanted(self, sf: int) -> _Asked:
        power = self.power
        steps = int((max(snr for _, snr in self.heard) - FLOOR[sf] - INSTALLATION_MARGIN) / STEP)
        while steps > 0 and (sf > self.fastest or power < self.least_power):
            sf, power = (sf - 1, power) if sf > self.fastest else (sf, power + 1)
            steps -= 1
        return _Asked(sf, max(0, power + min(0, steps)), self._wanted_repeats())

    def _wanted_repeats(self) -> int:
        sent = self.heard[-1][0] - self.heard[0][0] + 1
        lost = 100 * max(0, sent - len(self.heard)) / max(1, sent)
        return next(row[self.repeats - 1] for below, row in _REPEATS if lost < below)

    def _answered(self, answer: bytes) -> None:
        """A LinkADRAns: all three bits, or nothing of it was done."""
        asked, self.asked = self.asked, None
        if asked is None:
            return
        taken = [bool(answer[0] & bit) for bit in (_MASK_OK, _RATE_OK, _POWER_OK)]
        if all(taken):
            self.power, self.repeats = asked.power, asked.repeats
            return
        mask, rate, power = taken
        self.refusals += 1
        self.masks += not mask
        if not rate:
            self.fastest = max(self.fastest, min(SLOWEST, asked.sf + 1))
        if not power:
            self.least_power = max(0, min(self.least_power, asked.power - 1))
