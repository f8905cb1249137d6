"""ChirpStack v4 over its MQTT integration (see docs/lora-chirpstack.md)."""

from drivers.lora.chirpstack.bus import ChirpStack

__all__ = ["ChirpStack"]
