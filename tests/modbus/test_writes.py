"""Writes that a slave refuses, or acknowledges badly."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import DeviceError, WireError
from agent.model import Quality
from tests.modbus.answers import Frames

WIRES = ("rtu", "tcp")
def pdu_of(request: Any, wire: str) -> bytes:
    return request.frame[1:-2] if wire == "rtu" else request.frame[7:]


def framed(slaves: Any, request: Any, wire: str, pdu: bytes, unit: int = 1) -> bytes:
    if wire == "rtu":
        return slaves.frame(unit, pdu)
    return request.frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,)) + pdu


def other_value(pdu: bytes) -> bytes:
    return pdu[:-1] + bytes((pdu[-1] ^ 1,))


DAMAGE: dict[str, Callable[[Any, Any, str], Frames]] = {
    "nothing": lambda slaves, r, wire: [],
    "wrong check sum": lambda slaves, r, wire: [(0, r.frame[:-1] + bytes((r.frame[-1] ^ 1,)))],
    "another value": lambda slaves, r, wire: [(0, framed(slaves, r, wire, other_value(pdu_of(r, wire))))],
    "short": lambda slaves, r, wire: [(0, framed(slaves, r, wire, pdu_of(r, wire)[:3]))],
    "long": lambda slaves, r, wire: [(0, framed(slaves, r, wire, pdu_of(r, wire) + b"\0\0"))],
    "another function": lambda slaves, r, wire: [(0, framed(slaves, r, wire, b"\x2b" + pdu_of(r, wire)[1:]))],
    "another unit": lambda slaves, r, wire: [(0, framed(slaves, r, wire, pdu_of(r, wire), unit=7))],
    "something else than Modbus": lambda slaves, r, wire: [(0, b"HTTP/1.1 400 Bad Request")],
    "another protocol": lambda slaves, r, wire: [(0, r.frame[:2] + b"\x77\x77" + r.frame[4:])],
    "late": lambda slaves, r, wire: [(0.3, r.frame)],
    "device failure": lambda slaves, r, wire: [(0, framed(slaves, r, wire, bytes((r.function | 0x80, 4))))],
    "busy": lambda slaves, r, wire: [(0, framed(slaves, r, wire, bytes((r.function | 0x80, 6))))],
    "acknowledge, later": lambda slaves, r, wire: [(0, framed(slaves, r, wire, bytes((r.function | 0x80, 5))))],
}


@pytest.fixture
def io(device: Any, point: Any) -> Any:
    points = {
        "relay": point("coil", 0, writable=True),
        "level": point("holding", 0, writable=True, scale=0.5),
        "bit": point("holding", 1, bit=9, type="u16", writable=True),
        "wide": point("holding", 2, type="f32", order="cdab", writable=True),
    }
    return device("io", 1, points, poll=30)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("damage", DAMAGE)
async def test_an_output_that_moved_never_fails(
    lines: Any, slaves: Any, device: Any, io: Any, damage: str, wire: str
) -> None:
    slave = getattr(slaves, wire)({1: slaves.Unit(coil={0: 0}, holding=dict.fromkeys(range(4), 0))})
    slave.behave = lambda r: [(0, r.frame)] if r.function <= 4 else DAMAGE[damage](slaves, r, wire)
    other = device("other", 2, {})  # who is alone on a host may answer under any unit id
    line = getattr(lines, wire)(slave.link if wire == "rtu" else slave, io, other, timeout=0.08)
    written = {"io.relay": True, "io.level": 7.5, "io.bit": True, "io.wide": 21.7}
    for name, value in written.items():
        await line.write(name, value)
    assert {reading.point: reading.value for reading in await line.read(list(written))} == written
    slave.units[1].answer = slave.units[1].frozen  # it takes nothing any more
    for name, value in written.items():
        if damage == "acknowledge, later":  # accepted: whoever reads back sees what comes of it
            await line.write(name, not value if value is True else 2.5)
            continue
        with pytest.raises((DeviceError, WireError)):
            await line.write(name, not value if value is True else 2.5)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 0])
async def test_another_function_is_tried_and_remembered(
    lines: Any, slaves: Any, device: Any, point: Any, code: int
) -> None:
    """Functions 5 and 6 are refused in whatever way, or, code 0, passed over in silence."""
    points = {"relay": point("coil", 0, writable=True), "level": point("holding", 0, writable=True)}
    unit = slaves.Unit(coil={0: 0}, holding={0: 0}, unknown={5, 6}, refusal=code or 1)
    slave = slaves.tcp({1: unit}, behave=lambda r: [] if code == 0 and r.function in (5, 6) else [(0, r.frame)])
    line = lines.tcp(slave, device("io", 1, points), timeout=0.08)
    for value in (1, 0, 1):
        await line.write("io.relay", value)
        await line.write("io.level", value)
    assert (unit.coil[0], unit.holding[0]) == (1, 1)
    asked = [r.function for r in slave.seen(1) if r.function > 4]
    assert asked == [5, 15, 6, 16, 15, 16, 15, 16]


@pytest.mark.parametrize(("write", "asked"), [("multiple", [15, 16, 16]), ("single", [5, 6, 6])])
async def test_the_profile_says_how_it_is_written(
    lines: Any, slaves: Any, device: Any, point: Any, write: str, asked: list[int]
) -> None:
    points = {
        "relay": point("coil", 0, writable=True, write=write),
        "level": point("holding", 0, writable=True, write=write),
        "bit": point("holding", 1, bit=2, type="u16", writable=True, write=write),
    }
    unit = slaves.Unit(coil={0: 0}, holding={0: 0, 1: 0x8000})
    slave = slaves.tcp({1: unit})
    line = lines.tcp(slave, device("io", 1, points))
    for name in points:
        await line.write(f"io.{name}", 1)
    assert (unit.coil[0], unit.holding) == (1, {0: 1, 1: 0x8004})
    assert [r.function for r in slave.seen(1) if r.function > 4] == asked
    unit.unknown = set(asked)
    with pytest.raises(DeviceError, match="exception 1"):
        await line.write("io.level", 2)
    assert unit.holding[0] == 1


async def test_a_write_that_every_function_refuses_says_so_first(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 3}, unknown={6, 16}, refusal=3)})
    line = lines.tcp(slave, device("io", 1, {"level": point("holding", 0, writable=True)}))
    for _ in range(2):
        with pytest.raises(DeviceError, match="function 6 at 0: exception 3"):
            await line.write("io.level", 500)
    assert [r.function for r in slave.seen(1)] == [6, 3, 16, 3, 6, 3, 16, 3]


@pytest.mark.parametrize("others", ["unknown", "silent"])
async def test_a_slave_that_once_knew_no_function_is_written_again(
    lines: Any, slaves: Any, device: Any, point: Any, others: str
) -> None:
    """A module says for a moment that it knows no function (a gateway whose slave restarts), and knows 5 and 6 only."""
    points = {"relay": point("coil", 0, writable=True), "level": point("holding", 0, writable=True)}
    unit = slaves.Unit(coil={0: 0}, holding={0: 0}, unknown={5, 6, 15, 16, 23})
    slave = slaves.tcp({1: unit})
    line = lines.tcp(slave, device("io", 1, points), timeout=0.08)
    for name in points:
        with pytest.raises(DeviceError, match="exception 1"):
            await line.write(f"io.{name}", 1)
    unit.unknown = {15, 16, 23}
    if others == "silent":
        slave.behave = lambda r: [] if r.function in unit.unknown else [(0, r.frame)]
    for name in points:
        await line.write(f"io.{name}", 1)
    assert (unit.coil[0], unit.holding[0]) == (1, 1)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("damage", [damage for damage in DAMAGE if damage != "late"])
async def test_a_pulse_that_moved_its_relay_was_given(
    lines: Any, slaves: Any, device: Any, point: Any, damage: str, wire: str
) -> None:
    """Once, however it is acknowledged; and not where the relay stands as before."""
    points = {
        "relay": point("coil", 0, writable=True),
        "pulse": point("coil", 0x200, type="u16", writable=True, moves="relay"),
    }
    unit = slaves.Unit(coil={0: 0, 0x200: 0})

    def behave(request: Any) -> Frames:
        if request.function != 5:
            return [(0, request.frame)]
        unit.coil[0] = 1
        return DAMAGE[damage](slaves, request, wire)

    slave = getattr(slaves, wire)({1: unit}, behave=behave)
    other = device("other", 2, {})
    line = getattr(lines, wire)(slave.link if wire == "rtu" else slave, device("io", 1, points), other, timeout=0.05)
    await line.write("io.pulse", 5)
    if damage == "acknowledge, later":
        await line.write("io.pulse", 5)
    else:
        said = "exception" if damage in ("device failure", "busy") else "it may have been carried out"
        with pytest.raises(DeviceError, match=said):
            await line.write("io.pulse", 5)
    assert [r.function for r in slave.seen(1) if r.function == 5] == [5, 5]


async def test_a_step_goes_by_the_function_that_the_slave_knows(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    """A function that is unknown has carried nothing out, so that another may; and with none the first says so."""
    points = {
        "level": point("holding", 0, writable=True),
        "step": point("holding", 9, writable=True, moves="level"),
    }
    unit = slaves.Unit(holding={0: 0, 9: 0}, unknown={6})
    slave = slaves.tcp({1: unit})
    line = lines.tcp(slave, device("io", 1, points))
    await line.write("io.step", 3)
    assert unit.holding[9] == 3 and [r.function for r in slave.seen(1) if r.function > 4] == [6, 16]
    unit.unknown = {6, 16, 23}
    with pytest.raises(DeviceError, match="exception 1"):
        await line.write("io.step", 4)
    assert unit.holding[9] == 3


async def test_a_relay_with_words_for_on_and_off(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """It takes 0x0100 and 0x0200 and reads 1 and 0; another reads its words; at a third word it is neither."""
    unit = slaves.Unit(holding={1: 0, 2: 0})
    words = {"command": (0x0100, 0x0200), "kept": (0xFF, 0xAA)}
    points = {
        name: point("holding", n, type="bool", writable=True, on=on, off=off)
        for n, (name, (on, off)) in enumerate(words.items(), 1)
    }
    slave = slaves.tcp({1: unit})
    line = lines.tcp(slave, device("io", 1, points))
    for state in (True, False):
        for name in points:
            await line.write(f"io.{name}", state)
        assert list(unit.holding.values()) == ([0x0100, 0xFF] if state else [0x0200, 0xAA])
        assert [reading.value for reading in await line.read(["io.command", "io.kept"])] == [state, state]
    unit.holding[1] = 1
    assert [reading.value for reading in await line.read(["io.command", "io.kept"])] == [True, False]
    unit.holding[2] = 7
    assert (await line.read(["io.kept"]))[0].quality is Quality.BAD
    with pytest.raises(DeviceError, match="is on or off, not 5"):
        await line.write("io.kept", 5)


@pytest.mark.parametrize("wire", WIRES)
async def test_writes_to_a_silent_module_leave_the_others_their_turns(
    lines: Any, slaves: Any, device: Any, point: Any, wire: str
) -> None:
    """All outputs of a dead module are written at a start. Nothing else was read until the last of them had failed."""
    relays = {f"relay{n}": point("coil", n, writable=True, poll=30) for n in range(8)}
    unit = slaves.Unit(coil=dict.fromkeys(range(8), 0))
    slave = getattr(slaves, wire)({1: slaves.Unit(holding={0: 3}), 2: unit})
    slave.behave = lambda r: [] if r.unit == 2 else [(0, r.frame)]
    devices = device("level", 1, {"value": point("holding", 0)}, poll=0.02), device("io", 2, relays, poll=30)
    line = getattr(lines, wire)(slave.link if wire == "rtu" else slave, *devices, timeout=0.15)
    seen = lines.collect(line)
    await seen.heard("level.value", 3)
    writes = [asyncio.create_task(line.write(f"io.{name}", True)) for name in relays]
    failed = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(error, DeviceError) for error in failed)
    asked = [request.unit for _, request in slave.requests]
    first = next(index for index, (_, request) in enumerate(slave.requests) if request.function in (5, 15))
    runs = [len(list(group)) for number, group in itertools.groupby(asked[first:]) if number == 2]
    assert max(runs) <= 4, "the write that finds it silent, or one with a poll of its own"
    assert len(runs) >= 5
    slave.behave = lambda r: [(0, r.frame)]
    await line.write("io.relay3", True)
    assert unit.coil[3] == 1
