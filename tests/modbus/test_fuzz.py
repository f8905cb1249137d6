"""Whatever comes back over the wire: no exception but the expected ones, no wrong value, no memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from agent.clock import SystemClock
from agent.errors import WireError
from agent.model import Quality
from drivers.api import BusSpec
from drivers.modbus.rtu_tcp import RtuTcpLink
from drivers.registry import open_bus

EXAMPLES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

chunks = some.lists(some.binary(max_size=300), max_size=4)
"""Rubbish in pieces."""
slips = some.lists(
    some.tuples(some.sampled_from(["flip", "drop", "double", "cut"]), some.integers(0, 400), some.integers(1, 255)),
    max_size=3,
)
"""What happens to a right frame on its way."""


def damaged(frame: bytes, how: list[tuple[str, int, int]]) -> bytes:
    data = bytearray(frame)
    for kind, place, value in how:
        at = place % max(1, len(data))
        if kind == "flip" and data:
            data[at] ^= value
        elif kind == "drop":
            del data[at : at + 1]
        elif kind == "double":
            data[at:at] = data[at : at + value]
        else:
            del data[at:]
    return bytes(data)


@pytest.fixture
def rigs(slaves: Any) -> Iterator[Any]:
    """A slave of each kind of wire, and one read of its register 100 (value 300) in a loop of its own."""

    class Rigs:
        def __init__(self) -> None:
            units = {1: slaves.Unit(holding={n: 3 * n for n in range(90, 110)})}
            self.slaves = {
                "modbus_rtu": slaves.rtu(units), "modbus_tcp": slaves.tcp(units),
                "modbus_rtu_over_tcp": slaves.rtu_over_tcp(units),
            }  # fmt: skip

        def read(self, kind: str, behave: Any, device: Any, point: Any) -> Any:
            slave = self.slaves[kind]
            slave.behave = behave
            options = {"port": str(slave.link)} if kind == "modbus_rtu" else {"host": "127.0.0.1", "port": slave.port}
            spec = device("m", 1, {"a": point("holding", 100)})
            bus = BusSpec("b", kind, {**options, "timeout": 0.02, "baudrate": 115200}, (spec,))

            async def once() -> Any:
                wire: Any = open_bus(bus, SystemClock("always"), None)  # type: ignore[arg-type]
                try:
                    return (await wire.read(["m.a"]))[0]
                except WireError:
                    return None
                finally:
                    await wire.close()

            return asyncio.run(once())

    yield Rigs()


@pytest.mark.parametrize("kind", ["modbus_rtu", "modbus_tcp", "modbus_rtu_over_tcp"])
@given(rubbish=chunks)
@EXAMPLES
def test_rubbish_is_no_value(rigs: Any, device: Any, point: Any, kind: str, rubbish: list[bytes]) -> None:
    reading = rigs.read(kind, lambda r: [(0.001 * n, part) for n, part in enumerate(rubbish)], device, point)
    assert reading is None or (reading.value, reading.quality) == (None, Quality.BAD)


@pytest.mark.parametrize("kind", ["modbus_rtu", "modbus_rtu_over_tcp"])
@given(how=slips)
@EXAMPLES
def test_a_damaged_frame_is_the_right_value_or_none(
    rigs: Any, device: Any, point: Any, kind: str, how: list[tuple[str, int, int]]
) -> None:
    reading = rigs.read(kind, lambda r: [(0, damaged(r.frame, how))], device, point)
    assert reading is None or reading.value in (None, 300)


@given(how=slips)
@EXAMPLES
def test_a_damaged_frame_of_modbus_tcp_is_survived(
    rigs: Any, device: Any, point: Any, how: list[tuple[str, int, int]]
) -> None:
    """There is no check sum; but a frame of another length, unit, function or transaction is never taken."""
    reading = rigs.read("modbus_tcp", lambda r: [(0, damaged(r.frame, how))], device, point)
    assert reading is None or reading.value is None or isinstance(reading.value, int)


async def test_a_flood_is_not_kept(slaves: Any) -> None:
    """A serial server that sends without end while an answer is awaited."""
    slave = slaves.rtu_over_tcp({1: slaves.Unit(holding={0: 7})}, behave=lambda r: [(0, b"\x55" * 4_000_000 + r.frame)])
    link = RtuTcpLink("127.0.0.1", slave.port, 5.0)
    await link.open()
    try:
        from drivers.modbus.question import read

        assert await link.ask(read(link.framer, 1, 3, 0, 1)) == bytes((3, 2, 0, 7))
        assert len(link._buffer) <= 1024
    finally:
        link.close()
