"""Whether the broker that carries this lets us in, for `bocage check --bus`."""

from __future__ import annotations

import logging

from agent.clock import Clock
from drivers.api import BusSpec
from drivers.bocage_site.messages import LARGEST, topics
from drivers.broker_link import first_message

__all__ = ["probe"]

log = logging.getLogger("bocage.sites")


async def probe(spec: BusSpec, clock: Clock, seconds: float = 11.0) -> str:
    """Listen at the broker on the LAN for what the other site tells; the uplink is the running agent's."""
    options = spec.options
    if not options.get("url"):
        return f"{options['site']} is reached by the uplink alone: `bocage watch` shows what comes by it"
    told = topics(options["prefix"], options["site"], options["own"])[0]
    peer = "broker of the site's own network"
    broker, message = await first_message(options, told, LARGEST, clock, log, peer, seconds)
    if message is None:
        return f"connected to {broker}; {options['site']} told nothing in {seconds:.0f} s"
    return f"connected to {broker}; heard {options['site']}"
