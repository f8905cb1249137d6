"""One loop for everything: time jumps instead of passing, files are simulated, and threads are calls that come later.

What belongs to one life of the agent carries its mark in its context, so that a kill can take it away at any await and
leave the world around it as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import heapq
import itertools
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from tests.simulation.turns import Turns

__all__ = ["LIFE", "Killed", "SimLoop"]

LIFE: contextvars.ContextVar[Any] = contextvars.ContextVar("life", default=None)
"""Which life of the agent is at work; None for the world."""
MANY = 5000
"""Tasks of a life after which those that are done are forgotten."""
_order = itertools.count()


class Killed(BaseException):
    """The process is gone, in the middle of what it did."""


class SimTask(asyncio.Task[Any]):
    """Its place in a set is by the order in which they came into one: addresses differ from process to process."""

    order: int

    def __hash__(self) -> int:
        try:
            return self.order
        except AttributeError:
            self.order = next(_order)
            return self.order


class SimFuture(asyncio.Future[Any]):
    order: int
    __hash__ = SimTask.__hash__


class SimLoop(Turns):
    """`delays` gives how long a job waits for its thread and works in it (s)."""

    def __init__(self, delays: random.Random) -> None:
        super().__init__()
        self._delays = delays
        self._free_at: dict[int, float] = {}
        self.slow = 0.0
        """Seconds that a job takes at the most, beside what the disk says."""
        self.handlers: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self.listeners: dict[str, Any] = {}
        self.dial: Callable[[str, int], Any] = lambda host, port: None
        self.troubles: list[tuple[float, BaseException | str]] = []
        """What no code of the agent caught."""
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note)

    def _note(self, loop: Any, context: dict[str, Any]) -> None:
        if "never retrieved" not in context["message"]:  # of what was buried; whoever lives retrieves it or ends by it
            self.troubles.append((self.time(), context.get("exception") or context["message"]))

    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(loop=self)

    def _make_task(self, loop: Any, coro: Any, **more: Any) -> asyncio.Task[Any]:
        task = SimTask(coro, loop=loop, **more)
        life = LIFE.get()
        if life is not None:
            life.tasks.append(task)
            if not len(life.tasks) % MANY:
                life.tasks[:] = [one for one in life.tasks if not one.done()]
        return task

    # -- threads -----------------------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """The job begins after a while, is done in one go, and is told a while later; one at a time of an own pool."""
        future, now = self.create_future(), self.time()
        begin = now + self._delay()
        if executor is not None:
            begin = max(begin, self._free_at.get(id(executor), 0.0))
        end = begin + self._delay()
        if executor is not None:
            self._free_at[id(executor)] = end
        self.call_at(begin, self._work, future, end, func, args)
        return future

    def _delay(self) -> float:
        dice = self._delays.random()
        return dice * dice * dice * (self.slow or 0.003)

    def _work(self, future: asyncio.Future[Any], end: float, func: Any, args: Any) -> None:
        try:
            told, result = True, func(*args)
        except Killed:
            return  # nobody is left to be told
        except Exception as error:  # noqa: BLE001  whoever waits is told
            told, result = False, error
        self.call_at(end, self._tell, future, told, result)

    def _tell(self, future: asyncio.Future[Any], told: bool, result: Any) -> None:
        if not future.cancelled():
            (future.set_result if told else future.set_exception)(result)

    # -- what the kernel gives -----------------------------------------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        self.handlers[sig] = contextvars.copy_context(), callback, args

    def remove_signal_handler(self, sig: int) -> bool:
        return self.handlers.pop(sig, None) is not None

    def raise_signal(self, sig: int) -> bool:
        if sig not in self.handlers:
            return False
        context, callback, args = self.handlers[sig]
        self.call_soon(callback, *args, context=context)
        return True

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:  # type: ignore[override]
        if more.get("sock") is None:
            more["sock"] = await self.dial(host, port)
        return await super().create_connection(protocol_factory, **more)

    async def create_unix_server(self, protocol_factory: Any, path: Any = None, **more: Any) -> Any:  # type: ignore[override]
        server = Listening(self, str(path), protocol_factory)
        self.listeners[str(path)] = server
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # it has a name that can be seen
        return server

    # -- the end of a life ---------------------------------------------------------------------------------------

    def silence(self, life: Any) -> None:
        """Nothing of it runs from now on; it is to be buried."""
        for handle in (*self._ready, *self._scheduled):
            if _is_of(handle, life):
                handle.cancel()

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """The world has no generators; what a dead process left of its own is not brought to its end."""
        self._asyncgens.discard(agen)
        life = LIFE.get()
        if life is not None and not life.dead:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    def bury(self, life: Any) -> None:
        """Take away all that a life had going: nothing of it runs any more."""
        self._forget(life)
        self.handlers.clear()
        for listener in list(self.listeners.values()):
            listener.close()
        dice = random.getstate()  # a coroutine that is closed may still throw them: not in each Python
        with _unheard():
            contextvars.copy_context().run(self._close, life)
        random.setstate(dice)

    def _close(self, life: Any) -> None:
        """What is made while a coroutine ends is never begun, and goes with the others."""
        LIFE.set(life)
        while tasks := life.tasks[::-1]:
            life.tasks.clear()
            for task in tasks:
                task._log_destroy_pending = False
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        self._forget(life)
        gc.collect()
        gc.freeze()  # what outlived it is the world's: the next burial needs not look through it

    def _forget(self, life: Any) -> None:
        for handle in list(self._ready):  # they stay in the row, which is being worked off
            if _is_of(handle, life):
                handle.cancel()
        kept = []
        for timer in self._scheduled:
            if _is_of(timer, life):
                timer._scheduled = False
            else:
                kept.append(timer)
        self._scheduled: list[Any] = kept
        heapq.heapify(self._scheduled)
        self._timer_cancelled_count = sum(timer._cancelled for timer in kept)
        watched = list(self.poll.get_map().items())
        for fd in (fd for fd, key in watched for handle in key.data or () if _is_of(handle, life)):
            with contextlib.suppress(KeyError):
                self.poll.unregister(fd)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """What a dead process would still say of its unfinished work is nobody's business."""
    said, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = said


def _is_of(handle: Any, life: Any) -> bool:
    context = getattr(handle, "_context", None)
    return context is not None and context.get(LIFE) is life


class Listening:
    """A server of a Unix socket, as asyncio's."""

    def __init__(self, loop: SimLoop, path: str, factory: Any) -> None:
        self._loop, self.path, self._factory = loop, path, factory
        self._context = contextvars.copy_context()

    def close(self) -> None:
        if self._loop.listeners.get(self.path) is self:
            del self._loop.listeners[self.path]

    def accept(self, wire: Any) -> None:
        """Somebody has connected: `wire` is the server's end."""
        self._context.copy().run(self._accept, wire)

    def _accept(self, wire: Any) -> None:
        self._loop.create_task(self._loop.create_connection(self._factory, sock=wire))
