"""What protects machines, in a whole agent: minimum times, feedback that does not agree, boot and stop states."""

import time

import pytest


@pytest.mark.slow
def test_limits_hold_for_commands_from_afar_and_from_the_box(site, slave, subscriber, wait_for):
    site.document["actuators"]["pump"] = {
        "output": "m.relay2", "safe_state": "off", "min_on": "3s", "min_off": "2s", "max_starts_per_hour": 2,
    }  # fmt: skip
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    assert site.order("pump", True)[0] == "verified"
    subscriber.send("no", point="pump", value="off", ttl_ms=500)
    subscriber.send("wait", point="pump", value="off", ttl_ms=20_000)
    wait_for(lambda: subscriber.results("no") and subscriber.states("wait") == ["accepted"])
    assert subscriber.results("no")[0]["reason"].startswith("min_on: pump can stop in ")
    assert "waiting min_on" in next(one["state"] for one in site.status()["actuators"] if one["name"] == "pump")
    wait_for(lambda: "verified" in subscriber.states("wait"))
    assert slave.writes == [(1, True), (1, False)]
    on, off = slave.moments
    assert off - on > 2.9, "at the pump, however late anybody hears of it"

    # a technician's command has 10 s of patience, and min_off is 2 s
    assert site.order("pump", True)[0] == "verified"
    assert site.order("pump", False)[0] == "verified"
    state, reason = site.order("pump", True)
    assert (state, reason.startswith("max_starts_per_hour: pump can start in ")) == ("rejected", True), reason
    subscriber.send("third", point="m.relay2", value="on", ttl_ms=60_000)
    wait_for(lambda: subscriber.results("third"))
    assert subscriber.results("third")[0]["reason"].startswith("max_starts_per_hour"), "no way round by the point"
    edges = [value for _, value in slave.writes]
    assert edges == [True, False, True, False]


def test_a_setpoint_that_the_device_gives_up_is_repeated_in_time(site, slave, subscriber, wait_for):
    """The register falls to 0 three seconds after the last write; a rule wants 60 % for good."""
    site.document["actuators"]["limit"] = {
        "output": "m.dimmer", "kind": "level", "refresh": "1s", "safe_state": 0, "boot_state": 60, "stop_state": "hold",
    }  # fmt: skip
    site.start()
    seen, last, count = [], time.monotonic(), 0

    def looked():
        nonlocal last, count
        if len(slave.registered) > count:
            count, last = len(slave.registered), time.monotonic()
        if time.monotonic() - last > 3:
            slave.registers[8] = 0
        seen.append(slave.registers[8])
        return count >= 6

    wait_for(looked, 30, "six writes")
    assert set(slave.registered) == {(8, 60)} and set(seen[seen.index(60) :]) == {60}
    line = next(one for one in site.status()["actuators"] if one["name"] == "limit")
    assert line["repeats"] >= 4 and not subscriber.events("output_mismatch")


@pytest.mark.slow
def test_a_contactor_that_sticks_is_one_alarm_until_it_obeys(site, slave, subscriber, wait_for):
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    slave.stuck = True
    subscriber.send("c1", point="lamp", value="on", ttl_ms=10_000)
    wait_for(lambda: subscriber.states("c1") == ["accepted", "applied", "mismatch"])
    assert "m.di1 reads off" in subscriber.results("c1")[-1]["reason"]
    (alarm,) = subscriber.events("output_mismatch")
    assert (alarm["kind"], alarm["subject"], alarm["detail"]["wanted"]) == ("alarm", "lamp", True)
    assert site.order("lamp", True)[0] == "mismatch", "the same again is no second alarm"
    slave.stuck, slave.coils[0] = False, True  # somebody knocked on it
    wait_for(lambda: subscriber.events("output_mismatch", "cleared"))
    polls = slave.registers[0]
    wait_for(lambda: slave.registers[0] > polls + 10)
    assert [event["kind"] for event in subscriber.events("output_mismatch")] == ["alarm", "cleared"]


def test_boot_and_stop_states(site, slave, subscriber, wait_for):
    """`recompute` and `hold` move nothing, and neither does a restart of the agent."""
    site.document["actuators"]["lamp"] |= {"boot_state": "on", "stop_state": "hold"}
    site.document["actuators"]["other"] = {"output": "m.relay2", "boot_state": "recompute", "stop_state": "off"}
    site.document["buses"]["plant"]["timeout"] = "5s"  # an output that cannot be read in time is written
    slave.coils[1] = True
    site.start()
    wait_for(lambda: slave.coils[0] and subscriber.values("m.fixed"))
    assert slave.writes == [(0, True)], "recompute leaves its output as it is"
    audits = wait_for(lambda: [one for one in subscriber.events("output", "audit") if one["subject"] == "lamp"])
    boot = audits[0]
    assert (boot["detail"]["cause"], boot["detail"]["to"]) == ("boot state", True)
    assert site.stop()[0] == 0
    assert slave.coils[:2] == [True, False], "held, and switched off"
    assert site.bocage("stop-outputs", check=0).stdout.startswith("the agent had stopped in order")
    slave.coils[1], slave.writes[:] = True, []
    site.start()
    seen = len(subscriber.values("m.count"))
    wait_for(lambda: len(subscriber.values("m.count")) > seen + 5)
    assert slave.writes == []


def test_a_module_that_drops_its_outputs_when_nobody_speaks_to_it(site, slave, subscriber, wait_for):
    """Polling keeps its watchdog fed; after a cut of the wire what is wanted is written again."""
    site.document["devices"]["m"] |= {"output_watchdog": "1s", "poll": "300ms"}
    slave.drops_after = 1.0
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    assert site.order("lamp", True)[0] == "verified"
    polls = slave.registers[0]
    wait_for(lambda: slave.registers[0] > polls + 6)
    assert slave.coils[0] is True
    slave.deaf.add(1)
    wait_for(lambda: site.quality("m.fixed") == "bad")
    slave.deaf.clear()
    wait_for(lambda: slave.writes == [(0, True)] * 2, 15, "the second write")
    wait_for(lambda: site.quality("m.relay1") == "good")
    assert slave.coils[0] is True
    assert not subscriber.events("output_mismatch"), "it is known why"


@pytest.mark.slow
def test_led_lamps_whose_mains_return_again_and_again_go_on_each_time(site, slave, subscriber, wait_for):
    """A contactor that falls with the mains and is closed again is no start that `max_starts_per_hour` counts."""
    lamp = site.document["actuators"]["lamp"]
    del lamp["feedback"]
    lamp |= {"min_on": "100ms", "min_off": "100ms", "max_starts_per_hour": 2}
    event = {"switch_on": {"event": "civil_dusk"}, "switch_off": {"event": "civil_dawn"}}
    street = {"actuator": "lamp", "rated_power": "500 W", "lamp": {"type": "led", "count": 5}, **event}
    site.document["lighting"] = {"circuits": {"street": street}}
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    assert site.order("lamp", True)[0] == "verified"
    for falls in range(1, 4):
        slave.coils[0] = False
        wait_for(lambda falls=falls: slave.writes == [(0, True)] * (1 + falls), what="that it goes on again")
        wait_for(lambda: subscriber.values("m.relay1")[-1:] == [True])
