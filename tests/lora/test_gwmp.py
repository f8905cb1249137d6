"""The network server without a socket: datagrams in, datagrams out, on a clock of the test's own."""

import base64
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.demo.lorawan import AbpNode, OtaaNode
from agent.errors import ConfigError
from drivers.api import DeviceSpec
from drivers.lora.gwmp import packets
from drivers.lora.gwmp.airtime import AirtimeAccount, airtime
from drivers.lora.gwmp.downlinks import PendingDownlink
from drivers.lora.gwmp.gateways import MOST_GATEWAYS
from drivers.lora.gwmp.region import SUB_BANDS, sub_band
from drivers.lora.gwmp.server import MOST_FRAMES, Battery, Heard, Joined, Send, Server, describe
from drivers.lora.gwmp.sessions import end_device
from tests.fakes.clock import FakeClock

KEY = bytes(range(1, 17))
EUI, JOIN_EUI, GATEWAY, SECOND = "24e124136b316001", "24e124c0002a0001", "0102030405060708", "0102030405060709"
HERE, THERE = ("127.0.0.1", 4711), ("127.0.0.1", 4712)


class Secret:
    def __init__(self, text):
        self.text = text

    def __str__(self):
        return "{file: key}"

    def reveal(self):
        if self.text is None:
            raise ConfigError(["the secret {file: key} cannot be read"])
        return self.text


def otaa(name="room", eui=EUI, key=None, **profile):
    address = {"dev_eui": eui, "join_eui": JOIN_EUI, "app_key": Secret(KEY.hex() if key is None else key)}
    return DeviceSpec(name, address, {"lora": profile, "points": {}})


def abp(name="meter", addr="01abcdef", **more):
    address = {"dev_addr": addr, "nwk_s_key": Secret(KEY.hex()), "app_s_key": Secret(KEY[::-1].hex()), **more}
    return DeviceSpec(name, address, {"lora": {}, "points": {}})


class Site:
    """A server, the gateways that reach it, and what it has kept."""

    def __init__(self, *specs, gateways=(GATEWAY, SECOND)):
        self.clock = FakeClock(boot="b", epoch=1_700_000_000.0)
        self.kept, self.specs, self.allowed = {}, specs, gateways
        self._tmst = -1_000_000_000  # at second 1000 of the clock it is 0
        self.out, self.heard, self.others = [], [], []
        self.start()

    @property
    def tmst(self):
        """The concentrators' counter goes with the clock."""
        return (self._tmst + round(self.clock.at * 1_000_000)) % 2**32

    @tmst.setter
    def tmst(self, now):
        self._tmst = now - round(self.clock.at * 1_000_000)

    def start(self):
        devices = [end_device(spec) for spec in self.specs]
        self.server = Server(devices, self.allowed, self.clock, self.kept.get)
        self.server.devices.open()
        for gateway, address in ((GATEWAY, HERE), (SECOND, THERE)):
            self.pull(gateway, address)

    def device(self, name):
        return next(device for device in self.server.devices if device.name == name)

    def pull(self, gateway=GATEWAY, address=HERE):
        return self.server.datagram(b"\x02\x12\x34\x02" + bytes.fromhex(gateway), address)

    def push(self, frame, gateway=GATEWAY, address=HERE, **more):
        packet = {
            "tmst": self.tmst, "freq": 868.1, "stat": 1, "modu": "LORA", "datr": "SF7BW125", "codr": "4/5",
            "rssi": -70, "lsnr": 8.0, "size": len(frame), "data": base64.b64encode(frame).decode(), **more,
        }  # fmt: skip
        body = json.dumps({"rxpk": [packet]}).encode()
        return self.server.datagram(b"\x02\xab\xcd\x00" + bytes.fromhex(gateway) + body, address)

    def pass_time(self, seconds=0.25):
        """Let time pass; returns the orders that went out."""
        self.clock.at += seconds
        acts = self.server.tick()
        self.kept |= json.loads(json.dumps(self.server.facts()))
        sent = [(act.datagram, act.address) for act in acts if isinstance(act, Send)]
        self.out += sent
        self.heard += [act for act in acts if isinstance(act, Heard)]
        self.others += [act for act in acts if isinstance(act, Battery | Joined)]
        return [json.loads(datagram[4:])["txpk"] for datagram, _ in sent]

    def tx_ack(self, error, gateway=GATEWAY):
        body = json.dumps({"txpk_ack": {"error": error}}).encode() if error is not None else b""
        self.server.datagram(b"\x02" + self.out[-1][0][1:3] + b"\x05" + bytes.fromhex(gateway) + body, HERE)
        return self.pass_time(0.0)

    def speak(self, node, frame, **more):
        """A frame of a node, and the node hears the answer."""
        self.push(frame, **more)
        orders = self.pass_time()
        for order in orders:
            node.hear(base64.b64decode(order["data"]))
        return orders

    def join(self, node):
        return self.speak(node, node.join_request())


