"""Profiles: register maps and payload maps as data."""
