"""The receive windows: when they open, at which data rate, and that a slow card is in time for them."""

import asyncio

import pytest

from agent.demo.lorawan import AbpNode, Concentrator, OtaaNode
from tests.lora.test_gwmp import EUI, JOIN_EUI, KEY, Site, abp, otaa
from tests.lora.test_gwmp_agent import GATEWAY as CONCENTRATOR
from tests.lora.test_gwmp_agent import ROOM, eventually
from tests.lora.test_gwmp_agent import site as _site

agent = _site
SLOW_CARD = """
import os, time
def slow(name):
    sync = getattr(os, name)
    def wait(*what):
        time.sleep(0.5)
        return sync(*what)
    setattr(os, name, wait)
slow("fsync")
slow("fdatasync")
"""


def otaa_with(**more):
    spec = otaa()
    spec.address.update(more)
    return spec


def first_window(site, node):
    """Seconds from a confirmed uplink to its answer, which is in RX1."""
    before = site.tmst
    (order,) = site.speak(node, node.uplink(1, b"x", confirmed=True))
    assert order["datr"] == "SF7BW125"
    site.clock.at += 30
    site.pull()
    return (order["tmst"] - before) / 1_000_000


def test_a_device_is_told_five_seconds_and_answered_then():
    site, node = Site(otaa()), OtaaNode(EUI, JOIN_EUI, KEY)
    site.join(node)
    site.clock.at += 30
    site.pull()
    assert (node.rx1_delay, first_window(site, node)) == (5, 5)


def test_the_delay_is_kept_with_the_session():
    """Another one in the site file holds from the next join on; so does ours for a session of an older program."""
    site, node = Site(otaa_with(rx1_delay=3.0)), OtaaNode(EUI, JOIN_EUI, KEY)
    site.join(node)
    site.specs = (otaa(),)
    site.start()
    assert (node.rx1_delay, first_window(site, node)) == (3, 3)
    for session in site.kept[f"session.{EUI}"]["sessions"]:
        del session["rx1_delay"], session["rx2_sf"], session["adr"]
    site.start()
    assert first_window(site, node) == 1
    site.join(node)
    assert first_window(site, node) == 5


def test_a_device_by_abp_has_the_windows_of_the_site_file():
    site, node = Site(abp(rx1_delay=2.0, rx2_spreading_factor=9)), AbpNode("01abcdef", KEY, KEY[::-1])
    assert first_window(site, node) == 2
    site.speak(node, node.uplink(1, b"x", confirmed=True))
    (second,) = site.tx_ack("TOO_LATE")
    assert (second["freq"], second["datr"]) == (869.525, "SF9BW125")
    site.specs = (abp(),)
    site.start()
    site.clock.at += 30
    site.pull()
    assert first_window(site, node) == 1


@pytest.mark.parametrize("rate", [7, 12])
def test_the_second_window_of_a_device_that_joins(rate):
    site, node = Site(otaa_with(rx2_spreading_factor=rate)), OtaaNode(EUI, JOIN_EUI, KEY)
    site.join(node)
    site.clock.at += 30
    site.pull()
    site.speak(node, node.uplink(1, b"x", confirmed=True))
    assert [order["datr"] for order in site.tx_ack("TOO_LATE")] == [f"SF{rate}BW125"]
    assert node.rx2_rate == 12 - rate


@pytest.mark.slow
async def test_a_card_that_takes_half_a_second_to_sync_answers_in_time(agent):
    agent.sabotage = SLOW_CARD
    await asyncio.to_thread(agent.start)
    room = OtaaNode(ROOM, JOIN_EUI, KEY)
    air = await Concentrator("127.0.0.1", agent.port, CONCENTRATOR).open()
    try:
        await asyncio.wait_for(air.reached.wait(), 30)
        await room.join(air, every=12)
        air.send(room.uplink(85, bytes.fromhex("0367ff00"), confirmed=True))
        await eventually(lambda: room.acked, "the acknowledgement")
    finally:
        await air.close()
    assert [order["datr"] for _, order in air.sent] == ["SF7BW125"] * 2


@pytest.mark.slow
async def test_a_card_that_is_too_slow_for_the_first_window_is_in_time_for_the_second(agent):
    """By ABP it opens after 1 s, when the counter is not yet on flash. What is refused then does not wait for another
    write.
    """
    agent.sabotage = SLOW_CARD
    await asyncio.to_thread(agent.start)
    meter = AbpNode("01abcdef", KEY, KEY[::-1])
    air = await Concentrator("127.0.0.1", agent.port, CONCENTRATOR).open()
    try:
        await asyncio.wait_for(air.reached.wait(), 30)
        air.nodes.append(meter)
        for _ in range(6):  # a busy machine may miss one
            air.send(meter.uplink(85, bytes.fromhex("0367ff00"), confirmed=True))
            await asyncio.sleep(5)
            if meter.acked:
                break
    finally:
        await air.close()
    assert meter.acked
    assert {order["datr"] for _, order in air.sent} == {"SF12BW125"}
