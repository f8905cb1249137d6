"""`bocage codec`: what a technician types, and what he is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import main

GOOD = """\
function decodeUplink(input) { return {data: {first: input.bytes[0], port: input.fPort}, warnings: ["low"]} }
function encodeDownlink(input) { return {bytes: [input.data.x], fPort: input.data.port} }
"""


@pytest.fixture
def codec(tmp_path: Path) -> str:
    path = tmp_path / "good.js"
    path.write_text(GOOD)
    return str(path)


def bad(tmp_path: Path, body: str) -> str:
    path = tmp_path / "bad.js"
    path.write_text(f"function decodeUplink(input) {{ {body} }}\nfunction encodeDownlink(input) {{ {body} }}\n")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = main(["codec", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_whole_return_value(capsys: pytest.CaptureFixture[str], codec: str) -> None:
    code, out, err = run(capsys, "run", codec, "--fport", "85", "--hex", "03ff")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"data": {"first": 3, "port": 85}, "warnings": ["low"]}
    assert len(out.splitlines()) > 3


@pytest.mark.parametrize("payload", ["03ff", "0x03FF", "03 ff", "03:ff"])
def test_json_is_one_line(capsys: pytest.CaptureFixture[str], codec: str, payload: str) -> None:
    code, out, _ = run(capsys, "run", "--json", codec, "--hex", payload)
    assert code == 0 and out == '{"data": {"first": 3, "port": 1}, "warnings": ["low"]}\n'


def test_variables_reach_the_codec(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = "return {data: input.variables, bytes: [input.variables.offset]}"
    path = bad(tmp_path, body)
    given = ("--variable", "offset=2", "--variable", "place=in a = b", "--variable", 'id="07"')
    code, out, _ = run(capsys, "run", path, "--hex", "03", "--json", *given)
    assert code == 0 and json.loads(out)["data"] == {"offset": 2, "place": "in a = b", "id": "07"}
    assert run(capsys, "encode", path, "--fport", "1", "--object", "{}", *given) == (0, "02\n", "")
    assert "write offset=2" in run(capsys, "run", path, "--hex", "03", "--variable", "offset")[2]


def test_encode_prints_the_bytes(capsys: pytest.CaptureFixture[str], codec: str) -> None:
    assert run(capsys, "encode", codec, "--fport", "85", "--object", '{"x": 255}') == (0, "ff\n", "")
    assert run(capsys, "encode", codec, "--object", '{"x": 1, "port": 9}', "--json") == (
        0, '{"fPort": 9, "hex": "01"}\n', "",
    )  # fmt: skip


def test_a_profile_by_name_and_by_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "run", "milesight_em300_th", "--hex", "03673401", "--json")
    assert (code, json.loads(out)["data"]) == (0, {"temperature": 30.8})
    own = tmp_path / "mine.yaml"
    own.write_text("lora: {struct: [{field: a, type: u8}]}\npoints: {a: {}}\n")
    assert run(capsys, "run", str(own), "--hex", "07", "--json") == (0, '{"data": {"a": 7}, "warnings": []}\n', "")
    assert run(capsys, "encode", "milesight_wt101", "--object", '{"setpoint": 19}')[:2] == (0, "ffb1130500\n")


@pytest.mark.parametrize("action", [("run", "--hex", "03"), ("encode", "--fport", "1", "--object", "{}")])
@pytest.mark.parametrize(
    ("body", "reason"),
    [("throw new Error('boom')", "Error: boom (line"), ("return {errors: ['bad length']}", "bad length"),
     ("for (;;);", "stopped after 500 ms"), ("return 5", "no object"),
     ("return {data: null}", "returned no "), ("return {data: [1]}", "returned no ")],
)  # fmt: skip
def test_a_throw_or_an_error_is_exit_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, action: tuple[str, ...], body: str, reason: str
) -> None:
    code, out, err = run(capsys, action[0], bad(tmp_path, body), *action[1:])
    assert code == 1 and reason in out + err and "Traceback" not in err


def test_errors_are_json_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "run", bad(tmp_path, "throw new Error('boom')"), "--hex", "03", "--json")
    assert code == 1 and json.loads(out) == {"errors": ["bad.js: Error: boom (line 1)"]}
    code, out, _ = run(capsys, "run", bad(tmp_path, "return {errors: ['no'], data: {a: 1}}"), "--hex", "03", "--json")
    assert code == 1 and json.loads(out) == {"errors": ["no"], "data": {"a": 1}}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("run", "CODEC", "--hex", "036"), "036 has 3 digits; a byte has two, so one is missing"),
        (("run", "CODEC", "--hex", "03zz"), '"z" in 03zz is no hexadecimal digit'),
        (("run", "CODEC", "--hex", "03", "--fport", "0"), "0 is no LoRaWAN application port; write 1 to 223"),
        (("run", "CODEC", "--hex", "03", "--fport", "224"), "224 is no LoRaWAN application port"),
        (("run", "CODEC", "--hex", "03", "--fport", "x"), "x is no LoRaWAN application port"),
        (("run", "CODEC"), "run needs --hex"),
        (("run", "CODEC", "--object", "{}"), "run needs --hex"),
        (("encode", "CODEC", "--object", "{}", "--hex", "03"), "--hex is not for encode"),
        (("encode", "CODEC", "--object", "{x: 1}"), "{x: 1} is not JSON: Expecting property name"),
        (("encode", "CODEC", "--object", "[1]"), "[1] is no JSON object"),
        (("dance", "CODEC"), '"dance" is unknown; known are run, encode'),
    ],
)
def test_wrong_use_is_exit_2(
    capsys: pytest.CaptureFixture[str], codec: str, arguments: tuple[str, ...], reason: str
) -> None:
    code, out, err = run(capsys, *(codec if word == "CODEC" else word for word in arguments))
    assert (code, out) == (2, "") and reason in err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.js", "there is no file no.js"),
        ("profiles/no.yaml", "there is no file profiles/no.yaml"),
        ("milesight_em300", 'unknown codec or profile "milesight_em300"; did you mean "milesight_em300_'),
        ("eastron_sdm120", "eastron_sdm120 is a profile for Modbus; it has no codec"),
        ("axioma_qalcosonic_w1", "qalcosonic-w1-codec.js (published at https://github.com/"),
    ],
)
def test_a_codec_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "run", name, "--hex", "03")
    assert (code, out) == (1, "") and reason in err


def test_a_wrong_profile_is_told_with_its_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("lora: {struct: [{field: a, type: u9}]}\npoints: {a: {}}\n")
    code, _, err = run(capsys, "run", str(own), "--hex", "07")
    assert code == 1 and f'{own}:1:34: error: "u9" is none of' in err


def test_nothing_stays_behind_the_command(codec: str) -> None:
    """The codec process ends with it, and says nothing."""
    command = [sys.executable, "-m", "agent", "codec", "run", codec, "--hex", "03", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
