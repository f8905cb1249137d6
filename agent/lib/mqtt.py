"""aiomqtt's client, whose waits for the broker can always be called off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import aiomqtt

__all__ = ["Client"]

T = TypeVar("T")


class Client(aiomqtt.Client):
    """aiomqtt uses asyncio.wait_for, which before Python 3.12 forgets a cancellation that comes with the answer."""

    async def _wait_for(self, answer: Awaitable[T], timeout: float | None) -> T:
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await answer
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None
