"""A ChirpStack as a bus: events become readings, writes become downlinks."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence

from agent.clock import Clock
from agent.errors import DeviceError, TooLate
from agent.lib.throttle import Throttle
from agent.model import BusState, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec, DurableStore
from drivers.broker_link import Address, BrokerLink, MqttMessage
from drivers.lora.chirpstack.downlinks import Downlinks, QueuedDownlink
from drivers.lora.chirpstack.events import LARGEST, Ack, Malformed, Topics, UplinkEvent, battery, command, parse, text
from drivers.lora.node import KEEP_EVERY, PATIENCE, Frame, Node

__all__ = ["ChirpStack"]

log = logging.getLogger("bocage.lora")

_SEEN = 1000  # deduplication ids that are remembered
_REST = 30.0  # s between two signs of life
_GRACE = 30.0
_LATE_MS = 30_000  # what the server heard longer ago waited at the broker
_CATCH_UP = (5.0, 60.0)  # s after a connection, or a late event, in which there may be late ones; and at the most
_DEFAULT_LIFE = 3600.0  # s, of a downlink without a time limit, at least
_EXPIRY_GRACE = 2.0  # s, for ChirpStack to tell by itself that one expired
_SETTLED_NS = 10_000_000_000  # what the uplink that confirms a downlink says was perhaps measured before it


class ChirpStack:
    """The devices of one application: Wire, Listener, Poller and Writer (drivers.api).

    Options: url, application, username, password, ca, cert, key, event_topic, command_topic.
    """

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        options = spec.options
        self._bus, self._clock = spec.name, clock
        self._topics = Topics(options["event_topic"], options["command_topic"], options["application"])
        address = Address(options, _client_id(spec.name, memory), LARGEST)
        self._link = BrokerLink(spec.name, address, [self._topics.subscription], clock, log, "network server")
        self._nodes = {device.address["dev_eui"].lower(): Node(device, clock, memory) for device in spec.devices}
        self._euis = {node.name: eui for eui, node in self._nodes.items()}
        self._confirms = {d.name: (d.profile or {}).get("lora", {}).get("confirmed", True) for d in spec.devices}
        self._home = {point.id: node for node in self._nodes.values() for point in node.points}
        self._downlinks = Downlinks()
        self._confirmed: dict[str, Reading] = {}
        self._written: dict[str, int] = {}  # boottime_ns before which a report says nothing about what was written
        self._seen: dict[str, None] = {}
        self._late_until = -math.inf
        self._connection = 0  # the connection that the last message came by
        counted = ("events", "repeated", "malformed", "oversized", "foreign", "late", "downlinks")
        self._counts = dict.fromkeys(counted, 0)
        self._due = math.inf
        self._keep_at = clock.monotonic() + KEEP_EVERY
        self._reports = Throttle(clock.monotonic)

    @property
    def points(self) -> Sequence[Point]:
        return [point for node in self._nodes.values() for point in node.points]

    def status(self) -> Mapping[str, object]:
        """Counts since the start: `events`, `repeated` by the broker, `malformed` (of those `oversized`: longer than
        64 kB), `foreign` (of devices not in the site file), `late` (that waited at the broker), `downlinks`;
        `waiting` are downlinks without an end yet.
        """
        state = BusState.UP if self._link.is_up else BusState.DOWN
        lost = [node.name for node in self._nodes.values() if node.lost]
        unheard = [node.name for node in self._nodes.values() if node.unheard]
        own = {"state": state, "load": 0.0, "error": self._link.error, "lost": lost, "unheard": unheard}
        return {**own, "waiting": len(self._downlinks), **self._counts}

    def due(self) -> float:
        return self._due

    # -- listening ---------------------------------------------------------------------------------------------

    async def readings(self) -> AsyncIterator[Readings]:
        """Yield what the devices send, and once for each of them that falls silent, with a broker or without one."""
        link = asyncio.create_task(self._link.run(), name=f"link {self._bus}")
        try:
            while True:
                for node in self._nodes.values():
                    if stale := node.silent():
                        yield stale
                if self._clock.monotonic() >= self._keep_at:
                    self._keep()
                if (message := await self._next(link)) is not None:
                    if found := await self.take(message):
                        yield found
                    self._link.acknowledge(message)  # not before the readings are handed on
        finally:
            link.cancel()
            await asyncio.wait({link})
            self._due = math.inf

    async def _next(self, link: asyncio.Task[None]) -> MqttMessage | None:
        """The next message; None when it is time to look around."""
        if link.done():
            link.result()
        now = self._clock.monotonic()
        rest = min([_REST, *(node.due - now for node in self._nodes.values())])
        self._due = now + max(rest, 0.0) + _GRACE
        try:
            async with asyncio.timeout(max(rest, 0.0)):
                return await self._link.inbox.get()
        except TimeoutError:
            return None

    async def take(self, message: MqttMessage) -> Readings:
        """The readings of one message. No content of it raises."""
        self._counts["events"] += 1
        if len(message.body) > LARGEST:
            self._counts["oversized"] += 1
            self._malformed(message.topic, f"longer than {LARGEST // 1024} kB")
            return []
        try:
            eui, kind = self._topics.read(message.topic)
            node = self._nodes.get(eui.lower())
            if node is None:
                self._counts["foreign"] += 1
                return []
            event = parse(message.body, eui)
            self._euis[node.name] = eui
            if message.retain or (kind == "up" and self._is_repeated(event)):
                self._counts["repeated"] += 1
                return []
            return await self._handle(node, kind, event, message.connection)
        except Malformed as error:
            self._malformed(message.topic, str(error))
            return []

    async def _handle(self, node: Node, kind: str, event: Mapping[str, object], connection: int) -> Readings:
        match kind:
            case "up":
                return await self._up(node, UplinkEvent.of(event), connection)
            case "join":
                log.info("device joined device=%s dev_addr=%s", node.name, text(event, "devAddr")[:16])
                node.joined()
            case "status":
                return node.battery(battery(event), self._clock.now())
            case "txack":
                self._downlinks.taken(text(event, "queueItemId"))
            case "ack":
                ack = Ack.of(event)
                self._downlinks.answered(ack.item, ack.acknowledged)
            case "log":
                self._log(node, event)
        return []

    async def _up(self, node: Node, up: UplinkEvent, connection: int) -> Readings:
        at = self._clock.now()
        now_ms = at.wall_ms if at.wall_ms is not None else time.time_ns() // 1_000_000
        late = self._may_be_late(connection) and up.heard_ms is not None and now_ms - up.heard_ms > _LATE_MS
        if late:
            self._counts["late"] += 1
            self._late_until = self._clock.monotonic() + _CATCH_UP[0]
        frame = Frame(
            up.payload, at, up.fport, up.fcnt, up.rssi, up.snr, up.sf, up.decoded, up.heard_ms if late else None
        )
        return await node.uplink(frame)

    def _may_be_late(self, connection: int) -> bool:
        """Whether the broker may still be handing over what waited for us.

        Later on a difference of clocks is just that: a server whose clock is wrong does not turn all into history.
        """
        began, now = self._link.connected_at, self._clock.monotonic()
        if connection != self._connection:
            self._connection, self._late_until = connection, now + _CATCH_UP[0]
        return now < min(self._late_until, began + _CATCH_UP[1])

    def _log(self, node: Node, event: Mapping[str, object]) -> None:
        code, description, context = text(event, "code"), text(event, "description"), event.get("context")
        known = self._downlinks.logged(node.name, code, description, context if isinstance(context, Mapping) else {})
        if self._reports(node.name, code):
            log.log(
                logging.INFO if known or text(event, "level") == "INFO" else logging.WARNING,
                'network server says device=%s code=%s text="%s"', node.name, code[:40], description[:200],
            )  # fmt: skip

    def _is_repeated(self, event: Mapping[str, object]) -> bool:
        """Whether the broker delivered this uplink before. The id is the uplink's: its `ack` and `log` bear it too."""
        found = text(event, "deduplicationId")[:64]
        if not found:
            return False
        if found in self._seen:
            return True
        self._seen[found] = None
        if len(self._seen) > _SEEN:
            del self._seen[next(iter(self._seen))]
        return False

    def _malformed(self, topic: str, reason: str) -> None:
        self._counts["malformed"] += 1
        if not (count := self._reports("malformed")):
            return
        log.warning(
            'events not understood bus=%s count=%d last_topic=%r last_reason="%s" next=they are passed over',
            self._bus, count, topic[:120], reason,
        )  # fmt: skip

    # -- reading and writing -----------------------------------------------------------------------------------

    async def read(self, points: Sequence[str]) -> Readings:
        """The last of each that was heard: a radio device is not asked. Bad where nothing came yet.

        Of what was written, what the device has confirmed, or reported after it.
        """
        return [self._last(point) or Reading(point, None, self._clock.now(), Quality.BAD) for point in points]

    def _last(self, point: str) -> Reading | None:
        node, confirmed = self._home.get(point), self._confirmed.get(point)
        found = node.last.get(point) if node is not None else None
        if found is None or found.at.boottime_ns <= self._written.get(point, 0):
            return confirmed
        return found

    async def write(self, point: str, value: Value, until: float | None = None) -> None:
        """Put a downlink into ChirpStack's queue and wait until the device has confirmed it; or, if its profile wants
        no confirmation, until a gateway took it. DeviceError says why not (TooLate: it was never sent). What is called
        off cannot be taken out of the queue: it expires there at `until`.
        """
        node = self._home.get(point)
        if node is None:
            raise DeviceError(f"{point} is not a point of {self._bus}")
        fport, payload = await node.encode(point, value)
        now, at = self._clock.monotonic(), self._clock.now()
        patience = PATIENCE * node.interval
        end = now + max(patience, _DEFAULT_LIFE) if until is None else until
        if end <= now:
            raise TooLate(f"{point}: its time expired before it was sent")
        eui, downlink = self._euis[node.name], QueuedDownlink(node.name, point, len(payload), self._confirms[node.name])
        expires_ms = None if at.wall_ms is None else at.wall_ms + round((end - now) * 1000)
        body = command(eui, downlink.item, fport, payload, downlink.confirmed, expires_ms)
        self._downlinks.add(downlink)
        self._confirmed.pop(point, None)
        self._written[point] = at.boottime_ns
        try:
            await self._link.publish(self._topics.command(eui), body, "downlink")
            self._counts["downlinks"] += 1
            log.info("downlink queued device=%s point=%s id=%s fport=%d", node.name, point, downlink.item, fport)
            await self._wait(downlink, end, patience)
        except asyncio.CancelledError:
            log.info("downlink given up point=%s id=%s next=ChirpStack drops it when it expires", point, downlink.item)
            raise
        finally:
            self._downlinks.remove(downlink)
        done = self._clock.now()
        self._written[point] = done.boottime_ns
        if downlink.confirmed:
            self._confirmed[point] = Reading(point, value, done)
            self._written[point] += _SETTLED_NS

    async def _wait(self, downlink: QueuedDownlink, end: float, patience: float) -> None:
        """Until it ended: it must be sent before `end`, and confirmed within `patience` seconds from then."""
        try:
            async with asyncio.timeout(max(end - self._clock.monotonic(), 0.0) + _EXPIRY_GRACE):
                await downlink.sent.wait()
        except TimeoutError:
            raise TooLate(f"{downlink.point}: it expired before the device spoke") from None
        await asyncio.wait({downlink.ended}, timeout=patience)
        if not downlink.ended.done():
            raise DeviceError(f"{downlink.point}: it was sent, and the device did not confirm it in {patience:.0f} s")
        downlink.ended.result()

    def _keep(self) -> None:
        self._keep_at = self._clock.monotonic() + KEEP_EVERY
        for node in self._nodes.values():
            node.keep()

    async def close(self) -> None:
        self._keep()
        self._due = math.inf


def _client_id(bus: str, memory: DurableStore) -> str:
    """A name of our own that stays: the broker keeps the session under it."""
    key = f"chirpstack.{bus}.client"
    found = memory.get(key)
    if not isinstance(found, str):
        found = f"bocage-{bus}-{uuid.uuid4().hex[:8]}"
        memory.put(key, found)
    return found
