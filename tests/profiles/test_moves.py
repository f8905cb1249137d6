"""A timed pulse of a relay goes through the arbiter: done once, never held, refused where an actuator has the relay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.site.loader import check
from tests.fakes import modbus_slave

SITE = """\
version: 1
site: {{id: pulse, name: Pulse, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}}
uplink: {{url: "mqtt://127.0.0.1:9", prefix: bocage/v1}}
buses: {{b: {{type: modbus_tcp, host: 127.0.0.1, port: {port}}}}}
devices: {{io: {{bus: b, unit_id: 1, profile: waveshare_relay_8ch}}}}
actuators: {{km1: {{output: io.{output}, safe_state: off}}}}
"""


@pytest.fixture
def slave() -> Iterator[Any]:
    made = modbus_slave.TcpSlave({1: modbus_slave.Unit(coil=dict.fromkeys([*range(8), *range(0x200, 0x208)], 0))})
    yield made
    made.end()


@pytest.fixture
def bocage(tmp_path: Path, slave: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(command: str, *arguments: str) -> tuple[int, str]:
        (tmp_path / "site.yaml").write_text(SITE.format(port=slave.port, output="relay1"))
        folders = ("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run"))
        code = main([command, str(tmp_path / "site.yaml"), *arguments, *folders])
        return code, capsys.readouterr().out

    return run


def test_a_pulse_is_written_once(bocage: Any, slave: Any) -> None:
    code, out = bocage("write", "io.flash_on2", "1.5", "--direct", "--json")
    assert (code, json.loads(out)["state"]) == (0, "applied")
    assert [r.pdu.hex() for _, r in slave.requests if r.function == 5] == ["050201000f"]


def test_a_relay_that_belongs_to_an_actuator_is_commanded_by_it_alone(bocage: Any, slave: Any) -> None:
    code, out = bocage("write", "io.flash_on1", "1.5", "--direct", "--json")
    answer = json.loads(out)
    assert (code, answer["state"]) == (1, "rejected")
    assert answer["reason"] == "io.flash_on1 moves io.relay1, which is km1: write that"
    assert not [r for _, r in slave.requests if r.function == 5]


def test_what_is_never_read_is_not_missed(bocage: Any) -> None:
    code, out = bocage("check", "--bus")
    assert code == 0 and "io: ok: 8 points read" in out
    code, out = bocage("read", "--json")
    assert code == 0 and not [name for name in json.loads(out) if "flash" in name]


def test_an_actuator_cannot_stand_on_a_pulse(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(port=502, output="flash_on1"))
    assert [problem.message for problem in check(path)] == [
        "io.flash_on1 is a pulse output; use io.relay1"
    ]


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ("{register: coil, address: 9, writable: true, moves: relay}",
         'unknown output "relay"; did you mean "relay1"?'),
        ("{register: coil, address: 9, moves: relay1}", '"writable: true" is missing in p: what moves an output is '
                                                        "written"),
        ("{register: coil, address: 9, type: f32, writable: true, moves: relay1}",
         "what a coil takes for a command is one register: u16 or i16"),
    ],
)  # fmt: skip
def test_slips_are_named(tmp_path: Path, point: str, says: str) -> None:
    (tmp_path / "profiles").mkdir()
    profile = "points:\n  relay1: {register: coil, address: 0, writable: true}\n"
    (tmp_path / "profiles" / "mine.yaml").write_text(f"{profile}  p: {point}\n")
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(port=502, output="relay1").replace("waveshare_relay_8ch", "mine"))
    assert [problem.message for problem in check(path)] == [
        'profile "mine" has errors of its own', says,
    ]  # fmt: skip
