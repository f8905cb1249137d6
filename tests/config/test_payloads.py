"""Profiles of radio nodes: what may stand in them, what is said of mistakes, and where a maker's codec belongs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.site.build import build_settings
from agent.site.loader import check, load

SITE = """\
site: {id: a}
uplink: {url: "mqtt://h"}
buses: {l: {type: lora_chirpstack, url: "mqtt://h", application: a}}
devices: {d: {bus: l, dev_eui: "24e124136b316001", profile: mine}}
"""
TLV = "tlv: [{channel: 3, type: 0x67, field: temperature, as: i16le}]"


def site(folder: Path, profile: str) -> Path:
    (folder / "profiles").mkdir()
    (folder / "profiles" / "mine.yaml").write_text(profile)
    path = folder / "site.yaml"
    path.write_text(SITE)
    return path


def test_all_that_a_profile_may_say(tmp_path: Path) -> None:
    path = site(tmp_path, """\
lora:
  fport: 85
  class: C
  interval: 10min
  tlv:
    - {channel: 0x03, type: 0x67, field: temperature, as: i16le, scale: 0.1, unavailable: 0x7fff}
    - {channel: 0x06, type: 0x00, field: valve.open, as: bool}
    - {channel: 0x07, type: 0x00, fields: [{field: low, as: u8, bit: 0}, {field: level, as: u8, bit: 4, bits: 4}]}
    - {channel: 0x20, type: 0xce, list: kept, fields: [{field: at, as: u32le}, {field: temperature, as: i16le}]}
  skip: {ff0b: 1}
  history: {field: kept, time: at, unit: s}
  downlink: [{field: valve.open, values: {on: "ff 01", off: "FF00"}}, {field: setpoint, fport: 2, prefix: "0e", as: u8}]
points:
  temperature: {unit: degC}
  valve: {field: valve.open, writable: true}
  setpoint: {writable: true, low: 5, high: 30}
  low: {}
  level: {}
