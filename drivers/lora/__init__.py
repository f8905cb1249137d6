"""LoRa, every way it reaches a site (see docs/codecs.md for the payloads).

Each way is a module of its own, imported only when a site has such a bus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.clock import Clock
from drivers.api import BusSpec, DurableStore

if TYPE_CHECKING:
    from drivers.lora.chirpstack import ChirpStack
    from drivers.lora.gwmp.bus import Gwmp
    from drivers.lora.line import LoraLine
    from drivers.lora.rak import RakP2p

__all__ = ["open_chirpstack", "open_gwmp", "open_line", "open_rak_p2p"]


def open_rak_p2p(spec: BusSpec, clock: Clock, memory: DurableStore) -> RakP2p:
    """A RAK3172 modem, point to point (docs/lora-modem.md)."""
    from drivers.lora.rak import RakP2p

    return RakP2p(spec, clock, memory)


def open_line(spec: BusSpec, clock: Clock, memory: DurableStore) -> LoraLine:
    """Any modem that prints a line for each packet (docs/lora-modem.md)."""
    from drivers.lora.line import LoraLine

    return LoraLine(spec, clock, memory)


def open_chirpstack(spec: BusSpec, clock: Clock, memory: DurableStore) -> ChirpStack:
    """A ChirpStack v4, over its MQTT integration (docs/lora-chirpstack.md)."""
    from drivers.lora.chirpstack import ChirpStack

    return ChirpStack(spec, clock, memory)


def open_gwmp(spec: BusSpec, clock: Clock, memory: DurableStore) -> Gwmp:
    """Gateways with the Semtech packet forwarder, and a network server of our own (docs/lora-gwmp.md)."""
    from drivers.lora.gwmp.bus import Gwmp

    return Gwmp(spec, clock, memory)
