"""The life of a command, from its admission to the read-back."""

from __future__ import annotations

import asyncio

import pytest

from agent.arbiter import ActuatorSpec
from agent.model import Kind, Origin, Point, Quality, Reading

KM1 = ActuatorSpec("km1", "io-1.relay1", feedback="io-1.di1", safe_state="hold", boot_state="recompute")
BURNER = ActuatorSpec("burner", "io-1.relay1", boot_state="off", min_on=240, min_off=360, max_starts_per_hour=6)


def test_a_command_is_accepted_applied_and_verified(virtual):
    async def test(site):
        await site.up()
        outcome = await site.send("km1", "on")
        assert (outcome.state, outcome.reason) == ("verified", "io-1.relay1 reads on")
        assert site.ledger.states("c1") == ["accepted", "applied", "verified"]
        assert site.plant.outputs == {"io-1.relay1": True}
        audit = site.ledger.events[0]
        assert (audit.kind, audit.code, audit.subject) == ("audit", "output", "km1")
        assert audit.detail == {"from": False, "to": True, "priority": 8, "cause": "command c1", "by": "mqtt",
                                "origin": "mqtt"}  # fmt: skip
        line = site.line("km1")
        assert (line["value"], line["wanted"], line["priority"], line["cause"]) == (True, True, 8, "command c1")
        assert line["until"].startswith("2026-")

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_the_output_of_an_actuator_is_written_through_it(virtual):
    async def test(site):
        await site.up()
        await site.send("io-1.relay1", 1)
        assert site.line("km1")["priority"] == 8

    virtual(test, KM1)


def test_feedback_is_what_verifies(virtual):
    async def test(site):
        site.plant.follows["io-1.di1"] = "io-1.relay1"
        await site.up()
        assert (await site.send("km1", "on")).reason == "io-1.di1 reads on"
        site.plant.follows.clear()
        outcome = await site.send("km1", "off")
        assert outcome.state == "verified"

    virtual(test, KM1)


def test_a_feedback_that_is_not_read_shows_nothing(virtual):
    """What it read last may be older than the last move of the output."""

    async def test(site):
        await site.up()

        def shown(*reading):
            site.arbiter.observe([Reading("io-1.di1", reading[0], site.clock.now(), *reading[1:])])
            return site.line("km1")["feedback"], site.arbiter.outputs()["km1"].feedback

        for quality in (Quality.BAD, Quality.STALE):
            assert shown(False) == (False, False)
            assert shown(False, quality) == (None, None)

    virtual(test, KM1)


def test_a_contactor_that_does_not_follow_is_a_mismatch_and_one_alarm(virtual):
    async def test(site):
        site.plant.outputs["io-1.di1"] = False
        await site.up()
        outcome = await site.send("km1", "on")
        assert (outcome.state, outcome.reason) == ("mismatch", "io-1.di1 reads off")
        for _ in range(5):
            await asyncio.sleep(10)
            await site.poll()
        assert site.ledger.codes("alarm") == ["output_mismatch"]
        assert len(site.plant.writes) == 1
        site.plant.outputs["io-1.di1"] = True
        await site.poll()
        await site.poll()
        assert site.ledger.codes("cleared") == ["output_mismatch"]

    virtual(test, KM1)


def test_the_same_id_is_carried_out_once(virtual):
    async def test(site):
        await site.up()
        command = site.command("km1", "on")
        first, second = await asyncio.gather(site.arbiter.submit(command), site.arbiter.submit(command))
        third = await site.arbiter.submit(command)
        assert first == second == third
        assert len(site.plant.writes) == 1
        assert site.ledger.states("c1") == ["accepted", "applied", "verified"]

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_a_refused_id_is_refused_again_without_a_new_record(virtual):
    async def test(site):
        await site.up()
        command = site.command("km1", "on", ttl_ms=0)
        assert (await site.arbiter.submit(command)).state == "expired"
        assert (await site.arbiter.submit(command)).state == "expired"
        assert site.ledger.states("c1") == ["expired"]

    virtual(test, KM1)


