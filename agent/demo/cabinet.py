"""The agent as the demo runs it: the ordinary command line, on a GPIO chip that is only pretended.

    python -m agent.demo.cabinet run demo/site.yaml --state-dir demo/state

gpiozero's mock factory takes the place of the chip. Pin 17 is the reed contact of the fountain's water meter: it
pulses while the valve on pin 22 is open. Schedules and timers of the controls run at the pace of the village; wires,
link and limits of outputs keep to the time of the world. The process dies with its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from agent.cli import main
from agent.control.civil import Pace
from agent.control.engine import Runner
from agent.services.lighting import lamps

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


def hurry(pace: Pace) -> None:
    """Let the controls live at this pace. What a wire is slow to tell is minutes then, and no fault of the lamps."""
    Runner.pace = pace
    lamps.HOLD.update({code: max(seconds, ANSWER * pace.speed) for code, seconds in lamps.HOLD.items() if seconds})


if __name__ == "__main__":
    die_with(int(os.environ.get("BOCAGE_DEMO_PARENT", os.getppid())))
    hurry(Pace(*map(float, os.environ.get("BOCAGE_DEMO_PACE", "1 0").split())))
    Device.pin_factory = MockFactory()
    threading.Thread(target=flow, args=(Device.pin_factory, Runner.pace.speed), daemon=True).start()
    sys.exit(main())
