"""The three services: lighting, water, heating. Pure functions of values; nothing here reads a clock or a wire."""