""")  # fmt: skip
    assert check(path) == []
    profile = load(path).devices["d"].profile_data
    assert profile is not None
    lora, points = profile["lora"], profile["points"]
    assert (lora["class"], lora["interval"]) == ("C", 600)
    assert lora["history"] == {"field": "kept", "time": "at", "unit": "s"}
    assert lora["tlv"][0]["as"] == "i16le" and lora["tlv"][3]["list"] == "kept"
    assert lora["downlink"][0]["values"] == {"on": "ff01", "off": "ff00"}
    assert {name: point["kind"] for name, point in points.items()} == {
        "temperature": "telemetry", "valve": "state", "setpoint": "telemetry", "low": "state", "level": "telemetry",
    }  # fmt: skip
    assert points["valve"]["field"] == "valve.open"


@pytest.mark.parametrize(
    ("lora", "points", "line"),
    [
        ("interval: 1h", "{}", "error: write one of struct, tlv, cayenne and codec: how the payload is read"),
        (f"{TLV}, cayenne: true", "{}", "error: write one of struct, tlv, cayenne and codec: how the payload is read"),
        (TLV, "{x: {field: temprature}}", 'error: unknown field "temprature"; did you mean "temperature"?'),
        (TLV, "{x: {field: flow}}", 'error: unknown field "flow"; there are temperature'),
        (TLV, "{temperature: {register: input}}", 'error: "register" is for Modbus, and this profile is for LoRa'),
        (TLV, "{temperature: {writable: true}}",
         'error: "temperature" has no record in lora.downlink that says how it is sent'),
        (TLV, "{temperature: {scale: 0}}", "error: 0 would make every value 0"),
        (TLV, "{temperature: {low: 5, high: 1}}", "error: low 5 is above high 1"),
        (TLV, "{temperature: {range: [85, -40]}}", "error: 85 is not below -40; write the lower one first"),
        (TLV, "{temperature: {range: 85}}", "error: 85 is not the least and the most that it can measure"),
        (TLV, "{temperature: {range: [0, 5, 9]}}", "is not the least and the most that it can measure; write [-40"),
        (TLV, "{temperature: {kind: state, range: [0, 1]}}", "error: what is on or off has no range"),
        ("tlv: [{channel: 3, type: 1, field: a, as: i17}]", "{}", 'error: "i17" is none of'),
        ("tlv: [{channel: 3, type: 1, field: a}]", "{}", 'error: "as" is missing in this record'),
        ("tlv: [{channel: 3, type: 1, as: u8}]", "{}", 'error: "field" is missing in this record'),
        ("tlv: [{channel: 3, type: 300, field: a, as: u8}]", "{}", "error: 300 is too much; write at most 255"),
        ("tlv: [{channel: 3, type: 1, field: a b, as: u8}]", "{}", 'error: "a b" is not the name of a field'),
        ("tlv: [{channel: 3, type: 1, field: a, as: u8}, {type: 2, field: b, as: u8}]", "{}",
         "error: records have a channel all, or none of them has one"),
        ("tlv: [{type: 1, field: a, as: u8}, {type: 1, field: b, as: u8}]", "{}",
         "error: this record is here twice (line 1); what has several fields has fields"),
        ("tlv: [{type: 1, field: a, fields: [{field: b, as: u8}]}]", "{}",
         'error: "field" goes into fields, beside the field that it is about'),
        ("tlv: [{type: 1, fields: [{field: a, as: hex}, {field: b, as: u8}]}]", "{}",
         'error: "length" is missing: a hex without it takes all bytes that follow'),
        ("tlv: [{type: 1, field: a, as: u8}], skip: {ff0b: 1}", "{}",
         'error: "ff0b" in skip: 2 hexadecimal digits, as a record of tlv begins'),
        (f"{TLV}, history: {{field: kept, time: at}}", "{}", 'error: unknown list "kept"; a record of tlv says list'),
        ("tlv: [{type: 1, list: kept, fields: [{field: at, as: u32le}]}], history: {field: kept, time: time}", "{}",
         'error: unknown field "time"; there are at'),
        ("struct: [{field: a, type: u8, bit: 8}]", "{}", "error: a u8 has 8 bits"),
        ("struct: [{field: a, type: f32be, bit: 1}]", "{}", "error: a f32 has no bits to pick"),
        ("struct: [{field: a, type: u8, bits: 2}]", "{}", 'error: "bits" goes with "bit": the lowest of them'),
        ("struct: [{field: a, type: u8, length: 2}]", "{}", "error: the length of a u8 is fixed; leave it out"),
        ("struct: [{field: a, type: u8}, {field: a, type: u8}]", "{}", 'error: "a" is here twice'),
        ("struct: [{field: a, type: u8}, {field: a.b, type: u8}]", "{}",
         'error: "a" is a value, and holds other fields as well; rename one'),
        ("struct: [{field: a, type: u8, at: -1}, {field: b, type: u8}]", "{}",
         "error: nothing follows a, which ends the payload; say where with at"),
        ("struct: [{field: a, type: u8, scale: 0}]", "{}", "error: 0 would make every value 0"),
        ("struct: [{field: a, type: u8, unavailable: much}]", "{}",
         'error: "much" is not a whole number, nor a list of them'),
        ("struct: [{field: a, type: u8}, {field: b, type: u8, when: {c: 1}}]", "{}",
         'error: unknown field "c"; when names fields beside it that have no when themselves'),
        ("tlv: [{type: 1, fields: [{field: mode, as: u8}, {field: b, as: u8, when: {mod: 1}}]}]", "{}",
         'error: unknown field "mod"; did you mean "mode"?'),
        ("struct: [{field: mode, type: u8}, {field: b, type: u8, when: {mod: 1}}]", "{}",
         'error: unknown field "mod"; did you mean "mode"?'),
        ("struct: [{field: a, type: u8}, {field: b, type: u8, when: {a: on}}]", "{}",
         'error: "on" is not a whole number, nor a list of them'),
        ("struct: [{field: a, type: u8}, {field: b, type: u8}, {field: b, type: u8, when: {a: 1}}]", "{}",
         'error: "b" is here twice'),
        ("struct: [{field: a, type: u8}], blocks: {length: 4, list: kept, when: {a: 1}}", "{}",
         "error: write history: {field: kept, time: …} beside it"),
        ("struct: [{field: a, type: u8}], blocks: {length: 4, list: kept, when: {a: 1}}, "
         "history: {field: kept, time: second}", "{}", 'error: unknown field "second"; there are a'),
        ("cayenne: true, blocks: {length: 4, list: kept, when: {a_1: 1}}, history: {field: kept, time: at}", "{}",
         'error: "blocks" goes with struct'),
        ("cayenne: true, aside: [{mode: 6}]", "{}", 'error: "aside" goes with struct'),
        ("struct: [{field: mode, type: u8}], aside: [{mod: 6}]", "{}",
         'error: unknown field "mod"; did you mean "mode"?'),
        ("struct: [{field: mode, type: u8}], aside: [{mode: six}]", "{}",
         'error: "six" is not a whole number, nor a list of them'),
        ("cayenne: true", "{x: {field: temperature}}",
         'error: "temperature" is no Cayenne field; write type and channel: temperature_1'),
        (f"{TLV}, fport: 224", "{}", "error: 224 is too much; write at most 223"),
        (f"{TLV}, downlink: [{{field: a}}]", "{}",
         "error: write as (a type) or values (bytes for each value) for a"),
        (f'{TLV}, downlink: [{{field: a, values: {{on: "f"}}}}]', "{}",
         'error: "f" is not bytes; write two hexadecimal digits for each, in quotes: "ff0b"'),
        (f'{TLV}, downlink: [{{field: a, prefix: "00", values: {{on: "ff"}}}}]', "{}",
         'error: "prefix" does not go with values, which are the whole payload'),
        (f"{TLV}, downlink: [{{field: a, as: u8, bit: 1}}]", "{}",
         "error: a downlink writes whole bytes; give each value its bytes in values"),
        ("codec: a.js, source: www.example.org", "{}", 'error: "www.example.org" is not a web address; write https://'),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, lora: str, points: str, line: str) -> None:
    path = site(tmp_path, f"lora: {{{lora}}}\npoints: {points}\n")
    own = f"{tmp_path / 'profiles' / 'mine.yaml'}:"
    said = [str(problem) for problem in check(path) if str(problem).startswith(own)]
    assert len(said) == 1, said
    assert line in said[0].removeprefix(own)


def test_a_makers_codec_lies_beside_the_profile(tmp_path: Path) -> None:
    path = site(tmp_path, "lora: {codec: codecs/thing.js}\npoints: {a: {}}\n")
    codec = tmp_path / "profiles" / "codecs" / "thing.js"
    assert [str(problem) for problem in check(path)] == [
        f"{path}:4:61: warning: profile mine needs its maker's codec, which is not there; put it at {codec}"
    ]
    codec.parent.mkdir()
    codec.write_text("")
    assert check(path) == []
    profile = load(path).devices["d"].profile_data
    assert profile is not None and profile["lora"]["codec"] == str(codec)


JS = "lora: {codec: own.js}\npoints: {t: {}}\n"


def test_variables_of_a_device_reach_its_driver(tmp_path: Path) -> None:
    path = site(tmp_path, JS)
    (tmp_path / "profiles" / "own.js").write_text("function Decode(port, bytes) { return {t: 1} }")
    path.write_text(SITE.replace("profile: mine}", 'profile: mine, variables: {offset: 2.5, id: "07", place: cellar}}'))
    assert check(path) == []
    bus = build_settings(load(path)).buses["l"]
    assert [device.options["variables"] for device in bus.devices] == [{"offset": 2.5, "id": "07", "place": "cellar"}]


@pytest.mark.parametrize(
    ("variables", "profile", "said"),
    [
        ("{a: [1]}", JS, "a is a text or a number, not a list"),
        ("{a: true}", JS, "a is a text or a number, not true"),
        ("5", JS, "5 has no names"),
        ("{a: 1}", f"lora: {{{TLV}}}\npoints: {{temperature: {{}}}}\n", "variables are for JavaScript codecs"),
    ],
)
def test_variables_that_cannot_be(tmp_path: Path, variables: str, profile: str, said: str) -> None:
    path = site(tmp_path, profile)
    (tmp_path / "profiles" / "own.js").write_text("function Decode(port, bytes) { return {t: 1} }")
    path.write_text(SITE.replace("profile: mine}", f"profile: mine, variables: {variables}}}"))
    assert any(said in problem.message for problem in check(path)), check(path)


def test_the_codec_of_a_packaged_profile_lies_beside_the_site_too(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("mine", "mclimate_vicki"))
    (said,) = check(path)
    assert (said.line, said.column, said.severity) == (4, 61, "warning")
    assert f"put it at {tmp_path / 'profiles/codecs/vicki.js'} (published at https://github.com/" in said.message
    assert load(path).devices["d"].profile_data is not None


DOCS = Path(__file__).parents[2] / "drivers" / "lora" / "codecs" / "README.md"
SHOWN = re.findall(r"```yaml\n# profiles/(\w+)\.yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.parametrize(("name", "profile"), SHOWN, ids=[name for name, _ in SHOWN])
def test_the_examples_of_the_documentation(tmp_path: Path, name: str, profile: str) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / f"{name}.yaml").write_text(profile)
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("mine", name))
    assert check(path) == []


def test_there_are_examples() -> None:
    assert len(SHOWN) == 3
