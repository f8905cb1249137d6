"""Incoming commands: handled once each, bounded in number and rate, none waiting for a slow output."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from agent.clock import Clock
from agent.errors import Rejected
from agent.lib.rate_limit import Bucket
from agent.lib.throttle import Throttle
from agent.model import Command, Event, Origin, Outcome, OutcomeState, Severity
from agent.outbox import Outbox
from agent.uplink.command_limiter import CommandLimiter
from agent.uplink.dialect import Dialect, is_id
from agent.uplink.dropped_commands import DroppedCommands
from agent.uplink.refused_commands import RefusedCommands
from agent.uplink.session import LinkLost, ReceivedMessage, Session

__all__ = ["Inbox"]

log = logging.getLogger("bocage.uplink")
_T = TypeVar("_T")

SEEN = 1000
"""Ids remembered, so that a later message on the same topic never changes what became of a command."""
NO_COMMANDS = (20, 5.0)
"""Records of malformed commands: most at once, most a second."""
IDS = 100
"""Ids that one event names: with those of 64 characters it stays below 16 kB, and what a record may be cut at."""


class Inbox:
    """Takes commands from a session to the arbiter, in the order in which they came.

    A command is acknowledged to the broker when it is on flash that it was accepted (`kept`) or refused, not before: a
    burst stays outside, and a crash loses none. Those of a flood are refused unread, by their ids, or later ones
    would wait for hours. Commands that were started outlive the session.
    """

    def __init__(
        self, dialect: Dialect, outbox: Outbox, submit: Callable[[Command], Awaitable[Outcome]], clock: Clock
    ) -> None:
        self._dialect = dialect
        self._outbox = outbox
        self._submit = submit
        self._clock = clock
        self._limiter = CommandLimiter(clock)
        self._no_commands = Bucket(*NO_COMMANDS)
        self._dropped_commands = DroppedCommands(clock, self._tell_refused, self.spawn)
        self._refused_commands = RefusedCommands(clock, self._tell_refused, self.spawn)
        self._reports = Throttle(clock.monotonic)
        self._open: dict[str, list[tuple[Session, ReceivedMessage]]] = {}
        """Messages that are not acknowledged yet, by id."""
        self.doubts_repetitions = False
        """Whether a redelivered command may have been carried out by a later state of the box, which is gone."""
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._kept: OrderedDict[str, asyncio.Future[bool]] = OrderedDict()
        """Retained ones: whether the refusal is on record, once that is decided."""
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The time in which `spawn` may be used; a bug in what was spawned ends it. Leaving it cancels the rest."""
        async with asyncio.TaskGroup() as self._group:
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def read(self, session: Session) -> None:
        """Hand on what the session receives, until cancelled."""
        while True:
            message = await session.received.get()
            if await self._limiter.enter():
                self.spawn(self._handle(session, message))
            else:
                self.refuse_unread(session, message)

    def refuse_unread(self, session: Session, message: ReceivedMessage) -> None:
        """Refuse it unread. At QoS 0 there is nothing to acknowledge."""
        name = self._dialect.command_id(message.topic)[:64]
        if message.qos:
            self._refused_commands.add(name, partial(session.acknowledge, message._replace(payload=b"")))
        else:
            self._dropped_commands.count(name)

    def kept(self, name: str) -> None:
        """Acknowledge a command whose acceptance is on flash: the broker need not keep it any more."""
        for session, message in self._open.pop(name, ()):
            session.acknowledge(message)

    def _done(self, name: str, session: Session, message: ReceivedMessage) -> None:
        """Acknowledge a message that was carried out or refused, and recorded."""
        still = [one for one in self._open.pop(name, []) if one[1] is not message]
        if still:
            self._open[name] = still
        session.acknowledge(message)

    async def close(self) -> None:
        """Tell what was counted and not told yet."""
        await self._refused_commands.flush()
        await self._dropped_commands.flush()

    async def _tell_refused(self, refused: int, ids: list[str]) -> None:
        """On flash when this returns, in one transaction: as many events as it takes, and one for those without ids."""
        if self._reports():
            log.warning("too many commands refused=%d next=events commands_refused name them", refused)
        parts = [ids[at : at + IDS] for at in range(0, len(ids), IDS)]
        counted = [(len(part), part) for part in parts]
        if refused > len(ids):
            counted.append((refused - len(ids), []))
        await asyncio.gather(*(self._outbox.put_event(self._refused(n, part)) for n, part in counted))

    def _refused(self, refused: int, ids: list[str]) -> Event:
        detail = {"refused": refused, "origin": "mqtt", "ids": ids}
        return Event("audit", "commands_refused", "mqtt", self._clock.now(), detail=detail)

    async def _handle(self, session: Session, message: ReceivedMessage) -> None:
        """Handle one message. If it is cancelled (the agent stops), the broker keeps the message."""
        name = self._dialect.command_id(message.topic)
        self._open.setdefault(name, []).append((session, message))
        try:
            outcome = await self._judge(name, message)
            if outcome is not None and not outcome.on_record:
                if message.qos:
                    await self._refused_commands.kept(name[:64])
                else:
                    self._dropped_commands.count(name[:64])
            self._done(name, session, message)
            if outcome is not None and message.reply_to:
                await self._answer(session, message, outcome)
        finally:
            self._limiter.leave()

    async def _judge(self, name: str, message: ReceivedMessage) -> Outcome | None:
        if message.retain:
            # without a payload it is the one that wipes the retained message out
            return await self._refuse_retained(name) if message.payload else None
        try:
            if message.again and self.doubts_repetitions:
                raise Rejected("it came before, and this box was restored since: it may have been carried out")
            command = self._dialect.command(name, message.payload, message.at)
            command = replace(command, origin=Origin.MQTT, by=command.by or Origin.MQTT.value)
        except Rejected as rejected:
            return await self._refuse(name, str(rejected), rejected.point)
        _remember(self._seen, name, None)
        log.info("command received id=%s point=%s value=%r by=%r", name, command.point, command.value, command.by)
        outcome = await self._submit(command)
        log.info('command ended id=%s state=%s reason="%s"', name, outcome.state, outcome.reason)
        return await self._repeat(command, outcome) if _is_of_another(outcome, command) else outcome

    async def _repeat(self, command: Command, stored: Outcome) -> Outcome:
        """Answer an id that was used before: what became of it, or that it was something else."""
        if _is_different(stored, command):
            reason = f"the id was used before, for {stored.point}: {stored.state}"
            stored = Outcome(command.id, command.point, command.value, OutcomeState.REJECTED, reason, self._clock.now())
        await self._outbox.record(stored)
        return stored

    async def _answer(self, session: Session, message: ReceivedMessage, outcome: Outcome) -> None:
        """Publish the outcome on the requester's own topic. It is not kept: the record is the result."""
        try:
            code = await session.deliver(self._dialect.answer(outcome, message.reply_to, message.correlation))
        except (LinkLost, ValueError) as error:  # ValueError: not a topic that one can publish on
            log.warning('command not answered id=%s topic=%r reason="%s"', outcome.command, message.reply_to, error)
        else:
            if code >= 0x80:
                log.warning("command not answered id=%s topic=%r puback=%#x", outcome.command, message.reply_to, code)

    async def _refuse_retained(self, name: str) -> Outcome:
        """A retained command would be carried out anew at each connection, for ever. Each id is reported once."""
        reason = "a command must not be retained"
        if name in self._kept:
            return replace(self._rejected(name, reason), on_record=await asyncio.shield(self._kept[name]))
        on_record = asyncio.get_running_loop().create_future()
        _remember(self._kept, name, on_record)
        detail = {"id": name[:64]}
        await self._outbox.put_event(
            Event("alarm", "command_retained", "mqtt", self._clock.now(), Severity.MAJOR, detail)
        )
        outcome = await self._refuse(name, reason)
        on_record.set_result(outcome.on_record)
        return outcome

    async def _refuse(self, name: str, reason: str, point: str = "") -> Outcome:
        outcome = self._rejected(name, reason, point)
        now = outcome.at
        if not self._no_commands.take(self._clock.monotonic()):
            return replace(outcome, on_record=False)
        log.warning('command refused id=%.64r reason="%s"', name, reason)
        if is_id(name) and name not in self._seen:
            await self._outbox.record(outcome)
        else:
            detail = {"id": name[:64], "reason": reason}
            await self._outbox.put_event(Event("audit", "command_refused", "mqtt", now, Severity.MINOR, detail))
        return outcome

    def _rejected(self, name: str, reason: str, point: str = "") -> Outcome:
        return Outcome(name[:64], point, None, OutcomeState.REJECTED, reason, self._clock.now())


def _remember(names: OrderedDict[str, _T], name: str, word: _T) -> None:
    names[name] = word
    if len(names) > SEEN:
        names.popitem(last=False)


def _is_of_another(outcome: Outcome, command: Command) -> bool:
    """Whether it is what became of another command of this id: an earlier one, or one that is still under way."""
    at, asked = outcome.at, command.received
    is_older = at.boot != asked.boot or at.boottime_ns < asked.boottime_ns
    return is_older or (outcome.on_record and _is_different(outcome, command))


def _is_different(outcome: Outcome, command: Command) -> bool:
    """Whether something else was asked for under this id."""
    return bool(outcome.point) and (outcome.point, outcome.value) != (command.point, command.value)
