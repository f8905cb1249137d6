"""Frame counters of 32 bits of which 16 are on the air, and payloads as long as a data rate carries."""


import pytest

from agent.demo.lorawan import AbpNode, OtaaNode
from drivers.lora.gwmp.device_table import MOST_SEARCHES
from tests.lora.test_gwmp import Site, abp, order, otaa

KEY = bytes(range(1, 17))


@pytest.fixture
def meter():
    return AbpNode("01abcdef", KEY, KEY[::-1])


@pytest.mark.parametrize("first", [70_000, 131_072, 4_000_000])
def test_an_abp_device_that_counted_before_it_was_heard(meter, first):
    site = Site(abp())
    for counter in (first, first + 1):
        meter.up = counter
        site.speak(meter, meter.uplink(1, b"x"))
    site.start()
    site.speak(meter, meter.uplink(1, b"x"))
    assert [(one.counter, one.payload) for one in site.heard] == [(first + n, b"x") for n in range(3)]
    assert (site.device("meter").lost, site.device("meter").resets) == (0, 0)


def test_a_device_that_spoke_on_while_no_gateway_listened(meter):
    site = Site(abp())
    for counter in (7, 200_000):
        meter.up = counter
        site.speak(meter, meter.uplink(1, b"x"))
    assert [one.counter for one in site.heard] == [7, 200_000]
    assert site.device("meter").lost == 199_992


def test_beyond_the_bound_a_counter_is_not_looked_for(meter):
    site = Site(abp())
    meter.up = 64 * 65_536
    site.speak(meter, meter.uplink(1, b"x"))
    assert (site.heard, site.server.counts["wrong_mic"]) == ([], 1)


def test_forged_frames_order_few_searches(meter, monkeypatch):
    site = Site(abp())
    looked = []
    monkeypatch.setattr(type(site.device("meter").session), "far_counter", lambda *_: looked.append(1))
    for _ in range(3 * MOST_SEARCHES):
        site.push(meter.uplink(1, b"x")[:-4] + b"bad!")
    site.pass_time()
    assert len(looked) == MOST_SEARCHES
    site.pull()
    site.clock.at += 60
    site.push(meter.uplink(1, b"x")[:-4] + b"bad!")
    site.pass_time()
    assert len(looked) == MOST_SEARCHES + 1


@pytest.mark.parametrize("restart", [False, True])
def test_the_upper_bits_go_on_where_the_lower_begin_again(meter, restart):
    site = Site(abp())
    for counter in (65_534, 65_535, 65_536, 65_537):
        if restart:
            site.start()
        meter.up = counter
        site.speak(meter, meter.uplink(1, b"x%d" % counter))
    assert [(one.counter, one.payload) for one in site.heard] == [(n, b"x%d" % n) for n in range(65_534, 65_538)]
    assert site.device("meter").resets == 0


@pytest.mark.parametrize("skip", [False, True])
def test_a_node_that_really_has_16_bits(meter, skip):
    site = Site(abp(skip_fcnt_check=skip))
    for counter in (65_535, 0, 1):
        meter.up = counter
        site.speak(meter, meter.uplink(1, b"x%d" % counter))
    assert [one.payload for one in site.heard] == ([b"x65535", b"x0", b"x1"] if skip else [b"x65535"])
    assert site.device("meter").resets == (1 if skip else 2)


@pytest.mark.parametrize(("datr", "most"), [("SF12BW125", 51), ("SF10BW125", 51), ("SF9BW125", 115), ("SF7BW125", 222)])
def test_a_downlink_takes_the_full_payload_of_the_data_rate(meter, datr, most):
    site = Site(abp())
    _, ended = order(site, payload=bytes(most))
    site.speak(meter, meter.uplink(1, b"x", commands=b"\x02"), datr=datr)  # what it asks beside has no room
    site.speak(meter, meter.uplink(1, b"x"), datr=datr)
    assert ([len(payload) for _, payload in meter.received], ended) == ([most], [""])
    _, ended = order(site, payload=bytes(most + 1))
    site.speak(meter, meter.uplink(1, b"x"), datr=datr)
    assert ended == [f"{most + 1} bytes are too many: {datr[:-5]} carries {most}"]


def test_a_class_c_downlink_takes_51_bytes():
    site = Site(otaa(**{"class": "C"}))
    node = OtaaNode("24e124136b316001", "24e124c0002a0001", KEY)
    site.join(node)
    site.speak(node, node.uplink(1, b"x"))
    order(site, "room", "room.valve", bytes(51))
    (sent,) = site.pass_time(0.0)
    assert sent["size"] == 64


def test_what_a_node_sent_in_vain_after_its_join_is_lost_too():
    site, node = Site(otaa()), OtaaNode("24e124136b316001", "24e124c0002a0001", KEY)
    site.join(node)
    node.up = 3
    for _ in range(2):
        site.speak(node, node.uplink(1, b"x"))
    assert site.device("room").lost == 3


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_a_node_that_always_begins_with_the_same_number_and_says_the_same(meter, skip, restart):
    """It is repeated at first, and news after eleven minutes, if its counter is not checked."""
    site = Site(abp(skip_fcnt_check=skip))
    for _ in range(3):
        meter.up = 0
        frame = meter.uplink(1, b"closed")
        site.speak(meter, frame)
        for _ in range(3):
            site.clock.at += 30
            site.speak(meter, frame)
        site.clock.at += 700
        if restart:
            site.start()
        site.pull()
    assert [one.payload for one in site.heard] == [b"closed"] * (3 if skip else 1)
