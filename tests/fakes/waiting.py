"""How tests wait for what comes by itself: a condition is asked again and again, for so many seconds at the most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], seconds: float = 30.0, what: str = "the condition") -> Any:
    """Poll a condition until it holds; return what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {seconds} s")


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The same while the loop goes on; TimeoutError if it does not come true."""
    async with asyncio.timeout(seconds):
        while not (result := condition()):
            await asyncio.sleep(0.005)
    return result
