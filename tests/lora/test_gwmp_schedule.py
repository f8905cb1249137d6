"""Downlinks of many nodes through one concentrator, which sends one packet at a time."""

import base64
import json
import random

import pytest

from agent.demo.lorawan import AbpNode, OtaaNode
from drivers.lora.gwmp.airtime import airtime
from drivers.lora.gwmp.server import Send
from tests.lora.test_gwmp import EUI, GATEWAY, HERE, JOIN_EUI, KEY, SECOND, THERE, Site, abp, order, otaa

STEP = 0.05


class Concentrator:
    """The queue of a packet forwarder (jitqueue.c): what overlaps another packet is refused. Half-duplex."""

    def __init__(self, site, eui=GATEWAY, address=HERE, deaf=True):
        self.site, self.eui, self.address, self.deaf = site, eui, address, deaf
        self.queue, self.refused = [], []

    def take(self, datagram):
        """The order, or None if it was refused; the server is told."""
        packet = json.loads(datagram[4:])["txpk"]
        sf = int(packet["datr"][2:].partition("BW")[0])
        start = self.site.tmst if packet["imme"] else packet["tmst"]
        end = start + airtime(packet["size"], sf) * 1000
        error = "NONE"
        if start < self.site.tmst:
            error = "TOO_LATE"
        elif any(start < other + 2500 and begun < end + 2500 for begun, other in self.queue):
            error = "COLLISION_PACKET"
        ack = json.dumps({"txpk_ack": {"error": error}}).encode()
        self.site.server.datagram(b"\x02" + datagram[1:3] + b"\x05" + bytes.fromhex(self.eui) + ack, self.address)
        if error != "NONE":
            self.refused.append(error)
            return None
        self.queue.append((start, end))
        return packet

    @property
    def is_deaf(self):
        """It hears nothing while it sends."""
        return self.deaf and any(start <= self.site.tmst < end for start, end in self.queue)


def run(site, concentrators, nodes, frames, seconds):
    """`frames`: node and what it sends, by the second at which it does."""
    waiting = sorted(frames, key=lambda one: one[0])
    started = site.clock.at
    while site.clock.at - started < seconds:
        for one in concentrators:
            site.pull(one.eui, one.address)
        while waiting and waiting[0][0] <= site.clock.at - started:
            _, frame, options = waiting.pop(0)
            for one in concentrators:
                if not one.is_deaf:
                    site.push(frame(), gateway=one.eui, address=one.address, **options)
        site.clock.at += STEP
        acts = [act for act in site.server.tick() if isinstance(act, Send)]
        site.kept |= json.loads(json.dumps(site.server.facts()))
        for act in acts:
            one = next(one for one in concentrators if one.address == act.address)
            if packet := one.take(act.datagram):
                for node in nodes:
                    node.hear(base64.b64decode(packet["data"]))


def crowd(count):
    euis = [f"24e124136b31{number:04x}" for number in range(count)]
    keys = [bytes([number]) * 16 for number in range(count)]
    specs = [otaa(f"n{eui[-4:]}", eui, key.hex()) for eui, key in zip(euis, keys, strict=True)]
    return specs, [OtaaNode(eui, JOIN_EUI, key) for eui, key in zip(euis, keys, strict=True)]


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_fifty_joins_in_ten_seconds(seed, deaf):
    """At least 30 are in the first time, though a concentrator is deaf while it sends."""
    chance = random.Random(seed)
    specs, nodes = crowd(50)
    site = Site(*specs, gateways=(GATEWAY,))
    air = Concentrator(site, deaf=deaf)
    frames = [
        (chance.uniform(0, 10), node.join_request, {"freq": chance.choice([868.1, 868.3, 868.5])}) for node in nodes
    ]
    run(site, [air], nodes, frames, 30)
    joined = [node for node in nodes if node.joined.is_set()]
    assert len(joined) >= 30
    assert air.refused == []
    rows = {row["dev_eui"]: row for row in site.server.joins.rows()}
    for node, spec in zip(nodes, specs, strict=True):
        row = rows.get(spec.address["dev_eui"])
        sent = row is not None and row["result"] == "accepted"
        assert node.joined.is_set() == sent
        if sent:
            assert (row["window"] in ("RX1", "RX2"), row["sent_by"], row["taken"]) == (True, GATEWAY, True)


