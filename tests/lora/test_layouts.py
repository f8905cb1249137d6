"""Payloads that say by a byte what the others are: the packaged profiles of such devices, and nodes that change over.

Facts: the makers' decoders that the profiles name.
"""

import asyncio
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.model import Quality
from agent.site.profiles.model import Library
from drivers.api import DeviceSpec
from drivers.lora.codecs import CodecError, codec_of
from drivers.lora.node import Frame, Node
from tests.fakes.store import FakeStore

CLIMATE = {"temperature": 28.29, "humidity": 88.6}
PRESENT = {"battery_voltage": 3.062, "battery_level": 3, **CLIMATE}
STORED = {"temperature": -2.0, "humidity": 88.6, "time": 1763969536}


def library():
    return Library(Path("/nonexistent"))


def decoded(profile, payload, fport=2):
    return asyncio.run(codec_of(library().get(profile)).decode(bytes.fromhex(payload), fport, None))


@pytest.mark.parametrize(("payload", "data"), [
    ("09AF0B0D43760969248100", {**CLIMATE, "battery_level": 1, "external": 9, "probe": 24.79, "time": 1764000000}),
    ("09AF0B0D43760A69248100", {**CLIMATE, "battery_level": 1, "external": 10, "probe": 24.79, "time": 1764000000}),
    ("7FFF0B0D43760969248100", {**CLIMATE, "battery_level": 1, "external": 9, "time": 1764000000}),
    ("CBF60B0D03760000000000", {**PRESENT, "external": 0}),
    ("CBF60B0D037601FF387FFF", {**PRESENT, "external": 1, "probe": -2.0}),
    ("CCB5026C039F010A857FFF",  # once taken for another device's alarm, by a public library
     {**PRESENT, "battery_voltage": 3.253, "temperature": 6.2, "humidity": 92.7, "external": 1, "probe": 26.93}),
    ("CBF60B0D037602FF387FFF", {**PRESENT, "external": 2, "probe": -2.0}),
    ("CBF60B0D03760401007FFF", {**PRESENT, "external": 4, "input": True, "interrupt": False}),
    ("CBF60B0D03760503E87FFF", {**PRESENT, "external": 5, "illuminance": 1000}),
    ("CBF60B0D03760603E87FFF", {**PRESENT, "external": 6, "voltage": 1.0}),
    ("CBF60B0D037607FFFE7FFF", {**PRESENT, "external": 7, "pulses": 65534}),
    ("CBF60B0D03760800FFFFFE", {**PRESENT, "external": 8, "pulses": 16777214}),
    ("CBF60B0D03760B09AF0376", {**PRESENT, "external": 11, "probe": 24.79, "probe_humidity": 88.6}),
    ("CBF60B0D0376C1FF387FFF", {"external": 1}),  # bits 7 and 6 both: nobody says what that is
    ("CBF628FF11220F33445566", {"battery_voltage": 3.062, "battery_level": 3, "external": 15}),
    ("CBF628FF112210FF380206",  # the number of an SHT31, and what it measures
     {"battery_voltage": 3.062, "battery_level": 3, "external": 0, "probe": -2.0, "probe_humidity": 51.8}),
    ("FF38FF3843764969240A00", {"history": [{**STORED, "external": 9, "probe": -2.0}]}),
    ("FF38FF3843768169240A00", {"history": [{**STORED, "external": 1, "probe": -2.0}]}),
    ("03E8FF3843764569240A00", {"history": [{**STORED, "external": 5, "illuminance": 1000}]}),
    ("0102FF3843764869240A00", {"history": [{**STORED, "external": 8}]}),
])  # fmt: skip
def test_lht65n(payload, data):
    found = decoded("dragino_lht65n", payload)
    assert (dict(found.data), found.warnings) == (data, ())


def test_stored_samples_of_lht65n_that_are_cut_off():
    found = decoded("dragino_lht65n", "FF38FF3843764969240A00" * 3 + "FF42FF")
    assert len(found.data["history"]) == 3
    assert found.warnings == ("3 bytes after 3 blocks of 11 were not read",)
    for cut in (3, 8):
        with pytest.raises(CodecError):
            decoded("dragino_lht65n", "FF38FF384376496924"[: 2 * cut])


RELAYS = {"relay1": True, "relay2": False, "output1_low": False, "output2_low": True}


