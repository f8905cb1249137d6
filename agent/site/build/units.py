"""The unit of what a site file refers to."""

from __future__ import annotations

from agent.site.models.site import Site

__all__ = ["own_units", "point_unit", "unit_of"]


def unit_of(site: Site, reference: str) -> str:
    """The unit of a signal, else its source's; that of a point of a device. Empty: it has none, or is not known."""
    signal = site.signals.get(reference)
    if signal is not None:
        return signal.unit or unit_of(site, signal.from_)
    device, _, point = reference.partition(".")
    found = site.devices.get(device)
    profile = (found.profile_data if found is not None else None) or {}
    return str((profile.get("points", {}).get(point) or {}).get("unit") or "")


def point_unit(site: Site, reference: str) -> str:
    """The same, also of a point of a circuit, a water point, a zone …"""
    is_other = reference in site.signals or reference.partition(".")[0] in site.devices
    return unit_of(site, reference) if is_other else own_units(site).get(reference, "")


def own_units(site: Site) -> dict[str, str]:
    """The points of circuits, water points, zones … and their units; empty for those that have none."""
    sections = [(service, section) for service, section in site.services() if not service.is_named]
    controls = (one for service, section in sections if section.model_fields_set
                for one in service.build.controls(site, section))  # fmt: skip
    return {point.id: point.unit for one in controls for point in getattr(one, "points", ())}