def test_answers_that_would_overlap_go_to_the_second_window():
    specs = [abp(f"m{number}", f"01abcde{number}") for number in range(3)]
    nodes = [AbpNode(f"01abcde{number}", KEY, KEY[::-1]) for number in range(3)]
    site = Site(*specs, gateways=(GATEWAY,))
    air = Concentrator(site)
    frames = [(0, lambda node=node: node.uplink(1, b"x", confirmed=True), {"freq": 868.1}) for node in nodes]
    run(site, [air], nodes, frames, 5)
    assert air.refused == []
    assert sorted(node.acked for node in nodes) == [0, 1, 1]  # RX1, RX2, and nothing
    assert site.server.counts["no_airtime"] == 1


def test_another_gateway_answers_when_the_best_one_is_busy():
    specs = [abp(f"m{number}", f"01abcde{number}") for number in range(2)]
    nodes = [AbpNode(f"01abcde{number}", KEY, KEY[::-1]) for number in range(2)]
    site = Site(*specs)
    both = [Concentrator(site), Concentrator(site, SECOND, THERE)]
    frames = [(0, node.uplink(1, b"x", confirmed=True), {}) for node in nodes]
    run(site, both, nodes, [(at, lambda frame=frame: frame, more) for at, frame, more in frames], 5)
    assert [node.acked for node in nodes] == [1, 1]
    assert [len(one.queue) for one in both] == [1, 1]
    assert all(end - start < 100_000 for one in both for start, end in one.queue)  # SF7: both in RX1


@pytest.mark.parametrize("error", ["COLLISION_PACKET", "TOO_LATE"])
def test_what_one_gateway_refuses_another_sends(error):
    site, node = Site(abp()), AbpNode("01abcdef", KEY, KEY[::-1])
    frame = node.uplink(1, b"x", confirmed=True)
    site.push(frame)
    site.push(frame, gateway=SECOND, address=THERE)
    (first,) = site.pass_time()
    (second,) = site.tx_ack(error)
    assert (site.out[-1][1], second["tmst"], second["datr"]) == (THERE, first["tmst"], "SF7BW125")


@pytest.mark.parametrize("error", ["COLLISION_PACKET", "TX_FREQ"])
def test_what_one_gateway_refuses_at_once_another_sends_at_once(error):
    site, node = Site(otaa(**{"class": "C"})), OtaaNode(EUI, JOIN_EUI, KEY)
    site.join(node)
    frame = node.uplink(1, b"x")
    site.push(frame)
    site.push(frame, gateway=SECOND, address=THERE, lsnr=1.0)
    site.pass_time()
    site.pass_time(10)
    _, ended = order(site, "room", "room.valve")
    (first,) = site.pass_time(0.0)
    assert (first["imme"], site.out[-1][1]) == (True, HERE)
    (second,) = site.tx_ack(error)
    assert (second["imme"], second["data"], site.out[-1][1]) == (True, first["data"], THERE)
    site.tx_ack("NONE", SECOND)
    node.hear(base64.b64decode(second["data"]))
    site.speak(node, node.uplink(1, b"y"))
    assert (node.received, ended) == ([(9, b"\x01")], [""])