@pytest.mark.parametrize(("payload", "data"), [
    ("000001F4000003E8820042", {"mode": 2, "count1": 500, "count2": 1000, **RELAYS}),
    ("000001F4131013008200C3", {"mode": 3, "count1": 500, "current1": 4.88, "current2": 4.864, **RELAYS}),
    ("000001F4000003E8820044", {"mode": 4, "count1": 500, "count_total": 1000, **RELAYS}),
    ("04AB04AC131001F4820045",
     {"mode": 5, "voltage1": 1.195, "voltage2": 1.196, "current1": 4.88, "count1": 500, **RELAYS}),
    ("C000000000000000000046", {"mode": 6}),
    ("04AB04AC13101300820047", {"mode": 7}),
])  # fmt: skip
def test_lt22222(payload, data):
    assert dict(decoded("dragino_lt22222_l", payload).data) == data


def test_lds02_and_lwl02_by_their_mode():
    assert decoded("dragino_lds02", "8B8803001BB300000000", 10).data["open"] is True
    assert "openings" not in decoded("dragino_lds02", "8B8803001BB300000000", 10).data
    assert "leaks" not in decoded("dragino_lwl02", "0C1E0100000400000000", 10).data
    assert "leak" not in decoded("dragino_lwl02", "0C1E0100000400000000", 10).data


@pytest.mark.parametrize(("profile", "payload", "entry"), [
    ("milesight_em300_di", "20ce000a2469eaff64010100000000",
     {"time": 1763969536, "temperature": -2.2, "humidity": 50.0, "mode": 1, "input": True}),
    ("milesight_em300_di", "20ce000a2469eaff64020010270000",
     {"time": 1763969536, "temperature": -2.2, "humidity": 50.0, "mode": 2, "input": False, "pulses": 10000}),
    ("milesight_em300_di", "21ce000a2469eaff640002010a0064000000c842",
     {"time": 1763969536, "temperature": -2.2, "humidity": 50.0, "alarm": 0, "mode": 2,
      "conversion": {"water": 1.0, "pulses": 10.0}, "water": 100.0}),
    ("milesight_am307", "21ce000a2469eaff640001029001f4019327",
     {"time": 1763969536, "temperature": -2.2, "humidity": 50.0, "presence": True, "light_level": 2, "co2": 400,
      "tvoc_concentration": 500, "pressure": 1013.1}),
])  # fmt: skip
def test_histories_by_what_the_record_says(profile, payload, entry):
    found = decoded(profile, payload, 85)
    assert (found.data, found.warnings) == ({"history": [entry]}, ())


def test_ldds75_that_sends_five_bytes():
    data = {"battery_voltage": 3.4, "distance": 1000, "interrupt": 0}
    assert decoded("dragino_ldds75", "0D4803E800").data == data
    assert decoded("dragino_ldds75", "0D4803E80000DC01").data == {**data, "temperature": 22.0, "sensor": True}
    assert "distance" not in decoded("dragino_ldds75", "0D48001300").data
    with pytest.raises(CodecError, match="too short: 3 bytes"):
        decoded("dragino_ldds75", "0D4803")


@pytest.fixture
def clock():
    return SystemClock("always")


@pytest.fixture
def make(clock):
    return lambda profile: Node(DeviceSpec("n", {}, library().get(profile)), clock, FakeStore())


def heard(node, clock, payload, fcnt, fport=2, decoded=None):
    readings = asyncio.run(node.uplink(Frame(bytes.fromhex(payload), clock.now(), fport, fcnt, decoded=decoded)))
    return {r.point.removeprefix("n."): r for r in readings if r.measured_at is None}, readings


def test_a_node_whose_mode_is_changed_keeps_no_value_of_before(make, clock):
    node = make("dragino_lt22222_l")
    first, _ = heard(node, clock, "04AB04AC13101300820041", 1)
    assert (first["current1"].value, first["codec_error"].value.startswith("count")) == (4.88, True)
    second, _ = heard(node, clock, "000001F4000003E8820042", 2)
    assert {second[name].quality for name in ("voltage1", "voltage2", "current1", "current2")} == {Quality.BAD}
    assert (second["relay1"].value, second["count1"].value, second["mode"].value) == (True, 500, 2)
    assert second["codec_error"].value.endswith("not in this payload, where mode is 2")
    assert node.last["n.current1"].quality is Quality.BAD
    third, _ = heard(node, clock, "000001F4000003E8820042", 3)
    assert ("current1" in third, third["codec_error"].value) == (False, "")


@pytest.mark.parametrize(("profile", "present", "aside", "stays", "read"), [
    ("dragino_lt22222_l", "04AB04AC13101300820041", "8000000000000000000046", ("relay1", "current1", "voltage2"),
     {"mode": 6}),
    ("dragino_lht65n", "CBF60B0D0376010A857FFF", "CBF628FF64100F1234567890", ("temperature", "humidity", "probe"),
     {"battery_voltage": 3.062}),
    ("dragino_lht65n", "CBF60B0D03760B0A850206", "CBF6112233441009C40206", ("temperature", "humidity"),
     {"probe": 25.0, "probe_humidity": 51.8}),
])  # fmt: skip
def test_a_payload_that_comes_beside_the_others_leaves_what_it_lacks(make, clock, profile, present, aside, stays, read):
    node = make(profile)
    before, _ = heard(node, clock, present, 1)
    after, _ = heard(node, clock, aside, 2)
    assert {name: after[name].value for name in read} == read
    assert not any(one.quality is Quality.BAD for one in after.values())
    for name in stays:
        assert (node.last[f"n.{name}"].value, node.last[f"n.{name}"].quality) == (before[name].value, Quality.GOOD)


