"""What is said of a line that is asked too much, before it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.site.build import build_settings
from agent.site.loader import load
from drivers.modbus.config.load import questions
from drivers.modbus.device import build
from drivers.modbus.serial_link import SerialLink

Said = Callable[[str], list[str]]
HEAD = 'site: {id: a}\nuplink: {url: "mqtt://h"}\nbuses: {r: {type: modbus_rtu, port: /dev/pts/9, baudrate: BAUD}}\n'


def site(relays: int, baudrate: int = 2400) -> str:
    devices = "".join(f"  io{n}: {{bus: r, unit_id: {n}, profile: relay8_di8}}\n" for n in range(1, relays + 1))
    return HEAD.replace("BAUD", str(baudrate)) + "devices:\n" + devices


def test_a_line_that_cannot_carry_it_is_refused(said: Said) -> None:
    assert said(site(4)) == []
    assert said(site(5)) == [
        "3:59: warning: r is asked for 88 % of the time that it has at 2400 baud (io1 alone 18 %, with a poll of 1s); "
        "poll less often, or set the line and its devices to 4800 baud"
    ]
    assert said(site(6)) == [
        "3:59: error: r is asked for 105 % of the time that it has at 2400 baud (io1 alone 18 %, with a poll of 1s); "
        "poll less often, or set the line and its devices to 4800 baud"
    ]
    assert said(site(6, 9600)) == []


def test_check_tells_the_load_of_each_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(site(3))
    assert main(["check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == {"r": {"load": 0.525}}
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().err.endswith("; r busy 52 %\n")


def test_it_counts_what_the_driver_asks(tmp_path: Path) -> None:
    """The two know nothing of each other: each register map of the package gives both the same questions."""
    import drivers.profiles

    folder = Path(str(drivers.profiles.__path__[0]))
    names = sorted(path.stem for path in folder.iterdir() if "register" in path.read_text(encoding="utf-8"))
    path = tmp_path / "site.yaml"
    path.write_text(HEAD.replace("BAUD", "115200") + "devices:\n" + "".join(
        f"  d{n}: {{bus: r, unit_id: {n + 1}, profile: {name}, poll: {n + 10}s, output_watchdog: 30s}}\n"
        for n, name in enumerate(names)
    ))  # fmt: skip
    found = load(path)
    (bus,) = build_settings(found).buses.values()
    link = SerialLink("/dev/none", 9600, "N", 1, 8, 0.5)
    assert len(bus.devices) > 5
    for spec in bus.devices:
        asked: list[Any] = sorted(
            (poll.period, block.question.size - 2) for poll in build(spec, link).polls for block in poll._blocks
        )
        assert sorted(questions(found.devices[spec.name])) == asked, spec.name
