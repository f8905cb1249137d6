"""Three crashes in ten minutes: what was commanded may be what kills us, so it is not taken up again."""

import pytest

from agent.runtime.crash_counter import CrashCounter
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore


@pytest.mark.slow
def test_an_override_ends_with_the_third_crash_and_the_output_stays_safe(site, slave, subscriber, wait_for):
    site.start()
    site.bocage("write", "lamp", "on", "--for", "1h", check=0)
    for _ in range(2):
        site.kill()
        site.bocage("stop-outputs", check=0)
        site.start()
        wait_for(lambda: slave.coils[0], what="the override is taken up again")
    slave.writes.clear()
    site.kill()
    site.bocage("stop-outputs", check=0)
    site.start()
    wait_for(lambda: subscriber.events("crash_loop", "alarm"))
    (lamp,) = site.status()["actuators"]
    assert (lamp["value"], lamp["mode"]) == (False, "auto")
    assert (0, True) not in slave.writes
    assert site.order("lamp", True)[0] == "verified", "who wants it now is obeyed"
    before = len(subscriber.events("applied"))
    site.document["actuators"]["lamp"]["min_on"] = "1s"
    site.write().hup()
    wait_for(lambda: len(subscriber.events("applied")) > before)
    wait_for(lambda: site.status()["actuators"][0]["priority"] == 8, what="a reload is no crash")


@pytest.fixture
def clock():
    return FakeClock(100.0, trusted=False)


def boots(clock, boot, at, wall=None):
    """The box is on again, `at` seconds after it began to boot, at a wall time that is known or not."""
    clock.boot, clock.at, clock.trusted, clock.epoch = boot, at, wall is not None, (wall or 0) - at


@pytest.fixture
def live(clock):
    flash = FakeStore()

    def begin():
        life = CrashCounter(flash, clock)
        life.begin()
        return life

    return begin


def test_three_kills_in_ten_minutes_are_a_loop_and_orderly_stops_are_none(clock, live):
    for _ in range(5):
        live().end()
        clock.at += 1
    for expected in (False, False, False, True):
        life = live()
        assert life.looping is expected
        clock.at += 100
    assert [one.code for one in life.conditions()] == ["crash_loop"]
    clock.at += 600
    assert not live().looping, "the others are long ago"


def test_a_life_that_ends_orderly_is_as_long_as_it_was(clock, live):
    for length in (400, 400):
        live()
        clock.at += length
    life = live()
    clock.at += 400
    life.end()
    live()
    assert not live().looping, "the first crash was 800 s ago"


def test_power_cuts_count_by_the_wall_clock_where_it_is_known(clock, live):
    day = 86_400.0
    for number in range(4):
        boots(clock, f"boot-{number}", 30.0, 1e9 + number * day)
        assert not live().looping
    for number in range(4, 7):
        boots(clock, f"boot-{number}", 30.0, 1e9 + 3 * day + number * 60)
        looping = live().looping
    assert looping, "a relay whose inrush resets the box"


def test_power_cuts_of_a_box_without_a_clock_are_as_near_as_their_boots_are_short(clock, live):
    for number in range(4):
        boots(clock, f"boot-{number}", 300.0)
        assert not live().looping, "five minutes each at the least"
    for number in range(4, 8):
        boots(clock, f"boot-{number}", 20.0)
        looping = live().looping
    assert looping


def test_what_is_kept_otherwise_is_nothing(clock):
    flash = FakeStore()
    flash["now"] = {"alive": True}
    life = CrashCounter(flash, clock)
    life.begin()
    assert not life.looping
