"""Connect, empty the outbox as fast as the broker takes it, bring commands back, reconnect.

    uplink = Uplink(settings, Native(settings.prefix, "saint-seine"), outbox, arbiter.submit, clock,
                    agent="0.1.0", config_hash="sha256:…", state=lambda: {"meter-a": {"active_power": 61.2}})
    await uplink.run()

The outbox is the only queue: a message is taken from it when the window has a free slot, and leaves it with the
PUBACK. What was under way when the link went goes back, with the same keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import aiomqtt
from paho.mqtt.client import topic_matches_sub

from agent.clock import Clock
from agent.lib.backoff import Backoff
from agent.model import Command, Event, LinkState, Outcome, Severity
from agent.outbox import Outbox
from agent.uplink.broker_limits import BrokerLimits
from agent.uplink.broker_refusals import ACCEPTED, NOT_AUTHORISED, BrokerRefusals
from agent.uplink.certificates import Certificates
from agent.uplink.dialect import Dialect, Publication
from agent.uplink.duplicate_client import DuplicateClient
from agent.uplink.identity_check import IdentityCheck
from agent.uplink.inbox import Inbox
from agent.uplink.mail import Mail
from agent.uplink.outgoing import Outgoing
from agent.uplink.reconnect import Outage, Why, reconnect_delay, routes
from agent.uplink.session import ATTEMPT, LinkLost, Session
from agent.uplink.settings import UplinkSettings

__all__ = ["Uplink"]

log = logging.getLogger("bocage.uplink")

GOODBYE = 2.0
"""Seconds that an orderly end waits for acknowledgements."""
STATE_AGAIN = 3600.0
"""Seconds after which a last value that did not change is published again: a refusal at QoS 0 is not reported."""


class Uplink:
    """One broker. `run` is a core task: it never raises for a fault of the link. `close` ends it in order.

    `submit` is the arbiter's. `state` gives the last values by name. `put_event` takes the
    uplink's own alarms and `is_open` says whether one is open; without them open alarms are not remembered. `mail` is
    carried beside all that.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        dialect: Dialect,
        outbox: Outbox,
        submit: Callable[[Command], Awaitable[Outcome]],
        clock: Clock,
        *,
        agent: str,
        config_hash: str,
        state: Callable[[], Mapping[str, Mapping[str, Any]]],
        dice: Callable[[], float] = random.random,
        config_problem: Mapping[str, Any] | None = None,
        put_event: Callable[[Event], Coroutine[Any, Any, None]] | None = None,
        is_open: Callable[[str], bool] = lambda _name: False,
        mail: Mail | None = None,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._put_event = put_event or outbox.put_event
        self._clock = clock
        self._who: dict[str, Any] = {"agent": agent, "config": config_hash, "boot": clock.boot}
        if config_problem is not None:
            self._who["config_problem"] = config_problem
        self._state = state
        self._mail = mail or Mail()
        self._dice = dice
        self.certificates = Certificates((settings.cert, settings.ca), clock)
        self._dialect = dialect
        self._inbox = Inbox(dialect, outbox, submit, clock)
        self.duplicate_client = DuplicateClient(clock.monotonic)
        self._identity = IdentityCheck(dialect, outbox, self.duplicate_client.taken_over)
        self._outage = Outage(clock.monotonic)
        self._link_state, self._since = LinkState.CONNECTING, clock.monotonic()
        self._said = float("inf")
        """Length of the outage (s) at its last line in the log."""
        self._closing = asyncio.Event()
        self._stopped_running = asyncio.Event()
        self._stopped_running.set()
        self._session: Session | None = None
        self._speakers: tuple[asyncio.Task[None], ...] = ()
        """Tasks that must end before the goodbye: the one that publishes `online`, and the sender."""
        self._news = asyncio.Event()
        """Set when the status is to be published anew."""
        self._refusals = BrokerRefusals(dialect, clock, outbox, self._report, is_open)
        self._outgoing = Outgoing(settings, dialect, outbox, self._identity, clock, self._refusals, dice)
        self._brokers = [settings, *(replace(settings, **other._asdict()) for other in settings.fallback)]
        self._limits = [BrokerLimits() for _ in self._brokers]
        self._at = 0
        """Which of the brokers is the present one."""
        self._worked = False
        self._enter(LinkState.CONNECTING, ATTEMPT)
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
            self._enter(LinkState.OFF, 0)
            self._stopped_running.set()

    async def close(self) -> None:
        """Stop sending, wait up to 2 s for what is under way, say `offline`, and go. Nothing is lost by it."""
        self._closing.set()
        await self._inbox.close()
        session = self._session
        if session is not None:
            for speaker in self._speakers:
                speaker.cancel()
            try:
                async with asyncio.timeout(GOODBYE):
                    await session.settled()
                    code = await session.deliver(self._status("offline"))
            except (TimeoutError, LinkLost):
                code = 0x80
            if code in ACCEPTED:
                await session.close()
            else:  # without a DISCONNECT the broker publishes the last will
                log.warning("the broker did not take the goodbye broker=%s next=its last will", self._settings.broker)
            session.drop("the agent ends")
        await self._stopped_running.wait()

    def set_configuration(self, config_hash: str, problem: Mapping[str, Any] | None) -> None:
        """Publish from now on which configuration runs, and what is wrong with the one that does not."""
        self._who = {**self._who, "config": config_hash, "config_problem": problem}
        if problem is None:
            del self._who["config_problem"]  # older consumers do not know this key
        self._news.set()

    def publishes_state(self, topic: str, names: Collection[str]) -> bool:
        """Whether last values of one of these names go to this topic; if not, forget how the broker refused it."""
        if any(self._dialect.state(name, {}).topic == topic for name in names):
            return True
        self._refusals.forget(topic)
        for limits in self._limits:
            limits.cuts.silent.pop(topic, None)
        return False

    def kept(self, command: str) -> None:
        """Acknowledge to the broker a command whose acceptance is on flash."""
        self._inbox.kept(command)

    async def publish_health(self, payload: Mapping[str, Any]) -> bool:
        """Publish on `health` at QoS 1. True if the broker took it; False without a link: it is not kept."""
        session = self._session
        if session is None:
            return False
        try:
            async with asyncio.timeout(ATTEMPT):
                return await session.deliver(self._dialect.health(payload)) in ACCEPTED
        except (TimeoutError, LinkLost):
            return False

    def status(self) -> dict[str, Any]:
        """For the live view and `health`. `latency_ms`: publish to PUBACK, smoothed; None before the first."""
        return {
            "state": self._link_state,
            "since_s": round(self._clock.monotonic() - self._since, 1),
            "error": self._error,
            "latency_ms": None if (late := self._outgoing.latency) is None else round(late * 1000, 1),
            "inflight": len(self._outgoing.inflight),
            "sent": self._outgoing.sent,
        }

    def shortcomings(self) -> set[str]:
        """Features that the present broker lacks: `retain`, `qos` (it has QoS 0 only)."""
        limits = self._limits[self._at]
        return {name for name in ("retain", "qos") if not getattr(limits, name)}

    def not_known(self) -> Iterator[tuple[str, str]]:
        """The alarms (code, subject) of which it is not known yet, since the start, whether they are over."""
        if not self.duplicate_client.is_known:
            yield "identity_taken", "uplink"
        if not self._limits[self._at].known:
            yield "uplink_no_retain", "uplink"
            yield "uplink_qos_0", "uplink"
        for name in self.certificates.not_known():
            yield "certificate_expiring", name

    def due(self) -> float:
        """When (clock.monotonic) the next sign of life is due: the end of an attempt, of a pause, or the next tick."""
        if self._link_state is LinkState.OFF:
            return float("inf")
        if self._session is not None:
            return self._clock.monotonic() + 10 - self._session.quiet()
        return self._due

    # -- one connection ----------------------------------------------------------------------------------------

    async def _one_connection(self) -> None:
        """Connect, live until the link is lost, pause."""
        self._enter(LinkState.CONNECTING, ATTEMPT + 5)
        at = self._clock.now().wall_ms
        self._outgoing.limits = limits = self._limits[self._at]
        retain = limits.will_retain()
        last = self._status("offline", at)
        will = aiomqtt.Will(last.topic, last.body, limits.qos, retain and last.retain)
        session = Session(self._broker, will, self._clock, self._outgoing.window, retain=retain, qos=limits.qos)
        session.expects = partial(topic_matches_sub, self._dialect.commands.topic)
        sent = self._outgoing.sent
        try:
            await self._connect(session)
            if not limits.connected(retain, session.can_retain, session.qos):
                raise LinkLost("it hung up on a retained will: tried once more", Why.ROUTE)
            await self._live(session, at)
        except LinkLost as lost:
            session.drop(str(lost))
            silent = self._outgoing.lost(lost, session, self._outgoing.sent - sent)
            if lost.why is Why.TAKEN:
                self.duplicate_client.taken_over()
            elif self._outgoing.too_long:
                self.duplicate_client.explained()
            elif lost.why is Why.SILENT:
                self.duplicate_client.closed(self._clock.monotonic() - self._since)
            if silent:
                self._refusals.update_alarm(silent, False, "the broker cuts the link at it: tried again in an hour")
            await self._pause(lost, limits.lost(lost, self._settings.protocol))
        finally:
            session.drop("given up")
            self._outgoing.give_back()

    async def _connect(self, session: Session) -> None:
        await _any(session.open(), self._closing.wait(), _route_gained())
        if self._closing.is_set():
            raise LinkLost("the agent ends")
        if not session.is_open:
            raise LinkLost("a route came back", Why.ROUTE)

    async def _live(self, session: Session, at: int | None) -> None:
        """While the link holds. Always ends with LinkLost, or with a bug of ours."""
        self._session, self._error = session, ""
        self._outage.up()
        self._worked = True
        self._enter(LinkState.CONNECTED, 0)
        log.info("uplink connected broker=%s window=%d", self._broker.broker, session.window)
        self._outgoing.begin(session)
        announcing = asyncio.create_task(self._announce(session, at), name="uplink announce")  # `online` goes first
        listening = asyncio.create_task(self._listen(session), name="uplink commands")
        checked = asyncio.create_task(self._identity.check(session), name="uplink identity check")
        sender = asyncio.create_task(self._outgoing.send(session, checked), name="uplink send")
        self._speakers = announcing, sender
        tasks = [
            announcing,
            listening,
            checked,
            sender,
            asyncio.create_task(self._publish_state(session), name="uplink state"),
            asyncio.create_task(self._receive(session, checked), name="uplink inbox"),
            asyncio.create_task(self._carry_mail(session), name="uplink mail"),
        ]
        try:
            await asyncio.wait({session.lost, *tasks}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._session, self._speakers = None, ()
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, LinkLost):
                raise end
        session.drop(next((str(end) for end in ends if isinstance(end, LinkLost)), "the agent ends"))
        session.lost.result()

    async def _pause(self, lost: LinkLost, at_once: bool) -> None:
        """`at_once`: the next attempt is on other terms, or to another broker."""
        if self._closing.is_set():
            return
        broker, outage = self._broker.broker, self._outage.down()
        delay = 0.0 if at_once else reconnect_delay(outage, lost.why, self._dice())
        if not at_once and self._turn(lost):
            delay = min(delay, 1.0 + self._dice())
        self._error = str(lost)
        self._enter(LinkState.WAITING, delay + 5)
        log.log(
            logging.WARNING if self._is_news(outage) else logging.DEBUG,
            'no uplink broker=%s outage_s=%.0f reason="%s" next=%s tried in %.1f s',
            broker, outage, str(lost), self._broker.broker, delay,
        )  # fmt: skip
        if delay > 0:
            await _any(asyncio.sleep(delay), self._closing.wait(), _route_gained(), self._time_known())

    def _turn(self, lost: LinkLost) -> bool:
        """Choose the next broker: the one that we are referred to if it is listed, else the next of the list.

        After a connection that worked the first one is asked first. True: all were not asked yet in this round.
        """
        if lost.why is Why.ROUTE:
            return False
        listed = [n for n, broker in enumerate(self._brokers) if broker.is_meant(lost.reference)]
        if listed:
            self._at = listed[0]
            return False
        worked, self._worked = self._worked, False
        self._at = 0 if worked else (self._at + 1) % len(self._brokers)
        return self._at > 0

    @property
    def _broker(self) -> UplinkSettings:
        return self._brokers[self._at]

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
        """Publish `online` until the broker accepts it, and whenever there is news. Sending does not wait for it."""
        while True:
            self._news.clear()
            code = await session.deliver(self._status("online", at))
            pause = self._refusals.answered("status", code, f"PUBACK 0x{code:02x}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause or None):
                    await self._news.wait()

    async def _listen(self, session: Session) -> None:
        """Subscribe to commands, until the broker grants it."""
        while True:
            code = await session.listen(self._dialect.commands.topic)
            reason = f"SUBACK 0x{code:02x}: no command comes in"
            if code >= 0x80 and self._settings.protocol != 5:  # it has no other word than 0x80
                code = NOT_AUTHORISED
            pause = self._refusals.answered(self._dialect.commands.name, code, reason)
            if not pause:
                return
            await asyncio.sleep(pause)

    async def _publish_state(self, session: Session) -> None:
        """Publish last values that changed, at QoS 0; each name at most once an interval, and at least once an hour.

        Devices are first read in the seconds after a start, each in its own time: so the looks come thick at first.
        """
        interval = self._settings.state_interval
        told: dict[str, tuple[Any, float]] = {}
        pause = Backoff(min(1.0, interval), interval)
        taken = list[str]()
        claims = self._dialect.claims.topic if self._dialect.claims else ""
        while True:
            now = self._clock.monotonic()
            for topic in taken:  # the link has outlived it
                self._refusals.update_alarm(topic, True, "")
            taken.clear()
            for name, payload in self._state().items():
                values = {key: value for key, value in payload.items() if key != "at"}
                before, at = told.get(name, (None, -math.inf))
                known = before is not None and any(value is not None for value in before.values())
                same = values == before and now - at < STATE_AGAIN
                if same or (known and now - at < interval * 0.9):
                    continue
                publication = self._dialect.state(name, payload)
                topic = publication.topic
                if topic == claims:  # a device's name in older files: this topic holds our claim
                    continue
                if now < self._outgoing.limits.cuts.silent.get(topic, -math.inf):
                    continue
                if self._outgoing.careful:
                    await session.settled()
                if session.publish_qos_0(publication, alone=self._outgoing.careful):
                    told[name] = values, now
                    taken.append(topic)
            await asyncio.sleep(pause.next())

    async def _carry_mail(self, session: Session) -> None:
        """Listen to what drivers want from other sites, and let them send, while the link holds."""

        async def post(what: Publication) -> bool:
            try:
                code = await session.deliver(what)
            except (LinkLost, ValueError):
                return False
            if code >= 0x80:  # with 0x10 no subscriber is there
                self._refusals.answered(_place(what.topic), code, f"PUBACK 0x{code:02x}")
            else:
                self._refusals.answered(_place(what.topic), 0, "")
            return code < 0x80

        heard: set[str] = set()
        try:
            self._mail.carry(post)
            while True:
                self._mail.changed.clear()
                wanted, pauses = list(self._mail.topics), list[float]()
                for topic in heard.difference(wanted):
                    heard.discard(topic)
                    await session.leave(topic)
                for topic in wanted:
                    if topic not in heard:
                        session.route(topic, partial(self._mail.take, topic))
                        code = await session.listen(topic)
                        again = self._refusals.answered(_place(topic), code, f"SUBACK 0x{code:02x}: nothing comes in")
                        if again:
                            pauses.append(again)
                        else:
                            heard.add(topic)
                            self._mail.listens(topic)
                await self._mail.changed.wait(min(pauses, default=None))
        finally:
            self._mail.carry(None)

    async def _receive(self, session: Session, checked: asyncio.Task[None]) -> None:
        """Commands that come again to an older state of the box may have been carried out by the later one."""
        session.overflow = partial(self._inbox.refuse_unread, session)
        await asyncio.wait({checked})
        self._inbox.doubts_repetitions = self._identity.renewed
        await self._inbox.read(session)

    # -- small things ------------------------------------------------------------------------------------------

    def _report(self, kind: str, code: str, subject: str, severity: Severity, detail: dict[str, Any]) -> None:
        event = Event(kind, code, subject, self._clock.now(), severity, detail)
        self._inbox.spawn(self._put_event(event))

    def _status(self, state: str, at: int | None = None) -> Publication:
        return self._dialect.status(state, at, self._who)

    def _enter(self, state: LinkState, longest: float) -> None:
        """A new state, and how many seconds it may last without a sign of life."""
        now = self._clock.monotonic()
        if LinkState.CONNECTED in (state, self._link_state) and state is not self._link_state:
            self._since = now
        self._link_state, self._due = state, now + longest


def _place(topic: str) -> str:
    """Short name of a topic of another site, for alarms: the site and all behind it."""
    site, peer, rest = topic.rpartition("/peer/")
    return f"{site.rpartition('/')[2]}{peer}{rest}"


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
    while True:
        await asyncio.sleep(1)
        before, known = known, routes()
        if known - before:
            return