@pytest.mark.parametrize(
    ("point", "value", "more", "reason"),
    [
        ("km2", "on", {}, 'unknown point "km2"; did you mean "km1"?'),
        ("io-1.di1", "on", {}, "io-1.di1 is read only"),
        ("km1", "maybe", {}, "km1 takes on or off, not 'maybe'"),
        ("km1", 2, {}, "km1 takes on or off, not 2"),
        ("dim1", 130, {}, "130 is out of range: dim1 takes 0 to 100"),
        ("dim1", "on", {}, "dim1 takes a number, not 'on'"),
        ("dim1", float("nan"), {}, "dim1 takes a number, not nan"),
        pytest.param("dim1", 10**400, {}, f"dim1 takes a number, not {10**400}", id="digits"),
        ("far", "on", {}, "far is not driven yet: its output lora.level is on no wire"),
        ("km1", "on", {"hold_ms": 90_000_000}, "an override lasts more than 0 and at most 24 h (hold_ms 86400000)"),
    ],
)
def test_what_must_not_be_is_rejected_with_a_reason(virtual, point, value, more, reason):
    async def test(site):
        site.points["dali-1.level"] = Point("dali-1.level", "dali-1", writable=True, low=0, high=100)
        await site.up()
        outcome = await site.send(point, value, **more)
        assert (outcome.state, outcome.reason) == ("rejected", reason)
        assert site.ledger.states("c1") == ["rejected"]
        assert not site.plant.writes

    dim = ActuatorSpec("dim1", "dali-1.level", "level")
    virtual(test, KM1, dim, ActuatorSpec("far", "lora.level"))


def test_validity(virtual):
    async def test(site):
        await site.up()
        wall = site.clock.now().wall_ms
        assert (await site.send("km1", "on", expires_at=wall - 5000)).reason == "it came 5 s too late"
        assert (await site.send("km1", "on", expires_at=wall + 5000)).state == "verified"
        late = await site.send("km1", "on", issued_at=wall - 65_000, ttl_ms=60_000)
        assert (late.state, late.reason) == ("expired", "it came 5 s too late"), "it waited with the broker"
        assert (await site.send("km1", "on", issued_at=wall - 55_000, ttl_ms=60_000)).state == "verified"
        assert (await site.send("km1", "on", issued_at=wall + 9_000_000, ttl_ms=0)).state == "expired"
        site.clock.trusted = False
        outcome = await site.send("km1", "off", expires_at=wall + 5000)
        assert (outcome.state, outcome.reason) == (
            "rejected",
            "the gateway does not know the time: send ttl_ms in place of expires_at",
        )
        assert (await site.send("km1", "off", ttl_ms=5000, issued_at=wall - 9_000_000)).state == "verified"

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_a_limit_that_outlasts_the_validity_rejects_at_once(virtual):
    async def test(site):
        await site.up()
        assert (await site.send("burner", "on")).state == "verified"
        outcome = await site.send("burner", "off")
        assert (outcome.state, outcome.reason) == ("rejected", "min_on: burner can stop in 4 min")
        assert site.ledger.states("c2") == ["rejected"]

    virtual(test, BURNER)


def test_a_limit_within_the_validity_is_waited_for(virtual):
    async def test(site):
        await site.up()
        await site.send("burner", "on")
        waiting = asyncio.create_task(site.send("burner", "off", ttl_ms=600_000))
        await asyncio.sleep(100)
        assert site.ledger.states("c2") == ["accepted"]
        assert site.line("burner")["state"].startswith("waiting min_on until 20")
        assert (await waiting).state == "verified"
        (on, _, _), (off, _, _) = site.plant.edges
        assert 240 <= off - on < 241

    virtual(test, BURNER)


def test_a_newer_command_takes_the_place_of_one_that_waits(virtual):
    async def test(site):
        await site.up()
        await site.send("burner", "on")
        waiting = asyncio.create_task(site.send("burner", "off", ttl_ms=600_000))
        await asyncio.sleep(1)
        assert (await site.send("burner", "on")).state == "verified"
        assert ((await waiting).state, (await waiting).reason) == ("failed", "superseded by a later command")
        await asyncio.sleep(600)
        assert [value for _, _, value in site.plant.edges] == [True]

    virtual(test, BURNER)


def test_the_modes_of_an_actuator(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "on", "schedule")
        for value, mode, coil in (("off", "off", False), ("on", "manual", True), ("auto", "auto", True)):
            await site.send("km1", value)
            await asyncio.sleep(1)
            assert (site.line("km1")["mode"], site.plant.outputs["io-1.relay1"]) == (mode, coil)
        await site.send("km1", "off")
        site.arbiter.wish("km1", 2, "on", "frost")
        await asyncio.sleep(1)
        assert (site.line("km1")["mode"], site.plant.outputs["io-1.relay1"]) == ("off", True), "off is no lock"

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_an_override_ends_by_itself_and_null_releases_it(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 15, "off", "schedule")
        await site.send("km1", "on", hold_ms=60_000)
        await asyncio.sleep(59)
        assert site.plant.outputs["io-1.relay1"] is True
        await asyncio.sleep(2)
        assert site.plant.outputs["io-1.relay1"] is False
        await site.send("km1", "on")
        outcome = await site.send("km1", None)
        assert (outcome.state, outcome.reason) == ("applied", "released: off by priority 15 (schedule)")
        await asyncio.sleep(1)
        assert site.plant.outputs["io-1.relay1"] is False

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_a_lower_number_refuses_the_command(virtual):
    async def test(site):
        await site.up()
        site.arbiter.wish("km1", 2, False, "frost")
        outcome = await site.send("km1", "on")
        assert (outcome.state, outcome.reason) == ("rejected", "km1 is held off by frost (priority 2)")

    virtual(test, KM1)


