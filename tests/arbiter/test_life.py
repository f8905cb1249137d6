"""What an output does when the agent, the box or the device goes and comes back."""

from __future__ import annotations

import asyncio

import pytest

from agent.arbiter import ActuatorSpec, Arbiter
from agent.errors import Rejected, StorageError
from agent.model import OutcomeState, Point, Quality

ACCEPTED = OutcomeState.ACCEPTED
RELAY = "io-1.relay1"
LAMP = ActuatorSpec("km1", RELAY, safe_state="hold", boot_state="recompute", stop_state="hold")
VALVE = ActuatorSpec("ev1", RELAY, safe_state="off", boot_state="off", stop_state="off")


def edges(site):
    return [value for _, _, value in site.plant.edges]


# -- wishes ------------------------------------------------------------------------------------------------------


def test_the_lowest_number_wins(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "schedule")
        await asyncio.sleep(1)
        site.arbiter.wish("km1", 2, "off", "burst")
        await asyncio.sleep(1)
        site.arbiter.wish("km1", 13, "on", "fete")
        await asyncio.sleep(1)
        site.arbiter.relinquish("km1", 2)
        await asyncio.sleep(1)
        assert site.line("km1")["cause"] == "fete"
        site.arbiter.relinquish("km1", 13)
        site.arbiter.relinquish("km1", 15)
        await asyncio.sleep(1)
        assert edges(site) == [True, False, True, False]
        assert [(e.detail["priority"], e.detail["cause"]) for e in site.ledger.events] == [
            (15, "schedule"),
            (2, "burst"),
            (13, "fete"),
            (16, "nobody wants it"),
        ]

    virtual(test, LAMP)


@pytest.mark.parametrize("priority", [0, 6, 8, 16])
def test_rules_have_their_own_priorities(virtual, priority):
    async def test(site):
        await site.up()
        with pytest.raises(Rejected):
            site.arbiter.wish("km1", priority, "on", "rule")

    virtual(test, LAMP)


