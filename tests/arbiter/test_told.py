"""What an output does wrong is told once, and its end once, wherever the process or the box dies in between."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from agent.arbiter import ActuatorSpec, Arbiter
from agent.arbiter.actuator_store import rename

from .conftest import Crash, Site, relay_points

RELAY = "io-1.relay1"
LAMP = ActuatorSpec("km1", RELAY, safe_state="hold", boot_state="recompute", stop_state="hold", max_on=30)
FREE = ActuatorSpec("km1", RELAY, safe_state="hold", boot_state="recompute", stop_state="hold")


class Dies:
    """The process dies at the `at`-th thing that it does on flash, before or after it (0: never)."""

    def __init__(self, site: Site, at: int) -> None:
        self.died = False
        left = count(1)

        def hook(where: str) -> None:
            if not self.died and next(left) == at:
                self.died = True
                raise Crash(where)

        site.memory.hook = site.ledger.hook = hook


async def live(site: Site, seconds: int, wish: str, end=lambda site: None, boot: str = "") -> bool:
    """Polls and wishes go on; a killed process is started again. True if one was killed, and `end` came with that."""
    site.arbiter.wish("km1", 15, wish, "night")
    for _ in range(seconds):
        await asyncio.sleep(1)
        if all(not task.done() for task in site.tasks):
            await site.poll()
            continue
        await site.kill()
        site.clock.boot = boot or site.clock.boot
        end(site)
        await site.up()
        return True
    return False


def mended(site: Site) -> None:
    """The repair leaves the output as it should be."""
    if site.plant.deaf:
        site.plant.deaf.clear()
        site.plant.move(RELAY, True)


def told(site: Site) -> list[tuple[str, str]]:
    return [(event.kind, event.code) for event in site.ledger.events if event.kind in ("alarm", "cleared")]


@pytest.mark.parametrize("boot", ["", "boot-2"], ids=["kill", "power cut"])
@pytest.mark.parametrize("away", [False, True], ids=["goes on", "over meanwhile"])
@pytest.mark.parametrize("code", ["output_mismatch", "max_on"])
def test_an_alarm_is_told_once_and_ends_once_wherever_the_process_dies(virtual, code, away, boot):
    spec, died = (FREE if code == "output_mismatch" else LAMP), True

    async def test(site):
        nonlocal died
        await site.up()
        dies = Dies(site, at)
        if code == "output_mismatch":
            site.plant.deaf.add(RELAY)
        end = mended if away else lambda site: None
        if not await live(site, 45, "on", end, boot) or not away:
            await live(site, 45, "on", boot=boot)
        mended(site)
        wish = "on" if code == "output_mismatch" else "off"
        await live(site, 30, wish, boot=boot)
        await live(site, 30, wish)
        died = dies.died
        expected = [("alarm", code), ("cleared", code)]
        assert told(site) == expected or (away and not told(site)), f"died at {at}"
        assert not site.ledger.raised()

    for at in count(1):  # noqa: B007 (the test above reads it)
        virtual(test, spec)
        if not died:
            break
    assert at > 8  # it died around the alarm and around its end


def test_news_is_not_forgotten_before_it_is_durable(virtual):
    """A reload ends the tasks of the arbiter: what was about to be told is told by the next one."""

    async def test(site):
        await site.up()
        site.plant.deaf.add(RELAY)
        put, stuck = site.ledger.put_event, asyncio.Event()

        async def slow(event):
            if event.kind == "alarm" and not stuck.is_set():
                stuck.set()
                await asyncio.sleep(3600)
            await put(event)

        site.ledger.put_event = site.arbiter._writer._ledger.put_event = slow
        await live(site, 20, "on")
        assert stuck.is_set() and told(site) == []
        for task in site.tasks:
            task.cancel()
        await asyncio.wait(site.tasks)
        site.tasks.clear()
        await site.up()
        await live(site, 20, "on")
        mended(site)
        await live(site, 20, "on")
        assert told(site) == [("alarm", "output_mismatch"), ("cleared", "output_mismatch")]

    virtual(test, FREE)


def test_who_was_cut_off_by_max_on_stays_so_over_a_kill(virtual):
    async def test(site):
        await site.up()
        await live(site, 60, "on")
        assert site.plant.outputs[RELAY] is False
        await site.kill()
        await site.up()
        await live(site, 60, "on")
        assert [value for _, _, value in site.plant.edges] == [True, False]
        await live(site, 5, "off")
        await live(site, 5, "on")
        assert site.plant.outputs[RELAY] is True
        assert told(site) == [("alarm", "max_on"), ("cleared", "max_on")]

    virtual(test, LAMP)


@pytest.mark.parametrize("after", ["the limit is no more", "the output left the file", "it has another name"])
def test_an_alarm_of_what_is_no_more_ends_with_it(virtual, after):
    async def test(site):
        await site.up()
        await live(site, 60, "on")
        await site.kill()
        if after == "the limit is no more":
            site.specs = [FREE]
        elif after == "the output left the file":
            site.specs = []
            site.points = relay_points("io-2.relay1")
        else:
            site.specs = [ActuatorSpec("porch", RELAY, boot_state="recompute", max_on=30)]
            rename(site.memory, {"porch": "km1"})
        await site.up()
        await asyncio.sleep(5)
        subjects = [(event.kind, event.subject) for event in site.ledger.events if event.code == "max_on"]
        assert subjects[:1] == [("alarm", "km1")] and ("cleared", "km1") in subjects[1:]
        assert site.ledger.raised() == ({("max_on", "porch")} if after == "it has another name" else set())
        assert len(subjects) == (3 if after == "it has another name" else 2)

    virtual(test, LAMP)


def test_the_override_that_was_cut_off_ended_while_no_process_ran(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on", hold_ms=100_000)
        await asyncio.sleep(60)
        assert told(site) == [("alarm", "max_on")]
        await site.kill(power=True)
        site.clock.boot, site.clock.trusted = "boot-2", False  # for an unknown time: the override has ended
        await site.up()
        await asyncio.sleep(5)
        assert told(site) == [("alarm", "max_on"), ("cleared", "max_on")]
        assert isinstance(site.arbiter, Arbiter)

    virtual(test, LAMP)


def test_rules_hear_of_an_output_when_it_moves_and_not_of_each_reading(virtual):
    async def test(site: Site) -> None:
        await site.up(run=False)
        heard: list[object] = []
        site.arbiter.told = lambda: heard.append(site.arbiter.outputs()["km1"].value)
        for _ in range(3):
            await site.poll()
        site.plant.move(RELAY, True)
        for _ in range(3):
            await site.poll()
        assert heard == [True]

    virtual(test, FREE)


def test_rules_hear_of_a_pass_that_was_called_for_or_came_due_and_of_no_other(virtual):
    async def test(site: Site) -> None:
        await site.up()
        heard: list[tuple[float, str]] = []
        await asyncio.sleep(1)
        began = site.clock.monotonic()
        site.arbiter.told = lambda: heard.append(
            (round(site.clock.monotonic() - began), site.arbiter.outputs()["km1"].cause)
        )
        await asyncio.sleep(100)
        assert not heard
        await site.send("km1", True, hold_ms=30_000)
        await asyncio.sleep(100)
        assert {at for at, _ in heard} == {100, 130}
        assert heard[-1][1] == "nobody wants it"

    virtual(test, FREE)


@pytest.mark.parametrize("away", [False, True], ids=["goes on", "over meanwhile"])
def test_a_mismatch_that_ended_when_its_output_left_the_file_is_new_when_it_is_back(virtual, away):
    async def test(site):
        points = site.points
        await site.up()
        site.plant.deaf.add(RELAY)
        await live(site, 20, "on")
        assert told(site) == [("alarm", "output_mismatch")]
        await site.kill()
        site.specs, site.points = [], relay_points("io-2.relay1")
        await site.up()
        await asyncio.sleep(5)
        assert told(site) == [("alarm", "output_mismatch"), ("cleared", "output_mismatch")]
        site.memory.flush()
        await site.kill()
        site.specs, site.points = [FREE], points
        if away:
            mended(site)
        await site.up()
        await live(site, 20, "on")
        mended(site)
        await live(site, 20, "on")
        again = [] if away else [("alarm", "output_mismatch"), ("cleared", "output_mismatch")]
        assert told(site)[2:] == again

    virtual(test, FREE)
