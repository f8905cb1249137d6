"""An output that leaves the site file goes through its safe state first; one that only got another name stays."""

import pytest

pytestmark = pytest.mark.slow


def lit(site, slave):
    """A running agent whose lamp is on, and the slave's memory of how it came about wiped out."""
    site.start()
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    assert slave.coils[0] is True
    slave.writes.clear()


def audits(subscriber, name="lamp"):
    return [e["detail"] for e in subscriber.events("output", "audit") if e["subject"] == name]


def applied(site, subscriber, wait_for):
    """Write the file, reload, and wait for the agent's verdict."""
    before = len(subscriber.events("applied"))
    site.write().hup()
    wait_for(lambda: len(subscriber.events("applied")) > before, 60)


def no_actuator(site, other):
    del site.document["actuators"]["lamp"]


def no_device(site, other):
    no_actuator(site, other)
    site.document["devices"] = {"n": {"bus": "plant", "unit_id": 7, "profile": "bench8"}}
    del site.document["signals"]


def no_bus(site, other):
    no_actuator(site, other)
    for section in ("buses", "devices", "signals"):
        del site.document[section]


def another_relay(site, other):
    site.document["actuators"]["lamp"] |= {"output": "m.relay2", "safe_state": "hold"}


def another_unit(site, other):
    site.document["devices"]["m"]["unit_id"] = 2


def another_host(site, other):
    site.document["buses"]["plant"]["port"] = other.port


@pytest.fixture
def other(slave):
    made = type(slave)()
    yield made
    made.close()


CHANGES = [no_actuator, no_device, no_bus, another_relay, another_unit, another_host]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["reload", "start"])
def test_what_leaves_is_safe_first_and_on_record(site, slave, other, subscriber, wait_for, change, when):
    site.document["actuators"]["lamp"]["safe_state"] = "hold"  # counts as off here
    site.document["actuators"]["lamp"] |= {"stop_state": "hold", "boot_state": "hold"}
    lit(site, slave)
    if when == "start":
        site.stop()
        assert slave.coils[0] is True, "held over the stop"
    change(site, other)
    if when == "reload":
        applied(site, subscriber, wait_for)
    else:
        site.start()
    wait_for(lambda: [one for one in audits(subscriber) if one["cause"] == "it left the site file"])
    (record,) = [one for one in audits(subscriber) if one["cause"] == "it left the site file"]
    assert (record["to"], record["place"]) == (False, f"tcp 127.0.0.1:{slave.port}, unit 1, coil 0")
    assert slave.writes[0] == (0, False)
    if change is not another_unit:  # this slave is one for all unit ids, and the override is the name's
        assert slave.coils[0] is False
    assert not subscriber.events("output_orphaned")


def test_another_name_moves_nothing_and_the_override_goes_with_it(site, slave, subscriber, wait_for):
    """Actuator, device and bus are called something else, and the host is written otherwise."""
    lit(site, slave)
    document = site.document
    document["buses"] = {"shed": {**document["buses"]["plant"], "host": "localhost"}}
    document["devices"] = {"io": {**document["devices"]["m"], "bus": "shed"}}
    document["actuators"] = {"porch": {"output": "io.relay1", "safe_state": "off", "boot_state": "off"}}
    document["signals"]["tank"]["from"] = "io.level"
    applied(site, subscriber, wait_for)
    wait_for(lambda: subscriber.values("io.count"))
    (porch,) = site.status()["actuators"]
    assert (porch["name"], porch["value"], porch["priority"]) == ("porch", True, 8)
    site.kill()
    document["actuators"] = {"yard": document["actuators"]["porch"]}
    site.start()
    wait_for(lambda: site.status()["actuators"][0]["value"] is True)
    assert (site.status()["actuators"][0]["name"], site.status()["actuators"][0]["priority"]) == ("yard", 8)
    assert slave.writes == []


def test_what_cannot_be_reached_is_an_alarm_until_it_was_written_over_restarts_too(site, slave, subscriber, wait_for):
    lit(site, slave)
    slave.deaf.add(1)
    no_device(site, None)
    applied(site, subscriber, wait_for)
    wait_for(lambda: subscriber.events("output_orphaned", "alarm"), 60)
    (alarm,) = subscriber.events("output_orphaned")
    assert (alarm["subject"], alarm["severity"], alarm["detail"]["wanted"]) == ("lamp", "major", False)
    assert "no answer" in alarm["detail"]["reason"]
    site.kill()
    slave.deaf.clear()
    site.start()
    wait_for(lambda: subscriber.events("output_orphaned", "cleared"), 60)
    assert slave.coils[0] is False
    site.stop()
    slave.writes.clear()
    site.start()
    wait_for(lambda: site.status()["buses"])
    assert slave.writes == [], "written once, and it is nobody's any more"


def test_an_orphan_is_tried_at_a_stop_and_by_stop_outputs(site, slave, subscriber, wait_for):
    lit(site, slave)
    slave.deaf.add(1)
    no_bus(site, None)
    applied(site, subscriber, wait_for)
    wait_for(lambda: subscriber.events("output_orphaned", "alarm"), 60)
    site.kill()
    slave.deaf.clear()
    site.bocage("stop-outputs", check=0)
    assert slave.coils[0] is False
    slave.coils[0] = True
    site.start()
    site.stop()
    assert slave.coils[0] is True, "it was done"


