"""Profiles as tables: what a spreadsheet saves is the same profile as in YAML, and its mistakes are named by cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from agent.site.loader import check, load
from agent.site.profiles.model import AnyPoint
from drivers.modbus.config.table import COLUMNS, read_csv

SITE = """\
site: {id: a}
uplink: {url: "mqtt://h"}
buses: {r: {type: modbus_tcp, host: h}}
devices: {d: {bus: r, unit_id: 1, profile: mine}}
"""
YAML = """\
modbus: {max_gap: 4, max_read: 50, guard: 5ms}
points:
  power:  {register: input, address: 0x28, type: i32, order: cdab, scale: 0.1, unit: W, unavailable: 0x7FFFFFFF}
  energy: {register: input, address: 52, type: i32, order: cdab, scale: 0.1, offset: -5, unit: kWh, poll: 1min}
  relay1: {register: coil, address: 0, writable: true}
  pulse1: {register: coil, address: 0x200, type: u16, scale: 0.1, unit: s, writable: true, moves: relay1, low: 0.1}
  name:   {register: holding, address: 100, type: string, length: 8}
  flag:   {register: holding, address: 110, bit: 3, kind: diagnostic}
"""
ROWS = [
    ["description", "Ein Zähler"],
    ["max_gap", "4"],
    ["max_read", "50"],
    ["guard", "5ms"],
    ["# what it measures"],
    ["Name", "Register", "Address", "Type", "Order", "Scale", "Offset", "Unit", "Unavailable", "Poll", "Writable",
     "Moves", "Low", "Length", "Bit", "Kind", "Comment"],
    ["power", "Input", "0x28", "I32", "CDAB", "0.1", "", "W", "0x7FFFFFFF", "", "", "", "", "", "", "", "manual; p. 7"],
    ["energy", "input", "52", "i32", "cdab", "0.1", "-5", "kWh", "", "1min"],
    [],
    ["relay1", "coil", "0", "", "", "", "", "", "", "", "yes"],
    ["# and its pulse, with a #"],
    ["pulse1", "coil", "0x200", "u16", "", "0.1", "", "s", "", "", "TRUE", "relay1", "0.1"],
    ["name", "holding", "100", "string", "", "", "", "", "", "", "no", "", "", "8"],
    ["flag", "holding", "110", "", "", "", "", "", "", "", "", "", "", "", "3", "diagnostic"],
]  # fmt: skip
Write = Callable[..., Path]


def saved(separator: str, rows: list[list[str]] = ROWS, decimal: str = ".", quote: bool = False) -> str:
    """The table as a spreadsheet saves it: every row as long as the longest."""

    def cell(text: str) -> str:
        if decimal != "." and text in ("0.1",):
            text = text.replace(".", decimal)
        escaped = '"' + text.replace('"', '""') + '"'
        return escaped if quote or separator in text or '"' in text else text

    width = max(map(len, rows))
    return "".join(separator.join(map(cell, row + [""] * (width - len(row)))) + "\r\n" for row in rows)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "profiles").mkdir()
    path = tmp_path / "site.yaml"
    path.write_text(SITE)

    def make(text: str | bytes, name: str = "mine.csv") -> Path:
        (tmp_path / "profiles" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def profile_of(path: Path) -> Any:
    return load(path).devices["d"].profile_data


@pytest.mark.parametrize(
    "text",
    [saved(";"), saved(","), saved("\t"), saved(";", decimal=","), saved(",", decimal=",", quote=True),
     "\ufeff" + saved(";"), "sep=;\r\n" + saved(";"), saved(";").replace("\r\n", "\n"), saved(";").replace(";", " ; ")],
    ids=["semicolon", "comma", "tab", "decimal comma", "all quoted", "byte order mark", "sep=", "LF", "spaces"],
)  # fmt: skip
def test_a_table_is_the_profile_that_yaml_is(write: Write, text: str) -> None:
    if " ; " in text:
        text = text.replace("manual ;  p. 7", "p. 7")
    path = write(text)
    assert check(path) == []
    table = profile_of(path)
    (path.parent / "profiles" / "mine.csv").unlink()
    assert profile_of(write(YAML, "mine.yaml")) == table


def test_every_key_of_a_modbus_point_is_a_column() -> None:
    keys = {field.alias or name for name, field in AnyPoint.model_fields.items()} - {"field", "states", "range"}
    assert keys <= set(COLUMNS)


def test_both_of_one_name_are_refused(write: Write) -> None:
    path = write(saved(";"))
    write(YAML, "mine.yaml")
    table, yaml = path.parent / "profiles" / "mine.csv", path.parent / "profiles" / "mine.yaml"
    assert f"{table}:1:1: error: {yaml} has this name too; keep one of them" in map(str, check(path))


def test_a_table_beside_the_site_wins_over_the_package(write: Write) -> None:
    path = write("name;register;address\nonly;input;7\n", "eastron_sdm120.csv")
    path.write_text(SITE.replace("mine", "eastron_sdm120"))
    assert list(profile_of(path)["points"]) == ["only"]


def test_a_table_is_among_the_names_that_are_meant(write: Write) -> None:
    path = write("name;register;address\na;input;0\n")
    path.write_text(SITE.replace("mine", "minne"))
    assert any('unknown profile "minne"; did you mean "mine"?' in str(problem) for problem in check(path))


HEAD = "name;register;address;type;scale;writable\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "a;inptu;0\n", '2:3: error: "inptu" is none of coil, discrete, input or holding; did you mean '),
        (HEAD + "a;input;5B00h\n", '2:9: error: "5B00h" is no whole number; did you mean 0x5B00?'),
        (HEAD + "a;input;one\n", '2:9: error: "one" is no whole number; write it as 12 or 0x0C'),
        (HEAD + "a;input;70000\n", "2:9: error: 70000 is too much; write at most 65535"),
        (HEAD + "a;input;0;f31\n", '2:11: error: "f31" is none of bool, u16, '),
        (HEAD + "a;input;0;;x\n", '2:12: error: "x" is no number; write it as 0.1 or 0,1'),
        (HEAD + "a;input;0;;0,1;perhaps\n", '2:16: error: "perhaps" is neither yes nor no; write yes or no'),
        (HEAD + "a;input;0;;;yes\n", "2:13: error: input registers cannot be written; coil and holding can"),
        (HEAD + ";input;0\n", "2:2: error: a point without a name; write one in its row"),
        (HEAD + "a;;0\n", '2:1: error: "register" is missing in a'),
        (HEAD + "a;input\n", '2:1: error: "address" is missing in a'),
        (HEAD + "a;input;0\nb;input;1\na;input;2\n", '4:1: error: duplicate point "a"; it is on line 2 already'),
        (HEAD + "é;input;0\n", '2:1: error: "é" is not a name'),
        (HEAD + 'a;"input;0\n', "2:3: error: this quote is never closed on its line"),
        (HEAD + "a;input;0;;;;W\n", '2:14: error: "W" is in a column without a name'),
        ("name,register,address,scale,unit\na,input,0,2,5,W\n",
         '2:11: error: "2,5" lies in two cells here; write a number with a comma in quotes'),
        ("name,register,address,scale,unit,comment\na,input,0,0,1,W\n",
         '2:11: error: "0,1" lies in two cells here; write a number with a comma in quotes'),
        (HEAD + "a;holding;40001\nb;holding;40003\n",
         "2:11: warning: 40001 is how manuals count (so is 1 more), and not the address on the wire; write address: 0, "
         "unless address 40001 itself is meant"),
        (HEAD + "a;holding;400001\n",
         "2:11: error: 400001 is how manuals count; write register: holding, address: 0"),
        (HEAD + "a;30011;30011\n", "2:3: error: 30011 is how manuals count; write register: input, address: 10"),
        ("name;register;address;unit\na;input;0;candles\n", '2:11: warning: unknown unit "candles"; write '),
        ("name,register,address,scale,unit,comment\na,input,0,1,5,W\n",
         '2:13: warning: "5" is a number and no unit; write a decimal comma in quotes, or a point'),
        ("name;register;adress\na;input;0\n", '1:15: error: unknown column "adress"; did you mean "address"?'),
        ("name;register;address;name\na;input;0\n", '1:23: error: the column "name" is here twice'),
        ("register;address\ninput;0\n", '1:1: error: the column "name" is missing'),
        ("max_gapp;4\n" + HEAD + "a;input;0\n", '1:1: error: unknown setting "max_gapp"; did you mean "max_gap"?'),
        ("max_gap;x\n" + HEAD + "a;input;0\n", '1:9: error: "x" is no whole number; write it as 12 or 0x0C'),
        ("max_gap;200\n" + HEAD + "a;input;0\n", "1:9: error: 200 is too much; write at most 124"),
        ("guard;5\n" + HEAD + "a;input;0\n", '1:7: error: 5 has no unit; write '),
        ("guard\n" + HEAD + "a;input;0\n", '1:1: error: there is no value after "guard"; write it beside'),
        ("a;input;0\n", "1:1: error: no row with the names of the columns; write one such as name;register;"),
        ("", "1:1: error: no row with the names of the columns"),
        (b"name;register;address;unit\nt;input;0;\xb0C\n", "2:11: error: not UTF-8; save the file with the encoding"),
        (HEAD + "a;coil;0;u16\n", "2:10: error: a coil is a bool"),
    ],
)  # fmt: skip
def test_slips_are_named_with_line_and_column(write: Write, text: str | bytes, expected: str) -> None:
    path = write(text)
    own = f"{path.parent / 'profiles' / 'mine.csv'}:"
    found = [str(problem).removeprefix(own) for problem in check(path) if str(problem).startswith(own)]
    assert [one[: len(expected)] for one in found] == [expected], found


def test_an_address_is_meant_as_it_stands_where_another_is_no_manuals(write: Write) -> None:
    """SunSpec begins at address 40000, and has 40002 beside it."""
    assert check(write(HEAD + "a;holding;40000\nb;holding;40002\nc;input;40001\n")) == []


def test_all_slips_are_named_in_one_run(write: Write) -> None:
    path = write("max_gap;x\nname;register;address;scal\na;inptu;0\nb;input;zero\nb;input;3\n")
    lines = [problem.line for problem in check(path) if problem.file.endswith("mine.csv")]
    assert lines == [1, 2, 3, 4, 5]


@given(some.text(max_size=300) | some.text("name;register,address\n\"# 0x1\t", max_size=120))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    document = read_csv(path)
    assert document.problems or document.data["points"] is not None
    assert all(problem.line >= 1 and problem.column >= 1 for problem in document.problems)
