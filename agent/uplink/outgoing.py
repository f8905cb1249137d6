"""From the outbox to the broker: messages in flight, and what happens to each by the broker's answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from agent.clock import Clock
from agent.lib.backoff import Backoff
from agent.outbox import Message, MessageKind, Outbox
from agent.uplink.broker_limits import SILENT_FOR, BrokerLimits
from agent.uplink.broker_refusals import ACCEPTED, ENOUGH, LONGEST_BACKOFF, NOT_AUTHORISED, POISON, BrokerRefusals
from agent.uplink.dialect import Dialect
from agent.uplink.identity_check import IdentityCheck
from agent.uplink.session import OVERHEAD, TOO_LARGE, WINDOW, LinkLost, Session
from agent.uplink.settings import UplinkSettings

__all__ = ["Outgoing"]

log = logging.getLogger("bocage.uplink")

CAREFUL = 20
"""Messages that go one by one after a short connection that the broker cut: then the culprit is known by the end."""
SHORT = 30.0
"""Seconds."""


class Outgoing:
    """Sends as fast as the broker takes it. `limits` are those of the present broker."""

    def __init__(
        self,
        settings: UplinkSettings,
        dialect: Dialect,
        outbox: Outbox,
        identity: IdentityCheck,
        clock: Clock,
        refusals: BrokerRefusals,
        dice: Callable[[], float],
    ) -> None:
        self._settings, self._dialect, self._outbox, self._clock = settings, dialect, outbox, clock
        self._identity, self._refusals = identity, refusals
        self.limits = BrokerLimits()
        self.inflight: dict[int, tuple[Message, float, asyncio.Future[int] | None]] = {}
        self._in_hand: list[Message] = []
        self._session: Session | None = None
        self._claim_again: asyncio.TimerHandle | None = None
        self.window = WINDOW
        self._backoff = Backoff(longest=LONGEST_BACKOFF, spread=(0.5, 1.5), dice=dice)
        self._not_before = 0.0
        self.latency: float | None = None
        self.sent = 0
        self._since, self._taken = 0.0, 0
        """When this connection began, and how many messages were accepted on it."""
        self.too_long = False
        """A message was too long for the broker on this connection."""

    def begin(self, session: Session) -> None:
        """A connection begins."""
        self._session, self._since, self._taken, self.too_long = session, self._clock.monotonic(), 0, False
        self.link(session)

    @property
    def careful(self) -> bool:
        """Whether messages go one by one at present."""
        return self.window == 1 and self._taken < CAREFUL

    def link(self, session: Session) -> None:
        """Tell the outbox the limits of messages on this connection."""
        compress = self._settings.protocol == 5 if self._settings.compress is None else self._settings.compress
        compress = compress and self._dialect.accepts_zlib
        limit = min(session.max_packet - OVERHEAD, self._settings.max_message, self.limits.limit)
        self._outbox.link(session.window, compress=compress, limit=limit)

    async def send(self, session: Session, checked: asyncio.Task[None]) -> None:
        """Until cancelled, as soon as it is known that the numbers are ours to use."""
        await asyncio.wait({checked})
        checked.result()
        while True:
            if not self._identity.has_compared:
                await self._identity.compare()
            await session.free.acquire()
            if self._identity.is_behind and (said := self._identity.claim(session)) is not None:
                said.add_done_callback(self._claimed)
                continue
            try:
                message = await self._next()
            except asyncio.CancelledError:
                session.free.release()
                raise
            if self._identity.is_behind:  # while we waited for it
                self._outbox.put_back(message)
                session.free.release()
                continue
            now = self._clock.monotonic()
            self.inflight[message.token] = message, now, None
            self._not_before = max(self._not_before, now + self._settings.min_interval)
            ack = session.publish(self._dialect.message(message))
            self.inflight[message.token] = message, now, ack
            ack.add_done_callback(partial(self._settle, message))

    def lost(self, lost: LinkLost, session: Session, accepted: int) -> str:
        """The link has gone; so many were accepted on it. What was not goes back to the outbox.

        If it went for the sake of one message, that one is made shorter or set aside. The topic that is not told any
        more (QoS 0) is returned, "" if there is none.
        """
        silent = self._blame(lost, session)
        if lost.cut and self._clock.monotonic() - self._since < SHORT:
            self.window = 1
        elif accepted:  # one that brought nothing through: the next one tries with half the window, down to one
            self.window = WINDOW
        elif self.inflight:
            self.window = max(1, self.window // 2)
        self.give_back()
        self._session = None
        return silent

    def give_back(self) -> None:
        """Put back what was not accepted, the last first, because each then comes first."""
        back = [message for message, *_ in self.inflight.values()] + self._in_hand
        self.inflight.clear()
        self._in_hand.clear()
        for message in sorted(back, key=lambda message: message.token, reverse=True):
            self._outbox.put_back(message)

    def _claimed(self, ack: asyncio.Future[int]) -> None:
        """A claim that was refused is made again after a while. Meanwhile sending goes on."""
        if ack.cancelled() or ack.exception() is not None:
            return
        if self._claim_again is not None:
            self._claim_again.cancel()
            self._claim_again = None
        pause = self._refusals.answered(self._identity.name, ack.result(), f"PUBACK 0x{ack.result():02x}")
        if pause:
            self._claim_again = asyncio.get_running_loop().call_later(pause, self._identity.repeat)

    async def _next(self) -> Message:
        """The next message, when it may be sent."""
        await self._rest()
        message = await self._outbox.take()
        if self._clock.monotonic() < self._not_before:  # while we waited for it
            self._in_hand = [message]  # it goes back to the outbox if the link is lost meanwhile
            await self._rest()
            self._in_hand = []
        return message

    async def _rest(self) -> None:
        """Wait out `min_interval`, and the pause that a broker with a used-up quota gets."""
        wait = self._not_before - self._clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def _settle(self, message: Message, ack: asyncio.Future[int]) -> None:
        """The broker has answered. After LinkLost the message stays in flight: `give_back` keeps the order."""
        if ack.exception() is not None or message.token not in self.inflight:
            return
        _, at, _ = self.inflight.pop(message.token)
        code, now = ack.result(), self._clock.monotonic()
        if code in ACCEPTED:
            self._outbox.accepted(message)
            self.sent += 1
            self._backoff.reset()
            self.latency = now - at if self.latency is None else 0.8 * self.latency + 0.2 * (now - at)
            self._taken += 1
            if self._taken == CAREFUL and self._session is not None and self.window == 1:
                self._session.widen()
                self.link(self._session)
            self.limits.cuts.largest = max(self.limits.cuts.largest, len(message.body))
            self._refusals.accepted(message)
        elif code in ENOUGH:
            self._outbox.put_back(message)
            self._back_off(code, now)
        elif code == TOO_LARGE:
            self._shorten(message, "longer than the broker takes (0x95)")
        elif code == NOT_AUTHORISED:
            self._refusals.not_authorised(message, "PUBACK 0x87, not authorised")
        elif code in POISON:
            self._refusals.for_good(message, f"PUBACK 0x{code:02x}")
        else:
            self._refusals.for_now(message, f"PUBACK 0x{code:02x}")

    def _shorten(self, message: Message, reason: str) -> None:
        """Send it again in pieces, and nothing as long any more; set aside what cannot be split."""
        limit = len(message.body) // 2
        self.too_long = True
        self.limits.shorten(limit)
        if not self._outbox.split(message, limit):
            self._refusals.for_good(message, reason)
            return
        log.warning(
            'message too long bytes=%d n=%d reason="%s" next=sent in pieces of %d bytes',
            len(message.body), message.n, reason, limit,
        )  # fmt: skip
        if self._session is not None:
            self.link(self._session)

    def _blame(self, lost: LinkLost, session: Session) -> str:
        topic, ack = session.suspect()
        found = next((message for message, _, one in self.inflight.values() if ack is not None and one is ack), None)
        first, size = (found.first, len(found.body)) if found is not None else (0, 0)
        divisible = ack is None or (found is not None and found.kind is MessageKind.READINGS and found.n > 1)
        if not self.limits.cuts.blame(lost, (topic, first, size), divisible):
            return ""
        if found is not None:
            del self.inflight[found.token]
            self._shorten(found, f"the broker cuts the link at it ({size} bytes)")
        elif ack is None:
            self.limits.cuts.silent[topic] = self._clock.monotonic() + SILENT_FOR
            self.too_long = True
            return topic
        return ""

    def _back_off(self, code: int, now: float) -> None:
        """A quota is used up (0x97), or the broker is busy."""
        if now < self._not_before:  # said once for all that was in the window
            return
        pause = self._backoff.next()
        self._not_before = now + pause
        log.warning("broker quota exceeded reason=0x%02x next=sending goes on in %.1f s", code, pause)
