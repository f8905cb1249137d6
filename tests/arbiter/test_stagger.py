"""Contactors of lamps go on one after another, at any priority and after any event."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from agent.arbiter import ActuatorSpec

KM1, KM2, KM3 = (
    ActuatorSpec(f"km{n}", output, safe_state="hold", boot_state="recompute", stagger=10)
    for n, output in ((1, "io-1.relay1"), (2, "io-1.relay2"), (3, "io-2.relay1"))
)
PLAIN = ActuatorSpec("pump", "io-1.relay4")


def starts(site):
    return [(point, at) for at, point, value in site.plant.edges if value]


def apart(site):
    """Seconds from the first switching on, an output."""
    found = starts(site)
    return {point: round(at - found[0][1], 1) for point, at in found}


def on(site, *names, priority=15):
    for name in names:
        site.arbiter.wish(name, priority, True, "dusk")


def test_in_the_order_of_the_site_file(virtual):
    async def test(site):
        await site.up()
        on(site, "km3", "pump", "km2", "km1")
        await asyncio.sleep(5)
        assert site.line("km2")["state"].startswith("waiting stagger until")
        await asyncio.sleep(60)
        assert apart(site) == {"io-1.relay1": 0, "io-1.relay4": 0, "io-1.relay2": 10, "io-2.relay1": 20}
        for name in ("km1", "km2", "km3"):
            site.arbiter.wish(name, 15, False, "dawn")
        await asyncio.sleep(1)
        assert [at for at, _, value in site.plant.edges if not value][-1] - starts(site)[0][1] < 66

    virtual(test, KM1, KM2, KM3, PLAIN)


def test_a_command_waits_too_and_an_emergency_does_not(virtual):
    async def test(site):
        await site.up()
        on(site, "km1")
        await asyncio.sleep(1)
        sent = [asyncio.create_task(site.send(name, "on", ttl_ms=60_000)) for name in ("km2", "km3")]
        await asyncio.sleep(1)
        on(site, "km3", priority=2)
        assert [str((await one).state) for one in sent] == ["verified", "failed"]
        assert apart(site) == {"io-1.relay1": 0, "io-2.relay1": 2, "io-1.relay2": 12}

    virtual(test, KM1, KM2, KM3)


@pytest.mark.parametrize("power", [False, True])
def test_after_a_restart(virtual, power):
    async def test(site):
        await site.up()
        on(site, "km1")
        await asyncio.sleep(1)
        await site.kill()
        if power:
            site.plant.outputs.clear()
            site.clock.boot = "boot-2"
        before = len(site.plant.edges)
        await asyncio.sleep(3)
        await site.up()
        on(site, "km1", "km2", "km3")
        await asyncio.sleep(60)
        times = [at for at, _, value in site.plant.edges[0 if not power else before:] if value]
        assert len(times) == 3 and all(later - sooner >= 9.99 for sooner, later in itertools.pairwise(times))

    virtual(test, KM1, KM2, KM3)


def test_a_module_that_dropped_its_outputs_gets_them_back_one_by_one(virtual):
    async def test(site):
        await site.up()
        on(site, "km1", "km2")
        await asyncio.sleep(120)
        site.plant.outputs.update({"io-1.relay1": False, "io-1.relay2": False})
        site.plant.edges.clear()
        await site.poll()
        await asyncio.sleep(60)
        assert apart(site) == {"io-1.relay1": 0, "io-1.relay2": 10}

    virtual(test, KM1, KM2)


def test_a_dead_module_takes_no_turns(virtual):
    async def test(site):
        await site.up()
        site.plant.dead.add("io-1")
        on(site, "km1", "km2", "km3")
        await asyncio.sleep(2)
        assert [point for point, _ in starts(site)] == ["io-2.relay1"]

    virtual(test, KM1, KM2, KM3)


def test_another_group_does_not_wait(virtual):
    """The pumps of a tank start one after the other, whatever the lamps do."""

    async def test(site):
        await site.up()
        on(site, "km1", "km2", "p1", "p2")
        await asyncio.sleep(60)
        assert apart(site) == {"io-1.relay1": 0, "io-2.relay1": 0, "io-1.relay2": 10, "io-1.relay4": 10}

    outputs = (("p1", "io-2.relay1"), ("p2", "io-1.relay4"))
    pumps = (ActuatorSpec(*names, stagger=10, stagger_group="tank") for names in outputs)
    virtual(test, KM1, KM2, *pumps)


def test_a_control_sees_until_when_a_limit_keeps_an_output_from_starting(virtual):
    async def test(site):
        await site.up()
        on(site, "p1")
        await asyncio.sleep(1)
        assert site.arbiter.outputs()["p1"].waits == float("-inf")
        site.arbiter.wish("p1", 15, False, "full enough")
        await asyncio.sleep(1)
        went_off = site.plant.edges[-1][0]
        on(site, "p1")
        await asyncio.sleep(1)
        assert site.arbiter.outputs()["p1"].waits == pytest.approx(went_off + 300)
        site.plant.dead.add("io-1")
        await asyncio.sleep(301)
        shown = site.arbiter.outputs()["p1"]
        assert shown.value is None and shown.waits == float("-inf"), "a device that does not answer is no limit"

    virtual(test, ActuatorSpec("p1", "io-1.relay1", min_off=300))


def test_a_control_sees_since_when_an_output_cannot_be_read(virtual):
    async def test(site):
        told = []
        await site.up()
        site.arbiter.told = lambda: told.append(site.clock.monotonic())
        on(site, "p1")
        await asyncio.sleep(10)
        await site.poll()
        assert site.arbiter.outputs()["p1"].unread == float("inf")
        site.plant.unreadable.add("io-1.relay1")
        lost, seen = site.clock.monotonic(), len(told)
        for _ in range(3):
            await site.poll()
            await asyncio.sleep(10)
        assert site.arbiter.outputs()["p1"].unread == pytest.approx(lost) and len(told) > seen
        site.plant.unreadable.clear()
        seen = len(told)
        await site.poll()
        assert site.arbiter.outputs()["p1"].unread == float("inf") and len(told) > seen

    virtual(test, ActuatorSpec("p1", "io-1.relay1"))
