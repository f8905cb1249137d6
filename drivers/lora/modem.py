"""The common part of serial modems: the port, the nodes, and the task that owns them.

One task owns the port. It opens it, makes the modem ready, hears and sends; whatever fails, it begins again: at once
when the modem only started anew, with backoff when the port is gone or the modem does not answer. The frames go to
the iterator of `readings`, and are decoded there, so that a slow codec never holds up the modem.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from agent.clock import Clock
from agent.errors import DeviceError, WireError
from agent.lib.backoff import Backoff
from agent.model import BusState, Kind, Point, Quality, Reading, Readings
from drivers.api import BusSpec, DeviceSpec, DurableStore
from drivers.lora.node import KEEP_EVERY, Frame, Node
from drivers.lora.port import LinePort

__all__ = ["LONGEST_PACKET", "Modem", "Restarted"]

log = logging.getLogger("bocage.lora")

LONGEST_PACKET = 255
"""Bytes in a LoRa packet."""
_MARGIN = 5.0  # s, what the owner's next sign of life may come late by
_REOPEN_MOST = 15.0  # s; to look whether a port is back costs nothing
_BACKLOG = 1000  # frames that were not taken
_REPEATED = 2.0  # s, in which the same packet of the same node is the same one


class Restarted(Exception):
    """The modem has forgotten what it was told: make it ready again. The port is well."""


class Modem(ABC):
    """A serial modem with the nodes behind it: Wire, Listener and Poller (drivers.api)."""

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        self._bus, self._clock = spec.name, clock
        self._port = LinePort(spec.options["port"], spec.options.get("baudrate") or 115200)
        self._nodes = [(_prefix(device), Node(_always_hears(device), clock, memory)) for device in spec.devices]
        self._home = {point.id: node for _, node in self._nodes for point in node.points if self._tells(point)}
        self._counts = dict.fromkeys(("frames", "foreign", "repeated", "garbage", "resets"), 0)
        self._recent: dict[str, tuple[bytes, float]] = {}
        self._frames: asyncio.Queue[tuple[Node, Frame] | asyncio.Task[None]] = asyncio.Queue()
        """Frames that were heard and not decoded yet; at last the owner that ended."""
        self._owner: asyncio.Task[None] | None = None
        self._users = 0
        self._listening = False
        self._keep_at = clock.monotonic() + KEEP_EVERY
        self._up = False
        self._tried: asyncio.Event = asyncio.Event()
        self._error, self._due = "", math.inf
        self._backoff = Backoff(longest=_REOPEN_MOST, spread=(0.8, 1.0))

    @property
    def points(self) -> Sequence[Point]:
        return [point for _, node in self._nodes for point in node.points if self._tells(point)]

    def status(self) -> Mapping[str, object]:
        """Counts since the start: `frames` heard, `foreign` (of nodes not in the site file), `repeated` packets,
        `garbage` (what is no line or no packet), `resets` of the modem by itself.
        """
        counts = {**self._counts, "garbage": self._counts["garbage"] + self._port.garbage}
        lost = [node.name for _, node in self._nodes if node.lost]
        unheard = [node.name for _, node in self._nodes if node.unheard]
        state = BusState.UP if self._up else BusState.DOWN
        return {"state": state, "error": self._error, "lost": lost, "unheard": unheard, **counts}

    def due(self) -> float:
        return self._due

    async def readings(self) -> AsyncIterator[Readings]:
        """Yield what the nodes send, and once for each of them that falls silent."""
        if self._listening:
            raise RuntimeError(f"{self._bus} is iterated already")
        self._listening = True
        try:
            async with self._in_use():
                while (batches := await self._hear()) is not None:
                    for batch in batches:
                        if batch:
                            yield batch
        finally:
            self._listening = False

    async def read(self, points: Sequence[str]) -> Readings:
        """The last received value of each point: a radio node is not asked. Bad where nothing came yet.

        While `readings` is not iterated the modem is tried, so that WireError says what is wrong with it.
        """
        for point in points:
            if point not in self._home:
                raise DeviceError(f"{point} is not a point of {self._bus}")
        if not self._listening:
            async with self._in_use():
                await self._until_tried()
        now = self._clock.now()
        return [self._home[point].last.get(point) or Reading(point, None, now, Quality.BAD) for point in points]

    async def close(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait([owner])
        self._port.close()
        self._up, self._due = False, math.inf
        self._keep()

    # -- what a modem's own class adds -------------------------------------------------------------------------

    @abstractmethod
    async def _make_ready(self) -> None:
        """Everything between an open port and a modem that listens. WireError if it does not come to that."""

    @abstractmethod
    async def _turn(self) -> None:
        """One thing: a line, a command, or a rest of at most a minute. Restarted or WireError end the session."""

    def _tells(self, point: Point) -> bool:
        """Whether a point of a node ever gets a value here: point to point, frames are not counted."""
        return point.kind is not Kind.DIAGNOSTIC or not point.id.endswith(".fcnt")

    @abstractmethod
    def _refuse(self, error: WireError) -> None:
        """Fail the writes that wait: the modem is not available."""

    def _heard(self, node: Node, payload: bytes, rssi: float | None, snr: float | None, sf: int | None = None) -> None:
        """A packet of a node of ours, without what named it."""
        now = self._clock.monotonic()
        before, at = self._recent.get(node.name, (b"", -math.inf))
        self._recent[node.name] = (payload, now)
        if payload == before and now - at < _REPEATED:
            self._counts["repeated"] += 1
        elif not self._listening:
            return
        elif self._frames.qsize() >= _BACKLOG:
            self._counts["garbage"] += 1
        else:
            self._frames.put_nowait((node, Frame(payload, self._clock.now(), rssi=rssi, snr=snr, sf=sf)))

    def _named(self, packet: bytes) -> tuple[Node, bytes] | None:
        """The node of a packet by its first byte, and the rest; None for a node that is not ours."""
        for prefix, node in self._nodes:
            if packet.startswith(prefix):
                return node, packet[len(prefix) :]
        return None

    def _owe(self, seconds: float) -> None:
        """Whatever is begun now takes so long at the most."""
        self._due = self._clock.monotonic() + seconds + _MARGIN

    # -- the owner ---------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _in_use(self) -> AsyncIterator[None]:
        """Keep the owner running while the modem is in use."""
        self._users += 1
        if self._owner is None or self._owner.done():
            self._tried.clear()
            self._owner = asyncio.create_task(self._own(), name=f"modem {self._bus}")
            self._owner.add_done_callback(self._ended)
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                await self.close()

    async def _own(self) -> None:
        while True:
            try:
                self._owe(60)
                if not self._port.is_open:
                    self._port.open()
                if not self._up:
                    await self._make_ready()
                    self._is_up()
                await self._turn()
            except Restarted:
                self._up, self._error = False, "the modem started anew"
                self._counts["resets"] += 1
                log.warning('modem lost its settings bus=%s reason="%s" next=set up again', self._bus, self._error)
            except WireError as error:
                await self._is_lost(error)

    def _ended(self, owner: asyncio.Task[None]) -> None:
        self._tried.set()
        self._refuse(WireError(f"{self._bus} is closed"))
        if self._listening:
            self._frames.put_nowait(owner)

    def _is_up(self) -> None:
        if self._error:
            log.info("modem ready bus=%s port=%s next=listening", self._bus, self._port.name)
        self._up, self._error = True, ""
        self._backoff.reset()
        self._tried.set()

    async def _is_lost(self, error: WireError) -> None:
        self._port.close()
        self._up = False
        delay = self._backoff.next()
        if self._error != str(error):
            log.warning('modem lost bus=%s reason="%s" next=tried again in %.1fs', self._bus, error, delay)
        self._error = str(error)
        self._tried.set()
        self._refuse(error)
        self._owe(delay)
        await asyncio.sleep(delay)

    async def _until_tried(self) -> None:
        """Until the modem is up; WireError if it cannot be had."""
        await self._tried.wait()
        if not self._up:
            raise WireError(self._error or f"{self._bus} was closed")

    async def _hear(self) -> list[Readings] | None:
        """The next frame's readings, or those of nodes that have fallen silent meanwhile; None after the end."""
        due = min(self._keep_at, *(node.due for _, node in self._nodes))
        try:
            async with asyncio.timeout(max(due - self._clock.monotonic(), 0.0)):
                heard = await self._frames.get()
        except TimeoutError:
            if self._clock.monotonic() >= self._keep_at:
                self._keep()
            return [node.silent() for _, node in self._nodes]
        if isinstance(heard, asyncio.Task):
            if not heard.cancelled():
                heard.result()
            return None
        node, frame = heard
        return [await node.uplink(frame)]

    def _keep(self) -> None:
        self._keep_at = self._clock.monotonic() + KEEP_EVERY
        for _, node in self._nodes:
            node.keep()


def _prefix(device: DeviceSpec) -> bytes:
    """The byte that its packets begin with; nothing for the only device of a line without names."""
    return bytes.fromhex(device.address.get("node") or "")


def _always_hears(device: DeviceSpec) -> DeviceSpec:
    """Point to point there are no receive windows: a node listens, and a write does not wait for its next word.

    There are no ports either; a profile that names none still has one to encode for.
    """
    profile = device.profile
    if profile is None or "lora" not in profile:
        return device
    return replace(device, profile={**profile, "lora": {"fport": 1, **profile["lora"], "class": "C"}})
