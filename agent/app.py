"""The only place where objects are wired together: from a site file to a running agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from agent import VERSION
from agent.arbiter import Arbiter, JoinedLedger
from agent.arbiter.actuator_store import rename
from agent.arbiter.authorization import Authorization
from agent.arbiter.orphans import Orphans
from agent.arbiter.point_commands import PointCommands
from agent.clock import SystemClock
from agent.control.engine import Runner
from agent.core.alarms import Alarms, Condition, OpenAlarms
from agent.core.buses import Buses
from agent.core.hub import Hub
from agent.core.state import State
from agent.core.supervisor import Watchdog, supervise
from agent.core.trial import spec_of
from agent.errors import BocageError, ConfigError, StorageError
from agent.lib.machine import Machine
from agent.lib.notify import Notifier
from agent.lib.screen import ScreenFormatter
from agent.lib.secret import hand_over
from agent.lib.timetext import log_times_in, site_text
from agent.model import Command, Event, LinkState, Origin, Severity, Value
from agent.outbox import Outbox
from agent.runtime.configuration import Configuration
from agent.runtime.folders import is_tmpfs, locked
from agent.runtime.health import Health
from agent.runtime.lives import Life
from agent.runtime.report import outcome_json, points_json
from agent.runtime.seals import Seals
from agent.runtime.socket import Server
from agent.runtime.status import bus_health, conditions, discreet, one_line, present_points, state_names, state_topics
from agent.settings import Settings
from drivers.api import BusSpec

__all__ = ["Agent"]

log = logging.getLogger("bocage.app")

HEALTH_PERIOD, FIRST_HEALTH = 60.0, 5.0
OUTBOX_PATIENCE = 60.0
"""Seconds that a pass of the outbox may take: a worn SD card can sit on one write for that long."""
LOG_LINES = 50
UPLINK = ""
"""The uplink among the buses, whose names are never empty."""


class Agent:
    """One running site. `run` returns the exit code: 0 after SIGTERM, 70 when a core task failed.

    Raises Busy if the folders belong to another agent.
    """

    def __init__(self, configuration: Configuration, runtime: Path) -> None:
        self._configuration, self._settings = configuration, configuration.settings
        self._state_folder, self._runtime_folder = configuration.state, runtime
        self._stop, self._reload = asyncio.Event(), asyncio.Event()
        self._log_tail: deque[str] = deque(maxlen=LOG_LINES)
        self._clock = SystemClock(self._settings.trust)
        self._notifier = Notifier()
        self._started = self._clock.monotonic()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unkept: str | None = None
        self._seals = Seals()
        self._verdicts: list[asyncio.Future[dict[str, Any]]] = []

    async def run(self) -> int:
        """Live until SIGTERM, SIGINT or the failure of a core task."""
        with locked(self._state_folder), locked(self._runtime_folder), self._logging(), self._signals():
            if not is_tmpfs(self._runtime_folder):
                log.warning("runtime folder is not in memory folder=%s next=it wears the flash", self._runtime_folder)
            self._assemble()
            self._keep_configuration()
            code = 0
            try:
                async with asyncio.TaskGroup() as group:
                    await self._live(group)
            except* Exception as failures:
                code = 70
                for failure in failures.exceptions:
                    log.critical("core task failed, the agent ends next=restart by systemd", exc_info=failure)
            finally:
                await self._outbox.close()
                self._state.close()
            return code

    # -- making ------------------------------------------------------------------------------------------------

    def _assemble(self) -> None:
        settings, clock = self._settings, self._clock
        self._state = State.open(self._state_folder)
        clock.remember(self._state.scope("clock"))
        self._life = Life(self._state.scope("life"), clock)
        self._life.begin()
        buffer = settings.buffer
        self._outbox = Outbox.open(
            self._state_folder,
            self._runtime_folder,
            clock,
            window=buffer.window,
            days=buffer.days,
            audit_days=buffer.audit_days,
            max_bytes=buffer.max_bytes,
            machine=Machine.present(),
        )
        self._open_alarms = OpenAlarms(self._put_event, self._state.scope("alarms"))
        self._buses = Buses(clock, self._state.scope("driver"))
        self._orphans = Orphans(
            self._state.scope("outputs"), self._buses.write_aside, self._open_alarms.put_event, clock, self._buses.write
        )
        if (before := self._configuration.replaced) is not None:
            self._take_up(before)
        self._take_up(settings)
        guests = self._orphans.guests(settings.buses)
        self._buses.configure(guests.buses, guests.devices, guests.only)
        self._hub = Hub(
            settings.points(self._buses.points),
            settings.signals,
            settings.policies,
            self._outbox.put,
            self._state.scope("hub"),
            clock,
        )
        self._buses.publish = self._hub.publish
        self._arbiter = self._make_arbiter(restore=not self._life.looping)
        self._runner = self._make_runner()
        self._take_commands()
        self._hub.replaced = lambda name, detail: self._runner.replaced(name, detail)
        self._hub.returned = lambda name, detail: self._runner.returned(name, detail)
        self._hub.watch(lambda readings: self._arbiter.observe(readings))
        self._hub.watch(lambda readings: self._runner.observe(readings))
        self._uplink = self._make_uplink()
        self._health = Health(self._state_folder)
        self._alarms = Alarms(self._conditions, self._open_alarms.put_event, self._state.scope("alarms"), clock)
        self._watchdog = Watchdog(clock, self._notifier)
        self._changed_secrets(settings)
        self._say_unusable()
        self._server = Server(
            self._runtime_folder,
            {
                "status": self._on_status,
                "read": self._on_read,
                "write": self._on_write,
                "scan": self._on_scan,
                "inspect": self._on_inspect,
                "reload": self._on_reload,
                "try": self._on_try,
            },
            self._settings.site,
        )

    def _make_arbiter(self, restore: bool = True) -> Arbiter:
        return Arbiter(
            self._settings.actuators,
            self._hub.points,
            self._write,
            self._buses.read,
            JoinedLedger(self._outbox, self._open_alarms, self._kept),
            self._state.scope("arbiter"),
            self._clock,
            restore=restore,
            handed=self._orphans.handed,
        )

    def _take_commands(self) -> None:
        """Give the arbiter what it needs for commands under the present settings; called again after each reload."""
        hub, settings = self._hub, self._settings
        point_commands = PointCommands(
            self._runner, self._open_alarms, hub, self._clock, self._orphans.forget, self._buses.forget_nonces
        )
        writable = frozenset(point.id for point in hub.points.values() if point.writable)
        authorization = Authorization(settings.allow, settings.outputs, hub.last, self._arbiter.present, writable)
        self._arbiter.take_commands(point_commands, authorization)

    async def _write(self, point: str, value: Value, until: float | None = None) -> None:
        """Write an output for the arbiter. The output is owned before it moves."""
        if point in self._hub.points:
            await self._orphans.claim(self._hub.points[point])
        await self._buses.write(point, value, until)

    def _take_up(self, settings: Settings) -> None:
        """The outputs of `settings` are ours from now on; one that goes by another name keeps what is known of it."""
        move = partial(rename, self._state.scope("arbiter"))
        self._orphans.take_up(settings.buses, settings.actuators, move)

    def _make_runner(self) -> Runner:
        runner = Runner(
            self._settings.controls,
            self._settings.timezone,
            self._arbiter,
            self._open_alarms.put_event,
            self._state.scope("runner"),
            self._clock,
            self._open_alarms.raised(),
        )
        runner.publish, runner.doubts = self._hub.publish, self._hub.doubts
        return runner

    def _make_uplink(self) -> Any:
        uplink = self._settings.uplink
        if uplink is None:
            log.warning("no uplink in the site file next=readings stay on the box")
            return None
        from agent.uplink.native import Native
        from agent.uplink.uplink import Uplink  # aiomqtt costs 0.1 s and 5 MB: only where there is a link

        return Uplink(
            uplink,
            Native(uplink.prefix, self._settings.site),
            self._outbox,
            lambda command: self._arbiter.submit(command),
            self._clock,
            agent=VERSION,
            config_hash=self._settings.config_hash,
            state=self._state_topics,
            config_problem=self._configuration.problem(),
            put_event=self._open_alarms.put_event,
            is_open=self._open_alarms.is_open,
        )

    # -- living ------------------------------------------------------------------------------------------------

    async def _live(self, group: asyncio.TaskGroup) -> None:
        for trouble in (*self._state.troubles, *self._outbox.troubles):
            log.error("storage trouble what=%r next=the agent goes on", trouble)
            await self._event("alarm", "store_corrupt", "gateway", Severity.MAJOR, what=trouble)
        self._say_not_driven()
        await self._forget_refused()
        self._spawn(group, "state", self._state.run())
        self._spawn(group, "outbox", self._outbox.run())
        self._watchdog.add("outbox", lambda: self._outbox.progress() + OUTBOX_PATIENCE)
        self._spawn(group, "hub", self._hub.run())
        self._watchdog.add("hub", self._hub.due)
        for name in self._buses.names:
            self._start_wire(group, name)
        self._start_arbiter(group)
        self._start_runner(group)
        self._start_uplink(group)
        self._spawn(group, "orphans", self._orphans.run())
        self._spawn(group, "life", self._life.run())
        self._spawn(group, "health", self._report_health())
        self._spawn(group, "alarms", self._alarms.run())
        async with self._server.listening():
            self._spawn(group, "watchdog", self._watchdog.run(self._one_line))
            self._notifier.ready(self._one_line())
            log.info("agent runs site=%s version=%s state=%s", self._settings.site, VERSION, self._state_folder)
            await self._serve_signals(group)
            self._notifier.stopping("outputs go to their stop state")
        await self._wind_down()
        for task in self._tasks.values():
            task.cancel()

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
                    if not verdict.done():  # whoever asked may have gone
                        verdict.set_result(answer)

    async def _wind_down(self) -> None:
        """Outputs to their stop state while the wires are still there, then what is waiting goes out or to flash."""
        log.info("agent stops next=outputs go to their stop state")
        await self._stop_task("runner")
        await self._runner.close()
        await self._stop_task("orphans")
        await asyncio.gather(self._arbiter.stop(), self._orphans.settle(again=True))
        self._hub.flush()
        self._clock.keep()
        self._life.end()
        try:
            self._state.put("clean_stop", self._clock.boot, now=True)
        except StorageError as error:
            log.error('stop not noted reason="%s" next=outputs are made safe once more', error)
        for name in self._buses.names:
            await self._stop_task(f"bus {name}")
        await self._buses.close()
        if self._uplink is not None:
            await self._uplink.close()

    def _spawn(self, group: asyncio.TaskGroup, name: str, work: Any) -> None:
        self._tasks[name] = group.create_task(work, name=name)

    async def _stop_task(self, name: str) -> None:
        self._watchdog.remove(name)
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _start_wire(self, group: asyncio.TaskGroup, name: str) -> None:
        self._spawn(group, f"bus {name}", supervise(name, lambda: self._buses.listen(name), self._clock))
        self._watchdog.add(f"bus {name}", lambda: self._buses.due(name))

    def _start_arbiter(self, group: asyncio.TaskGroup) -> None:
        arbiter = self._arbiter

        async def live() -> None:
            await asyncio.gather(arbiter.start(), self._orphans.settle())
            self._orphans.start_sending()
            self._state.put("clean_stop", None)
            await arbiter.run()

        self._spawn(group, "arbiter", live())
        self._watchdog.add("arbiter", arbiter.due)

    async def _stop_arbiter(self) -> None:
        """No rule, no command and no retry writes an output from here on."""
        await self._stop_task("runner")
        await self._runner.close()
        await self._stop_task("arbiter")
        await self._arbiter.finish()

    def _start_runner(self, group: asyncio.TaskGroup) -> None:
        self._spawn(group, "runner", self._runner.run())
        self._watchdog.add("runner", self._runner.due)

    def _start_uplink(self, group: asyncio.TaskGroup) -> None:
        if self._uplink is not None:
            self._spawn(group, "uplink", self._uplink.run())
            self._watchdog.add("uplink", self._uplink.due)

    # -- a changed file ----------------------------------------------------------------------------------------

    async def _apply_file(self, group: asyncio.TaskGroup) -> dict[str, Any]:
        """SIGHUP or `bocage reload`: apply what changed; a wrong file changes nothing and is reported.

        Returns the verdict: whether it was applied, what changed, and what is wrong.
        """
        try:
            new = await asyncio.to_thread(self._configuration.reread)
        except ConfigError as error:
            for problem in error.problems:
                log.error("configuration refused problem=%r next=the running one stays", problem)
            await self._event("config", "refused", "gateway", Severity.MINOR, problems=error.problems[:20])
            await self._tell_configuration()
            return {"applied": False, "changed": [], "problems": error.problems, "warnings": []}
        old, self._settings = self._settings, new
        self._keep_configuration()  # first: after a crash from here on, outputs are made safe by the new one
        if not old.site:  # until now there was no file to go by
            self._clock.believe(new.trust)
        elif (new.site, new.buffer, new.trust) != (old.site, old.buffer, old.trust):
            log.warning("site id, clock or buffer changed next=they take effect at the next start")
        secrets = await asyncio.to_thread(self._changed_secrets, new)
        warnings = await asyncio.to_thread(self._say_unusable)
        control = (new.buses, new.actuators, new.controls, new.timezone, set()) != (
            old.buses, old.actuators, old.controls, old.timezone, secrets - {UPLINK},
        )  # fmt: skip
        if control:
            await self._stop_arbiter()
            await self._orphans.stop_sending()
            self._take_up(new)
            await self._orphans.settle()  # while the old wires are there
        changed = await self._apply_buses(group, new.buses, secrets) if control else []
        self._hub.flush()  # what a counter's source has counted, which may be another from now on
        self._hub.configure(new.points(self._buses.points), new.signals, new.policies)
        if control:
            self._arbiter = self._make_arbiter()
            self._runner = self._make_runner()
            self._runner.observe(list(self._hub.last.values()))
            self._start_arbiter(group)
            self._start_runner(group)
            changed.append("actuators")
        self._take_commands()
        if new.uplink != old.uplink or UPLINK in secrets:
            if self._uplink is not None:
                await self._uplink.close()
            await self._stop_task("uplink")
            self._uplink = self._make_uplink()
            self._start_uplink(group)
            changed.append("uplink")
        self._say_not_driven()
        await self._forget_refused()
        log.info("configuration applied changed=%s", ",".join(changed) or "nothing that runs")
        await self._event("config", "applied", "gateway", Severity.INFO, hash=new.config_hash, changed=changed)
        await self._tell_configuration()
        return {"applied": True, "changed": changed, "problems": [], "warnings": warnings}

    def _say_unusable(self) -> list[str]:
        """The secrets and certificates that cannot be had: whoever has one of before goes on with it."""
        found = [str(problem) for problem in self._configuration.unusable()]
        for problem in found:
            log.warning("secret or certificate unusable problem=%r next=what was read last is used", problem)
        return found

    def _changed_secrets(self, settings: Settings) -> set[str]:
        """The buses, and UPLINK, whose passwords, keys or certificates are other than when this was last asked."""
        users = {**settings.buses, UPLINK: settings.uplink}
        return {name for name, settings in users.items() if self._seals.changed(name, settings)}

    async def _tell_configuration(self) -> None:
        """To the service manager and as an alarm at once, to the broker as soon as it takes it."""
        self._notifier.status(self._one_line())
        await self._alarms.check()
        if self._uplink is not None:
            self._uplink.set_configuration(self._settings.config_hash, self._configuration.problem())

    def _keep_configuration(self) -> None:
        """So that a wrong file, at the next start, costs nothing. A disk that refuses is asked again each minute."""
        try:
            self._configuration.keep()
            self._unkept = None
        except OSError as error:
            self._unkept = f"the configuration cannot be kept: {error.strerror or error}"
            log.error("configuration not kept reason=%r next=tried each minute", self._unkept)

    async def _apply_buses(
        self, group: asyncio.TaskGroup, buses: Mapping[str, BusSpec], secrets: Set[str]
    ) -> list[str]:
        """Stop the buses that are gone or differ, be it by a secret or a guest, start the new ones; an unchanged wire
        is not touched."""
        guests, old = self._orphans.guests(buses), self._buses.specs
        new = guests.buses
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name) or name in secrets]
        for name in changed:
            await self._stop_task(f"bus {name}")
        await self._buses.reconfigure(new, changed, guests.devices, guests.only)
        for name in changed:
            if name in self._buses.names:
                self._start_wire(group, name)
        return changed

    # -- what is told ------------------------------------------------------------------------------------------

    async def _forget_refused(self) -> None:
        """A state topic that is not told any more cannot be refused: its device left the file, or the broker did."""
        names = state_names(self._hub, self._settings.personal, bool(self._settings.actuators))
        for alarm in self._open_alarms.status():
            topic = alarm["subject"]
            if alarm["code"] != "uplink_refused" or (self._uplink is not None and "/state/" not in topic):
                continue  # the others are sent on at each connection
            if self._uplink is None or not self._uplink.publishes_state(topic, names):
                await self._event("cleared", "uplink_refused", topic, Severity.INFO, reason="it is not told any more")

    def _say_not_driven(self) -> None:
        for what in self._settings.not_driven:
            log.warning("not driven yet what=%s next=the rest of the site runs", what)

    async def _event(self, kind: str, code: str, subject: str, severity: Severity, **detail: Any) -> None:
        await self._open_alarms.put_event(Event(kind, code, subject, self._clock.now(), severity, detail))

    def _kept(self, command: str) -> None:
        """It is on flash that a command was accepted: the broker may forget it."""
        if self._uplink is not None:
            self._uplink.kept(command)

    async def _put_event(self, event: Event) -> None:
        await self._outbox.put_event(discreet(event, self._settings.personal))

    def _conditions(self) -> Iterator[Condition]:
        fault = self._outbox.fault or self._state.fault or self._unkept
        yield from conditions(
            fault, self._outbox.was_written, self._clock.trusted, self._buses.status(), self._uplink
        )  # fmt: skip
        yield from self._configuration.conditions()
        yield from self._orphans.conditions()
        yield from self._life.conditions()

    def _state_topics(self) -> dict[str, dict[str, Any]]:
        return state_topics(self._hub, self._settings.personal, self._arbiter.status(), self._clock.now().wall_ms)

    def _status(self) -> dict[str, Any]:
        """The whole agent in one document: `bocage watch` draws it."""
        now = self._clock.now()
        return {
            "site": {"id": self._settings.site, "name": self._settings.name, "timezone": self._settings.timezone},
            "agent": VERSION,
            "config": self._configuration.status(),
            "at": site_text(now.wall_ms, self._settings.timezone),
            "uptime_s": round(self._clock.monotonic() - self._started, 1),
            "clock": "synced" if self._clock.trusted else "unsynced",
            "points": present_points(self._hub, now),
            "actuators": self._arbiter.status(),
            "alarms": self._open_alarms.status(self._conditions()),
            "uplink": self._uplink.status() if self._uplink is not None else {"state": LinkState.OFF},
            "outbox": {**self._outbox.status(), "published": self._hub.published},
            "buses": [*self._buses.status(), *self._settings.idle_buses],
            "log": list(self._log_tail),
        }

    def _one_line(self) -> str:
        link = self._uplink.status()["state"] if self._uplink is not None else LinkState.OFF
        line = one_line(self._buses.status(), link, self._outbox.status())
        return "; ".join(filter(None, (self._configuration.line(), line)))

    async def _report_health(self) -> None:
        """Once a minute, and once soon after the start, the gateway itself."""
        pause = FIRST_HEALTH
        while True:
            await asyncio.sleep(pause)
            pause = HEALTH_PERIOD
            if self._unkept is not None:
                self._keep_configuration()
            if self._uplink is None:
                continue
            link, waiting = self._uplink.status(), self._outbox.status()
            await self._uplink.publish_health(
                {
                    "t": self._clock.now().wall_ms,
                    "uptime_s": round(self._clock.monotonic() - self._started),
                    **self._health.sample(),
                    "loop_lag_ms": round(self._watchdog.lag * 1000, 1),
                    "buses": {bus["name"]: bus_health(bus) for bus in self._buses.status()},
                    "uplink_latency_ms": link["latency_ms"],
                    "outbox": waiting["rows"],
                    "hours_left": waiting["hours_left"],
                }
            )

    # -- what is asked on the box ------------------------------------------------------------------------------

    async def _on_status(self, _request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        return self._status()

    async def _on_read(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        wanted = request.get("points") or []
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
            raise BocageError('expected "points": a list of names')
        return points_json(wanted, self._hub.points, self._hub.last, self._settings.outputs, self._settings.timezone)

    async def _on_write(self, request: Mapping[str, Any], who: str) -> Mapping[str, Any]:
        point, hold = request.get("point"), request.get("hold_ms")
        if not isinstance(point, str) or not isinstance(hold, int | None):
            raise BocageError('expected "point": text and "hold_ms": a whole number of milliseconds')
        command = Command(
            id=f"local-{uuid4().hex}",
            point=point,
            value=request.get("value"),
            received=self._clock.now(),
            hold_ms=hold,
            origin=Origin.LOCAL,
            by=who,
        )
        outcome = await self._arbiter.submit(command)
        log.info('local write point=%s value=%s by="%s" outcome=%s', point, command.value, who, outcome.state)
        return outcome_json(outcome)

    async def _on_scan(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        """One unit id of a bus; whoever looks for more asks again."""
        bus, unit, timeout = request.get("bus"), request.get("unit_id"), request.get("timeout")
        if not isinstance(bus, str) or not isinstance(unit, int) or not isinstance(timeout, int | float | None):
            raise BocageError('expected "bus": text, "unit_id": a whole number and "timeout": seconds')
        if not 0 <= unit <= 255:
            raise BocageError("unit id must be 0 to 255")
        if timeout is not None and not 0 < timeout <= 10:
            raise BocageError("timeout must be more than 0 s and at most 10 s")
        return await self._buses.scan(bus, unit, timeout)

    async def _on_try(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        """A bus of a site file that need not be the one that runs: `owner` is our bus on that wire, if it is ours;
        `differs` its devices that we do not have so (None: the bus itself is other); `tried` what was read on it.
        """
        bus = spec_of(request.get("bus"))
        owner = self._buses.owner(bus)
        tried = await self._buses.try_devices(owner, bus.devices) if owner and bus.devices else []
        return {"owner": owner, "differs": self._buses.runs(request["bus"]), "tried": tried}

    async def _on_reload(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        """Read the site file again, and wait for what came of it. `credentials` and `environment` are secrets by name
        that are newer than those of systemd."""
        file = request.get("file")
        if not isinstance(file, str | None):
            raise BocageError('expected "file": the path of a site file')
        if file is not None and not self._configuration.is_read_from(Path(file)):
            raise BocageError(f"the agent runs {self._configuration.path}, not {file}")
        handed = _texts(request, "credentials") if "credentials" in request else None
        hand_over(handed, _texts(request, "environment"))
        verdict: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._verdicts.append(verdict)
        self._reload.set()
        return await verdict

    async def _on_inspect(self, request: Mapping[str, Any], _who: str) -> Mapping[str, Any]:
        return {"rows": self._buses.inspect(str(request.get("topic")))}

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
        handler = _Tail(self._log_tail, self._settings.timezone)
        logging.getLogger("bocage").addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger("bocage").removeHandler(handler)


def _texts(request: Mapping[str, Any], key: str) -> dict[str, str]:
    found = request.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise BocageError(f'expected "{key}": texts by name')
    return found


class _Tail(logging.Handler):
    """Keeps the last lines of the log for the live view."""

    def __init__(self, lines: deque[str], timezone: str) -> None:
        super().__init__(logging.INFO)
        self._lines = lines
        formatter = ScreenFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        log_times_in(formatter, timezone)
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record).splitlines()[0])
