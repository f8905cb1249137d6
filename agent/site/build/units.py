"""The unit of what a site file refers to."""

from __future__ import annotations

from agent.model import Point
from agent.site.models.site import Site

__all__ = ["own_points", "point_unit", "unit_of"]


def unit_of(site: Site, reference: str) -> str:
    """The unit of a signal, else its source's, but for a 4-20mA one, whose values are no current; that of a point of a
    device. Empty: it has none, or is not known."""
    signal = site.signals.get(reference)
    if signal is not None:
        return signal.unit or ("" if signal.signal is not None else unit_of(site, signal.from_))
    device, _, point = reference.partition(".")
    found = site.devices.get(device)
    profile = (found.profile_data if found is not None else None) or {}
    return str((profile.get("points", {}).get(point) or {}).get("unit") or "")


def point_unit(site: Site, reference: str) -> str:
    """The same, also of a point of a circuit, a water point, a zone …"""
    is_other = reference in site.signals or reference.partition(".")[0] in site.devices
    if is_other:
        return unit_of(site, reference)
    own = own_points(site).get(reference)
    return "" if own is None else own.unit


def own_points(site: Site) -> dict[str, Point]:
    """The points of circuits, water points, zones …, by id."""
    sections = [(service, section) for service, section in site.services() if not service.is_named]
    controls = (one for service, section in sections if section.model_fields_set
                for one in service.build.controls(site, section))  # fmt: skip
    return {point.id: point for one in controls for point in getattr(one, "points", ())}
