"""A small Modbus slave: RTU on a pseudo-terminal, and TCP.

It is the demo's own, so that the agent is not tested against its own library. Functions 1 to
6, 15, 16 and 23 (Modbus Application Protocol V1.1b3, section 6). The line is as slow as a real one: an answer takes
the time that question and answer need at 9600 baud.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from agent.demo.terminal import terminal

__all__ = ["Illegal", "RtuLine", "Unit", "crc16", "pdu_answer", "serve_tcp"]

FUNCTION, ADDRESS, VALUE = 1, 2, 3
FUNCTIONS = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 23})
BITS_PER_BYTE = 11
TURNAROUND = 0.005  # seconds that a meter thinks
SILENCE = 0.05  # seconds after which half a question is forgotten


class Illegal(Exception):
    """The device understood and says no; `code` is the Modbus exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Unit(Protocol):
    """One device behind a unit id. Each method raises Illegal(ADDRESS) for what it does not have."""

    def bits(self, table: str, address: int, count: int) -> list[bool]: ...

    def words(self, table: str, address: int, count: int) -> list[int]: ...

    def set_bit(self, address: int, on: bool) -> None: ...

    def set_word(self, address: int, word: int) -> None: ...


def pdu_answer(unit: Unit, pdu: bytes) -> bytes:
    """The answer to one request, an exception response if it must be."""
    try:
        return pdu[:1] + _carry_out(unit, pdu[0], pdu[1:])
    except Illegal as no:
        return bytes([pdu[0] | 0x80, no.code])
    except (struct.error, IndexError):
        return bytes([pdu[0] | 0x80, VALUE])


def _carry_out(unit: Unit, function: int, body: bytes) -> bytes:
    if function not in FUNCTIONS:
        raise Illegal(FUNCTION)
    address, argument = struct.unpack(">HH", body[:4])
    match function:
        case 1 | 2:
            return _packed(unit.bits("coil" if function == 1 else "discrete", address, _within(argument, 2000)))
        case 3 | 4:
            return _words(unit.words("holding" if function == 3 else "input", address, _within(argument, 125)))
        case 5:
            if argument not in (0, 0xFF00):
                raise Illegal(VALUE)
            unit.set_bit(address, argument == 0xFF00)
        case 6:
            unit.set_word(address, argument)
        case 15:
            unit.bits("coil", address, _within(argument, 1968))  # all or nothing
            for n in range(argument):
                unit.set_bit(address + n, bool(body[5 + n // 8] >> n % 8 & 1))
        case 16:
            _set_words(unit, address, body[5 : 5 + 2 * _within(argument, 123)])
        case 23:
            write_to, count = struct.unpack(">HH", body[4:8])
            _set_words(unit, write_to, body[9 : 9 + 2 * count])
            return _words(unit.words("holding", address, _within(argument, 125)))
    return body[:4]


def _within(count: int, most: int) -> int:
    if not 1 <= count <= most:
        raise Illegal(VALUE)
    return count


def _set_words(unit: Unit, address: int, data: bytes) -> None:
    for n, (word,) in enumerate(struct.iter_unpack(">H", data)):
        unit.set_word(address + n, word)


def _packed(bits: list[bool]) -> bytes:
    data = bytearray((len(bits) + 7) // 8)
    for n, bit in enumerate(bits):
        data[n // 8] |= bit << n % 8
    return bytes([len(data)]) + data


def _words(words: list[int]) -> bytes:
    return bytes([2 * len(words)]) + struct.pack(f">{len(words)}H", *words)


def crc16(data: bytes) -> bytes:
    """Modbus over serial line V1.02, appendix B; low byte first, as it goes on the wire."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return struct.pack("<H", crc)


class RtuLine:
    """Slaves on the far end of a pseudo-terminal; `link` is a symlink to the end that a master opens."""

    def __init__(self, link: Path, units: Mapping[int, Unit], baudrate: int = 9600) -> None:
        self._link, self._units = link, units
        self._byte_time = BITS_PER_BYTE / baudrate
        self._heard = bytearray()
        self._quiet: asyncio.TimerHandle | None = None
        self._master = -1

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer while the block runs."""
        try:
            with terminal(self._link, self._read) as self._master:
                yield
        finally:
            self._master = -1

    def _read(self) -> None:
        self._heard += os.read(self._master, 4096)
        if self._quiet is not None:
            self._quiet.cancel()
        while (length := _request_length(self._heard)) is not None and len(self._heard) >= length:
            frame = bytes(self._heard[:length])
            del self._heard[:length]
            self._answer(frame)
        self._quiet = asyncio.get_running_loop().call_later(SILENCE, self._heard.clear)

    def _answer(self, frame: bytes) -> None:
        unit = self._units.get(frame[0])
        if unit is None or crc16(frame[:-2]) != frame[-2:]:
            return  # not for us, or broken: a slave keeps silent
        said = frame[:1] + pdu_answer(unit, frame[1:-2])
        said += crc16(said)
        delay = TURNAROUND + (len(frame) + len(said)) * self._byte_time
        asyncio.get_running_loop().call_later(delay, self._write, said)

    def _write(self, data: bytes) -> None:
        if self._master >= 0:
            with contextlib.suppress(BlockingIOError):  # no reader: bytes are lost, as on a wire
                os.write(self._master, data)


def _request_length(heard: bytearray) -> int | None:
    """How long the request that begins here is, with its CRC; None while that is not known yet."""
    if len(heard) < 2:
        return None
    at = {15: 6, 16: 6, 23: 10}.get(heard[1])
    if at is None:
        return 8
    return at + 3 + heard[at] if len(heard) > at else None


async def serve_tcp(host: str, port: int, units: Mapping[int, Unit]) -> asyncio.Server:
    """Modbus TCP slaves (MBAP header: transaction, protocol 0, length, unit). A master may hold several connections."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                transaction, protocol, length, number = struct.unpack(">HHHB", await reader.readexactly(7))
                pdu = await reader.readexactly(length - 1)
                unit = units.get(number)
                if protocol or not pdu or unit is None:
                    continue
                said = pdu_answer(unit, pdu)
                writer.write(struct.pack(">HHHB", transaction, 0, len(said) + 1, number) + said)
                await writer.drain()

    return await asyncio.start_server(converse, host, port)
