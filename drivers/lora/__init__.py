"""LoRa, every way it reaches a site (see docs/codecs.md for the payloads)."""
