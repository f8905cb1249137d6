"""The unit of what a site file refers to."""

from __future__ import annotations

from agent.site.models.site import Site

__all__ = ["unit_of"]


def unit_of(site: Site, reference: str) -> str:
    """The unit of a signal, else its source's; that of a point of a device. Empty: it has none, or is not known."""
    signal = site.signals.get(reference)
    if signal is not None:
        return signal.unit or unit_of(site, signal.from_)
    device, _, point = reference.partition(".")
    found = site.devices.get(device)
    profile = (found.profile_data if found is not None else None) or {}
    return str((profile.get("points", {}).get(point) or {}).get("unit") or "")
