"""The drivers that there are: those of our own folders, and the entry points `bocage.drivers` of other distributions.

An entry point is named like the type of bus that it drives, and leads to a `Driver`. One that leads to a function
`open(spec, clock, memory)` is understood too: such a driver has no options that `check` knows.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, reduce
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from agent.clock import Clock
from agent.errors import BocageError
from drivers.api import BusSpec, Driver, DurableStore, Wire

__all__ = [
    "BUILT_IN", "PLANNED", "built_in", "fault", "find", "foreign", "is_driven", "is_foreign", "load", "loads",
    "look_again", "open_bus", "page", "said",
]  # fmt: skip

BUILT_IN = ("modbus", "gpio", "lora", "bocage_site")
"""The folders of this package that hold drivers, in the order of the reference. Each has a tuple `DRIVERS`."""
PLANNED = frozenset({"linky_tic", "mbus"})
"""Types that the site file took before there was a driver for them."""


@cache
def built_in() -> Mapping[str, Driver]:
    """Our own drivers by the type of their bus."""
    folders = map(_package, BUILT_IN)
    return {driver.type: driver for folder in folders for driver in folder.DRIVERS}


def find(bus_type: str) -> Driver | None:
    """The driver of a type of bus; None if there is none."""
    own = built_in().get(bus_type)
    if own is not None:
        return own
    found = _foreign(bus_type)
    return found[0] if found is not None else None


def foreign() -> Sequence[str]:
    """The types of bus that other distributions drive. Nothing of theirs is imported; ours keep their names."""
    return sorted({entry.name for entry in _entries()} - built_in().keys())


def is_foreign(bus_type: str) -> bool:
    """Whether another distribution drives this type of bus."""
    return bus_type not in built_in() and bool(_entries(name=bus_type))


def fault(bus_type: str) -> str:
    """Why another distribution's driver cannot be used, in words; "" if it can, as far as its imports show."""
    found = None if bus_type in built_in() else _foreign(bus_type)
    if found is None:
        return ""
    driver, why = found
    return why or (loads(driver.open)[1] if driver.open else "")


def page(bus_type: str) -> str:
    """The documentation of a type of bus: a URL, or the path of a file of its driver's folder; "" if there is none."""
    driver = find(bus_type)
    if driver is None or not driver.page or "://" in driver.page:
        return driver.page if driver is not None else ""
    return str(Path(_folder(bus_type)) / driver.page)


def is_driven(bus_type: str) -> bool:
    """Whether a bus of this type can be opened."""
    driver = find(bus_type)
    return driver is not None and bool(driver.open)


def open_bus(spec: BusSpec, clock: Clock, memory: DurableStore) -> Wire:
    """Make the driver of a bus; its port is opened by the first use.

    BocageError if there is none, or if it cannot be used: another distribution's code may fail in any way.
    """
    driver = find(spec.type)
    if driver is None or not driver.open:
        raise BocageError(f"no driver for buses of type {spec.type}")
    make, why = (None, spec.fault) if spec.fault else loads(driver.open)
    if make is None or why:
        raise BocageError(f"the driver of {spec.type} cannot be used: {why or fault(spec.type)}")
    for name in driver.loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        wire = make(spec, clock, memory)
    except BocageError:
        raise
    except (Exception, SystemExit) as error:
        raise BocageError(f"the driver of {spec.type} cannot make the bus: {said(error)}") from error
    return cast(Wire, wire)


def load(reference: str) -> Any:
    """The object of a text `module:name`; a name may be that of a method, `Class.open`."""
    module, _, name = reference.partition(":")
    return reduce(getattr, name.split("."), importlib.import_module(module))


def loads(reference: str) -> tuple[Any, str]:
    """The same for another distribution's code: the object and "", or None and why it cannot be had."""
    try:
        return load(reference), ""
    except (Exception, SystemExit) as error:  # noqa: BLE001  it costs its own buses only
        return None, f"{reference}: {said(error)}"


def look_again() -> None:
    """Forget which drivers of other distributions there are: they may have been repaired since."""
    importlib.invalidate_caches()
    _foreign.cache_clear()


@cache
def _foreign(bus_type: str) -> tuple[Driver, str] | None:
    """Another distribution's driver, and why it cannot be used, if its entry point shows that."""
    entry = next(iter(_entries(name=bus_type)), None)
    if entry is None:
        return None
    bare = Driver(type=bus_type, open=entry.value)
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  it costs its own buses only
        return bare, f"{entry.value}: {said(error)}"
    if isinstance(found, Driver):
        why = f"{entry.value}: profile is for the drivers of Bocage itself; leave it out" if found.profile else ""
        return replace(found, type=bus_type), why
    if not callable(found):
        return bare, f"{entry.value} is neither a Driver nor a function, but {type(found).__name__}"
    return replace(bare, open=f"{entry.module}:{entry.attr}"), ""


def _folder(bus_type: str) -> str:
    """Where the package is that describes the driver."""
    own = next((name for name in BUILT_IN if any(one.type == bus_type for one in _package(name).DRIVERS)), None)
    package = _package(own) if own is not None else importlib.import_module(_entries(name=bus_type)[0].module)
    return str(Path(package.__file__ or "").parent)


def _package(name: str) -> ModuleType:
    return importlib.import_module(f"drivers.{name}")


def said(error: BaseException) -> str:
    """An error of a driver in one line, with the innermost file and line of the driver's code."""
    first = next(iter(str(error).splitlines()), "")
    place = "" if isinstance(error, SyntaxError) else _place(error)  # a syntax error names its own
    return f"{type(error).__name__}: {first}".removesuffix(": ") + (f" ({place})" if place else "")


def _place(error: BaseException) -> str:
    """`folder/file.py:12`; "" if the error was not raised below the function that catches it."""
    place, step = "", error.__traceback__ and error.__traceback__.tb_next
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__"))
        if not f"{module}.".startswith((f"{__name__}.", "importlib.", "agent.core.")):
            file = Path(step.tb_frame.f_code.co_filename)
            place = f"{file.parent.name}/{file.name}:{step.tb_lineno}"
        step = step.tb_next
    return place


def _entries(name: str = "") -> tuple[Any, ...]:
    """Entry points of other distributions. importlib.metadata takes 2.6 MB: it is imported when one is asked for."""
    from importlib.metadata import entry_points

    found = entry_points(group="bocage.drivers")
    return tuple(found.select(name=name) if name else found)
