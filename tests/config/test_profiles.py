"""Profiles: the one beside the site file wins, and its mistakes are named in its own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.site.loader import check, load
from agent.site.profiles.model import Library

SITE = """\
site: {id: a}
uplink: {url: "mqtt://h"}
buses: {r: {type: modbus_tcp, host: h}}
devices: {d: {bus: r, unit_id: 1, profile: NAME}}
"""
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, profile: str) -> Path:
        (tmp_path / "profiles").mkdir()
        (tmp_path / "profiles" / f"{name}.yaml").write_text(profile)
        path = tmp_path / "site.yaml"
        path.write_text(SITE.replace("NAME", name))
        return path

    return make


def test_the_one_beside_the_site_wins(write: Write) -> None:
    path = write("eastron_sdm120", "points: {only: {register: holding, address: 1}}")
    profile = load(path).devices["d"].profile_data
    assert profile is not None and list(profile["points"]) == ["only"]


def test_every_kind_of_register(write: Write) -> None:
    path = write("mine", """\
name: mine
modbus: {max_gap: 4, max_read: 60, guard: 5ms}
points:
  energy: {register: holding, address: 3, type: i64, scale: 0.1, unit: kWh, unavailable: 0x8000000000000000, poll: 1min}
  text:   {register: holding, address: 10, type: string, length: 8}
  flag:   {register: input, address: 20, bit: 3}
  back:   {register: input, address: 30, type: u64, order: ghefcdab}
  swap:   {register: input, address: 40, type: f32, order: cdab}
  set:    {register: holding, address: 50, type: i16, writable: true, low: -10, high: 10, kind: state}
