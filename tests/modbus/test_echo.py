"""An adapter that returns what is sent, as two-wire adapters do whose receiver is always on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import DeviceError
from agent.model import Quality

Pieces = list[tuple[float, bytes]]

ECHOES: dict[str, Callable[[bytes], Pieces]] = {
    "whole": lambda came: [(0, came)],
    "in pieces": lambda came: [(0.002 * n, came[n : n + 1]) for n in range(len(came))],
    "late": lambda came: [(0.04, came)],
    "after the timeout": lambda came: [(0.12, came)],
}
WIRES = ("rtu", "rtu_over_tcp")
POINTS = ("relay", "level", "bit", "wide", "pulse", "step")


@pytest.fixture
def io(device: Any, point: Any) -> Any:
    """Outputs of functions 5, 6, 22 and 16, and pulses of functions 5 and 6."""
    points = {
        "relay": point("coil", 0, writable=True),
        "level": point("holding", 0, writable=True),
        "bit": point("holding", 1, bit=3, type="u16", writable=True),
        "wide": point("holding", 2, type="u32", writable=True),
        "pulse": point("coil", 0x200, type="u16", writable=True, moves="relay"),
        "step": point("holding", 9, writable=True, moves="level"),
    }
    return device("io", 10, points, poll=30)


def here(slaves: Any) -> dict[int, Any]:
    return {10: slaves.Unit(coil={0: 0, 0x200: 0}, holding=dict.fromkeys(range(10), 0))}


def connected(lines: Any, slave: Any, wire: str, io: Any, **more: Any) -> Any:
    """A line to the slave: a serial port, or behind a serial server."""
    return getattr(lines, wire)(slave.link if wire == "rtu" else slave, io, **more)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("name", POINTS)
async def test_no_write_is_acknowledged_by_its_echo(
    lines: Any, slaves: Any, io: Any, name: str, echo: str, wire: str
) -> None:
    """Nobody is there, and the write is the first question of the line."""
    slave = getattr(slaves, wire)({})
    slave.echo = ECHOES[echo]
    with pytest.raises(DeviceError):
        await connected(lines, slave, wire, io, timeout=0.08).write(f"io.{name}", 1)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", POINTS)
async def test_an_echo_that_begins_with_the_last_slave_gone(
    lines: Any, slaves: Any, io: Any, name: str, wire: str
) -> None:
    """The line was read in silence a moment ago."""
    slave = getattr(slaves, wire)(here(slaves))
    line = connected(lines, slave, wire, io, timeout=0.08)
    assert (await line.read(["io.relay"]))[0].value is False
    slave.echo, slave.units = ECHOES["whole"], {}
    await asyncio.sleep(0.15)
    with pytest.raises(DeviceError):
        await line.write(f"io.{name}", 1)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("echo", ["whole", "in pieces", "late"])
async def test_the_second_copy_is_the_answer(
    lines: Any, slaves: Any, io: Any, echo: str, wire: str, caplog: pytest.LogCaptureFixture
) -> None:
    slave = getattr(slaves, wire)(here(slaves), behave=lambda request: [(0.08, request.frame)])
    slave.echo = ECHOES[echo]
    line = connected(lines, slave, wire, io)
    caplog.set_level("INFO", "bocage.modbus")
    for name in POINTS:
        await line.write(f"io.{name}", 1)
    readings = await line.read(["io.relay", "io.level", "io.bit", "io.wide"])
    assert [reading.value for reading in readings] == [True, 1, True, 1]
    slave.units[10].unknown = {5, 6, 15, 16, 22, 23}
    with pytest.raises(DeviceError, match="exception 1"):
        await line.write("io.relay", False)
    assert len([text for text in caplog.messages if text.startswith("adapter echoes sent bytes bus=")]) == 1


@pytest.mark.parametrize("wire", WIRES)
async def test_an_echo_that_begins_and_ends(lines: Any, slaves: Any, io: Any, wire: str) -> None:
    """A cable is changed under a line that was used a moment ago."""
    slave = getattr(slaves, wire)(here(slaves))
    line = connected(lines, slave, wire, io)
    await line.write("io.relay", True)
    slave.echo, units, slave.units = ECHOES["whole"], slave.units, {}
    with pytest.raises(DeviceError):
        await line.write("io.pulse", 1)
    assert (await line.read(["io.relay"]))[0].quality is Quality.BAD
    with pytest.raises(DeviceError):
        await line.write("io.relay", False)
    slave.units = units
    await asyncio.sleep(0)
    assert (await line.read(["io.relay"]))[0].value is True
    await line.write("io.relay", False)
    slave.echo = None
    await line.write("io.relay", True)
    assert (await line.read(["io.relay"]))[0].value is True


async def test_a_slave_that_cannot_be_read_is_written(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """It says nothing to the read that looks for an echo: the line is silent, so it does not echo."""
    slave = slaves.rtu(here(slaves), behave=lambda r: [(0, r.frame)] if r.function > 4 else [])
    line = lines.rtu(slave.link, device("io", 10, {"relay": point("coil", 0, writable=True)}), timeout=0.05)
    for on in (True, False, True):
        await line.write("io.relay", on)
        assert slave.units[10].coil[0] == on
    slave.units = {}
    with pytest.raises(DeviceError):
        await line.write("io.relay", False)
