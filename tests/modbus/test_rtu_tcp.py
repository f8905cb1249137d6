"""RTU frames over TCP: what holds on a serial line holds behind a serial server, and connections come and go."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import DeviceError, WireError
from agent.model import Quality
from drivers.registry import open_bus
from tests.modbus.answers import Frames, registers


async def test_several_units_are_polled_read_and_written(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    units = {unit: slaves.Unit(holding=registers(20, unit), coil=registers(8)) for unit in (1, 2, 9)}
    slave = slaves.rtu_over_tcp(units)
    points = {"a": point("holding", 3, writable=True), "relay": point("coil", 0, writable=True)}
    line = lines.rtu_over_tcp(slave, *(device(f"d{unit}", unit, points) for unit in units))
    seen = lines.collect(line)
    await seen.until(lambda: all(len(seen.of(f"d{unit}.a")) >= 2 for unit in units))
    assert {unit: {r.value for r in seen.of(f"d{unit}.a")} for unit in units} == {1: {3}, 2: {6}, 9: {27}}
    await line.write("d9.relay", True)
    await line.write("d2.a", 42)
    assert [r.value for r in await line.read(["d9.relay", "d2.a", "d1.a"])] == [True, 42, 3]
    assert slave.connections == 1 and line.status()["state"] == "up"


@pytest.mark.parametrize("written", [False, True])
async def test_an_answer_that_others_overtake_becomes_nobody_elses(
    lines: Any, slaves: Any, device: Any, point: Any, written: bool
) -> None:
    """A program serves several questions at a time: what it answers quickly passes an answer that is late.

    The pump's "on" comes while the burner is asked, in the same form; or the burner's, of before it was switched off.
    """
    held: list[bytes] = []
    slave = slaves.rtu_over_tcp({1: slaves.Unit(coil={0: written, 100: True}, holding={0: 1, 100: 1})})
    slow, burner = 0 if written else 100, 0

    def behave(request: Any) -> Frames:
        if request.function == 1 and request.address == slow and not held:
            held.append(request.frame)
            return []
        late = held if request.function == 1 and request.address == burner and slave.connections == 1 else []
        return [(0, frame) for frame in (*late, request.frame)]

    slave.behave = behave
    points = {"burner": point("coil", 0, writable=True), "pump": point("coil", 100)}
    line = lines.rtu_over_tcp(slave, device("m", 1, points), timeout=0.1)
    assert [r.value for r in await line.read(["m.burner" if written else "m.pump"])] == [None]
    if written:
        await line.write("m.burner", False)
    assert [r.value for r in await line.read(["m.burner"])] == [False]
    assert slave.connections == 2
    assert [r.value for r in await line.read(["m.pump", "m.burner"])] == [True, False] and slave.connections == 2


async def test_the_same_question_is_asked_again_on_the_same_connection(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    slave = slaves.rtu_over_tcp({1: slaves.Unit(coil={0: True, 100: False}, holding={0: 1})})
    slave.behave = lambda r: [(0, r.frame)] if len(slave.seen(1)) > 1 else []
    line = lines.rtu_over_tcp(slave, device("m", 1, {"a": point("coil", 0)}), timeout=0.1)
    assert [(await line.read(["m.a"]))[0].value for _ in range(2)] == [None, True] and slave.connections == 1


async def test_pieces_noise_and_broken_frames(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """TCP cuts frames where it likes; a serial server hands on what it hears."""
    foreign = slaves.frame(9, bytes((3, 2, 0x03, 0xE7)))
    kinds: list[Callable[[bytes], Frames]] = [
        lambda frame: [(n * 0.002, frame[n : n + 1]) for n in range(len(frame))],
        lambda frame: [(0, b"\x00\xff\x01\x03" + frame)],
        lambda frame: [(0, foreign + frame)],
        lambda frame: [(0, frame[:-1] + bytes((frame[-1] ^ 1,)))],
        lambda frame: [(0, frame)],
    ]
    slave = slaves.rtu_over_tcp({1: slaves.Unit(holding=registers(200, step=3))})
    slave.behave = lambda r: kinds[r.number % len(kinds)](r.frame)
    seen = lines.collect(line := lines.rtu_over_tcp(slave, device("m", 1, {"a": point("holding", 100)}), timeout=0.05))
    await seen.until(lambda: len(seen.of("m.a")) >= 12, 20)
    assert {r.value for r in seen.of("m.a")} == {300}
    assert (await line.read(["m.modbus.crc_errors"]))[0].value >= 1 and slave.connections == 1


async def test_the_server_goes_and_comes_back(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu_over_tcp({1: slaves.Unit(holding={0: 5})})
    spec = device("m", 1, {"a": point("holding", 0)}, poll=0.05, output_watchdog=0.6)  # keeps the backoff short
    seen = lines.collect(line := lines.rtu_over_tcp(slave, spec))
    await seen.until(lambda: seen.of("m.a"))
    slave.vanish()
    await seen.until(lambda: line.status()["error"])
    assert f"127.0.0.1:{slave.port}: " in line.status()["error"]
    with pytest.raises(WireError):
        await line.read(["m.a"])
    await seen.until(lambda: seen.of("m.a")[-1].quality is Quality.BAD, 20)
    slave.appear()
    await seen.until(lambda: seen.of("m.a")[-1].value == 5, 20)
    wanted = {"state": "up", "error": "", "late": 0, "lost": [], "said": {}}
    assert {key: line.status()[key] for key in wanted} == wanted


async def test_a_half_open_connection_is_made_anew(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """The server was restarted without a word: nothing comes on the old connection, all is well on a new one."""
    slave = slaves.rtu_over_tcp({1: slaves.Unit(holding={0: 5})})
    slave.behave = lambda r: [(0, r.frame)] if slave.connections > 1 else []
    seen = lines.collect(lines.rtu_over_tcp(slave, device("m", 1, {"a": point("holding", 0)}, poll=0.05), timeout=0.05))
    await seen.until(lambda: [r for r in seen.of("m.a") if r.value == 5], 10)
    assert slave.connections == 2


async def test_nobody_listens(lines: Any, device: Any, point: Any) -> None:
    line = lines.rtu_over_tcp(9, device("m", 1, {"a": point("holding", 0)}))
    with pytest.raises(WireError, match=r"127\.0\.0\.1:9: Connection refused"):
        await line.read(["m.a"])


async def test_a_silent_unit_is_an_error_of_its_own(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu_over_tcp({1: slaves.Unit(holding={0: 5})})
    points = {"a": point("holding", 0, writable=True)}
    line = lines.rtu_over_tcp(slave, device("m", 1, points), device("gone", 2, points), timeout=0.05)
    assert [r.value for r in await line.read(["m.a", "gone.a"])] == [5, None]
    with pytest.raises(DeviceError, match=r"no answer within 0\.05 s"):
        await line.write("gone.a", 1)


def test_it_is_found_by_name() -> None:
    from agent.clock import SystemClock
    from drivers.api import BusSpec

    options = {"host": "127.0.0.1", "port": 9, "timeout": 1}
    wire = open_bus(BusSpec("b", "modbus_rtu_over_tcp", options, ()), SystemClock("always"), None)  # type: ignore[arg-type]
    assert wire.status()["state"] == "down"


@pytest.mark.parametrize("kind", ["tcp", "rtu_over_tcp"])
async def test_a_slow_network_that_loses_things(lines: Any, slaves: Any, device: Any, point: Any, kind: str) -> None:
    """Three of ten questions are lost on their way, and the answers take half of the timeout."""
    lost = random.Random(30)
    slave = getattr(slaves, kind)({1: slaves.Unit(holding=registers(300, step=7), input={0: 0})})
    slave.behave = lambda r: [] if lost.random() < 0.3 else [(0.05, r.frame)]
    points = {"a": point("holding", 100), "b": point("holding", 200)}
    line = getattr(lines, kind)(slave, device("m", 1, points, poll=0.02), timeout=0.1)
    seen = lines.collect(line)
    await seen.until(lambda: len([r for r in seen.of("m.b") if r.value is not None]) >= 4, 20)
    assert {r.value for r in seen.of("m.a")} <= {None, 700} and {r.value for r in seen.of("m.b")} <= {None, 1400}
    names = [f"m.modbus.{name}" for name in ("requests", "timeouts", "crc_errors", "response_ms")]
    requests, timeouts, broken, response = (r.value for r in await line.read(names))
    assert requests > timeouts >= 2 and broken == 0 and 50 <= response < 100
    assert line.status()["lost"] == [] and line.status()["error"] == ""
