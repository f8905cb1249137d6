"""The driver against a scripted slave on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import itertools
import termios
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import DeviceError, WireError
from agent.model import Quality
from agent.runtime.status import conditions
from tests.modbus.answers import LATE, Frames, Late, registers


async def test_it_polls_reads_and_writes(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu({3: slaves.Unit(holding=registers(), coil=registers(8))})
    points = {"a": point("holding", 3, writable=True), "relay": point("coil", 0, writable=True)}
    line = lines.rtu(slave.link, device("io", 3, points))
    seen = lines.collect(line)
    await seen.until(lambda: len(seen.of("io.a")) >= 3)
    await line.write("io.relay", True)
    await line.write("io.a", 42)
    assert [r.value for r in await line.read(["io.a", "io.relay"])] == [42, True]


@pytest.mark.parametrize("how", LATE)
@pytest.mark.parametrize("wire", ["rtu", "rtu_over_tcp"])
async def test_a_late_answer_never_becomes_another_registers_value(
    lines: Any, slaves: Any, device: Any, point: Any, wire: str, how: str
) -> None:
    """Two registers, far apart, read with the same function and length: on RTU their answers look the same."""
    late = Late(how)
    slave = getattr(slaves, wire)({1: slaves.Unit(holding=registers(300, step=7), input={})}, behave=late)
    points = {"a": point("holding", 100), "b": point("holding", 200)}
    spec = device("m", 1, points, poll=0.02, output_watchdog=0.3)  # keeps the backoff short
    line = getattr(lines, wire)(slave.link if wire == "rtu" else slave, spec, timeout=0.1)
    seen = lines.collect(line)
    await seen.until(lambda: line.status()["late"] >= 8, 20)
    for name in ("m.a", "m.b"):
        await line.read([name])
    late.over = True
    await seen.until(lambda: len([r for r in seen.of("m.b") if r.value is not None]) >= 3, 10)
    assert {r.value for r in seen.of("m.a")} <= {None, 700} and {r.value for r in seen.of("m.b")} <= {None, 1400}


async def test_a_late_answer_is_no_acknowledgement_of_another_write(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    held: list[bytes] = []

    def behave(request: Any) -> Frames:
        held.append(request.frame)
        return [(0, held[-2])] if len(held) > 1 else []

    slave = slaves.rtu({1: slaves.Unit(coil=registers(8))}, behave=behave)
    line = lines.rtu(slave.link, device("io", 1, {"relay": point("coil", 0, writable=True)}), timeout=0.05)
    for value in (True, True, False, True, True):
        with pytest.raises(DeviceError):
            await line.write("io.relay", value)


async def test_noise_foreign_frames_and_broken_ones_are_discarded(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    """In turn: noise before, a foreign frame before, noise after, a wrong CRC, half a frame; the port stays open."""
    foreign = slaves.frame(9, bytes((3, 2, 0x03, 0xE7)))
    own_table = slaves.frame(1, bytes((4, 2, 0x03, 0xE7)))
    kinds: list[Callable[[bytes], bytes]] = [
        lambda frame: b"\x00\xff\x01\x03" + frame,
        lambda frame: foreign + frame,
        lambda frame: own_table + frame,
        lambda frame: frame + b"\xfe\xfe",
        lambda frame: frame[:-1] + bytes((frame[-1] ^ 1,)),
        lambda frame: frame[:-2],
        lambda frame: frame,
    ]
    slave = slaves.rtu({1: slaves.Unit(holding=registers(200, step=3))})
    slave.behave = lambda r: [(0, kinds[r.number % len(kinds)](r.frame))]
    seen = lines.collect(line := lines.rtu(slave.link, device("m", 1, {"a": point("holding", 100)}), timeout=0.05))
    await seen.until(lambda: len(seen.of("m.a")) >= 15, 20)
    assert {r.value for r in seen.of("m.a")} == {300}
    errors, state = (await line.read(["m.modbus.crc_errors"]))[0].value, line.status()
    assert errors >= 2 and state["state"] == "up" and state["error"] == ""


async def test_a_babbling_line_is_survived(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu({1: slaves.Unit(holding={0: 5})})
    seen = lines.collect(lines.rtu(slave.link, device("m", 1, {"a": point("holding", 0)}), timeout=0.05))
    await seen.until(lambda: seen.of("m.a"))
    stop = time.monotonic() + 1.5
    while time.monotonic() < stop:
        slave.say(b"\x55\xaa\x01\x03")
        await asyncio.sleep(0.001)
    count = len(seen.of("m.a"))
    await seen.until(lambda: len(seen.of("m.a")) > count + 2 and seen.of("m.a")[-1].value == 5)


async def test_a_dead_slave_does_not_slow_the_line(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu({1: slaves.Unit(holding={0: 1})})
    alive = device("m", 1, {"a": point("holding", 0)}, poll=0.1)
    seen = lines.collect(line := lines.rtu(slave.link, alive, device("dead", 2, {"a": point("holding", 0)})))
    await seen.until(lambda: seen.of("dead.a"))
    assert line.status()["lost"] == ["dead"]
    asked, count, start = len(slave.seen(2)), len(seen.of("m.a")), time.monotonic()
    await seen.until(lambda: len(seen.of("m.a")) >= count + 25)
    passed = time.monotonic() - start
    assert passed < 2.5 + 0.3, "the living device lost its period"
    assert len(slave.seen(2)) - asked <= 2
    slave.units[2] = slaves.Unit(holding={0: 9})
    await seen.until(lambda: seen.of("dead.a")[-1].value == 9, 8)


async def test_a_slave_of_one_register_that_ignores_other_functions_is_believed_again(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    deaf = [True]

    def behave(request: Any) -> Frames:
        return [] if deaf[0] or request.function != 3 else [(0, request.frame)]

    slave = slaves.rtu({1: slaves.Unit(holding={0: 9})}, behave=behave)
    spec = device("m", 1, {"a": point("holding", 0)}, output_watchdog=0.3)
    seen = lines.collect(lines.rtu(slave.link, spec, timeout=0.05))
    await seen.until(lambda: len(slave.requests) >= 7)
    deaf[0] = False
    await seen.until(lambda: seen.of("m.a")[-1].value == 9)


async def test_an_adapter_vanishes_and_returns_under_another_name(
    lines: Any, slaves: Any, device: Any, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.modbus.line._REOPEN_MOST", 0.2)
    slave = slaves.rtu({1: slaves.Unit(holding={0: 1})})
    seen = lines.collect(line := lines.rtu(slave.link, device("m", 1, {"a": point("holding", 0)}, poll=0.05)))
    await seen.until(lambda: seen.of("m.a"))
    before = slave.link.readlink()
    slave.vanish()
    await seen.until(lambda: seen.of("m.a")[-1].quality is Quality.BAD, 10)
    assert line.status()["state"] == "down" and "No such file" in line.status()["error"]
    with pytest.raises(WireError):
        await line.read(["m.a"])
    slaves.take_pty()
    slave.appear()
    assert slave.link.readlink() != before
    await seen.until(lambda: seen.of("m.a")[-1].quality is Quality.GOOD, 10)


async def test_a_missing_port_is_waited_for(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu({1: slaves.Unit(holding={0: 1})})
    slave.vanish()
    seen = lines.collect(line := lines.rtu(slave.link, device("m", 1, {"a": point("holding", 0)}, poll=0.05)))
    with pytest.raises(WireError, match="No such file"):
        await line.read(["m.a"])
    slave.appear()
    await seen.until(lambda: seen.of("m.a") and seen.of("m.a")[-1].value == 1, 8)


async def test_a_second_user_is_told(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu({1: slaves.Unit(holding={0: 1})})
    first = lines.rtu(slave.link, device("m", 1, {"a": point("holding", 0)}))
    second = lines.rtu(slave.link.resolve(), device("m", 1, {"a": point("holding", 0)}))
    await first.read(["m.a"])
    with pytest.raises(WireError, match="used by another program"):
        await second.read(["m.a"])
    await first.close()
    assert [r.value for r in await second.read(["m.a"])] == [1]


async def test_refused_settings_are_named(
    lines: Any, slaves: Any, device: Any, point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pseudo-terminals know no parity; whether they say so depends on the kernel and on what was set before."""

    def refuse(self: Any, force_update: bool = False) -> None:
        raise termios.error(22, "Invalid argument")

    monkeypatch.setattr("serial.Serial._reconfigure_port", refuse)
    slave = slaves.rtu({1: slaves.Unit(holding={0: 1})})
    line = lines.rtu(slave.link, device("m", 1, {"a": point("holding", 0)}), baudrate=9600, parity="E")
    with pytest.raises(WireError, match="refuses 9600 baud 8E1: Invalid argument"):
        await line.read(["m.a"])


