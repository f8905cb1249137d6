"""The TCP peer of a bus: when its connection is made anew, and which of its habits are known.

Gateways close idle connections, close after each answer, or in place of one; some answer each question one question
late until they are connected to anew. A question is asked once more on a new connection, and no more than that. A host
with one socket does not listen for a moment after each connection, and is given it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from agent.errors import WireError
from agent.lib.backoff import Backoff
from drivers.modbus.link import Misfit, NoAnswer, NotListening, Silence
from drivers.modbus.question import Function, Question

__all__ = ["Host", "HungUp", "Stream", "Unasked", "closed"]

log = logging.getLogger("bocage.modbus")

_UNANSWERED_MOST = 3
"""After so many questions in a row without their answer the connection itself is suspect."""
_REST, _REST_WRITE = 10.0, 2.0
"""Seconds since the last answer, or the connection's begin, after which a router may have forgotten the connection."""
_HANG_UPS = 3
"""After so many a host is known to take one question a connection: each gets its own then."""
_PAUSE, _PAUSE_MOST = 0.05, 0.5
"""Seconds until a host that does not take us again yet is tried once more: doubled each time."""


class HungUp(WireError):
    """The other side closed the connection while it was asked."""


class Unasked(HungUp):
    """It closed the connection before the question was sent: nothing of it can have been carried out."""


class Stream(Protocol):
    """A connection, as the host sees it."""

    @property
    def is_open(self) -> bool: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Stream)


class Host(Generic[S]):
    """`connect` makes a connection to `name` (host:port), or raises WireError.

    `moment` is how long, in seconds, a host that took us before may refuse us until it counts as gone.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[S]], moment: float) -> None:
        self.name = name
        self.stream: S | None = None
        self.renewed = False
        """Whether the connection was given up because questions went unanswered: a new one may help."""
        self.fault: WireError | None = None
        """Why the connection was given up while no question was open; the next `open` raises it, so that it is said."""
        self._connect, self._moment = connect, moment
        self._used = False
        self._unanswered = 0
        self._hang_ups = 0
        self._alive_at = 0.0

    @property
    def is_open(self) -> bool:
        return self.stream is not None and self.stream.is_open

    @property
    def patience(self) -> float:
        """Seconds that the connections of one `exchange` may take at the longest: two, refused first, then slow."""
        return 4 * self._moment

    async def open(self) -> None:
        self.close()
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        moment, self._used = self._moment if self._used else 0.0, False
        self.stream = await self._connection(moment)
        self._alive_at = asyncio.get_running_loop().time()
        self._unanswered, self.renewed = 0, False

    async def _connection(self, moment: float) -> S:
        """A new one. For `moment` seconds a host that does not listen is tried again."""
        until, pause = asyncio.get_running_loop().time() + moment, Backoff(_PAUSE, _PAUSE_MOST)
        while True:
            try:
                return await self._connect()
            except NotListening:
                if (rest := until - asyncio.get_running_loop().time()) <= 0:
                    raise
            await asyncio.sleep(min(pause.next(), rest))

    def close(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    async def exchange(self, question: Question, ask: Callable[[], Awaitable[bytes]]) -> bytes:
        """The result of `ask`, which puts the question on the present connection. `ask` may be called twice.

        So it is where the host closes, and where silence may mean that it has forgotten the connection: after a rest,
        a shorter one for a write, which is not repeated. A question that may be carried out only once is not repeated.
        NoAnswer if the host closes both times.
        """
        if self._used and (not self.is_open or self._hang_ups >= (1 if question.once else _HANG_UPS)):
            await self.open()
        used = self._used
        rest = _REST if question.function <= Function.READ_INPUT else _REST_WRITE
        rested = used and asyncio.get_running_loop().time() - self._alive_at >= rest
        try:
            answer = await self._counted(ask)
        except (HungUp, Silence) as error:
            hung_up = isinstance(error, HungUp)
            once = question.once and not isinstance(error, Unasked)
            if once and hung_up:
                raise NoAnswer(str(error)) from error
            if once or not (hung_up or rested):
                raise
            await self.open()
            try:
                answer = await self._counted(ask)
            except HungUp as again:
                raise NoAnswer(f"{again}" if question.once else f"{again}, twice") from again
            self._hang_ups += used and hung_up
            if used and self._hang_ups == _HANG_UPS:
                log.info("host hangs up host=%s next=a connection for each question", self.name)
        else:
            if used:
                self._hang_ups = 0
        return answer

    async def _counted(self, ask: Callable[[], Awaitable[bytes]]) -> bytes:
        self._used = True
        try:
            answer = await ask()
        except Misfit:
            self._unanswered = 0  # the connection is sound
            raise
        except NoAnswer as error:
            self._unanswered += 1
            if self._unanswered >= _UNANSWERED_MOST:
                log.info('connection given up host=%s reason="%s" next=made anew', self.name, error)
                self.close()
                self.renewed = True
            raise
        self._unanswered, self._alive_at = 0, asyncio.get_running_loop().time()
        return answer


def closed(name: str, exc: Exception | None, asked: bool = True) -> HungUp:
    """The error for a connection that ended, before or after the question was `asked`."""
    known = isinstance(exc, OSError) and exc.strerror
    return (HungUp if asked else Unasked)(f"{name}: connection lost: {known or 'closed by the other side'}")
