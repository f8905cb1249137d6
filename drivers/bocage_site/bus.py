"""The wire to another site: hears what it tells, asks it for what is wished, and the same the other way round.

What a site tells is always all of it, so a message that is lost is made good by the next one, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.errors import DeviceError, Rejected, WireError
from agent.lib.throttle import Throttle
from agent.model import BusState, Instant, Kind, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec, DeviceSpec, DurableStore, Home
from drivers.bocage_site.held_wishes import HeldWishes
from drivers.bocage_site.messages import (
    LARGEST,
    Asked,
    NoMessage,
    Stamp,
    Told,
    ToldValue,
    asked,
    mark,
    parse_asked,
    parse_told,
    told,
    topics,
)
from drivers.bocage_site.order import LATE, Order, Repeated, TooOld
from drivers.broker_link import Address, BrokerLink

__all__ = ["CONFIRM", "GAP", "SiteBus"]

log = logging.getLogger("bocage.sites")

GAP = 2.0
"""Seconds between two messages of a kind at the least: what changed meanwhile goes with the next one."""
CONFIRM = 10.0
"""Seconds that a wish waits for the other site to say that it holds it."""
LIVES = 3
"""A message holds for this many of its intervals: two in a row may be lost."""
SELDOM = 10
"""The names that are read go out each so many intervals, while they are told and nothing is wished."""
_INBOX, _A_TURN = 50, 10  # messages that wait, and those that are read in one turn
_LOOK = 1.0  # s between two looks at what is told
_REST, _SHORTEST = 30.0, 0.05  # s between two signs of life, and between two turns
_GRACE = 30.0


class SiteBus:
    """One other site: Wire, Listener, Poller, Writer, Aside and Correspondent (drivers.api).

    Options: site (the other's id), own (ours), prefix, every, uplink (whether it carries this too), peer (what it may
    ask for and read, None where the file names no such peer), and url and credentials of a broker on the LAN.
    Devices with the option `requests` have a point for each output that the other site may ask for.
    """

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        options = spec.options
        self._bus, self._clock = spec.name, clock
        self._site, self._own, self._every = str(options["site"]), str(options["own"]), float(options["every"])
        self._by_uplink = bool(options["uplink"])
        self._told_by, self._asked_by = topics(options["prefix"], self._site, self._own)
        self._tells, self._asks = topics(options["prefix"], self._own, self._site)
        peer = options.get("peer")
        self._is_peer = peer is not None
        """Whether the file lets it ask for something, or read."""
        self._allow: Sequence[str] = peer["allow"] if peer is not None else ()
        self._read: Sequence[str] | None = peer["read"] if peer is not None else None
        self._devices = [one for one in spec.devices if not one.options.get("requests")]
        self._stale_after = {one.name: float(one.options["stale_after"]) for one in self._devices}
        self._remote: dict[str, tuple[str, Point]] = {}
        """Their points in our file: the name there, and the point here."""
        self._outputs: dict[str, str] = {}
        for device in self._devices:
            self._add(device)
        self._requests = HeldWishes(
            self._site, next((one for one in spec.devices if one.options.get("requests")), None), clock, memory
        )
        self._link: BrokerLink | None = None
        if options.get("url"):
            address = Address(options, f"bocage-{self._own}-{secrets.token_hex(4)}", LARGEST, keep=False)
            what = "broker of the site's own network"
            self._link = BrokerLink(spec.name, address, self._listens_to, clock, log, what)
        self._connections = 0
        self._home: Home | None = None
        self._inbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_INBOX)
        self._wake = asyncio.Event()
        self._told_order, self._asked_order = Order(), Order()
        self._telling, self._asking = _Newest(self._post), _Newest(self._post)
        self._wishes: dict[str, Value] = {}
        """Our own, by the name there; None ends one. A name that is missing was not decided since the start."""
        self._stamped_ms = -1
        """Our boottime (ms) in our last message: no two have the same, or the second would be a repetition."""
        self._sent: tuple[str, int] | None = None
        """The mark of our last request that says something of wishes."""
        self._heard: tuple[str, int] | None = None
        self._held: Mapping[str, Value] = {}
        self._refused: Mapping[str, str] = {}
        self._answered: list[asyncio.Future[None]] = []
        self._last: dict[str, Reading] = {}
        self._heard_at = -math.inf
        self._complete_at = -math.inf
        """When the other site last told all that we read."""
        self._ask_at, self._asked_at = 0.0, -math.inf
        self._tell_at, self._told_at = 0.0, -math.inf
        self._shown: Any = None
        self._due = math.inf
        counted = ("heard", "malformed", "too_old", "sent", "lost_on_the_way")
        self._counts = dict.fromkeys(counted, 0)
        self._reports = Throttle(clock.monotonic)

    def _add(self, device: DeviceSpec) -> None:
        for name, data in ((device.profile or {}).get("points") or {}).items():
            point = Point(
                f"{device.name}.{name}", device.name, data["unit"] or "", Kind(data["kind"]), data["writable"],
                data["low"], data["high"],
            )  # fmt: skip
            self._remote[point.id] = data["remote"], point
            if point.writable:
                self._outputs[point.id] = data["remote"]

    @property
    def points(self) -> Sequence[Point]:
        return [*(point for _, point in self._remote.values()), *self._requests.points]

    @property
    def _listens_to(self) -> list[str]:
        """To what it tells where a device of ours is there, and to what it asks where it may ask."""
        return [*([self._told_by] if self._devices else []), *([self._asked_by] if self._is_peer else [])]

    def take_home(self, home: Home) -> None:
        self._home = home

    # -- state -------------------------------------------------------------------------------------------------

    @property
    def _is_up(self) -> bool:
        """Whether there is a way to the other site, as far as this one knows."""
        by_uplink = self._by_uplink and self._home is not None and self._home.is_up
        return by_uplink or (self._link is not None and self._link.is_up)

    @property
    def _is_heard(self) -> bool:
        return self._clock.monotonic() - self._heard_at <= LIVES * self._every

    def status(self) -> Mapping[str, object]:
        """Counts since the start: `heard` messages, `malformed`, `too_old` (repeated, late, or not known to be of now),
        `sent`, `lost_on_the_way` (no broker took them); `wishes` that the other site holds here.
        """
        silent = f"{self._site} is silent"
        error = "" if self._is_heard or not self._devices else silent
        if self._link is not None and not self._link.is_up:
            error = f"{error or 'the uplink alone carries it'}; {self._link.error}"
        refused = {device.name: self._refused_of(device) for device in self._devices}
        return {
            "state": BusState.UP if self._is_heard or self._is_up else BusState.DOWN,
            "load": 0.0,
            "error": error,
            "lost": [] if self._is_heard else [device.name for device in self._devices],
            "said": {} if self._is_heard else {device.name: silent for device in self._devices},
            "refused": {device: points for device, points in refused.items() if points},
            "wishes": dict(self._requests.held()),
            **self._counts,
        }

    def _refused_of(self, device: DeviceSpec) -> dict[str, str]:
        """The points of a device that the other site refuses, each with the reason."""
        own = (found for found in self._remote.values() if found[1].device == device.name)
        return {
            point.id.partition(".")[2]: self._refused[remote] for remote, point in own if remote in self._refused
        }  # fmt: skip

    def due(self) -> float:
        return self._due

    # -- listening ---------------------------------------------------------------------------------------------

    async def readings(self) -> AsyncIterator[Readings]:
        """Yield what the other site tells, what it asks for, and the end of that."""
        with contextlib.ExitStack() as stack:
            if self._home is not None and self._by_uplink:
                leave = self._home.join(self._listens_to, self._received, self._connected)
                stack.callback(leave)
            link = asyncio.create_task(self._listen(), name=f"link {self._bus}")
            stack.callback(link.cancel)
            try:
                if start := self._requests.restore():
                    yield start
                while True:
                    if ended := self._requests.expired():
                        yield ended
                    self._look()
                    await self._rest(link)
                    for _ in range(min(self._inbox.qsize(), _A_TURN)):
                        if found := self.take(*self._inbox.get_nowait()):
                            yield found
                    if not self._inbox.empty():  # a flood costs its sender, not the loop
                        await asyncio.sleep(_SHORTEST)
                        self._wake.set()
            finally:
                self._telling.stop()
                self._asking.stop()
                self._due = math.inf

    async def _listen(self) -> None:
        """Own the connection to the broker on the LAN, where there is one."""
        if self._link is None:
            await asyncio.Event().wait()
            return
        running = asyncio.create_task(self._link.run(), name=f"broker of {self._bus}")
        try:
            while True:
                message = await self._link.inbox.get()
                self._link.acknowledge(message)
                if not message.retain:
                    self._received(message.topic, message.body)
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _rest(self, link: asyncio.Task[None]) -> None:
        """Until something came, or is to be done."""
        if link.done():
            link.result()
        now = self._clock.monotonic()
        look = now + _LOOK if self._tells_anything() or self._link is not None else math.inf
        until = max(min(now + _REST, look, self._requests.ends(), self._ask_at), now + _SHORTEST)
        self._due = until + _GRACE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until - now):
                await self._wake.wait()
        self._wake.clear()

    def _received(self, topic: str, body: bytes) -> None:
        """From either broker. When too much waits, the oldest goes: the newest says all."""
        if self._inbox.full():
            self._inbox.get_nowait()
        self._inbox.put_nowait((topic, body))
        self._wake.set()

    def _connected(self) -> None:
        """There is a way again: all that is to be told and asked goes at once."""
        self._ask_at = self._tell_at = 0.0
        self._wake.set()

    def take(self, topic: str, body: bytes) -> Readings:
        """The readings of one message. No content of it raises."""
        self._counts["heard"] += 1
        try:
            return self._take_told(parse_told(body)) if topic == self._told_by else self._take_asked(parse_asked(body))
        except NoMessage as error:
            self._counts["malformed"] += 1
            self._pass_over("malformed", topic, error)
        except Repeated:
            pass
        except TooOld as error:
            self._counts["too_old"] += 1
            self._pass_over("too old", topic, error)
        return []

    def _pass_over(self, what: str, topic: str, error: Exception) -> None:
        if count := self._reports(what, topic):
            log.warning(
                'messages passed over bus=%s topic=%r count=%d last_reason="%s" next=the next one is looked at',
                self._bus, topic, count, error,
            )  # fmt: skip

    # -- what the other site tells -----------------------------------------------------------------------------

    def _take_told(self, one: Told) -> Readings:
        at = self._clock.now()
        delay = self._told_order.delay(one.stamp, at.boottime_ns / 1e9, at.wall_ms)
        self._heard_at = self._clock.monotonic()
        self._heard, self._held, self._refused = one.heard, one.wishes, one.refused
        for answered in self._answered:
            if not answered.done():
                answered.set_result(None)
        if self._is_answered():
            ended = [name for name, value in self._wishes.items() if value is None and name not in self._held]
            for name in ended:
                del self._wishes[name]
        wanted = {remote for remote, point in self._remote.values() if not point.writable}
        if wanted <= one.values.keys() | one.refused.keys():
            self._complete_at = self._heard_at
        found = [
            self._output(point, remote, at)
            if point.writable
            else _reading(point, one.values.get(remote), delay, self._stale_after[point.device], at)
            for remote, point in self._remote.values()
            if (self._is_answered() if point.writable else remote in one.values or remote in one.refused)
        ]
        self._last |= {reading.point: reading for reading in found}
        return found

    def _is_answered(self) -> bool:
        """Whether the other site has taken in our last request."""
        return self._sent is None or self._is_past(self._sent)

    def _output(self, point: Point, remote: str, at: Instant) -> Reading:
        """The wish that the other site holds for us: an output is off where it holds none."""
        value = self._held.get(remote)
        if remote in self._refused:
            return Reading(point.id, None, at, Quality.BAD)
        if point.kind is Kind.STATE:
            return Reading(point.id, bool(value), at)
        is_level = isinstance(value, int | float) and not isinstance(value, bool)
        return Reading(point.id, value if is_level else None, at, Quality.GOOD if is_level else Quality.BAD)

    # -- what we ask of it -------------------------------------------------------------------------------------

    def _ask_interval(self, now: float) -> float:
        """Seconds between two requests: seldom where all is told and nothing is wished."""
        wishes = any(value is not None for value in self._wishes.values())
        told = now - self._complete_at <= 2 * self._every
        return self._every if wishes or not told else SELDOM * self._every

    def _look(self) -> None:
        """Ask and tell what is due."""
        now = self._clock.monotonic()
        if self._link is not None and self._link.is_up and self._link.connections != self._connections:
            self._connections, self._ask_at, self._tell_at = self._link.connections, 0.0, 0.0
        if not self._remote:
            self._ask_at = math.inf
        elif now >= max(self._ask_at, self._asked_at + GAP):
            self._ask(now)
        shown = self._to_tell()
        if shown is None:
            return
        if (shown != self._shown or now >= self._tell_at) and now >= self._told_at + GAP:
            self._tell(shown, now)

    def _ask(self, now: float) -> tuple[str, int]:
        """Send a request; its mark."""
        interval = self._ask_interval(now)
        stamp = self._stamp()
        reads = sorted({remote for remote, point in self._remote.values() if not point.writable})
        self._asking.offer(self._asks, asked(Asked(stamp, LIVES * interval, self._every, self._wishes, reads)))
        if self._wishes:
            self._sent = mark(stamp)
        self._asked_at, self._ask_at = now, now + interval
        return mark(stamp)

    def _stamp(self) -> Stamp:
        at = self._clock.now()
        self._stamped_ms = max(at.boottime_ns // 1_000_000, self._stamped_ms + 1)
        return Stamp(at.boot, self._stamped_ms, at.wall_ms)

    async def write(self, point: str, value: Value, until: float | None = None) -> None:  # noqa: ARG002  nothing waits
        """Wish a value for an output of the other site, or end that (off). Returns when it says that it holds it.

        DeviceError if it refuses, or does not answer: the wish is repeated all the same, until another one is written.
        """
        remote, found = self._remote.get(point, ("", None))
        if found is None or not found.writable:
            raise DeviceError(f"{point} cannot be asked for")
        wish = self._wishes[remote] = None if found.kind is Kind.STATE and not value else value
        if self._home is None and self._link is None:  # after a crash: what is not repeated ends by itself
            if wish is None:
                return
            raise WireError(f"no way to {self._site} without the agent")
        sent = self._ask(self._clock.monotonic())
        self._wake.set()
        end = asyncio.get_running_loop().time() + CONFIRM
        while not self._is_past(sent):
            answered = asyncio.get_running_loop().create_future()
            self._answered.append(answered)
            try:
                async with asyncio.timeout_at(end):
                    await answered
            except TimeoutError:
                if not self._is_up:
                    raise WireError(f"no way to {self._site}: it is asked again when there is one") from None
                raise DeviceError(f"{self._site} has not answered within {CONFIRM:.0f} s") from None
            finally:
                self._answered.remove(answered)
        if remote in self._refused:
            raise DeviceError(f"{self._site} refuses {remote}: {self._refused[remote]}")

    def _is_past(self, sent: tuple[str, int]) -> bool:
        """Whether the other site has taken in that request, or a later one."""
        return self._heard is not None and self._heard[0] == sent[0] and self._heard[1] >= sent[1]

    async def write_aside(self, device: DeviceSpec, point: str, value: Value) -> None:
        """An output that left the file: its wish is not repeated, so it ends by itself."""

    async def read(self, points: Sequence[str]) -> Readings:
        """The last of each that was told: stale if that is too long ago, bad where nothing came yet."""
        now = self._clock.now()
        return [self._at_present(point, now) for point in points]

    def _at_present(self, point: str, now: Instant) -> Reading:
        found = self._last.get(point)
        if found is None:
            return Reading(point, None, now, Quality.BAD)
        stale_after = self._stale_after[self._remote[point][1].device]
        is_old = now.boottime_ns - found.at.boottime_ns > stale_after * 1e9
        return found._replace(quality=Quality.STALE) if is_old and found.quality is Quality.GOOD else found

    # -- what the other site asks of us, and what we tell it ---------------------------------------------------

    def _take_asked(self, one: Asked) -> Readings:
        at = self._clock.now()
        delay = self._asked_order.delay(one.stamp, at.boottime_ns / 1e9, at.wall_ms)
        found = self._requests.take(one, delay)
        self._tell_at = 0.0  # it waits for the answer
        return found

    def _tells_anything(self) -> bool:
        return self._is_peer and bool(self._names())

    def _names(self) -> list[str]:
        """The names that are told: of outputs that may be asked for, and of points that may be read, or are."""
        return list(dict.fromkeys([*self._allow, *(self._requests.reads() if self._read is None else self._read)]))

    def _to_tell(self) -> tuple[Any, ...] | None:
        """The part that goes at once when it changes: states, qualities, wishes that are held, refusals.

        None: nothing is told.
        """
        if not self._tells_anything() or self._home is None:
            return None
        values, refused = self._values(self._home.reading)
        states = {name: (one.quality, one.value if isinstance(one.value, bool | str) else None) for name, one in
                  values.items()}  # fmt: skip
        return states, dict(self._requests.held()), refused

    def _values(self, reading: Callable[[str], Reading | None]) -> tuple[dict[str, ToldValue], dict[str, str]]:
        values: dict[str, ToldValue] = {}
        refused = dict(self._requests.refused)
        now = self._clock.now().boottime_ns
        for name in self._names():
            try:
                found = reading(name)
            except Rejected as why:
                refused[name] = str(why)
                continue
            if found is not None:
                values[name] = ToldValue(found.value, max(now - found.at.boottime_ns, 0) / 1e9, found.quality)
        listed = self._read
        for name in self._requests.reads() if listed is not None else ():
            if listed is not None and name not in listed and name not in self._allow:
                refused[name] = f"it is not in peers.{self._site}.read"
        return values, refused

    def _tell(self, shown: Any, now: float) -> None:
        assert self._home is not None
        values, refused = self._values(self._home.reading)
        one = Told(self._stamp(), values, self._requests.held(), self._requests.heard, refused)
        body = told(one)
        if len(body) > LARGEST:
            if self._reports("too long"):
                log.error('too much to tell bus=%s bytes=%d next=name fewer in peers.read', self._bus, len(body))
        else:
            self._telling.offer(self._tells, body)
        self._shown, self._told_at, self._tell_at = shown, now, now + self._requests.every

    # -- sending -----------------------------------------------------------------------------------------------

    async def _post(self, topic: str, body: bytes) -> None:
        """By the uplink, and by the broker on the LAN; the other side takes the first that comes."""
        ways: list[Any] = []
        if self._home is not None and self._by_uplink:
            ways.append(self._home.send(topic, body, LATE))
        if self._link is not None:
            ways.append(self._post_by_link(topic, body))
        taken = await asyncio.gather(*ways)
        self._counts["sent" if any(taken) else "lost_on_the_way"] += 1

    async def _post_by_link(self, topic: str, body: bytes) -> bool:
        assert self._link is not None
        try:
            await self._link.publish(topic, body, "message")
        except WireError:
            return False
        return True

    async def close(self) -> None:
        self._due = math.inf


class _Newest:
    """Sends the newest of what it is given, one at a time."""

    def __init__(self, send: Callable[[str, bytes], Any]) -> None:
        self._send = send
        self._next: tuple[str, bytes] | None = None
        self._task: asyncio.Task[None] | None = None

    def offer(self, topic: str, body: bytes) -> None:
        self._next = topic, body
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._next is not None:
            one, self._next = self._next, None
            await self._send(*one)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _reading(point: Point, found: ToldValue | None, delay: float, stale_after: float, at: Instant) -> Reading:
    """A value of the other site with the time at which it was read there, by our own clock. One that is too old is
    stale at once: it must drive nothing, not even until the hub looks."""
    if found is None:
        return Reading(point.id, None, at, Quality.BAD)
    age = found.age + delay
    wall_ms = None if at.wall_ms is None else at.wall_ms - round(age * 1e3)
    then = Instant(at.boot, max(at.boottime_ns - round(age * 1e9), 0), wall_ms)
    value = found.value
    if value is not None and point.kind is not Kind.TELEMETRY and isinstance(value, int | float):
        value = bool(value) if point.kind is Kind.STATE else value
    if point.kind is not Kind.STATE and isinstance(value, bool | str):
        return Reading(point.id, None, then, Quality.BAD)
    is_old = found.quality is Quality.GOOD and age > stale_after
    return Reading(point.id, value, then, Quality.STALE if is_old else found.quality)