@pytest.fixture
def room():
    return OtaaNode(EUI, JOIN_EUI, KEY)


@pytest.fixture
def meter():
    return AbpNode("01abcdef", KEY, KEY[::-1])


# -- datagrams -------------------------------------------------------------------------------------------------------


def test_gateways_are_acknowledged():
    site = Site(abp())
    assert site.pull() == b"\x02\x12\x34\x04"
    assert site.push(b"") == b"\x02\xab\xcd\x01"


def test_only_gateways_of_the_list_are_heard(meter):
    site = Site(abp(), gateways=(GATEWAY,))
    assert site.push(meter.uplink(1, b"x"), gateway=SECOND) is None
    assert site.pull(SECOND) is None
    site.pass_time()
    assert site.heard == []
    assert site.server.counts["not_admitted"] == 3


def test_without_a_list_only_this_machine_is_heard(meter):
    site = Site(abp(), gateways=())
    assert site.push(meter.uplink(1, b"x"), address=("192.168.1.9", 1)) is None
    assert site.push(meter.uplink(1, b"x"), address=("127.0.0.1", 1)) is not None
    for number in range(500):
        site.pull(f"{number:016x}", HERE)
    assert len(list(site.server.gateways)) == MOST_GATEWAYS


@pytest.mark.parametrize("text", ["+/+/AA==", "+/+/AA", "-_-_AA==", "-_-_AA"])
def test_both_alphabets_padded_or_not(text):
    packet = {"tmst": 5, "freq": 868.1, "datr": "SF7BW125", "data": text}
    body = json.dumps({"rxpk": [packet]}).encode()
    found = packets.parse(b"\x02\0\0\0" + bytes(8) + body)
    assert found.packets[0].payload == bytes.fromhex("fbffbf00")


@pytest.mark.parametrize("stat", [0, -1, None, "1"])
def test_packets_with_a_wrong_crc_are_dropped(meter, stat):
    site = Site(abp())
    site.push(meter.uplink(1, b"x"), stat=stat)
    site.pass_time()
    assert site.heard == []


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x02", b"\x02\0\0\0" + bytes(8), b"\x02\0\0\5" + bytes(8)]))
def test_rubbish_datagrams(data, head):
    try:
        packets.parse(head + data)
    except packets.Rubbish:
        pass


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = ["tmst", "freq", "datr", "data", "rssi", "lsnr", "stat", "modu"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=8), max_size=3), st.sampled_from([0, 5]))
def test_json_of_the_wrong_shape(rxpk, kind):
    body = json.dumps({"rxpk": rxpk, "txpk_ack": rxpk and rxpk[0]}).encode()
    packets.parse(bytes([2, 0, 0, kind]) + bytes(8) + body)


def test_deep_and_huge_json_is_rubbish():
    for body in (b"[" * 60_000, b"9" * 50_000, b'{"rxpk":7}', b"\xff\xfe"):
        with pytest.raises(packets.Rubbish):
            packets.parse(b"\x02\0\0\0" + bytes(8) + body)