""")  # fmt: skip
    assert check(path) == []
    profile = load(path).devices["d"].profile_data
    assert profile is not None
    assert profile["modbus"] == {"max_gap": 4, "max_read": 60, "guard": 0.005}
    points = profile["points"]
    assert (points["energy"]["unavailable"], points["energy"]["poll"]) == (1 << 63, 60)
    assert [points[name]["kind"] for name in ("energy", "flag", "set", "swap")] == [
        "counter", "state", "state", "telemetry",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ("{register: holdin, address: 1}",
         '1:24: error: "holdin" is none of coil, discrete, input or holding; did you mean "holding"?'),
        ("{register: holding}", '1:13: error: "address" is missing in x'),
        ("{register: holding, address: 1, type: f23}", None),
        ("{register: holding, address: 1, adress: 2}", '1:45: error: unknown key "adress"; did you mean "address"?'),
        ("{register: input, address: 1, writable: true}",
         "1:53: error: input registers cannot be written; coil and holding can"),
        ("{register: input, address: 1, type: string}", '1:13: error: "length" (in registers) is missing for a string'),
        ("{register: input, address: 1, bit: 16}", "1:48: error: a u16 has no bit 16"),
        ("{register: input, address: 300011}",
         "1:40: error: 300011 is how manuals count; write register: input, address: 10"),
        ("{register: 4x0011, address: 10}",
         "1:24: error: 4x0011 is how manuals count; write register: holding, address: 10"),
        ("{register: input, address: 1, scale: 0,1}",
         '1:52: error: the comma makes a key of "1"; write the decimals after a point'),
        ("{register: input, address: 70000}", "1:40: error: 70000 is too much; write at most 65535"),
        ("{register: coil, address: 1, type: f32}", "1:48: error: a coil is a bool"),
        ("{register: input, address: 1, order: ghefcdab}",
         "1:50: error: the order of a u16 is one of abcd, cdab, badc, dcba"),
        ("{register: holding, address: 1, low: 5, high: 1}", "1:50: error: low 5 is above high 1"),
        ("{register: input, address: 1, range: [0, 9]}",
         '1:43: error: "range" is for LoRa; a Modbus point has unavailable'),
    ],
)  # fmt: skip
def test_mistakes_of_a_profile(write: Write, point: str, line: str | None) -> None:
    path = write("mine", f"points: {{x: {point}}}")
    own = f"{path.parent / 'profiles' / 'mine.yaml'}:"
    said = [str(problem) for problem in check(path)]
    assert said[0] == f'{path}:4:44: error: profile "mine" has errors of its own'
    assert len(said) == 2 and said[1].startswith(own)
    if line is not None:
        assert said[1].removeprefix(own) == line


def test_a_profile_name_is_no_path(write: Write) -> None:
    path = write("x", "points: {}")
    path.write_text(SITE.replace("NAME", "../profiles/x"))
    said = str(check(path)[0])
    assert "unknown profile" in said and "a profile is a name without a folder" in said


def test_how_a_point_is_written(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/io.yaml").write_text(
        "modbus: {write: multiple}\n"
        "points:\n"
        "  a: {register: holding, address: 0, writable: true}\n"
        "  b: {register: coil, address: 0, writable: true, write: single}\n"
    )
    (tmp_path / "profiles/table.csv").write_text(
        "write;multiple\nname;register;address;writable;write\na;holding;0;x;\nb;coil;0;x;Single\n"
    )
    library = Library(tmp_path)
    for name in ("io", "table"):
        profile = library.get(name)
        assert profile is not None, library.problems
        assert [profile["points"][point]["write"] for point in "ab"] == ["multiple", "single"]
    (tmp_path / "profiles/wrong.yaml").write_text(
        "points:\n"
        "  a: {register: holding, address: 0, type: u32, writable: true, write: single}\n"
        "  b: {register: holding, address: 2, write: multiple}\n"
    )
    assert library.get("wrong") is None
    assert [problem.message for problem in library.problems] == [
        "function 6 writes one register, and a u32 has more; write multiple",
        '"writable: true" is missing in b',
    ]


def test_a_relay_on_a_number_says_what_on_is(write: Write) -> None:
    path = write("mine", "points: {r1: {register: holding, address: 1, writable: true}}")
    path.write_text(path.read_text() + "actuators: {pump: {output: d.r1}}\n")
    (problem,) = check(path)
    assert problem.message.startswith("d.r1 is a u16, and nothing says what on is; write type: bool (1 and 0) or on:")
    profile = path.parent / "profiles/mine.yaml"
    for kind in ("type: bool", "bit: 3", "on: 0x0100, off: 0x0200"):
        profile.write_text(f"points: {{r1: {{register: holding, address: 1, writable: true, {kind}}}}}")
        assert check(path) == []
    point = load(path).devices["d"].profile_data["points"]["r1"]  # type: ignore[index]
    assert (point["type"], point["kind"], point["on"], point["off"]) == ("bool", "state", 256, 512)


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ("{register: holding, address: 40011}", "1:42: warning: 40011 is how manuals count, and not the address on the "
         "wire; write address: 10, unless address 40011 itself is meant"),
        ("{register: coil, address: 00005}", "1:39: warning: 00005 is how manuals count, and not the address on the "
         "wire; write address: 4, unless address 00005 itself is meant"),
        ("{register: input, address: 1, unit: candles}",
         '1:49: warning: unknown unit "candles"; write one such as degC, kWh, m3 or %'),
    ],
)  # fmt: skip
def test_what_is_hardly_meant_in_a_profile(write: Write, point: str, line: str) -> None:
    path = write("mine", f"points: {{x: {point}}}")
    assert [str(problem) for problem in check(path)] == [f"{path.parent / 'profiles' / 'mine.yaml'}:{line}"]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("register: holding, on: 1", '"off" is missing in r: write both words'),
        ("register: holding, on: 7, off: 7", "on and off are the same word, 7"),
        ("register: coil, on: 1, off: 2", "words for on and off are for holding registers; a coil has none"),
        ("register: holding, type: u32, on: 1, off: 2", "on and off are values of one register, which a u32 is not"),
        ("register: holding, scale: 2, on: 1, off: 2", '"scale" has no meaning beside words for on and off'),
    ],
)
def test_words_for_on_and_off(write: Write, point: str, message: str) -> None:
    path = write("mine", f"points: {{r: {{address: 1, {point}}}}}")
    assert [problem.message for problem in check(path)][1:] == [message]