def test_stored_samples_drive_nothing(make, clock):
    node = make("dragino_lht65n")
    heard(node, clock, "09AF0B0D43760969248100", 1)
    present, readings = heard(node, clock, "FF38FF3843764969240A00FF42FF42437649 69240E84".replace(" ", ""), 2)
    assert "temperature" not in present and "probe" not in present
    assert node.last["n.probe"].value == 24.79
    again, _ = heard(node, clock, "FF38FF3843764969240A00", 3, decoded={"temperature": -2, "probe": -2})
    assert "temperature" not in again and node.last["n.probe"].value == 24.79, "nor what ChirpStack makes of them"
    assert [(r.value, r.measured_at) for r in readings if r.point == "n.probe"] == [
        (-2.0, 1763969536000), (-1.9, 1763970692000),
    ]  # fmt: skip


def turned_bad(node, clock, fport, good, then, point):
    """What a node gives for its second payload, after a good one: the point is bad then, and has no value."""
    assert heard(node, clock, good, 1, fport)[0][point].quality is Quality.GOOD
    second, _ = heard(node, clock, then, 2, fport)
    assert (second[point].value, second[point].quality) == (None, Quality.BAD)
    return second


@pytest.mark.parametrize(("profile", "fport", "good", "none", "point"), [
    ("dragino_lht65n", 2, "CBF60B0D0376010A857FFF", "CBF60B0D0376017FFF7FFF", "probe"),
    ("dragino_lht65n", 2, "09AF0B0D43760969248100", "7FFF0B0D43760969248101", "probe"),
    ("dragino_ldds75", 2, "0D4803E800010901", "0D48000000010901", "distance"),
    ("dragino_ldds75", 2, "0D4803E800010901", "0D4803E800", "temperature"),
    ("milesight_em500_udl", 85, "0382F501", "0382FFFF", "distance"),
    ("milesight_ct101", 85, "04981027", "0498FFFF", "current"),
    ("milesight_ct101", 85, "09671601", "0967FFFF", "temperature"),
    ("milesight_ct101", 85, "09671601", "0967FDFF", "temperature"),
    ("milesight_uc511", 85, "030101050100", "0301FF050100", "valve1"),
    ("milesight_uc511", 85, "097B2C01", "B97B01", "pressure"),
])  # fmt: skip
def test_a_sensor_that_says_it_has_no_value_keeps_none_of_before(make, clock, profile, fport, good, none, point):
    node = make(profile)
    second = turned_bad(node, clock, fport, good, none, point)
    told = second["codec_error"].value
    assert point in told and told.endswith(": this payload has no value for it")
    third, _ = heard(node, clock, good, 3, fport)
    assert (third[point].quality, "no value" in third["codec_error"].value) == (Quality.GOOD, False)


@pytest.mark.parametrize(("profile", "fport", "good", "wrong", "point"), [
    ("dragino_lht65n", 2, "CBF60B0D0376010A857FFF", "CBF60B0DFFFF010A857FFF", "humidity"),
    ("dragino_lht65n", 2, "CBF60B0D03760B0A850206", "CBF60B0D03760B0A850FFF", "probe_humidity"),
    ("dragino_lht65n", 2, "CBF60B0D0376010A857FFF", "CBF67D000376010A857FFF", "temperature"),
    ("milesight_em300_th", 85, "0175640367100104688C", "017564036710010468FF", "humidity"),
    ("milesight_am307", 85, "077DB004", "077DFFFF", "co2"),
    ("milesight_wt101", 85, "017561", "0175FF", "battery"),
    ("elsys_ers", 5, "0100E2022906020A", "0100E202FF06020A", "humidity"),
    ("dragino_ldds75", 2, "0D4803E800010901", "0D48F4F000010901", "distance"),
])  # fmt: skip
def test_what_a_sensor_cannot_measure_is_bad(make, clock, profile, fport, good, wrong, point):
    second = turned_bad(make(profile), clock, fport, good, wrong, point)
    assert f"{point}: above " in second["codec_error"].value
    others = [one for one in second.values() if one.quality is Quality.BAD]
    assert len(others) == 1, "its neighbours stay"
