"""The owner of a Modbus line: one task asks every question, in order of urgency.

Writes come first, then reads on demand, then polls by turns (schedule.py), and probes of a scan in between. The
owner runs while `readings` is iterated, or, for a program that only asks once, until nothing is queued any more.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from agent.clock import Clock
from agent.errors import DeviceError, Refused, WireError
from agent.lib.backoff import Backoff
from agent.lib.timed_event import TimedEvent
from agent.model import BusState, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec, DeviceSpec
from drivers.modbus import question as ask
from drivers.modbus.device import build, limits, registers_of
from drivers.modbus.link import Broken, Link, Misfit, NoAnswer, OtherUnit
from drivers.modbus.plan import Register, RegisterBlock, plan
from drivers.modbus.question import Function, Question
from drivers.modbus.schedule import Poll, PolledDevice, Turns, spread
from drivers.modbus.stats import LineLoad
from drivers.modbus.writer import RegisterWriter

__all__ = ["ModbusLine"]

log = logging.getLogger("bocage.modbus")

_WRITE, _READ, _PROBE = 0, 1, 2
_MARGIN = 5.0  # s, what the owner's next sign of life may come late by
_STATISTICS = 60.0  # s, between two publications of the statistics
_FIRST_STATISTICS = 5.0  # s, until the first one
# Lines take turns in groups: all at once, and the last one's readings wait for the work of all the others; each by
# itself, and every reading pays for a message of its own. Measured at 20 and 200 hosts (docs/benchmarks.md).
_GROUPS = 5
_line_number = itertools.count()
_REOPEN_MOST = 60.0  # s
_STEADY = 10.0  # s that a wire must have been open for its next loss to be news, if the reason is the same
_SILENT_MOST = 2  # requests in a row without answer, after which a read on demand takes the device for gone
_SHORTEST = 0.001  # s that the owner rests: a clock need not move on by the last bit of a sum
_BACKLOG = 1000  # batches that were not taken, before polling waits
_HALVED, _FAILURE, _BUSY, _GATEWAY = (1, 2, 3, 4), 4, (5, 6), (10, 11)
"""Exceptions: a slave says 1 to 4 of a block that it would give in parts; 4 may also be its own trouble."""
Run = Callable[[], Awaitable[Any]]


class ModbusLine:
    """A bus with its slaves: Wire, Listener, Poller, Writer, Aside, Scanner and Trier of `drivers.api`."""

    def __init__(self, spec: BusSpec, clock: Clock, link: Link) -> None:
        self._bus = spec.name
        self._clock = clock
        self._link = link
        self._devices = self._built(spec.devices)
        self._registers = {r.point.id: (device, r) for device in self._devices for r in device.registers}
        self._statistics = {p.id: device for device in self._devices for p in device.stats.points}
        watchdogs = [d.output_watchdog / 3 for d in spec.devices if d.output_watchdog is not None]
        self._backoff = Backoff(longest=min([_REOPEN_MOST, *watchdogs]), spread=(0.8, 1.0))
        self._owner: asyncio.Task[None] | None = None
        self._listening = False
        self._batches: asyncio.Queue[Readings | None] = asyncio.Queue()
        self._jobs: list[tuple[int, int, Run, asyncio.Future[Any], PolledDevice | None]] = []
        self._order = itertools.count()
        self._probe_took, self._probe_at = 0.0, -math.inf
        self._called = TimedEvent()
        self._due = math.inf
        self._error = self._told = ""
        self._is_news = False
        self._opened_at = math.inf
        self._reopen_at = -math.inf
        self._statistics_at = math.inf
        self._turns = Turns(self._devices)
        self._load = LineLoad(clock.monotonic())
        self._heard_itself = False
        self._writer = RegisterWriter(link, self._ask)
        self._turn = next(_line_number) % _GROUPS / _GROUPS

    @property
    def points(self) -> Sequence[Point]:
        return [r.point for _, r in self._registers.values()] + [p for d in self._devices for p in d.stats.points]

    def status(self) -> Mapping[str, Any]:
        """`load` is the share of the last minute in which the line was busy, `late` counts frames that came after
        their timeout.

        `stretch` is how many of its periods lie between two reads of the point that comes off worst, `refused` names
        the points of devices that cannot be read though they answer, and why; it is there if there are any. `unheard`
        are devices that have neither answered nor been lost since the start, `unread` those with points of which
        it is unknown yet whether they can be read.
        """
        found: dict[str, Any] = {
            "state": BusState.UP if self._link.is_open or self._opened_at < math.inf else BusState.DOWN,
            "load": self._load.share(self._clock.monotonic()),
            "stretch": round(self._turns.stretch, 1),
            "overloaded": self._turns.overloaded,
            "error": self._error,
            "said": {},
            "late": self._link.late,
            "lost": [],
            "unheard": [],
            "unread": [],
        }
        for device in self._devices:
            _name(device, found)
        return found

    def _built(self, specs: Sequence[DeviceSpec]) -> list[PolledDevice]:
        devices = [build(spec, self._link) for spec in specs]
        for device in devices:
            device.sole = len({other.unit for other in devices}) == 1
        return devices

    def due(self) -> float:
        return self._due

    async def readings(self) -> AsyncIterator[Readings]:
        """Polls for as long as it is iterated; a batch is what one poll of one device gave. It never ends by itself."""
        if self._listening:
            raise RuntimeError(f"{self._bus} is iterated already")
        self._listening = True
        now = self._clock.monotonic()
        spread([poll for device in self._devices for poll in device.polls], now, self._turn)
        self._statistics_at = now + _FIRST_STATISTICS
        self._called.set()
        self._start_owner()
        try:
            while (batch := await self._batches.get()) is not None:
                yield batch
            if self._owner is not None:
                self._owner.result()
        finally:
            self._listening = False
            await self.close()

    async def read(self, points: Sequence[str]) -> Readings:
        wanted: dict[str, list[Register]] = {}
        devices = {device.name: device for device in self._devices}
        for point in points:
            if point in self._registers:
                device, register = self._registers[point]
                if not register.point.moves:
                    wanted.setdefault(device.name, []).append(register)
            elif point not in self._statistics:
                raise DeviceError(f"{point} is not a point of {self._bus}")

        async def run() -> list[Reading]:
            return [r for name in wanted for r in await self._read_now(devices[name], wanted[name])]

        found = {reading.point: reading for reading in (await self._submit(_READ, run) if wanted else [])}
        for device in {self._statistics[p].name: self._statistics[p] for p in points if p in self._statistics}.values():
            found |= {reading.point: reading for reading in device.stats.readings(self._clock.now())}
        unread = Reading("", None, self._clock.now(), Quality.BAD)
        return [found.get(point) or unread._replace(point=point) for point in points]

    async def write(self, point: str, value: Value, _until: float | None = None) -> None:
        if point not in self._registers:
            raise DeviceError(f"{point} is not a point of {self._bus}")
        device, register = self._registers[point]
        data = registers_of(register, value)

        async def run() -> None:
            await self._writer.write(device, register, data)

        await self._submit(_WRITE, run, device)

    async def write_aside(self, device: DeviceSpec, point: str, value: Value) -> None:
        """Write a point of a slave as it was when the settings still named it; it is not polled."""
        polled = build(device, self._link)
        polled.sole = all(other.unit == polled.unit for other in self._devices)
        register = next(register for register in polled.registers if register.point.id == point)
        await self._submit(_WRITE, partial(self._writer.write, polled, register, registers_of(register, value)), polled)

    async def scan(self, units: Iterable[int], timeout: float | None = None) -> AsyncIterator[Mapping[str, Any]]:
        """Ask each unit id for its first holding register: any answer of its own shows that it is there.

        One {"unit_id", "ms"} a unit, `ms` None without an answer within `timeout` seconds (default: the line's);
        "answers_as" too where the answer bears another id.
        A probe waits for polls that come due before it would be over, but no longer than the one before it took: polls
        keep half of the line at least. WireError if the wire is lost.
        """
        for unit in units:
            probe = ask.read(self._link.framer, unit, Function.READ_HOLDING, 0, 1)
            yield {"unit_id": unit, **await self._submit(_PROBE, partial(self._probe, probe, timeout))}

    async def try_devices(self, devices: Sequence[DeviceSpec]) -> Readings:
        """Read every point of any devices once. Returns their values and their counters."""
        found: list[Reading] = []
        for device in self._built(devices):
            registers = [register for register in device.registers if not register.point.moves]
            found += await self._submit(_READ, partial(self._read_now, device, registers))
            found += device.stats.readings(self._clock.now())
            found.append(Reading(f"{device.name}.modbus.said", _said(device), self._clock.now(), Quality.GOOD))
        return found

    async def close(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait([owner])
        self._link.close()
        self._due = self._opened_at = math.inf

    # the owner

    def _start_owner(self) -> None:
        if self._owner is None or self._owner.done():
            self._owner = asyncio.create_task(self._own(), name=f"modbus {self._bus}")

    async def _own(self) -> None:
        try:
            while self._jobs or self._listening:
                try:
                    if self._link.is_open or await self._open():
                        await self._step()
                except WireError as error:
                    self._wire_lost(error)
        finally:
            self._due = math.inf
            self._refuse_jobs(WireError(f"{self._bus} is closed"))
            if self._listening:
                self._batches.put_nowait(None)

    async def _step(self) -> None:
        """The most urgent thing, or a rest until there is one.

        Writes to a device that is silent are no more urgent than probes: polls keep half of the line, or the outputs
        of one dead module would cost the readings of all the others.
        """
        if self._jobs and (self._jobs[0][0] < _PROBE or not self._listening):
            await self._serve()
            return
        if not self._listening:
            return
        now = self._clock.monotonic()
        if now >= self._statistics_at:
            self._statistics_at += _STATISTICS
            self._publish([r for device in self._devices for r in device.stats.readings(self._clock.now())])
        if self._batches.qsize() >= _BACKLOG:
            await self._rest(0.1)
            return
        ready, rest = self._turns.next(now)
        rest = min(rest, self._statistics_at)
        if self._jobs and (now >= self._probe_at or (ready is None and now + self._probe_took <= rest)):
            await self._serve()
            end = self._clock.monotonic()
            self._probe_took, self._probe_at = end - now, 2 * end - now
        elif ready is None:
            await self._rest((min(rest, self._probe_at) if self._jobs else rest) - now)
        else:
            await self._poll(ready, now)

    async def _serve(self) -> None:
        priority, order, run, outcome, device = heapq.heappop(self._jobs)
        if outcome.done():
            return
        if priority < _PROBE and device is not None and device.silent and self._listening:
            heapq.heappush(self._jobs, (_PROBE, order, run, outcome, device))
            return
        try:
            result = await run()
        except (DeviceError, WireError) as error:
            if not outcome.done():
                outcome.set_exception(error)
            if isinstance(error, WireError):
                raise
        else:
            if not outcome.done():
                outcome.set_result(result)
        finally:
            if not outcome.done():  # the owner ends in the middle of it
                outcome.set_exception(WireError(f"{self._bus} was closed before the answer came"))

    async def _poll(self, poll: Poll, now: float) -> None:
        """One question of a poll."""
        device = poll.device
        block = poll.block(now)
        try:
            if block is not None:
                answer = await self._ask(device, block.question)
                poll.answered(block.readings(answer, self._clock.now()))
                self._readable(device, block)
        except Refused as refused:
            assert block is not None
            self._refused(poll, block, refused)
        except NoAnswer as error:
            given_up = None
            if device.failures:
                poll.put_last()  # it may be gone, or pass over this block too
            else:
                given_up = poll.unanswered(self._clock.now(), now)
            if given_up is None:
                self._publish(poll.abort())
                self._device_failed(device, error)
                return
            self._given_up(device, given_up, str(error), "10s")
        if poll.done:
            self._given_up(device, poll.settle(now), "exception 4, device failure", "10s")
            self._publish(poll.finish(self._clock.monotonic()))

    def _refused(self, poll: Poll, block: RegisterBlock, refused: Refused) -> None:
        at, now = self._clock.now(), self._clock.monotonic()
        if refused.code in _BUSY:
            self._publish(poll.abort())
            poll.finish(now)
        elif refused.code not in _HALVED:
            poll.skip(at)
        elif len(block.registers) > 1:
            poll.refused(self._halves(poll.device, block), at, now, refused.code == _FAILURE)
        else:
            given_up = poll.refused([], at, now, refused.code == _FAILURE)
            self._given_up(poll.device, given_up, str(refused), "10s" if refused.code == _FAILURE else "10min")

    def _given_up(self, device: PolledDevice, blocks: Sequence[RegisterBlock], reason: str, again: str) -> None:
        device.unread -= {r.point.id for block in blocks for r in block.registers}
        points = [r.point.id for block in blocks for r in block.registers if r.point.id not in device.refused]
        if points:
            device.refused |= dict.fromkeys(points, reason)
            names = ",".join(points)
            log.warning('points refused device=%s points=%s reason="%s" next=%s', device.name, names, reason, again)

    def _readable(self, device: PolledDevice, block: RegisterBlock) -> None:
        if device.unread:
            device.unread -= {r.point.id for r in block.registers}
        points = [r.point.id for r in block.registers if device.refused.pop(r.point.id, None)] if device.refused else []
        if points:
            log.info("points readable device=%s points=%s next=polled", device.name, ",".join(points))

    def _halves(self, device: PolledDevice, block: RegisterBlock) -> list[RegisterBlock]:
        middle = len(block.registers) // 2
        parts = block.registers[:middle], block.registers[middle:]
        return [RegisterBlock(self._link.framer, device.unit, part) for part in parts]

    async def _ask(self, device: PolledDevice, question: Question) -> bytes:
        """One question on the wire, counted."""
        stats, start = device.stats, self._clock.monotonic()
        self._due = start + self._link.patience(question) + _MARGIN
        stats.requests += 1
        answered = False
        self._link.sole = device.sole
        try:
            answer = await self._link.ask(question, device.guard)
            answered = True
            return answer
        except Refused as refused:
            stats.exceptions += 1
            if refused.code in _GATEWAY:
                device.unanswered += 1
                raise NoAnswer(str(refused)) from refused
            answered = True
            raise
        except Misfit:
            stats.misfits += 1
            raise
        except Broken:
            stats.crc_errors += 1
            raise
        except NoAnswer:
            stats.timeouts += 1
            device.unanswered += 1
            raise
        finally:
            now = self._clock.monotonic()
            self._load.add(now - start, now)
            if self._link.hears_itself and not self._heard_itself:
                self._heard_itself = True
                log.info("adapter echoes sent bytes bus=%s next=they are dropped and acknowledge nothing", self._bus)
            if answered:
                stats.answered(self._link.took)
                self._device_answered(device, now)

    def _device_answered(self, device: PolledDevice, now: float) -> None:
        self._backoff.reset()
        device.heard, device.unanswered = True, 0
        device.reason, other = "", self._link.answered_as
        remark = "" if other is None else str(OtherUnit(other, device.unit))
        if remark and remark != device.remark and device in self._devices:
            log.warning('odd answers device=%s reason="%s" next=taken, it is alone on this host', device.name, remark)
        device.remark = remark
        if device.failures and device.answered(now):
            log.info("device back device=%s next=polled at once", device.name)

    def _device_failed(self, device: PolledDevice, error: Exception) -> None:
        now = self._clock.monotonic()
        device.reason = str(error)
        if device.failed(now):
            self._publish(device.bad(self._clock.now()))
            log.warning('device lost device=%s reason="%s" next=%.0fs', device.name, error, device.backoff)
        elif not device.lost:
            log.info('no answer device=%s reason="%s" next=%.1fs', device.name, error, device.backoff)

    # on demand

    async def _submit(self, priority: int, run: Run, device: PolledDevice | None = None) -> Any:
        """The result of a job; `device` is what it writes to."""
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._jobs, (priority, next(self._order), run, outcome, device))
        self._called.set()
        self._start_owner()
        return await outcome

    async def _read_now(self, device: PolledDevice, registers: list[Register]) -> list[Reading]:
        most = limits(device.spec)
        blocks = plan(self._link.framer, device.unit, registers, most["max_gap"], most["max_read"])
        found: list[Reading] = []
        silent, reason = 0, ""
        while blocks and silent < _SILENT_MOST:
            while self._jobs and self._jobs[0][0] < _READ:
                await self._serve()
            block = blocks.pop(0)
            try:
                found += block.readings(await self._ask(device, block.question), self._clock.now())
                silent = 0
            except Refused as refused:
                silent = 0
                if refused.code in _HALVED and len(block.registers) > 1:
                    blocks[:0] = self._halves(device, block)
                else:
                    found += block.bad(self._clock.now())
            except NoAnswer as error:
                silent, reason = silent + 1, str(error)
                found += block.bad(self._clock.now())
        device.reason = reason
        return found + [reading for block in blocks for reading in block.bad(self._clock.now())]

    async def _probe(self, question: Question, timeout: float | None) -> Mapping[str, Any]:
        """Milliseconds until an answer, be it an exception. A gateway's own exception means that no device is there."""
        start = self._clock.monotonic()
        self._due = start + self._link.patience(question, timeout) + _MARGIN
        self._link.sole = False
        try:
            await self._link.ask(question, timeout=timeout)
        except Refused as refused:
            if refused.code in _GATEWAY:
                return {"ms": None}
        except OtherUnit as other:
            return {"ms": None, "answers_as": other.unit}
        except NoAnswer:
            return {"ms": None}
        finally:
            now = self._clock.monotonic()
            self._load.add(now - start, now)
        self._backoff.reset()
        return {"ms": round(1000 * self._link.took, 1)}

    # the wire

    async def _open(self) -> bool:
        """Open the wire when its next attempt is due; until then raise the last error."""
        rest = self._reopen_at - self._clock.monotonic()
        if rest > 0 and self._listening:
            self._refuse_jobs(WireError(self._error))
            await self._rest(rest)
            return False
        self._due = self._clock.monotonic() + _MARGIN + 10
        anew = self._error or self._link.renewed
        await self._link.open()
        if anew:  # a host that closes after each answer does not show which device was silent
            for device in self._devices:
                device.retry_at = -math.inf
        if self._error and self._is_news:
            log.info("wire open bus=%s next=devices polled at once", self._bus)
            self._is_news = False
        self._error, self._opened_at = "", self._clock.monotonic()
        return True

    def _wire_lost(self, error: WireError) -> None:
        self._link.close()
        now = self._clock.monotonic()
        delay = self._backoff.next()
        self._reopen_at = now + delay
        if self._told != str(error) or now - self._opened_at >= _STEADY:
            self._is_news = True
            log.warning('wire lost bus=%s reason="%s" next=reopen in %.1fs', self._bus, error, delay)
        self._error = self._told = str(error)
        self._opened_at = math.inf
        for device in self._devices:
            for poll in device.polls:
                self._publish(poll.abort())
            device.reason = str(error)
            if device.failed(now):
                self._publish(device.bad(self._clock.now()))
        self._refuse_jobs(error)

    def _refuse_jobs(self, error: WireError) -> None:
        jobs, self._jobs = self._jobs, []
        for _, _, _, outcome, _ in jobs:
            if not outcome.done():
                outcome.set_exception(error)

    # waiting and handing on

    def _publish(self, batch: Readings) -> None:
        if batch and self._listening:
            self._batches.put_nowait(batch)

    async def _rest(self, seconds: float) -> None:
        """Until the time has passed or a job comes."""
        seconds = max(seconds, _SHORTEST)
        self._due = self._clock.monotonic() + seconds + _MARGIN
        self._called.clear()
        await self._called.wait(seconds)


def _said(device: PolledDevice) -> str:
    """Why a device does not answer, or what is odd about its answers; "" if all is well."""
    return device.reason or device.remark


def _name(device: PolledDevice, found: dict[str, Any]) -> None:
    """Where `status` names devices: those of which it holds."""
    if said := _said(device):
        found["said"][device.name] = said
    if device.lost:
        found["lost"].append(device.name)
    elif device.polls and not device.heard:
        found["unheard"].append(device.name)
    if device.unread:
        found["unread"].append(device.name)
    if device.refused:
        found.setdefault("refused", {})[device.name] = dict(device.refused)
