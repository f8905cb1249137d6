"""Packets that a forwarder writes in its own way, or wrongly: each costs itself, and the port stays up."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.demo.lorawan import AbpNode
from tests.lora.test_gwmp import GATEWAY, HERE, Site, abp, order

KEY = bytes(range(1, 17))


def node():
    return AbpNode("01abcdef", KEY, KEY[::-1])


def packet(frame, **more):
    return {
        "tmst": 5, "freq": 868.1, "stat": 1, "modu": "LORA", "datr": "SF7BW125", "codr": "4/5", "rssi": -70,
        "lsnr": 8.0, "size": len(frame), "data": base64.b64encode(frame).decode(), **more,
    }  # fmt: skip


def push(site, body):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    acknowledged = site.server.datagram(b"\x02\xab\xcd\x00" + bytes.fromhex(GATEWAY) + text, HERE)
    site.pass_time()
    return acknowledged


ODD = [
    {"datr": "SF7BW00"}, {"datr": "SF7BW0"}, {"datr": "SF13BW125"}, {"tmst": None}, {"tmst": "5"}, {"tmst": 1e400},
    {"tmst": True}, {"stat": -1}, {"stat": 0}, {"stat": "1"}, {"data": "A"}, {"data": "é"}, {"data": None}, {"data": 7},
    {"freq": None}, {"freq": "868.1"}, {"freq": 1e300}, {"freq": -868.1}, {"data": ""}, {"data": "=" * 5000},
]  # fmt: skip


@pytest.mark.parametrize("odd", [*ODD, "text", None, 7, [], [[]], {}], ids=str)
def test_an_odd_packet_costs_itself_only(odd):
    site, meter = Site(abp()), node()
    bad = packet(meter.uplink(1, b"bad", confirmed=True), **odd) if isinstance(odd, dict) else odd
    good = packet(meter.uplink(1, b"good", confirmed=True))
    assert push(site, {"rxpk": [bad, good]}) is not None
    assert b"good" in [one.payload for one in site.heard]
    assert site.out


def test_a_number_of_thousands_of_digits_costs_its_packet_only():
    site, meter = Site(abp()), node()
    bad = json.dumps(packet(meter.uplink(1, b"bad"), tmst=123456789)).replace("123456789", "9" * 9000)
    push(site, f'{{"rxpk": [{bad}, {json.dumps(packet(meter.uplink(1, b"good")))}]}}\0'.encode())
    assert [one.payload for one in site.heard] == [b"good"]


@pytest.mark.parametrize("at", [1, 5, -6, -1])
def test_a_garbled_copy_costs_itself_only(at):
    """A checksum of 16 bits lets one of 65,536 pass, and a forwarder may be told to hand on what has a wrong one."""
    site, meter = Site(abp()), node()
    frame = meter.uplink(1, b"good", confirmed=True)
    garbled = bytearray(frame)
    garbled[at] ^= 0x10
    push(site, {"rxpk": [packet(bytes(garbled), lsnr=9.0), packet(frame, lsnr=1.0)]})
    assert [(one.payload, one.best.snr) for one in site.heard] == [(b"good", 1.0)]
    assert len(site.out) == 1


def test_what_is_no_utf_8_costs_its_packet_only():
    site, meter = Site(abp()), node()
    bad = json.dumps(packet(b"x", datr="bad")).encode().replace(b"bad", b"\xff\xfe")
    push(site, b'{"rxpk": [%s, %s]}' % (bad, json.dumps(packet(meter.uplink(1, b"good"))).encode()))
    assert [one.payload for one in site.heard] == [b"good"]


@pytest.mark.parametrize("depth", [2_000, 9_000])
@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_what_is_nested_very_deep_costs_itself_only(depth, pair):
    site, meter = Site(abp()), node()
    deep = pair[:-1] * depth + "0" + pair[-1] * depth
    deep = json.dumps(packet(meter.uplink(1, b"odd"), odd="DEEP", text='[[{"\\')).replace('"DEEP"', deep)
    good = json.dumps(packet(meter.uplink(1, b"good"), rsig=[{"ant": 0, "rssic": -90, "lsnr": 3}]))
    assert push(site, f'{{"stat": {deep.replace("odd", "stat")}, "rxpk": [{deep}, {good}]}}'.encode()) is not None
    assert [one.payload for one in site.heard] == [b"odd", b"good"]


@pytest.mark.parametrize("body", [b"{", b"[" * 60_000, b'{"rxpk": ' + b"[" * 3_000 + b"}", b'{"a":' * 9_000])
def test_a_datagram_that_is_not_understood_is_told_once(body, caplog):
    site = Site(abp())
    for _ in range(3):
        assert push(site, body) is None
    (said,) = [record.getMessage() for record in caplog.records if "not understood" in record.getMessage()]
    assert GATEWAY in said and "JSON" in said
    assert site.server.counts["rubbish"] == 3


def test_good_packets_behind_many_bad_ones_are_taken():
    site, meter = Site(abp()), node()
    push(site, {"rxpk": [{"stat": -1}] * 500 + [packet(meter.uplink(1, b"good"))]})
    assert [one.payload for one in site.heard] == [b"good"]


def test_a_counter_of_microseconds_written_as_a_float_is_taken():
    site, meter = Site(abp()), node()
    push(site, {"rxpk": [packet(meter.uplink(1, b"x", confirmed=True), tmst=3_500_000.0)]})
    (answer,) = [json.loads(datagram[4:])["txpk"] for datagram, _ in site.out]
    assert answer["tmst"] == 4_500_000


ANTENNAS = [{"ant": 0, "chan": 7, "rssic": -105, "lsnr": -3.5}, {"ant": 1, "chan": 23, "rssic": -98, "lsnr": 4.25}]


@pytest.mark.parametrize(("more", "found"), [
    ({"rsig": ANTENNAS}, (-98, 4.25)),
    ({"rsig": [*ANTENNAS[::-1], None, "x", {"lsnr": "NaN"}]}, (-98, 4.25)),
    ({"rsig": [{"rssis": -101, "lsnr": None}]}, (-101, None)),
    ({"rsig": ANTENNAS, "rssi": -60, "lsnr": 9}, (-60, 9)),
    ({"rsig": []}, (None, None)),
    ({"rsig": {"lsnr": 1}}, (None, None)),
    ({"rssi": "x", "lsnr": [1]}, (None, None)),
])  # fmt: skip
def test_strength_is_of_the_best_antenna(more, found):
    site = Site(abp())
    whole = packet(node().uplink(1, b"x"))
    del whole["rssi"], whole["lsnr"]
    push(site, {"rxpk": [whole | more]})
    (heard,) = site.heard
    assert (heard.best.rssi, heard.best.snr) == found


def test_fsk_is_heard_and_answered_in_the_second_window():
    site = Site(abp())
    push(site, {"rxpk": [packet(node().uplink(1, b"x", confirmed=True), modu="FSK", datr=50000)]})
    (answer,) = [json.loads(datagram[4:])["txpk"] for datagram, _ in site.out]
    assert (site.heard[0].best.sf, answer["datr"], answer["freq"]) == (None, "SF12BW125", 869.525)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["SF7BW00", "SF5BW500", "SF12BW125", 50000, 1e300, -1, 2**40, "AAAA"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["lsnr", "rssic", "x"]), inner),
    max_leaves=6,
)  # fmt: skip
_KEYS = ["tmst", "freq", "datr", "rssi", "lsnr", "stat", "modu", "rsig", "size", "chan"]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=4), st.binary(max_size=15), st.booleans())
def test_nothing_that_a_packet_can_say_raises(odd, commands, join):
    """A real frame of a device, with commands of any kind, in a packet of any shape; its answer is worked out."""
    site, meter = Site(abp()), node()
    order(site)
    frame = b"\0" + bytes(22) if join else meter.uplink(1, b"x", confirmed=True, commands=commands)
    push(site, {"rxpk": [packet(frame, **odd), packet(meter.uplink(1, b"good"))]})
    assert site.heard[-1].payload == b"good"