@pytest.mark.parametrize("is_alone", [False, True])
def test_what_a_gateway_that_died_was_to_send_at_once_another_sends(is_alone):
    """A gateway counts for a minute after its last PULL_DATA; that it has no word for an order tells sooner."""
    site, node = Site(otaa(**{"class": "C"})), OtaaNode(EUI, JOIN_EUI, KEY)
    dead, alive = Concentrator(site), Concentrator(site, SECOND, THERE)
    run(site, [alive], [node], [(0, node.join_request, {})], 8)
    frame = node.uplink(1, b"x")
    run(site, [dead] if is_alone else [dead, alive], [node], [(0, lambda: frame, {})], 3)
    _, ended = order(site, "room", "room.valve", b"\x01", site.clock.at + 10)
    assert [order["imme"] for order in site.pass_time(0.0)] == [True]  # nobody takes it
    assert site.out[-1][1] == HERE
    run(site, [alive], [node], [], 4)
    assert (node.received, len(alive.queue)) == (([], 1) if is_alone else ([(9, b"\x01")], 2))
    site.push(node.uplink(1, b"y"), SECOND, THERE)
    site.pass_time()
    assert ended == ([] if is_alone else [""])


def test_a_gateway_that_died_is_not_asked_first_again():
    site, node = Site(otaa(**{"class": "C"})), OtaaNode(EUI, JOIN_EUI, KEY)
    both = [Concentrator(site), Concentrator(site, SECOND, THERE)]
    run(site, both[1:], [node], [(0, node.join_request, {})], 8)
    frame = node.uplink(1, b"x")
    run(site, both, [node], [(0, lambda: frame, {})], 3)
    order(site, "room", "room.valve", b"\x01", site.clock.at + 3)
    site.pass_time(0.0)
    run(site, both[1:], [], [], 12)
    order(site, "room", "room.valve", b"\x02", site.clock.at + 3)
    site.pass_time(0.0)
    assert site.out[-1][1] == THERE
    run(site, both, [], [], 12)  # it is back
    order(site, "room", "room.valve", b"\x03")
    site.pass_time(0.0)
    assert site.out[-1][1] == HERE


def test_what_is_too_late_for_the_other_windows_is_not_ordered():
    site, node = Site(abp(), gateways=(GATEWAY,)), AbpNode("01abcdef", KEY, KEY[::-1])
    site.speak(node, node.uplink(1, b"x", confirmed=True))
    site.clock.at += 2
    assert site.tx_ack("TOO_LATE") == []


@pytest.mark.parametrize("error", [None, "NONE", "TOO_LATE"])
def test_the_log_says_what_was_sent(error):
    site, node = Site(otaa(), gateways=(GATEWAY,)), OtaaNode(EUI, JOIN_EUI, KEY)
    site.join(node)
    if error:
        site.tx_ack(error)
    if error == "TOO_LATE":
        site.tx_ack(error)
    (row,) = site.server.joins.rows()
    said = (row["result"], row["reason"], row["window"], row["taken"])
    assert said == {
        None: ("accepted", "", "RX1", None),
        "NONE": ("accepted", "", "RX1", True),
        "TOO_LATE": ("not sent", "the gateway says TOO_LATE", None, False),
    }[error]
    site.pass_time()
    assert site.kept["joins"]["ours"] == [row]


def test_a_device_that_always_listens_waits_for_the_concentrator():
    """What is sent to it at once does not overlap what a class A device gets in its window."""
    specs = [otaa(**{"class": "C"}), abp()]
    nodes = [OtaaNode(EUI, JOIN_EUI, KEY), AbpNode("01abcdef", KEY, KEY[::-1])]
    site = Site(*specs, gateways=(GATEWAY,))
    air = Concentrator(site)
    run(site, [air], nodes, [(0, nodes[0].join_request, {})], 8)
    run(site, [air], nodes, [(0, lambda: nodes[0].uplink(1, b"x"), {})], 8)
    frames = [(0, lambda: nodes[1].uplink(1, b"x", confirmed=True), {"datr": "SF12BW125"})]
    run(site, [air], nodes, frames, 1.1)  # RX1 of 1 s at SF12 has begun
    _, ended = order(site, "room", "room.valve")
    run(site, [air], nodes, [], 3)
    assert (nodes[0].received, ended, air.refused) == ([(9, b"\x01")], [], [])