def test_minimum_times_hold_back_a_rule_but_not_an_interlock(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("burner", 15, "on", "heat")
        await asyncio.sleep(10)
        site.arbiter.wish("burner", 15, "off", "heat")
        await asyncio.sleep(10)
        assert site.line("burner")["state"].startswith("waiting min_on until")
        assert edges(site) == [True]
        site.arbiter.wish("burner", 2, "off", "flow limit")
        await asyncio.sleep(1)
        assert edges(site) == [True, False]
        site.arbiter.relinquish("burner", 2)
        site.arbiter.wish("burner", 15, "on", "heat")
        await asyncio.sleep(359)
        assert edges(site) == [True, False]
        await asyncio.sleep(3)
        assert edges(site) == [True, False, True]

    virtual(test, ActuatorSpec("burner", RELAY, min_on=240, min_off=360))


@pytest.mark.parametrize(("refresh", "restarts"), [(None, False), (60.0, False), (None, True)])
def test_a_false_reading_of_what_is_wanted_is_not_written_before_min_off_is_over(virtual, refresh, restarts):
    """A reading says on, the output is off; to write what is read would be the start that min_off forbids."""

    async def test(site):
        await site.up()
        site.arbiter.wish("burner", 15, "on", "heat")
        await asyncio.sleep(300)
        site.arbiter.wish("burner", 2, "off", "flow sensor lost")
        await asyncio.sleep(1)
        site.arbiter.relinquish("burner", 2)
        await asyncio.sleep(30)
        site.arbiter.observe([site.plant.reading(RELAY, site.clock.now())._replace(value=True)])
        await asyncio.sleep(1)
        if restarts:
            await site.kill()
            site.plant.dead = {"io-1"}
            await site.up()
            site.plant.dead = set()
            site.arbiter.wish("burner", 15, "on", "heat")
        await asyncio.sleep(100)
        assert edges(site) == [True, False]
        await site.poll()
        await asyncio.sleep(400)
        _started, stopped, again = (at for at, _, _ in site.plant.edges)
        assert again - stopped >= 360 and site.plant.outputs[RELAY] is True

    virtual(test, ActuatorSpec("burner", RELAY, min_on=240, min_off=360, refresh=refresh, stop_state="hold"))


def test_a_false_reading_of_off_does_not_switch_off_before_min_on_is_over(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("burner", 15, "on", "heat")
        await asyncio.sleep(30)
        site.arbiter.wish("burner", 15, "off", "heat")
        site.arbiter.observe([site.plant.reading(RELAY, site.clock.now())._replace(value=False)])
        await asyncio.sleep(150)
        assert edges(site) == [True]
        await asyncio.sleep(100)
        assert edges(site) == [True, False] and site.plant.edges[1][0] - site.plant.edges[0][0] >= 240

    virtual(test, ActuatorSpec("burner", RELAY, min_on=240, min_off=360))


@pytest.mark.parametrize(("restarts", "refused"), [(False, True), (True, True), (False, False)])
def test_a_fall_that_only_the_feedback_shows_waits_for_min_off_too(virtual, restarts, refused):
    """The module lost its power; the contact is read, the relay is not: it was refused before, or is silent once."""

    async def test(site):
        site.plant.follows = {"io-1.di1": RELAY}
        await site.up()
        site.arbiter.wish("km1", 15, "on", "dusk")
        await asyncio.sleep(300)
        await site.poll()
        if restarts:
            await site.kill()
            site.plant.dead = {"io-1"}
            await site.up()
            site.plant.dead = set()
        site.plant.move(RELAY, False)
        fell = site.clock.monotonic()
        now = site.clock.now()
        contact = site.plant.reading("io-1.di1", now)
        relay = site.plant.reading(RELAY, now)._replace(value=None, quality=Quality.BAD)
        site.arbiter.observe([contact, relay] if refused else [contact])
        site.arbiter.wish("km1", 15, "on", "dusk")
        await asyncio.sleep(100)
        assert edges(site) == [True, False] and site.line("km1")["state"].startswith("waiting min_off until")
        await asyncio.sleep(100)
        assert edges(site) == [True, False, True] and site.plant.edges[2][0] - fell >= 120

    virtual(test, ActuatorSpec("km1", RELAY, feedback="io-1.di1", min_on=120, min_off=120))


def test_an_answer_that_is_late_does_not_hide_that_the_output_went_off(virtual):
    """The write of off is obeyed and not acknowledged; then the answer to the poll before comes, and the contact's."""

    async def test(site):
        site.plant.follows = {"io-1.di1": RELAY}
        await site.up()
        site.arbiter.wish("km1", 15, "on", "dusk")
        await asyncio.sleep(300)
        await site.poll()
        site.plant.reply_lost = True
        site.arbiter.wish("km1", 15, "off", "fault")
        await asyncio.sleep(0.5)
        site.plant.reply_lost = False
        went = site.plant.edges[1][0]
        late = site.plant.reading(RELAY, site.clock.now())._replace(value=True)
        site.arbiter.observe([late, site.plant.reading("io-1.di1", site.clock.now())])
        site.arbiter.wish("km1", 15, "on", "dusk")
        await asyncio.sleep(100)
        assert edges(site) == [True, False]
        await asyncio.sleep(100)
        assert edges(site) == [True, False, True] and site.plant.edges[2][0] - went >= 120

    virtual(test, ActuatorSpec("km1", RELAY, feedback="io-1.di1", min_on=120, min_off=120))


def test_starts_an_hour(virtual):
    async def test(site):
        await site.up()
        for n in range(20):
            site.arbiter.wish("km1", 15, n % 2 == 0, "restless")
            await asyncio.sleep(60)
        starts = [at for at, _, value in site.plant.edges if value]
        assert len(starts) == 4
        site.arbiter.wish("km1", 15, True, "restless")
        assert site.line("km1")["value"] is False
        await asyncio.sleep(1)
        assert "max_starts_per_hour" in site.line("km1")["state"]
        await asyncio.sleep(3600)
        starts = [at for at, _, value in site.plant.edges if value]
        assert starts[4] - starts[0] >= 3600

    virtual(test, ActuatorSpec("km1", RELAY, max_starts_per_hour=4))


def test_max_on_forces_off_until_the_wish_has_been_off(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("ev1", 15, "on", "hours")
        await asyncio.sleep(3599)
        assert edges(site) == [True]
        await asyncio.sleep(5000)
        assert edges(site) == [True, False]
        assert site.ledger.codes("alarm") == ["max_on"]
        assert (site.line("ev1")["wanted"], site.line("ev1")["priority"]) == (False, 6)
        site.arbiter.wish("ev1", 15, "off", "hours")
        await asyncio.sleep(1)
        site.arbiter.wish("ev1", 15, "on", "hours")
        await asyncio.sleep(1)
        assert edges(site) == [True, False, True]
        assert site.ledger.codes("cleared") == ["max_on"]

    virtual(test, ActuatorSpec("ev1", RELAY, max_on=3600))


@pytest.mark.parametrize(("obeys", "restarts"), [(False, False), (False, True), (True, False)])
def test_max_on_counts_on_over_a_write_that_was_not_acknowledged(virtual, obeys, restarts):
    """A module refuses to switch off, and to be read: it may be on all the time. Or it goes on, and does not say so."""

    async def test(site):
        await site.up()
        if obeys:
            site.plant.reply_lost = True
        site.arbiter.wish("ev1", 15, "on", "hours")
        await asyncio.sleep(1000)
        site.plant.reply_lost, site.plant.dead = False, set() if obeys else {"io-1"}
        site.arbiter.wish("ev1", 15, "on" if obeys else "off", "hours")
        await asyncio.sleep(100)
        if restarts:
            await site.kill()
            await site.up()
        site.plant.dead = set()
        site.arbiter.wish("ev1", 15, "on", "hours")
        await asyncio.sleep(3600)
        assert edges(site) == [True, False] and site.ledger.codes("alarm") == ["max_on"]
        assert 3600 <= site.plant.edges[1][0] - site.plant.edges[0][0] <= 3601

    virtual(test, ActuatorSpec("ev1", RELAY, max_on=3600))


def test_a_level(virtual):
    async def test(site):
        site.plant.outputs["dali.level"] = 40
        await site.up()
        site.arbiter.wish("dim", 15, 50, "dimming")
        assert (await site.send("dim", 80)).state == "verified"
        await site.send("dim", None)
        await asyncio.sleep(1)
        assert site.plant.outputs["dali.level"] == 50
        site.arbiter.relinquish("dim", 15)
        await asyncio.sleep(1)
        assert site.plant.outputs["dali.level"] == 50

    dim = ActuatorSpec("dim", "dali.level", "level", safe_state="hold")
    virtual(test, dim, points={"dali.level": Point("dali.level", "dali", "%", writable=True, low=0, high=100)})


def test_a_level_so_low_that_it_is_nearly_off_goes_off(virtual):
    async def test(site):
        await site.up()
        assert (await site.send("dim", 0.5, hold_ms=60_000)).state == "verified"
        await asyncio.sleep(61)
        assert site.plant.outputs["dali.level"] == 0
        site.arbiter.wish("dim", 15, 0.4, "dimming")
        await asyncio.sleep(1)
        assert site.plant.outputs["dali.level"] == 0.4
        site.plant.outputs["dali.level"] = 0.6  # as near as the device shows it
        site.arbiter.relinquish("dim", 15)
        await asyncio.sleep(20)
        assert site.plant.outputs["dali.level"] == 0
        site.plant.outputs["dali.level"] = 0.1
        await asyncio.sleep(600)
        assert (site.plant.outputs["dali.level"], site.ledger.codes("alarm")) == (0.1, [])

    dim = ActuatorSpec("dim", "dali.level", "level", safe_state=0, boot_state=0)
    virtual(test, dim, points={"dali.level": Point("dali.level", "dali", "%", writable=True, low=0, high=100)})


# -- restarts ----------------------------------------------------------------------------------------------------


def test_an_override_survives_a_kill_without_an_edge_and_ends_in_time(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on", hold_ms=600_000)
        await site.kill()
        await asyncio.sleep(100)
        await site.up()
        await asyncio.sleep(100)
        assert (edges(site), len(site.plant.writes)) == ([True], 1)
        assert site.line("km1")["priority"] == 8
        await asyncio.sleep(410)
        assert edges(site) == [True, False]

    virtual(test, LAMP)


def test_an_override_that_ended_meanwhile_ends_at_the_start(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on", hold_ms=60_000)
        await site.kill()
        await asyncio.sleep(100)
        await site.up()
        await asyncio.sleep(1)
        assert edges(site) == [True, False]

    virtual(test, LAMP)


@pytest.mark.parametrize("boot", ["boot-1", "boot-2"])
@pytest.mark.parametrize("again", [1, 2], ids=["one restart", "and another before the rule speaks"])
def test_an_override_that_ended_meanwhile_leaves_it_to_the_rule_below(virtual, again, boot):
    """Off is only for an output without a wish: a lamp that its control held would stay dark for its min_off."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await site.send("km1", "on", hold_ms=60_000)
        await site.kill()
        site.clock.trusted = site.clock.boot == boot  # it is unknown how long the box was off
        site.clock.boot = boot
        await asyncio.sleep(100)
        for _ in range(again):
            await site.up()
            await asyncio.sleep(3)
            assert edges(site) == [True]
            await site.kill()
        await site.up()
        site.arbiter.wish("km1", 15, "off", "day")
        await asyncio.sleep(310)
        assert edges(site) == [True, False]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=120, safe_state="hold", boot_state="recompute"))


@pytest.mark.parametrize("how", ["ends", "is released"])
@pytest.mark.parametrize("again", [0, 1], ids=["at once", "after another restart"])
def test_an_override_that_ends_before_its_rule_has_spoken_leaves_it_to_the_rule(virtual, how, again):
    """In the first seconds after a start no rule has: off would be for want of a word."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await site.send("km1", "on", hold_ms=60_000)
        await site.kill()
        for _ in range(again):
            await site.up()
            await asyncio.sleep(1)
            await site.kill()
        await asyncio.sleep(58 - 2 * again if how == "ends" else 1)
        await site.up()
        if how == "is released":
            await site.send("km1", None)
        await asyncio.sleep(5)
        assert edges(site) == [True]
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(1)
        site.arbiter.relinquish("km1", 15)
        await asyncio.sleep(1)
        assert edges(site) == [True, False], "nobody wants it any more"

    virtual(test, ActuatorSpec("km1", RELAY, safe_state="hold", boot_state="recompute"))


def test_a_rule_below_an_override_that_wants_nothing_any_more_is_forgotten(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "exercise")
        await site.send("km1", "on", hold_ms=60_000)
        site.arbiter.relinquish("km1", 15)
        await asyncio.sleep(1)
        site.memory.durable.update(site.memory)
        await site.kill()
        await asyncio.sleep(100)
        await site.up()
        await asyncio.sleep(1)
        assert edges(site) == [True, False]

    virtual(test, LAMP)


def test_minimum_times_survive_a_kill(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on")
        await site.kill()
        await site.up()
        site.arbiter.wish("km1", 13, "off", "x")
        await site.send("km1", None)
        await asyncio.sleep(200)
        assert edges(site) == [True]
        await asyncio.sleep(150)
        assert edges(site) == [True, False]

    virtual(test, ActuatorSpec("km1", RELAY, min_on=300, boot_state="recompute"))


@pytest.mark.parametrize(("boot_state", "before", "after"), [
    ("off", True, False), ("on", False, True), ("hold", True, True),
    ("recompute", True, True), ("recompute", False, False),
])  # fmt: skip
def test_boot_states_are_for_a_new_boot_only(virtual, boot_state, before, after):
    async def test(site):
        site.plant.outputs[RELAY] = before
        await site.up()
        await asyncio.sleep(1)
        assert site.plant.outputs[RELAY] is after
        writes = len(site.plant.writes)
        await site.kill()
        await site.up()
        await asyncio.sleep(1)
        assert len(site.plant.writes) == writes
        await site.kill()
        site.plant.outputs[RELAY] = before
        site.clock.boot = "boot-2"
        await site.up()
        await asyncio.sleep(1)
        assert site.plant.outputs[RELAY] is after

    virtual(test, ActuatorSpec("km1", RELAY, safe_state="hold", boot_state=boot_state))


@pytest.mark.parametrize(
    ("trusted", "behind", "stands"), [(True, 0, True), (False, 0, False), (True, 7200, False)],
    ids=["trusted", "untrusted", "gone back"],
)  # fmt: skip
def test_an_override_after_another_boot_needs_a_trusted_clock(virtual, trusted, behind, stands):
    async def test(site):
        await site.up()
        await site.send("km1", "on", hold_ms=600_000)
        await site.kill()
        site.clock.boot, site.clock.trusted = "boot-2", trusted
        site.clock.at = -site.clock.monotonic()  # boottime begins at 0
        site.clock.epoch -= site.clock.at + behind
        await asyncio.sleep(500)
        await site.up()
        await asyncio.sleep(50)
        assert site.plant.outputs[RELAY] is stands
        await asyncio.sleep(60)
        assert site.plant.outputs[RELAY] is False

    virtual(test, LAMP)


def test_an_end_that_waited_for_a_limit_is_not_forgotten_by_a_restart(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on")
        await site.send("km1", None)
        await site.kill()
        await site.up()
        await asyncio.sleep(310)
        assert edges(site) == [True, False]

    virtual(test, ActuatorSpec("km1", RELAY, min_on=300, safe_state="hold", boot_state="recompute"))


def test_what_a_rule_held_stays_until_the_rule_speaks_again(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on", hold_ms=1000)
        await asyncio.sleep(2)
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(1)
        site.memory.durable.update(site.memory)
        await site.kill()
        await site.up()
        await asyncio.sleep(100)
        assert edges(site) == [True, False, True]

    virtual(test, LAMP)


def test_one_command_without_an_agent_leaves_the_boot_state_to_the_agent(virtual):
    async def test(site):
        site.plant.outputs[RELAY] = True
        await site.up(run=False)
        await site.send("io-1.relay2", "on")
        assert site.plant.outputs[RELAY] is True
        await site.up()
        await asyncio.sleep(1)
        assert site.plant.outputs[RELAY] is False

    virtual(test, VALVE)


# -- stop --------------------------------------------------------------------------------------------------------


def test_an_orderly_stop_brings_outputs_to_their_stop_state(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("ev1", 15, "on", "hours")
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(1)
        await site.arbiter.stop()
        assert site.plant.outputs == {RELAY: False, "io-1.relay2": True}
        assert site.ledger.events[-1].detail["cause"] == "stop"
        await asyncio.sleep(100)
        assert site.plant.outputs == {RELAY: False, "io-1.relay2": True}
        assert (await site.send("ev1", "on")).reason == "the agent stops"

    virtual(test, VALVE, ActuatorSpec("km1", "io-1.relay2", safe_state="hold"))


def test_a_dead_device_does_not_hold_up_the_stop(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("ev1", 15, "on", "hours")
        await asyncio.sleep(1)
        real = site.plant.write

        async def write(point, value, until=None):
            if point.startswith("io-2"):
                await asyncio.sleep(3600)
            await real(point, value)

        site.arbiter._writer._write_wire = write
        begin = site.clock.monotonic()
        await site.arbiter.stop()
        assert site.clock.monotonic() - begin <= 3
        assert site.plant.outputs[RELAY] is False

    virtual(test, VALVE, ActuatorSpec("ev2", "io-2.relay1", stop_state="off"))


def slow(site, seconds=60.0):
    """From now on the flash takes so long for all that it is given."""
    site.loop.slow = site.ledger.slow = seconds


def test_a_slow_flash_does_not_hold_up_the_stop(virtual):
    """Neither what was moved just before, nor the audit of the first output that is made safe."""

    async def test(site):
        await site.up()
        for name in ("ev1", "ev2"):
            site.arbiter.wish(name, 15, "on", "hours")
        await asyncio.sleep(1)
        slow(site)
        site.arbiter.wish("ev3", 15, "on", "hours")
        await asyncio.sleep(1)
        begin = site.clock.monotonic()
        assert await site.arbiter.stop() == {}
        assert site.clock.monotonic() - begin <= 3
        assert set(site.plant.outputs.values()) == {False}

    outputs = [("ev1", RELAY), ("ev2", "io-1.relay2"), ("ev3", "io-1.relay4")]
    virtual(test, *(ActuatorSpec(name, output, stop_state="off", min_on=10) for name, output in outputs))


def test_a_slow_flash_does_not_hold_up_a_rule(virtual):
    async def test(site):
        await site.up()
        slow(site)
        site.arbiter.wish("burner", 15, "on", "heating")
        await asyncio.sleep(1)
        site.arbiter.wish("burner", 2, "off", "too hot")
        await asyncio.sleep(1)
        assert edges(site) == [True, False]
        await asyncio.sleep(600)
        assert [event.detail["cause"] for event in site.ledger.events] == ["heating", "too hot"]
        assert site.memory.durable["burner"]["on"] is False

    virtual(test, ActuatorSpec("burner", RELAY, min_on=240, min_off=360))


def test_a_command_that_waits_for_a_slow_flash_does_not_hold_up_a_rule(virtual):
    async def test(site):
        await site.up()
        sent = asyncio.create_task(site.send("burner", "on", ttl_ms=600_000))
        slow(site)
        await asyncio.sleep(90)  # it is accepted, and not noted yet
        assert site.ledger.states(f"c{site.count}") == ["accepted"] and edges(site) == []
        site.arbiter.wish("burner", 2, "off", "too hot")
        outcome = await sent
        assert (outcome.state, outcome.reason) == ("failed", "burner is held off by too hot (priority 2)")
        assert edges(site) == []
        await site.kill()
        await site.up()
        assert site.line("burner")["mode"] == "auto"

    virtual(test, ActuatorSpec("burner", RELAY, min_on=240, min_off=360))


def test_a_command_whose_time_passes_while_the_flash_is_slow_has_expired(virtual):
    async def test(site):
        await site.up()
        slow(site, 5.0)
        outcome = await site.send("burner", "on", ttl_ms=9_000)
        assert (outcome.state, outcome.reason) == ("expired", "its time ran out before its turn came")
        assert edges(site) == []

    virtual(test, ActuatorSpec("burner", RELAY))


def test_after_a_crash_the_safe_state_is_driven_without_a_start(virtual):
    async def test(site):
        site.plant.outputs = {RELAY: True}
        arbiter = Arbiter(
            site.specs, site.points, site.plant.write, site.plant.read, site.ledger, site.memory, site.clock
        )
        await arbiter.stop(crashed=True)
        assert site.plant.outputs == {RELAY: False}

    virtual(test, ActuatorSpec("burner", RELAY, safe_state="off", stop_state="hold"))


def test_a_command_that_waits_at_the_stop_fails(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on")
        waiting = asyncio.create_task(site.send("km1", "off", ttl_ms=3_600_000))
        await asyncio.sleep(1)
        await site.arbiter.stop()
        outcome = await waiting
        assert (outcome.state, outcome.reason) == ("failed", "the agent stops")

    virtual(test, ActuatorSpec("km1", RELAY, min_on=900))


@pytest.mark.parametrize(
    ("takes", "ended", "reads"),
    [(2.0, ("accepted", "applied"), "on"), (20.0, ("accepted", "failed"), "off")],
    ids=["a relay", "a radio node that confirms late"],
)
def test_a_reload_waits_for_what_is_on_the_wire(virtual, takes, ended, reads):
    """Another arbiter takes what has no end for left by a crash: it must find none that is still under way."""

    async def test(site):
        await site.up()
        site.plant.hang = takes
        under_way = asyncio.create_task(site.send("km1", "on", hold_ms=60_000, id="c1"))
        await asyncio.sleep(1)
        began = site.clock.monotonic()
        site.tasks[0].cancel()
        await site.arbiter.finish()
        assert site.clock.monotonic() - began <= 3 and under_way.done()
        site.plant.hang = 0.0
        await site.up()
        await asyncio.sleep(30)
        assert tuple(site.ledger.states("c1")) == ended
        assert site.plant.outputs.get(RELAY, False) is (reads == "on")

    virtual(test, LAMP)


def test_a_reload_while_it_starts_leaves_no_command_waiting(virtual):
    """Commands wait until the start has looked at the outputs, which it does not live to see."""

    async def test(site):
        site.plant.hang = 1.0
        starting = asyncio.create_task(site.up())
        await asyncio.sleep(0.1)
        waits = asyncio.create_task(site.send("km1", "on", id="c1"))
        await asyncio.sleep(0.1)
        starting.cancel()
        async with asyncio.timeout(5):
            await site.arbiter.finish()
            outcome = await waits
        assert (outcome.state, outcome.reason) == ("rejected", "the agent stops")
        assert not site.plant.writes

    virtual(test, LAMP)


def test_a_reload_does_not_wait_for_commands_that_come_meanwhile(virtual):
    """They are refused before their acceptance is recorded, and no control moves anything in between."""

    async def test(site):
        await site.up()
        site.plant.hang = 2.0
        sent = [asyncio.create_task(site.send("km1", "on", hold_ms=60_000, id="first"))]
        await asyncio.sleep(1)
        site.ledger.slow = 0.5

        async def flood():
            while True:
                sent.append(asyncio.create_task(site.send("km1", "off")))
                await asyncio.sleep(0.25)

        flooding = asyncio.create_task(flood())
        began = site.clock.monotonic()
        site.tasks[0].cancel()
        async with asyncio.timeout(60):
            await site.arbiter.finish()
        assert site.clock.monotonic() - began <= 5
        assert sent[0].done() and not sent[-1].done()
        flooding.cancel()
        await asyncio.sleep(2)
        assert [one.command for one in site.ledger.history if one.state == "accepted"] == ["first"]

    virtual(test, LAMP)


def test_a_release_that_comes_during_a_reload_is_refused(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on", hold_ms=60_000)
        site.tasks[0].cancel()
        await site.arbiter.finish()
        outcome = await site.send("km1", None)
        assert (outcome.state, outcome.reason) == ("rejected", "the agent stops")

    virtual(test, LAMP)


# -- devices -----------------------------------------------------------------------------------------------------


def test_an_output_that_falls_off_is_asserted_once_more_and_then_alarmed(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(10)
        await site.poll()
        site.plant.move(RELAY, False)  # the module's watchdog
        await site.poll()
        await asyncio.sleep(1)
        assert edges(site) == [True, False, True]
        assert site.ledger.codes("alarm") == []
        await asyncio.sleep(5)
        site.plant.move(RELAY, False)
        for _ in range(5):
            await asyncio.sleep(5)
            await site.poll()
        assert edges(site) == [True, False, True, False]
        assert site.ledger.codes("alarm") == ["output_mismatch"]
        site.plant.move(RELAY, True)
        await site.poll()
        await asyncio.sleep(1)
        assert site.ledger.codes("cleared") == ["output_mismatch"]

    virtual(test, ActuatorSpec("km1", RELAY, output_watchdog=30))


def test_a_contactor_that_does_not_follow_its_coil_is_written_once_more_and_then_alarmed(virtual):
    async def test(site):
        site.plant.follows["io-1.di1"] = "contactor"
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        for _ in range(60):
            await asyncio.sleep(1)
            await site.poll()  # the coil reads on each time: that alone settles nothing
        assert [(round(at - site.plant.writes[0][0]), value) for at, _, value in site.plant.writes] == [
            (0, True), (3, True),
        ]  # fmt: skip
        (alarm,) = (event for event in site.ledger.events if event.kind == "alarm")
        assert (alarm.code, alarm.detail) == ("output_mismatch", {"wanted": True, "output": True, "feedback": False})
        site.plant.outputs["contactor"] = True
        await site.poll()
        await asyncio.sleep(1)
        assert site.ledger.codes("cleared") == ["output_mismatch"] and len(site.plant.writes) == 2

    virtual(test, ActuatorSpec("km1", RELAY, feedback="io-1.di1", min_on=900, min_off=900))


def test_what_fell_off_comes_back_after_min_off(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(10)
        site.plant.move(RELAY, False)
        await site.poll()
        await asyncio.sleep(50)
        assert edges(site) == [True, False]
        await asyncio.sleep(12)
        assert edges(site) == [True, False, True]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=60))


async def on_again_unanswered(site):
    """It is on, its module falls silent, and "on" is written once more."""
    await site.up()
    site.arbiter.wish("km1", 15, "on", "night")
    await asyncio.sleep(10)
    await site.poll()
    site.plant.dead.add("io-1")
    await site.send("km1", "on")


def test_an_output_that_may_have_fallen_during_a_restart_is_not_written_on_unread(virtual):
    """It was on, and "on" once more was not acknowledged: the first answer of its module must not light a hot lamp."""

    async def test(site):
        await on_again_unanswered(site)
        site.plant.move(RELAY, False)
        site.plant.dead.clear()
        await asyncio.sleep(50)
        assert edges(site) == [True, False]
        await site.poll()  # now it is seen
        await asyncio.sleep(110)
        assert edges(site) == [True, False]
        await asyncio.sleep(15)
        assert edges(site) == [True, False, True]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=120))


def test_what_can_be_read_no_more_is_written_on_after_min_off(virtual):
    async def test(site):
        await on_again_unanswered(site)
        site.plant.dead.clear()
        await asyncio.sleep(110)
        assert len(site.plant.writes) == 2
        await asyncio.sleep(15)
        assert [value for _, _, value in site.plant.writes] == [True, True, True]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=120))


async def restart_unread(site):
    """A kill, and a start that its module does not answer."""
    await site.kill()
    site.plant.dead.add("io-1")
    await site.up()
    site.plant.dead.clear()


async def move_unremembered(site, value):
    """A rule moves it while the flash is full."""

    def full(where):
        raise StorageError("no space left on device")

    site.memory.hook = full
    site.arbiter.wish("km1", 15, value, "heat")
    await asyncio.sleep(10)
    site.memory.hook = lambda where: None


@pytest.mark.parametrize("acknowledged", [True, False])
def test_what_is_switched_off_unread_after_a_restart_was_perhaps_on(virtual, acknowledged):
    """It went on, and that was not saved: "off" is a change, though it is the saved state."""

    async def test(site):
        await site.up()
        await site.poll()
        await move_unremembered(site, "on")
        await restart_unread(site)
        site.plant.reply_lost = not acknowledged
        site.arbiter.wish("km1", 15, "off", "heat")
        await asyncio.sleep(4)
        site.plant.reply_lost = False
        await site.poll()
        site.arbiter.wish("km1", 15, "on", "heat")
        await asyncio.sleep(170)
        assert edges(site) == [True, False]
        await asyncio.sleep(15)
        assert edges(site) == [True, False, True]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=180))


@pytest.mark.parametrize("acknowledged", [True, False])
def test_what_is_switched_on_unread_after_a_restart_was_perhaps_off(virtual, acknowledged):
    """It went off, and that was not saved: "on" is a start, though "on" is the saved state."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "heat")
        await asyncio.sleep(4000)
        await move_unremembered(site, "off")
        await restart_unread(site)
        site.plant.reply_lost = not acknowledged
        site.arbiter.wish("km1", 15, "on", "heat")
        await asyncio.sleep(4)
        site.plant.reply_lost = False
        await site.poll()
        site.arbiter.wish("km1", 15, "off", "heat")
        await asyncio.sleep(170)
        assert edges(site) == [True, False, True]
        await asyncio.sleep(15)
        site.arbiter.wish("km1", 15, "on", "heat")
        await asyncio.sleep(3400)
        assert edges(site) == [True, False, True, False]
        await asyncio.sleep(30)
        assert edges(site) == [True, False, True, False, True]

    virtual(test, ActuatorSpec("km1", RELAY, min_on=180, max_starts_per_hour=1))


def test_max_on_counts_on_over_a_start_that_could_not_read(virtual):
    """It may have been on all the time, though it was written on once more."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "heat")
        await asyncio.sleep(1000)
        await restart_unread(site)
        site.arbiter.wish("km1", 15, "on", "heat")
        await asyncio.sleep(3600)
        assert [value for _, _, value in site.plant.writes] == [True, True, False]
        assert 3600 <= site.plant.edges[1][0] - site.plant.edges[0][0] <= 3601

    virtual(test, ActuatorSpec("km1", RELAY, max_on=3600))


@pytest.mark.parametrize(("safe", "boot"), [("off", "off"), ("hold", "recompute")])
def test_an_output_that_no_control_moves_any_more_is_released(virtual, safe, boot):
    """Its service left the site file while it was on: without a control, a pump must not run on for ever."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "filling")
        await asyncio.sleep(10)
        await site.poll()
        await site.kill()
        await site.up()
        site.arbiter.release_unnamed({"km1"})
        await asyncio.sleep(100)
        assert edges(site) == [True], "its control has not entered its wish yet"
        site.arbiter.release_unnamed({"km2"})
        await asyncio.sleep(1)
        assert edges(site) == [True, False] and site.line("km1")["priority"] == 16
        site.arbiter.wish("km1", 15, "on", "filling")
        await asyncio.sleep(1)
        assert edges(site) == [True, False, True]

    virtual(test, ActuatorSpec("km1", RELAY, safe_state=safe, boot_state=boot))


def test_a_command_holds_an_output_that_no_control_moves_any_more_until_its_end(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "off", "full enough")
        await asyncio.sleep(10)
        await site.send("km1", "on", hold_ms=600_000)
        await site.kill()
        await site.up()
        site.arbiter.release_unnamed(())
        await asyncio.sleep(500)
        assert edges(site)[-1] is True and site.line("km1")["priority"] == 8
        await asyncio.sleep(200)
        assert edges(site)[-1] is False and site.line("km1")["priority"] == 16

    virtual(test, ActuatorSpec("km1", RELAY, safe_state="off", boot_state="off"))


async def unread(site, seconds):
    """It is polled every ten seconds, and its module does not answer: what is written does not come either."""
    site.plant.dead.add("io-1")
    for _ in range(round(seconds / 10)):
        await asyncio.sleep(10)
        await site.poll()
    site.plant.dead.clear()


@pytest.mark.parametrize("lost", ["over a restart", "over a write", "over a refresh"])
def test_what_may_have_fallen_until_its_last_failed_reading_is_not_written_on_unseen(virtual, lost):
    """Its module was without power, and is back: the first thing that it hears is no "on"."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(10)
        await site.poll()
        if lost == "over a restart":
            await site.kill()
            site.plant.dead.add("io-1")
            await site.up()
            site.arbiter.wish("km1", 15, "on", "night")
        if lost == "over a write":
            site.plant.dead.add("io-1")
            await site.send("km1", "on")
        await unread(site, 290)
        site.plant.move(RELAY, False)
        await asyncio.sleep(110)
        assert edges(site) == [True, False]
        await asyncio.sleep(200)  # it is not read
        assert edges(site) == [True, False, True]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=120, refresh=100 if lost == "over a refresh" else None))


def test_one_reading_that_fails_does_not_delay_a_refresh(virtual):
    """The next one is good: the device must not drop the output because a line is noisy."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(50)
        site.plant.unreadable = {RELAY}
        await site.poll()
        site.plant.unreadable = set()
        await asyncio.sleep(10)
        await site.poll()
        await asyncio.sleep(45)
        assert len(site.plant.writes) == 2 and edges(site) == [True]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=600, refresh=100))


@pytest.mark.parametrize(("ever", "longest"), [(True, 3600 + 120 + 60), (False, 120 + 60)])
def test_what_cannot_be_read_for_long_is_written_on_all_the_same(virtual, ever, longest):
    """Its module takes writes, and does not tell what they made: for ever dark would be worse than once too early."""

    async def test(site):
        site.plant.unreadable = set() if ever else {RELAY}
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(10)
        site.plant.unreadable = {RELAY}
        site.plant.move(RELAY, False)
        await restart_unread(site)
        site.arbiter.wish("km1", 15, "on", "night")
        begun = site.clock.monotonic()
        while len(site.plant.writes) == 1 and site.clock.monotonic() - begun < 7200:
            await asyncio.sleep(10)
            await site.poll()
        took = site.clock.monotonic() - begun
        assert 110 <= took <= longest and (took > 3600) is ever

    virtual(test, ActuatorSpec("km1", RELAY, min_off=120))


@pytest.mark.parametrize("tried", [True, False])
def test_what_may_have_fallen_before_a_restart_is_not_written_on_unseen(virtual, tried):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(10)
        await site.poll()
        if tried:
            site.plant.dead.add("io-1")
            await site.send("km1", "on")
        site.plant.move(RELAY, False)
        await restart_unread(site)
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(100)
        assert edges(site) == [True, False]
        await asyncio.sleep(25)  # it is not read
        assert edges(site) == [True, False, True]

    virtual(test, ActuatorSpec("km1", RELAY, min_off=120))


def test_what_is_still_on_after_a_restart_goes_on_at_its_first_reading(virtual):
    """Nothing is written, and nothing counts."""

    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(200)
        await restart_unread(site)
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(10)
        await site.poll()
        assert site.line("km1")["state"] == "steady" and len(site.plant.writes) == 1
        site.arbiter.wish("km1", 15, "off", "night")
        await asyncio.sleep(1)
        assert edges(site) == [True, False]

    virtual(test, ActuatorSpec("km1", RELAY, min_on=120, min_off=120))


def test_a_wish_outlives_a_dead_device(virtual):
    async def test(site):
        await site.up()
        site.plant.dead.add("io-1")
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(600)
        tries = len(site.plant.writes)
        assert 8 <= tries <= 16  # 5, 10, 20, 40, 60, 60 s …
        assert site.line("km1")["state"] == "failed: io-1 does not answer"
        site.plant.dead.clear()
        await site.poll()
        await asyncio.sleep(0.1)
        assert edges(site) == [True]
        assert site.line("km1")["state"] == "steady"

    virtual(test, ActuatorSpec("km1", RELAY, min_on=900, min_off=900))


def test_bad_readings_say_nothing(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "night")
        await asyncio.sleep(10)
        site.plant.dead.add("io-1")
        await site.poll()
        await asyncio.sleep(10)
        assert len(site.plant.writes) == 1

    virtual(test, LAMP)


def test_nothing_is_written_before_the_first_wish(virtual):
    async def test(site):
        site.plant.outputs[RELAY] = True
        await site.up()
        await asyncio.sleep(1000)
        await site.poll()
        site.plant.outputs[RELAY] = False
        await site.poll()
        await asyncio.sleep(1000)
        assert not site.plant.writes

    virtual(test, LAMP)


def test_a_valve_moves_for_its_travel(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("ev1", 15, "on", "hours")
        await asyncio.sleep(1)
        assert site.line("ev1")["state"] == "moving"
        await asyncio.sleep(20)
        assert site.line("ev1")["state"] == "steady"

    virtual(test, ActuatorSpec("ev1", RELAY, travel=20))


def test_no_sign_of_life_is_overdue_while_nothing_happens(virtual):
    async def test(site):
        await site.up()
        for _ in range(100):
            await asyncio.sleep(7)
            assert site.arbiter.due() > site.clock.monotonic()

    virtual(test, LAMP)


def test_a_command_left_open_that_the_start_could_not_read_ends_when_it_can(virtual):
    async def test(site):
        await site.up()
        await site.send("km1", "on")
        site.ledger._keep(site.arbiter._commands._outcome(site.command("km1", "on", id="left"), ACCEPTED, ""))
        await site.kill()
        readable = False

        def hook(where):
            if where == "unfinished" and not readable:
                raise StorageError("disk I/O error")

        site.ledger.hook = hook
        await asyncio.sleep(1)
        await site.up()
        own = asyncio.create_task(site.send("km1", "off", id="own", ttl_ms=60_000))
        await asyncio.sleep(30)
        assert site.ledger.states("left") == ["accepted"]
        readable = True
        await asyncio.sleep(11)
        assert site.ledger.states("left") == ["accepted", "unknown"]
        assert site.ledger.states("own") == ["accepted"], "it waits for min_on, without a crash"
        await own
        assert site.ledger.states("own")[-1] == "verified"

    virtual(test, ActuatorSpec("km1", RELAY, min_on=50, safe_state="hold", boot_state="recompute"))


def test_an_attempt_that_the_start_could_not_look_up_is_not_tried_again(virtual):
    """Whether it was carried out is for the output to say."""

    async def test(site):
        await site.up()

        def dark(where):
            if where == "unfinished":
                raise StorageError("disk I/O error")

        site.plant.hang = 1000
        left = asyncio.create_task(site.send("km1", "on"))
        await asyncio.sleep(0.1)
        await site.kill()
        assert left.cancelled() or left.done()
        site.plant.hang = 0
        site.ledger.hook = dark
        await site.up()
        await asyncio.sleep(60)
        assert not edges(site)

    virtual(test, LAMP)


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize(("before", "after"), [("on", "off"), ("off", "on")])
def test_an_override_that_a_later_command_replaced_does_not_come_back(virtual, before, after, answers):
    """Flash has both as they were before the later one was written, cannot be looked up, and that one is over."""

    async def test(site):
        def dark(where):
            if where == "unfinished":
                raise StorageError("disk I/O error")

        await site.up()
        await site.send("km1", before, hold_ms=3_600_000)
        written = len(site.plant.writes)
        outcome = asyncio.create_task(site.send("km1", after, hold_ms=10_000))
        while len(site.plant.writes) == written:
            on_flash = dict(site.memory.durable)
            await asyncio.sleep(0.01)
        assert (await outcome).state == "verified"
        await asyncio.sleep(20)
        moved = edges(site)
        site.plant.dead = set() if answers else {"io-1"}
        await site.kill()
        site.memory.durable = on_flash
        site.ledger.hook = dark
        await site.up()
        await asyncio.sleep(10)
        site.plant.dead = set()
        await site.poll()
        await asyncio.sleep(60)
        assert (edges(site), site.line("km1")["mode"]) == (moved, "auto")

    virtual(test, LAMP)


def test_overrides_that_the_output_no_longer_shows_do_not_come_back(virtual):
    """Flash knows two of three: it has failed since the second was about to be written."""

    async def test(site):
        def dark(where):
            if where == "unfinished":
                raise StorageError("disk I/O error")

        def full(where):
            if where == "keep" and site.plant.outputs.get(RELAY) in (40.0, 60.0):
                raise StorageError("no space")

        await site.up()
        site.memory.hook = full
        for level, lasts in (20.0, 3_600_000), (40.0, 3_600_000), (60.0, 10_000):
            assert (await site.send("fan", level, hold_ms=lasts)).state == "verified"
        assert site.memory.durable["fan"]["attempt"]["value"] == 40.0
        await asyncio.sleep(20)
        await site.kill()
        site.ledger.hook = dark
        moved = edges(site)
        await site.up()
        await asyncio.sleep(60)
        assert (edges(site), site.line("fan")["mode"]) == (moved, "auto")

    virtual(test, ActuatorSpec("fan", RELAY, "level", low=0.0, high=100.0, safe_state=0.0, boot_state=0.0))


def test_a_command_left_open_is_unknown_and_not_repeated(virtual):
    async def test(site):
        await site.up()
        command = site.command("km1", "on", id="c9")
        site.ledger.stored["c9"] = site.arbiter._commands._outcome(command, OutcomeState.ACCEPTED, "")
        await site.kill()
        await site.up()
        await asyncio.sleep(10)
        outcome = site.ledger.stored["c9"]
        assert (outcome.state, outcome.reason) == (
            "unknown",
            "the agent died between acceptance and the wire; the output reads off",
        )
        assert not site.plant.writes

    virtual(test, LAMP)


def test_a_disk_that_refuses_does_not_stop_control(virtual):
    async def test(site):
        await site.up()

        def full(where):
            if where == "keep":
                raise StorageError("no space")

        site.memory.hook = full
        assert (await site.send("km1", "on")).state == "verified"
        site.arbiter.wish("km1", 2, "off", "burst")
        await asyncio.sleep(1)
        assert edges(site) == [True, False]

    virtual(test, ActuatorSpec("km1", RELAY, min_on=60))


def test_a_dead_device_does_not_hold_up_another_or_the_start(virtual):
    async def test(site):
        real = site.plant.read

        async def read(points):
            if points[0].startswith("io-2"):
                await asyncio.sleep(3600)
            return await real(points)

        site.plant.read = read
        begin = site.clock.monotonic()
        await site.up()
        assert site.clock.monotonic() - begin < 2.5
        assert (await site.send("km1", "on")).state == "verified"

    virtual(test, LAMP, ActuatorSpec("ev2", "io-2.relay1"))


def test_a_command_that_comes_during_the_start_is_none_that_a_crash_left(virtual):
    """The broker sends at once when the link is there; the outputs are looked at for up to 2 s then."""

    async def test(site):
        site.arbiter = Arbiter(
            site.specs, site.points, site.plant.write, site.plant.read, site.ledger, site.memory, site.clock
        )
        site.plant.hang = 0.5
        command = asyncio.create_task(site.send("km1", "on", id="early"))
        await asyncio.sleep(0)
        await site.arbiter.start()
        site.tasks.append(asyncio.create_task(site.arbiter.run()))
        await asyncio.sleep(0.6)
        await site.poll()
        assert (await command).state is OutcomeState.VERIFIED
        assert site.ledger.states("early") == ["accepted", "applied", "verified"]

    virtual(test, LAMP)
