"""One question to a slave, framed once, and what an answer must look like to be its answer.

Function codes and layouts: MODBUS Application Protocol V1.1b3, section 6. pymodbus makes the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from pymodbus.framer.base import FramerBase
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    ReadWriteMultipleRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

__all__ = ["Function", "Question", "command_coil", "mask", "read", "read_write", "write_coil", "write_registers"]


class Function(IntEnum):
    """The function codes that are used."""

    READ_COILS = 1
    READ_DISCRETE = 2
    READ_HOLDING = 3
    READ_INPUT = 4
    WRITE_COIL = 5
    WRITE_REGISTER = 6
    WRITE_COILS = 15
    WRITE_REGISTERS = 16
    MASK_WRITE = 22
    READ_WRITE = 23


_READS: dict[int, type[ModbusPDU]] = {
    Function.READ_COILS: ReadCoilsRequest,
    Function.READ_DISCRETE: ReadDiscreteInputsRequest,
    Function.READ_HOLDING: ReadHoldingRegistersRequest,
    Function.READ_INPUT: ReadInputRegistersRequest,
}


@dataclass(frozen=True, slots=True)
class Question:
    """A framed request. An answer fits if it comes from `unit`, starts with `head` and has `size` bytes.

    `head` of a read is function and byte count, of a write the whole echo; `size` counts the PDU. `frame` is the
    whole ADU, on TCP with transaction id 0, to be replaced by that of the moment.
    """

    unit: int
    function: int
    address: int
    count: int
    frame: bytes
    head: bytes
    size: int
    once: bool = False
    """Whether to carry it out twice does something else than once: a pulse, a step."""

    @property
    def mirrors(self) -> bool:
        """Whether the answer can be the question over again: functions 5, 6 and 22, on a serial line."""
        return len(self.frame) == self.size + 3 and self.frame.startswith(self.head, 1)


def read(framer: FramerBase, unit: int, function: int, address: int, count: int) -> Question:
    """Functions 1 to 4: `count` bits (1..2000) or registers (1..125) from `address` (0..65535)."""
    size = (count + 7) // 8 if function <= Function.READ_DISCRETE else 2 * count
    frame = framer.buildFrame(_READS[function](dev_id=unit, address=address, count=count))
    return Question(unit, function, address, count, frame, bytes((function, size)), 2 + size)


def write_coil(framer: FramerBase, unit: int, address: int, on: bool, single: bool = True) -> Question:
    """Function 5, or 15 with one coil for a slave that does not know 5."""
    request: ModbusPDU
    if single:
        request = WriteSingleCoilRequest(dev_id=unit, address=address, bits=[on])
    else:
        request = WriteMultipleCoilsRequest(dev_id=unit, address=address, bits=[on])
    return _write(framer, request, 1)


def command_coil(framer: FramerBase, unit: int, address: int, word: int) -> Question:
    """Function 5 with a word of the maker's own in place of on and off, as for timed pulses; laid out as 6 is."""
    request = WriteSingleRegisterRequest(dev_id=unit, address=address, registers=[word])
    request.function_code = Function.WRITE_COIL
    return _write(framer, request, 1)


def write_registers(framer: FramerBase, unit: int, address: int, registers: list[int], single: bool) -> Question:
    """Function 6 for one register if `single`, else 16 for 1..123 of them."""
    request: ModbusPDU
    if single:
        request = WriteSingleRegisterRequest(dev_id=unit, address=address, registers=registers)
    else:
        request = WriteMultipleRegistersRequest(dev_id=unit, address=address, registers=registers)
    return _write(framer, request, len(registers))


def read_write(framer: FramerBase, unit: int, address: int, registers: list[int]) -> Question:
    """Function 23: writes 1..121 registers and reads the same ones back, for a slave that knows neither 6 nor 16."""
    count = len(registers)
    request = ReadWriteMultipleRegistersRequest(
        dev_id=unit, read_address=address, read_count=count, write_address=address, write_registers=registers
    )
    head = bytes((Function.READ_WRITE, 2 * count))
    return Question(unit, Function.READ_WRITE, address, count, framer.buildFrame(request), head, 2 + 2 * count)


def mask(framer: FramerBase, unit: int, address: int, bit: int, on: bool) -> Question:
    """Function 22: sets or clears one bit (0..15, 0 the least significant) of a holding register in the slave."""
    chosen = 1 << bit
    request = MaskWriteRegisterRequest(
        address=address, and_mask=0xFFFF & ~chosen, or_mask=chosen if on else 0, dev_id=unit
    )
    return _write(framer, request, 1)


def _write(framer: FramerBase, request: ModbusPDU, count: int) -> Question:
    """A write is acknowledged by its echo: whole for 5, 6 and 22, address and count for 15 and 16."""
    body = request.encode()
    if request.function_code in (Function.WRITE_COILS, Function.WRITE_REGISTERS):
        body = body[:4]
    head = bytes((request.function_code,)) + body
    frame = framer.buildFrame(request)
    return Question(request.dev_id, request.function_code, request.address, count, frame, head, len(head))
