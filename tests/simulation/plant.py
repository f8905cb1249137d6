"""The devices of the simulated village: Modbus slaves of raw frames, with an account of their own of what was asked."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.wire import Wire

__all__ = ["Slave"]


@dataclass(slots=True)
class Answer:
    """What was read of the counter, when its answer was sent (virtual s), and by which connection."""

    count: int
    at: float
    wire: Any
    sure: bool = True
    """Whether it was answered as a good slave does: in time, to the letter, on a connection that stayed."""


@dataclass
class Slave:
    """A Modbus TCP host of one unit. Register 0 counts how often it was read, so that a lost reading shows.

    Registers 8 and 9 are levels that can be commanded, coils 0 to 7 relays. `writes` are all that came: (when, "coil"
    or "register", address, value).
    """

    now: Callable[[], float]
    later: Callable[..., Any]
    dice: random.Random
    coils: list[bool] = field(default_factory=lambda: [False] * 8)
    registers: list[int] = field(default_factory=lambda: [0] * 16)
    count: int = 0
    """Of all reads of register 0, modulo nothing."""
    answers: list[Answer] = field(default_factory=list)
    writes: list[tuple[float, str, int, int]] = field(default_factory=list)
    silent: float = 0.0
    """The share of questions that are not answered."""
    late: float = 0.0
    """The share of answers that come after the time-out."""
    noisy: float = 0.0
    """The share of answers that are garbled."""
    excepts: float = 0.0
    """The share of questions that are answered with an exception (busy, failure, illegal address)."""

    @property
    def ails(self) -> bool:
        return self.silent + self.late + self.noisy + self.excepts > 0

    def connect(self, wire: Wire) -> None:
        buffer = bytearray()

        def took(data: bytes) -> None:
            if not data:
                wire.listener = None
                wire.close()
                self._ended(wire)
                return
            buffer.extend(data)
            while len(buffer) >= 7:
                tid, _, length, unit = struct.unpack_from(">HHHB", buffer)
                if len(buffer) < 6 + length:
                    return
                pdu = bytes(buffer[7 : 6 + length])
                del buffer[: 6 + length]
                self._asked(wire, tid, unit, pdu)

        wire.listener = took

    def _ended(self, wire: Wire) -> None:
        for answer in reversed(self.answers):
            if self.now() - answer.at > 1.0:
                return
            answer.sure = answer.sure and answer.wire is not wire

    def restart(self) -> None:
        """It lost its power: outputs fall, counters begin again."""
        self.coils[:] = [False] * 8
        self.registers[8:10] = [0, 0]

    def _asked(self, wire: Wire, tid: int, unit: int, pdu: bytes) -> None:
        if self.dice.random() < self.silent:
            return
        if self.dice.random() < self.excepts:
            answer = bytes((pdu[0] | 0x80, self.dice.choice((1, 2, 3, 4, 6))))
        else:
            answer = self._answer(wire, pdu)
        if self.dice.random() < self.noisy:
            answer = bytes((answer[0],)) + self.dice.randbytes(len(answer) - 1)
        frame = struct.pack(">HHHB", tid, 0, len(answer) + 1, unit) + answer
        delay = 3.0 * self.dice.random() + 1.0 if self.dice.random() < self.late else 0.01
        self.later(delay, self._send, wire, frame)

    def _send(self, wire: Wire, frame: bytes) -> None:
        if wire.fileno() >= 0 and wire.other is not None:
            wire.send(frame)

    def _answer(self, wire: Wire, pdu: bytes) -> bytes:
        function, address, second = struct.unpack_from(">BHH", pdu)
        if function == 3:
            if address + second > 16:
                return bytes((0x83, 2))
            if address == 0:
                self.count += 1
                self.registers[0] = self.count % 65_536
                self.registers[1] = 12_000
                self.answers.append(Answer(self.count, self.now(), wire, not self.ails))
            return struct.pack(f">BB{second}H", 3, 2 * second, *self.registers[address : address + second])
        if function == 1:
            bits = sum(bit << n for n, bit in enumerate(self.coils[address : address + second]))
            return struct.pack(">BB", 1, (second + 7) // 8) + bits.to_bytes((second + 7) // 8, "little")
        if function == 2:
            return bytes((2, (second + 7) // 8)) + bytes((second + 7) // 8)
        if function == 5:
            self.coils[address] = second == 0xFF00
            self.writes.append((self.now(), "coil", address, int(second == 0xFF00)))
            return pdu
        if function == 6:
            self.registers[address] = second
            self.writes.append((self.now(), "register", address, second))
            return pdu
        if function == 15:
            for n in range(second):
                self.coils[address + n] = bool(pdu[6 + n // 8] >> n % 8 & 1)
                self.writes.append((self.now(), "coil", address + n, int(self.coils[address + n])))
            return pdu[:5]
        if function == 16:
            for n in range(second):
                (value,) = struct.unpack_from(">H", pdu, 6 + 2 * n)
                self.registers[address + n] = value
                self.writes.append((self.now(), "register", address + n, value))
            return pdu[:5]
        return bytes((function | 0x80, 1))
