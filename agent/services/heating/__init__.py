"""Heating: zones, boilers, hot water."""
