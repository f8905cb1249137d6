"""The running agent: its tasks from start to end, and what a changed site file changes in them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from agent import VERSION
from agent.clock import SystemClock
from agent.control.civil import REAL_TIME, Pace
from agent.core.alarms import Alarms
from agent.core.supervisor import Watchdog, supervise
from agent.errors import ConfigError, StorageError
from agent.lib.notify import Notifier
from agent.model import Event, Severity
from agent.runtime.configuration import Configuration
from agent.runtime.fingerprints import Fingerprints
from agent.runtime.folders import is_tmpfs, locked
from agent.runtime.logs import LogTail
from agent.runtime.overview import Overview
from agent.runtime.parts import Adapt, Parts
from agent.runtime.requests import Requests
from agent.runtime.socket import SocketServer
from agent.runtime.status import state_names
from agent.settings import Settings
from drivers.api import BusSpec

__all__ = ["Agent"]

log = logging.getLogger("bocage.app")

HEALTH_PERIOD, FIRST_HEALTH = 60.0, 5.0
"""Seconds between two health messages, and from the start to the first."""
OUTBOX_PATIENCE = 60.0
"""Seconds that a pass of the outbox may take: a worn SD card can sit on one write for that long."""
UPLINK = ""
"""The uplink among the buses, whose names are never empty."""


class Agent:
    """One running site: the tasks of its parts (`Parts`).

    `run` returns the exit code: 0 after SIGTERM, 70 when a core task failed. It raises Busy if the folders belong to
    another agent. `pace` and `adapt` are the demo's (`Parts`).
    """

    def __init__(
        self,
        configuration: Configuration,
        runtime: Path,
        pace: Pace = REAL_TIME,
        adapt: Adapt = lambda control: control,
    ) -> None:
        self._configuration, self._pace, self._adapt = configuration, pace, adapt
        self._state_folder, self._runtime_folder = configuration.state, runtime
        self._stop, self._reload = asyncio.Event(), asyncio.Event()
        self._log_tail = LogTail(configuration.settings.timezone)
        self._clock = SystemClock(configuration.settings.trust)
        self._notifier = Notifier()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._fingerprints = Fingerprints()
        self._verdicts: list[asyncio.Future[dict[str, Any]]] = []

    async def run(self) -> int:
        """Live until SIGTERM, SIGINT or the failure of a core task."""
        with locked(self._state_folder), locked(self._runtime_folder), self._logging(), self._signals():
            if not is_tmpfs(self._runtime_folder):
                log.warning("runtime folder is not on tmpfs folder=%s next=more flash writes", self._runtime_folder)
            self._assemble()
            self._parts.keep_configuration()
            code = 0
            try:
                async with asyncio.TaskGroup() as group:
                    await self._live(group)
            except* Exception as failures:
                code = 70
                for failure in failures.exceptions:
                    log.critical("core task failed, the agent ends next=restart by systemd", exc_info=failure)
            finally:
                await self._parts.outbox.close()
                self._parts.state.close()
            return code

    # -- making ------------------------------------------------------------------------------------------------

    def _assemble(self) -> None:
        parts = self._parts = Parts(self._configuration, self._clock, self._runtime_folder, self._pace, self._adapt)
        self._watchdog = Watchdog(self._clock, self._notifier)
        self._overview = Overview(parts, self._log_tail.lines, lambda: self._watchdog.lag)
        put_event, state = parts.open_alarms.put_event, parts.state.scope("alarms")
        self._alarms = Alarms(self._overview.conditions, put_event, state, self._clock)
        requests = Requests(parts, self._overview.status, self._reloaded)
        self._server = SocketServer(self._runtime_folder, requests.handlers, parts.settings.site)
        self._changed_secrets(parts.settings)
        self._say_unusable()

    # -- living ------------------------------------------------------------------------------------------------

    async def _live(self, group: asyncio.TaskGroup) -> None:
        await self._begin()
        self._start(group)
        async with self._server.listening():
            self._spawn(group, "watchdog", self._watchdog.run(self._overview.line))
            self._notifier.ready(self._overview.line())
            log.info("agent runs site=%s version=%s state=%s", self._parts.settings.site, VERSION, self._state_folder)
            await self._serve_signals(group)
            self._notifier.stopping("outputs go to their stop state")
        await self._wind_down()
        for task in self._tasks.values():
            task.cancel()

    async def _begin(self) -> None:
        """Report what the start has found."""
        for trouble in (*self._parts.state.troubles, *self._parts.outbox.troubles):
            log.error("storage trouble what=%r next=the agent goes on", trouble)
            await self._event("alarm", "store_corrupt", "gateway", Severity.MAJOR, what=trouble)
        self._say_not_driven()
        await self._forget_refused()

    def _start(self, group: asyncio.TaskGroup) -> None:
        """Start a task for each part, and watch over those that must show progress."""
        parts, watchdog = self._parts, self._watchdog
        self._spawn(group, "state", parts.state.run())
        self._spawn(group, "outbox", parts.outbox.run())
        watchdog.add("outbox", lambda: parts.outbox.progress() + OUTBOX_PATIENCE)
        self._spawn(group, "hub", parts.hub.run())
        watchdog.add("hub", parts.hub.due)
        for name in parts.buses.names:
            self._start_bus(group, name)
        self._start_arbiter(group)
        self._start_engine(group)
        self._start_uplink(group)
        self._spawn(group, "calendars", supervise("calendars", parts.calendars.run, self._clock))
        self._spawn(group, "orphans", parts.orphans.run())
        self._spawn(group, "crash counter", parts.crashes.run())
        self._spawn(group, "health", self._report_health())
        self._spawn(group, "alarms", self._alarms.run())

    async def _serve_signals(self, group: asyncio.TaskGroup) -> None:
        """Wait for the end; apply a changed file on every SIGHUP until then."""
        stopping = asyncio.create_task(self._stop.wait())
        while not stopping.done():
            reloading = asyncio.create_task(self._reload.wait())
            await asyncio.wait({stopping, reloading}, return_when=asyncio.FIRST_COMPLETED)
            reloading.cancel()
            if self._reload.is_set() and not self._stop.is_set():
                self._reload.clear()
                verdicts, self._verdicts = self._verdicts, []
                answer = await self._apply_file(group)
                for verdict in verdicts:
                    if not verdict.done():  # the client may have gone
                        verdict.set_result(answer)

    async def _reloaded(self) -> dict[str, Any]:
        """Ask for a reload, and return its verdict."""
        verdict: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._verdicts.append(verdict)
        self._reload.set()
        return await verdict

    async def _wind_down(self) -> None:
        """Bring outputs to their stop state while the buses are open, then send or store what waits."""
        parts = self._parts
        log.info("agent stops next=outputs go to their stop state")
        await self._stop_task("engine")
        await parts.engine.close()
        await self._stop_task("orphans")
        await asyncio.gather(parts.arbiter.stop(), parts.orphans.settle(again=True))
        parts.hub.flush()
        self._clock.keep()
        parts.crashes.end()
        try:
            parts.state.put("clean_stop", self._clock.boot, now=True)
        except StorageError as error:
            log.error('stop not noted reason="%s" next=outputs are made safe once more', error)
        for name in parts.buses.names:
            await self._stop_task(f"bus {name}")
        await parts.buses.close()
        if parts.uplink is not None:
            await parts.uplink.close()

    def _spawn(self, group: asyncio.TaskGroup, name: str, work: Any) -> None:
        self._tasks[name] = group.create_task(work, name=name)

    async def _stop_task(self, name: str) -> None:
        self._watchdog.remove(name)
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _start_bus(self, group: asyncio.TaskGroup, name: str) -> None:
        self._spawn(group, f"bus {name}", supervise(name, lambda: self._parts.buses.listen(name), self._clock))
        self._watchdog.add(f"bus {name}", lambda: self._parts.buses.due(name))

    def _start_arbiter(self, group: asyncio.TaskGroup) -> None:
        arbiter = self._parts.arbiter

        async def live() -> None:
            await asyncio.gather(arbiter.start(), self._parts.orphans.settle())
            self._parts.orphans.start_sending()
            self._parts.state.put("clean_stop", None)
            await arbiter.run()

        self._spawn(group, "arbiter", live())
        self._watchdog.add("arbiter", arbiter.due)

    async def _stop_arbiter(self) -> None:
        """No rule, no command and no retry writes an output from here on."""
        await self._stop_task("engine")
        await self._parts.engine.close()
        await self._stop_task("arbiter")
        await self._parts.arbiter.finish()

    def _start_engine(self, group: asyncio.TaskGroup) -> None:
        self._spawn(group, "engine", self._parts.engine.run())
        self._watchdog.add("engine", self._parts.engine.due)

    def _start_uplink(self, group: asyncio.TaskGroup) -> None:
        if self._parts.uplink is not None:
            self._spawn(group, "uplink", self._parts.uplink.run())
            self._watchdog.add("uplink", self._parts.uplink.due)

    # -- a changed file ----------------------------------------------------------------------------------------

    async def _apply_file(self, group: asyncio.TaskGroup) -> dict[str, Any]:
        """SIGHUP or `bocage reload`: apply what changed; a wrong file changes nothing and is reported.

        Returns the verdict: whether it was applied, what changed, and what is wrong.
        """
        try:
            new = await asyncio.to_thread(self._configuration.reread)
        except ConfigError as error:
            return await self._refused(error)
        parts, old = self._parts, self._parts.settings
        parts.settings = new
        parts.keep_configuration()  # first: after a crash from here on, outputs are made safe by the new one
        if not old.site:  # until now there was no file to go by
            self._clock.believe(new.trust)
        elif (new.site, new.buffer, new.trust) != (old.site, old.buffer, old.trust):
            log.warning("site id, clock or buffer changed next=they take effect at the next start")
        later = list(_left_for_the_start(old, new)) if old.site else []
        secrets = await asyncio.to_thread(self._changed_secrets, new)
        warnings = later + await asyncio.to_thread(self._say_unusable)
        changed = await self._apply_control(group, old, new, secrets)
        parts.take_commands()
        if new.uplink != old.uplink or UPLINK in secrets:
            await self._renew_uplink(group)
            changed.append("uplink")
        self._say_not_driven()
        await self._forget_refused()
        log.info("configuration applied changed=%s", ",".join(changed) or "nothing that runs")
        await self._event("config", "applied", "gateway", Severity.INFO, hash=new.config_hash, changed=changed)
        await self._tell_configuration()
        warnings += [f"bus {name} is down: {reason}" for name, reason in parts.buses.unusable.items()]
        return {"applied": True, "changed": changed, "problems": [], "warnings": warnings}

    async def _refused(self, error: ConfigError) -> dict[str, Any]:
        for problem in error.problems:
            log.error("configuration refused problem=%r next=the running one stays", problem)
        await self._event("config", "refused", "gateway", Severity.MINOR, problems=error.problems[:20])
        await self._tell_configuration()
        return {"applied": False, "changed": [], "problems": error.problems, "warnings": []}

    async def _apply_control(
        self, group: asyncio.TaskGroup, old: Settings, new: Settings, secrets: set[str]
    ) -> list[str]:
        """Apply changed buses, points, outputs and controls. Returns the names of what changed."""
        parts = self._parts
        again = (secrets - {UPLINK}) | parts.buses.unusable.keys()  # its driver may have been repaired
        is_other = (new.buses, new.actuators, new.controls, new.timezone, set()) != (
            old.buses, old.actuators, old.controls, old.timezone, again,
        )  # fmt: skip
        if is_other:
            await self._stop_arbiter()
            await parts.orphans.stop_sending()
            parts.take_up(new)
            await parts.orphans.settle()  # while the old buses are there
        changed = await self._apply_buses(group, new.buses, again) if is_other else []
        parts.hub.flush()  # what a counter's source has counted, which may be another from now on
        parts.hub.configure(new.points(parts.buses.points), new.signals, new.policies)
        parts.calendars.configure(new)
        if not new.has_calendars_of(old):
            changed.append("calendars")
        if is_other:
            parts.renew_control()
            self._start_arbiter(group)
            self._start_engine(group)
            changed.append("actuators")
        return changed

    async def _renew_uplink(self, group: asyncio.TaskGroup) -> None:
        if self._parts.uplink is not None:
            await self._parts.uplink.close()
        await self._stop_task("uplink")
        self._parts.renew_uplink()
        self._start_uplink(group)

    def _say_unusable(self) -> list[str]:
        """Log and return the secrets and certificates that cannot be used. An earlier one stays in use."""
        found = [str(problem) for problem in self._configuration.unusable()]
        for problem in found:
            log.warning("secret or certificate unusable problem=%r next=what was read last is used", problem)
        return found

    def _changed_secrets(self, settings: Settings) -> set[str]:
        """Return the buses, and UPLINK, whose passwords, keys or certificates changed since the last call."""
        users = {**settings.buses, UPLINK: settings.uplink}
        return {name for name, settings in users.items() if self._fingerprints.changed(name, settings)}

    async def _tell_configuration(self) -> None:
        """Report the configuration to the service manager and as an alarm now, to the broker when it can."""
        self._notifier.status(self._overview.line())
        await self._alarms.check()
        if self._parts.uplink is not None:
            self._parts.uplink.set_configuration(self._parts.settings.config_hash, self._configuration.problem())

    async def _apply_buses(self, group: asyncio.TaskGroup, buses: Mapping[str, BusSpec], again: Set[str]) -> list[str]:
        """Stop the buses that are gone or differ, be it by a removed node, or are made `again`, and start the new ones.

        An unchanged bus is not touched. Returns the names of the others.
        """
        removed, old = self._parts.orphans.buses_with_removed(buses), self._parts.buses.specs
        new = removed.buses
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name) or name in again]
        for name in changed:
            await self._stop_task(f"bus {name}")
        await self._parts.buses.reconfigure(new, changed, removed.devices, removed.only)
        for name in changed:
            if name in self._parts.buses.names:
                self._start_bus(group, name)
        return changed

    # -- what is told ------------------------------------------------------------------------------------------

    async def _forget_refused(self) -> None:
        """Clear the alarm of a refused state topic that is not published any more, as of a removed device."""
        names = state_names(self._parts.hub, self._parts.settings.personal, bool(self._parts.settings.actuators))
        for alarm in self._parts.open_alarms.status():
            topic = alarm["subject"]
            if alarm["code"] != "uplink_refused" or (self._parts.uplink is not None and "/state/" not in topic):
                continue  # the others are sent on at each connection
            if self._parts.uplink is None or not self._parts.uplink.publishes_state(topic, names):
                await self._event("cleared", "uplink_refused", topic, Severity.INFO, reason="it is not told any more")

    def _say_not_driven(self) -> None:
        for what in self._parts.settings.not_driven:
            log.warning("not driven yet what=%s next=the rest of the site runs", what)

    async def _event(self, kind: str, code: str, subject: str, severity: Severity, **detail: Any) -> None:
        await self._parts.open_alarms.put_event(Event(kind, code, subject, self._clock.now(), severity, detail))

    async def _report_health(self) -> None:
        """Publish the gateway's health soon after the start and once a minute; try again to keep the configuration."""
        pause = FIRST_HEALTH
        while True:
            await asyncio.sleep(pause)
            pause = HEALTH_PERIOD
            if self._parts.unkept:
                self._parts.keep_configuration()
            if self._parts.uplink is not None:
                await self._parts.uplink.publish_health(self._overview.health())

    # -- surroundings ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Any:
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}
        for number, event in handlers.items():
            loop.add_signal_handler(number, event.set)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def _logging(self) -> Any:
        logging.getLogger("bocage").addHandler(self._log_tail)
        try:
            yield
        finally:
            logging.getLogger("bocage").removeHandler(self._log_tail)


def _left_for_the_start(old: Settings, new: Settings) -> Iterator[str]:
    """Say what a reload leaves as it is, a line each."""
    parts = {"site id": old.site != new.site, "clock": old.trust != new.trust, "buffer": old.buffer != new.buffer}
    for part, changed in parts.items():
        if changed:
            yield f"{part} changed: it takes effect at the next start"
