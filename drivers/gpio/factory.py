"""gpiozero's way to the chip."""

from __future__ import annotations

import importlib
import os
from typing import Any

from agent.errors import WireError

__all__ = ["Errors", "pin_factory"]

Errors = tuple[type[BaseException], ...]


def pin_factory(gpiozero: Any) -> tuple[Any, bool, Errors]:
    """gpiozero's pin factory, whether we close it, and the errors that it raises. WireError if there is none.

    A factory that is already installed (tests, the demo) or that GPIOZERO_PIN_FACTORY names is taken as it is. Else it
    is lgpio or nothing: gpiozero's own fallbacks write registers directly, or need a daemon.
    """
    errors: Errors = (gpiozero.GPIOZeroError, ImportError, OSError, RuntimeError, ValueError)
    if gpiozero.Device.pin_factory is not None or "GPIOZERO_PIN_FACTORY" in os.environ:
        try:
            gpiozero.Device.ensure_pin_factory()
        except errors as error:
            raise WireError(f"GPIOZERO_PIN_FACTORY does not work: {error}") from error
        return gpiozero.Device.pin_factory, False, errors
    try:
        errors = _with_lgpio(errors)
        factory = importlib.import_module("gpiozero.pins.lgpio").LGPIOFactory()
    except (ImportError, AttributeError) as error:  # lgpio 0.0.0.2 on PyPI is an empty stub
        remedy = "sudo apt install python3-lgpio, then sudo make install; plain Debian has none: docs/install.md, GPIO"
        raise WireError(f"the GPIO library lgpio is missing: {remedy} ({error})") from error
    except errors as error:
        raise WireError(f"no GPIO chip on this machine, or no right to it (group gpio): {error}") from error
    return factory, True, errors


def _with_lgpio(errors: Errors) -> Errors:
    """lgpio's own exception derives from nothing but Exception."""
    lgpio_error: type[Exception] = importlib.import_module("lgpio").error
    return (*errors, lgpio_error)
