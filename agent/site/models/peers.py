"""Peers: what other sites may ask for and read here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from agent.site.language.base import Many, Model, Reference
from agent.site.language.spellings import spell

__all__ = ["SITE_BUS", "Peer", "PeerConfig", "requests_of"]

SITE_BUS = "bocage_site"
"""The type of the bus that is made for a peer without one; of those in the file, `Bus.other_site` tells."""

spell({"pairs": "peers", "voisins": "peers", "autoriser": "allow", "lire": "read"})


class PeerConfig(Model):
    """Another site. A list alone is what it may ask for: well for `{allow: [well]}`."""

    allow: Many[Reference] = ()
    """The actuators for which it may wish a value, at priority 15; it reads them too."""
    read: Many[Reference] | None = None
    """The points, signals and actuators that it is told. Default: those that it asks to be told, but personal ones."""


def requests_of(site: str) -> str:
    """The name of the device whose points are the requests of another site: from-pompage."""
    return f"from-{site}"


def _allowed(value: Any) -> Any:
    return {"allow": value} if isinstance(value, list) else {} if value is None else value


Peer = Annotated[PeerConfig, BeforeValidator(_allowed, json_schema_input_type=PeerConfig | Many[Reference])]
"""As a mapping, or as the list of what may be asked for."""
