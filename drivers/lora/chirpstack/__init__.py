"""ChirpStack v4 over its MQTT integration (README.md)."""

from drivers.lora.chirpstack.bus import ChirpStack

__all__ = ["ChirpStack"]
