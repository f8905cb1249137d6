"""A driver to copy: a data logger that answers one line of text for each channel (README.md)."""

from __future__ import annotations

from drivers.api import Driver, Scan

__all__ = ["DRIVERS"]

_CHANNELS = range(16)

DRIVERS = (
    Driver(
        type="blueprint",
        open="drivers._blueprint.logger:Logger",
        config="drivers._blueprint.config:Blueprint",
        page="README.md",
        diagnose="drivers._blueprint.logger:diagnose",
        address={"channel": "channel"},
        scan=Scan(ids=_CHANNELS, allowed=_CHANNELS, refusal="has channels 0 to 15; {id} is not one of them"),
    ),
)
