"""EU868: channels, data rates, the second receive window, and how long each sub-band may be used.

Facts: LoRaWAN Regional Parameters 1.0.3, chapter 2.2; ETSI EN 300 220-2, table B.1, with ERC/REC 70-03 annex 1.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BANDWIDTH", "CF_LIST", "FLOOR", "JOIN_WINDOWS", "RX2_FREQUENCY", "RX2_SF", "SUB_BANDS", "SubBand",
    "most_payload", "sub_band", "windows",
]  # fmt: skip

BANDWIDTH = 125
JOIN_WINDOWS = 5_000_000, 6_000_000
"""Microseconds from the end of a join-request to the two receive windows."""
RX2_FREQUENCY, RX2_SF = 869_525_000, 12

CF_LIST = b"".join((hertz // 100).to_bytes(3, "little") for hertz in range(867_100_000, 868_000_000, 200_000)) + b"\0"
"""The five channels beside 868.1, 868.3 and 868.5 MHz: 867.1 to 867.9 MHz, type 0."""

FLOOR = {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
"""dB: the SNR at which a gateway still demodulates, by spreading factor (SX1276 datasheet, table 13)."""

_MOST = {12: 51, 11: 51, 10: 51, 9: 115, 8: 222, 7: 222}
"""Bytes of application payload without MAC commands (N of table 2.2.6), by spreading factor."""


@dataclass(frozen=True, slots=True)
class SubBand:
    """Frequencies in Hz, `duty` as a share of the time, `power` EIRP in dBm."""

    name: str
    low: int
    high: int
    duty: float
    power: int = 16

    @property
    def budget_ms(self) -> float:
        """Milliseconds on the air in any hour."""
        return self.duty * 3_600_000


SUB_BANDS = (
    SubBand("863-865", 863_000_000, 865_000_000, 0.001),
    SubBand("865-868", 865_000_000, 868_000_000, 0.01),
    SubBand("868.0-868.6", 868_000_000, 868_600_000, 0.01),
    SubBand("868.7-869.2", 868_700_000, 869_200_000, 0.001),
    SubBand("869.4-869.65", 869_400_000, 869_650_000, 0.1, 29),
    SubBand("869.7-870", 869_700_000, 870_000_000, 0.01),
)


def sub_band(frequency: int) -> SubBand | None:
    """Where a frequency lies; None where nothing may be sent."""
    return next((band for band in SUB_BANDS if band.low <= frequency < band.high), None)


def windows(rx1_delay: int) -> tuple[int, int]:
    """The same from the end of a data frame; RX2 opens a second after RX1 (`rx1_delay` in seconds)."""
    return rx1_delay * 1_000_000, (rx1_delay + 1) * 1_000_000


def most_payload(sf: int) -> int:
    return _MOST.get(sf, 51)
