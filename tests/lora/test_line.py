"""Modems that print a line a packet, by a pattern of the site file."""

from __future__ import annotations

import os
import tty
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.errors import DeviceError
from drivers.api import BusSpec, DeviceSpec
from drivers.lora.line import number, payload
from drivers.registry import open_bus
from tests.fakes.listening import Listening
from tests.fakes.store import FakeStore

PROFILE = {
    "name": "level",
    "lora": {"struct": [{"field": "level", "type": "u16be"}]},
    "points": {
        "level": {"field": "level", "scale": 1, "offset": 0, "unit": "mm", "writable": True, "low": None,
                  "high": None, "kind": "telemetry"},
    },
}  # fmt: skip
BY_PAYLOAD = r"rx (?P<data>[0-9A-Fa-f ]+)"
BY_NAME = r"<(?P<node>\w+)> rssi=(?P<rssi>\S+) snr=(?P<snr>\S+) data=(?P<data>\S*)"


class Printer:
    """A serial modem that only prints."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.appear()

    def appear(self) -> None:
        self.master, self.keep = os.openpty()
        tty.setraw(self.keep)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(self.keep))

    def vanish(self) -> None:
        self.link.unlink()
        os.close(self.keep)
        os.close(self.master)

    def say(self, data: bytes) -> None:
        os.write(self.master, data)


@pytest.fixture
def printer(tmp_path):
    made = Printer(tmp_path / "usb-modem")
    yield made
    made.vanish()


@pytest.fixture
async def listen(printer):
    made = []

    async def make(pattern, *nodes):
        devices = [DeviceSpec(f"n{n}", {"node": n} if n else {}, PROFILE) for n in nodes]
        options = {"port": str(printer.link), "baudrate": 9600, "pattern": pattern}
        spec = BusSpec("line", "lora_line", options, devices)
        made.append(Listening(open_bus(spec, SystemClock("always"), FakeStore())))
        await made[-1].up()
        return made[-1]

    yield make
    for one in made:
        await one.stop()


async def test_the_payloads_first_byte_says_whose_it_is(printer, listen):
    listening = await listen(BY_PAYLOAD, "01", "a2")
    printer.say(b"boot\r\nrx 01 00 2A\nrx A2002B\r\n\xff\xferx 77002C\r\nrx 0100")
    printer.say(b"2D\r\nrx 0\r\n")
    await listening.until(lambda: listening.values("n01.level") == [42, 45] and listening.values("na2.level") == [43])
    await listening.until(lambda: listening.wire.status()["garbage"] == 2)
    found = listening.wire.status()
    assert (found["frames"], found["foreign"]) == (4, 1)


async def test_a_line_that_names_the_node_and_the_signal(printer, listen):
    listening = await listen(BY_NAME, "07", "a2")
    printer.say(b"<7> rssi=-101.5 snr=-7 data=002A\n<0xA2> rssi=? snr=inf data=00:2b\n<8> rssi=0 snr=0 data=002A\n")
    printer.say(b"<7> rssi=-101.5 snr=-7 data=\n")
    await listening.until(lambda: listening.wire.status()["garbage"] == 1)
    assert listening.values("n07.level") == [42] and listening.values("na2.level") == [43]
    assert (listening.values("n07.rssi"), listening.values("n07.snr")) == ([-101.5], [-7.0])
    assert listening.wire.status()["foreign"] == 1
    told = {point.id for point in listening.wire.points}
    assert {"n07.rssi", "n07.snr", "n07.level"} <= told and not told & {"n07.sf", "n07.fcnt"}


async def test_the_only_device_of_a_line_needs_no_name(printer, listen):
    listening = await listen(BY_PAYLOAD, "")
    printer.say(b"rx 002A\n")
    await listening.until(lambda: listening.values("n.level") == [42])


async def test_a_port_that_goes_and_comes_back(printer, listen):
    listening = await listen(BY_PAYLOAD, "01")
    printer.vanish()
    await listening.until(lambda: listening.wire.status()["state"] == "down")
    printer.appear()
    await listening.up()
    printer.say(b"rx 01002A\n")
    await listening.until(lambda: listening.values("n01.level") == [42])


async def test_nothing_can_be_sent(printer, listen):
    listening = await listen(BY_PAYLOAD, "01")
    with pytest.raises(DeviceError, match="only listens"):
        await listening.wire.write("n01.level", 1)


def test_hexadecimal_digits_however_they_are_set_apart():
    for text in ("01A2", "01 a2", "01:A2", "0x01 0xA2", "01-a2", "0x01, 0xA2"):
        assert payload(text) == b"\x01\xa2"
    for text in (None, "", "0x", "1", "01A", "zz", "AB" * 256):
        assert payload(text) is None


@given(st.text(max_size=40))
@example("0\x1f")  # a blank for str.strip, none for float
def test_any_text_is_a_payload_or_a_number_or_neither(text):
    found = payload(text)
    assert found is None or 0 < len(found) <= 255
    figure = number(text)
    assert figure is None or abs(figure) < 10000
