"""Whoever rests is woken, or goes on when his time is over."""

import asyncio

import pytest

from agent.lib.timed_event import TimedEvent


async def test_a_rest_ends_with_the_call_or_with_its_time():
    wake, loop = TimedEvent(), asyncio.get_running_loop()
    began = loop.time()
    await wake.wait(0.02)
    assert 0.019 < loop.time() - began < 5 and not wake.is_set()
    loop.call_later(0.01, wake.set)
    await wake.wait(60)
    assert wake.is_set() and loop.time() - began < 5


async def test_whoever_comes_after_the_call_does_not_rest_until_it_is_cleared():
    wake = TimedEvent()
    wake.set()
    await wake.wait()
    await wake.wait(60)
    wake.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wake.wait()


async def test_all_are_woken_also_where_it_is_cleared_at_once_and_one_has_gone():
    wake = TimedEvent()
    resting = [asyncio.create_task(wake.wait(seconds)) for seconds in (None, 60, None)]
    await asyncio.sleep(0)
    resting[2].cancel()
    wake.set()
    wake.clear()
    ended = await asyncio.gather(*resting, return_exceptions=True)
    assert ended[:2] == [None, None] and isinstance(ended[2], asyncio.CancelledError)
