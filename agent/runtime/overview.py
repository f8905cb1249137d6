"""The running agent's status document, its health message, and the gateway's conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agent import VERSION
from agent.core.alarms import GatewayCondition
from agent.lib.timetext import site_text
from agent.model import LinkState
from agent.runtime.health import Health
from agent.runtime.parts import Parts
from agent.runtime.status import bus_health, conditions, one_line, present_points

__all__ = ["Overview"]


class Overview:
    """Describes the parts. `log_lines` are the last lines of the log, `lag` gives the loop's lag in seconds."""

    def __init__(self, parts: Parts, log_lines: Iterable[str], lag: Callable[[], float]) -> None:
        self._parts, self._log_lines, self._lag = parts, log_lines, lag
        self._health = Health(parts.configuration.state)

    def status(self) -> dict[str, Any]:
        """The whole agent in one document: `bocage watch` draws it."""
        parts, settings, now = self._parts, self._parts.settings, self._parts.clock.now()
        return {
            "site": {"id": settings.site, "name": settings.name, "timezone": settings.timezone},
            "agent": VERSION,
            "config": parts.configuration.status(),
            "at": site_text(now.wall_ms, settings.timezone),
            "uptime_s": round(parts.clock.monotonic() - parts.started, 1),
            "clock": "synced" if parts.clock.trusted else "unsynced",
            "points": present_points(parts.hub, now),
            "actuators": parts.arbiter.status(),
            "alarms": parts.open_alarms.status(self.conditions(), parts.engine.latched()),
            "uplink": parts.uplink.status() if parts.uplink is not None else {"state": LinkState.OFF},
            "outbox": {**parts.outbox.status(), "published": parts.hub.published},
            "buses": [*parts.buses.status(), *settings.idle_buses],
            "log": list(self._log_lines),
        }

    def line(self) -> str:
        """One line for the service manager (`systemctl status`)."""
        parts = self._parts
        link = parts.uplink.status()["state"] if parts.uplink is not None else LinkState.OFF
        line = one_line(parts.buses.status(), link, parts.outbox.status())
        return "; ".join(filter(None, (parts.configuration.line(), line)))

    def conditions(self) -> Iterator[GatewayCondition]:
        """The conditions of the gateway that may be alarms."""
        parts = self._parts
        fault = parts.outbox.fault or parts.state.fault or parts.unkept
        yield from conditions(fault, parts.outbox.was_written, parts.clock.trusted, parts.buses.status(), parts.uplink)
        yield from parts.configuration.conditions()
        yield from parts.orphans.conditions()
        yield from parts.crashes.conditions()

    def health(self) -> dict[str, Any]:
        """The health message of a site with an uplink."""
        parts = self._parts
        link, waiting = parts.uplink.status(), parts.outbox.status()
        return {
            "t": parts.clock.now().wall_ms,
            "uptime_s": round(parts.clock.monotonic() - parts.started),
            **self._health.sample(),
            "loop_lag_ms": round(self._lag() * 1000, 1),
            "buses": {bus["name"]: bus_health(bus) for bus in parts.buses.status()},
            "uplink_latency_ms": link["latency_ms"],
            "outbox": waiting["rows"],
            "hours_left": waiting["hours_left"],
        }
