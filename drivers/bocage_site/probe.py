"""Whether the broker that carries this lets us in, for `bocage check --bus`."""

from __future__ import annotations

import asyncio
import logging
import secrets

from agent.clock import Clock
from agent.errors import WireError
from drivers.api import BusSpec
from drivers.bocage_site.messages import LARGEST, topics
from drivers.broker_link import Address, BrokerLink

__all__ = ["probe"]

log = logging.getLogger("bocage.sites")


async def probe(spec: BusSpec, clock: Clock, seconds: float = 11.0) -> str:
    """Listen at the broker on the LAN for what the other site tells; the uplink is the running agent's."""
    options = spec.options
    if not options.get("url"):
        return f"{options['site']} is reached by the uplink alone: `bocage watch` shows what comes by it"
    address = Address(options, f"bocage-check-{secrets.token_hex(4)}", LARGEST, keep=False)
    told = topics(options["prefix"], options["site"], options["own"])[0]
    link = BrokerLink("check", address, [told], clock, log, "broker of the site's own network")
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(seconds):
            await link.inbox.get()
    except TimeoutError:
        if not link.is_up:
            raise WireError(f"{address.name}: {link.error}") from None
        return f"connected to {address.name}; {options['site']} told nothing in {seconds:.0f} s"
    finally:
        running.cancel()
        await asyncio.wait({running})
    return f"connected to {address.name}; heard {options['site']}"
