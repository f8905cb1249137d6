"""How a point is written: by which function, and what is made of a slave that refuses it or acknowledges it badly.

A write is over when the slave acknowledges it, or when the point reads as it was to be written. So a damaged
acknowledgement never makes a failure of an output that moved.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Set
from dataclasses import replace

from agent.errors import DeviceError, Refused, WireError
from agent.model import Value
from drivers.modbus import question as ask
from drivers.modbus.link import Babble, Link, NoAnswer
from drivers.modbus.plan import Register
from drivers.modbus.question import Function, Question
from drivers.modbus.schedule import PolledDevice

__all__ = ["RegisterWriter"]

log = logging.getLogger("bocage.modbus")

_NO_FUNCTION, _ACKNOWLEDGE, _BUSY = 1, 5, 6
_MAYBE = "it may have been carried out"
_INSTEAD = {
    Function.WRITE_COIL: Function.WRITE_COILS,
    Function.WRITE_REGISTER: Function.WRITE_REGISTERS,
    Function.WRITE_REGISTERS: Function.READ_WRITE,
    Function.MASK_WRITE: Function.READ_HOLDING,
}
"""The fallback where a slave does not take the function: for a bit, reading and writing its register."""

Ask = Callable[[PolledDevice, Question], Awaitable[bytes]]


class RegisterWriter:
    """Writes points by `ask`, the line's one question at a time."""

    def __init__(self, link: Link, ask: Ask) -> None:
        self._link, self._framer, self._ask = link, link.framer, ask

    async def write(self, device: PolledDevice, register: Register, data: list[int]) -> None:
        """Write the registers `data`, or a bit. Refused, NoAnswer or Babble if the slave did not take it."""
        if register.point.moves:
            await self._move(device, register, data)
        else:
            await self._set(device, register, data)

    async def _set(self, device: PolledDevice, register: Register, data: list[int]) -> None:
        tried: set[int] = set()
        said: DeviceError | WireError | None = None
        while True:
            question = await self._question(device, register, data, device.unknown | tried)
            try:
                await self._order(device, question)
                break
            except (Refused, NoAnswer, Babble) as error:
                said = said or error
                if not await self._goes_on(device, register, data, question, error):
                    return
                if not self._has_instead(register, question, error):
                    _begin_anew(device, register)
                    raise said from None
                tried.add(question.function)
        if tried - device.unknown:  # what worked is remembered
            device.unknown |= tried
            names = ",".join(str(int(function)) for function in sorted(tried))
            log.info("function not taken device=%s function=%s next=%d", device.name, names, question.function)

    async def _goes_on(
        self,
        device: PolledDevice,
        register: Register,
        data: list[int],
        question: Question,
        error: DeviceError | WireError,
    ) -> bool:
        """Whether the write is still to be done after `error`; False if it was done nevertheless.

        `error` itself where there is no use in another try: the slave is busy, or says nothing at all.
        """
        if self._learns(device, register, question, error):
            return True
        if device.silent:
            raise error
        found = await self._state(device, register)
        if found is not None and found == _wanted(register, data):
            log.info('write not acknowledged device=%s point=%s reason="%s" next=it reads as written, so it is done',
                     device.name, register.point.id, error)  # fmt: skip
            return False
        code = error.code if isinstance(error, Refused) else None
        if code == _BUSY or (code is None and found is None):
            raise error
        return True

    def _learns(
        self, device: PolledDevice, register: Register, question: Question, error: DeviceError | WireError
    ) -> bool:
        """Whether the slave says that it has no such function, and another one is used from now on."""
        instead = _INSTEAD.get(Function(question.function))
        refused = isinstance(error, Refused) and error.code == _NO_FUNCTION
        if not refused or instead is None or register.write != "auto":
            return False
        device.unknown.add(question.function)
        log.info("function refused device=%s function=%d next=%d", device.name, question.function, instead)
        return True

    async def _order(self, device: PolledDevice, question: Question) -> None:
        """Ask for a write. Exception 5 says that it is accepted and takes its time: reading back shows the end."""
        try:
            await self._ask(device, question)
        except Refused as refused:
            if refused.code != _ACKNOWLEDGE:
                raise

    def _has_instead(self, register: Register, question: Question, error: DeviceError | WireError) -> bool:
        """Function 23 is for a slave that does not know 16; the others are tried whatever was wrong."""
        if register.write != "auto" or question.function not in _INSTEAD:
            return False
        unknown = isinstance(error, Refused) and error.code == _NO_FUNCTION
        return unknown or question.function != Function.WRITE_REGISTERS

    async def _move(self, device: PolledDevice, register: Register, data: list[int]) -> None:
        """A pulse, once: asked again only if its function is unknown. The output that it moves tells whether it came.

        That is read before; on a serial line it shows an echo too, and a pulse is not read back.
        """
        output = next((r for r in device.registers if r.point.id == register.point.moves), None)
        before = None if output is None else await self._state(device, output)
        question = await self._question(device, register, data, device.unknown)
        try:
            await self._order(device, question)
        except (Refused, NoAnswer, Babble) as error:
            if not register.is_bit and self._learns(device, register, question, error):
                return await self._move(device, register, data)
            after = None if output is None or before is None else await self._state(device, output)
            if after is None or after == before:
                _begin_anew(device, register)
                raise error if isinstance(error, Refused) else NoAnswer(f"{error}; {_MAYBE}") from error
            log.info('pulse not acknowledged device=%s point=%s reason="%s" next=the output moved, so it is done',
                     device.name, register.point.id, error)  # fmt: skip

    async def _state(self, device: PolledDevice, register: Register) -> Value:
        """The value that a point reads now; None if it cannot be read. A bad acknowledgement may have cost the
        connection.
        """
        try:
            if not self._link.is_open:
                await self._link.open()
            question = ask.read(self._framer, device.unit, register.function, register.address, register.count)
            answer = await self._ask(device, question)
        except (DeviceError, WireError):  # the next question reports the wire
            return None
        return bool(answer[2] & 1) if register.field is None else register.field.decode(answer[2:])

    async def _question(self, device: PolledDevice, register: Register, data: list[int], without: Set[int]) -> Question:
        question = await self._framed(device, register, data, without)
        return replace(question, once=True) if register.point.moves else question

    async def _framed(self, device: PolledDevice, register: Register, data: list[int], without: Set[int]) -> Question:
        framer, unit, address = self._framer, device.unit, register.address
        if register.is_bit and register.point.moves:
            return ask.command_coil(framer, unit, address, data[0])
        if register.is_bit:
            return ask.write_coil(framer, unit, address, bool(data[0]), _is_single(register, without))
        if register.field is not None and register.field.bit is not None:
            place, bit = register.field.place(register.field.bit)
            address += place
            if Function.MASK_WRITE not in without and register.write == "auto":
                return ask.mask(framer, unit, address, bit, bool(data[0]))
            answer = await self._ask(device, ask.read(framer, unit, Function.READ_HOLDING, address, 1))
            now = int.from_bytes(answer[2:4], "big")
            data = [now | 1 << bit if data[0] else now & ~(1 << bit)]
        single = len(data) == 1 and _is_single(register, without)
        if not single and Function.WRITE_REGISTERS in without:
            return ask.read_write(framer, unit, address, data)
        return ask.write_registers(framer, unit, address, data, single)


def _begin_anew(device: PolledDevice, register: Register) -> None:
    """The slave took no function at all: so it was not the function, and the next write tries the first one again."""
    device.unknown -= {Function.WRITE_COIL} if register.is_bit else _INSTEAD.keys()


def _is_single(register: Register, without: Set[int]) -> bool:
    """Whether function 5 or 6 is used, and not 15 or 16."""
    function = Function.WRITE_COIL if register.is_bit else Function.WRITE_REGISTER
    return register.write == "single" or (register.write == "auto" and function not in without)


def _wanted(register: Register, data: list[int]) -> Value:
    """The value that the point reads after `data` was written."""
    if register.field is None or register.field.bit is not None:
        return bool(data[0])
    return register.field.decode(b"".join(word.to_bytes(2, "big") for word in data))
