"""Refusals by the broker: one alarm a topic, tried again less and less often, never the cause of more messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from agent.clock import Clock
from agent.lib.backoff import doubled
from agent.lib.throttle import Throttle
from agent.model import Severity
from agent.outbox import Message, MessageKind, Outbox
from agent.uplink.dialect import Dialect
from agent.uplink.session import TOO_LARGE

__all__ = ["ACCEPTED", "ENOUGH", "LONGEST_BACKOFF", "NOT_AUTHORISED", "POISON", "BrokerRefusals"]

log = logging.getLogger("bocage.uplink")

ACCEPTED = (0x00, 0x10)
"""PUBACK: success; success without a subscriber."""
NOT_AUTHORISED = 0x87
POISON = (0x90, 0x99)
"""PUBACK: topic name invalid, payload format invalid. The same bytes will never be taken."""
ENOUGH = {0x89: "it is busy", 0x97: "a quota is used up", 0x9F: "it was asked too often"}
"""Refusals that pass by themselves."""
LONGEST_BACKOFF = 60.0
"""Seconds at most between attempts while a broker's quota is exceeded."""
_LASTING = (NOT_AUTHORISED, *POISON, TOO_LARGE, 0x8F)
"""Refusals that last until the configuration is changed; 0x8F, SUBACK: topic filter invalid."""

STOPPED_FOR = 60.0
"""Seconds for which a refused topic is left alone; twice as long each time that it is refused again."""
LONGEST_STOP = 900.0
SHORT_STOP = 1.0
"""Seconds at first for a reason that may pass."""
TRIES = 5
"""Refusals of one message for such a reason before it is set aside."""
TOLD_AGAIN = 3600.0
"""Seconds between two alarms that messages of a topic were set aside."""
IN_A_ROW = 2
"""Messages of a topic that are set aside at once; from then on one each time that the topic is tried."""
SEE_ACL, SEE_LOG = "see its ACL", "see its limits and its log"

Report = Callable[[str, str, str, Severity, dict[str, Any]], None]
IsOpen = Callable[[str], bool]


