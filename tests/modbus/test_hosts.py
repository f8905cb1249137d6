"""TCP peers with habits: they close when it suits them, answer late for ever, or under another name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import DeviceError
from agent.model import Quality
from tests.modbus.answers import Frames

Habit = Callable[[Any, Any, list[int]], Frames]
KINDS = ["tcp", "rtu_over_tcp"]


def _first(slave: Any, seen: list[int]) -> bool:
    """Whether this is the first question on its connection."""
    first = slave.connections not in seen
    seen.append(slave.connections)
    return first


HABITS: dict[str, Callable[[Any, Any, Any, list[int]], Frames]] = {
    "closes after each answer": lambda slave, r, s, seen: [(0, r.frame), (0, s.CLOSE)],
    "closes a little after each answer": lambda slave, r, s, seen: [(0, r.frame), (0.002, s.CLOSE)],
    "closes in place of the second answer": lambda slave, r, s, seen: (
        [(0, r.frame)] if _first(slave, seen) else [(0, s.CLOSE)]
    ),
    "resets in place of the second answer": lambda slave, r, s, seen: (
        [(0, r.frame)] if _first(slave, seen) else [(0, s.RESET)]
    ),
    "closes in the middle of the second answer": lambda slave, r, s, seen: (
        [(0, r.frame)] if _first(slave, seen) else [(0, r.frame[:6]), (0.001, s.CLOSE)]
    ),
    "closes after each answer and does not listen for a moment": lambda slave, r, s, seen: [
        (0, r.frame), (0, s.DEAF), (0.08, s.LISTEN),
    ],
    "closes in place of the second answer and does not listen for a moment": lambda slave, r, s, seen: (
        [(0, r.frame)] if _first(slave, seen) else [(0, s.DEAF), (0.08, s.LISTEN)]
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("habit", HABITS)
async def test_a_host_that_closes_is_read_and_written(
    lines: Any, slaves: Any, device: Any, point: Any, kind: str, habit: str
) -> None:
    """All blocks of a round are good, and no write fails: a question is asked once more on a new connection."""
    slave = getattr(slaves, kind)({1: slaves.Unit(holding={n: n for n in range(300)}, coil={0: 0})})
    seen_first: list[int] = []
    slave.behave = lambda r: HABITS[habit](slave, r, slaves, seen_first)
    points = {f"p{n}": point("holding", n) for n in (0, 100, 200)} | {
        "level": point("holding", 250, writable=True), "relay": point("coil", 0, writable=True),
    }  # fmt: skip
    seen = lines.collect(line := getattr(lines, kind)(slave, device("m", 1, points, poll=0.05)))
    await seen.until(lambda: all(len(seen.of(f"m.{name}")) >= 5 for name in points), 10)
    for value in (11, 12, 13, 14):
        await line.write("m.level", value)
        await line.write("m.relay", value % 2)
        assert (slave.units[1].holding[250], slave.units[1].coil[0]) == (value, value % 2)
    assert {r.quality for r in seen.readings if r.point in {f"m.{name}" for name in points}} == {Quality.GOOD}
    assert {r.value for r in seen.of("m.p200")} == {200}
    status = line.status()
    assert (status["state"], status["lost"], status["error"]) == ("up", [], ""), "closed between two questions is well"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pulse_is_never_repeated(lines: Any, slaves: Any, device: Any, point: Any, kind: str) -> None:
    """The host closes after it carried the command out: nobody knows, and a second pulse would be one too many."""
    slave = getattr(slaves, kind)({1: slaves.Unit(holding={0: 1}, coil={0: 0, 512: 0})})
    slave.behave = lambda r: [(0, slaves.CLOSE)] if r.function == 5 else [(0, r.frame)]
    points = {
        "relay": point("coil", 0, writable=True),
        "flash": point("coil", 512, type="u16", scale=0.1, writable=True, moves="relay"),
    }
    line = getattr(lines, kind)(slave, device("io", 1, points))
    with pytest.raises(DeviceError, match="closed by the other side; it may have been carried out"):
        await line.write("io.flash", 1.5)
    assert [r.function for r in slave.seen(1) if r.function > 4] == [5]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pulse_that_was_not_sent_is_sent_once(
    lines: Any, slaves: Any, device: Any, point: Any, kind: str
) -> None:
    """The host closes after it answered a read, while the pulse still waits for the silence before it."""
    slave = getattr(slaves, kind)({1: slaves.Unit(coil={0: 0, 512: 0})})
    slave.behave = lambda r: [(0, r.frame), (0.002, slaves.CLOSE)]
    points = {
        "relay": point("coil", 0, writable=True),
        "flash": point("coil", 512, type="u16", writable=True, moves="relay"),
    }
    line = getattr(lines, kind)(slave, device("io", 1, points, modbus={"guard": 0.05}))
    await line.write("io.flash", 15)
    assert [r.function for r in slave.seen(1)] == [1, 5]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_host_that_closes_on_one_unit_serves_the_others(
    lines: Any, slaves: Any, device: Any, point: Any, kind: str
) -> None:
    slave = getattr(slaves, kind)({n: slaves.Unit(holding={0: n}) for n in (1, 2)})
    slave.behave = lambda r: [(0, slaves.CLOSE)] if r.unit == 2 else [(0, r.frame)]
    devices = [device(f"d{n}", n, {"a": point("holding", 0)}, poll=0.05) for n in (1, 2)]
    seen = lines.collect(line := getattr(lines, kind)(slave, *devices))
    await seen.until(lambda: line.status()["lost"] == ["d2"])
    asked, good = len(slave.seen(2)), len(seen.of("d1.a"))
    await seen.until(lambda: len(seen.of("d1.a")) >= good + 20)
    assert len(slave.seen(2)) - asked <= 4, "a new connection is no reason to ask it again"
    assert {r.value for r in seen.of("d1.a")} == {1}


async def test_one_question_late_for_ever(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """Each answer is held back until the next question, under its own transaction id; a new connection starts clean."""
    held: list[bytes] = []
    slave = slaves.tcp({1: slaves.Unit(holding={n: 7 * n for n in range(300)})})

    def behave(request: Any) -> Frames:
        if slave.connections > 1:
            return [(0, request.frame)]
        held.append(request.frame)
        return [(0, held[-2])] if len(held) > 1 else []

    slave.behave = behave
    points = {"a": point("holding", 100), "b": point("holding", 200)}
    seen = lines.collect(lines.tcp(slave, device("m", 1, points, poll=0.05), timeout=0.1))
    await seen.until(lambda: [r for r in seen.of("m.b") if r.value == 1400], 10)
    assert slave.connections == 2 and {r.value for r in seen.of("m.a")} <= {None, 700}


async def test_another_transaction_id_is_said(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 5})}, behave=lambda r: [(0, b"\0\0" + r.frame[2:])])
    line = lines.tcp(slave, device("m", 1, {"a": point("holding", 0, writable=True)}), timeout=0.05)
    for _ in range(4):
        with pytest.raises(DeviceError, match=r"answers with transaction id 0, asked with \d"):
            await line.write("m.a", 1)


@pytest.mark.parametrize("damage", [lambda f: f[:4] + b"\x00\x47" + f[6:], lambda f: f[:4] + b"\x00\x04" + f[6:]])
async def test_a_damaged_length_costs_two_polls_at_the_most(
    lines: Any, slaves: Any, device: Any, point: Any, damage: Callable[[bytes], bytes]
) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 5, 100: 6})})
    slave.behave = lambda r: [(0, damage(r.frame) if r.number == 6 else r.frame)]
    points = {"a": point("holding", 0), "b": point("holding", 100)}
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, points, poll=0.05), timeout=0.1))
    await seen.until(lambda: len(seen.of("m.b")) >= 8)
    assert ({r.value for r in seen.of("m.a")}, {r.value for r in seen.of("m.b")}) == ({5}, {6})
    counts = await line.read([f"m.modbus.{name}" for name in ("timeouts", "crc_errors", "misfits")])
    assert sum(r.value for r in counts) <= 2 and slave.connections == 2


def as_unit(unit: int, frame: bytes) -> bytes:
    return frame[:6] + bytes((unit,)) + frame[7:]


async def test_the_one_unit_of_a_host_may_answer_under_another_id(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 5})}, behave=lambda r: [(0, as_unit(0, r.frame))])
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, {"a": point("holding", 0, writable=True)})))
    await seen.until(lambda: len(seen.of("m.a")) >= 2)
    await line.write("m.a", 6)
    assert slave.units[1].holding[0] == 6 and line.status()["said"] == {"m": "answers as unit 0, asked as 1"}
    slave.behave = lambda r: [(0, r.frame)]
    await seen.until(lambda: not line.status()["said"])


@pytest.mark.parametrize("left", [1, 2])
async def test_a_unit_that_left_the_file_may_answer_under_another_id_too(
    lines: Any, slaves: Any, device: Any, point: Any, left: int
) -> None:
    """Its output is driven to its safe state once more: it is confirmed, but where another unit could have answered."""
    slave = slaves.tcp({1: slaves.Unit(coil={0: 1})}, behave=lambda r: [(0, as_unit(0, r.frame))])
    points = {"relay": point("coil", 0, writable=True)}
    line = lines.tcp(slave, device("other", left, points))
    written = line.write_aside(device("io", 1, points), "io.relay", False)
    if left == 1:
        await written
    else:
        with pytest.raises(DeviceError, match="answers as unit 0, asked as 1"):
            await written
    assert slave.units[1].coil[0] == 0


async def test_among_several_units_another_id_is_refused(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """Which one has answered nobody knows."""
    slave = slaves.tcp({n: slaves.Unit(holding={0: n}) for n in (1, 2)}, behave=lambda r: [(0, as_unit(1, r.frame))])
    devices = [device(f"d{n}", n, {"a": point("holding", 0)}, poll=0.05) for n in (1, 2)]
    seen = lines.collect(line := lines.tcp(slave, *devices))
    await seen.until(lambda: line.status()["lost"] == ["d2"] and seen.of("d1.a") and seen.of("d2.a"))
    assert line.status()["said"] == {"d2": "answers as unit 1, asked as 2"}
    counts = await line.read([f"d2.modbus.{name}" for name in ("misfits", "crc_errors", "timeouts")])
    assert [r.value >= 3 for r in counts[:1]] + [r.value for r in counts[1:]] == [True, 0, 0]
    assert {r.value for r in seen.of("d2.a")} == {None} and {r.value for r in seen.of("d1.a")} == {1}


@pytest.mark.parametrize("unit", [0, 255])
async def test_a_host_without_a_line_behind_it(lines: Any, slaves: Any, device: Any, point: Any, unit: int) -> None:
    slave = slaves.tcp({unit: slaves.Unit(holding={0: 5})})
    line = lines.tcp(slave, device("m", unit, {"a": point("holding", 0, writable=True)}))
    await line.write("m.a", 6)
    assert [r.value for r in await line.read(["m.a"])] == [6]


async def test_another_length_is_said(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """A meter that gives 32 bits where one register was asked."""
    slave = slaves.tcp({1: slaves.Unit(input={170: 1})})
    slave.behave = lambda r: [(0, r.frame[:4] + bytes.fromhex("0007 01 04 04 000186a0"))]
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, {"a": point("input", 170)}, poll=0.05)))
    await seen.until(lambda: line.status()["lost"] == ["m"])
    assert line.status()["said"] == {"m": "answers 4 bytes where 2 were asked"} and slave.connections == 1
    assert [r.value for r in await line.read(["m.modbus.crc_errors", "m.modbus.timeouts"])] == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_write_reaches_a_host_that_forgot_the_connection(
    lines: Any, slaves: Any, device: Any, point: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was started anew, or a router dropped the connection: nothing comes on it, and nobody is told."""
    slave = getattr(slaves, kind)({1: slaves.Unit(holding={0: 1, 1: 0})})
    monkeypatch.setattr("drivers.modbus.host._REST_WRITE", 0.0)
    line = getattr(lines, kind)(slave, device("m", 1, {"a": point("holding", 1, writable=True)}, poll=60.0))
    seen = lines.collect(line)
    await seen.until(lambda: seen.of("m.a"))
    slave.behave = lambda r: [(0, r.frame)] if slave.connections > 1 else []
    await line.write("m.a", 7)
    assert slave.units[1].holding[1] == 7 and slave.connections == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [0, 100, 200])
