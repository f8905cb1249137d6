"""The driver against a scripted slave over TCP."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import struct
from typing import Any

import pytest

from agent.errors import DeviceError, Refused, WireError
from agent.model import Kind, Quality
from drivers.api import Listener, Poller, Writer


def registers(count: int = 200, step: int = 1) -> dict[int, int]:
    return {n: n * step for n in range(count)}


async def test_it_polls_reads_and_writes(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({7: slaves.Unit(holding=registers(), input={0: 0x4274, 1: 0xCCCD}, coil={0: 0})})
    points = {
        "level": point("holding", 3, writable=True, low=0, high=100, unit="%"),
        "power": point("input", 0, type="f32", unit="W"),
        "relay": point("coil", 0, writable=True),
    }
    line = lines.tcp(slave, device("io", 7, points))
    assert isinstance(line, Listener) and isinstance(line, Poller) and isinstance(line, Writer)
    seen = lines.collect(line)
    await seen.until(lambda: len(seen.of("io.power")) >= 3)
    assert {r.point: r.value for r in seen.batches[0]} == {"io.level": 3, "io.power": 61.2, "io.relay": False}
    await line.write("io.relay", True)
    await line.write("io.level", 42)
    assert [r.value for r in await line.read(["io.level", "io.relay"])] == [42, True]
    assert slave.units[7].holding[3] == 42 and line.status()["state"] == "up"
    await seen.until(lambda: seen.of("io.relay")[-1].value is True)


async def test_points_say_what_they_are(lines: Any, device: Any, point: Any) -> None:
    points = {"r": point("coil", 0, writable=True), "e": point("input", 0, kind="counter", unit="kWh", poll=60.0)}
    line = lines.tcp(1, device("m", 1, points, poll=10.0))
    known = {p.id: p for p in line.points}
    assert (known["m.r"].kind, known["m.r"].writable, known["m.r"].stale_after) == (Kind.STATE, True, 30)
    assert (known["m.e"].kind, known["m.e"].unit, known["m.e"].stale_after) == (Kind.COUNTER, "kWh", 180)
    assert known["m.modbus.timeouts"].kind is Kind.DIAGNOSTIC


async def test_it_opens_the_wire_for_one_read(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding=registers())})
    line = lines.tcp(slave, device("m", 1, {"a": point("holding", 5), "b": point("holding", 999)}))
    a, b, requests = await line.read(["m.a", "m.b", "m.modbus.requests"])
    assert (a.value, a.quality, b.value, b.quality) == (5, Quality.GOOD, None, Quality.BAD)
    assert requests.value == 2
    seen = lines.collect(line)
    await seen.until(lambda: len(seen.of("m.a")) >= 2)


async def test_no_host_is_a_wire_error_on_demand(lines: Any, device: Any, point: Any) -> None:
    line = lines.tcp(1, device("m", 1, {"a": point("holding", 5, writable=True)}))
    with pytest.raises(WireError, match="refused"):
        await line.read(["m.a"])
    with pytest.raises(WireError):
        await line.write("m.a", 1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("ro", 1, "cannot be written"), ("di", 1, "cannot be written"), ("rw", 101, "above 100"), ("rw", -1, "below 0"),
     ("relay", 7, "on or off"), ("relay", "on", "on or off"), ("rw", "much", "number"), ("nothing", 1, "not a point")],
)  # fmt: skip
async def test_wrong_writes_never_reach_the_wire(
    lines: Any, device: Any, point: Any, name: str, value: Any, words: str
) -> None:
    points = {
        "ro": point("holding", 0), "di": point("discrete", 0, writable=True),
        "rw": point("holding", 1, writable=True, low=0, high=100), "relay": point("coil", 0, writable=True),
    }  # fmt: skip
    with pytest.raises(DeviceError, match=words):
        await lines.tcp(1, device("io", 1, points)).write(f"io.{name}", value)


async def test_all_write_functions(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 0, 1: 0, 2: 0, 3: 0b1010}, coil={0: 0})})
    points = {
        "relay": point("coil", 0, writable=True), "one": point("holding", 0, writable=True),
        "two": point("holding", 1, type="f32", order="cdab", writable=True),
        "bit": point("holding", 2, type="u32", bit=2, writable=True),
    }  # fmt: skip
    line = lines.tcp(slave, device("io", 1, points))

    async def write_all() -> list[int]:
        slave.requests.clear()
        for name, value in {"relay": True, "one": 7, "two": 1.5, "bit": True}.items():
            await line.write(f"io.{name}", value)
        assert [r.value for r in await line.read([f"io.{name}" for name in points])] == [True, 7, 1.5, True]
        assert slave.units[1].holding[3] == 0b1110
        return [request.function for request in slave.seen(1) if request.function > 4]

    assert await write_all() == [5, 6, 16, 22]
    slave.units[1].unknown = {5, 6, 22}
    slave.units[1].holding[3] = 0b1010
    assert await write_all() == [5, 15, 6, 16, 16, 22, 16]
    assert await write_all() == [15, 16, 16, 16]
    slave.units[1].unknown |= {16}
    slave.units[1].holding[3] = 0b1010
    assert await write_all() == [15, 16, 23, 23, 23]
    slave.units[1].unknown |= {23}
    with pytest.raises(DeviceError, match="illegal function"):
        await line.write("io.one", 1)


async def test_a_refused_write_says_why(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 0})})
    line = lines.tcp(slave, device("io", 1, {"far": point("holding", 900, writable=True)}))
    with pytest.raises(Refused, match="illegal data address") as refused:
        await line.write("io.far", 1)
    assert refused.value.code == 2


async def test_a_wrong_echo_is_no_acknowledgement(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp(
        {1: slaves.Unit(coil={0: 0, 1: 0})}, behave=lambda r: [(0, r.frame[:8] + b"\x00\x01" + r.frame[10:])]
    )
    line = lines.tcp(slave, device("io", 1, {"relay": point("coil", 0, writable=True)}))
    with pytest.raises(DeviceError, match="does not fit"):
        await line.write("io.relay", True)


async def test_splitting_finds_the_one_illegal_address(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    table = registers(64)
    del table[37]
    slave = slaves.tcp({1: slaves.Unit(holding=table)})
    points = {f"p{n}": point("holding", n) for n in range(64)}
    seen = lines.collect(lines.tcp(slave, device("m", 1, points, poll=0.05)))
    await seen.until(lambda: len(seen.of("m.p63")) >= 4)
    first = {r.point: r for r in seen.batches[0]}
    assert len(first) == 64 and [r.point for r in first.values() if r.quality is Quality.BAD] == ["m.p37"]
    assert all(r.value == int(r.point[3:]) for r in first.values() if r.point != "m.p37")
    assert len(seen.of("m.p37")) == 1, "asked for again, though it is known as illegal"
    per_poll = len(seen.wire._devices[0].polls[0]._blocks)
    assert per_poll <= 7


async def test_an_illegal_point_is_tried_again_later(
    lines: Any, slaves: Any, device: Any, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.modbus.schedule._REFUSED_AGAIN", 0.2)
    slave = slaves.tcp({1: slaves.Unit(holding={0: 0})})
    points = {"a": point("holding", 0), "b": point("holding", 1)}
    seen = lines.collect(lines.tcp(slave, device("m", 1, points, poll=0.05)))
    await seen.until(lambda: seen.of("m.b"))
    slave.units[1].holding[1] = 11
    await seen.until(lambda: len([r for r in seen.of("m.b") if r.value == 11]) >= 3)


async def test_a_device_that_refuses_everything_keeps_the_line_alive(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    slave = slaves.tcp({1: slaves.Unit(), 2: slaves.Unit(holding={0: 5})})
    one, two = device("one", 1, {"a": point("holding", 0)}, poll=0.05), device("two", 2, {"a": point("holding", 0)})
    seen = lines.collect(lines.tcp(slave, one, two))
    await seen.until(lambda: len(seen.of("two.a")) >= 3)
    assert [r.quality for r in seen.of("one.a")] == [Quality.BAD]


async def test_late_answers_are_known_by_their_transaction(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """Every answer comes one question late: with the next request, and after its own timeout."""
    held: list[bytes] = []

    def behave(request: Any) -> list[tuple[float, bytes]]:
        held.append(request.frame)
        return [(0, held[-2])] if len(held) > 1 else []

    slave = slaves.tcp({1: slaves.Unit(holding=registers(300, step=7))}, behave=behave)
    points = {"a": point("holding", 100), "b": point("holding", 200)}
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, points, poll=0.05), timeout=0.05))
    await seen.until(lambda: line.status()["late"] >= 3)
    assert [r for r in seen.readings if r.value is not None and r.point in ("m.a", "m.b")] == []
    slave.behave = lambda request: [(0, request.frame)]
    await seen.until(lambda: [r for r in seen.of("m.b") if r.value is not None])
    assert {r.value for r in seen.of("m.a")} <= {None, 700} and {r.value for r in seen.of("m.b")} <= {None, 1400}


async def test_a_slow_slave_never_shifts(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """Answers take 1.5 timeouts for a while: on TCP they fall into later questions."""
    slow = [True]
    slave = slaves.tcp(
        {1: slaves.Unit(holding=registers(300, step=7))},
        behave=lambda request: [(0.15 if slow[0] else 0, request.frame)],
    )
    points = {"a": point("holding", 100), "b": point("holding", 200)}
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, points, poll=0.05), timeout=0.1))
    await seen.until(lambda: line.status()["late"] >= 2)
    slow[0] = False
    await seen.until(lambda: len([r for r in seen.of("m.b") if r.value is not None]) >= 3)
    assert {r.value for r in seen.of("m.a")} <= {None, 700} and {r.value for r in seen.of("m.b")} <= {None, 1400}


async def test_writes_go_first(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """Among thirty slow reads a write waits for the one that is on the wire, no more."""
    slave = slaves.tcp({1: slaves.Unit(holding=registers(6000), coil={0: 0})}, behave=lambda r: [(0.01, r.frame)])
    points = {f"p{n}": point("holding", 150 * n) for n in range(30)} | {"relay": point("coil", 0, writable=True)}
    line = lines.tcp(slave, device("m", 1, points, poll=0.1))
    seen = lines.collect(line)
    await seen.until(lambda: seen.batches)
    reading = asyncio.create_task(line.read([f"m.p{n}" for n in range(30)]))
    await asyncio.sleep(0)
    before = len(slave.requests)
    await line.write("m.relay", True)
    order = [request.function for _, request in slave.requests[before:]]
    assert 5 in order[:3], order
    assert [r.value for r in await reading] == [150 * n for n in range(30)]


async def test_fast_points_come_before_slow_ones(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding=registers(6000))}, behave=lambda r: [(0.01, r.frame)])
    points = {f"p{n}": point("holding", 150 * n) for n in range(30)} | {"fast": point("holding", 5000, poll=0.05)}
    seen = lines.collect(lines.tcp(slave, device("m", 1, points, poll=1.0)))
    await seen.until(lambda: len(seen.of("m.p29")) >= 2)
    fast = [r.at.boottime_ns / 1e9 for r in seen.of("m.fast")]
    assert max(b - a for a, b in itertools.pairwise(fast)) < 0.15


async def test_periods_hold_without_drift(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({n: slaves.Unit(holding={0: n}) for n in (1, 2)}, behave=lambda r: [(0.005, r.frame)])
    devices = [device(f"d{n}", n, {"a": point("holding", 0)}, poll=0.1) for n in (1, 2)]
    seen = lines.collect(lines.tcp(slave, *devices))
    await seen.until(lambda: len(seen.of("d1.a")) >= 22 and len(seen.of("d2.a")) >= 22)
    for name in ("d1.a", "d2.a"):
        times = [r.at.boottime_ns / 1e9 for r in seen.of(name)][1:]
        assert abs((times[20] - times[0]) - 2.0) < 0.06, name
    pairs = zip(seen.of("d1.a")[1:], seen.of("d2.a")[1:], strict=False)  # one that was late says nothing about phases
    offset = statistics.median((d2.at.boottime_ns - d1.at.boottime_ns) / 1e9 % 0.1 for d1, d2 in pairs)
    assert 0.03 < offset < 0.07, "phases are not spread"


async def test_a_dead_device_costs_one_timeout_a_backoff(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 1}), 2: slaves.Unit(holding={0: 2, 40: 3})})
    slave.behave = lambda r: [] if r.unit == 2 else [(0, r.frame)]
    dead = device("dead", 2, {"a": point("holding", 0), "b": point("holding", 40, poll=0.2)}, poll=0.05)
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, {"a": point("holding", 0)}, poll=0.05), dead))
    await seen.until(lambda: seen.of("dead.a"))
    assert {(r.value, r.quality) for r in seen.of("dead.a") + seen.of("dead.b")} == {(None, Quality.BAD)}
    assert line.status()["lost"] == ["dead"]
    asked, answered = len(slave.seen(2)), len(seen.of("m.a"))
    await seen.until(lambda: len(seen.of("m.a")) >= answered + 30, 4)
    assert len(slave.seen(2)) - asked <= 2
    assert len(seen.of("dead.a")) == 1, "published as bad more than once"
    slave.behave = lambda r: [(0, r.frame)]
    await seen.until(lambda: seen.of("dead.a")[-1].value == 2 and seen.of("dead.b")[-1].value == 3)
    (timeouts,) = await line.read(["dead.modbus.timeouts"])
    assert timeouts.value >= 3 and connections_kept(slave)


def connections_kept(slave: Any) -> bool:
    return slave.connections == 1


async def test_a_watchdog_is_fed_even_when_backed_off(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})}, behave=lambda r: [])
    spec = device("io", 1, {"a": point("holding", 0)}, poll=10.0, output_watchdog=0.6)
    lines.collect(line := lines.tcp(slave, spec, timeout=0.05))
    async with asyncio.timeout(20):
        while len(slave.requests) < 9:
            await asyncio.sleep(0.01)
    times = [at for at, _ in slave.requests]
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    assert gaps[4] < 0.35, f"{gaps}: most of them, for a busy machine may delay some"
    assert line.status()["lost"] == ["io"]


async def test_the_host_goes_and_comes_back(
    lines: Any, slaves: Any, device: Any, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.modbus.line._REOPEN_MOST", 0.2)
    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})})
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, {"a": point("holding", 0, writable=True)}, poll=0.05)))
    await seen.until(lambda: seen.of("m.a"))
    slave.vanish()
    await seen.until(lambda: seen.of("m.a")[-1].quality is Quality.BAD, 10)
    assert line.status()["state"] == "down" and "refused" in line.status()["error"]
    with pytest.raises(WireError):
        await line.write("m.a", 1)
    slave.appear()
    await seen.until(lambda: seen.of("m.a")[-1].quality is Quality.GOOD, 10)
    assert line.status()["state"] == "up" and line.status()["error"] == ""


async def test_a_host_that_closes_idle_connections_is_asked_over_a_new_one(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})})
    seen = lines.collect(lines.tcp(slave, device("m", 1, {"a": point("holding", 0)}, poll=0.1)))
    await seen.until(lambda: seen.of("m.a"))
    for client in list(slave._clients):
        client.shutdown(2)
    count = len(seen.readings)
    await seen.until(lambda: len(seen.readings) >= count + 3)
    assert slave.connections == 2 and {r.quality for r in seen.readings} == {Quality.GOOD}


async def test_something_else_than_modbus_closes_the_connection(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})}, behave=lambda r: [(0, b"HTTP/1.1 400 Bad Request\r\n\r\n")])
    line = lines.tcp(slave, device("m", 1, {"a": point("holding", 0)}))
    with pytest.raises(WireError, match="something else than Modbus"):
        await line.read(["m.a"])


async def test_answers_in_pieces_and_glued(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    stray = struct.pack(">HHHBBBH", 0xFFFF, 0, 5, 1, 3, 2, 999)

    def behave(request: Any) -> list[tuple[float, bytes]]:
        whole = stray + request.frame
        return [(0.002 * n, whole[n : n + 1]) for n in range(len(whole))]

    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})}, behave=behave)
    line = lines.tcp(slave, device("m", 1, {"a": point("holding", 0)}))
    assert [r.value for r in await line.read(["m.a"])] == [1]


async def test_the_owner_says_when_it_is_due(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})})
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, {"a": point("holding", 0)}, poll=0.2)))
    assert line.due() == float("inf")
    await seen.until(lambda: len(seen.readings) >= 2)
    await asyncio.sleep(0)
    assert 0 < line.due() - line._clock.monotonic() < 6


async def test_statistics_are_published_in_turn(
    lines: Any, slaves: Any, device: Any, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_STATISTICS", "_FIRST_STATISTICS"):
        monkeypatch.setattr(f"drivers.modbus.line.{name}", 0.2)
    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})})
    seen = lines.collect(lines.tcp(slave, device("m", 1, {"a": point("holding", 0)}, poll=0.05)))
    await seen.until(lambda: len(seen.of("m.modbus.requests")) >= 2)
    first, second = (r.value for r in seen.of("m.modbus.requests")[:2])
    assert 0 < first < second and seen.of("m.modbus.timeouts")[0].value == 0
    assert 0 < seen.of("m.modbus.response_ms")[0].value < 100


async def test_who_waits_is_told_when_the_line_closes(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.tcp({1: slaves.Unit(coil={0: 0, 1: 0})}, behave=lambda r: [])
    points = {"a": point("coil", 0, writable=True), "b": point("coil", 1, writable=True)}
    line = lines.tcp(slave, device("io", 1, points), timeout=5.0)
    writes = [asyncio.create_task(line.write(f"io.{name}", True)) for name in "ab"]
    async with asyncio.timeout(5):
        while not slave.requests:
            await asyncio.sleep(0.002)
    await line.close()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [WireError, WireError]


async def test_a_busy_slave_is_alive(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """Exception 6 gives no value and no fault; 4 makes the points bad; 11 of a gateway counts as no answer."""
    code = [6]

    def behave(request: Any) -> list[tuple[float, bytes]]:
        return [(0, request.frame[:4] + bytes((0, 3, 1, 0x83, code[0])))]

    slave = slaves.tcp({1: slaves.Unit(holding={0: 1})}, behave=behave)
    seen = lines.collect(line := lines.tcp(slave, device("m", 1, {"a": point("holding", 0)}, poll=0.03)))
    await seen.until(lambda: len(slave.requests) >= 6)
    assert seen.of("m.a") == [] and line.status()["lost"] == []
    code[0] = 4
    await seen.until(lambda: len(seen.of("m.a")) >= 3)
    assert {r.quality for r in seen.of("m.a")} == {Quality.BAD} and line.status()["lost"] == []
    code[0] = 11
    await seen.until(lambda: line.status()["lost"] == ["m"])
