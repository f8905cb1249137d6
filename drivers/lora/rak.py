"""RAK3172 modems, point to point (LoRa without LoRaWAN), by their AT commands.

Two dialects are about. RUI3 (from 2022, 115200 baud) has a reception that goes on while something is sent
(AT+PRECV=65533, since RUI3 3.4.0) and tells a packet in one line; the firmware before (V1.0.4 and older, 9600 baud)
takes 65533 for 65.5 s, must be stopped before it sends, and tells a packet in two lines. The dialect is not asked
for: any sign that reception has ended, or may have, starts it again. The bandwidth is written 125 in one manual and 0
in another, so it is read back. Source: RAK's "AT Command Manual" of RUI3, the "Deprecated AT Command" manual of the old
firmware, and the "AT Command Migration Guide".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.clock import Clock
from agent.errors import DeviceError, WireError
from agent.model import Value
from drivers.api import BusSpec, DurableStore
from drivers.lora.modem import LONGEST_PACKET, Modem, Restarted

__all__ = ["ModemNotice", "Packet", "RakP2p", "parse"]

log = logging.getLogger("bocage.lora")

_ANSWER = 2.0  # s, for the answer to a command
_GREETINGS = 4
_PAUSE = 0.2  # s without a line, after which a modem that starts has told all it tells
_REBOOT = 10.0  # s, that a modem takes to start anew at the most
_AIRTIME = 15.0  # s, for 255 bytes at SF12
_SILENCE = 60.0  # s, after which the modem is asked whether it is still there
_BUSY = (0.1, 0.2, 0.4, 0.8)  # s, between attempts while the modem is busy
_CONTINUOUS = ("AT+PRECV=65533", "AT+PRECV=65534")  # the first lets it send meanwhile
_STOP = "AT+PRECV=0"
_IS_BUSY = "AT_BUSY_ERROR"
_BANDWIDTHS = {125_000: ("125", "0"), 250_000: ("250", "1"), 500_000: ("500", "2")}
_STATUS = re.compile(r"OK|(?:AT)?_?[A-Z_]*ERROR|AT_[A-Z0-9_]*NO_SUPPORT|AT_[A-Z_]*(?:OVERFLOW|LOCKED)")
_BANNER = re.compile(r"RAKwireless|Current Work Mode|^LoRa ?(?:WAN|P2P)\.?$", re.IGNORECASE)
_NUMBER = re.compile(r"-?[0-9]{1,3}(?:\.[0-9]{1,3})?")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")


class Packet(NamedTuple):
    """A packet that was heard. `payload` is None while the old dialect has told only how well it was heard."""

    payload: bytes | None
    rssi: float | None = None
    snr: float | None = None


class ModemNotice(NamedTuple):
    """Something else that the modem tells by itself: "RXP2P RECEIVE TIMEOUT", "TXP2P DONE"."""

    text: str


def parse(line: str) -> Packet | ModemNotice | None:
    """The event of a line; None for any other or broken line. Text before `+EVT:` is noise.

    RUI3: `+EVT:RXP2P:-60:11:AABBCCDD`. Before: `+EVT:RXP2P, RSSI -60, SNR 11`, and then `+EVT:AABBCCDD`.
    """
    _, mark, event = line.rpartition("+EVT:")
    event = event.strip()
    if not mark:
        return None
    if _HEX.fullmatch(event):
        return _packet(event, None, None)
    if not event.startswith("RXP2P"):
        return ModemNotice(event) if event.startswith("TXP2P") else None
    if "RECEIVE" in event:
        return ModemNotice(event)
    parts = [part.strip() for part in re.split("[:,]", event[len("RXP2P") :])]
    numbers = [float(found[0]) for part in parts[1:3] if (found := _NUMBER.search(part))]
    if len(numbers) < 2:
        return None
    if len(parts) == 3 and "RSSI" in parts[1]:
        return Packet(None, *numbers)
    return _packet(parts[-1], *numbers) if len(parts) > 3 and _HEX.fullmatch(parts[-1]) else None


def _packet(digits: str, rssi: float | None, snr: float | None) -> Packet | None:
    return Packet(bytes.fromhex(digits), rssi, snr) if len(digits) <= 2 * LONGEST_PACKET else None


class _Said(Exception):
    """The modem answered a command with this status, which is not OK."""


class _Mute(WireError):
    """The modem did not answer."""


@dataclass(slots=True, eq=False)
class _Job:
    point: str
    packet: bytes
    until: float | None
    again: bool = False
    """Whether the modem started anew while it should have been sent; it is unknown whether it was."""
    outcome: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class RakP2p(Modem):
    """A RAK3172 with its nodes; a Writer too. Options: port, baudrate, frequency and bandwidth in Hz,
    spreading_factor, coding_rate "4/5", preamble in symbols, power in dBm.
    """

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        super().__init__(spec, clock, memory)
        options = spec.options
        self._spreading = int(options.get("spreading_factor") or 7)
        self._bandwidths = _BANDWIDTHS[round(options.get("bandwidth") or 125_000)]
        self._radio = (
            str(round(options["frequency"])),
            str(self._spreading),
            str(int((options.get("coding_rate") or "4/5")[2:]) - 5),
            str(options.get("preamble") or 8),
            str(round(options.get("power", 14))),
        )
        self._prefixes = {node.name: prefix for prefix, node in self._nodes}
        self._jobs: deque[_Job] = deque()
        self._told = 0.0  # clock.monotonic when the modem last said something sensible
        self._signal: tuple[float | None, float | None, float] = (None, None, 0.0)  # RSSI, SNR, when
        self._receiving = False
        self._sent = ""  # how the last packet went, as the modem said

    async def write(self, point: str, value: Value, until: float | None = None) -> None:
        """Send the node its byte and the encoded value; returns when the packet was on the air.

        DeviceError if the value cannot be encoded, its time ran out, a newer one took its place, or the modem refused.
        """
        if point not in self._home:
            raise DeviceError(f"{point} is not a point of {self._bus}")
        node = self._home[point]
        _, payload = await node.encode(point, value)
        packet = self._prefixes[node.name] + payload
        if len(packet) > LONGEST_PACKET:
            raise DeviceError(f"{point}: {len(packet)} bytes do not fit into a packet of {LONGEST_PACKET}")
        for job in self._jobs:
            if job.point == point and not job.outcome.done():
                job.outcome.set_exception(DeviceError(f"{point}: a newer value took its place"))
        async with self._in_use():
            if self._error and not self._port.is_open and self._listening:
                raise WireError(self._error)
            job = _Job(point, packet, until)
            self._jobs.append(job)
            self._port.wake()
            await job.outcome
        node.last.pop(point, None)  # what the node said before says nothing about it any more

    # -- setting up --------------------------------------------------------------------------------------------

    async def _make_ready(self) -> None:
        self._receiving = False
        await self._greet()
        await self._point_to_point()
        with contextlib.suppress(_Said):
            await self._order(_STOP)  # while it receives it takes no settings
        await self._set_radio()
        await self._receive()

    async def _greet(self) -> None:
        """Until the modem answers AT: it may be half way through a line, or through its start."""
        for _ in range(_GREETINGS):
            await self._drain()
            with contextlib.suppress(_Said, _Mute, Restarted):
                await self._ask("AT", _ANSWER / 2)
                await self._drain()  # answers to greetings that it heard late
                return
        raise WireError(f"no modem answers at {self._port.name}; are its baudrate, its wiring and its power right?")

    async def _drain(self) -> None:
        """Let pass what comes without a question."""
        self._owe(_REBOOT)
        end = self._clock.monotonic() + _REBOOT
        while self._clock.monotonic() < end and (line := await self._port.line(_PAUSE)) is not None:
            with contextlib.suppress(Restarted):
                self._take(line)

    async def _point_to_point(self) -> None:
        """AT+NWM=0, if need be: it is kept in flash, and the modem may start anew with it."""
        if await self._is_p2p():
            return
        with contextlib.suppress(_Mute, Restarted):
            await self._order("AT+NWM=0")
        end = self._clock.monotonic() + _REBOOT
        while self._clock.monotonic() < end:
            await self._drain()
            with contextlib.suppress(_Said, _Mute, Restarted):
                if await self._is_p2p():
                    return
        raise WireError(f"the modem at {self._port.name} does not leave LoRaWAN mode (AT+NWM=0)")

    async def _is_p2p(self) -> bool:
        return any(line.removeprefix("AT+NWM=") == "0" for line in await self._order("AT+NWM=?"))

    async def _set_radio(self) -> None:
        """Both spellings of the bandwidth; what counts is what the modem reads back."""
        frequency, spreading, *rest = self._radio
        answer = ""
        for bandwidth in self._bandwidths:
            try:
                if await self._is_set():  # it is kept in flash, which wears
                    return
                await self._order("AT+P2P=" + ":".join((frequency, spreading, bandwidth, *rest)))
                if await self._is_set():
                    return
            except _Said as said:
                answer = f" ({said})"
        wanted = ":".join((frequency, spreading, self._bandwidths[0], *rest))
        raise WireError(f"the modem at {self._port.name} does not take the radio settings {wanted}{answer}")

    async def _is_set(self) -> bool:
        frequency, spreading, *rest = self._radio
        bandwidths = {*self._bandwidths, self._bandwidths[0] + "000"}
        for line in await self._order("AT+P2P=?"):
            found = re.findall(r"[0-9]+", line.removeprefix("AT+P2P="))
            if len(found) == 6 and found.pop(2) in bandwidths and found == [frequency, spreading, *rest]:
                return True
        return False

    async def _receive(self) -> None:
        """Reception without end. A modem that stays busy is receiving already."""
        said = ""
        for command in _CONTINUOUS:
            try:
                await self._order(command)
            except _Said as answer:
                said = str(answer)
            if said in ("", _IS_BUSY):
                self._receiving = True
                return
        raise WireError(f"the modem at {self._port.name} does not receive: {said}")

    # -- living ------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        if not self._receiving:
            await self._receive()
        if self._jobs:
            await self._serve(self._jobs.popleft())
            return
        rest = self._told + _SILENCE - self._clock.monotonic()
        if rest <= 0:
            await self._look()
            return
        self._owe(rest)
        line = await self._port.line(rest)
        if line is not None and not self._take(line):
            self._counts["garbage"] += 1
        if not self._receiving:
            await asyncio.sleep(_BUSY[0])  # a modem that never receives is not asked without a pause

    async def _look(self) -> None:
        """Nothing was heard for a while: is the modem there, as it was set up, and receiving?"""
        try:
            if not await self._is_set():
                raise Restarted
        except _Said as said:
            log.info('modem does not report its settings bus=%s answer="%s" next=receive again', self._bus, said)
        await self._receive()

    async def _serve(self, job: _Job) -> None:
        if job.outcome.done():
            return
        try:
            if job.until is not None and self._clock.monotonic() > job.until:
                raise DeviceError(f"{job.point}: its time expired before the modem was free")
            await self._send(job)
            _settle(job)
        except DeviceError as error:
            _settle(job, error)
        except WireError as error:
            _settle(job, error)
            raise
        except Restarted:
            if job.again:
                _settle(job, DeviceError(f"{job.point}: the modem starts anew whenever it sends"))
            else:
                job.again = True
                self._jobs.appendleft(job)
            raise
        except asyncio.CancelledError:
            _settle(job, WireError(f"{self._bus} was closed before the packet was sent"))
            raise

    async def _send(self, job: _Job) -> None:
        command = f"AT+PSEND={job.packet.hex().upper()}"
        self._sent = ""
        self._receiving = False  # as far as we know: some leave reception to send, and do not come back
        try:
            try:
                await self._order(command)
            except _Said as said:
                if str(said) != _IS_BUSY:
                    raise
                with contextlib.suppress(_Said):
                    await self._order(_STOP)  # the old firmware does not send while it receives
                await self._order(command)
        except _Said as said:
            raise DeviceError(f"{job.point}: the modem refused to send: {said}") from said
        self._owe(_AIRTIME)
        try:
            async with asyncio.timeout(_AIRTIME):
                while not self._sent:
                    self._take(await self._port.line(_AIRTIME) or "")
        except TimeoutError:
            raise DeviceError(f"{job.point}: the modem did not say that the packet was sent") from None
        if "DONE" not in self._sent:
            raise DeviceError(f"{job.point}: the modem did not send: {self._sent}")

    def _refuse(self, error: WireError) -> None:
        while self._jobs:
            _settle(self._jobs.popleft(), error)

    # -- lines -------------------------------------------------------------------------------------------------

    async def _order(self, command: str) -> list[str]:
        """The lines of an answer that ends with OK. A busy modem is asked again. _Said for any other status."""
        for pause in _BUSY:
            try:
                return await self._ask(command)
            except _Said as said:
                if str(said) == "AT_MODE_NO_SUPPORT" and self._up:
                    raise Restarted from said
                if str(said) != _IS_BUSY:
                    raise
            await asyncio.sleep(pause)
        return await self._ask(command)

    async def _ask(self, command: str, patience: float = _ANSWER) -> list[str]:
        """One command, and what comes until its status. _Mute if none comes."""
        self._owe(patience)
        self._port.send(command)
        answer: deque[str] = deque(maxlen=10)
        try:
            async with asyncio.timeout(patience):
                while not _STATUS.fullmatch(line := await self._next()):
                    if line != command:  # the echo (ATE)
                        answer.append(line)
        except TimeoutError:
            raise _Mute(f"the modem at {self._port.name} does not answer {command.partition('=')[0]}") from None
        self._told = self._clock.monotonic()
        if line != "OK":
            raise _Said(line)
        return list(answer)

    async def _next(self) -> str:
        """A line that is no event; events are taken care of."""
        while (line := await self._port.line(_SILENCE)) is None or self._take(line):
            pass
        return line

    def _take(self, line: str) -> bool:
        """Whether the line was something that the modem tells by itself. Restarted if it says that it started."""
        if _BANNER.search(line):
            raise Restarted
        event = parse(line)
        if event is None:
            self._counts["garbage"] += "+EVT:" in line
            return "+EVT:" in line
        now = self._told = self._clock.monotonic()
        if isinstance(event, ModemNotice):
            if event.text.startswith("TXP2P"):
                self._sent = event.text
            else:
                self._receiving = False
                self._counts["garbage"] += "ERROR" in event.text
        elif event.payload is None:
            self._signal = (event.rssi, event.snr, now)
        else:
            rssi, snr, at = self._signal
            if event.rssi is None and now - at < _ANSWER:
                event = Packet(event.payload, rssi, snr)
            self._signal = (None, None, 0.0)
            self._packet(event)
        return True

    def _packet(self, event: Packet) -> None:
        self._counts["frames"] += 1
        found = self._named(event.payload or b"")
        if found is None:
            self._counts["foreign"] += 1
        else:
            self._heard(*found, event.rssi, event.snr, self._spreading)


def _settle(job: _Job, error: Exception | None = None) -> None:
    if job.outcome.done():
        return
    if error is None:
        job.outcome.set_result(None)
    else:
        job.outcome.set_exception(error)
