"""The devices of the simulated village: Modbus slaves of raw frames, with an account of their own of what was asked."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.fakes.modbus_slave import crc16
from tests.simulation.wire import Wire

__all__ = ["Heater", "Slave", "Tank"]

STEP = 5.0
"""The longest step of what moves (s)."""


@dataclass(slots=True)
class Answer:
    """What was read of the counter, when its answer was sent (virtual s), and by which connection."""

    count: int
    at: float
    wire: Any
    sure: bool = True
    """Whether it was answered as a good slave does: in time, to the letter, on a connection that stayed."""


@dataclass(frozen=True, slots=True)
class Move:
    """An output that changed, when (virtual s), and what the process measured then. `fell`: its power was gone."""

    at: float
    kind: str
    address: int
    value: int
    shown: tuple[float, ...]
    fell: bool = False


@dataclass
class Tank:
    """Coil 0 is its pump. `gain` with the pump and `draw` are percent a second; a pulse is 0.05 %."""

    level: float
    gain: float
    draw: float
    pumped: float = 0.0
    at: float = 0.0
    before: int = 0
    """Pulses of before the counter began again."""
    resets: list[tuple[float, int]] = field(default_factory=list)
    """When it did (virtual s), and what it showed."""
    is_dry: bool = False
    """The well gives nothing: the pump turns in the air."""

    def advance(self, slave: Slave, now: float) -> None:
        seconds, self.at = now - self.at, now
        gained = self.gain * seconds if slave.coils[0] and not self.is_dry else 0.0
        self.pumped += gained
        self.level = min(100.0, max(0.0, self.level + gained - self.draw * seconds))
        slave.inputs[0] = slave.coils[0]
        slave.measured[1] = 4000 + round(160 * self.level)
        slave.measured[2] = int(self.pumped * 20) % 65_536

    def restart(self) -> None:
        """Its counter begins again."""
        self.before += int(self.pumped * 20)
        self.resets.append((self.at, int(self.pumped * 20) % 65_536))
        self.pumped = 0.0

    @property
    def shown(self) -> tuple[float, ...]:
        """The level, and all pulses that ever were."""
        return self.level, self.before + int(self.pumped * 20)


@dataclass
class Heater:
    """Coil 0 is the burner, coil 1 the pump. Temperatures in degC."""

    room: float
    outdoors: float
    power: float
    """What the burner gives the flow (K/s)."""
    flow: float = 30.0
    at: float = 0.0

    def advance(self, slave: Slave, now: float) -> None:
        while self.at < now:
            seconds = min(STEP, now - self.at)
            self.at = min(now, self.at + STEP)
            given = 8e-5 * (self.flow - self.room) if slave.coils[1] else 8e-6 * (self.flow - self.room)
            self.flow += seconds * ((self.power if slave.coils[0] else 0.0) - (self.flow - self.room) * 0.006)
            self.room += seconds * (given - 1e-4 * (self.room - self.outdoors))
        slave.measured[1] = 4000 + round(400 * self.room)
        slave.measured[2] = 4000 + round(16_000 / 120 * min(120.0, self.flow))
        slave.measured[3] = 4000 + round(16_000 / 60 * (self.outdoors + 20))

    def restart(self) -> None: ...

    @property
    def shown(self) -> tuple[float, ...]:
        return self.room, self.flow, self.outdoors


@dataclass
class Slave:
    """A Modbus unit. Holding register 0 counts how often it was read, so that a lost reading shows.

    Registers 8 and 9 are levels that can be commanded, coils 0 to 7 relays; discrete input 1 is a contact of coil 1.
    `writes` are all that came: (when, "coil" or "register", address, value). `process` gives what is measured.
    """

    now: Callable[[], float]
    later: Callable[..., Any]
    dice: random.Random
    name: str = "m"
    unit: int = 1
    process: Tank | Heater | None = None
    coils: list[bool] = field(default_factory=lambda: [False] * 8)
    inputs: list[bool] = field(default_factory=lambda: [False] * 8)
    registers: list[int] = field(default_factory=lambda: [0] * 16)
    measured: list[int] = field(default_factory=lambda: [0] * 16)
    count: int = 0
    """Of all reads of register 0, modulo nothing."""
    answers: list[Answer] = field(default_factory=list)
    writes: list[tuple[float, str, int, int]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    good: list[float] = field(default_factory=list)
    """When a question was answered as a good slave does (virtual s)."""
    failed: list[float] = field(default_factory=list)
    """When one was not, or a connection ended (virtual s)."""
    parted: list[float] = field(default_factory=list)
    """When a connection ended (virtual s); it is among `failed` too."""
    fell: list[float] = field(default_factory=list)
    """When it lost its power (virtual s)."""
    lied: list[float] = field(default_factory=list)
    """When noise looked like an answer (virtual s)."""
    lies: dict[int, list[float]] = field(default_factory=dict)
    """Counts that noise made up, which Modbus TCP, without a checksum, lets through, and when (virtual s)."""
    told: list[tuple[float, tuple[float | None, ...]]] = field(default_factory=list)
    """What the process measured when it was read, and the answer was good (virtual s); None where nobody asked."""
    silent: float = 0.0
    """The share of questions that are not answered; half of them are obeyed nevertheless."""
    late: float = 0.0
    """The share of answers that come after the time-out."""
    noisy: float = 0.0
    """The share of answers that are garbled."""
    stuck: float = 0.0
    """The share of writes to what commands move (coil 0, register 8) that are acknowledged and not obeyed."""
    ignored: list[float] = field(default_factory=list)
    """When one of them was acknowledged only (virtual s)."""
    excepts: float = 0.0
    """The share of questions that are answered with an exception (busy, failure, illegal address)."""

    _busy_until: float = 0.0

    @property
    def ails(self) -> bool:
        return self.silent + self.late + self.noisy + self.excepts > 0

    # -- wires -----------------------------------------------------------------------------------------------------

    def connect(self, wire: Wire) -> None:
        """Modbus TCP."""
        buffer = bytearray()

        def took(data: bytes) -> None:
            buffer.extend(data)
            while len(buffer) >= 7:
                tid, _, length, unit = struct.unpack_from(">HHHB", buffer)
                if len(buffer) < 6 + length:
                    return
                pdu = bytes(buffer[7 : 6 + length])
                del buffer[: 6 + length]
                self._asked(wire, pdu, partial(_in_tcp, tid, unit), 8)

        self._listen(wire, took)

    def connect_line(self, wire: Wire, in_order: bool = False) -> None:
        """Modbus RTU, on whatever carries bytes: a question comes in one piece.

        On a line (`in_order`) it answers one question after the other; what listens at a port of a host may be a
        program in which a quick answer overtakes a slow one.
        """

        def took(data: bytes) -> None:
            if len(data) < 4 or data[0] != self.unit or crc16(data[:-2]) != data[-2:]:
                return

            def framed(answer: bytes) -> bytes:
                frame = bytes((self.unit,)) + answer
                return frame + crc16(frame)

            self._asked(wire, data[1:-2], framed, 1, in_order)

        self._listen(wire, took)

    def _listen(self, wire: Wire, took: Callable[[bytes], None]) -> None:
        def heard(data: bytes) -> None:
            if data:
                took(data)
                return
            wire.listener = None
            wire.close()
            self._ended(wire)

        wire.listener = heard

    def _ended(self, wire: Wire) -> None:
        self.failed.append(self.now())
        self.parted.append(self.now())
        for answer in reversed(self.answers):
            if self.now() - answer.at > 1.0:
                return
            answer.sure = answer.sure and answer.wire is not wire

    def restart(self) -> None:
        """It lost its power: outputs fall, counters begin again."""
        self.advance()
        self.fell.append(self.now())
        for address in range(8):
            self._move("coil", address, 0, fell=True)
        for address in (8, 9):
            self._move("register", address, 0, fell=True)
        if self.process is not None:
            self.process.restart()

    def advance(self) -> None:
        """What is measured, up to now."""
        self.inputs[1] = self.coils[1]
        if self.process is not None:
            self.process.advance(self, self.now())

    def _asked(
        self, wire: Wire, pdu: bytes, framed: Callable[[bytes], bytes], kept: int, in_order: bool = False
    ) -> None:
        """`kept` bytes of a frame come through all noise."""
        (self.failed if self.ails else self.good).append(self.now())
        if self.dice.random() < self.silent:
            if self.dice.random() < 0.5:
                self._answer(wire, pdu)
            return
        if self.dice.random() < self.excepts:
            answer = bytes((pdu[0] | 0x80, self.dice.choice((1, 2, 3, 4, 6))))
        else:
            answer = self._answer(wire, pdu)
        frame = framed(answer)
        if self.dice.random() < self.noisy:
            frame = frame[:kept] + self.dice.randbytes(len(frame) - kept)
            if kept == 8 and frame[8:9] == answer[1:2]:
                self.lied.append(self.now())
                if pdu[:3] == b"\x03\x00\x00" and answer[0] == 3:
                    self.lies.setdefault(int.from_bytes(frame[9:11]), []).append(self.now())
        delay = 3.0 * self.dice.random() + 1.0 if self.dice.random() < self.late else 0.0
        if in_order:
            delay = max(delay, self._busy_until - self.now() + 0.01)
            self._busy_until = self.now() + delay
        if delay > 0.0:
            self.later(delay, self._send, wire, frame)
        else:  # what it takes is in the way's delay
            self._send(wire, frame)

    def _send(self, wire: Wire, frame: bytes) -> None:
        if wire.fileno() >= 0 and wire.other is not None:
            wire.send(frame)

    # -- what it does ----------------------------------------------------------------------------------------------

    def _answer(self, wire: Wire, pdu: bytes) -> bytes:
        self.advance()
        function, address, second = struct.unpack_from(">BHH", pdu)
        if function in (1, 2):
            bank = self.coils if function == 1 else self.inputs
            if address + second > len(bank):
                return bytes((function | 0x80, 2))
            bits = sum(bit << n for n, bit in enumerate(bank[address : address + second]))
            return struct.pack(">BB", function, (second + 7) // 8) + bits.to_bytes((second + 7) // 8, "little")
        if function in (3, 4):
            return self._read(wire, function, address, second)
        if function == 5:
            self._switch(address, second == 0xFF00)
            return pdu
        if function == 6:
            self._set(address, second)
            return pdu
        if function == 15:
            for n in range(second):
                self._switch(address + n, bool(pdu[6 + n // 8] >> n % 8 & 1))
            return pdu[:5]
        if function == 16:
            for n in range(second):
                (value,) = struct.unpack_from(">H", pdu, 6 + 2 * n)
                self._set(address + n, value)
            return pdu[:5]
        return bytes((function | 0x80, 1))

    def _read(self, wire: Wire, function: int, address: int, size: int) -> bytes:
        if address + size > 16:
            return bytes((function | 0x80, 2))
        bank = self.registers if function == 3 else self.measured
        if function == 3 and address == 0:
            self.count += 1
            self.registers[0] = self.count % 65_536
            self.registers[1] = 12_000
            self.answers.append(Answer(self.count, self.now(), wire, not self.ails))
        if function == 4 and self.process is not None and not self.ails:
            asked = range(address - 1, address - 1 + size)
            shown = enumerate(self.process.shown)
            self.told.append((self.now(), tuple(one if n in asked else None for n, one in shown)))
        return struct.pack(f">BB{size}H", function, 2 * size, *bank[address : address + size])

    def _switch(self, address: int, on: bool) -> None:
        self.writes.append((self.now(), "coil", address, int(on)))
        if address == 0 and self._sticks():
            return
        self._move("coil", address, int(on))
        self.inputs[1] = self.coils[1]

    def _set(self, address: int, value: int) -> None:
        self.writes.append((self.now(), "register", address, value))
        if address != 8 or not self._sticks():
            self._move("register", address, value)

    def _sticks(self) -> bool:
        sticks = bool(self.stuck) and self.dice.random() < self.stuck
        if sticks:
            self.ignored.append(self.now())
        return sticks

    def _move(self, kind: str, address: int, value: int, fell: bool = False) -> None:
        bank: list[Any] = self.coils if kind == "coil" else self.registers
        if bank[address] != value:
            bank[address] = bool(value) if kind == "coil" else value
            shown = () if self.process is None else self.process.shown
            self.moves.append(Move(self.now(), kind, address, value, shown, fell))


def _in_tcp(tid: int, unit: int, answer: bytes) -> bytes:
    return struct.pack(">HHHB", tid, 0, len(answer) + 1, unit) + answer
