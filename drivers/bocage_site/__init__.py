"""Another site as a bus: its points, and wishes for its outputs (README.md)."""

from __future__ import annotations

from drivers.api import Driver

__all__ = ["DRIVERS"]

DRIVERS = (
    Driver(
        type="bocage_site",
        open="drivers.bocage_site.bus:SiteBus",
        config="drivers.bocage_site.config:BocageSite",
        page="README.md",
        probe="drivers.bocage_site.probe:probe",
        address={"site": "site"},
    ),
)
