"""The live view in terminals of 80 and of 40 columns: nothing is out of reach, and nothing is cut."""

from __future__ import annotations

import copy
import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.demo import site
from tests.fakes.terminal import Terminal

STATUS = json.loads((Path(__file__).parents[1] / "view/status.json").read_text())
LOST = "WARNING bocage.modbus device lost device=meter-b reason=timeout: it has not answered for a while next=retry"


def long_status():
    status = copy.deepcopy(STATUS)
    many = [{**STATUS["points"][0], "id": f"meter-with-a-long-name-{n}.voltage_between_lines"} for n in range(60)]
    status["points"] += many
    status["alarms"] = [
        {"severity": "major", "code": "device_lost", "subject": f"meter-{n}", "since": STATUS["at"], "acked": False}
        for n in range(9)
    ]
    status["uplink"]["error"] = "broker.example.org:8883: its certificate ended yesterday: ask who keeps it"
    status["log"] = [f"12:00:{n:02} INFO bocage.app line {n}" for n in range(30)] + [f"12:01:00 {LOST}"]
    return status


@pytest.fixture
def watch(tmp_path, agent_that_says):
    """`watch(columns, rows, status)`: the live view of an agent that says this."""
    file = tmp_path / "site.yaml"
    file.write_text(site.text(tmp_path, 1, 2, 3, wires=False))

    def start(columns, rows, status):
        folder = tmp_path / "run"
        opened.enter_context(agent_that_says(folder, status=status))
        command = [sys.executable, "-m", "agent", "watch", str(file), "--runtime-dir", str(folder)]
        return opened.enter_context(Terminal(command, columns, rows))

    with ExitStack() as opened:
        yield start


def place(lines):
    """First line, last line and number of lines, as the last line on the screen says."""
    first, last = lines[-1].split()[0].split("-")
    return int(first), int(last), int(lines[-1].split()[2])


def is_at(first):
    return lambda lines: lines[-1].strip()[:1].isdigit() and place(lines)[0] == first


def is_at_end(lines):
    return lines[-1].strip()[:1].isdigit() and place(lines)[1] == place(lines)[2]


@pytest.mark.parametrize("columns", [80, 40])
def test_everything_can_be_reached_and_nothing_is_cut(watch, columns):
    screen = watch(columns, 24, long_status())
    lines = screen.until(is_at(1))
    assert "Saint-Seine-l'Abbaye" in lines[0]
    seen, (first, last, whole) = {}, place(lines)
    while True:
        head = 24 - 1 - (last - first + 1)
        seen |= dict(enumerate(lines[head:-1], first))
        assert "Saint-Seine-l'Abbaye" in lines[0], "the header stays"
        if last == whole:
            break
        screen.type(" ")
        lines = screen.until(lambda lines, before=first: place(lines)[0] > before)
        first, last, whole = place(lines)
    assert sorted(seen) == list(range(1, whole + 1))
    text = "".join("".join(line.split()) for _, line in sorted(seen.items()))
    for n in range(60):
        assert f"meter-with-a-long-name-{n}.voltage" in text
    assert "meter-8" in text
    assert "askwhokeepsit" in text and "".join(LOST.split()) in text
    assert "85:01755c0367c30004685e" in text and "…" not in text
    assert "command7f3a" in text and "1000(marie)" in text


def test_arrows_pages_letters_and_home_and_end_move_it(watch):
    screen = watch(80, 24, long_status())
    screen.until(is_at(1))
    page = place(screen.lines)[1] - 1
    moves = [("\x1b[B", 2), ("\x1bOB", 3), ("j", 4), ("k", 3), ("\x1b[A", 2), ("\x1b[6~", 2 + page), ("b", 2),
             ("\x1b[B\x1b[B\x1b[B", 5), ("\x1b[5~", 1), ("k", 1)]  # fmt: skip
    for keys, first in moves:
        screen.type(keys)
        screen.until(is_at(first))
    for top, end in (("g", "G"), ("\x1b[H", "\x1b[F"), ("\x1b[1~", "\x1b[4~")):
        screen.type(end)
        screen.until(is_at_end)
        screen.type(top)
        screen.until(is_at(1))


@pytest.mark.parametrize(("ends", "code"), [("q", 0), ("\x04", 0), (signal.SIGINT, 0), (signal.SIGTERM, 0)])
def test_it_leaves_the_terminal_as_it_was(watch, ends, code):
    screen = watch(80, 24, long_status())
    screen.until(is_at(1))
    assert not screen.echoes and {1049} <= screen.modes
    screen.type(ends) if isinstance(ends, str) else screen.process.send_signal(ends)
    assert screen.ends() == code
    assert screen.echoes and 1049 not in screen.modes and "Traceback" not in "\n".join(screen.lines)