@pytest.mark.parametrize("closes", [True, False])
async def test_one_who_reads_on_demand_loses_that_block_only(
    lines: Any, slaves: Any, device: Any, point: Any, kind: str, address: int, closes: bool
) -> None:
    slave = getattr(slaves, kind)({1: slaves.Unit(holding={n: n for n in range(300)})})
    bad: Frames = [(0, slaves.CLOSE)] if closes else []
    slave.behave = lambda r: bad if r.address == address else [(0, r.frame)]
    line = getattr(lines, kind)(slave, device("m", 1, {f"p{n}": point("holding", n) for n in (0, 100, 200)}))
    found = await line.read(["m.p0", "m.p100", "m.p200"])
    assert [r.value for r in found] == [None if n == address else n for n in (0, 100, 200)]
    assert ("closed" if closes else "no answer") in line.status()["said"]["m"]
    slave.units = {}
    asked = len(slave.requests)
    slave.behave = lambda r: []
    assert {r.value for r in await line.read(["m.p0", "m.p100", "m.p200"])} == {None}
    assert len(slave.requests) - asked == 2, "it is gone"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_block_on_which_the_host_closes_costs_the_others_nothing(
    lines: Any, slaves: Any, device: Any, point: Any, kind: str
) -> None:
    slave = getattr(slaves, kind)({1: slaves.Unit(holding={n: n for n in range(300)})})
    slave.behave = lambda r: [(0, slaves.CLOSE)] if r.address == 100 else [(0, r.frame)]
    points = {f"p{n}": point("holding", n) for n in (0, 100, 200)}
    seen = lines.collect(line := getattr(lines, kind)(slave, device("m", 1, points, poll=0.05)))
    await seen.until(lambda: seen.of("m.p100") and len(seen.of("m.p200")) >= 10, 10)
    assert {r.value for r in seen.of("m.p100")} == {None} and {r.value for r in seen.of("m.p200")} == {200}
    assert line.status()["lost"] == [] and "m" in str(line.status()["refused"])
