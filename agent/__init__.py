"""Bocage: the agent that keeps a village's lamps, valves and boilers going, with or without the link."""

VERSION = "0.1.0"