@pytest.mark.parametrize(("columns", "rows"), [(20, 6), (60, 3)])
def test_a_long_head_leaves_room_for_the_page_and_the_keys(watch, columns, rows):
    screen = watch(columns, rows, long_status())
    screen.until(is_at(1))
    screen.type("j")
    first, last, _ = place(screen.until(is_at(2)))
    assert last - first + 1 >= rows // 2


def test_a_page_that_fits_has_no_keys_but_the_one_that_ends_it(watch):
    status = {**STATUS, "points": STATUS["points"][:2], "log": []}
    lines = watch(120, 40, status).until(lambda lines: "q ends" in lines[-1])
    assert "scroll" not in lines[-1] and any("meter-a.voltage" in line for line in lines)


NODE = {
    "device": "hall", "bus": "lora", "dev_eui": "b0ca9e0000000011", "dev_addr": "01836968", "state": "heard",
    "last_seen_ms": 1764409371276, "fcnt_up": 0, "lost": 0, "counter_resets": 0, "rssi": -92.0, "snr": 7.5, "sf": 7,
    "battery": None, "waiting": 0,
}  # fmt: skip


@pytest.mark.parametrize("columns", [160, 40])
def test_radio_nodes_are_a_table_where_there_is_room_and_paragraphs_on_a_phone(tmp_path, agent_that_says, columns):
    text = 'version: 1\nsite: {id: air}\nbuses: {lora: {type: lora_gwmp, listen: "127.0.0.1:1700"}}\n'
    (tmp_path / "site.yaml").write_text(text)
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "agent", "lora", str(tmp_path / "site.yaml"), "devices"]
    command += ["--runtime-dir", str(folder), "--state-dir", str(tmp_path)]
    with (
        agent_that_says(folder, inspect={"rows": [NODE, {**NODE, "device": "garden"}]}),
        Terminal(command, columns, 40) as screen,
    ):
        assert screen.ends() == 0
        lines = [line for line in screen.lines if line]
    if columns == 40:
        assert "DEVICE     garden" in lines and "LAST SEEN  2025-11-29T10:42:51.276+01:00" in lines
        assert not any("BATTERY" in line for line in lines), "what is not known has no line"
    else:
        assert len(lines) == 3 and lines[0].startswith("DEVICE")


BAND = {"gateway": "b0ca9e0000000001", "sub_band": "869.4-869.65", "used_ms": 2965.5, "budget_ms": 360000}
BANDS = [{**BAND, "share": 0.008}, {"device": "thermometer", "up_ms": 71.9, "down_ms": 0.0}]
JOIN = {"dev_eui": "b0ca9e0000000011", "device": "hall", "result": "accepted", "window": "RX1", "taken": True,
        "sent_by": "b0ca9e0000000001", "at_ms": 1764409371276}  # fmt: skip


@pytest.fixture
def region(tmp_path):
    """A collector's file with three readings of one site."""
    pytest.importorskip("jsonschema")
    from agent.collect.schemas import Shelf
    from agent.collect.store import CollectStore

    file, shelf = tmp_path / "region.db", Shelf()
    body = {"k": ["5b0c6d3e-0000-4000-8000-000000000001", 1, 3], "t": 1_764_000_000_000, "clock": "synced",
            "p": {"m.v": [[0, 1, 0], [1000, 2, 1], [1000, 3, 1]]}}  # fmt: skip
    store = CollectStore(file)
    store.take("telemetry", "demo-village", shelf.parse("telemetry", json.dumps(body).encode()))
    store.close()
    return file


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("plan {saint} --from 2026-01-15 --days 1", ["kWh  17:51:21-23:00:00", "05:00:00-07:46:56", "saved"]),
        ("lora {site} airtime --runtime-dir {run}", ["SHARE      0.8%", "BUDGET ms  360000", "thermometer"]),
        ("lora {site} join-log --runtime-dir {run}", ["accepted:", "sent in RX1 by b0ca9e0000000001"]),
        ("collect report {region}", ["site        demo-village", "duplicates  0"]),
    ],
)
def test_no_word_is_cut_in_two_on_a_phone(tmp_path, agent_that_says, region, command, says):
    places = {"site": tmp_path / "site.yaml", "run": tmp_path / "run", "region": region}
    places["saint"] = Path(__file__).parents[2] / "config" / "saint-seine.yaml"
    text = 'version: 1\nsite: {id: air}\nbuses: {lora: {type: lora_gwmp, listen: "127.0.0.1:1700"}}\n'
    places["site"].write_text(text)
    words = [word.format(**places) for word in command.split()]
    rows = [JOIN] if "join-log" in words else BANDS
    with (
        agent_that_says(places["run"], inspect={"rows": rows}),
        Terminal([sys.executable, "-m", "agent", *words], 40, 60) as screen,
    ):
        assert screen.ends() == 0
        lines = [line.strip() for line in screen.lines]
    assert [word for word in says if not any(word in line for line in lines)] == [], lines
