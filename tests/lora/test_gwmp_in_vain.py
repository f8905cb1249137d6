"""Nodes that ask to join in vain, and DevNonces that are forgotten."""

import asyncio

import pytest

from agent.demo.lorawan import OtaaNode
from tests.lora.test_gwmp import EUI, GATEWAY, HERE, JOIN_EUI, KEY, Site, otaa
from tests.lora.test_gwmp_agent import ROOM, concentrator, eventually
from tests.lora.test_gwmp_agent import site as _site

agent = _site


@pytest.fixture
def room():
    return OtaaNode(EUI, JOIN_EUI, KEY)


def ask(site, frame, seconds=600.0, times=1):
    """A request every so often; what is answered is not heard."""
    for _ in range(times):
        site.clock.at += seconds
        site.pull(GATEWAY, HERE)
        site.push(frame() if callable(frame) else frame)
        site.pass_time()
        site.pass_time(5)


def wrong_key(site, room):
    return OtaaNode(EUI, JOIN_EUI, KEY[::-1]).join_request


def used_nonce(site, room):
    request = room.join_request()
    site.speak(room, request)
    return request


def wrong_join_eui(site, room):
    return OtaaNode(EUI, "f" * 16, KEY).join_request


def not_heard(site, room):
    return room.join_request


@pytest.mark.parametrize(("what", "reason"), [
    (wrong_key, "wrong MIC: the device has another AppKey"),
    (used_nonce, "this DevNonce was used before"),
    (wrong_join_eui, f"the site file has join_eui {JOIN_EUI}"),
    (not_heard, "it was answered and asks again: it does not hear the gateway, or nothing of it is heard afterwards"),
])  # fmt: skip
def test_an_hour_in_vain(room, what, reason):
    site = Site(otaa())
    frame = what(site, room)
    ask(site, frame, times=5)
    assert site.server.in_vain() == {}
    ask(site, frame, times=4)
    assert site.server.in_vain() == {"room": reason}
    site.start()  # a restart forgets nothing of it
    assert site.server.in_vain() == {"room": reason}
    site.clock.at += 60
    site.pull()
    site.join(room)
    site.speak(room, room.uplink(1, b"x"))
    assert site.server.in_vain() == {}


@pytest.mark.parametrize(("what", "is_said"), [("one request", False), ("two requests", True), ("another key", True)])
def test_a_request_of_once_that_somebody_repeats_is_not_of_a_node_that_speaks(room, what, is_said):
    """One that lost its nonces asks with the next one each time; one that always has the same is soon silent."""
    site = Site(otaa())
    requests = [room.join_request() for _ in range(2)]
    for request in requests:
        site.speak(room, request)
        site.clock.at += 10
    site.pull()
    site.speak(room, requests[1])
    site.join(room)
    site.speak(room, room.uplink(1, b"x"))
    if what == "another key":
        requests = [OtaaNode(EUI, JOIN_EUI, KEY[::-1]).join_request()]
    for _ in range(5):
        ask(site, requests[0], 800)
        ask(site, requests[-1 if what == "two requests" else 0], 800)
    assert ("room" in site.server.in_vain(["room"])) == is_said
    assert "room" in site.server.in_vain()
    site.start()
    assert ("room" in site.server.in_vain(["room"])) == is_said


def test_without_airtime(room):
    site = Site(otaa(), gateways=(GATEWAY,))
    for _ in range(9):
        site.clock.at += 600  # no PULL_DATA
        site.push(room.join_request())
        site.pass_time()
        site.pass_time(5)
    assert "no PULL_DATA" in site.server.in_vain()["room"]
    site.clock.at += 60
    site.pull()
    site.join(room)
    assert site.server.in_vain() == {}  # a join ends it


def test_a_request_now_and_then_is_none(room):
    site = Site(otaa())
    ask(site, wrong_key(site, room), seconds=100_000, times=5)
    assert site.server.in_vain() == {}


def test_nonces_that_are_forgotten_may_be_used_again(room):
    site = Site(otaa())
    request = room.join_request()
    site.speak(room, request)
    site.start()
    assert site.server.forget_nonces("room") == 1
    site.pass_time(30)
    site.start()
    ask(site, request, seconds=30)
    assert [row["result"] for row in site.server.joins.rows()] == ["accepted", "accepted"]


class Forgetful(OtaaNode):
    """Begins with the same DevNonce each time."""

    def join_request(self):
        if not hasattr(self, "request"):
            self.request = super().join_request()
        self._nonce = self.request[17:19]
        return self.request


@pytest.mark.slow
async def test_a_technician_sees_it_and_forgets_the_nonces(agent, broker, make_subscriber):
    far = make_subscriber(broker.port)
    agent.document["uplink"] = {"url": f"mqtt://127.0.0.1:{broker.port}", "commands": {"allow": ["*"]}}
    agent.sabotage = (
        "import drivers.lora.gwmp.asking as asking; asking.IN_VAIN = 0.0\n"
        "import drivers.lora.gwmp.sessions as sessions; sessions.LATE_COPY = 0.0"
    )
    await asyncio.to_thread(agent.start)
    room = Forgetful(ROOM, JOIN_EUI, KEY)

    def alarms():
        return {one["subject"]: one for one in agent.status()["alarms"] if one["code"] == "join_in_vain"}

    def refusals():
        return [row for row in agent.ask(do="inspect", topic="join-log")["rows"] if row["result"] == "refused"]

    async with concentrator(agent) as air:
        await room.join(air)
        while not await asyncio.to_thread(refusals):
            air.send(room.join_request())
            await asyncio.sleep(0.3)
        await eventually(lambda: "room" in alarms(), "the alarm")
        refused = await asyncio.to_thread(agent.bocage, "write", "room.nonces", "reset")
        assert "takes forget" in refused.stdout + refused.stderr
        done = await asyncio.to_thread(agent.bocage, "write", "room.nonces", "forget", check=0)
        assert "1 DevNonces of room are forgotten" in done.stdout + done.stderr
        await room.join(air)
        air.send(room.uplink(85, bytes.fromhex("0367ff00")))
        await eventually(lambda: "room" not in alarms(), "its end")
        far.send("c1", point="room.nonces", value="forget")
        await eventually(lambda: far.states("c1"), "the answer to a command from afar")
    assert far.states("c1")[-1] == "rejected"
    (audit,) = await eventually(lambda: far.events("nonces_forgotten", "audit"), "the record")
    assert (audit["subject"], audit["detail"]["count"]) == ("room", 1)
