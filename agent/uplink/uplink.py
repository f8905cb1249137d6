"""The uplink's life: connect, empty the outbox as fast as the broker takes it, bring commands back, try again.

    uplink = Uplink(settings, "saint-seine", outbox, arbiter.submit, clock, agent="0.1.0", config_hash="sha256:…",
                    state=lambda: {"meter-a": {"active_power": 61.2}})
    await uplink.run()

The outbox is the only queue: a message is taken from it when the window has a free slot, and leaves it with the
PUBACK. What was under way when the link went goes back, with the same keys.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import aiomqtt

from agent.clock import Clock
from agent.model import Command, Event, Outcome, Severity
from agent.outbox import Message, Outbox
from agent.uplink.certificates import Certificates
from agent.uplink.fence import Fence
from agent.uplink.inbox import Inbox
from agent.uplink.native import Topics, compressed, encode
from agent.uplink.reconnect import Outage, Why, reconnect_delay, routes
from agent.uplink.rivals import Rivals
from agent.uplink.session import ATTEMPT, WINDOW, LinkLost, Session
from agent.uplink.settings import UplinkSettings

__all__ = ["Uplink"]

log = logging.getLogger("bocage.uplink")

ACCEPTED = (0x00, 0x10)
"""PUBACK: success; success, and nobody has subscribed."""
NOT_AUTHORISED = 0x87
POISON = (0x90, 0x99)
"""PUBACK: topic name invalid, payload format invalid. The same bytes will never be taken."""
OVERHEAD = 200
"""Bytes of a PUBLISH packet beside its body, at the most: topic, content type, lengths."""
STOPPED_FOR = 60.0
"""Seconds for which a refused topic is left alone before it is tried again."""
LONGEST_BACKOFF = 60.0
"""Seconds between attempts at a broker that says that a quota is used up."""
GOODBYE = 2.0
"""Seconds that an orderly end waits for acknowledgements."""


class Uplink:
    """One broker. `run` is a core task: it never raises for a fault of the link. `close` ends it in order.

    `submit` is the arbiter's door. `state` gives what stands on the topics state/{name}, by name.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        site: str,
        outbox: Outbox,
        submit: Callable[[Command], Awaitable[Outcome]],
        clock: Clock,
        *,
        agent: str,
        config_hash: str,
        state: Callable[[], Mapping[str, Mapping[str, Any]]],
        dice: Callable[[], float] = random.random,
        config_problem: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._clock = clock
        self._who: dict[str, Any] = {"agent": agent, "config": config_hash, "boot": clock.boot}
        if config_problem is not None:
            self._who["config_problem"] = config_problem
        self._connected_at: int | None = None
        self._state = state
        self._dice = dice
        self.certificates = Certificates((settings.cert, settings.ca), clock)
        self._topics = Topics(f"{settings.prefix}/{site}")
        self._inbox = Inbox(self._topics, outbox, submit, clock)
        self.rivals = Rivals(clock.monotonic)
        self._fence = Fence(self._topics, outbox, self.rivals.taken_over)
        self._properties = compressed() if settings.protocol == 5 else None
        self._outage = Outage(clock.monotonic)
        self._name, self._since = "", clock.monotonic()
        self._said = float("inf")
        """How long the outage was (s) when the log last told of it."""
        self._closing = asyncio.Event()
        self._stopped_running = asyncio.Event()
        self._stopped_running.set()
        self._session: Session | None = None
        self._sender: asyncio.Task[None] | None = None
        self._inflight: dict[int, tuple[Message, float]] = {}
        self._stopped: set[str] = set()
        self._in_hand: list[Message] = []
        self._alarmed: set[str] = set()
        self._window = WINDOW
        self._backoff = 0.0
        self._not_before = 0.0
        self._latency: float | None = None
        self._sent = 0
        self._enter("connecting", ATTEMPT)
        self._error = ""

    # -- what the others call ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a link, until `close` or cancellation."""
        self._stopped_running.clear()
        try:
            async with self._inbox.working():
                while not self._closing.is_set():
                    await self._one_connection()
        finally:
            self._enter("off", 0)
            self._stopped_running.set()

    async def close(self) -> None:
        """Stop sending, wait up to 2 s for what is under way, say `offline`, and go. Nothing is lost by it."""
        self._closing.set()
        await self._inbox.close()
        session = self._session
        if session is not None:
            if self._sender is not None:
                self._sender.cancel()
            try:
                async with asyncio.timeout(GOODBYE):
                    await session.settled()
                    await session.free.acquire()
                    await session.publish(self._topics.status, self._status_body("offline"), retain=True)
            except (TimeoutError, LinkLost):
                log.warning("the broker did not take the goodbye broker=%s next=its last will", self._settings.broker)
            else:
                await session.close()
            session.drop("the agent ends")
        await self._stopped_running.wait()

    async def tell_configuration(self, config_hash: str, problem: Mapping[str, Any] | None) -> None:
        """Which configuration runs, and what is wrong with the one that does not: on `status` from now on."""
        self._who = {**self._who, "config": config_hash, "config_problem": problem}
        if problem is None:
            del self._who["config_problem"]  # a consumer of before knows no such key
        session = self._session
        if session is None:
            return
        try:
            async with asyncio.timeout(ATTEMPT):
                await session.free.acquire()
                await session.publish(self._topics.status, self._status_body("online", self._connected_at), True)
        except (TimeoutError, LinkLost):
            return  # the next connection says it

    def kept(self, command: str) -> None:
        """That a command was accepted is on flash: it is acknowledged to the broker."""
        self._inbox.kept(command)

    async def publish_health(self, payload: Mapping[str, Any]) -> bool:
        """Publish on `health` at QoS 1. True if the broker took it; False without a link: it is not kept."""
        session = self._session
        if session is None:
            return False
        try:
            async with asyncio.timeout(ATTEMPT):
                await session.free.acquire()
                return await session.publish(self._topics.health, encode(payload)) in ACCEPTED
        except (TimeoutError, LinkLost):
            return False

    def status(self) -> dict[str, Any]:
        """For the live view and `health`. `latency_ms`: publish to PUBACK, smoothed; None before the first."""
        return {
            "state": self._name,
            "since_s": round(self._clock.monotonic() - self._since, 1),
            "error": self._error,
            "latency_ms": None if self._latency is None else round(self._latency * 1000, 1),
            "inflight": len(self._inflight),
            "sent": self._sent,
        }

    def due(self) -> float:
        """When (clock.monotonic) the next sign of life is due: the end of an attempt, of a pause, or the next tick."""
        if self._name == "off":
            return float("inf")
        if self._session is not None:
            return self._clock.monotonic() + 10 - self._session.quiet()
        return self._due

    # -- one connection ----------------------------------------------------------------------------------------

    async def _one_connection(self) -> None:
        """Connect, live until the link is lost, pause."""
        self._enter("connecting", ATTEMPT + 5)
        at = self._clock.now().wall_ms
        will = aiomqtt.Will(self._topics.status, self._status_body("offline", at), 1, True)
        session, sent = Session(self._settings, will, self._window), self._sent
        try:
            await self._connect(session)
            await self._live(session, at)
        except LinkLost as lost:
            session.drop(str(lost))
            if lost.why is Why.TAKEN:
                self.rivals.taken_over()
            elif lost.why is Why.SILENT:
                self.rivals.closed(self._clock.monotonic() - self._since)
            self._learn(self._sent - sent)
            self._give_back()
            await self._pause(lost)
        finally:
            session.drop("given up")
            self._give_back()

    async def _connect(self, session: Session) -> None:
        await _any(session.open(), self._closing.wait(), _route_gained())
        if self._closing.is_set():
            raise LinkLost("the agent ends")
        if not session.is_open:
            raise LinkLost("a route came back", Why.ROUTE)

    async def _live(self, session: Session, at: int | None) -> None:
        """While the link holds. Always ends with LinkLost, or with a bug of ours."""
        self._session, self._error, self._connected_at = session, "", at
        self._outage.up()
        self._enter("connected", 0)
        log.info("uplink connected broker=%s window=%d", self._settings.broker, session.window)
        compress = self._settings.protocol == 5 if self._settings.compress is None else self._settings.compress
        self._outbox.link(session.window, compress=compress, limit=session.max_packet - OVERHEAD)
        announcing = asyncio.create_task(self._announce(session, at), name="uplink announce")  # `online` goes first
        fenced = asyncio.create_task(self._fence.check(session), name="uplink fence")
        self._sender = asyncio.create_task(self._send(session, fenced), name="uplink send")
        tasks = [
            announcing,
            fenced,
            self._sender,
            asyncio.create_task(self._tell(session), name="uplink state"),
            asyncio.create_task(self._hear(session, fenced), name="uplink inbox"),
        ]
        try:
            await asyncio.wait({session.lost, *tasks}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._session = self._sender = None
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, LinkLost):
                raise end
        session.drop(next((str(end) for end in ends if isinstance(end, LinkLost)), "the agent ends"))
        session.lost.result()

    async def _pause(self, lost: LinkLost) -> None:
        if self._closing.is_set():
            return
        outage = self._outage.down()
        delay = reconnect_delay(outage, lost.why, self._dice())
        self._error = str(lost)
        self._enter("waiting", delay + 5)
        log.log(
            logging.WARNING if self._is_news(outage) else logging.DEBUG,
            "no uplink broker=%s outage_s=%.0f reason=%r next=tried again in %.1f s",
            self._settings.broker, outage, str(lost), delay,
        )  # fmt: skip
        if delay > 0:
            await _any(asyncio.sleep(delay), self._closing.wait(), _route_gained(), self._time_known())

    async def _time_known(self) -> None:
        """Return when the clock is trusted that was not: certificates are judged by it."""
        known = True
        while known or not self._clock.trusted:
            known = self._clock.trusted
            await asyncio.sleep(1)

    def _is_news(self, outage: float) -> bool:
        """Whether an outage is worth another line in the log: at its start, and whenever it has grown twofold."""
        if self._said <= outage < max(2 * self._said, self._said + 5):
            return False
        self._said = outage
        return True

    async def _announce(self, session: Session, at: int | None) -> None:
        """Say `online`, and ask for commands. Sending does not wait for it."""
        await session.free.acquire()
        said = session.publish(self._topics.status, self._status_body("online", at), retain=True)
        code = await session.listen(self._topics.commands)
        self._judge("cmd/+", code in (0, 1), f"SUBACK 0x{code:02x}: no command comes in")
        self._judge("status", (code := await said) in ACCEPTED, f"PUBACK 0x{code:02x}")

    async def _tell(self, session: Session) -> None:
        """Publish what changed on state/{name}, at QoS 0, retained; each name at most once an interval.

        Devices are first read in the seconds after a start, each in its own time: so the looks come thick at first.
        """
        interval = self._settings.state_interval
        told: dict[str, tuple[Any, float]] = {}
        pause = min(1.0, interval)
        while True:
            now = self._clock.monotonic()
            for name, payload in self._state().items():
                if name == "store":  # a device's name in files of before: the topic is the fence's
                    continue
                values = {key: value for key, value in payload.items() if key != "at"}
                before, at = told.get(name, (None, -math.inf))
                known = before is not None and any(value is not None for value in before.values())
                if values == before or (known and now - at < interval * 0.9):
                    continue
                if session.tell(self._topics.state(name), encode(payload)):
                    told[name] = values, now
            await asyncio.sleep(pause)
            pause = min(pause * 2, interval)

    # -- out of the outbox -------------------------------------------------------------------------------------

    async def _hear(self, session: Session, fenced: asyncio.Task[None]) -> None:
        """Commands that come again to an older state of the box may have been carried out by the later one."""
        await asyncio.wait({fenced})
        self._inbox.doubts_repetitions = self._fence.renewed
        await self._inbox.read(session)

    async def _send(self, session: Session, fenced: asyncio.Task[None]) -> None:
        await asyncio.wait({fenced})
        fenced.result()
        while True:
            await session.free.acquire()
            if self._fence.is_behind and (said := self._fence.claim(session)) is not None:
                said.add_done_callback(self._claimed)
                continue
            try:
                message = await self._next()
            except asyncio.CancelledError:
                session.free.release()
                raise
            if self._fence.is_behind:  # while we waited for it
                self._outbox.put_back(message)
                session.free.release()
                continue
            if len(message.body) + OVERHEAD > session.max_packet:
                session.free.release()
                self._refuse_for_good(message, f"longer than the broker's {session.max_packet} bytes")
                continue
            now = self._clock.monotonic()
            self._inflight[message.token] = message, now
            self._not_before = max(self._not_before, now + self._settings.min_interval)
            ack = session.publish(
                self._topics.of(message.topic), message.body, properties=self._properties if message.zlib else None
            )
            ack.add_done_callback(partial(self._settle, message))

    def _claimed(self, ack: asyncio.Future[int]) -> None:
        if ack.exception() is None:
            self._judge("state/store", ack.result() in ACCEPTED, f"PUBACK 0x{ack.result():02x}")

    async def _next(self) -> Message:
        """The next message, when it may be sent."""
        await self._rest()
        message = await self._outbox.take()
        if self._clock.monotonic() < self._not_before:  # while we waited for it
            self._in_hand = [message]  # it is given back if the link goes meanwhile
            await self._rest()
            self._in_hand = []
        return message

    async def _rest(self) -> None:
        """Wait out `min_interval`, and the pause that a broker with a used-up quota gets."""
        wait = self._not_before - self._clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def _settle(self, message: Message, ack: asyncio.Future[int]) -> None:
        """The broker has answered. After LinkLost the message stays in flight: `_give_back` keeps the order."""
        if ack.exception() is not None or message.token not in self._inflight:
            return
        _, at = self._inflight.pop(message.token)
        code, now = ack.result(), self._clock.monotonic()
        if code in ACCEPTED:
            self._outbox.accepted(message)
            self._sent += 1
            self._backoff = 0.0
            self._latency = now - at if self._latency is None else 0.8 * self._latency + 0.2 * (now - at)
            if self._alarmed:
                self._judge(message.kind, True, "")
        elif code == NOT_AUTHORISED:
            self._stop(message)
        elif code in POISON:
            self._refuse_for_good(message, f"PUBACK 0x{code:02x}")
        else:
            self._outbox.put_back(message)
            self._back_off(code, now)

    def _stop(self, message: Message) -> None:
        """Not authorised: leave this topic alone for a while, let the others pass."""
        kind = message.kind
        self._outbox.put_back(message)
        if kind not in self._stopped:
            self._stopped.add(kind)
            self._outbox.hold_back(self._stopped)
            asyncio.get_running_loop().call_later(STOPPED_FOR, self._resume, kind)
            self._judge(kind, False, f"PUBACK 0x87, not authorised: tried again in {STOPPED_FOR:.0f} s")

    def _resume(self, kind: str) -> None:
        self._stopped.discard(kind)
        self._outbox.hold_back(self._stopped)

    def _refuse_for_good(self, message: Message, reason: str) -> None:
        self._outbox.set_aside(message, reason)
        detail = {"topic": message.topic, "first": message.first, "last": message.last, "reason": reason}
        self._report("alarm", "uplink_set_aside", message.kind, Severity.MAJOR, detail)

    def _back_off(self, code: int, now: float) -> None:
        """A quota is used up (0x97), or something else that may pass."""
        if now < self._not_before:  # said once for all that was in the window
            return
        self._backoff = min(max(self._backoff * 2, 1.0), LONGEST_BACKOFF)
        pause = self._backoff * (0.5 + self._dice())
        self._not_before = now + pause
        log.warning("the broker has enough reason=0x%02x next=sending goes on in %.1f s", code, pause)

    def _learn(self, accepted: int) -> None:
        """A connection that brought nothing through: the next one tries with half the window, down to one message."""
        if accepted:
            self._window = WINDOW
        elif self._inflight:
            self._window = max(1, self._window // 2)

    def _give_back(self) -> None:
        """What was not accepted goes back: the last first, because each then comes first."""
        back = [message for message, _ in self._inflight.values()] + self._in_hand
        self._inflight.clear()
        self._in_hand.clear()
        for message in sorted(back, key=lambda message: message.token, reverse=True):
            self._outbox.put_back(message)

    # -- small things ------------------------------------------------------------------------------------------

    def _judge(self, subject: str, fine: bool, reason: str) -> None:
        """Raise or clear the alarm that the broker refuses a topic; each is said once."""
        if fine and subject in self._alarmed:
            self._alarmed.discard(subject)
            self._report("cleared", "uplink_refused", subject, Severity.INFO, {})
        elif not fine and subject not in self._alarmed:
            self._alarmed.add(subject)
            log.error("the broker refuses a topic topic=%s reason=%r next=see its ACL", subject, reason)
            self._report("alarm", "uplink_refused", subject, Severity.MAJOR, {"reason": reason})

    def _report(self, kind: str, code: str, subject: str, severity: Severity, detail: dict[str, Any]) -> None:
        event = Event(kind, code, subject, self._clock.now(), severity, detail)
        self._inbox.spawn(self._outbox.put_event(event))

    def _status_body(self, state: str, at: int | None = None) -> bytes:
        return encode({"state": state, "connected_at": at, **self._who})

    def _enter(self, name: str, longest: float) -> None:
        """A new state, and how many seconds it may last without a sign of life."""
        now = self._clock.monotonic()
        if "connected" in (name, self._name) and name != self._name:
            self._since = now
        self._name, self._due = name, now + longest


async def _any(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first to end, and cancel the others; what the first raised is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()


async def _route_gained() -> None:
    """Return when the kernel has a route that it had not a second ago."""
    known = routes()
    while not (now := routes()) - known:
        known = now
        await asyncio.sleep(1)
