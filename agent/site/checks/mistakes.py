"""Warnings for values that are valid and probably not meant: a host with its port in it, swapped coordinates, an
unknown unit.
"""

from __future__ import annotations

import re
import zoneinfo
from pathlib import Path

from agent.site.checks.brokers import is_address
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.units import is_known, unknown_unit
from agent.site.language.values import DURATION

__all__ = ["check_host", "check_place", "check_timeout", "check_unit"]

_NEAR, _FAR = 10.0, 20.0
"""Degrees from the place that a timezone is named after. Mainland France lies within 8 of Paris."""
_LONG = 10.0
"""Seconds: no device thinks so long about an answer."""
_PLACE = re.compile(r"([-+])(\d{2})(\d{2})(?:\d{2})?([-+])(\d{3})(\d{2})(?:\d{2})?$")


def check_host(at: Checked, name: str, host: str) -> None:
    """The host of a bus is a host alone, and its numbers are an address."""
    keys: Keys = ("buses", name, "host")
    alone, colon, port = host.rpartition(":")
    if is_address(host):
        return
    if colon and re.fullmatch("[0-9]{1,5}", port) and ":" not in alone:
        at.error(keys, f'the port has a key of its own; write "host: {alone}" and "port: {port}"')
    elif ":" in host:
        at.error(keys, f'"{host}" is not an address; write a name, or one such as 192.168.1.20')
    elif re.fullmatch(r"[0-9.]+", host):
        at.error(keys, f'"{host}" is not an address; write four numbers from 0 to 255, such as 192.168.1.20')


def check_timeout(at: Checked, name: str, timeout: float) -> None:
    """A device that is silent keeps all others of its bus waiting for as long; 500s is soon written for 500ms."""
    if timeout > _LONG:
        text = f"each request without an answer keeps {name} waiting for {DURATION.format(timeout)}"
        at.warn(("buses", name, "timeout"), text, f"write {DURATION.format(_LONG)} at most, such as 500ms")


def check_place(at: Checked) -> None:
    """Latitude and longitude that lie where their timezone is only the other way round."""
    info = at.site.site
    zone = _zone_place(info.timezone)
    if info.latitude is None or info.longitude is None or zone is None:
        return
    here, turned = (info.latitude, info.longitude), (info.longitude, info.latitude)
    if _away(here, zone) > _FAR and _away(turned, zone) <= _NEAR:
        at.error(
            ("site", "latitude"),
            f"latitude and longitude are the wrong way round for {info.timezone}",
            f"write latitude: {info.longitude:g}, longitude: {info.latitude:g}",
        )


def _away(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def _zone_place(timezone: str) -> tuple[float, float] | None:
    """Latitude and longitude of the place that a timezone is named after; None where the system does not tell."""
    for folder in zoneinfo.TZPATH:
        try:
            lines = Path(folder, "zone.tab").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for columns in (line.split("\t") for line in lines if not line.startswith("#")):
            match = _PLACE.match(columns[1]) if len(columns) > 2 and columns[2] == timezone else None
            if match is not None:
                latitude = int(match[2]) + int(match[3]) / 60
                longitude = int(match[5]) + int(match[6]) / 60
                return (latitude if match[1] == "+" else -latitude), (longitude if match[4] == "+" else -longitude)
        return None
    return None


def _is_told(at: Checked, unit: str) -> bool:
    told = f" in {unit}", f'unknown unit "{unit}"'
    return any(words in found.message for found in at.document.problems for words in told)


def check_unit(at: Checked, name: str) -> None:
    """A unit is only a name; an unknown one is seldom meant. Not where it was said that it is a wrong one."""
    unit = at.site.signals[name].unit
    if unit and not is_known(unit) and not _is_told(at, unit):
        at.warn(("signals", name, "unit"), *unknown_unit(unit))
