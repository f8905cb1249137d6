"""The wire to another site by itself: two of them with a network between them that loses, delays and doubles."""

import asyncio
import contextlib
import json

import pytest

from agent.errors import DeviceError, Rejected, WireError
from agent.model import BusState, Quality, Reading
from drivers.api import BusSpec, DeviceSpec
from drivers.bocage_site import bus as module
from drivers.bocage_site.bus import SiteBus
from drivers.bocage_site.config import BocageSite
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore
from tests.fakes.waiting import until


def point(remote, kind="telemetry", ask=False):
    return {"unit": "", "kind": kind, "writable": ask, "low": None, "high": None, "remote": remote}


READER = DeviceSpec(
    "station", {"site": "pompage"},
    {"points": {"well": point("well", "state", True), "runs": point("well", "state"), "level": point("sump")}},
    options={"stale_after": 15.0},
)  # fmt: skip
ASKED = DeviceSpec(
    "from-haut", {}, {"points": {"well": {**point("", "state"), "writable": False}}}, options={"requests": True}
)  # fmt: skip


class Network:
    """What the broker of the region is to the homes of both sites."""

    def __init__(self):
        self.members, self.is_up, self.sent, self.drops = [], True, [], lambda _topic: False

    def carry(self, topic, body):
        for topics, take in list(self.members):
            if topic in topics:
                take(topic, body)


class FakeHome:
    def __init__(self, network):
        self.network, self.values = network, {}

    @property
    def is_up(self):
        return self.network.is_up

    def reading(self, name):
        if name not in self.values:
            raise Rejected("there is no such point")
        return self.values[name]

    def join(self, topics, take, connected):
        member = topics, take
        self.network.members.append(member)
        connected()
        return lambda: self.network.members.remove(member)

    async def send(self, topic, body, life):
        assert life == 60
        self.network.sent.append((topic, json.loads(body)))
        if not self.network.is_up or self.network.drops(topic):
            return False
        self.network.carry(topic, body)
        return True


class Side:
    def __init__(self, network, own, other, devices, peer, clock):
        options = {"site": other, "own": own, "prefix": "p", "every": 5.0, "uplink": True}
        if peer is not None:
            options["peer"] = peer
        self.bus = SiteBus(BusSpec("net", "bocage_site", options, devices), clock, FakeStore())
        self.home = FakeHome(network)
        self.bus.take_home(self.home)
        self.last, self.clock = {}, clock

    async def run(self):
        async for readings in self.bus.readings():
            self.last |= {one.point: one for one in readings}


@pytest.fixture
async def sides(monkeypatch):
    """The reservoir and the station, which knows its well and its sump; 30 times as fast as they are."""
    monkeypatch.setattr(module, "GAP", 0.05)
    monkeypatch.setattr(module, "_LOOK", 0.05)
    monkeypatch.setattr(module, "CONFIRM", 1.0)
    network, loop = Network(), asyncio.get_running_loop()
    begun = loop.time()
    clock = FakeClock(runs=lambda: loop.time() - begun)
    haut = Side(network, "haut", "pompage", (READER,), None, clock)
    pompage = Side(network, "pompage", "haut", (ASKED,), {"allow": ["well"], "read": None}, clock)
    now = clock.now()
    pompage.home.values = {"well": Reading("m.relay1", False, now), "sump": Reading("sump", 61.5, now)}
    tasks = [asyncio.create_task(side.run()) for side in (haut, pompage)]
    yield network, haut, pompage
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_reader_gets_what_it_asks_to_be_told(sides):
    network, haut, _ = sides
    await until(lambda: "station.level" in haut.last)
    assert (haut.last["station.level"].value, haut.last["station.level"].quality) == (61.5, Quality.GOOD)
    assert haut.last["station.runs"].value is False and haut.last["station.well"].value is False
    assert haut.bus.status()["state"] == BusState.UP and haut.bus.status()["lost"] == []
    wants = [body for topic, body in network.sent if topic == "p/haut/peer/pompage/want"]
    assert wants[0]["read"] == ["sump", "well"] and "set" not in wants[0], "a wish that is not known yet"


async def test_a_write_returns_when_the_other_site_holds_the_wish(sides):
    _, haut, pompage = sides
    await haut.bus.write("station.well", True)
    assert pompage.last["from-haut.well"].value is True
    await until(lambda: haut.last["station.well"].value is True)
    await haut.bus.write("station.well", False)
    assert pompage.last["from-haut.well"].quality is Quality.BAD
    await until(lambda: haut.last["station.well"].value is False)


async def test_a_wish_in_the_millisecond_of_a_request_is_a_wish(sides, monkeypatch):
    """The second of two messages with the same time was taken for the first once more, and yet for answered."""
    _, haut, pompage = sides
    now = haut.clock.now()
    monkeypatch.setattr(haut.clock, "now", lambda: now)
    await haut.bus.write("station.well", True)
    assert pompage.bus.status()["wishes"] == {"well": True}


