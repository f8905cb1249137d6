"""An RS-485 line in a whole agent: late answers, noise, dead slaves, an adapter that goes and comes."""

import itertools
import os
import statistics

import pytest

from tests.fakes import modbus_slave


@pytest.fixture
def serial(site, line):
    """The site with a second bus: two units on the line, each register far from the next (no coalescing)."""
    points = "".join(f"  r{n}: {{register: holding, address: {n}, type: u16}}\n" for n in (0, 20, 40))
    profile = f"name: meter3\nmodbus: {{max_gap: 0}}\npoints:\n{points}"
    (site.folder / "profiles" / "meter3.yaml").write_text(profile)
    site.document["buses"]["rs485"] = {"type": "modbus_rtu", "port": str(line.link), "timeout": "100ms"}
    site.document["devices"]["one"] = {"bus": "rs485", "unit_id": 1, "profile": "meter3", "poll": "200ms"}
    site.document["devices"]["two"] = {"bus": "rs485", "unit_id": 2, "profile": "meter3", "poll": "200ms"}
    return site


def values(subscriber, device):
    """What came of each register of a device, None for bad."""
    return {f"{device}.r{n}": subscriber.values(f"{device}.r{n}") for n in (0, 20, 40)}


def bus(site, name):
    return next(one for one in site.status()["buses"] if one["name"] == name)


def own_values_only(subscriber):
    for unit, device in ((1, "one"), (2, "two")):
        for register, seen in values(subscriber, device).items():
            right = unit * 1000 + int(register.rpartition("r")[2])
            assert set(seen) <= {right, None}, register


@pytest.mark.slow
def test_late_answers_and_noise_never_become_another_registers_value(serial, line, subscriber, wait_for):
    sent_late = []
    line.behave = modbus_slave.late_and_noisy(sent_late)
    serial.start()
    wait_for(lambda: len(sent_late) >= 12, 30, "late answers")
    line.behave = lambda request: [(0, request.frame)]
    for register in (*values(subscriber, "one"), *values(subscriber, "two")):
        before = len(subscriber.values(register))
        wait_for(lambda name=register, before=before: len(subscriber.values(name)) > before + 2)
        assert serial.quality(register) == "good"
    own_values_only(subscriber)


def test_an_adapter_that_vanishes_and_returns_under_another_name(serial, slave, line, subscriber, wait_for):
    """It is not there at the start either: the agent runs without it."""
    line.vanish()
    serial.start()
    wait_for(lambda: subscriber.values("m.count"))
    assert bus(serial, "rs485")["state"] == "down"
    assert str(line.link) in bus(serial, "rs485")["error"]
    line.appear()
    wait_for(lambda: 1020 in subscriber.values("one.r20"), what="the first values of the line")
    first = line.link.readlink()

    line.vanish()
    wait_for(lambda: serial.quality("one.r20") == "bad" == serial.quality("two.r20"))
    seen = len(subscriber.values("m.count"))
    wait_for(lambda: len(subscriber.values("m.count")) > seen + 10, 4, "the other bus at its period")
    assert serial.order("lamp", True)[0] == "verified"

    spares = [os.openpty()]  # takes the old name, unless somebody else's terminal went just then
    line.appear()
    while line.link.readlink() == first and len(spares) < 20:
        line.vanish()
        spares.append(os.openpty())
        line.appear()
    assert line.link.readlink() != first
    wait_for(lambda: serial.quality("one.r20") == "good" == serial.quality("two.r40"), what="the line's return")
    for end in itertools.chain(*spares):
        os.close(end)
    wait_for(lambda: subscriber.values("one.r20")[-1] == 1020)
    assert None in subscriber.values("one.r20"), "the outage was told"
    assert bus(serial, "rs485")["state"] == "up"
    own_values_only(subscriber)
    assert serial.process.poll() is None


@pytest.mark.slow
def test_a_dead_slave_does_not_slow_its_line(serial, line, wait_for):
    """The period of the live device with a dead one beside it, against the one without."""

    def period(polls=15):
        began = len(line.requests)
        wait_for(lambda: sum(r.unit == 1 for _, r in line.requests[began:]) > 3 * polls, what="polls")
        times = [at for at, r in line.requests[began:] if r.unit == 1 and r.pdu[1:3] == b"\x00\x00"]
        steps = [after - before for before, after in itertools.pairwise(times)]
        return statistics.median(steps), max(steps)

    serial.start()
    wait_for(lambda: serial.quality("two.r40") == "good")
    alone, _ = period()
    line.behave = lambda request: [] if request.unit == 2 else [(0, request.frame)]
    wait_for(lambda: serial.quality("two.r0") == "bad", what="the dead device's points to be bad")
    beside, longest = period()
    assert beside < 1.2 * alone, (alone, beside)
    assert longest < alone + 0.25, "one question to the dead device costs its timeout, not more"
    assert serial.quality("one.r0") == "good"
