"""Alarms of the site file as their controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.control.api import Control
from agent.control.conditions import During, Operand
from agent.model import Severity
from agent.services.alarms.config import AlarmConfig
from agent.services.alarms.control import PointAlarm
from agent.site.build.conditions import amount, condition, sources
from agent.site.build.units import point_unit
from agent.site.language.units import canonical
from agent.site.models.conditions import Amount
from agent.site.models.site import Site

__all__ = ["CO2_BAD", "CO2_HIGH", "controls", "info_name", "is_co2"]

CO2_HIGH, CO2_BAD = 800.0, 1500.0
"""ppm. Arrêté du 27 décembre 2022 on the direct measurement of CO2 in indoor air, article 4: below 800
the air of an occupied room is renewed well, and above it something is to be done; above 1500 it is renewed too little.
"""


def controls(site: Site, alarms: Mapping[str, AlarmConfig]) -> list[Control[Any]]:
    """Every alarm; two for CO2 without a limit."""
    found: list[Control[Any]] = []
    for name, alarm in alarms.items():
        if is_co2(site, name, alarm):
            high, bad = (alarm.model_copy(update={"above": Amount(limit)}) for limit in (CO2_HIGH, CO2_BAD))
            info = _alarm(site, info_name(name), high.model_copy(update={"severity": Severity.INFO.value}))
            found += [replace(info, points=()), _alarm(site, name, bad)]  # a sensor that is lost is told once
        else:
            found.append(_alarm(site, name, alarm))
    return found


def info_name(name: str) -> str:
    """The name of the second alarm of a CO2 sensor."""
    return f"{name}-info"


def is_co2(site: Site, name: str, alarm: AlarmConfig) -> bool:
    """Whether it leaves its limits to the decree: it looks at CO2, and compares with nothing."""
    return not alarm.comparisons and _looks_at_co2(site, name, alarm)


def _looks_at_co2(site: Site, name: str, alarm: AlarmConfig) -> bool:
    """Whether its point is in ppm and it, or the alarm, is called CO2: chlorine and CO are in ppm as well."""
    if alarm.point is None or canonical(point_unit(site, alarm.point)) != "ppm":
        return False
    signal = site.signals.get(alarm.point)
    return any("co2" in one.lower() for one in (name, alarm.point, signal.from_ if signal is not None else ""))


def _alarm(site: Site, name: str, alarm: AlarmConfig) -> PointAlarm:
    judged, gate = condition(site, alarm), alarm.when or alarm.while_
    points = sources(alarm)
    if gate is not None:
        judged = During(judged, condition(site, gate))
        points += sources(gate)
    unit = "" if alarm.point is None else point_unit(site, alarm.point)
    return PointAlarm(
        name, judged, _severity(site, name, alarm), _value(alarm), unit, _limit(site, alarm), alarm.text or "",
        tuple(dict.fromkeys(points)), alarm.sensor_fault,
    )  # fmt: skip


def _severity(site: Site, name: str, alarm: AlarmConfig) -> Severity:
    if alarm.severity is not None:
        return Severity(alarm.severity)
    is_low = alarm.above is not None and amount(site, alarm, alarm.above) < CO2_BAD
    return Severity.INFO if is_low and _looks_at_co2(site, name, alarm) else Severity.MAJOR


def _value(alarm: AlarmConfig) -> Operand | None:
    if alarm.actuator is not None:
        return Operand(alarm.actuator, output=True)
    return None if alarm.point is None else Operand(alarm.point)


def _limit(site: Site, alarm: AlarmConfig) -> float | None:
    """The number that it compares with, in the point's unit."""
    found = next((one for one in (alarm.above, alarm.below, alarm.still, alarm.falls, alarm.rises) if one), None)
    return None if found is None else amount(site, alarm, found)
