"""What the live view shows of a status document, at several sizes and without colour."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli.live import view

STATUS = json.loads((Path(__file__).parent / "status.json").read_text())
EMPTY = {"site": {"id": "x", "name": "X"}, "points": [], "actuators": [], "uplink": {"state": "off"}, "outbox": {},
         "buses": [], "log": []}  # fmt: skip


def drawn(status, width=120, height=40, notes=()):
    """The lines that a terminal without colours shows."""
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None, force_terminal=False)
    console.print(view.frame(status, notes))
    return console.file.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
def test_it_fits_the_window(width, height):
    status = copy.deepcopy(STATUS)
    status["points"] = [{**STATUS["points"][0], "id": f"meter-{n}.voltage"} for n in range(190)]
    status["log"] = [f"line {n} " + "x" * 300 for n in range(50)]
    lines = drawn(status, width, height)
    assert len(lines) == height
    assert max(len(line) for line in lines) == width
    assert any("more in a larger window" in line for line in lines)
    assert any("line 49" in line for line in lines)  # the newest line of the log is the one that must show


def test_every_part_is_there_in_words():
    text = "\n".join(drawn(STATUS))
    for part in ("Saint-Seine-l'Abbaye (saint-seine)", "17:51:21", "clock synced", "up 62 min",
                 "231.40", "4711", "stale", "km1", "8 mqtt: command 7f3a", " 19:51 ", " 19:51 on",
                 "off>on", "on mismatch", "waiting", "uplink waiting for 34 s, 42 ms", "connection refused",
                 "236 of 1000 waiting, 12 kB, 17 days left, 0 gaps, oldest 17:50:47",
                 "rs485-1 up 31 %", "plant down refused", "lora-1 not driven yet", "device lost"):  # fmt: skip
        assert part in text, part


def test_what_is_wrong_comes_first_and_statistics_last():
    ids = [line.split()[0] for line in drawn(STATUS) if line.startswith(tuple(p["id"] for p in STATUS["points"]))]
    assert ids[:3] == ["meter-b.voltage_l1", "air-temp", "tank-level"]
    assert ids[-2:] == ["room-1.payload", "meter-a.modbus.timeouts"]


def test_a_long_text_leaves_room_for_the_names():
    line = next(line for line in drawn(STATUS, 80) if "85:017" in line)
    assert line.startswith("room-1.payload ") and " 85:017... " in line


def test_unknown_time_is_said():
    unset = {**STATUS, "at": None, "clock": "unsynced"}
    lines = drawn(unset)
    assert any("time unknown  clock unsynced" in line for line in lines)
    assert any("timedatectl" in line for line in lines), "and what to do about it"
    assert view.line(unset).startswith("time unknown points")


def test_an_agent_that_has_nothing_yet_is_drawn_too():
    assert any("uplink off" in line for line in drawn(EMPTY))
    assert "points 0/0 good" in view.line(EMPTY)


def test_notes_stand_out():
    assert any("the link is cut" in line for line in drawn(STATUS, 80, 24, ["the link is cut"]))


def test_one_line():
    assert view.line(STATUS) == (
        "17:51:21 points 8/11 good, buses 1 up, on: km1, uplink waiting 42 ms, 236 waiting, 17 days left"
    )


def test_one_line_says_what_is_wrong_with_the_site_file():
    wrong = {"file": "/etc/bocage/site.yaml", "line": 7, "column": 47, "message": 'unknown profile "x"'}
    said = view.line({**STATUS, "config": {"invalid": wrong}})
    assert said.endswith(', site.yaml:7:47: unknown profile "x" (the one applied before runs)')


def test_the_picture_is_an_svg():
    picture = view.svg(STATUS)
    assert picture.startswith("<svg") and "tank-level" in picture


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_spans(seconds, text):
    assert view.span(seconds) == text
