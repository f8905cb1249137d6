"""Bocage: the agent that keeps a village's lamps, valves and boilers going, with or without the link."""

VERSION = "0.1.0"
BUILT = "2026-11-28"
"""The day (UTC) of this version, set with it: no clock that shows an earlier one is right."""