def test_rubbish_and_strangers_leave_no_memory_behind():
    """Every table has an end, whatever is sent."""
    site = Site(abp(), otaa(), gateways=())
    chance = random.Random(1)
    for number in range(6000):
        head = chance.choice([b"\x00", b"\x40", b"\x80\xef\xcd\xab\x01"])
        site.push(head + chance.randbytes(23 - len(head)), gateway=f"{number:016x}")
        site.push(head + chance.randbytes(23 - len(head)))
        site.server.datagram(b"\x02" + chance.randbytes(2) + b"\x05" + bytes.fromhex(GATEWAY), HERE)
    server = site.server
    assert len(server._frames) <= MOST_FRAMES
    site.pass_time()
    assert server._frames == {}
    assert len(server.joins.rows()) <= 100
    assert len(server.gateways._sent) <= 256
    assert site.heard == []
    assert len(json.dumps(site.kept)) < 20_000


# -- uplinks ---------------------------------------------------------------------------------------------------------


def test_an_uplink_of_an_abp_device(meter):
    site = Site(abp())
    site.speak(meter, meter.uplink(7, b"hello"))
    assert [(one.device, one.port, one.payload, one.counter) for one in site.heard] == [("meter", 7, b"hello", 0)]
    assert site.out == []


def test_copies_of_several_gateways_are_one_uplink(meter):
    site = Site(abp())
    frame = meter.uplink(1, b"x", confirmed=True)
    site.push(frame, rssi=-110, lsnr=-3.0)
    site.clock.at += 0.1
    site.push(frame, gateway=SECOND, address=THERE, rssi=-80, lsnr=7.5)
    site.pass_time()
    assert [(one.best.gateway, one.best.snr) for one in site.heard] == [(SECOND, 7.5)]
    assert [copy["gateway"] for copy in site.device("meter").last["gateways"]] == [SECOND, GATEWAY]
    assert [address for _, address in site.out] == [THERE]


def test_a_gateway_without_pull_data_is_passed_over(meter):
    site = Site(abp())
    site.clock.at += 120
    site.pull(GATEWAY, HERE)
    frame = meter.uplink(1, b"x", confirmed=True)
    site.push(frame, lsnr=1.0)
    site.push(frame, gateway=SECOND, address=THERE, lsnr=9.0)
    site.pass_time()
    assert [address for _, address in site.out] == [HERE]


def test_a_confirmed_uplink_is_acknowledged_and_its_repetition_again(meter):
    site = Site(abp())
    frame = meter.uplink(1, b"x", confirmed=True)
    first = site.speak(meter, frame)
    site.clock.at += 3
    again = site.speak(meter, frame)
    assert (len(first), len(again), meter.acked) == (1, 1, 2)
    assert first[0]["data"] != again[0]["data"]  # a counter is never used twice
    assert len(site.heard) == 1


@pytest.mark.parametrize("tmst", [10, 2**32 - 1, 2**32 - 1_000_000])
def test_the_counter_of_the_concentrator_wraps(meter, tmst):
    site = Site(abp())
    site.tmst = tmst
    (order,) = site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    assert order["tmst"] == (tmst + 1_000_000) % 2**32
    assert {**order, "tmst": 0, "data": "", "size": 0} == {
        "imme": False, "tmst": 0, "rfch": 0, "freq": 868.1, "powe": 16, "modu": "LORA", "datr": "SF7BW125",
        "codr": "4/5", "ipol": True, "ncrc": True, "size": 0, "data": "",
    }  # fmt: skip


def test_counters_go_on_beyond_16_bits(meter):
    site = Site(abp())
    for counter in (65534, 65535, 65536, 65540, 131073):
        meter.up = counter
        site.speak(meter, meter.uplink(1, b"x"))
    assert [one.counter for one in site.heard] == [65534, 65535, 65536, 65540, 131073]
    assert site.device("meter").lost == 3 + 65532


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("before", [50, 70_000])
def test_a_counter_that_begins_again(meter, skip, before):
    site = Site(abp(skip_fcnt_check=skip))
    site.device("meter").session.up = before - 1
    meter.up = before
    site.speak(meter, meter.uplink(1, b"x"))
    meter.up = 0
    site.speak(meter, meter.uplink(1, b"y"))
    assert [one.payload for one in site.heard] == ([b"x", b"y"] if skip else [b"x"])
    assert site.device("meter").resets == 1


