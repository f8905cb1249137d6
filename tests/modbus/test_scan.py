"""Probes for unit ids: what counts as an answer, and what they may cost those who are polled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.errors import WireError


async def looked(line: Any, units: Any, timeout: float | None = None) -> dict[int, float | None]:
    return {look["unit_id"]: look["ms"] async for look in line.scan(units, timeout)}


@pytest.mark.parametrize("kind", ["rtu", "tcp", "rtu_over_tcp"])
async def test_any_answer_of_a_units_own_counts(lines: Any, slaves: Any, kind: str) -> None:
    """Registers, an exception, or a broken frame, somebody else's answer, and silence."""
    units = {n: slaves.Unit(holding={0: n}) for n in (1, 3, 4)} | {2: slaves.Unit()}
    slave = getattr(slaves, kind)(units)
    broken = {3: lambda f: f[:-1] + bytes((f[-1] ^ 1,)), 4: lambda f: f[:6] + b"\x09" + f[7:] if kind == "tcp"
              else slaves.frame(9, f[1:-2])}  # fmt: skip
    if kind == "tcp":
        broken.pop(3)  # there are no check sums
        units.pop(3)
    slave.behave = lambda r: [(0, broken[r.unit](r.frame) if r.unit in broken else r.frame)]
    line = getattr(lines, kind)(slave.link if kind == "rtu" else slave, timeout=0.05)
    found = await looked(line, range(1, 6))
    assert {unit for unit, ms in found.items() if ms is not None} == {1, 2}
    assert all(0 <= ms < 50 for ms in found.values() if ms is not None)


async def test_a_timeout_of_its_own(lines: Any, slaves: Any) -> None:
    slave = slaves.rtu({1: slaves.Unit(holding={0: 1})}, behave=lambda r: [(0.1, r.frame)])
    line = lines.rtu(slave.link, timeout=0.02)
    assert await looked(line, [1]) == {1: None}
    slave.behave = lambda r: [(0.1, r.frame)]
    assert (await looked(line, [1], 0.5))[1] is not None


async def test_polls_that_are_due_come_first(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """A line that is busy all the time: half of it, and no more, goes to probes that nobody answers."""
    slave = slaves.rtu({1: slaves.Unit(holding={0: 5})}, behave=lambda r: [(0.01, r.frame)] if r.unit == 1 else [])
    seen = lines.collect(line := lines.rtu(slave.link, device("m", 1, {"a": point("holding", 0)}, poll=0.01)))
    await seen.until(lambda: len(seen.of("m.a")) > 3)
    begin = len(slave.requests)
    await looked(line, range(100, 110), 0.05)
    asked = slave.requests[begin:]
    assert len([r for _, r in asked if r.unit == 1]) >= 9 * 2, "at least two polls of 10 ms for each probe of 50 ms"


async def test_writes_come_before_probes(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu({1: slaves.Unit(coil={0: 0})})
    line = lines.rtu(slave.link, device("m", 1, {"relay": point("coil", 0, writable=True)}), timeout=0.05)
    async with asyncio.TaskGroup() as group:
        probes = [group.create_task(looked(line, [unit])) for unit in range(50, 60)]
        while not slave.seen(50):
            await asyncio.sleep(0.002)
        await line.write("m.relay", True)
        assert sum(probe.done() for probe in probes) <= 2


async def test_a_wire_that_is_not_there(lines: Any) -> None:
    with pytest.raises(WireError, match="Connection refused"):
        await looked(lines.tcp(9), [1])
