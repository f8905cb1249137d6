"""Alarms on any point."""
