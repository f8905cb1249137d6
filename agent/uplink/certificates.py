"""When certificates end. A certificate's validity is read by hand (RFC 5280, 4.1): ssl shows it of authorities only."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from agent.clock import Clock
from agent.lib.files import read_regular

__all__ = ["Certificates", "ends"]

WARN = 30.0
"""Days before its end from which a certificate is reported."""
AGAIN = 3600.0
"""Seconds between two looks at the files."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _TIME = 0x30, 0xA0, 0x17, 0x18
_BEFORE_VALIDITY = 3
"""Serial number, signature algorithm, issuer."""


class Certificates:
    """Looks after the certificates of a link; they may be replaced while the agent runs."""

    def __init__(self, paths: Iterable[Path | None], clock: Clock) -> None:
        self._paths = [path for path in paths if path is not None]
        self._clock = clock
        self._looked = float("-inf")
        self._ends: dict[Path, datetime] = {}

    def expiring(self) -> dict[str, float]:
        """Days left, by file name, of those that end within 30 days; less than 0: it has ended.

        Empty while the time is unknown.
        """
        self._look()
        wall = self._clock.now().wall_ms if self._ends else None
        if wall is None:
            return {}
        days = {path.name: (end.timestamp() - wall / 1000) / 86_400 for path, end in self._ends.items()}
        return {name: round(left, 1) for name, left in days.items() if left < WARN}

    def not_known(self) -> Collection[str]:
        """File names of the certificates whose end, or the present time, is unknown."""
        if not self._paths:
            return []
        self._look()
        timeless = self._clock.now().wall_ms is None
        return [path.name for path in self._paths if timeless or path not in self._ends]

    def _look(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked >= AGAIN:
            self._looked = now
            self._ends = {path: end for path in self._paths if (end := ends(path)) is not None}


def ends(path: Path) -> datetime | None:
    """When the first of the certificates in a PEM file ends; None if it holds none that can be read."""
    try:
        text = read_regular(path, 16_000_000).decode("ascii")
        return min((_not_after(ssl.PEM_cert_to_DER_cert(pem)) for pem in _PEM.findall(text)), default=None)
    except (OSError, ValueError, IndexError):
        return None  # connecting says what is wrong with it


def _not_after(der: bytes) -> datetime:
    """Certificate -> tbsCertificate -> validity -> notAfter."""
    ((_, certificate),) = _parts(der)
    (_, body), *_ = _parts(certificate)
    fields = [part for part in _parts(body) if part[0] != _VERSION]
    kind, validity = fields[_BEFORE_VALIDITY]
    if kind != _SEQUENCE:
        raise ValueError("no validity where it should stand")
    _, (kind, text) = _parts(validity)
    if kind not in (_UTC_TIME, _TIME):
        raise ValueError("no time where it should stand")
    digits = text.decode("ascii")
    if kind == _UTC_TIME:  # two digits of the year: 50 and more are of the last century (4.1.2.5.1)
        digits = ("19" if digits >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tags and contents, one after the other (X.690, 8.1)."""
    at = 0
    while at < len(der):
        tag, size = der[at], der[at + 1]
        at += 2
        if size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(der[at : at + width], "big"), at + width
        yield tag, der[at : at + size]
        at += size
