"""Whatever is wished, commanded and broken, in whatever order: limits hold, and a command is carried out once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.arbiter import ActuatorSpec
from agent.core.actuator_spec import SETTLE

RELAY = "io-1.relay1"
SPEC = ActuatorSpec("a", RELAY, boot_state="recompute", min_on=100, min_off=150, max_starts_per_hour=3)

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), st.sampled_from([2, 13, 15]), st.booleans()),
        st.tuples(st.just("wish"), st.sampled_from([13, 15]), st.booleans()),
        st.tuples(st.just("relinquish"), st.sampled_from([2, 13, 15])),
        st.tuples(st.just("command"), st.sampled_from([True, False, None]), st.sampled_from([None, 1_000, 300_000])),
        st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.3, 7.0, 60.0, 99.0, 151.0, 1200.0])),
        st.tuples(st.just("dead"), st.booleans()),
        st.tuples(st.just("reply_lost"), st.booleans()),
        st.tuples(st.just("poll")),
        st.tuples(st.just("kill")),
        st.tuples(st.just("drop")),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[("reply_lost", True), ("wish", 2, True), ("kill",), ("drop",), ("kill",), ("wish", 13, True)])
@given(steps=_steps)
def test_no_output_breaks_its_limits_but_for_priorities_1_to_5(virtual, steps):
    async def test(site):
        plain = site.plant.write
        excused: dict[int, bool] = {}

        async def write(point, value, until=None):
            found = site.arbiter._table.by_name["a"].priority_array.winner()
            count = len(site.plant.edges)
            try:
                await plain(point, value)
            finally:
                if len(site.plant.edges) > count:
                    excused[count] = found is not None and found[0] < 6

        site.plant.write = write
        site.plant.outputs[RELAY] = False
        await site.up()
        tasks = []
        for step in steps:
            match step:
                case ("wish", priority, value):
                    site.arbiter.wish("a", priority, value, "rule")
                case ("relinquish", priority):
                    site.arbiter.relinquish("a", priority)
                case ("command", value, ttl):
                    tasks.append(asyncio.create_task(site.send("a", value, ttl_ms=ttl)))
                case ("sleep", seconds):
                    await asyncio.sleep(seconds)
                case ("dead", True):
                    site.plant.dead.add("io-1")
                case ("dead", False):
                    site.plant.dead.clear()
                case ("reply_lost", lost):
                    site.plant.reply_lost = lost
                case ("poll",):
                    await site.poll()
                case ("kill",):
                    await site.kill()
                    await site.up()
                case ("drop",):
                    await asyncio.sleep(SETTLE)
                    if site.plant.dead or site.arbiter._table.by_name["a"].error:
                        continue  # an unread change cannot be taken into account
                    count = len(site.plant.edges)
                    site.plant.move(RELAY, False)
                    if len(site.plant.edges) > count:
                        excused[count] = True
                    await site.poll()
            await asyncio.sleep(0.01)
        await asyncio.sleep(700)
        check(site.plant.edges, excused)

    virtual(test, SPEC)


def check(edges, excused):
    starts: list[float] = []
    last = None
    for number, (at, _, value) in enumerate(edges):
        if last is not None and not excused[number]:
            shortest = SPEC.min_off if value else SPEC.min_on
            assert at - last >= shortest - 1e-6, (number, edges)
        if value:
            starts.append(at)
            recent = [start for start in starts if start > at - 3600 + 1e-6]
            assert excused[number] or len(recent) <= SPEC.max_starts_per_hour, (number, edges)
        last = at


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("kept", [False, True], ids=["coalesced facts lost", "coalesced facts kept"])
@pytest.mark.parametrize("reachable", [True, False], ids=["device answers", "device dead at the start"])
@pytest.mark.parametrize("spec", [ActuatorSpec("a", RELAY), ActuatorSpec("a", RELAY, boot_state="recompute")])
def test_a_crash_anywhere_never_leads_to_two_actuations(virtual, spec, reachable, kept):
    ends = []
    for moment in range(60):

        async def test(site, moment=moment):
            await site.up()
            count = 0

            def hook(where):
                nonlocal count
                count += 1
                if count == moment:
                    raise Crash(where)

            for place in (site.ledger, site.memory, site.plant):
                place.hook = hook
            command = site.command("a", "on", ttl_ms=60_000, hold_ms=600_000)
            with contextlib.suppress(Crash):
                await site.arbiter.submit(command)
            for place in (site.ledger, site.memory, site.plant):
                place.hook = lambda where: None
            crashed = moment and count >= moment
            if kept:
                site.memory.durable.update(site.memory)
            await site.kill()
            written = len(site.plant.writes)
            if not reachable:
                site.plant.dead.add("io-1")
            await site.up()
            again = asyncio.create_task(site.arbiter.submit(command))
            await asyncio.sleep(20)
            site.plant.dead.clear()
            await site.poll()
            await asyncio.sleep(20)
            outcome = await again
            if written:
                assert len(site.plant.writes) == written == 1, site.plant.writes
            assert sum(1 for _, _, value in site.plant.writes if value) <= 1, site.plant.writes
            assert outcome.state in ("verified", "applied", "unknown", "failed")
            await asyncio.sleep(700)
            assert not site.plant.outputs.get(RELAY), "an override must end"
            ends.append((crashed, str(outcome.state)))

        virtual(test, spec)
    assert {state for crashed, state in ends if crashed} >= {"unknown"}
    assert not ends[-1][0], "every moment was tried"
