"""Radio nodes: a write waits until the node listens, and a new winner takes its place meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

from agent.arbiter import ActuatorSpec
from agent.model import Point

OUTPUT = "node.level"
POINTS = {OUTPUT: Point(OUTPUT, "node", writable=True, low=0, high=100, deferred=True)}
DIM = ActuatorSpec("dim", OUTPUT, "level", safe_state="hold", boot_state="recompute")


def sleeping(site):
    """The node listens when the event is set."""
    return site.plant.nodes.setdefault(OUTPUT, asyncio.Event())


def written(site):
    return [value for _, _, value in site.plant.writes]


async def sent(site, value, **more):
    task = asyncio.create_task(site.send("dim", value, **more))
    await asyncio.sleep(0.1)
    return task


def test_a_command_waits_for_the_node_until_its_validity_ends(virtual):
    async def test(site):
        node = sleeping(site)
        await site.up()
        first = await sent(site, 40, ttl_ms=1_800_000, id="a")
        assert site.line("dim")["state"] == "waiting for the node"
        assert site.plant.queued[0][1] == site.clock.monotonic() - 0.1 + 1800
        await asyncio.sleep(1200)
        node.set()
        assert (await first).state == "verified" and written(site) == [40]
        assert site.ledger.states("a") == ["accepted", "applied", "verified"]
        node.clear()
        outcome = await (await sent(site, 60, ttl_ms=600_000, id="b"))
        assert (outcome.state, outcome.reason) == ("failed", "node.level did not listen in time")
        await asyncio.sleep(0.1)
        assert not site.plant.queued
        assert site.line("dim")["cause"] == "command a", "the override before it stands"

    virtual(test, DIM, points=POINTS)


def test_a_command_without_validity_may_wait_for_an_hour(virtual):
    async def test(site):
        node = sleeping(site)
        await site.up()
        task = await sent(site, 40)
        await asyncio.sleep(3600)
        node.set()
        assert (await task).state == "verified"

    virtual(test, DIM, points=POINTS)


def test_what_wins_takes_the_place_of_what_waits(virtual):
    async def test(site):
        node = sleeping(site)
        await site.up()
        site.arbiter.wish("dim", 15, 50, "evening")
        await asyncio.sleep(1)
        site.arbiter.wish("dim", 15, 30, "night")
        await asyncio.sleep(1)
        assert len(site.plant.queued) == 1
        first = await sent(site, 80, ttl_ms=3_600_000)
        second = await sent(site, 90, ttl_ms=3_600_000)
        outcome = await first
        assert (outcome.state, outcome.reason) == ("failed", "superseded by command c2")
        site.arbiter.wish("dim", 2, 100, "emergency")
        outcome = await second
        assert (outcome.state, outcome.reason) == ("failed", "superseded by emergency (priority 2)")
        assert len(site.plant.queued) == 1
        node.set()
        await asyncio.sleep(1)
        assert written(site) == [100]
        site.arbiter.relinquish("dim", 2)
        await asyncio.sleep(1)
        assert written(site) == [100, 30], "no override of a command that was not carried out"

    virtual(test, DIM, points=POINTS)


def test_a_release_calls_off(virtual):
    async def test(site):
        node = sleeping(site)
        await site.up()
        site.arbiter.wish("dim", 15, 50, "evening")
        first = await sent(site, 80, ttl_ms=3_600_000)
        released = await site.send("dim", None)
        assert released.reason == "released: 50 by priority 15 (evening)"
        assert (await first).reason == "superseded by command c2"
        node.set()
        await asyncio.sleep(1)
        assert written(site) == [50]

    virtual(test, DIM, points=POINTS)


def test_a_command_that_fails_leaves_the_override_before_it(virtual):
    async def test(site):
        node = sleeping(site)
        node.set()
        await site.up()
        site.arbiter.wish("dim", 15, 50, "evening")
        await asyncio.sleep(1)
        assert (await site.send("dim", 80, hold_ms=3_600_000, id="a")).state == "verified"
        node.clear()
        second = await sent(site, 20, ttl_ms=300_000, id="b")
        third = await sent(site, 30, ttl_ms=600_000, id="c")
        assert (await second).reason == "superseded by command c"
        assert (await third).reason == "node.level did not listen in time"
        await asyncio.sleep(0.1)
        line = site.line("dim")
        assert (line["wanted"], line["cause"]) == (80, "command a"), "it has its own end"
        fourth = await sent(site, 40, ttl_ms=7_200_000, id="d")
        await site.kill()
        site.plant.queued.clear()
        await site.up()
        assert (site.line("dim")["wanted"], site.ledger.states("d")[-1]) == (80, "unknown")
        site.arbiter.wish("dim", 15, 50, "evening")
        node.set()
        await asyncio.sleep(3600)
        assert site.line("dim")["wanted"] == 50 and written(site)[-1] == 50, "its end has come"
        fourth.cancel()

    virtual(test, DIM, points=POINTS)


def test_a_stop_does_not_wait_for_a_node(virtual):
    async def test(site):
        sleeping(site)
        await site.up()
        first = await sent(site, 80, ttl_ms=3_600_000)
        begin = site.clock.monotonic()
        await site.arbiter.stop()
        assert site.clock.monotonic() == begin
        assert (await first).reason == "the agent stops" and not site.plant.queued

    virtual(test, replace(DIM, stop_state=100), points=POINTS)


def test_a_crash_while_it_waits(virtual):
    async def test(site):
        node = sleeping(site)
        await site.up()
        await sent(site, 80, ttl_ms=3_600_000, id="a")
        await site.kill()
        site.plant.queued.clear()
        await site.up()
        site.arbiter.wish("dim", 15, 50, "evening")
        node.set()
        await asyncio.sleep(1)
        assert site.ledger.states("a") == ["accepted", "unknown"] and written(site) == [50]

    virtual(test, DIM, points=POINTS)


def test_a_level_is_refreshed(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("dim", 15, 50, "evening")
        await asyncio.sleep(3600)
        times = [at for at, _, _ in site.plant.writes]
        assert written(site) == [50, 50, 50] and [round(at - times[0]) for at in times] == [0, 1440, 2880]
        assert len(site.ledger.codes("audit")) == 1 and not site.ledger.codes("alarm")

    points = {OUTPUT: replace(POINTS[OUTPUT], deferred=False)}
    virtual(test, replace(DIM, refresh=1440), points=points)


SETPOINT = replace(DIM, refresh=60)
AT_ONCE = {OUTPUT: replace(POINTS[OUTPUT], deferred=False)}


def test_a_setpoint_is_not_repeated_while_a_fault_holds_it(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("dim", 15, 50, "evening")
        await asyncio.sleep(130)
        assert written(site) == [50, 50, 50]
        site.arbiter.wish("dim", 5, 100, "sensor lost")
        await asyncio.sleep(600)
        assert written(site) == [50, 50, 50, 100], "it is written, and then left to itself"
        site.arbiter.relinquish("dim", 5)
        await asyncio.sleep(61)
        assert written(site) == [50, 50, 50, 100, 50, 50]
        assert site.line("dim")["repeats"] == 3

    virtual(test, SETPOINT, points=AT_ONCE)


def test_a_setpoint_is_never_repeated_more_often_although_it_reads_otherwise(virtual):
    """A device that gives up after 20 s: it is told again each 60 s, and the alarm says that this is too seldom."""

    async def test(site):
        await site.up()
        site.arbiter.wish("dim", 15, 50, "evening")
        for _ in range(120):
            await asyncio.sleep(5)
            if site.plant.writes and site.clock.monotonic() - site.plant.writes[-1][0] > 20:
                site.plant.move(OUTPUT, 0)
            await site.poll()
        times = [at for at, _, _ in site.plant.writes]
        assert 9 <= len(times) <= 11
        assert min(b - a for a, b in pairwise(times)) >= 60
        assert site.ledger.codes("alarm") == ["output_mismatch"] and not site.ledger.codes("cleared")
        for _ in range(40):  # it holds now
            await asyncio.sleep(5)
            await site.poll()
        assert site.ledger.codes("cleared") == ["output_mismatch"]

    virtual(test, SETPOINT, points=AT_ONCE)


def test_a_reload_does_not_wait_for_a_node_that_a_command_goes_to_just_then(virtual):
    """What it is about to do is on its way to flash when the reload comes; the node listens after minutes."""

    async def test(site):
        sleeping(site)
        await site.up()
        site.loop.slow = 1.0
        waits = asyncio.create_task(site.send("dim", 40, ttl_ms=1_800_000, id="a"))
        await asyncio.sleep(0.5)
        began = site.clock.monotonic()
        site.tasks[0].cancel()
        await site.arbiter.finish()
        assert site.clock.monotonic() - began < 10
        assert (await waits).state == "failed" and not site.plant.queued

    virtual(test, DIM, points=POINTS)
