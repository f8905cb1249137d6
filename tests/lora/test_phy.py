"""LoRaWAN frames against lora-packet, an implementation that is not ours, and against rubbish."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.lora.gwmp import mac, phy
from drivers.lora.gwmp.packets import Rubbish
from drivers.lora.gwmp.region import CF_LIST

BRIDGE = Path(__file__).parent / "lora-packet"
KEY, OTHER = bytes(range(1, 17)), bytes(range(16, 0, -1))
JOIN_REQUEST = bytes.fromhex("00" + "01" * 8 + "02" * 8 + "0303" + "09b97b32")


@pytest.fixture(scope="module")
def lora_packet():
    """Ask lora-packet: a function of one question."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed: apt-get install nodejs npm")
    if not (BRIDGE / "node_modules" / "lora-packet").is_dir():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed: apt-get install npm")
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=BRIDGE, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"npm could not get lora-packet: {done.stderr.strip().splitlines()[-1:]}")
    with subprocess.Popen(
        ["node", "bridge.js"], cwd=BRIDGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as node:  # fmt: skip

        def ask(do, **question):
            node.stdin.write(json.dumps({"do": do, **question}) + "\n")
            node.stdin.flush()
            return json.loads(node.stdout.readline())

        yield ask
        node.stdin.close()


def msb(counter):
    return (counter >> 16).to_bytes(2, "little").hex()


def test_the_published_join_request():
    request = phy.parse(JOIN_REQUEST)
    assert (request.join_eui, request.dev_eui, request.dev_nonce) == ("01" * 8, "02" * 8, 0x0303)
    assert request.is_from(phy.Key(KEY))
    assert not request.is_from(phy.Key(OTHER))
    assert not phy.parse(JOIN_REQUEST[:-1] + b"\0").is_from(phy.Key(KEY))


def test_join_requests_made_elsewhere(lora_packet):
    fields = {"MType": "Join Request", "AppEUI": "24e124c0002a0001", "DevEUI": "24e124136b316001", "DevNonce": "abcd"}
    request = phy.parse(bytes.fromhex(lora_packet("make", fields=fields, key=KEY.hex())["frame"]))
    assert (request.join_eui, request.dev_eui) == ("24e124c0002a0001", "24e124136b316001")
    assert request.dev_nonce == 0xABCD
    assert request.is_from(phy.Key(KEY))


def test_our_join_accept_is_understood_elsewhere(lora_packet):
    frame = phy.join_accept(phy.Key(KEY), 0x000102, 0, 0x01ABCDEF, 5, CF_LIST, 3)
    assert len(frame) == 33
    found = lora_packet("accept", frame=frame.hex(), key=KEY.hex())
    assert found["mic"]
    assert (found["nonce"], found["net"], found["address"]) == ("000102", "000000", "01abcdef")
    assert (found["delay"], found["settings"]) == ("05", "03")
    assert found["channels"] in (CF_LIST.hex(), CF_LIST[::-1].hex())


def test_session_keys_are_the_same_elsewhere(lora_packet):
    network, application = phy.session_keys(phy.Key(KEY), 0x000102, 0, 0xABCD)
    found = lora_packet("keys", key=KEY.hex(), net="000000", join_nonce="000102", dev_nonce="abcd")
    assert network.cmac(b"x") == phy.Key(bytes.fromhex(found["network"])).cmac(b"x")
    assert application.cmac(b"x") == phy.Key(bytes.fromhex(found["app"])).cmac(b"x")


@pytest.mark.parametrize("counter", [0, 5, 65535, 65536, 0x12345678])
@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 222])
def test_uplinks_made_elsewhere(lora_packet, counter, confirmed, size):
    payload = bytes(n % 256 for n in range(size))
    fields = {
        "MType": "Confirmed Data Up" if confirmed else "Unconfirmed Data Up", "DevAddr": "01abcdef",
        "FCnt": counter & 0xFFFF, "FPort": 85, "payload": payload.hex(), "FOpts": "020d", "FCtrl": {"ACK": True},
    }  # fmt: skip
    made = lora_packet("make", fields=fields, network=KEY.hex(), app=OTHER.hex(), msb=msb(counter))
    frame = phy.parse(bytes.fromhex(made["frame"]))
    assert (frame.address, frame.counter, frame.port, frame.confirmed) == (0x01ABCDEF, counter & 0xFFFF, 85, confirmed)
    assert frame.options == b"\x02\x0d"
    assert frame.is_from(phy.Key(KEY), counter)
    assert not frame.is_from(phy.Key(KEY), counter ^ 0x10000)
    assert phy.Key(OTHER).stream(phy.UPLINK, frame.address, counter, frame.payload) == payload