@pytest.mark.parametrize("more", [0, 1])
def test_what_is_sent_at_once_does_not_overtake_an_answer(more):
    """The answer has the lower counter, and would be dropped as an old frame. `more` uplinks want none."""
    site, node = Site(otaa(**{"class": "C"}), gateways=(GATEWAY,)), OtaaNode(EUI, JOIN_EUI, KEY)
    run(site, [Concentrator(site)], [node], [(0, node.join_request, {})], 8)
    site.push(node.uplink(1, b"x", confirmed=True))
    (answer,) = site.pass_time()
    for _ in range(more):
        site.clock.at += 1
        site.push(node.uplink(1, b"x"))
        assert site.pass_time() == []
    order(site, "room", "room.valve")
    while (answer["tmst"] - site.tmst) % (1 << 32) < 6_000_000:
        assert site.pass_time(0.1) == []
        site.pull()
    node.hear(base64.b64decode(answer["data"]))
    run(site, [Concentrator(site)], [node], [], 2)
    assert (node.acked, node.received) == (1, [(9, b"\x01")])


@pytest.mark.parametrize("restart", [False, True])
def test_after_a_rejoin_a_device_that_always_listens_is_spoken_to_under_its_new_address(restart):
    site, node = Site(otaa(**{"class": "C"}), gateways=(GATEWAY,)), OtaaNode(EUI, JOIN_EUI, KEY)
    air = Concentrator(site)
    run(site, [air], [node], [(0, node.join_request, {})], 8)
    run(site, [air], [node], [(0, lambda: node.uplink(1, b"x"), {})], 3)
    old = node.address
    run(site, [air], [node], [(0, node.join_request, {})], 1)
    _, ended = order(site, "room", "room.valve")
    run(site, [air], [node], [], 3)
    assert len(air.queue) == 2  # it does not listen before the join-accept is there
    if restart:
        run(site, [air], [node], [], 1)
        site.start()
        _, ended = order(site, "room", "room.valve")
    run(site, [air], [node], [], 6)
    assert node.address != old
    assert node.received == [(9, b"\x01")]
    run(site, [air], [node], [(0, lambda: node.uplink(None, b""), {})], 2)
    assert ended == [""]


def test_a_device_that_goes_on_in_its_old_session_is_spoken_to_there():
    site, node = Site(otaa(**{"class": "C"}), gateways=(GATEWAY,)), OtaaNode(EUI, JOIN_EUI, KEY)
    air = Concentrator(site)
    run(site, [air], [node], [(0, node.join_request, {})], 8)
    run(site, [air], [node], [(0, lambda: node.uplink(1, b"x"), {})], 3)
    run(site, [air], [], [(0, node.join_request, {})], 8)  # the answer is not heard
    run(site, [air], [node], [(0, lambda: node.uplink(1, b"y"), {})], 1)
    order(site, "room", "room.valve")
    run(site, [air], [node], [], 3)
    assert node.received == [(9, b"\x01")]


@pytest.mark.parametrize("restart", [False, True])
def test_an_acknowledgement_of_the_value_before_confirms_no_new_one(restart):
    """LoRaWAN 1.0 does not say of what it is; a device that always listens may send it after the next value."""
    site, node = Site(otaa(**{"class": "C"}), gateways=(GATEWAY,)), OtaaNode(EUI, JOIN_EUI, KEY)
    air = Concentrator(site)
    run(site, [air], [node], [(0, node.join_request, {})], 8)
    run(site, [air], [node], [(0, lambda: node.uplink(1, b"x"), {})], 3)
    order(site, "room", "room.valve", b"\x01", site.clock.at + 3)
    run(site, [air], [node], [], 12)  # it has heard that, and says nothing yet
    if restart:
        site.start()
    _, ended = order(site, "room", "room.valve", b"\x02")
    run(site, [air], [], [], 4)  # it does not hear this one
    run(site, [air], [node], [(0, lambda: node.uplink(1, b"x"), {})], 4)
    assert (node.received, ended) == ([(9, b"\x01"), (9, b"\x02")], [])
    run(site, [air], [node], [(0, lambda: node.uplink(1, b"y"), {})], 4)
    assert ended == [""]
