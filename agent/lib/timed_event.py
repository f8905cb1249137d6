"""An event that can be waited for with a timeout.

`asyncio.timeout` around an `asyncio.Event` ends each rest that is over by an exception, and costs more than the others
too. Loops that come round many times a minute pay for that.
"""

from __future__ import annotations

import asyncio

__all__ = ["TimedEvent"]


class TimedEvent:
    """An event for which one can wait with a limit."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: list[asyncio.Future[None]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """Wake all waiters, and let later ones pass until `clear`."""
        self._is_set = True
        for waiter in self._waiters:
            _end(waiter)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self, seconds: float | None = None) -> None:
        """Until it is set, or for so long; None: until it is set."""
        if self._is_set:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None if seconds is None else loop.call_later(max(0.0, seconds), _end, waiter)
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
