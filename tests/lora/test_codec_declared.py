"""Payloads as data: struct, tlv, Cayenne LPP, and the downlinks of a profile."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.lora.codecs import CodecError, Decoded, codec_of


def decoded(lora: dict[str, Any], payload: bytes | str, fport: int = 0) -> Decoded:
    data = bytes.fromhex(payload) if isinstance(payload, str) else payload
    return asyncio.run(codec_of({"lora": lora}).decode(data, fport, None))


def encoded(lora: dict[str, Any], data: dict[str, Any], fport: int | None = None) -> tuple[int, str]:
    port, payload = asyncio.run(codec_of({"lora": lora}).encode(data, fport))
    return port, payload.hex()


# -- struct --------------------------------------------------------------------------------------------------------

TYPES = [
    ("u8", "ff", 255), ("i8", "ff", -1), ("bool", "02", True), ("bool", "00", False),
    ("u16be", "0102", 258), ("u16le", "0102", 513), ("i16be", "fffe", -2), ("i16le", "feff", -2),
    ("u24be", "010203", 66051), ("u24le", "010203", 197121), ("i24be", "fffffe", -2), ("i24le", "feffff", -2),
    ("u32be", "01020304", 16909060), ("u32le", "01020304", 67305985), ("i32be", "fffffffe", -2),
    ("i32le", "feffffff", -2), ("u64be", "0000000000000102", 258), ("u64le", "0201000000000000", 258),
    ("i64be", "ffffffffffffffff", -1), ("i64le", "feffffffffffffff", -2), ("f32be", "3fc00000", 1.5),
    ("f32le", "0000c03f", 1.5), ("f64be", "3ff8000000000000", 1.5), ("f64le", "000000000000f83f", 1.5),
    ("hex", "0aff", "0aff"), ("ascii", "414200", "AB"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "payload", "value"), TYPES)
def test_every_type(kind: str, payload: str, value: object) -> None:
    found = decoded({"struct": [{"field": "x", "type": kind}]}, payload).data["x"]
    assert found == value and type(found) is type(value)


def test_fields_follow_one_another_and_nest() -> None:
    lora = {"struct": [
        {"field": "temperature", "type": "i16be", "scale": 0.01},
        {"field": "valve.position", "type": "u8", "scale": 0.5, "offset": -10},
        {"field": "valve.open", "type": "bool"},
    ]}  # fmt: skip
    assert decoded(lora, "0aa14601").data == {"temperature": 27.21, "valve": {"position": 25.0, "open": True}}


def test_scaled_values_are_what_a_person_expects() -> None:
    lora = {"struct": [{"field": "x", "type": "i16be", "scale": 0.1}]}
    assert [decoded(lora, f"{raw:04x}").data["x"] for raw in (272, 3, 1)] == [27.2, 0.3, 0.1]


def test_bits_of_one_byte_are_neighbours() -> None:
    lora = {"struct": [
        {"field": "open", "type": "u8", "bit": 7},
        {"field": "level", "type": "u8", "bit": 0, "bits": 4, "scale": 10},
        {"field": "again", "type": "u8", "bit": 7},      # bit 7 is taken: the next byte
        {"field": "battery", "type": "u16be", "bit": 0, "bits": 14},
        {"field": "flag", "type": "u16be", "bit": 15},
        {"field": "end", "type": "u8"},
    ]}  # fmt: skip
    assert decoded(lora, "83008c1e09").data == {
        "open": True, "level": 30, "again": False, "battery": 3102, "flag": True, "end": 9,
    }  # fmt: skip


def test_places_of_their_own() -> None:
    lora = {"struct": [
        {"field": "a", "type": "u8", "at": 2}, {"field": "b", "type": "u8"},
        {"field": "last", "type": "u16be", "at": -2}, {"field": "first", "type": "u8", "at": 0},
    ]}  # fmt: skip
    assert decoded(lora, "0102030405060708").data == {"a": 3, "b": 4, "last": 0x0708, "first": 1}


def test_what_is_not_available_is_left_out() -> None:
    lora = {"struct": [{"field": "x", "type": "u16be", "unavailable": [0, 0xFFFF]}, {"field": "f", "type": "f32be"}]}
    assert decoded(lora, "ffff7fc00000").data == {}
    assert decoded(lora, "00007f800000").data == {}
    assert decoded(lora, "00013f800000").data == {"x": 1, "f": 1.0}


def test_too_short_is_said() -> None:
    lora = {"struct": [{"field": "a", "type": "u8"}, {"field": "humidity", "type": "u16be"}]}
    with pytest.raises(CodecError, match="too short: 2 bytes, and humidity needs 3"):
        decoded(lora, "0102")


def test_bytes_beyond_the_fields_are_no_matter() -> None:
    assert decoded({"struct": [{"field": "a", "type": "u8"}]}, "010203") == Decoded({"a": 1})


def test_only_payloads_of_the_port() -> None:
    lora = {"fport": 2, "struct": [{"field": "a", "type": "u8"}]}
    assert decoded(lora, "01", fport=2).data == decoded(lora, "01", fport=0).data == {"a": 1}
    assert decoded(lora, "01", fport=3) == Decoded({}, ("not read: it came on port 3, and the profile reads 2",))


# -- tlv -----------------------------------------------------------------------------------------------------------

TLV: dict[str, Any] = {
    "tlv": [
        {"channel": 1, "type": 0x75, "field": "battery", "as": "u8"},
        {"channel": 3, "type": 0x67, "field": "temperature", "as": "i16le", "scale": 0.1},
        {"channel": 0x83, "type": 0x67, "fields": [
            {"field": "temperature", "as": "i16le", "scale": 0.1}, {"field": "alarm.low", "as": "u8", "bit": 0},
            {"field": "alarm.high", "as": "u8", "bit": 1}]},
        {"channel": 0x20, "type": 0xCE, "list": "history", "fields": [
            {"field": "time", "as": "u32le"}, {"field": "temperature", "as": "i16le", "scale": 0.1}]},
    ],
    "skip": {"ff0b": 1},
}  # fmt: skip


def test_records_in_any_order() -> None:
    assert decoded(TLV, "0367340101755c") == Decoded({"temperature": 30.8, "battery": 92})


def test_records_of_several_fields() -> None:
    assert decoded(TLV, "836734010201755c").data == {
        "temperature": 30.8, "alarm": {"low": False, "high": True}, "battery": 92,
    }  # fmt: skip


def test_a_history_is_a_list_and_disturbs_nothing() -> None:
    found = decoded(TLV, "20ce9e744663100103673401" + "20ce9f7446631101").data
    assert found["temperature"] == 30.8
    assert found["history"] == [
        {"time": 1665561758, "temperature": 27.2}, {"time": 1665561759, "temperature": 27.3},
    ]  # fmt: skip


def test_an_unknown_record_ends_the_reading() -> None:
    assert decoded(TLV, "01755c0999030367") == Decoded(
        {"battery": 92}, ("unknown record 0999 at byte 3: the rest was not read",)
    )


def test_known_lengths_are_passed_over() -> None:
    assert decoded(TLV, "ff0bff01755c") == Decoded({"battery": 92})


def test_a_record_cut_off() -> None:
    found = decoded(TLV, "01755c036734")
    assert found == Decoded({"battery": 92}, ("too short: record 0367 has 2 bytes, and 1 are there",))
    with pytest.raises(CodecError, match="too short: record 0367 has 2 bytes, and 1 are there"):
        decoded(TLV, "036734")


def test_records_with_a_type_alone() -> None:
    lora = {"tlv": [
        {"type": 1, "field": "temperature", "as": "i16be", "scale": 0.1}, {"type": 2, "field": "h", "as": "u8"},
    ]}  # fmt: skip
    assert decoded(lora, "0100ea0237") == Decoded({"temperature": 23.4, "h": 55})


def test_text_takes_the_rest() -> None:
    lora = {"tlv": [{"type": 1, "field": "name", "as": "ascii"}, {"type": 2, "field": "id", "as": "hex", "length": 2}]}
    assert decoded(lora, "02a1b20148656c6c6f").data == {"id": "a1b2", "name": "Hello"}


# -- Cayenne LPP ---------------------------------------------------------------------------------------------------

LPP: dict[str, Any] = {"cayenne": True, "fport": 1}


@pytest.mark.parametrize(
    ("payload", "data"),
    [  # the examples of the Cayenne documentation, "Device with 2 temperature sensors" and after it
        ("03670110056700ff", {"temperature_3": 27.2, "temperature_5": 25.5}),
        ("0167ffd7067104d2fb2e0000",
         {"temperature_1": -4.1, "accelerometer_6": {"x": 1.234, "y": -1.234, "z": 0.0}}),
        ("018806765ff2960a0003e8", {"gps_1": {"latitude": 42.3519, "longitude": -87.9094, "altitude": 10.0}}),
        ("0200010301000402ff9c0565006406660107685a0873277e",
         {"digital_input_2": 1, "digital_output_3": 0, "analog_input_4": -1.0, "illuminance_5": 100, "presence_6": 1,
          "humidity_7": 45.0, "barometer_8": 1011.0}),
    ],
)  # fmt: skip
def test_cayenne(payload: str, data: dict[str, Any]) -> None:
    assert decoded(LPP, payload) == Decoded(data)
    assert encoded(LPP, data) == (1, payload)


def test_cayenne_keeps_what_it_could_read() -> None:
    assert decoded(LPP, "03670110ff") == Decoded({"temperature_3": 27.2}, (
        "unknown or cut off record ff at byte 4: the rest was not read",))  # fmt: skip
    with pytest.raises(CodecError, match="not Cayenne LPP: unknown or cut off record 03fe at byte 0"):
        decoded(LPP, "03fe01")


@pytest.mark.parametrize("data", [{"temperature": 1}, {"warm_1": 1}, {"temperature_256": 1}, {"gps_1": 3}, {"a": 0}])
def test_cayenne_downlinks_that_cannot_be(data: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        encoded(LPP, data)


# -- downlinks -----------------------------------------------------------------------------------------------------

DOWN: dict[str, Any] = {
    "struct": [{"field": "a", "type": "u8"}],
    "fport": 85,
    "downlink": [
        {"field": "valve.position", "prefix": "ff0b", "as": "u8", "scale": 0.5, "suffix": "ee"},
        {"field": "setpoint", "prefix": "ffb1", "as": "i16le", "scale": 0.1},
        {"field": "relay", "values": {"on": "030111", "off": "030011", "3": "0303", "auto": "0304"}},
        {"field": "on", "prefix": "01", "as": "bool"},
        {"field": "elsewhere", "fport": 10, "as": "u8"},
        {"field": "raw", "as": "hex"},
    ],
}


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        ({"valve": {"position": 40}}, (85, "ff0b50ee")),
        ({"setpoint": -1.5}, (85, "ffb1f1ff")),
        ({"setpoint": 19, "valve": {"position": 1}}, (85, "ff0b02eeffb1be00")),
        ({"relay": True}, (85, "030111")), ({"relay": "off"}, (85, "030011")),
        ({"relay": 3.0}, (85, "0303")), ({"relay": "auto"}, (85, "0304")),
        ({"on": True}, (85, "0101")), ({"on": 0}, (85, "0100")), ({"on": "on"}, (85, "0101")),
        ({"elsewhere": 1}, (10, "01")), ({"raw": "0aff"}, (85, "0aff")),
    ],
)  # fmt: skip
def test_downlinks(data: dict[str, Any], sent: tuple[int, str]) -> None:
    assert encoded(DOWN, data) == sent


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"valve": {"position": 128}}, "valve.position 128 does not fit into u8; it goes from 0 to 127.5"),
        ({"setpoint": math.nan}, "setpoint nan does not fit into i16"),
        ({"setpoint": 1e300}, "does not fit into i16; it goes from -3276.8 to 3276.7"),
        ({"setpoint": "warm"}, "setpoint is a number, not 'warm'"),
        ({"setpoint": None}, "setpoint is a number, not None"),
        ({"relay": 4}, "relay is one of on, off, 3, auto, not 4"),
        ({"on": 2}, "on is on or off, not 2"),
        ({"raw": "0a0"}, "raw '0a0' is not hex"),
        ({"flow": 1}, "flow cannot be written; the profile writes valve.position, setpoint, relay"),
        ({}, "nothing cannot be written"),
        ({"relay": True, "elsewhere": 1}, "go to different ports"),
    ],
)
def test_downlinks_that_cannot_be(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(CodecError) as caught:
        encoded(DOWN, data)
    assert reason in str(caught.value)


def test_a_downlink_needs_a_port() -> None:
    lora = {"struct": [{"field": "a", "type": "u8"}], "downlink": [{"field": "a", "as": "u8"}]}
    assert encoded(lora, {"a": 1}, fport=3) == (3, "01")
    with pytest.raises(CodecError, match="no port to send to"):
        encoded(lora, {"a": 1})


# -- any bytes -----------------------------------------------------------------------------------------------------

KINDS = st.sampled_from([kind for kind, _, _ in TYPES if kind not in ("hex", "ascii")])
FIELDS = st.lists(
    st.fixed_dictionaries({
        "type": KINDS,
        "scale": st.sampled_from([1, 0.1, -2.5, 1e300]),
        "offset": st.sampled_from([0, -40, 1e308]),
    }),
    min_size=1, max_size=6,
)  # fmt: skip


def read_or_refused(lora: dict[str, Any], payload: bytes, fport: int = 0) -> None:
    try:
        found = decoded(lora, payload, fport)
    except CodecError:
        return
    assert isinstance(found.data, dict) and all(isinstance(text, str) for text in found.warnings)


@settings(max_examples=60, deadline=None)
@given(fields=FIELDS, payload=st.binary(max_size=60))
def test_a_struct_takes_any_bytes(fields: list[dict[str, Any]], payload: bytes) -> None:
    read_or_refused({"struct": [{**item, "field": f"f{at}"} for at, item in enumerate(fields)]}, payload)


@settings(max_examples=100, deadline=None)
@given(payload=st.binary(max_size=60))
def test_tlv_and_cayenne_take_any_bytes(payload: bytes) -> None:
    read_or_refused(TLV, payload)
    read_or_refused(LPP, payload)
    read_or_refused({**LPP, "fport": 200}, payload, 1)


@settings(max_examples=100, deadline=None)
@given(
    records=st.lists(
        st.tuples(st.integers(0, 255), st.sampled_from([0, 2, 101, 103, 104, 113, 115, 130, 131, 136, 142])),
        unique=True, max_size=5,
    ),
    data=st.data(),
)  # fmt: skip
def test_what_cayenne_reads_it_writes_again(records: list[tuple[int, int]], data: st.DataObject) -> None:
    sizes = {0: 1, 2: 2, 101: 2, 103: 2, 104: 1, 113: 6, 115: 2, 130: 4, 131: 4, 136: 9, 142: 1}
    payload = b"".join(
        bytes([channel, kind]) + data.draw(st.binary(min_size=sizes[kind], max_size=sizes[kind]))
        for channel, kind in records
    )
    found = decoded(LPP, payload, 1)
    assert encoded(LPP, dict(found.data)) == (1, payload.hex())


@settings(max_examples=100, deadline=None)
@given(kind=KINDS, scale=st.sampled_from([1, 0.1, 0.5, -0.01, 10]), offset=st.sampled_from([0, -40]), data=st.data())
def test_what_a_record_reads_a_downlink_writes(kind: str, scale: float, offset: float, data: st.DataObject) -> None:
    way = {"field": "x.y", "as": kind, "scale": scale, "offset": offset}
    lora = {"fport": 1, "tlv": [{"channel": 3, "type": 4, **way}], "downlink": [{"prefix": "0304", **way}]}
    size = 1 if kind == "bool" or kind[1:] == "8" else int(kind[1:-2]) // 8
    body = data.draw(st.binary(min_size=size, max_size=size))
    found = decoded(lora, b"\x03\x04" + body)
    if not found.data or kind[0] == "f" or "64" in kind:
        return  # not a number; or more digits than a scaled value keeps
    again = encoded(lora, dict(found.data))[1]
    assert again == "0304" + (body.hex() if kind != "bool" else f"{body != bytes(1):02x}")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(
    st.sampled_from(["setpoint", "relay", "on", "raw", "elsewhere", "other"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())),
))  # fmt: skip
def test_any_downlink_is_bytes_or_a_reason(values: dict[str, Any]) -> None:
    for lora in (DOWN, LPP):
        try:
            encoded(lora, values)
        except CodecError:
            continue
