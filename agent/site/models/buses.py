"""Buses: the wires and radios that devices hang on. Their models are those of the drivers that are installed."""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from agent.site.models.bus import BusModel, DeviceOptions
from drivers.registry import PLANNED, built_in, find, installed, load

if TYPE_CHECKING:
    from agent.site.models.devices import Device

__all__ = ["DEVICE_OPTIONS", "Bus", "PluginBus"]

log = logging.getLogger("bocage.site")


def _models() -> dict[str, type[BusModel]]:
    """The model of each type of bus. Another distribution's driver whose model cannot be used has none."""
    found = {name: load(driver.config) for name, driver in built_in().items()}
    for name, driver in installed().items():
        if driver.config and name not in found:
            try:
                found[name] = _fitting(load(driver.config), found.values())
            except Exception as error:  # noqa: BLE001  another distribution's code: it costs its own buses only
                log.error('driver has no model type=%s from=%s reason="%s"', name, driver.config, error)
    return found


def _fitting(model: type[BusModel], others: Iterable[type[BusModel]]) -> type[BusModel]:
    """A model whose keys of devices are no other driver's; ValueError else: all devices share one model."""
    taken = {key: one for other in others for one in other.device_options for key in one.model_fields}
    for options in model.device_options:
        for key in options.model_fields:
            if taken.get(key, options) is not options:
                raise ValueError(f'"{key}" is a key of other devices already')
    return model


_MODELS = _models()
DEVICE_OPTIONS: tuple[type[DeviceOptions], ...] = tuple(
    sorted(
        dict.fromkeys(options for model in _MODELS.values() for options in model.device_options),
        key=lambda options: not options.in_address,
    )
)
"""The keys that drivers need on devices."""


class PluginBus(BusModel):
    """A bus of a driver that is installed apart (entry points `bocage.drivers`); its keys are its own."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(_MODELS)}})]

    device_options = DEVICE_OPTIONS

    def options(self, device: Device) -> dict[str, Any]:
        told = {"stale_after": device.stale_after, "interval": device.interval}
        others = (key for options in DEVICE_OPTIONS if not options.in_address for key in options.model_fields)
        return told | {key: value for key in others if (value := getattr(device, key))}


def _tag(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(found, str) or found in _MODELS:
        return found if isinstance(found, str) else None
    return "plugin" if find(found) is not None else found


def _planned(value: Any) -> Any:
    found = value.get("type") if isinstance(value, dict) else None
    if isinstance(found, str) and found in PLANNED and find(found) is None:
        text = f'"{found}" has no driver yet; take this bus and its devices out until a version has one'
        raise PydanticCustomError("written", "{text}", {"text": text, "at": "type"})
    return value


if TYPE_CHECKING:
    Bus = BusModel
else:
    _TAGGED = [Annotated[model, Tag(name)] for name, model in (*_MODELS.items(), ("plugin", PluginBus))]
    Bus = Annotated[functools.reduce(operator.or_, _TAGGED), Discriminator(_tag), BeforeValidator(_planned)]