def test_forged_and_foreign_frames_are_counted(meter):
    site = Site(abp())
    site.speak(meter, meter.uplink(1, b"x")[:-1] + b"\0")
    stranger = AbpNode("00112233", KEY, KEY)
    site.speak(stranger, stranger.uplink(1, b"x"))
    assert site.heard == []
    assert (site.server.counts["wrong_mic"], site.server.counts["foreign"]) == (1, 1)


def test_two_devices_may_share_an_address(meter):
    other = DeviceSpec("other", {"dev_addr": "01abcdef", "nwk_s_key": Secret(KEY[::-1].hex()),
                                 "app_s_key": Secret(KEY.hex())})  # fmt: skip
    site = Site(abp(), other)
    twin = AbpNode("01abcdef", KEY[::-1], KEY)
    site.speak(twin, twin.uplink(1, b"t"))
    site.speak(meter, meter.uplink(1, b"m"))
    assert [(one.device, one.payload) for one in site.heard] == [("other", b"t"), ("meter", b"m")]


def test_a_missing_key_is_said_and_looked_for_again(meter):
    spec = abp()
    spec.address["nwk_s_key"].text = None
    site = Site(spec)
    site.speak(meter, meter.uplink(1, b"x"))
    assert site.heard == []
    assert "cannot be read" in describe(site.device("meter"), 0)["fault"]
    spec.address["nwk_s_key"].text = KEY.hex()
    site.clock.at += 61
    site.pull()
    site.speak(meter, meter.uplink(1, b"y"))
    assert [one.payload for one in site.heard] == [b"y"]


@pytest.mark.parametrize("text", ["zz" * 16, "0102", ""])
def test_a_key_of_the_wrong_form_is_not_shown(text):
    fault = Site(otaa(key=text)).device("room").fault
    assert fault == "app_key of room is not 32 hexadecimal digits, in {file: key}"


# -- joining ---------------------------------------------------------------------------------------------------------


def test_a_device_joins(room):
    site = Site(otaa())
    site.tmst = 2**32 - 1
    (order,) = site.join(room)
    assert (order["tmst"], order["size"]) == (4_999_999, 33)
    assert room.joined.is_set()
    assert room.address < 1 << 25
    assert room.channels == [868.1, 868.3, 868.5, 867.1, 867.3, 867.5, 867.7, 867.9]
    site.speak(room, room.uplink(2, b"first"))
    assert [one.payload for one in site.heard] == [b"first"]
    assert site.others == [Joined("room")]


def test_a_join_heard_twice_is_answered_once(room):
    site = Site(otaa())
    request = room.join_request()
    site.push(request)
    site.push(request, gateway=SECOND, address=THERE)
    assert len(site.pass_time()) == 1


def test_a_nonce_is_used_once(room):
    site = Site(otaa())
    request = room.join_request()
    site.speak(room, request)
    site.start()
    site.clock.at += 10
    assert site.speak(room, request) == []
    assert [row["reason"] for row in site.server.joins.rows()] == ["", "this DevNonce was used before"]


def test_joins_of_others_are_counted(room):
    site = Site(otaa())
    for node in (OtaaNode("f" * 16, JOIN_EUI, KEY), OtaaNode(EUI, "f" * 16, KEY)):
        assert site.join(node) == []
    wrong = OtaaNode(EUI, JOIN_EUI, KEY[::-1])
    assert site.join(wrong) == []
    assert (site.server.counts["foreign"], site.server.counts["joins_refused"]) == (2, 1)
    assert "AppKey" in site.server.joins.rows()[-1]["reason"] + site.server.joins.rows()[0]["reason"]


def test_the_old_session_holds_until_the_new_one_is_used(room):
    site = Site(otaa())
    site.join(room)
    site.speak(room, room.uplink(1, b"a"))
    site.push(room.join_request())
    site.pass_time()  # the answer is not heard
    site.start()
    site.speak(room, room.uplink(1, b"b"))
    assert [one.payload for one in site.heard] == [b"a", b"b"]
    site.join(room)
    site.speak(room, room.uplink(1, b"c"))
    assert [one.payload for one in site.heard] == [b"a", b"b", b"c"]
    assert len(site.device("room").sessions) == 1


