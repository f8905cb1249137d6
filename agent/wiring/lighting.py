"""Lighting of the site file as its controls and its plan want it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.config import Site
from agent.config import lighting as config
from agent.control.core import Control
from agent.control.night import Exceptional, Part, Programme, Switch
from agent.wiring.weeks import calendar

__all__ = ["controls", "programme"]

MIN_ON = 900.0
"""Seconds that a contactor of lamps stays on at least, where the site file says nothing."""


def controls(site: Site) -> list[Control[Any]]:
    """One control a circuit."""
    return []


def programme(site: Site, circuit: config.Circuit) -> Programme:
    """The hours of a circuit."""
    actuator = site.actuators[circuit.actuator]
    return Programme(
        calendar(site),
        site.site.latitude or 0.0,
        site.site.longitude or 0.0,
        _switch(circuit.switch_on),
        _switch(circuit.switch_off),
        cuts=_cuts(circuit.part_night_off),
        exceptions=tuple(
            Exceptional(one.name, one.from_, one.to, _cuts(one.part_night_off)) for one in circuit.exceptions
        ),
        levels=_levels(circuit.dimming),
        min_on=MIN_ON if actuator.min_on is None else actuator.min_on,
        start_delay=circuit.start_delay,
    )


def _switch(switch: config.Switch) -> Switch:
    return Switch(switch.event, switch.offset, switch.time)


def _cuts(cuts: Iterable[config.NightCut]) -> tuple[Part, ...]:
    return tuple(Part(cut.from_, cut.to, cut.days) for cut in cuts)


def _levels(dimming: config.Dimming | None) -> tuple[Part, ...]:
    return () if dimming is None else tuple(Part(one.from_, one.to, one.days, one.level) for one in dimming.levels)
