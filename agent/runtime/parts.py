"""The parts of a running agent: made from the settings, and joined."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from agent import VERSION
from agent.arbiter import Arbiter, JoinedLedger
from agent.arbiter.actuator_store import rename
from agent.arbiter.authorization import Authorization
from agent.arbiter.orphans import Orphans
from agent.arbiter.point_commands import PointCommands
from agent.clock import SystemClock
from agent.control.api import Control
from agent.control.civil import Civil, Pace
from agent.control.engine import Engine
from agent.core.alarms import OpenAlarms
from agent.core.buses import Buses
from agent.core.hub import Hub
from agent.core.state import State
from agent.lib.machine import Machine
from agent.model import Event, Value
from agent.outbox import Outbox
from agent.runtime.calendars import Calendars
from agent.runtime.configuration import Configuration
from agent.runtime.crash_counter import CrashCounter
from agent.runtime.home import SiteHome
from agent.runtime.status import discreet, state_topics
from agent.settings import Settings
from agent.uplink.mail import Mail

__all__ = ["Adapt", "Parts"]

log = logging.getLogger("bocage.app")

Adapt = Callable[[Control[Any]], Control[Any]]
"""Returns a control as this agent runs it: the demo's are more patient with slow buses."""


class Parts:
    """All parts of one site. A reload replaces `settings`, `arbiter`, `engine` and `uplink`; the others stay.

    `runtime` is the folder in memory. The state folder belongs to this process already. Controls run at `pace`, each as
    `adapt` returns it.
    """

    def __init__(
        self, configuration: Configuration, clock: SystemClock, runtime: Path, pace: Pace, adapt: Adapt
    ) -> None:
        self.configuration, self.settings, self.clock = configuration, configuration.settings, clock
        self._pace, self._adapt = pace, adapt
        self.started = clock.monotonic()
        self.unkept = ""
        """Why the configuration could not be kept in the state folder; "" if it was."""
        self.state = State.open(configuration.state)
        clock.remember(self.state.scope("clock"))
        self.crashes = CrashCounter(self.state.scope("life"), clock)
        self.crashes.begin()
        self.outbox = self._open_outbox(runtime)
        self.open_alarms = OpenAlarms(self._put_event, self.state.scope("alarms"))
        self.buses = Buses(clock, self.state.scope("driver"))
        self._mail = Mail()
        self.buses.home = SiteHome(self._mail, self.buses, lambda: self.hub, lambda: self.settings)
        self.orphans = self._make_orphans()
        removed = self.orphans.buses_with_removed(self.settings.buses)
        self.buses.configure(removed.buses, removed.devices, removed.only)
        self.hub = self._make_hub()
        self.arbiter = self._make_arbiter(restore=not self.crashes.looping)
        civil = Civil(self.settings.timezone, clock, pace)
        beside = configuration.path.absolute().parent
        self.calendars = Calendars(configuration.state, beside, self.settings, civil.now, clock)
        self.engine = self._make_engine()
        self.take_commands()
        self._connect()
        self.uplink = self._make_uplink()

    # -- after a reload ----------------------------------------------------------------------------------------

    def take_up(self, settings: Settings) -> None:
        """Own the outputs of `settings` from now on. A renamed output keeps its state."""
        move = partial(rename, self.state.scope("arbiter"))
        self.orphans.take_up(settings.buses, settings.actuators, move)

    def keep_configuration(self) -> None:
        """Keep the configuration for the next start. If the disk refuses, `unkept` says why."""
        try:
            self.configuration.keep()
            self.unkept = ""
        except OSError as error:
            self.unkept = f"the configuration cannot be kept: {error.strerror or error}"
            log.error('configuration not kept reason="%s" next=tried each minute', self.unkept)

    def renew_control(self) -> None:
        """Replace the arbiter and the engine by new ones for the present settings."""
        self.arbiter = self._make_arbiter()
        self.engine = self._make_engine()
        self.engine.observe(list(self.hub.last.values()))

    def renew_uplink(self) -> None:
        """Replace the uplink by a new one for the present settings."""
        self.uplink = self._make_uplink()

    def take_commands(self) -> None:
        """Give the arbiter what it needs for commands under the present settings."""
        hub, settings = self.hub, self.settings
        point_commands = PointCommands(
            self.engine, self.open_alarms, hub, self.clock, self.orphans.forget, self.buses.forget_nonces
        )
        writable = frozenset(point.id for point in hub.points.values() if point.writable)
        authorization = Authorization(
            settings.allow, settings.outputs, hub.last, self.arbiter.present, writable, settings.personal
        )
        self.arbiter.take_commands(point_commands, authorization)

    # -- making ------------------------------------------------------------------------------------------------

    def _open_outbox(self, runtime: Path) -> Outbox:
        buffer = self.settings.buffer
        return Outbox.open(
            self.configuration.state,
            runtime,
            self.clock,
            window=buffer.window,
            days=buffer.days,
            audit_days=buffer.audit_days,
            max_bytes=buffer.max_bytes,
            machine=Machine.present(),
        )

    def _make_orphans(self) -> Orphans:
        outputs, buses = self.state.scope("outputs"), self.buses
        self.orphans = Orphans(outputs, buses.write_aside, self.open_alarms.put_event, self.clock, buses.write)
        for settings in (self.configuration.replaced, self.settings):
            if settings is not None:
                self.take_up(settings)
        return self.orphans

    def _make_hub(self) -> Hub:
        settings = self.settings
        return Hub(
            settings.points(self.buses.points),
            settings.signals,
            settings.policies,
            self.outbox.put,
            self.state.scope("hub"),
            self.clock,
        )

    def _make_arbiter(self, restore: bool = True) -> Arbiter:
        return Arbiter(
            self.settings.actuators,
            self.hub.points,
            self._write,
            self.buses.read,
            JoinedLedger(self.outbox, self.open_alarms, self._kept),
            self.state.scope("arbiter"),
            self.clock,
            restore=restore,
            handed=self.orphans.handed,
            why_down=self.buses.why_down,
        )

    def _make_engine(self) -> Engine:
        engine = Engine(
            map(self._adapt, self.settings.controls),
            self.settings.timezone,
            self.arbiter,
            self.open_alarms.put_event,
            self.state.scope("runner"),
            self.clock,
            self.open_alarms.raised(),
            self._pace,
        )
        engine.publish, engine.doubts = self.hub.publish, self.hub.doubts
        engine.take_calendars(dict(self.calendars.present))
        return engine

    def _connect(self) -> None:
        """Send readings from the buses to the hub, and from there to the present arbiter and engine."""
        self.buses.publish = self.hub.publish
        self.hub.replaced = lambda name, detail: self.engine.replaced(name, detail)
        self.hub.returned = lambda name, detail: self.engine.returned(name, detail)
        self.hub.watch(lambda readings: self.arbiter.observe(readings))
        self.hub.watch(lambda readings: self.engine.observe(readings))
        self.calendars.changed = lambda calendars: self.engine.take_calendars(calendars)

    def _make_uplink(self) -> Any:
        uplink = self.settings.uplink
        if uplink is None:
            log.warning("no uplink in the site file next=readings stay on the box")
            return None
        from agent.uplink.dialects.native import Native
        from agent.uplink.uplink import Uplink  # aiomqtt costs 0.1 s and 5 MB: only where there is a link

        return Uplink(
            uplink,
            Native(uplink.prefix, self.settings.site),
            self.outbox,
            lambda command: self.arbiter.submit(command),
            self.clock,
            agent=VERSION,
            config_hash=self.settings.config_hash,
            state=self._state_topics,
            config_problem=self.configuration.problem(),
            put_event=self.open_alarms.put_event,
            is_open=self.open_alarms.is_open,
            mail=self._mail,
        )

    # -- what parts call ---------------------------------------------------------------------------------------

    async def _write(self, point: str, value: Value, until: float | None = None) -> None:
        """Write for the arbiter: the output is on record as owned before it moves."""
        if point in self.hub.points:
            await self.orphans.claim(self.hub.points[point])
        await self.buses.write(point, value, until)

    def _kept(self, command: str) -> None:
        """Acknowledge a command to the broker: it is on flash that it was accepted."""
        if self.uplink is not None:
            self.uplink.kept(command)

    async def _put_event(self, event: Event) -> None:
        await self.outbox.put_event(discreet(event, self.settings.personal))

    def _state_topics(self) -> dict[str, dict[str, Any]]:
        return state_topics(self.hub, self.settings.personal, self.arbiter.status(), self.clock.now().wall_ms)
