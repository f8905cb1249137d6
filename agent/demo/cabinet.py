"""The agent as the demo runs it: the ordinary command line, on a GPIO chip that is only pretended.

    python -m agent.demo.cabinet run demo/site.yaml --state-dir demo/state

gpiozero's mock factory takes the place of the chip. Pin 17 is the reed contact of the fountain's water meter: it
pulses while the valve on pin 22 is open, and drips now and then when it is not. The process dies with its parent.
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

__all__: list[str] = []

METER, VALVE = 17, 22
CLOSED = 0.05  # seconds that the contact stays closed
RUNNING, DRIPPING = 0.5, 5.0  # seconds from pulse to pulse
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent goes, whatever way it goes."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(0)  # it went before we could ask


def flow(chip: MockFactory) -> None:
    """The water meter, for ever."""
    pause = threading.Event()
    meter, valve = chip.pin(METER), chip.pin(VALVE)
    while True:
        is_open = valve.function == "output" and valve.state
        pause.wait((RUNNING if is_open else DRIPPING) - CLOSED)
        if meter.function == "input":
            meter.drive_low()
            pause.wait(CLOSED)
            meter.drive_high()


if __name__ == "__main__":
    die_with(int(os.environ.get("BOCAGE_DEMO_PARENT", os.getppid())))
    Device.pin_factory = MockFactory()
    threading.Thread(target=flow, args=(Device.pin_factory,), daemon=True).start()
    sys.exit(main())
