"""Slaves that answer a block with an exception, and have its points, or most of them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.runtime.status import conditions


def exception(slaves: Any, request: Any, code: int) -> Any:
    return [(0, slaves.frame(1, bytes((request.function | 0x80, code))))]


def count(request: Any) -> int:
    return int.from_bytes(request.pdu[3:5], "big")


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_a_hole_costs_no_point(lines: Any, slaves: Any, device: Any, point: Any, code: int) -> None:
    """Whatever touches 3 or 4 is refused; points of a second poll, and what is read on demand, as well."""

    def behave(request: Any) -> Any:
        asked = range(request.address, request.address + count(request))
        return exception(slaves, request, code) if {3, 4} & set(asked) else [(0, request.frame)]

    slave = slaves.rtu({1: slaves.Unit(holding={n: n + 10 for n in range(8)})}, behave=behave)
    points = {f"p{n}": point("holding", n) for n in (0, 1, 2, 5)}
    line = lines.rtu(slave.link, device("m", 1, points, poll=0.05))
    assert [reading.value for reading in await line.read([f"m.p{n}" for n in (0, 1, 2, 5)])] == [10, 11, 12, 15]
    seen = lines.collect(line)
    await seen.until(lambda: len(seen.of("m.p5")) >= 4)
    assert {reading.value for n in (0, 1, 2, 5) for reading in seen.of(f"m.p{n}")} == {10, 11, 12, 15}
    await seen.until(lambda: len(slave.requests) > 40)
    assert all(not {3, 4} & set(range(r.address, r.address + count(r))) for _, r in slave.requests[-10:])


@pytest.mark.parametrize("code", [1, 3, 4])
async def test_a_slave_that_gives_less_at_once(lines: Any, slaves: Any, device: Any, point: Any, code: int) -> None:
    slave = slaves.rtu({1: slaves.Unit(input={n: n for n in range(125)})})
    slave.behave = lambda r: exception(slaves, r, code) if count(r) > 32 else [(0, r.frame)]
    seen = lines.collect(
        line := lines.rtu(slave.link, device("m", 1, {f"p{n}": point("input", n) for n in range(125)}))
    )
    await seen.until(lambda: len(seen.of("m.p124")) >= 2)
    assert {r.value for r in seen.of("m.p124")} == {124} and "refused" not in line.status()
    assert max(count(r) for _, r in slave.requests[-4:]) == 32


async def test_trouble_of_the_moment_leaves_the_questions_as_they_are(
    lines: Any, slaves: Any, device: Any, point: Any
) -> None:
    slave = slaves.rtu({1: slaves.Unit(input={n: n for n in range(8)})})
    seen = lines.collect(
        lines.rtu(slave.link, device("m", 1, {f"p{n}": point("input", n) for n in range(8)}, poll=0.05))
    )
    await seen.until(lambda: seen.of("m.p7"))
    slave.behave = lambda r: exception(slaves, r, 4)
    await seen.until(lambda: seen.of("m.p7")[-1].value is None)
    slave.behave = lambda r: [(0, r.frame)]
    await seen.until(lambda: seen.of("m.p7")[-1].value == 7)
    asked = len(slave.requests)
    await seen.until(lambda: len(slave.requests) > asked + 4)
    assert {count(r) for _, r in slave.requests[asked:]} == {8}


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_a_point_that_cannot_be_read_is_an_alarm_until_it_can(
    lines: Any, slaves: Any, device: Any, point: Any, code: int, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("drivers.modbus.schedule._REFUSED_AGAIN", 0.2)
    monkeypatch.setattr("drivers.modbus.schedule._FAILED_AGAIN", 0.2)
    refuses = [True]
    slave = slaves.rtu({1: slaves.Unit(input={n: n for n in range(4)})})
    slave.behave = lambda r: exception(slaves, r, code) if refuses[0] and r.address + count(r) > 2 else [(0, r.frame)]
    line = lines.rtu(slave.link, device("m", 1, {f"p{n}": point("input", n) for n in range(4)}, poll=0.02))
    assert line.status()["unheard"] == line.status()["unread"] == ["m"], "an alarm of before is not over yet"
    seen = lines.collect(line)
    await seen.until(lambda: len(line.status().get("refused", {}).get("m", ())) == 2)
    asked = len(slave.requests)
    await seen.until(lambda: len([r for _, r in slave.requests[asked:] if r.address == 3]) >= 2)
    # A slow machine's line may be overloaded as well.
    raised = conditions(None, True, True, [{"name": "rs485", **line.status()}], None)
    (alarm,) = [one for one in raised if one.subject == "m" and one.known]
    assert alarm.code == "points_refused"
    assert sorted(alarm.detail["points"].split(", ")) == ["m.p2", "m.p3"]
    assert f"exception {code}" in alarm.detail["reason"]
    told = [text for text in caplog.messages if text.startswith("points refused")]
    assert [sum(name in text for text in told) for name in ("m.p2", "m.p3")] == [1, 1], told
    assert {r.value for r in seen.of("m.p1")} == {1} and line.status()["lost"] == []
    assert line.status()["unheard"] == line.status()["unread"] == []
    refuses[0] = False
    await seen.until(lambda: "refused" not in line.status())
    await seen.until(lambda: seen.of("m.p3")[-1].value == 3)


@pytest.mark.parametrize("silent", [{0}, {200}, {0, 100, 200, 300}], ids=str)
@pytest.mark.parametrize("wire", ["rtu", "tcp"])
async def test_registers_that_are_passed_over_in_silence_cost_themselves_only(
    lines: Any, slaves: Any, device: Any, point: Any, silent: set[int], wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One or most of the questions; it is lost where it answers none."""
    monkeypatch.setattr("drivers.modbus.schedule._SILENT_AGAIN", 0.3)
    monkeypatch.setattr("drivers.modbus.schedule._RETRY", 0.05)
    deaf = [True]
    registers = {n: n + 1 for n in range(0, 500, 100)}
    slave = getattr(slaves, wire)({1: slaves.Unit(input=registers)})
    slave.behave = lambda r: [] if deaf[0] and r.address in silent else [(0, r.frame)]
    spec = device("m", 1, {f"p{n}": point("input", n) for n in registers}, poll=0.05)
    line = getattr(lines, wire)(slave.link if wire == "rtu" else slave, spec, timeout=0.05)
    seen = lines.collect(line)
    names = {f"m.p{n}" for n in silent}
    await seen.until(lambda: set(line.status().get("refused", {}).get("m", ())) == names, 20)
    assert all(reason.startswith("no answer within") for reason in line.status()["refused"]["m"].values())
    for n in set(registers) - silent:
        had = len(seen.of(f"m.p{n}"))
        await seen.until(lambda n=n, had=had: len(seen.of(f"m.p{n}")) > had + 10)
    assert line.status()["lost"] == []
    deaf[0] = False
    await seen.until(lambda: "refused" not in line.status())
    for n in silent:
        await seen.until(lambda n=n: seen.of(f"m.p{n}")[-1].value == n + 1)
    slave.behave = lambda r: []
    await seen.until(lambda: line.status()["lost"] == ["m"], 10)


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_registers_that_were_silent_are_halved_later(
    lines: Any, slaves: Any, device: Any, point: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that was off behind its slave: nothing at first, then an exception for all of it but not for parts."""
    monkeypatch.setattr("drivers.modbus.schedule._SILENT_AGAIN", 0.1)
    monkeypatch.setattr("drivers.modbus.schedule._FAILED_AGAIN", 0.1)
    slave = slaves.rtu({1: slaves.Unit(input={n: n for n in (0, 1, 2, 100)})})
    slave.behave = lambda r: [] if r.address < 3 else [(0, r.frame)]
    points = {f"p{n}": point("input", n) for n in (0, 1, 2, 100)}
    line = lines.rtu(slave.link, device("m", 1, points, poll=0.02), timeout=0.03)
    seen = lines.collect(line)
    await seen.until(lambda: len(line.status().get("refused", {}).get("m", ())) == 3)
    slave.behave = lambda r: exception(slaves, r, code) if r.address == 2 or count(r) > 1 else [(0, r.frame)]
    await seen.until(lambda: {0, 1} <= {r.value for n in (0, 1) for r in seen.of(f"m.p{n}")})
    assert list(line.status()["refused"]["m"]) == ["m.p2"]
    asked = len(seen.of("m.p100"))
    await seen.until(lambda: len(seen.of("m.p100")) > asked + 5)