async def test_silences_are_kept_and_nothing_more(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """9600 baud, paced at 11 bits a byte: a cycle takes at most 1.15 of the wire time where the machine delays none."""
    slave = slaves.rtu({1: slaves.Unit(holding=registers())}, baudrate=9600)
    points = {f"p{n}": point("holding", n) for n in range(20)}
    seen = lines.collect(lines.rtu(slave.link, device("m", 1, points, poll=0.001), baudrate=9600, timeout=0.5))
    await seen.until(lambda: len(seen.of("m.p0")) >= 22)
    times = [at for at, _ in slave.requests][1:22]
    cycles = sorted((b - a) / slave.wire_time(8, 45) for a, b in itertools.pairwise(times))
    assert sum(cycles) / 20 >= 1.0 and cycles[5] < 1.15, cycles


async def test_a_guard_time_is_kept(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    slave = slaves.rtu({1: slaves.Unit(holding=registers())})
    spec = device("m", 1, {"a": point("holding", 0)}, poll=0.001, modbus={"guard": 0.05})
    seen = lines.collect(lines.rtu(slave.link, spec))
    await seen.until(lambda: len(seen.readings) >= 6)
    times = [at for at, _ in slave.requests]
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.045


async def test_a_slave_that_knows_one_write_function_only(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """Function 23, as bus couplers have it beside 3."""
    slave = slaves.rtu({1: slaves.Unit(holding=registers(8), unknown={5, 6, 15, 16, 22})})
    points = {"a": point("holding", 0, writable=True), "wide": point("holding", 2, type="i32", writable=True)}
    line = lines.rtu(slave.link, device("m", 1, points))
    await line.write("m.a", 4711)
    await line.write("m.wide", -70000)
    assert [r.value for r in await line.read(["m.a", "m.wide"])] == [4711, -70000]
    assert [request.function for request in slave.seen(1)] == [3, 6, 16, 23, 23, 3]  # the first read looks for an echo


async def test_a_line_that_is_asked_too_much_serves_its_fast_device_in_between(
    slaves: Any, lines: Any, device: Any, point: Any
) -> None:
    """Six meters want more than the line has; the relay module is never more than two of their questions away."""
    units = {n: slaves.Unit(input={a: a for a in range(60)}) for n in range(1, 7)}
    slave = slaves.rtu(units | {9: slaves.Unit(coil={0: 1})}, baudrate=9600)
    words = {f"w{n}": point("input", n) for n in range(60)}
    meters = [device(f"m{n}", n, words, poll=0.5) for n in range(1, 7)]
    line = lines.rtu(slave.link, device("io", 9, {"relay": point("coil", 0)}, poll=0.1), *meters, baudrate=9600)
    collected = lines.collect(line)
    await collected.until(lambda: line.status()["overloaded"] and len(slave.requests) > 40, 30)
    raised = conditions(None, True, True, [{"name": "rs485", **line.status()}], None)
    (wrong,) = [one for one in raised if one.known]
    assert (wrong.code, wrong.subject) == ("line_overloaded", "rs485")
    assert wrong.detail["stretch"] >= 1.5  # about 2, as long as this machine keeps the pace of the line
    await collected.until(lambda: len(slave.seen(9)) > 20, 30)
    asked = [request.unit for _, request in slave.requests][7:]
    between = "".join("o" if unit == 9 else "m" for unit in asked).split("o")
    assert len(between) > 10 and max(map(len, between)) <= 2, between


async def test_another_length_is_said(lines: Any, slaves: Any, device: Any, point: Any) -> None:
    """A meter that gives 32 bits where one register was asked: a sound frame, and no fault of the cable."""
    slave = slaves.rtu({1: slaves.Unit(input={0xAA: 1})})
    slave.behave = lambda r: [(0, bytes.fromhex("01040400" "0186a0c85c") if r.function == 4 else r.frame)]
    points = {"a": point("input", 0xAA)}
    seen = lines.collect(line := lines.rtu(slave.link, device("m", 1, points, poll=0.05), timeout=0.05))
    await seen.until(lambda: line.status()["lost"] == ["m"], 10)
    assert line.status()["said"] == {"m": "answers 4 bytes where 2 were asked"}
    assert [r.value for r in await line.read(["m.modbus.crc_errors", "m.modbus.timeouts"])] == [0, 0]
