"""The driver of a `lora_gwmp` bus: the UDP port, the durable records, and the nodes of the site.

    wire = open_gwmp(spec, clock, memory)
    async for readings in wire.readings(): ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.errors import BocageError, DeviceError, StorageError, TooLate, WireError
from agent.lib.backoff import Backoff
from agent.lib.resolver import addresses
from agent.model import BusState, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec, DurableStore
from drivers.lora.gwmp.downlinks import PendingDownlink
from drivers.lora.gwmp.region import SUB_BANDS
from drivers.lora.gwmp.server import Act, Battery, Heard, Joined, Send, Server, describe
from drivers.lora.gwmp.sessions import end_device
from drivers.lora.node import KEEP_EVERY, Frame, Node

__all__ = ["Gwmp"]

log = logging.getLogger("bocage.lora")

PATIENCE = 60.0
"""Seconds between two signs of life of an idle port, and its grace."""
_LOOK_UP = 5.0  # s, for the address that a name in `listen` stands for
TURN = 0.05
"""Seconds between two turns that were not asked for: frames that come closely are one turn."""
TOGETHER = 0.05
"""Seconds in which the readings of several uplinks become one batch."""
BATCH, PAUSE = 64, 0.01
"""Datagrams taken at once, and seconds of rest after that while they come closely: a flood costs 6,400 looks a second
at most. A forwarder waits 50 ms for its acknowledgement.
"""
RECEIVE_BUFFER = 1 << 20
BACKLOG = 2000
"""Uplinks that may be waiting for their codec; beyond, the oldest are dropped."""
RETRY = (5.0, 60.0)
"""Seconds between attempts to bind: first, longest."""
LOOK = 1.0
"""Seconds between two looks for nodes that are silent, where one may be."""
LONGEST_LOOK = 60.0
"""The same where none can be."""


class Rest:
    """A task's pause until a moment (clock.monotonic), which others may end. Cheaper than wait_for, at each frame."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waker: asyncio.Future[None] | None = None
        self._until = math.inf
        self._timer: asyncio.TimerHandle

    async def until(self, moment: float) -> None:
        rest = moment - self._clock.monotonic()
        if rest <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._waker, self._until = loop.create_future(), moment
        self._timer = loop.call_later(rest, self.end)
        try:
            await self._waker
        finally:
            self._timer.cancel()
            self._waker = None

    def end(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def shorten(self, moment: float) -> None:
        """Something is due at that moment, perhaps before the pause would be over."""
        if self._waker is not None and moment < self._until:
            self._timer.cancel()
            self._until = moment
            rest = max(0.0, moment - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(rest, self.end)


class Gwmp:
    """A network server for one site. Wire, Listener, Poller, Writer and Inspector.

    Options: listen ("127.0.0.1:1700"), gateways (their EUIs; none: every sender on this machine).
    """

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        self._name, self._clock, self._memory = spec.name, clock, memory
        host, _, port = str(spec.options.get("listen") or "127.0.0.1:1700").rpartition(":")
        self._listen = host.strip("[]"), int(port)
        self._nodes = {device.name: Node(device, clock, memory) for device in spec.devices}
        devices = [end_device(device) for device in spec.devices]
        self._server = Server(devices, spec.options.get("gateways") or (), clock, self._recall)
        self._confirms = {d.name: ((d.profile or {}).get("lora") or {}).get("confirmed", True) for d in spec.devices}
        self._confirmed: dict[str, Reading] = {}
        self._socket: socket.socket | None = None
        self._pump_rest, self._node_rest = Rest(clock), Rest(clock)
        self._acts: deque[Act] = deque(maxlen=BACKLOG)
        self._error = ""
        self._due = math.inf
        self._saved_at = self._turn_at = self._looked_at = clock.monotonic()
        self._is_open = False

    # -- what it offers ------------------------------------------------------------------------------------------

    @property
    def points(self) -> Sequence[Point]:
        return [point for node in self._nodes.values() for point in node.points]

    def status(self) -> Mapping[str, Any]:
        now = self._clock.monotonic()
        faults = [device.fault for device in self._server.devices if device.fault]
        alive = [gateway for gateway in self._server.gateways if gateway.listens(now)]
        error = self._error or (faults[0] if faults else "")
        if self._socket is not None and not error and not alive:
            error = "no gateway has sent PULL_DATA in the last minute"
        return {
            "state": BusState.UP if self._socket is not None else BusState.DOWN,
            "load": self._load(now),
            "error": error,
            "in_vain": self._server.in_vain([name for name, node in self._nodes.items() if node.is_in_time]),
            "lost": [name for name, node in self._nodes.items() if node.lost],
            "unheard": [name for name, node in self._nodes.items() if node.unheard],
            "gateways": [gateway.eui for gateway in alive],
            **self._server.counts,
        }

    def due(self) -> float:
        return self._due

    def inspect(self, topic: str) -> Sequence[Mapping[str, Any]]:
        """"devices", "join-log" or "airtime"; without a running port what the memory has of them."""
        if not self._is_open:
            self._server.devices.open()
            self._is_open = True
        if topic == "devices":
            return [
                {**describe(device, self._server.waiting(device.name)), "battery": self._battery(device.name)}
                for device in self._server.devices
            ]
        if topic == "join-log":
            return self._server.joins.rows()
        if topic == "airtime":
            now = self._clock.monotonic()
            return [*self._airtime(now), *self._device_airtime(now)]
        raise BocageError(f'{self._name} shows devices, join-log and airtime, not "{topic}"')

    def forget_nonces(self, device: str) -> int | None:
        """The DevNonces of a node that joins are forgotten, on flash too; how many. None if the node is not ours.
        StorageError if it could not be kept.
        """
        if device not in self._nodes or not self._is_open:
            return None
        count = self._server.forget_nonces(device)
        self._keep(self._server.facts(), now=True)
        return count

    async def readings(self) -> AsyncIterator[Readings]:
        backoff = Backoff(*RETRY)
        while True:
            try:
                await self._bind()
            except WireError as error:
                self._error, retry = str(error), backoff.next()
                log.warning('port not bound bus=%s reason="%s" next=retry in %.0f s', self._name, error, retry)
                self._due = self._clock.monotonic() + retry + PATIENCE
                await asyncio.sleep(retry)
                continue
            self._error = ""
            backoff.reset()
            pump = asyncio.create_task(self._pump(), name=f"gwmp {self._name}")
            pump.add_done_callback(lambda _: self._node_rest.end())
            try:
                async for readings in self._take(pump):
                    yield readings
                pump.result()
            finally:
                pump.cancel()
                await asyncio.wait([pump])
                self._unbind()

    async def read(self, points: Sequence[str]) -> Readings:
        """The last readings; for a point that is written the value that the device has confirmed."""
        now = self._clock.now()
        return [self._last(point) or Reading(point, None, now, Quality.BAD) for point in points]

    async def write(self, point: str, value: Value, until: float | None = None) -> None:
        """Send a value, and wait until the device has confirmed it, or a gateway took it if the profile wants no more.

        To a class A device it goes after its next uplink. TooLate if it said nothing before `until`; DeviceError if it
        did not confirm: a newer value came, three transmissions stayed without an answer, it fell silent.
        """
        node = next((node for node in self._nodes.values() if point.startswith(f"{node.name}.")), None)
        if node is None:
            raise DeviceError(f"{point} is on no node of {self._name}")
        port, payload = await node.encode(point, value)
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def settle(error: str) -> None:
            if not outcome.done():
                outcome.set_result(error)

        downlink = PendingDownlink(point, port, payload, settle, until, self._confirms[node.name])
        self._server.submit(node.name, downlink)
        self._pump_rest.end()
        try:
            error = await outcome
        finally:
            self._server.withdraw(node.name, downlink)
            if downlink.attempts:
                self._confirmed.pop(point, None)  # it is unknown which it has, unless it says so
        if error:
            raise (TooLate if downlink.late else DeviceError)(f"{point}: {error}")
        if downlink.confirmed:
            self._confirmed[point] = Reading(point, value, self._clock.now())

    async def close(self) -> None:
        """Save the counters and close the port."""
        self._unbind()
        self._keep(self._server.facts(), now=False)
        for node in self._nodes.values():
            node.keep()
        self._due = math.inf

    # -- the port ------------------------------------------------------------------------------------------------

    async def _bind(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_UP):
                address = (await addresses(*self._listen))[0], self._listen[1]
            port = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        except TimeoutError:
            raise WireError(f"{self._listen[0]}: the name server does not answer") from None
        except OSError as error:
            raise WireError(f"{self._listen[0]}: {error.strerror or error}") from error
        try:
            port.setblocking(False)
            port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            port.bind(address)
        except OSError as error:
            port.close()
            raise WireError(f"UDP {self._listen[0]}:{self._listen[1]}: {error.strerror or error}") from error
        self._socket = port
        if not self._is_open:
            self._server.devices.open()
            self._is_open = True
        asyncio.get_running_loop().add_reader(port, self._receive)
        log.info("port bound bus=%s listen=%s:%d devices=%d", self._name, *self._listen, len(self._nodes))

    def _unbind(self) -> None:
        port, self._socket = self._socket, None
        if port is not None:
            asyncio.get_running_loop().remove_reader(port)
            port.close()

    def _receive(self) -> None:
        port = self._socket
        if port is None:
            return
        for _ in range(BATCH):
            try:
                data, address = port.recvfrom(65535)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of an earlier answer: that gateway is gone, the port is not
                continue
            answer = self._server.datagram(data, address)
            if answer is not None:
                self._send(answer, address)
        for order in self._server.again():
            self._send(order.datagram, order.address)
        now = self._clock.monotonic()
        if now - self._looked_at < 2 * PAUSE:
            loop = asyncio.get_running_loop()
            loop.remove_reader(port)
            loop.call_later(PAUSE, self._resume, port)
        self._looked_at = now
        self._pump_rest.shorten(self._next_turn())

    def _next_turn(self) -> float:
        return max(self._server.due(), self._turn_at)

    def _resume(self, port: socket.socket) -> None:
        if port is self._socket:
            asyncio.get_running_loop().add_reader(port, self._receive)

    def _send(self, datagram: bytes, address: Any) -> None:
        """A gateway that cannot be reached, or a full buffer, loses the datagram as the network would."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(datagram, address)

    # -- what is due ---------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        """Do what is due, keep what must be kept, then send."""
        while True:
            now = self._clock.monotonic()
            self._due = now + 2 * PATIENCE
            self._turn_at = now + TURN
            await self._pump_rest.until(min(self._next_turn(), now + PATIENCE, self._saved_at + KEEP_EVERY))
            acts = self._server.tick()
            sends = [act for act in acts if isinstance(act, Send)]
            if sends and await self._kept_before_sending():
                for send in sends:
                    self._send(send.datagram, send.address)
            elif self._clock.monotonic() - self._saved_at >= KEEP_EVERY:
                self._keep(self._server.facts(), now=False)
                for node in self._nodes.values():
                    node.keep()
            for act in acts:
                if not isinstance(act, Send):
                    self._acts.append(act)
            if self._acts:
                self._node_rest.end()

    async def _kept_before_sending(self) -> bool:
        """Counters and nonces are on flash, in a thread because a worn card takes its time; False if it refuses."""
        try:
            await asyncio.to_thread(self._keep, self._server.facts(), True)
        except StorageError as error:
            log.error('nothing is sent reason="%s" next=a counter that is not kept must not be used', error)
            return False
        return True

    def _keep(self, facts: Mapping[str, Any], now: bool) -> None:
        """One write for all of them."""
        self._saved_at = self._clock.monotonic()
        last = len(facts) - 1
        for at, (name, value) in enumerate(facts.items()):
            self._memory.put(f"{self._name}.{name}", value, now and at == last)

    def _recall(self, name: str) -> Any:
        return self._memory.get(f"{self._name}.{name}")

    # -- readings ------------------------------------------------------------------------------------------------

    async def _take(self, pump: asyncio.Task[None]) -> AsyncIterator[Readings]:
        """Turn received frames and silence into readings; ends when the pump does."""
        looked = -math.inf
        while not pump.done():
            while self._acts:
                if readings := await self._together():
                    yield readings
            now = self._clock.monotonic()
            if now >= self._next_look(looked):
                looked = now
                for node in self._nodes.values():
                    was_lost, stale = node.lost, node.silent()
                    if node.lost and not was_lost:
                        self._server.give_up(node.name, "the device has fallen silent")
                    if stale:
                        yield stale
            if not self._acts and not pump.done():
                await self._node_rest.until(self._next_look(looked))

    def _next_look(self, looked: float) -> float:
        """When (clock.monotonic) to look for silent nodes next: after as many seconds as none can be silent."""
        due = min((node.due for node in self._nodes.values()), default=math.inf)
        return looked + LOOK * max(1, math.ceil(min(due - looked, LONGEST_LOOK) / LOOK))

    async def _together(self) -> Readings:
        """The readings of what waits, as far as a moment goes: a batch costs what it costs, whatever is in it."""
        until = self._clock.monotonic() + TOGETHER
        found: list[Reading] = []
        while self._acts and self._clock.monotonic() < until:
            found += await self._understood(self._acts.popleft())
        return found

    async def _understood(self, act: Act) -> Readings:
        if isinstance(act, Heard):
            best = act.best
            frame = Frame(act.payload, act.at, act.port, act.counter, best.rssi, best.snr, best.sf)
            return await self._nodes[act.device].uplink(frame)
        if isinstance(act, Battery):
            return self._nodes[act.device].battery(act.percent, act.at)
        if isinstance(act, Joined):
            self._nodes[act.device].joined()
        return []

    def _last(self, point: str) -> Reading | None:
        node = self._nodes.get(point.rpartition(".")[0])
        if node is not None and any(own.id == point and own.writable for own in node.points):
            return self._confirmed.get(point)
        return node.last.get(point) if node is not None else None

    # -- for people ----------------------------------------------------------------------------------------------

    def _battery(self, device: str) -> Value:
        reading = self._nodes[device].last.get(f"{device}.battery")
        return reading.value if reading is not None else None

    def _load(self, now: float) -> float:
        """The share of its hour that is used in the sub-band that comes off worst."""
        return round(max((gateway.ledger.share(now) for gateway in self._server.gateways), default=0.0), 4)

    def _airtime(self, now: float) -> list[dict[str, Any]]:
        rows = []
        for gateway in self._server.gateways:
            for band in SUB_BANDS:
                used = gateway.ledger.used(band, now)
                rows.append({
                    "gateway": gateway.eui, "sub_band": band.name, "used_ms": round(used, 1),
                    "budget_ms": round(band.budget_ms), "share": round(used / band.budget_ms, 4),
                })  # fmt: skip
        return rows

    def _device_airtime(self, now: float) -> list[dict[str, Any]]:
        return [
            {"device": d.name, "up_ms": round(d.heard.used(now), 1), "down_ms": round(d.sent.used(now), 1)}
            for d in self._server.devices
        ]
