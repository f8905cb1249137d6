"""The drivers that there are: those of our own folders, and the entry points `bocage.drivers` of other distributions.

An entry point is named like the type of bus that it drives, and leads to a `Driver`. One that leads to a function
`open(spec, clock, memory)` is understood too: such a driver has no options that `check` knows.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, reduce
from typing import Any, cast

from agent.clock import Clock
from agent.errors import BocageError
from drivers.api import BusSpec, Driver, DurableStore, Wire

__all__ = ["BUILT_IN", "PLANNED", "built_in", "find", "installed", "is_driven", "load", "open_bus"]

log = logging.getLogger("bocage.drivers")

BUILT_IN = ("modbus", "gpio", "lora")
"""The folders of this package that hold drivers, in the order of the reference. Each has a tuple `DRIVERS`."""
PLANNED = frozenset({"linky_tic", "mbus"})
"""Types that the site file took before there was a driver for them."""


@cache
def built_in() -> Mapping[str, Driver]:
    """Our own drivers by the type of their bus."""
    folders = (importlib.import_module(f"drivers.{name}") for name in BUILT_IN)
    return {driver.type: driver for folder in folders for driver in folder.DRIVERS}


@cache
def find(bus_type: str) -> Driver | None:
    """The driver of a type of bus; None if there is none."""
    return built_in().get(bus_type) or next((_driver(entry) for entry in _entries(name=bus_type)), None)


@cache
def installed() -> Mapping[str, Driver]:
    """Every driver on this machine; our own come first, and keep their names."""
    return {entry.name: _driver(entry) for entry in _entries()} | {**built_in()}


def is_driven(bus_type: str) -> bool:
    """Whether a bus of this type can be opened."""
    driver = find(bus_type)
    return driver is not None and bool(driver.open)


def open_bus(spec: BusSpec, clock: Clock, memory: DurableStore) -> Wire:
    """Make the driver of a bus; its port is opened by the first use. BocageError if there is none."""
    driver = find(spec.type)
    if driver is None or not driver.open:
        raise BocageError(f"no driver for buses of type {spec.type}")
    try:
        make = load(driver.open)
    except Exception as error:
        raise BocageError(f"the driver of buses of type {spec.type} cannot be loaded: {error}") from error
    return cast(Wire, make(spec, clock, memory))


def load(reference: str) -> Any:
    """The object of a text `module:name`; a name may be that of a method, `Class.open`."""
    module, _, name = reference.partition(":")
    return reduce(getattr, name.split("."), importlib.import_module(module))


def _driver(entry: Any) -> Driver:
    try:
        found = entry.load()
    except Exception as error:  # noqa: BLE001  another distribution's code: it costs its own buses only
        log.error('driver cannot be loaded type=%s from=%s reason="%s"', entry.name, entry.value, error)
        return Driver(type=entry.name, open=entry.value)
    if isinstance(found, Driver):
        return replace(found, type=entry.name)
    return Driver(type=entry.name, open=f"{entry.module}:{entry.attr}")


def _entries(name: str = "") -> tuple[Any, ...]:
    """Entry points of other distributions. importlib.metadata takes 2.6 MB: it is imported when one is asked for."""
    from importlib.metadata import entry_points

    found = entry_points(group="bocage.drivers")
    return tuple(found.select(name=name) if name else found)
