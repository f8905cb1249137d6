"""What sends more than it can have to say costs a share of the loop; what was asked for is no flood."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import tty
from typing import Any

import pytest

from drivers.flood import Flood
from drivers.modbus.question import read
from drivers.modbus.tcp import TcpLink
from drivers.serial_port import SerialPort


async def test_a_serial_port_that_pours_is_read_for_a_part_of_each_second(caplog: pytest.LogCaptureFixture) -> None:
    """A USB device that is no adapter gives a thousand times what a line can; when it ends, the port is used as before.
    """
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    came, words = 0, asyncio.Event()

    def received(data: bytes) -> None:
        nonlocal came
        came += len(data)
        if data.endswith(b"hello"):
            words.set()

    port = SerialPort(os.ttyname(slave), received, pytest.fail, baudrate=9600)
    caplog.set_level(logging.WARNING, "bocage.serial")
    port.open()
    loop = asyncio.get_running_loop()
    start, end = loop.time(), threading.Event()
    os.set_blocking(master, False)

    def pour() -> None:
        while not end.is_set():
            try:
                os.write(master, b"\x01" * 4096)
            except BlockingIOError:
                end.wait(0.001)

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        while loop.time() - start < 1.2:
            await asyncio.sleep(0.1)
        most = 1 + int(loop.time() - start)  # seconds that have begun
        assert came <= most * (65536 + 9600 // 8)
        assert [record.getMessage().split(" form=")[0] for record in caplog.records] == [
            f"port floods port={port.name}"
        ]
        end.set()
        pouring.join()
        async with asyncio.timeout(10):
            while not words.is_set():
                with contextlib.suppress(BlockingIOError):  # full of what nobody reads at the moment
                    os.write(master, b"hello")
                await asyncio.sleep(0.05)
    finally:
        end.set()
        pouring.join()
        port.close()
        os.close(master)
        os.close(slave)


async def test_answers_to_many_questions_are_no_flood(slaves: Any) -> None:
    """A control that is asked for thousands of registers at once gives them all on one connection."""
    slave = slaves.tcp({1: slaves.Unit(holding=dict.fromkeys(range(125), 7))})
    link = TcpLink("127.0.0.1", slave.port, 5.0)
    await link.open()
    try:
        stream = link.host.stream
        assert stream is not None
        stream._flood = Flood(10_000)
        for _ in range(60):  # 15 kB
            assert len(await link.ask(read(link.framer, 1, 3, 0, 125))) == 252
        assert link.host.stream is stream
    finally:
        link.close()
