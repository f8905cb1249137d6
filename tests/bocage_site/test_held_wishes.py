"""What another site asks for: it holds until its end and not a second longer, over a kill too, if it is allowed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Quality
from drivers.api import DeviceSpec
from drivers.bocage_site.held_wishes import LONGEST, HeldWishes
from drivers.bocage_site.messages import Asked, Stamp
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

POINTS = {
    "well": {"kind": "state", "unit": "", "writable": False, "low": None, "high": None},
    "speed": {"kind": "telemetry", "unit": "%", "writable": False, "low": 0, "high": 100},
}
DEVICE = DeviceSpec("from-haut", {}, {"name": "", "points": POINTS}, options={"requests": True})


def request(wishes=None, life=180.0, reads=(), every=60.0):
    return Asked(Stamp("boot", 1, None), life, every, wishes or {}, reads)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def requests(clock, store):
    return HeldWishes("haut", DEVICE, clock, store)


def test_a_wish_holds_until_its_end_less_its_delay(requests, clock):
    (found,) = requests.take(request({"well": True}, life=30), delay=10)
    assert (found.point, found.value, found.quality) == ("from-haut.well", True, Quality.GOOD)
    assert requests.ends() == clock.at + 20
    clock.at += 19.9
    assert requests.expired() == [] and requests.held() == {"well": True}
    clock.at += 0.2
    (found,) = requests.expired()
    assert (found.value, found.quality) == (None, Quality.BAD) and requests.held() == {}


def test_a_repetition_extends_it_and_null_ends_it(requests, clock):
    requests.take(request({"well": True}, life=30), 0)
    clock.at += 20
    requests.take(request({"well": True}, life=30), 0)
    clock.at += 20
    assert requests.held() == {"well": True}
    (found,) = requests.take(request({"well": None}), 0)
    assert found.quality is Quality.BAD and requests.held() == {}


def test_a_request_that_says_nothing_of_a_wish_leaves_it_until_its_end(requests, clock):
    requests.take(request({"well": True}, life=30), 0)
    assert requests.take(request(reads=["level"], life=3000), 0) == []
    assert requests.held() == {"well": True}
    clock.at += 31
    assert requests.held() == {}


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"lamp": True}, "it is not in peers.haut"),
        ({"well": 1}, "it takes on or off"),
        ({"well": "on"}, "it takes on or off"),
        ({"speed": True}, "it takes a number"),
        ({"speed": 101}, "101 is out of range"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_reason(requests, wishes, reason):
    assert requests.take(request(wishes), 0) == []
    assert list(requests.refused.values()) == [reason]
    assert requests.held() == {}


def test_no_wish_lasts_for_hours(requests, clock):
    requests.take(request({"well": True}, life=1e9), 0)
    assert requests.ends() == clock.at + LONGEST


def test_a_wish_outlives_a_kill_and_no_power_cut(requests, clock, store):
    requests.take(request({"well": True, "speed": 40}, life=60), 0)
    clock.at += 30
    store.power_cut()  # what was only to be written soon is gone
    again = HeldWishes("haut", DEVICE, clock, store)
    assert {one.point: one.value for one in again.restore()} == {"from-haut.well": True, "from-haut.speed": 40}
    clock.at += 31
    assert {one.quality for one in again.expired()} == {Quality.BAD}
    requests.take(request({"well": True}, life=600), 0)
    other_boot = HeldWishes("haut", DEVICE, FakeClock(5, boot="boot-2"), store)
    assert {one.quality for one in other_boot.restore()} == {Quality.BAD}


def test_a_file_that_allows_less_after_a_kill_forgets_the_wish(requests, clock, store):
    requests.take(request({"well": True}, life=60), 0)
    less = DeviceSpec("from-haut", {}, {"points": {"speed": POINTS["speed"]}}, options={"requests": True})
    again = HeldWishes("haut", less, clock, store)
    assert [one.point for one in again.restore()] == ["from-haut.speed"]
    assert again.held() == {}


def test_a_flash_that_refuses_changes_nothing(requests, store):
    store.refuses = True
    requests.take(request({"well": True}), 0)
    assert requests.held() == {"well": True}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([True, False, None, "nothing"]), st.floats(1, 100),
                          st.floats(0, 60), st.booleans()), max_size=20))  # fmt: skip
def test_a_wish_holds_exactly_while_a_model_says_so(steps):
    """Steps: a pause, then a request (or none) with its life and delay, perhaps a kill."""
    clock, store = FakeClock(), FakeStore()
    requests, value, until = HeldWishes("haut", DEVICE, clock, store), None, 0.0
    for pause, wish, life, delay, killed in steps:
        clock.at += pause
        requests.expired()
        if wish != "nothing":
            requests.take(request({"well": wish}, life), delay)
            value, until = (wish, clock.at + life - delay) if wish is not None else (None, 0.0)
        if killed:
            requests = HeldWishes("haut", DEVICE, clock, store)
            requests.restore()
        assert requests.held() == ({"well": value} if value is not None and clock.at < until else {})