def test_a_write_that_fails_leaves_no_override(virtual):
    async def test(site):
        await site.up()
        site.plant.dead.add("io-1")
        outcome = await site.send("km1", "on")
        assert (outcome.state, outcome.reason) == ("failed", "io-1 does not answer")
        site.plant.dead.clear()
        await site.poll()
        await asyncio.sleep(100)
        assert site.plant.outputs.get("io-1.relay1") in (None, False)

    virtual(test, KM1)


def test_a_flood_is_refused_before_flash_and_told_once_a_minute(virtual):
    """One at the box is told of here; one that comes by MQTT is counted by its ids where it comes in."""

    async def test(site):
        await site.up()
        outcomes = [await site.send("nothing", 1, origin=Origin.LOCAL) for _ in range(200)]
        refused = [o for o in outcomes if o.reason.startswith("too many")]
        assert len(refused) >= 175
        assert len(site.ledger.history) == 200 - len(refused)
        assert len(site.ledger.codes("audit")) == 1
        assert not any(o.on_record for o in refused)
        assert (await site.send("km1", "on")).state == "verified"  # not locked out
        await asyncio.sleep(75)
        told = [event.detail["refused"] for event in site.ledger.events if event.code == "commands_refused"]
        assert (len(told), sum(told)) == (2, len(refused))

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_an_index_is_written_once_and_holds_nothing(virtual):
    async def test(site):
        await site.up()
        assert (await site.send("gpio.index", 1200)).state == "applied"
        site.plant.outputs["gpio.index"] = 1250
        await site.poll()
        await asyncio.sleep(8000)
        assert len(site.plant.writes) == 1
        assert (await site.send("gpio.index", None)).state == "rejected"

    virtual(test, points={"gpio.index": Point("gpio.index", "gpio", "L", Kind.COUNTER, True)})


def test_a_writable_point_without_an_actuator_is_a_relay_that_rests_off(virtual):
    async def test(site):
        await site.up()
        assert (await site.send("io-1.relay4", "on", hold_ms=60_000)).state == "verified"
        await asyncio.sleep(61)
        assert site.plant.outputs["io-1.relay4"] is False

    virtual(test)


def test_a_release_behind_a_slow_write_is_on_record_before_it_queues(virtual):
    async def test(site):
        await site.up()
        site.plant.hang = 5.0
        first = asyncio.create_task(site.send("km1", "on", id="a", ttl_ms=60_000))
        await asyncio.sleep(1)
        release = asyncio.create_task(site.send("km1", None, id="b"))
        await asyncio.sleep(0.1)
        assert site.ledger.states("b") == ["accepted"]
        assert [(await task).state for task in (first, release)] == ["applied", "applied"]
        assert (await site.send("km1", None, id="b")).state == "applied"
        assert site.ledger.states("b") == ["accepted", "applied"]

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_a_command_behind_a_slow_write_is_on_record_before_it_queues(virtual):
    """Else twenty commands for a slow device would fill the broker's window and block all others."""

    async def test(site):
        await site.up()
        site.plant.hang = 5.0
        first = asyncio.create_task(site.send("km1", "on", id="a", ttl_ms=60_000))
        await asyncio.sleep(1)
        second = asyncio.create_task(site.send("km1", "off", id="b", ttl_ms=60_000))
        third = asyncio.create_task(site.send("km1", "off", id="c", ttl_ms=2_000))
        await asyncio.sleep(0.1)
        assert site.ledger.states("b") == site.ledger.states("c") == ["accepted"]
        assert [(await task).state for task in (first, third)] == ["applied", "expired"]
        assert (await second).state in ("applied", "verified")  # the wire is too slow to read it back

    virtual(test, ActuatorSpec("km1", "io-1.relay1"))


def test_a_timeout_of_the_driver_is_told_as_its_own(virtual):
    """Only the end of our own time limit says that the agent stops."""

    async def test(site):
        await site.up()

        async def write(point, value, until=None):
            raise TimeoutError("no reply from the modem")

        site.arbiter._writer._write_wire = write
        outcome = await site.send("km1", "on")
        assert (outcome.state, outcome.reason) == ("failed", "io-1.relay1: no reply from the modem")

    virtual(test, KM1)
