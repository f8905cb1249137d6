"""A failing driver comes back; a hung owner starves the watchdog, a waiting one does not."""

import asyncio

import pytest

from agent.clock import SystemClock
from agent.core.supervisor import Watchdog, supervise
from agent.lib.backoff import Backoff
from agent.lib.notify import Notifier


async def test_a_driver_that_raises_is_started_again():
    runs, third = [], asyncio.Event()

    async def fail() -> None:
        runs.append(1)
        if len(runs) == 3:
            third.set()
            await asyncio.Event().wait()
        raise ValueError("a bug")

    task = asyncio.create_task(supervise("bus", fail, SystemClock("always"), Backoff(0, 0)))
    await asyncio.wait_for(third.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_watchdog_names_who_is_late():
    clock = SystemClock("always")
    watchdog = Watchdog(clock, Notifier({}))
    now = clock.monotonic()
    watchdog.add("quiet bus in backoff", lambda: now + 60)
    watchdog.add("hung outbox", lambda: now - 60)
    assert watchdog.late() == ["hung outbox"]
    watchdog.remove("hung outbox")
    assert watchdog.late() == []


async def test_the_watchdog_is_fed_at_each_look_and_told_a_line_ever_more_seldom(monkeypatch):
    monkeypatch.setattr(Watchdog, "PERIOD", 0.001)
    monkeypatch.setattr(Watchdog, "LINE", 0.05)
    fed: list[str] = []
    notifier = Notifier({})
    monkeypatch.setattr(notifier, "watchdog", lambda status="": fed.append(status))
    task = asyncio.create_task(Watchdog(SystemClock("always"), notifier).run(lambda: "all is well"))
    async with asyncio.timeout(20):
        while fed.count("all is well") < 8:
            await asyncio.sleep(0.001)
    task.cancel()
    assert fed[0] == fed[-1] == "all is well"
    assert fed.count("") > 8
