"""Faults of the field wires and of the agent itself: silent, late and noisy slaves, an adapter that goes, a hang."""

from __future__ import annotations

import signal
import statistics
import time
from pathlib import Path
from typing import Any

from tests.fakes import modbus_slave
from tests.fakes.gateway import Manager
from tests.torture.rig import Verdict, Village, village, wait_for

_REGISTERS = (0, 20, 40)


def bad_line(folder: Path, times: int) -> Verdict:
    """An RS-485 line with every fault beside a healthy bus: never a value of another register, no period moved."""
    units = {unit: modbus_slave.Unit(holding={n: unit * 1000 + n for n in range(60)}) for unit in (1, 2)}
    folder.mkdir(parents=True, exist_ok=True)
    line = modbus_slave.RtuSlave(folder / "ttyRS485", units)
    try:
        with village(folder / "village") as place:
            _wire(place, line)
            place.site.start()
            wait_for(lambda: place.site.quality("two.r40") == "good", 20)
            quiet = _period(place)
            worst = quiet
            for _ in range(times):
                for behave in (modbus_slave.late_and_noisy([]), modbus_slave.silent):
                    line.behave = behave
                    worst = max(worst, _period(place))
                line.behave = modbus_slave.at_once
                wait_for(lambda: place.site.quality("one.r0") == "good", 90, "the line after the noise")
                line.vanish()
                wait_for(lambda: place.site.quality("one.r20") == "bad", 20, "that the adapter is missed")
                worst = max(worst, _period(place))
                line.appear()
                wait_for(lambda: place.site.quality("two.r40") == "good", 90, "the adapter's return")
            place.settle()
            wrong = _wrong(place)
            found = place.verdict(
                **{"wrong values": len(wrong), "period ms quiet/worst": f"{quiet * 1000:.0f}/{worst * 1000:.0f}"}
            )
            found.must(not wrong, f"values of another register: {wrong[:5]}")
            found.must(worst < 2 * quiet, f"the other bus went from {quiet * 1000:.0f} to {worst * 1000:.0f} ms")
            return found
    finally:
        line.end()


def _wire(place: Village, line: Any) -> None:
    points = "".join(f"  r{n}: {{register: holding, address: {n}, type: u16}}\n" for n in _REGISTERS)
    profile = f"name: meter3\nmodbus: {{max_gap: 0}}\npoints:\n{points}"
    (place.site.folder / "profiles" / "meter3.yaml").write_text(profile)
    place.site.document["buses"]["rs485"] = {"type": "modbus_rtu", "port": str(line.link), "timeout": "100ms"}
    for name, unit in (("one", 1), ("two", 2)):
        device = {"bus": "rs485", "unit_id": unit, "profile": "meter3", "poll": "200ms"}
        place.site.document["devices"][name] = device


def _period(place: Village, polls: int = 60) -> float:
    """The median time between polls of the healthy bus (s)."""
    seen, last, moment = [], place.slave.registers[0], time.monotonic()
    while len(seen) < polls:
        if place.slave.registers[0] != last:
            now = time.monotonic()
            seen.append((now - moment) / (place.slave.registers[0] - last))
            last, moment = place.slave.registers[0], now
        time.sleep(0.001)
    return statistics.median(seen[1:])


def _wrong(place: Village) -> list[Any]:
    """Values that belong to another register than the one they were read from."""
    wrong = []
    for name, unit in (("one", 1), ("two", 2)):
        for register in _REGISTERS:
            right = {unit * 1000 + register, None}
            wrong += [(name, register, value) for value in place.collected(f"{name}.r{register}") - right]
    return wrong


def hung(folder: Path, times: int) -> Verdict:
    """The agent stands still: the watchdog kills it, the stop action makes the outputs safe, all within 30 s."""
    slowest = 0.0
    with village(folder) as place:
        manager = Manager(place.site)
        try:
            for _ in range(times):
                place.site.start()
                wait_for(lambda: place.site.quality("m.fixed") == "good")
                wait_for(lambda: place.site.order("lamp", True)[0] == "verified", 20)
                place.site.process.send_signal(signal.SIGSTOP)
                began = time.monotonic()
                manager.watch(20)  # WatchdogSec
                place.kills += 1
                wait_for(lambda: not place.slave.coils[0], 5, "the safe state")
                slowest = max(slowest, time.monotonic() - began)
            place.site.start()
            place.polls(5)
            place.settle()
            found = place.verdict(**{"safe after s": round(slowest, 1)})
            found.must(slowest <= 30, f"outputs were safe only after {slowest:.0f} s")
            return found
        finally:
            manager.close()
