"""The demo's slaves: the protocol to the letter, and readable by a master that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
import tty
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agent.demo.slave import RtuLine, crc16, pdu_answer, serve_tcp
from agent.demo.village import Village

needs_mbpoll = pytest.mark.skipif(shutil.which("mbpoll") is None, reason="needs Debian's mbpoll")


@pytest.fixture
def village():
    return Village(datetime(2026, 1, 15, 12, tzinfo=ZoneInfo("Europe/Paris")))


def ask(unit, text):
    return pdu_answer(unit, bytes.fromhex(text)).hex()


def test_crc():
    assert crc16(bytes.fromhex("010400000002")) == bytes.fromhex("71cb")  # a published example of the standard


def test_functions(village):
    io, works = village.line[10], village.plant[1]
    assert ask(io, "0100000008") == "010100"
    assert ask(io, "050002ff00") == "050002ff00"
    assert ask(io, "0f0000000801c1") == "0f00000008"
    assert io.relays == [True, False, False, False, False, False, True, True]
    assert ask(io, "0200000008") == "0201c1"  # the contacts follow the relays
    assert ask(io, "0f000000080130") == "0f00000008"
    assert ask(io, "0200000008") == "020100"  # but for the local switch, which stands on AUTO
    village.level = 50.0
    assert ask(works, "0400000002") == "0404" + struct.pack(">HH", 12000, 4000).hex()


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("0100000009", "8102"),  # beyond the eighth relay
        ("0500090000", "8502"),
        ("0500001234", "8503"),  # neither on nor off
        ("0400000001", "8402"),  # no analogue inputs on this one
        ("0100000000", "8103"),
        ("2b0e0100", "ab01"),
        ("0100", "8103"),
    ],
)
def test_exceptions(village, request_, answer):
    assert ask(village.line[10], request_) == answer


def test_meters_hold_floats(village):
    answer = bytes.fromhex(ask(village.line[1], "0400000002"))
    assert 225 < struct.unpack(">f", answer[2:])[0] < 240
    assert ask(village.line[2], "0403000002") == "8402"


def test_the_tank_fills_while_its_pump_runs(village):
    before = village.level
    village.step(10)
    assert village.level < before
    village.plant[1].set_bit(0, True)
    village.step(10)
    assert village.level > before


def test_the_school_warms_with_its_burner_and_cools_without(village):
    boiler, before = village.plant[2], village.room
    boiler.set_bit(0, True)
    village.step(2 * 3600)
    assert before + 2 < village.room < before + 8 and 50 < village.flow < 60
    boiler.set_bit(0, False)
    warm = village.room
    village.step(6 * 3600)
    assert before < village.room < warm - 2 and village.flow < 30


def test_a_day_of_the_village(village):
    """The same at any speed: a long step is many short ones."""
    days = [village, Village(village.now)]
    village.step(86400)
    for _ in range(1440):
        days[1].step(60)
    assert [day.now for day in days] == [datetime(2026, 1, 16, 12, tzinfo=village.now.tzinfo)] * 2
    assert days[0].room == pytest.approx(days[1].room) and days[0].level == pytest.approx(days[1].level)
    assert village.level == 3  # nobody pumped
    assert -2 < village.outdoors() < 14


async def exchange(near, question, length):
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    heard = bytearray()

    def read():
        heard.extend(os.read(near, 256))
        came.set()

    loop.add_reader(near, read)
    try:
        os.write(near, question)
        async with asyncio.timeout(2):
            while len(heard) < length:
                came.clear()
                await came.wait()
    finally:
        loop.remove_reader(near)
    return bytes(heard)


async def test_the_line_is_silent_to_noise_and_strangers(village, tmp_path):
    def frame(text):
        return bytes.fromhex(text) + crc16(bytes.fromhex(text))

    with RtuLine(tmp_path / "rtu", village.line, baudrate=115200).serving():
        near = os.open(tmp_path / "rtu", os.O_RDWR | os.O_NOCTTY)
        tty.setraw(near)
        try:
            os.write(near, frame("0b0100000008"))  # nobody has unit id 11
            os.write(near, frame("0a0100000008")[:-1] + b"\x00")  # a broken CRC
            os.write(near, b"\x0a\x01")  # half a question
            await asyncio.sleep(0.1)  # the silence that ends it, on the line's own time
            assert await exchange(near, frame("0a0100000008"), 6) == frame("0a010100")
        finally:
            os.close(near)
    assert not (tmp_path / "rtu").is_symlink()


async def run(*command):
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, output
    return output.decode()


@needs_mbpoll
async def test_mbpoll_reads_and_writes_the_line_and_comes_back(village, tmp_path):
    rtu = str(tmp_path / "rtu")
    master = ("mbpoll", "-m", "rtu", "-b", "9600", "-P", "none", "-1")
    with RtuLine(tmp_path / "rtu", village.line).serving():
        assert "[13]: \t3" in await run(*master, "-a", "1", "-t", "3:float", "-B", "-r", "13", "-c", "1", rtu)
        await run(*master, "-a", "10", "-t", "0", "-r", "1", rtu, "1")
        assert "[1]: \t1" in await run(*master, "-a", "10", "-t", "1", "-r", "1", "-c", "8", rtu)
        assert "[13]: \t1" in await run(*master, "-a", "1", "-t", "3:float", "-B", "-r", "13", "-c", "1", rtu)


@needs_mbpoll
async def test_mbpoll_reads_the_plant(village, unused_tcp_port):
    server = await serve_tcp("127.0.0.1", unused_tcp_port, village.plant)
    with contextlib.closing(server):
        text = await run("mbpoll", "-m", "tcp", "-p", str(unused_tcp_port), "-a", "1", "-t", "3", "-r", "1", "-c", "2",
                         "-1", "127.0.0.1")  # fmt: skip
    assert "[1]: \t10408" in text and "[2]: \t4000" in text
