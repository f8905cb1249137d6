"""Buses: lines, chips and radios with devices. Their models are those of the drivers that a file uses."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model
from pydantic_core import PydanticCustomError

from agent.model import Kind
from agent.site.models.bus import BusModel, DeviceOptions, profile_point
from agent.site.profiles.kinds import KINDS
from drivers.registry import PLANNED, built_in, fault, find, load, loads, said

if TYPE_CHECKING:
    from agent.site.models.devices import Device

__all__ = ["BUILT_IN", "Bus", "BusTypes", "PluginBus", "bus_types"]


_RULES = (
    "check", "check_device", "check_devices", "check_output", "check_refresh", "check_pin", "needs", "points", "load",
    "address", "options",
)  # fmt: skip
"""The methods of a bus that `check` and the translation of the file call."""


class BusTypes(NamedTuple):
    """The types of buses that a file may have."""

    bus: Any
    """The union of their models."""
    device_options: tuple[type[DeviceOptions], ...]
    """The keys that drivers need on devices."""
    faults: Mapping[str, str]
    """The types whose driver, of another distribution, cannot be used, and why. A rule that fails adds its own."""
    foreign: bool = False
    """Whether there are other distributions' among them."""


class PluginBus(BusModel):
    """A bus of a driver that is installed apart (entry points `bocage.drivers`); its keys are its own."""

    model_config = ConfigDict(extra="allow")

    type: str

    def options(self, device: Device) -> dict[str, Any]:
        told = {"stale_after": device.stale_after, "interval": device.interval}
        ours = BUILT_IN.device_options
        others = (key for options in ours if not options.in_address for key in options.model_fields)
        return told | {key: value for key in others if (value := getattr(device, key))}


def bus_types(foreign: Iterable[str] = ()) -> BusTypes:
    """Our own types of bus, and those that are named, of other distributions' drivers, which are imported for it."""
    models: dict[str, type[BusModel]] = {name: load(driver.config) for name, driver in built_in().items()}
    faults: dict[str, str] = {}
    for name in foreign:
        model, why = _model(name, models.values())
        if why:
            faults[name] = why
        elif model is not None:
            models[name] = _guarded(model, name, faults)
    options = dict.fromkeys(options for model in models.values() for options in model.device_options)
    by_place = tuple(sorted(options, key=lambda one: not one.in_address))
    return BusTypes(_union(models), by_place, faults, len(models) > len(built_in()))


def _model(name: str, others: Iterable[type[BusModel]]) -> tuple[type[BusModel] | None, str]:
    """The model of another distribution's bus, None for a driver without one; and why the driver cannot be used."""
    driver = find(name)
    why = fault(name)
    if why or driver is None or not driver.config:
        return None, why
    model, why = loads(driver.config)
    if not why and not (isinstance(model, type) and issubclass(model, BusModel)):
        why = f"{driver.config} is no BusModel"
    return (None, why) if why else (model, _no_kind(model) or _taken(model, others))


def _guarded(model: type[BusModel], name: str, faults: dict[str, str]) -> type[BusModel]:
    """The model of another distribution's bus, whose rules cost its own buses only when they fail."""

    def guarded(rule: str) -> Any:
        own, usual = getattr(model, rule), getattr(BusModel, rule)

        @functools.wraps(own)
        def call(*arguments: Any) -> Any:
            if name not in faults:
                try:
                    found = own(*arguments)
                    if _is_well_formed(rule, found, arguments):
                        return found
                    faults[name] = f"{model.__name__}.{rule} returns {found!r:.60}"
                except (Exception, SystemExit) as error:  # noqa: BLE001  it costs its own buses only
                    faults[name] = f"{model.__name__}.{rule}: {said(error)}"
            return usual(*arguments)

        return call

    rules = {rule: guarded(rule) for rule in _RULES}
    return type(model.__name__, (model,), {"__module__": model.__module__, "__doc__": model.__doc__, **rules})


def _is_well_formed(rule: str, found: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a rule of another distribution's model returns what `BusModel` says."""
    if rule in ("address", "options"):
        return isinstance(found, dict) and all(isinstance(key, str) for key in found)
    if rule == "load":
        return found is None or (isinstance(found, int | float) and not isinstance(found, bool))
    if rule == "needs":
        _, at, device = arguments
        return isinstance(found, list | tuple | set | frozenset) and all(
            isinstance(key, str) and hasattr(at.site.devices[device], key) for key in found
        )
    if rule == "points" and found is not None:
        return isinstance(found, dict) and all(map(_is_point, found, found.values()))
    return True


def _is_point(name: Any, point: Any) -> bool:
    """Whether this is the name of a point, and what `profile_point` makes."""
    if not isinstance(name, str) or not isinstance(point, dict) or profile_point().keys() - point.keys():
        return False
    limits = all(point[key] is None or isinstance(point[key], int | float) for key in ("low", "high"))
    return limits and isinstance(point["unit"], str) and point["kind"] in list(Kind)


def _no_kind(model: type[BusModel]) -> str:
    """The problem of the kind of profile that it names; "" if there is none."""
    if model.profile_kind and model.profile_kind not in KINDS:
        return f'profile_kind "{model.profile_kind}" is unknown; known are {", ".join(KINDS)}'
    return "needs_profile is set, and profile_kind is not" if model.needs_profile and not model.profile_kind else ""


def _taken(model: type[BusModel], others: Iterable[type[BusModel]]) -> str:
    """The key of its devices that is another driver's already, in words: all devices share one model."""
    taken = {key: one for other in others for one in other.device_options for key in one.model_fields}
    for options in model.device_options:
        for key in options.model_fields:
            if taken.get(key, options) is not options:
                return f'"{key}" is a key of other devices already'
    return ""


def _union(models: Mapping[str, type[BusModel]]) -> Any:
    other = Annotated[str, Field(json_schema_extra={"not": {"enum": list(models)}})]
    plugin = create_model("PluginBus", __base__=PluginBus, __doc__=PluginBus.__doc__, type=(other, ...))
    tagged = [Annotated[model, Tag(name)] for name, model in (*models.items(), ("plugin", plugin))]

    def tag(value: Any) -> str | None:
        found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        if not isinstance(found, str) or found in models:
            return found if isinstance(found, str) else None
        return "plugin" if find(found) is not None else found

    return Annotated[functools.reduce(operator.or_, tagged), Discriminator(tag), BeforeValidator(_planned)]


def _planned(value: Any) -> Any:
    found = value.get("type") if isinstance(value, dict) else None
    if isinstance(found, str) and found in PLANNED and find(found) is None:
        text = f'"{found}" has no driver yet; take this bus and its devices out until a version has one'
        raise PydanticCustomError("written", "{text}", {"text": text, "at": "type"})
    return value


BUILT_IN = bus_types()
"""Our own types of bus."""
if TYPE_CHECKING:
    Bus = BusModel
else:
    Bus = BUILT_IN.bus