def test_a_module_that_was_taken_away_can_be_forgotten(site, slave, subscriber, wait_for):
    lit(site, slave)
    slave.deaf.add(1)
    no_bus(site, None)
    applied(site, subscriber, wait_for)
    wait_for(lambda: subscriber.events("output_orphaned", "alarm"), 60)
    said = site.bocage("alarms", check=0).stdout
    assert f"place: {subscriber.events('output_orphaned')[0]['detail']['place']}" in said and "wanted: off" in said
    site.bocage("write", "alarm.output_orphaned.lamp", "forget", check=0)
    wait_for(lambda: subscriber.events("output_orphaned", "cleared"), 60)
    assert subscriber.events("forgotten", "audit")


def test_a_relay_that_only_a_technician_commanded_is_ours_too(site, slave, subscriber, wait_for):
    site.start()
    site.bocage("write", "m.relay2", "on", "--for", "1h", check=0)
    slave.writes.clear()
    no_bus(site, None)
    applied(site, subscriber, wait_for)
    assert sorted(slave.writes) == [(0, False), (1, False)]


@pytest.mark.parametrize("when", ["reload", "start"])
def test_a_level_that_only_a_technician_commanded_goes_to_its_lowest_value(site, slave, subscriber, wait_for, when):
    site.start()
    site.bocage("write", "m.dimmer", "60", "--for", "1h", check=0)
    assert slave.registered == [(8, 60)]
    no_bus(site, None)
    if when == "start":
        site.kill()
        site.start()
    else:
        applied(site, subscriber, wait_for)
    wait_for(lambda: slave.registered[1:] == [(8, 0)])
    told = {"to": 0, "cause": "it left the site file"}
    wait_for(lambda: [one for one in audits(subscriber, "m.dimmer") if told.items() <= one.items()], 60)


@pytest.mark.parametrize("when", ["reload", "start"])
@pytest.mark.parametrize("other", [{"output": "m.relay2"}, None], ids=["swapped", "taken over"])
def test_an_output_that_becomes_another_actuators_is_not_left_on(site, slave, subscriber, wait_for, when, other):
    """Its wire is in the file, but whoever had it on has another one now."""
    held = {"safe_state": "hold", "boot_state": "hold", "stop_state": "hold"}
    site.document["actuators"] = {"lamp": {"output": "m.relay1", **held}, "siren": {"output": "m.relay2", **held}}
    lit(site, slave)
    if when == "start":
        site.stop()
        assert slave.coils[0] is True, "held over the stop"
    del site.document["actuators"]["lamp"]
    site.document["actuators"]["siren"]["output"] = "m.relay1"
    if other is not None:
        site.document["actuators"]["lamp"] = {**other, **held}
    if when == "reload":
        applied(site, subscriber, wait_for)
    else:
        site.start()
    (record,) = wait_for(lambda: [one for one in audits(subscriber, "siren") if "was" in one["cause"]])
    assert (record["from"], record["to"], record["cause"]) == (True, False, "it was the output of lamp")
    assert slave.coils[:2] == [False, other is not None], "the override is the name's"


def test_an_adapter_that_is_plugged_in_late_is_the_same_wire(site, line, subscriber, wait_for):
    """Its stable name leads nowhere at the start, and to another tty each time."""
    line.vanish()
    on_line(site, line)
    site.start()
    line.appear()
    wait_for(lambda: subscriber.values("io.relay"), seconds=30)
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    site.document["site"]["name"] = "Again"
    site.document["actuators"]["lamp"]["min_on"] = "1s"
    applied(site, subscriber, wait_for)
    wait_for(lambda: site.status()["actuators"][0]["value"] is True)
    assert [one["to"] for one in audits(subscriber)] == [True]


def test_an_orphan_behind_an_adapter_that_was_unplugged_is_written_when_it_is_back(site, line, subscriber, wait_for):
    on_line(site, line)
    site.start()
    wait_for(lambda: subscriber.values("io.relay"))
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    line.vanish()
    no_bus(site, None)
    applied(site, subscriber, wait_for)
    wait_for(lambda: subscriber.events("output_orphaned", "alarm"), 60)
    line.appear()
    wait_for(lambda: subscriber.events("output_orphaned", "cleared"), seconds=30)
    assert line.units[1].coil[0] == 0


def on_line(site, line):
    """The lamp on a relay of unit 1 of an RS-485 line."""
    line.units[1].coil[0] = 0
    (site.folder / "profiles" / "relay.yaml").write_text(
        "name: relay\npoints:\n  relay: {register: coil, address: 0, writable: true}\n"
    )
    site.document |= {
        "buses": {"rs485": {"type": "modbus_rtu", "port": str(line.link), "baudrate": 9600, "timeout": "300ms"}},
        "devices": {"io": {"bus": "rs485", "unit_id": 1, "profile": "relay", "poll": "200ms"}},
        "signals": {},
        "actuators": {"lamp": {"output": "io.relay", "safe_state": "off", "boot_state": "hold"}},
    }
