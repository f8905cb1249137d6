"""The agent as the demo runs it: in a hurry, on a simulated GPIO chip.

    python -m agent.demo.cabinet demo/site.yaml demo/state /run/demo 600 0

The arguments are the site file, the state folder, the runtime folder, and the pace: its speed, and the moment
(monotonic seconds) from which on it applies.

gpiozero's mock factory takes the place of the chip. Pin 17 is the reed contact of the fountain's water meter: it
pulses while the valve on pin 22 is open. With a sixth argument, `wired`, the pins are another site's, and move as lines
of the standard input say: `17 on`, `17 off`, or `17 8.5`, which are pulses a second from now on.

Schedules and timers of the controls run at the pace of the village; wires, link and limits of outputs keep to the time
of the world. The process dies with its parent.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from agent.app import Agent
from agent.control.api import Control
from agent.control.civil import Pace
from agent.errors import BocageError
from agent.runtime.configuration import Configuration
from agent.runtime.logs import log_in_zone, log_to_stderr
from agent.runtime.parts import Adapt
from agent.services.lighting.control import Circuit
from agent.settings import Settings, SettingsReader

__all__: list[str] = []

METER, VALVE = 17, 22
CLOSED = 0.05  # seconds that the contact stays closed
RUNNING = 120.0  # seconds from pulse to pulse: 300 L/h
BOUNCE = 0.008  # seconds that a hurried contact stays closed, and open, at the least
ANSWER = 3.0  # seconds after which a meter and a contact have surely told what an output did
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent goes, whatever way it goes."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)  # it went before we could ask


def flow(chip: MockFactory, speed: float) -> None:
    """The water meter, for ever."""
    pause = threading.Event()
    meter, valve = chip.pin(METER), chip.pin(VALVE)
    while True:
        pause.wait(RUNNING / speed - CLOSED)
        if meter.function == "input" and valve.function == "output" and valve.state:
            meter.drive_low()
            pause.wait(CLOSED)
            meter.drive_high()


class Reed:
    """A contact at a pin: on, off, or so many pulses a second."""

    def __init__(self, pin: Any) -> None:
        self._pin, self._rate, self._news = pin, 0.0, threading.Event()
        threading.Thread(target=self._pulse, daemon=True).start()

    def put(self, what: str) -> None:
        if what in ("on", "off"):
            self._rate = 0.0
            self._close(what == "on")
        else:
            self._rate = min(float(what), 1 / (4 * BOUNCE))
            self._news.set()

    def _close(self, closed: bool) -> None:
        if self._pin.function == "input":
            (self._pin.drive_low if closed else self._pin.drive_high)()

    def _pulse(self) -> None:
        pause, phase, last = threading.Event(), 0.0, time.monotonic()
        while True:
            rate = self._rate
            self._news.wait(max(0.0, 1 - phase) / rate if rate else None)
            self._news.clear()
            before, last = last, time.monotonic()
            phase += rate * (last - before)
            if phase >= 1:
                phase = min(phase - 1, 1.0)
                self._close(True)
                pause.wait(BOUNCE)
                self._close(False)
                pause.wait(BOUNCE)


def wires(chip: MockFactory) -> None:
    """Move the pins as the standard input says, for ever."""
    reeds: dict[int, Reed] = {}
    for line in sys.stdin:
        pin, what = line.split()
        reeds.setdefault(int(pin), Reed(chip.pin(int(pin)))).put(what)


def hurried(settings: Settings, speed: float) -> Settings:
    """Let pumps of one group start as soon after each other as the village's time has it."""
    return replace(settings, actuators=tuple(replace(one, stagger=one.stagger / speed) for one in settings.actuators))


def patient(pace: Pace) -> Adapt:
    """Let circuits wait for slow buses at this pace: what takes seconds there takes minutes of the controls' time."""

    def adapt(control: Control[Any]) -> Control[Any]:
        return replace(control, least_hold=ANSWER * pace.speed) if isinstance(control, Circuit) else control

    return adapt if pace.speed != 1 else lambda control: control


def run(site: Path, state: Path, runtime: Path, pace: Pace, wired: bool = False) -> int:
    """Run the agent; returns its exit code."""
    log_to_stderr("info")
    configuration = Configuration.choose(site, SettingsReader(site), str(state))
    if wired:
        configuration.settings = hurried(configuration.settings, pace.speed)
    log_in_zone(configuration.settings.timezone)

    async def live() -> int:
        return await Agent(configuration, runtime, pace, patient(pace)).run()

    return asyncio.run(live())


def main(arguments: Sequence[str]) -> int:
    """Run the agent, and what moves its pins, until the parent ends."""
    die_with(int(os.environ.get("BOCAGE_DEMO_PARENT", os.getppid())))
    site, state, runtime = map(Path, arguments[:3])
    pace, wired = Pace(*map(float, arguments[3:5])), arguments[5:] == ["wired"]
    Device.pin_factory = chip = MockFactory()
    moved, more = (wires, ()) if wired else (flow, (pace.speed,))
    threading.Thread(target=moved, args=(chip, *more), daemon=True).start()
    try:
        return run(site, state, runtime, pace, wired)
    except BocageError as error:
        print(f"bocage: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
