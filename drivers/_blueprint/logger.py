"""The logger on its connection: one question at a time, writes before reads.

    R3    -> 12.5       the value of channel 3
    O3    -> on         its output
    W3 on -> ok
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from agent.clock import Clock
from agent.errors import DeviceError, WireError
from agent.model import BusState, Kind, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec, DeviceSpec, DurableStore

__all__ = ["Logger", "diagnose"]

log = logging.getLogger("bocage.blueprint")

_RETRY = 5.0
"""Seconds until a logger that does not answer is asked again."""
_GRACE = 5.0
"""Seconds that a poll may be late."""


def diagnose(counts: Mapping[str, Any]) -> str:
    """The message of `check --bus` for a channel that cannot be read."""
    return str(counts.get("said") or "no value; is a sensor connected to this channel?")


class Logger:
    """A bus of this type: Wire, Listener, Poller, Writer and Scanner of `drivers.api`."""

    def __init__(self, spec: BusSpec, clock: Clock, _store: DurableStore) -> None:
        self._name, self._clock, self._options = spec.name, clock, spec.options
        self._channels = {device.name: int(device.address["channel"]) for device in spec.devices}
        self._points = [point for device in spec.devices for point in _points(device)]
        self._period = min((device.poll for device in spec.devices), default=10.0)
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._error = ""
        self._said: dict[str, str] = {}
        self._due = clock.monotonic() + _GRACE

    @property
    def points(self) -> Sequence[Point]:
        return self._points

    def status(self) -> Mapping[str, Any]:
        state = BusState.DOWN if self._error else BusState.UP
        return {"state": state, "load": 0.0, "error": self._error, "said": dict(self._said)}

    def due(self) -> float:
        return self._due

    async def readings(self) -> AsyncIterator[Readings]:
        """Poll all channels for ever. A logger that is away costs its points their quality, and not the loop."""
        while True:
            try:
                found = await self.read([point.id for point in self._points])
                rest = self._period
            except WireError as error:
                log.warning('logger does not answer bus=%s reason="%s" next=again in %g s', self._name, error, _RETRY)
                now = self._clock.now()
                found = [Reading(point.id, None, now, Quality.BAD) for point in self._points]
                rest = _RETRY
            self._due = self._clock.monotonic() + rest + _GRACE
            yield found
            await asyncio.sleep(rest)

    async def read(self, points: Sequence[str]) -> Readings:
        """WireError if there is no connection. What the logger refuses is bad."""
        found: list[Reading] = []
        for point in points:
            device, _, what = point.partition(".")
            try:
                answer = await self._ask(f"{'R' if what == 'value' else 'O'}{self._channels[device]}")
                value: Value = float(answer) if what == "value" else answer == "on"
                found.append(Reading(point, value, self._clock.now(), Quality.GOOD))
                self._said.pop(device, None)
            except (DeviceError, ValueError) as error:
                self._said[device] = str(error)
                found.append(Reading(point, None, self._clock.now(), Quality.BAD))
        return found

    async def write(self, point: str, value: Value, _until: float | None = None) -> None:
        """Switch an output: on, off, or what a command means by it. DeviceError if the logger does not confirm it."""
        word = "on" if value in (True, "on") else "off"
        await self._ask(f"W{self._channels[point.partition('.')[0]]} {word}")

    async def scan(self, units: Iterable[int], timeout: float | None = None) -> AsyncIterator[Mapping[str, Any]]:
        """Which channels have a sensor: `ms` is None for one without."""
        for unit in units:
            begun = self._clock.monotonic()
            try:
                await self._ask(f"R{unit}", timeout)
                yield {"unit_id": unit, "ms": round(1000 * (self._clock.monotonic() - begun), 1)}
            except DeviceError:
                yield {"unit_id": unit, "ms": None}

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    async def _ask(self, question: str, timeout: float | None = None) -> str:
        """One question and its answer. WireError without a connection, DeviceError if the logger refuses."""
        async with self._turn:
            try:
                async with asyncio.timeout(timeout or self._options["timeout"]):
                    reader, writer = self._streams = self._streams or await self._connected()
                    writer.write(f"{question}\n".encode())
                    await writer.drain()
                    answer = await reader.readline()
            except TimeoutError:
                await self._lost("no answer")
            except OSError as error:
                number = error.errno or 0  # negative for a name that does not resolve
                await self._lost(os.strerror(number) if number > 0 else error.strerror or str(error))
            except ValueError:
                await self._lost("its answer has no end")
            if not answer.endswith(b"\n"):
                await self._lost("it closed the connection")
        self._error = ""
        text = answer.decode("ascii", "replace").strip()
        if text.startswith("error"):
            raise DeviceError(text.removeprefix("error").strip() or "it refuses")
        return text

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._options["host"], self._options["port"], limit=256)

    async def _lost(self, reason: str) -> NoReturn:
        await self.close()  # an answer that comes late must not be taken for the next one
        self._error = f"{self._options['host']}: {reason}"
        raise WireError(self._error)


def _points(device: DeviceSpec) -> Sequence[Point]:
    """The points of the device by `config.Blueprint.points`, as the rest of the program knows points."""
    entries = (device.profile or {})["points"]
    return [
        Point(f"{device.name}.{name}", device.name, unit=entry["unit"], kind=Kind(entry["kind"]),
              writable=entry["writable"], stale_after=3 * device.poll)
        for name, entry in entries.items()
    ]  # fmt: skip
