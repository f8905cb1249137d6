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
from agent.uplink.commands import is_id, parse
from agent.uplink.native import Topics
from agent.uplink.session import Received, Session

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
            self.spawn(self._handle(message))
            if session.dropped > dropped:
                log.warning("too many commands at QoS 0 dropped=%d next=they are lost", session.dropped - dropped)
                dropped = session.dropped

    async def _handle(self, message: Received) -> None:
        try:
            await self._judge(message)
        finally:
            self._running.release()

    async def _judge(self, message: Received) -> None:
        name = self._topics.command_id(message.topic)
        if message.retain:
            if message.payload:  # without, it is the one that wipes the retained message out
                await self._refuse_retained(name)
            return
        try:
            if not is_id(name):
                raise Rejected("the topic's last part is not an id: 1 to 64 letters, digits, _ and -")
            command = parse(name, message.payload, self._clock.now())
        except Rejected as rejected:
            await self._refuse(name, str(rejected))
            return
        self._remember(name)
        log.info("command received id=%s point=%s value=%r by=%r", name, command.point, command.value, command.by)
        outcome = await self._submit(command)
        log.info("command ended id=%s state=%s reason=%r", name, outcome.state, outcome.reason)

    async def _refuse_retained(self, name: str) -> None:
        """A retained command would be carried out anew at each connection, for ever."""
        detail = {"id": name[:64]}
        await self._outbox.put_event(
            Event("alarm", "command_retained", "mqtt", self._clock.now(), Severity.MAJOR, detail)
        )
        await self._refuse(name, "a command must not be retained")

    async def _refuse(self, name: str, reason: str) -> None:
        log.warning("command refused id=%.64r reason=%r", name, reason)
        now = self._clock.now()
        if is_id(name) and name not in self._seen:
            await self._outbox.record(Outcome(name, "", None, OutcomeState.REJECTED, reason, now))
        else:
            detail = {"id": name[:64], "reason": reason}
            await self._outbox.put_event(Event("audit", "command_refused", "mqtt", now, Severity.MINOR, detail))

    def _remember(self, name: str) -> None:
        self._seen[name] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