@pytest.mark.parametrize("counter", [0, 65535, 65536])
@pytest.mark.parametrize("confirmed", [False, True])
def test_our_downlinks_are_understood_elsewhere(lora_packet, counter, confirmed):
    frame = phy.downlink(
        phy.Key(KEY), phy.Key(OTHER), 0x01ABCDEF, counter,
        confirmed=confirmed, ack=True, pending=True, options=b"\x06", port=85, payload=b"a valve opens now",
    )  # fmt: skip
    found = lora_packet("read", frame=frame.hex(), network=KEY.hex(), app=OTHER.hex(), msb=msb(counter))
    assert found == {
        "type": "Confirmed Data Down" if confirmed else "Unconfirmed Data Down", "mic": True, "address": "01abcdef",
        "counter": counter & 0xFFFF, "port": 85, "ack": True, "pending": True, "options": "06",
        "payload": b"a valve opens now".hex(),
    }  # fmt: skip


def test_an_empty_acknowledgement_is_understood_elsewhere(lora_packet):
    frame = phy.downlink(phy.Key(KEY), phy.Key(OTHER), 0x01ABCDEF, 3, ack=True)
    found = lora_packet("read", frame=frame.hex(), network=KEY.hex(), app=OTHER.hex(), msb="0000")
    assert found["mic"]
    assert found["ack"]
    assert (found["port"], found["payload"], len(frame)) == (None, "", 12)


def test_a_key_never_shows_itself():
    assert "0102" not in repr(phy.Key(KEY)) + str(phy.Key(KEY))
    with pytest.raises(ValueError, match="16 bytes"):
        phy.Key(b"short")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=260))
def test_rubbish_is_refused_or_understood(frame):
    try:
        found = phy.parse(frame)
    except Rubbish:
        return
    assert found.mic == frame[-4:]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 255), st.binary(max_size=40))
def test_rubbish_that_looks_like_a_frame(head, rest):
    try:
        found = phy.parse(bytes([head & 0xFC]) + rest)
    except Rubbish:
        return
    if isinstance(found, phy.Data):
        assert 8 + len(found.options) + (found.port is not None) + len(found.payload) == len(found.body)
        found.is_from(phy.Key(KEY), 0xFFFFFFFF)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=250))
def test_mac_commands_never_raise(commands):
    found, unknown = mac.uplink(commands)
    assert sum(1 + len(payload) for payload in found.values()) <= len(commands)
    assert unknown is not None or set(commands[:1]) <= set(found)


def test_unknown_mac_commands_end_the_reading():
    assert mac.uplink(b"\x02\x0d") == ({2: b"", 13: b""}, None)
    assert mac.uplink(b"\x02\x80\x0d") == ({2: b""}, 0x80)
    assert mac.uplink(b"\x06\x01") == ({}, 6)  # cut short
    assert mac.uplink(b"\x03\x07\x06\xff\x05") == ({3: b"\x07", 6: b"\xff\x05"}, None)


def test_answers_of_the_server():
    assert mac.link_check_ans(5.0, 12, 2) == b"\x02\x19\x02"  # 5 - -20 = 25 dB
    # 2020-01-01T00:00:00.500Z is 1261872018 s of GPS time
    assert mac.device_time_ans(1_577_836_800_500) == b"\x0d" + (1_261_872_018).to_bytes(4, "little") + b"\x80"
    assert mac.status(b"\xfe\x05") == (100.0, 5)
    assert mac.status(b"\x01\x3f") == (0.0, -1)
    assert mac.status(b"\xff\x20") == (None, -32)
    assert mac.status(b"\x00\x00") == (None, 0)