class BrokerRefusals:
    """`kinds` of messages that are not sent at present, and the alarms about topics. `report` records an event.

    `is_open` knows the alarms (`code.subject`) of earlier starts: one that is open is not raised again, and is cleared.
    """

    def __init__(self, dialect: Dialect, clock: Clock, outbox: Outbox, report: Report, is_open: IsOpen) -> None:
        self._dialect, self._clock, self._outbox = dialect, clock, outbox
        self._report, self._is_open = report, is_open
        self.kinds: set[MessageKind] = set()
        self._pauses: dict[str, float] = {}
        self._fine: dict[str, bool] = {}
        """Whether the broker accepts a topic, as found last in this process."""
        self._tries: dict[tuple[str, int], int] = {}
        self._asked: dict[str, int] = {}
        """Refusals in a row of a retained message or a subscription, by topic."""
        self._in_a_row: dict[str, int] = {}
        self._reports = Throttle(clock.monotonic, TOLD_AGAIN)

    def accepted(self, message: Message) -> None:
        """Note that the broker accepts this topic."""
        channel = self._dialect.channel(message.kind)
        self._in_a_row.pop(channel, None)
        self._pauses.pop(channel, None)
        if self._tries:
            self._tries.pop((self._dialect.name(message), message.first), None)
        self.update_alarm(channel, True, "")

    def not_authorised(self, message: Message, reason: str) -> None:
        """Stop this kind of messages for a while; the others go on."""
        self._outbox.put_back(message)
        if self._stop(message.kind, STOPPED_FOR):
            channel = self._dialect.channel(message.kind)
            self.update_alarm(channel, False, f"{reason}: tried again in {self._pauses[channel]:.0f} s", SEE_ACL)

    def for_now(self, message: Message, reason: str) -> None:
        """Try again a message that was refused for a reason that may pass, up to TRIES times."""
        key = self._dialect.name(message), message.first
        self._tries[key] = tries = self._tries.get(key, 0) + 1
        if tries >= TRIES:
            del self._tries[key]
            self.for_good(message, reason)
            return
        self._outbox.put_back(message)
        if self._stop(message.kind, SHORT_STOP):
            channel = self._dialect.channel(message.kind)
            log.warning('the broker refuses a message topic=%s reason="%s" next=tried again', channel, reason)

    def for_good(self, message: Message, reason: str) -> None:
        """Set a message aside that is refused for good. After IN_A_ROW of them its kind is stopped for a while."""
        channel = self._dialect.channel(message.kind)
        if message.kind in self.kinds:
            self._outbox.put_back(message)
            return
        name = self._dialect.name(message)
        log.error('message refused topic=%s n=%d reason="%s" next=set aside', name, message.n, reason)
        self._outbox.set_aside(message, reason)
        self._in_a_row[channel] = self._in_a_row.get(channel, 0) + 1
        count = self._reports(channel)
        if self._in_a_row[channel] >= IN_A_ROW:
            self._stop(message.kind, STOPPED_FOR)
        if not count:
            return
        detail = {
            "topic": name, "first": message.first, "last": message.last, "reason": reason,
            "count": count,
        }  # fmt: skip
        self._report("alarm", "uplink_set_aside", channel, Severity.MAJOR, detail)

    def answered(self, subject: str, code: int, reason: str) -> float:
        """Take the broker's answer to a retained message or to a subscription.

        Seconds until it is to be asked again, 0 if it has taken it. What passes by itself is no alarm.
        """
        if code < 0x80:
            self._asked.pop(subject, None)
            self._pauses.pop(subject, None)
            self.update_alarm(subject, True, "")
            return 0.0
        self._asked[subject] = tries = self._asked.get(subject, 0) + 1
        passes = code in ENOUGH or (code not in _LASTING and tries < TRIES)
        first, longest = (SHORT_STOP, LONGEST_BACKOFF) if passes else (STOPPED_FOR, LONGEST_STOP)
        pause = self._pauses[subject] = doubled(self._pauses.get(subject, 0.0), first, longest)
        if passes:
            why = f"{reason} ({ENOUGH[code]})" if code in ENOUGH else reason
            log.warning(
                'the broker refuses a topic for now topic=%s reason="%s" next=again in %.1f s', subject, why, pause
            )
        else:
            advice = SEE_ACL if code == NOT_AUTHORISED else SEE_LOG
            self.update_alarm(subject, False, f"{reason}: tried again in {pause:.0f} s", advice)
        return pause

    def update_alarm(self, subject: str, fine: bool, reason: str, advice: str = SEE_LOG) -> None:
        """Raise or clear the alarm that the broker refuses a topic; each is said once."""
        before = self._fine.get(subject)
        self._fine[subject] = fine
        if before is fine:
            return
        was_open = not before if before is not None else self._is_open(f"uplink_refused.{subject}")
        if not fine:
            log.error('the broker refuses a topic topic=%s reason="%s" next=%s', subject, reason, advice)
        if fine and was_open:
            self._report("cleared", "uplink_refused", subject, Severity.INFO, {})
        elif not fine and not was_open:
            self._report("alarm", "uplink_refused", subject, Severity.MAJOR, {"reason": reason})

    def forget(self, subject: str) -> None:
        """Forget what is known of a topic that is not used any more."""
        self._fine.pop(subject, None)

    def _stop(self, kind: MessageKind, first: float) -> bool:
        """Stop sending a kind of messages for a while; False if it is stopped already."""
        if kind in self.kinds:
            return False
        channel = self._dialect.channel(kind)
        pause = self._pauses[channel] = doubled(self._pauses.get(channel, 0.0), first, LONGEST_STOP)
        self.kinds.add(kind)
        self._outbox.hold_back(self.kinds)
        asyncio.get_running_loop().call_later(pause, self._resume, kind)
        return True

    def _resume(self, kind: MessageKind) -> None:
        self.kinds.discard(kind)
        self._outbox.hold_back(self.kinds)
