"""The agent as the demo runs it: in a hurry, on a simulated GPIO chip.

    python -m agent.demo.cabinet demo/site.yaml demo/state /run/demo 600 0

The arguments are the site file, the state folder, the runtime folder, and the pace: its speed, and the moment
(monotonic seconds) from which on it applies.

gpiozero's mock factory takes the place of the chip. Pin 17 is the reed contact of the fountain's water meter: it
pulses while the valve on pin 22 is open. Schedules and timers of the controls run at the pace of the village; wires,
link and limits of outputs keep to the time of the world. The process dies with its parent.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
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
from agent.settings import SettingsReader

__all__: list[str] = []

METER, VALVE = 17, 22
CLOSED = 0.05  # seconds that the contact stays closed
RUNNING = 120.0  # seconds from pulse to pulse: 300 L/h
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


def patient(pace: Pace) -> Adapt:
    """Let circuits wait for slow buses at this pace: what takes seconds there takes minutes of the controls' time."""

    def adapt(control: Control[Any]) -> Control[Any]:
        return replace(control, least_hold=ANSWER * pace.speed) if isinstance(control, Circuit) else control

    return adapt if pace.speed != 1 else lambda control: control


def run(site: Path, state: Path, runtime: Path, pace: Pace) -> int:
    """Run the agent; returns its exit code."""
    log_to_stderr("info")
    configuration = Configuration.choose(site, SettingsReader(site), str(state))
    log_in_zone(configuration.settings.timezone)

    async def live() -> int:
        return await Agent(configuration, runtime, pace, patient(pace)).run()

    return asyncio.run(live())


def main(arguments: Sequence[str]) -> int:
    """Run the agent, and the fountain's water meter, until the parent ends."""
    die_with(int(os.environ.get("BOCAGE_DEMO_PARENT", os.getppid())))
    site, state, runtime = map(Path, arguments[:3])
    pace = Pace(*map(float, arguments[3:]))
    Device.pin_factory = MockFactory()
    threading.Thread(target=flow, args=(Device.pin_factory, pace.speed), daemon=True).start()
    try:
        return run(site, state, runtime, pace)
    except BocageError as error:
        print(f"bocage: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
