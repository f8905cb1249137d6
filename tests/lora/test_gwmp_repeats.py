"""Frames that come once more: late copies, second gateways, ghosts, and somebody who replays them."""

import base64

import pytest

from agent.demo.lorawan import AbpNode, OtaaNode
from tests.lora.test_gwmp import GATEWAY, HERE, SECOND, THERE, Site, abp, order, otaa

KEY = bytes(range(1, 17))


@pytest.fixture
def meter():
    return AbpNode("01abcdef", KEY, KEY[::-1])


@pytest.fixture
def room():
    return OtaaNode("24e124136b316001", "24e124c0002a0001", KEY)


def again(site, frame, seconds, **more):
    """The same frame that long after it was looked at; what is sent for it."""
    site.clock.at += seconds
    site.pull(GATEWAY, HERE)
    site.pull(SECOND, THERE)
    site.push(frame, **more)
    return site.pass_time()


def test_a_repeat_takes_no_attempt_of_a_command(meter):
    site = Site(abp())
    _, ended = order(site)
    frame = meter.uplink(1, b"x")
    site.speak(meter, frame)
    for seconds in (0.1, 1, 5, 20, 20):
        assert again(site, frame, seconds, gateway=SECOND, address=THERE) == []
    assert (ended, len(site.out), site.server.waiting("meter")) == ([], 1, 1)
    site.speak(meter, meter.uplink(1, b"y"))  # it acknowledges
    assert ended == [""]


def test_a_late_copy_orders_no_second_answer(meter):
    site = Site(abp())
    first, second = meter.uplink(1, b"x", confirmed=True, commands=b"\x02"), meter.uplink(1, b"y", confirmed=True)
    assert len(site.speak(meter, first)) == 1
    assert again(site, first, 0.5, gateway=SECOND, address=THERE) == []
    assert len(site.speak(meter, second)) == 1
    assert again(site, first, 0.5, gateway=SECOND, address=THERE) == []  # the last but one
    assert (site.server.counts["repeated"], site.device("meter").resets) == (2, 0)


@pytest.mark.parametrize("restart", [False, True])
def test_a_replayed_frame_spends_little_airtime(meter, restart):
    site = Site(abp())
    frame = meter.uplink(1, b"x", confirmed=True)
    site.speak(meter, frame)
    if restart:
        site.start()
    sent = [len(again(site, frame, 5)) for _ in range(50)]
    assert (sum(sent), len(site.heard)) == (3, 1)
    assert len(site.speak(meter, meter.uplink(1, b"y", confirmed=True))) == 1


def test_a_second_gateway_of_a_true_repetition_orders_nothing(meter):
    site = Site(abp())
    frame = meter.uplink(1, b"x", confirmed=True)
    site.speak(meter, frame)
    assert len(again(site, frame, 5)) == 1
    assert again(site, frame, 1, gateway=SECOND, address=THERE) == []


def test_a_replay_does_not_move_what_is_known_of_the_reception(meter):
    site = Site(abp())
    frame = meter.uplink(1, b"x")
    site.speak(meter, frame)
    again(site, frame, 60, gateway=SECOND, address=THERE, rssi=-20, lsnr=12.0)
    old = site.device("meter").last
    assert (old["rssi"], [one["gateway"] for one in old["gateways"]]) == (-70, [GATEWAY])


def test_a_frame_of_the_old_session_never_ends_the_new_one(room):
    site = Site(otaa())
    site.join(room)
    heard, held_back = room.uplink(1, b"a"), room.uplink(1, b"b")
    site.speak(room, heard)
    site.join(room)
    again(site, heard, 1)
    again(site, heard, 10)
    again(site, held_back, 1)
    site.start()
    site.speak(room, room.uplink(1, b"c"))
    assert [one.payload for one in site.heard][-1] == b"c"
    again(site, heard, 10)
    site.speak(room, room.uplink(1, b"d"))
    assert [one.payload for one in site.heard][-1] == b"d"
    assert site.device("room").session.up == 1


def test_a_replay_does_not_settle_the_command_of_a_device_that_always_listens(room):
    site = Site(otaa(**{"class": "C"}))
    site.join(room)
    frame = room.uplink(1, b"x")
    site.speak(room, frame)
    _, ended = order(site, "room", "room.valve")
    (sent,) = site.pass_time(0.0)
    for _ in range(3):
        assert again(site, frame, 1) == []
    assert ended == []
    assert sent["imme"]


def test_a_frame_of_the_old_session_confirms_nothing_that_the_new_one_carried(room):
    site = Site(otaa(**{"class": "C"}))
    site.join(room)
    site.speak(room, room.uplink(1, b"a"))
    _, first = order(site, "room", "room.valve", b"\x01")
    (sent,) = site.pass_time(0.0)
    room.hear(base64.b64decode(sent["data"]))
    held_back = room.uplink(1, b"b")  # with the acknowledgement of the first value
    site.join(room)
    while not first:
        site.pass_time(11)
        site.pull()
    _, ended = order(site, "room", "room.valve", b"\x02")
    assert len(site.pass_time(0.0)) == 1
    site.push(held_back)
    site.pass_time()
    assert ended == []


@pytest.mark.parametrize("ghost_first", [True, False])
def test_of_the_ghosts_of_one_gateway_the_strongest_counts(meter, ghost_first):
    site = Site(abp())
    frame = meter.uplink(1, b"x", confirmed=True)
    copies = [{"freq": 868.5, "rssi": -105, "lsnr": -14.0}, {"freq": 868.1, "rssi": -30, "lsnr": 9.5}]
    for copy in copies if ghost_first else copies[::-1]:
        site.push(frame, **copy)
    (answer,) = site.pass_time()
    assert (answer["freq"], site.heard[0].best.snr) == (868.1, 9.5)
    assert len(site.device("meter").last["gateways"]) == 1


def test_a_late_copy_of_a_join_request_is_no_refusal(room):
    site = Site(otaa())
    request = room.join_request()
    site.speak(room, request)
    assert again(site, request, 1, gateway=SECOND, address=THERE) == []
    assert [row["result"] for row in site.server.joins.rows()] == ["accepted"]
    assert again(site, request, 60) == []
    assert [row["result"] for row in site.server.joins.rows()] == ["accepted", "refused"]