def test_requests_that_were_never_heard_end_no_session_that_just_began(room):
    """Somebody recorded them while nobody listened here, and sends them before the device has used its new session."""
    recorded = [room.join_request() for _ in range(12)]
    site = Site(otaa())
    site.join(room)
    site.speak(room, room.uplink(1, b"a"))
    for n, (first, second) in enumerate(zip(recorded[:6:2], recorded[1:6:2], strict=True)):
        site.push(first)
        site.pass_time()
        site.join(room)
        site.push(second)
        site.pass_time()
        site.start()
        site.speak(room, room.uplink(1, b"%d" % n))
    assert [one.payload for one in site.heard] == [b"a", b"0", b"1", b"2"]
    for frame in recorded[6:]:
        site.push(frame)
        site.pass_time()
    site.speak(room, room.uplink(1, b"b"))
    assert site.heard[-1].payload == b"b"
    site.join(room)
    site.speak(room, room.uplink(1, b"c"))
    assert [one.payload for one in site.heard[-2:]] == [b"b", b"c"]
    assert len(site.device("room").sessions) == 1


def test_a_restart_keeps_sessions_and_repeats_no_counter(room):
    site = Site(otaa())
    site.join(room)
    seen = set()
    for _ in range(5):
        for order in site.speak(room, room.uplink(1, b"x", confirmed=True)):
            seen.add(base64.b64decode(order["data"])[6:8])
        site.start()
    assert len(seen) == 5
    assert room.acked == 5
    assert [one.counter for one in site.heard] == [0, 1, 2, 3, 4]
    assert KEY.hex() not in json.dumps(site.kept)


def test_another_key_in_the_file_ends_the_session(room):
    site = Site(otaa())
    site.join(room)
    site.specs = (otaa(key=KEY[::-1].hex()),)
    site.start()
    assert site.device("room").sessions == []


# -- downlinks -------------------------------------------------------------------------------------------------------


def order(site, device="meter", point="meter.valve", payload=b"\x01", until=None):
    ended = []
    downlink = PendingDownlink(point, 9, payload, ended.append, until)
    site.server.submit(device, downlink)
    return downlink, ended


def test_a_value_waits_for_the_next_uplink_and_is_confirmed(meter):
    site = Site(abp())
    _, ended = order(site)
    assert site.pass_time() == []
    site.speak(meter, meter.uplink(1, b"x"))
    assert (meter.received, ended) == ([(9, b"\x01")], [])
    site.speak(meter, meter.uplink(1, b"x"))
    assert ended == [""]


@pytest.mark.parametrize("tells", [True, False])
def test_a_value_that_needs_no_confirmation_is_done_when_a_gateway_took_it(meter, tells):
    site = Site(abp())
    downlink, ended = order(site)
    downlink.confirmed = False
    site.speak(meter, meter.uplink(1, b"x"))
    assert base64.b64decode(json.loads(site.out[0][0][4:])["txpk"]["data"])[0] >> 5 == 3
    assert (meter.received, ended) == ([(9, b"\x01")], [])
    if tells:
        site.tx_ack("NONE")
    else:  # an old forwarder says nothing
        site.speak(meter, meter.uplink(1, b"x"))
    assert ended == [""]
    site.speak(meter, meter.uplink(1, b"x"))
    assert len(meter.received) == 1


def test_a_value_that_was_not_heard_is_sent_three_times(meter):
    site = Site(abp())
    _, ended = order(site)
    for _ in range(4):
        site.push(meter.uplink(1, b"x"))
        site.pass_time()
    assert ended == ["not confirmed after 3 transmission(s)"]
    assert len({base64.b64decode(json.loads(d[4:])["txpk"]["data"])[6:8] for d, _ in site.out}) == 3


