"""Statistics: per slave as points of its own; per line the share of time in which it is busy."""

from __future__ import annotations

from agent.model import Instant, Kind, Point, Quality, Reading, Value

__all__ = ["DeviceStats", "LineLoad"]

_NAMES = {"requests": "", "timeouts": "", "crc_errors": "", "misfits": "", "exceptions": "", "response_ms": "ms"}


class DeviceStats:
    """Counts of one slave since the start of the agent; `response_ms` is smoothed over some eight answers."""

    def __init__(self, device: str) -> None:
        self.requests = self.timeouts = self.crc_errors = self.misfits = self.exceptions = 0
        self._response: float | None = None
        self._ids = {name: f"{device}.modbus.{name}" for name in _NAMES}
        self.points = [
            Point(self._ids[name], device, unit=unit, kind=Kind.DIAGNOSTIC) for name, unit in _NAMES.items()
        ]

    def answered(self, seconds: float) -> None:
        ms = 1000 * seconds
        self._response = ms if self._response is None else self._response + (ms - self._response) / 8

    def readings(self, at: Instant) -> list[Reading]:
        values: dict[str, Value] = {
            "requests": self.requests,
            "timeouts": self.timeouts,
            "crc_errors": self.crc_errors,
            "misfits": self.misfits,
            "exceptions": self.exceptions,
            "response_ms": None if self._response is None else round(self._response, 1),
        }
        return [
            Reading(self._ids[name], value, at, Quality.BAD if value is None else Quality.GOOD)
            for name, value in values.items()
        ]


class LineLoad:
    """The share of the last minute in which the line was busy, 0..1: this window and what is left of the one before."""

    WINDOW = 60.0

    def __init__(self, now: float) -> None:
        self._start, self._began = now, now
        self._busy = self._before = 0.0

    def add(self, busy: float, now: float) -> None:
        self._turn(now)
        self._busy += busy

    def share(self, now: float) -> float:
        self._turn(now)
        passed = now - self._start
        known = min(now - self._began, self.WINDOW)
        busy = self._busy + self._before * (1 - passed / self.WINDOW)
        return min(1.0, round(busy / known, 3)) if known > 0 else 0.0

    def _turn(self, now: float) -> None:
        if now - self._start >= self.WINDOW:
            self._before = self._busy if now - self._start < 2 * self.WINDOW else 0.0
            self._busy = 0.0
            self._start = now - (now - self._start) % self.WINDOW
