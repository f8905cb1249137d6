"""What comes in: each message is looked at once, bounded in number and pace, and none waits for a slow output."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from agent.clock import Clock
from agent.errors import Rejected
from agent.model import Command, Event, Outcome, OutcomeState, Severity
from agent.outbox import Outbox
from agent.outbox.records import answer_body
from agent.uplink.commands import is_id, parse
from agent.uplink.native import Topics, correlated
from agent.uplink.session import LinkLost, Received, Session

__all__ = ["Inbox"]

log = logging.getLogger("bocage.uplink")

RUNNING = 64
"""Commands under way at the most; the next ones stay with the broker, unacknowledged."""
PACE = 50.0
"""Commands looked at in a second, over any longer time; so many may come at once as well."""
SEEN = 1000
"""Ids remembered, so that a later message on the same topic never changes what became of a command."""


class Inbox:
    """Takes commands from a session to the arbiter, in the order in which they came.

    A command is acknowledged to the broker when its work starts, not when it arrives: a flood stays outside. Commands
    that were started outlive the session.
    """

    def __init__(
        self, topics: Topics, outbox: Outbox, submit: Callable[[Command], Awaitable[Outcome]], clock: Clock
    ) -> None:
        self._topics = topics
        self._outbox = outbox
        self._submit = submit
        self._clock = clock
        self._running = asyncio.Semaphore(RUNNING)
        self._seen: OrderedDict[str, None] = OrderedDict()
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
        allowance, looked, dropped = PACE, self._clock.monotonic(), 0
        while True:
            message = await session.received.get()
            await self._running.acquire()
            now = self._clock.monotonic()
            allowance, looked = min(PACE, allowance + (now - looked) * PACE) - 1, now
            if allowance < 0:
                await asyncio.sleep(-allowance / PACE)
            session.acknowledge(message)
            self.spawn(self._handle(session, message))
            if session.dropped > dropped:
                log.warning("too many commands at QoS 0 dropped=%d next=they are lost", session.dropped - dropped)
                dropped = session.dropped

    async def _handle(self, session: Session, message: Received) -> None:
        try:
            outcome = await self._judge(message)
            if outcome is not None and message.reply_to:
                await self._answer(session, message, outcome)
        finally:
            self._running.release()

    async def _judge(self, message: Received) -> Outcome | None:
        name = self._topics.command_id(message.topic)
        if message.retain:
            # without a payload it is the one that wipes the retained message out
            return await self._refuse_retained(name) if message.payload else None
        try:
            if not is_id(name):
                raise Rejected("the topic's last part is not an id: 1 to 64 letters, digits, _ and -")
            command = parse(name, message.payload, self._clock.now())
        except Rejected as rejected:
            return await self._refuse(name, str(rejected))
        self._remember(name)
        log.info("command received id=%s point=%s value=%r by=%r", name, command.point, command.value, command.by)
        outcome = await self._submit(command)
        log.info("command ended id=%s state=%s reason=%r", name, outcome.state, outcome.reason)
        return await self._repeat(command, outcome) if _is_older(outcome, command) else outcome

    async def _repeat(self, command: Command, stored: Outcome) -> Outcome:
        """Answer an id that was used before: what became of it, or that it was something else."""
        if (stored.point, stored.value) != (command.point, command.value) and stored.point:
            reason = f"the id was used before, for {stored.point}: {stored.state}"
            stored = Outcome(
                command.id, command.point, command.value, OutcomeState.REJECTED, reason, self._clock.now()
            )
        await self._outbox.record(stored)
        return stored

    async def _answer(self, session: Session, message: Received, outcome: Outcome) -> None:
        """Tell the asker on his own topic how it ended. It is not kept: the record is on cmd/{id}/result."""
        try:
            await session.free.acquire()
            code = await session.publish(
                message.reply_to, answer_body(outcome), properties=correlated(message.correlation)
            )
        except (LinkLost, ValueError) as error:  # ValueError: not a topic that one can publish on
            log.warning("command not answered id=%s topic=%r reason=%r", outcome.command, message.reply_to, str(error))
        else:
            if code >= 0x80:
                log.warning("command not answered id=%s topic=%r puback=%#x", outcome.command, message.reply_to, code)

    async def _refuse_retained(self, name: str) -> Outcome:
        """A retained command would be carried out anew at each connection, for ever."""
        detail = {"id": name[:64]}
        await self._outbox.put_event(
            Event("alarm", "command_retained", "mqtt", self._clock.now(), Severity.MAJOR, detail)
        )
        return await self._refuse(name, "a command must not be retained")

    async def _refuse(self, name: str, reason: str) -> Outcome:
        log.warning("command refused id=%.64r reason=%r", name, reason)
        now = self._clock.now()
        outcome = Outcome(name[:64], "", None, OutcomeState.REJECTED, reason, now)
        if is_id(name) and name not in self._seen:
            await self._outbox.record(outcome)
        else:
            detail = {"id": name[:64], "reason": reason}
            await self._outbox.put_event(Event("audit", "command_refused", "mqtt", now, Severity.MINOR, detail))
        return outcome

    def _remember(self, name: str) -> None:
        self._seen[name] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)


def _is_older(outcome: Outcome, command: Command) -> bool:
    """Whether it is what became of an earlier command of this id."""
    at, asked = outcome.at, command.received
    return at.boot != asked.boot or at.boottime_ns < asked.boottime_ns