def test_newer_values_expiry_and_withdrawal(meter):
    site = Site(abp())
    _, first = order(site, payload=b"\x01")
    waiting, second = order(site, payload=b"\x02", until=site.clock.at + 5)
    third, _ = order(site, point="meter.other", payload=b"\x03")
    assert first == ["replaced by a newer value"]
    site.server.withdraw("meter", third)
    site.pass_time(6)
    assert second == ["expired before the device listened"]
    assert waiting.late
    site.speak(meter, meter.uplink(1, b"x"))
    assert meter.received == []


def test_what_was_sent_to_a_device_that_falls_silent_ends(meter):
    site = Site(abp())
    sent, ended = order(site, until=site.clock.at + 5)
    site.push(meter.uplink(1, b"x"))
    site.pass_time()
    _, later = order(site, point="meter.other")
    site.pass_time(60)
    assert ended == []  # it may have heard it, and confirm it with its next word
    site.server.give_up("meter", "the device has fallen silent")
    assert (ended, sent.late) == (["not confirmed: the device has fallen silent"], False)
    assert (later, site.server.waiting("meter")) == ([], 1)


def test_more_to_come_is_said(meter):
    site = Site(abp())
    order(site, point="meter.a", payload=b"\x01")
    order(site, point="meter.b", payload=b"\x02")
    site.speak(meter, meter.uplink(1, b"x"))
    assert meter.pending
    site.speak(meter, meter.uplink(1, b"x"))
    assert not meter.pending
    assert meter.received == [(9, b"\x01"), (9, b"\x02")]


@pytest.mark.parametrize("error", [None, "NONE"])
def test_what_the_concentrator_took_is_not_sent_again(meter, error):
    site = Site(abp())
    site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    assert site.tx_ack(error) == []


def test_a_warning_of_the_concentrator_is_no_error(meter):
    site = Site(abp())
    site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    body = json.dumps({"txpk_ack": {"warn": "TX_POWER", "value": 14}}).encode()
    site.server.datagram(b"\x02" + site.out[-1][0][1:3] + b"\x05" + bytes.fromhex(GATEWAY) + body, HERE)
    assert site.pass_time(0.0) == []
    assert [gateway.errors for gateway in site.server.gateways] == [0, 0]


def test_a_forwarder_that_refuses_the_power_gets_less(meter):
    site = Site(abp())
    site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    (second,) = site.tx_ack("TX_POWER")
    (weaker,) = site.tx_ack("TX_POWER")
    assert (second["powe"], weaker) == (29, second | {"powe": 16})
    assert site.tx_ack("TX_POWER") == []
    site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    (second,) = site.tx_ack("TOO_LATE")
    assert second["powe"] == 16


@pytest.mark.parametrize("error", ["TOO_LATE", "TOO_EARLY", "COLLISION_PACKET", "TX_FREQ"])
def test_the_second_window_follows_a_refused_first(meter, error):
    site = Site(abp())
    (first,) = site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    (second,) = site.tx_ack(error)
    assert (second["freq"], second["datr"], second["powe"]) == (869.525, "SF12BW125", 29)
    assert second["tmst"] - first["tmst"] == 1_000_000
    assert second["data"] == first["data"]
    assert site.tx_ack(error) == []
    assert all(gateway.ledger.used(band, site.clock.at) == 0
               for gateway in site.server.gateways for band in SUB_BANDS)  # fmt: skip


def test_the_second_window_is_taken_when_the_first_has_no_airtime(meter):
    site = Site(abp())
    gateway = next(iter(site.server.gateways))
    band = sub_band(868_100_000)
    gateway.ledger.spend(band, band.budget_ms - 1, site.clock.at)
    (sent,) = site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    assert (sent["freq"], sent["tmst"]) == (869.525, 2_000_000)
    (sent,) = site.speak(meter, meter.uplink(1, b"x", confirmed=True), freq=867.1)
    assert sent["freq"] == 867.1
    site.clock.at += 3661
    site.pull()
    (sent,) = site.speak(meter, meter.uplink(1, b"x", confirmed=True))
    assert sent["freq"] == 868.1


def test_no_airtime_at_all_sends_nothing_and_keeps_the_value(meter):
    site = Site(abp())
    for gateway in site.server.gateways:
        for band in SUB_BANDS:
            gateway.ledger.spend(band, band.budget_ms, site.clock.at)
    _, ended = order(site)
    assert site.speak(meter, meter.uplink(1, b"x", confirmed=True)) == []
    assert (site.server.waiting("meter"), ended) == (1, [])