async def test_a_write_that_is_lost_is_an_error_and_is_repeated_all_the_same(sides):
    network, haut, pompage = sides
    await until(lambda: "station.level" in haut.last)
    network.drops = lambda topic: topic.endswith("/want")
    with pytest.raises(DeviceError, match="has not answered within 1 s"):
        await haut.bus.write("station.well", True)
    network.drops = lambda _topic: False
    await until(lambda: pompage.last["from-haut.well"].value is True, 8)


async def test_an_end_of_a_wish_that_is_lost_is_repeated_until_it_is_answered(sides):
    network, haut, pompage = sides
    await haut.bus.write("station.well", True)
    network.drops = lambda topic: topic.endswith("/want")
    with pytest.raises(DeviceError):
        await haut.bus.write("station.well", False)
    network.drops = lambda _topic: False
    haut.bus._connected()
    await until(lambda: pompage.last["from-haut.well"].quality is Quality.BAD)
    assert haut.bus._wishes.get("well") is None


async def test_without_a_link_it_is_the_wire_that_is_lost(sides):
    network, haut, _ = sides
    network.is_up = False
    with pytest.raises(WireError, match="no way to pompage"):
        await haut.bus.write("station.well", True)


async def test_a_wish_ends_three_intervals_after_its_last_repetition(sides):
    network, haut, pompage = sides
    await haut.bus.write("station.well", True)
    network.is_up = False
    for _ in range(14):
        assert pompage.last["from-haut.well"].value is True
        for side in (haut, pompage):
            side.clock.at += 0.5  # both have the same clock: a second passes
            side.bus._wake.set()
        await asyncio.sleep(0.01)
    haut.clock.at += 2
    pompage.bus._wake.set()
    await until(lambda: pompage.last["from-haut.well"].quality is Quality.BAD)
    assert haut.bus.status()["lost"] == ["station"] and "silent" in haut.bus.status()["error"]


async def test_a_value_that_is_too_old_is_stale_at_once(sides):
    _, haut, pompage = sides
    old = pompage.clock.now()
    pompage.home.values["sump"] = Reading("sump", 10.0, old._replace(boottime_ns=old.boottime_ns - 16 * 10**9))
    pompage.bus._tell_at = 0.0
    await until(lambda: haut.last.get("station.level") and haut.last["station.level"].value == 10.0, 8)
    assert haut.last["station.level"].quality is Quality.STALE


async def test_what_was_told_long_ago_is_read_as_stale(sides):
    network, haut, _ = sides
    await until(lambda: "station.level" in haut.last)
    (found,) = await haut.bus.read(["station.level"])
    assert found.quality is Quality.GOOD
    network.is_up = False
    haut.clock.at += 16
    for name in ("station.level", "station.well"):
        (found,) = await haut.bus.read([name])
        assert found.quality is Quality.STALE
    (found,) = await haut.bus.read(["station.other"])
    assert found.quality is Quality.BAD


async def test_what_there_is_not_is_refused_with_the_reason(sides):
    _, haut, pompage = sides
    del pompage.home.values["sump"]
    await until(lambda: haut.bus.status()["refused"])
    assert haut.bus.status()["refused"] == {"station": {"level": "there is no such point"}}
    assert haut.last["station.level"].quality is Quality.BAD


async def test_a_changed_state_is_told_at_once(sides):
    _, haut, pompage = sides
    await until(lambda: "station.runs" in haut.last)
    pompage.home.values["well"] = Reading("m.relay1", True, pompage.clock.now())
    begun = asyncio.get_running_loop().time()
    await until(lambda: haut.last["station.runs"].value is True)
    assert asyncio.get_running_loop().time() - begun < 3


async def test_a_flood_of_messages_is_bounded_and_the_newest_are_read(sides):
    network, haut, _ = sides
    await until(lambda: "station.level" in haut.last)
    _, told = next((topic, body) for topic, body in network.sent if topic == "p/pompage/peer/haut")
    for n in range(5000):
        network.carry("p/pompage/peer/haut", json.dumps(told | {"boottime_ms": 9_000_000 + n}).encode())
    assert haut.bus._inbox.qsize() <= 50
    await until(lambda: haut.bus._inbox.empty())


async def test_a_stop_after_a_crash_has_nothing_to_send_with():
    spec = BusSpec("net", "bocage_site", {"site": "pompage", "own": "haut", "prefix": "p", "every": 5.0,
                                          "uplink": True}, (READER,))  # fmt: skip
    bus = SiteBus(spec, FakeClock(), FakeStore())
    await bus.write("station.well", False)
    with pytest.raises(WireError, match="without the agent"):
        await bus.write("station.well", True)
    await bus.write_aside(READER, "station.well", False)


def test_the_interval_is_the_files():
    assert BocageSite.model_fields["every"].default == 60
