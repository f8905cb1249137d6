"""A control never listens to a word: `check` says which point gives one, and how the profile makes on and off of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.site.loader import check, load
from drivers.lora.values import state_of

SITE = """\
site: {{id: a, latitude: 46.5, longitude: 4.2, timezone: Europe/Paris}}
uplink: {{url: "mqtt://h"}}
buses: {{l: {{type: lora_chirpstack, url: "mqtt://h", application: a}}, g: {{type: gpio}}}}
devices: {{d: {{bus: l, dev_eui: "24e124136b316001", profile: mine}}}}
signals:
  meter: {{from: g.17, kind: counter, unit: L, per_pulse: 10}}
  cabinet: {{from: d.door}}
actuators: {{lamps: {{output: g.20}}}}
lighting:
  local_switch: {{manual_off: {off}}}
  circuits: {{square: {{actuator: lamps, switch_on: {{event: sunset}}, switch_off: {{event: sunrise}}}}}}
water: {{points: {{fountain: {{meter: meter, tamper: {tamper}}}}}}}
"""
TERNARY = 'function decodeUplink(i) { return {data: {door: i.bytes[0] === 1 ? "open" : "close"}}; }'
LIST = 'function decodeUplink(i) {\n  return {data: {door: ["close", "open"][i.bytes[0]]}};\n}'
ASSIGNED = """\
function Decoder(bytes, port) {
  var decoded = {};
  if (bytes[0] === "x") decoded.battery = 1;
  decoded["door"] = bytes[0] ? 'open' : 'close';
  return decoded;
}
"""
CALLED = """\
function decodeUplink(i) { var d = {}; d.door = readDoor(i.bytes[0]); return {data: d}; }
function readDoor(type) { switch (type) { case 0: return "close"; case 1: return "open"; default: return "unknown"; } }
"""
TABLE = """\
function decodeUplink(i) { return {data: {door: doorOf(i.bytes[0])}}; }
function doorOf(type) { var names = {0: "close", 1: "open"}; return getValue(names, type); }
function getValue(map, key) { return key in map ? map[key] : "unknown"; }
"""
NUMBERED = """\
function decodeUplink(i) {
  var d = {}, n = i.bytes[0];
  var name = "door_" + (n + 1);
  d[name] = readDoor(i.bytes[1]);
  return {data: d};
}
function readDoor(type) { var names = {0: "close", 1: "open"}; return getValue(names, type); }
function getValue(map, key) { return key in map ? map[key] : "not this one: unknown"; }
"""
TEMPLATE = """\
function decodeUplink(i) { var d = {}; d[`door_${i.fPort}`] = i.bytes[0] ? "open" : "close"; return {data: d}; }
"""
LOOP = """\
var bits = {door_1: 0, door_2: 1};
function decodeUplink(i) {
  var d = {};
  for (var key in bits) { d[key] = ((i.bytes[0] >> bits[key]) & 1) ? "open" : "close"; }
  return {data: d};
}
"""
IN_TABLE = """\
var rows = {"0x01": {SIZE: 1, NAME: "door_1", VALUES: {"0x00": "close", "0x01": "open"}}, "0x02": {NAME: "x"}};
function decodeUplink(i) { var d = {}; read(rows, d); return {data: d}; }
"""
NAMED_TABLE = """\
var names = {0: "close", 1: "open"};
function decodeUplink(i) { return {data: {door: names[i.bytes[0]]}}; }
"""
NAMED_LIST = """\
function decodeUplink(i) { const names = ["close", "open"], d = {}; d.door = names[i.bytes[0] & 1]; return {data: d}; }
"""
BIT_TABLE = TERNARY + " var bits = {door: 0};"
BOOLEAN = """\
// the door: "open" or "close"
function decodeUplink(i) { var names = {}; return {data: {door: i.bytes[0] === 1, other: "open", t: names["x"]}}; }
"""
UNITS = 'var units = {door: "V"}; function decodeUplink(i) { return {data: {door: i.bytes[0] & 1}}; }'
HELPED = 'function decodeUplink(i) { return {data: {door: Boolean(i.bytes[0] & 1) || read(i.bytes) > 3}}; }'

UNCLEAR = "function decodeUplink(i) { return {data: i.bytes.reduce((d, b) => Object.assign(d, table(b)), {})} }"
MIXED = 'function decodeUplink(i) { return {data: {door: i.bytes[0] === 1}, was: {door: i.fPort ? "open" : "close"}}; }'
NUMBERED_BOOLEAN = """\
function decodeUplink(i) {
  var d = {}, n = i.bytes[0], name = "door_" + n;
  d[name] = (i.bytes[1] & 1) === 1;
  name = "other_" + n;
  d[name] = "open";
  return {data: d};
}
"""
HANDED = """\
function decodeUplink(i) { var d = {}; d.door = readDoor((i.bytes[0] >>> 4) & 1); return {data: d}; }
function readDoor(bit) { return names(bit); }
"""
LOOKED_UP = 'var t = f(["a"]); function decodeUplink(i) { var d = {}; d.door = t[i.bytes[0] & 1]; return {data: d}; }'
COMPARED = (
    'function decodeUplink(i) { var s = f(i); return {data: {door: s === "open", x: "y"}}; } function f(i) { return 1 }'
)


@pytest.fixture
def site(tmp_path: Path):
    def write(profile: str, codec: str = "", tamper: str = "d.door", off: str = "cabinet") -> Path:
        (tmp_path / "profiles").mkdir(exist_ok=True)
        (tmp_path / "profiles" / "mine.yaml").write_text(profile)
        (tmp_path / "profiles" / "own.js").write_text(codec)
        (tmp_path / "site.yaml").write_text(SITE.format(tamper=tamper, off=off))
        return tmp_path / "site.yaml"

    return write


def errors(path: Path) -> list[str]:
    found = [problem.message for problem in check(path) if problem.severity == "error"]
    print(*found, sep="\n")
    return found


JS = "lora: {codec: own.js}\npoints: {door: {kind: state}}\n"


@pytest.mark.parametrize("codec", [TERNARY, LIST, ASSIGNED, CALLED, TABLE, BIT_TABLE, NAMED_TABLE, NAMED_LIST])
def test_a_control_that_listens_to_a_codecs_word_is_refused(site, codec: str) -> None:
    found = errors(site(JS, codec))
    assert len(found) == 2 and all(
        "d.door is a word" in one and '"close"' in one and "own.js line" in one for one in found
    )
    assert all("states: {open: on, " in one for one in found)
    mapped = "lora: {codec: own.js}\npoints: {door: {states: {open: on, Close: off, unknown: off}}}\n"
    path = site(mapped, codec)
    assert errors(path) == []
    data = load(path).devices["d"].profile_data
    assert data is not None
    assert (data["points"]["door"]["states"], data["points"]["door"]["kind"]) == (
        {"open": True, "close": False, "unknown": False}, "state",
    )  # fmt: skip


@pytest.mark.parametrize("codec", [NUMBERED, TEMPLATE, LOOP, IN_TABLE])
def test_a_word_of_a_field_whose_name_is_put_together_is_refused(site, codec: str) -> None:
    profile = "lora: {codec: own.js}\npoints: {door: {field: door_1, kind: state}}\n"
    assert len(found := errors(site(profile, codec))) == 2
    assert all('d.door is a word, "close" or "open"' in one or '"open" or "close"' in one for one in found)
    assert errors(site(profile.replace("kind: state", "states: {open: on, close: off}"), codec)) == []


def test_a_flag_whose_name_is_put_together_needs_no_words(site) -> None:
    path = site("lora: {codec: own.js}\npoints: {door: {field: door_1, kind: state}}\n", NUMBERED_BOOLEAN)
    assert not any("d.door" in problem.message for problem in check(path))


def test_a_relay_that_reads_back_a_word_is_refused(site) -> None:
    writable = "lora: {codec: own.js, class: C}\npoints: {door: {writable: true}}\n"
    path = site(writable, TERNARY, tamper="g.19", off="g.18")
    path.write_text(path.read_text().replace("{output: g.20}", "{output: d.door}"))
    (found,) = errors(path)
    assert 'd.door is a word, "open" or "close"' in found
    path = site(writable.replace("true}", "true, states: {open: on, close: off}}"), TERNARY, tamper="g.19", off="g.18")
    path.write_text(path.read_text().replace("{output: g.20}", "{output: d.door}"))
    assert errors(path) == []


@pytest.mark.parametrize("codec", [BOOLEAN, COMPARED, HELPED, UNITS])
def test_what_is_on_or_off_needs_no_words(site, codec: str) -> None:
    assert errors(path := site(JS, codec)) == []
    assert not any("d.door" in problem.message for problem in check(path))


def test_a_word_in_place_of_a_number_is_a_warning(site) -> None:
    path = site(JS, TERNARY, tamper="null", off="g.18")
    text = path.read_text().replace("{event: sunset}", "{event: sunset}, photocell: {signal: d.door}")
    path.write_text(text)
    warned = [one.message for one in check(path) if one.severity == "warning"]
    assert any('d.door is a word, "open" or "close"' in one and "wants a number" in one for one in warned)


@pytest.mark.parametrize("codec", [UNCLEAR, MIXED, HANDED, LOOKED_UP])
def test_what_nobody_can_see_is_a_warning(site, codec: str) -> None:
    path = site(JS, codec)
    warned = [one.message for one in check(path) if "shows that d.door is on or off" in one.message]
    assert errors(path) == [] and len(warned) == 2
    assert not any(
        "d.door" in one.message for one in check(site(JS.replace("kind: state", "states: {true: on}"), codec))
    )


def test_a_text_of_a_struct_drives_nothing(site) -> None:
    found = errors(site("lora: {struct: [{field: door, type: ascii}]}\npoints: {door: {}}\n"))
    assert len(found) == 2 and all("d.door is a text" in one for one in found)


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ("{open: 1.5}", '"open" is on or off, not 1.5'), ("[open]", "which words are on and off"),
        ("{}", "which words"), ("{open: on, OPEN: off}", '"OPEN" is on and off here'),
        ("{1: on, 0x01: off}", "is on and off here"),
    ],
)
def test_states_say_on_or_off(site, states: str, words: str) -> None:
    assert any(
        words in one
        for one in errors(site(f"lora: {{codec: own.js}}\npoints: {{door: {{states: {states}}}}}\n", BOOLEAN))
    )


@pytest.mark.parametrize("states", ["{0x00: on, 0x01: off}", "{0.0: on, 1.0: off}", "{0: on, 1: off}"])
def test_states_of_numbers_however_they_are_written(site, states: str) -> None:
    path = site(f"lora: {{codec: own.js}}\npoints: {{door: {{states: {states}}}}}\n", BOOLEAN)
    assert errors(path) == []
    data = load(path).devices["d"].profile_data
    assert data is not None
    found = data["points"]["door"]["states"]
    assert (state_of(0, found), state_of(1, found), state_of(1.0, found)) == (True, False, False)