def test_a_payload_that_does_not_fit_is_refused(meter):
    site = Site(abp())
    _, ended = order(site, payload=bytes(100))
    site.speak(meter, meter.uplink(1, b"x"), datr="SF12BW125")
    assert "100 bytes are too many" in ended[0]


def test_a_device_that_always_listens_is_spoken_to_at_once():
    site = Site(otaa(**{"class": "C"}))
    node = OtaaNode(EUI, JOIN_EUI, KEY)
    site.join(node)
    site.speak(node, node.uplink(1, b"x"))
    _, ended = order(site, "room", "room.valve")
    (sent,) = site.pass_time(0.0)
    assert (sent["imme"], sent["freq"], sent["datr"]) == (True, 869.525, "SF12BW125")
    node.hear(base64.b64decode(sent["data"]))
    site.speak(node, node.uplink(None, b""))
    assert (node.received, ended) == ([(9, b"\x01")], [""])


def test_a_silent_class_c_device_is_given_up():
    site = Site(otaa(**{"class": "C"}))
    node = OtaaNode(EUI, JOIN_EUI, KEY)
    site.join(node)
    site.speak(node, node.uplink(1, b"x"))
    _, ended = order(site, "room", "room.valve")
    for _ in range(4):
        assert site.server.due() <= site.clock.at + 10
        site.pass_time(10.5)
        site.pull()
    assert ended == ["not confirmed after 3 transmission(s)"]


# -- MAC commands ----------------------------------------------------------------------------------------------------


def test_commands_are_answered(meter):
    site = Site(abp())
    site.speak(meter, meter.uplink(1, b"x", commands=b"\x02\x0d\x02"))
    (answer,) = meter.commands
    assert answer[:3] == b"\x02\x10\x01"
    assert answer[3] == 0x0D
    assert len(answer) == 10  # and the question for the battery
    site.speak(meter, meter.uplink(0, b"\x06\x80\x05"))
    assert [one.percent for one in site.others] == [50.2]


def test_no_time_is_given_while_the_clock_is_not_trusted(meter):
    site = Site(abp())
    site.clock.trusted = False
    site.speak(meter, meter.uplink(1, b"x", commands=b"\x0d"))
    assert site.out == []


def test_unknown_commands_cost_nothing(meter):
    site = Site(abp())
    site.speak(meter, meter.uplink(1, b"x", commands=b"\xee\x01\x02"))
    assert [one.payload for one in site.heard] == [b"x"]


# -- airtime ---------------------------------------------------------------------------------------------------------


def test_airtime_of_the_published_sizes():
    assert airtime(17, 7) == pytest.approx(46.3, abs=0.1)
    assert airtime(17, 12) == pytest.approx(1155, abs=1)


def test_an_hour_rolls():
    ledger, band = AirtimeAccount("b"), SUB_BANDS[2]
    ledger.spend(band, band.budget_ms - 100, 0)
    assert ledger.allows(band, 100, 10)
    assert not ledger.allows(band, 101, 3599)
    assert ledger.allows(band, 101, 3661)


def test_the_hour_outlives_a_restart():
    ledger, band = AirtimeAccount("b"), SUB_BANDS[2]
    ledger.spend(band, 5000, 100_000)
    assert AirtimeAccount("b", ledger.kept()).used(band, 100_100) == 5000
    assert AirtimeAccount("another", ledger.kept()).used(band, 30) == 5000
    assert AirtimeAccount("another", ledger.kept()).used(band, 3700) == 0


@pytest.mark.parametrize(("frequency", "share"), [
    (864_000_000, 0.001), (867_100_000, 0.01), (868_100_000, 0.01), (868_650_000, None), (868_800_000, 0.001),
    (869_525_000, 0.1), (869_300_000, None), (869_800_000, 0.01), (870_100_000, None),
])  # fmt: skip
def test_sub_bands(frequency, share):
    band = sub_band(frequency)
    assert (band.duty if band else None) == share
