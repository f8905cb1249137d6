"""A failing driver comes back; a hung owner starves the watchdog, a waiting one does not."""

import asyncio

import pytest

from agent.clock import SystemClock
from agent.core.supervisor import Watchdog, backoff, supervise
from agent.lib.notify import Notifier


@pytest.mark.parametrize(("failures", "shortest", "longest"), [(1, 0.5, 1.5), (3, 2, 6), (9, 30, 90), (5000, 30, 90)])
def test_backoff_grows_to_a_minute_and_is_spread(failures, shortest, longest):
    assert backoff(failures, 0) == shortest
    assert backoff(failures, 1) == longest


async def test_a_driver_that_raises_is_started_again(monkeypatch):
    monkeypatch.setattr("agent.core.supervisor.backoff", lambda failures, jitter: 0)
    runs, third = [], asyncio.Event()

    async def fail() -> None:
        runs.append(1)
        if len(runs) == 3:
            third.set()
            await asyncio.Event().wait()
        raise ValueError("a bug")

    task = asyncio.create_task(supervise("bus", fail, SystemClock("always")))
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
