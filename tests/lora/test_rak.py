"""RAK modems on pseudo-terminals: both dialects, and everything that goes wrong with them."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.errors import DeviceError, WireError
from agent.model import Quality
from drivers.api import BusSpec, DeviceSpec
from drivers.lora import rak
from drivers.lora.rak import ModemNotice, Packet, RakP2p, parse
from drivers.registry import open_bus
from tests.fakes.listening import Listening
from tests.fakes.rak_modem import RakModem
from tests.fakes.store import FakeStore

PROFILE = {
    "name": "cistern",
    "lora": {
        "struct": [{"field": "level", "type": "u16be", "scale": 0.1}, {"field": "valve", "type": "u8"}],
        "downlink": [{"field": "valve", "prefix": "a0", "as": "u8"}],
        "interval": 600.0,
    },
    "points": {
        name: {"field": name, "scale": 1, "offset": 0, "unit": unit, "writable": name == "valve", "low": None,
               "high": None, "kind": "telemetry"}
        for name, unit in (("level", "cm"), ("valve", ""))
    },
}  # fmt: skip


def bus(port: Path, *nodes: str, **options: Any) -> Any:
    options = {"port": str(port), "baudrate": 115200, "frequency": 868_100_000, "spreading_factor": 7,
               "bandwidth": 125_000, "coding_rate": "4/5", "preamble": 8, "power": 14.0} | options  # fmt: skip
    devices = [DeviceSpec(f"n{node}", {"node": node}, PROFILE) for node in nodes or ("01", "02")]
    return open_bus(BusSpec("rak", "lora_rak_p2p", options, devices), SystemClock("always"), FakeStore())


@pytest.fixture
def port(tmp_path):
    return tmp_path / "usb-RAK-if00"


@pytest.fixture
def make_modem(port):
    made = []

    def make(**habits):
        made.append(RakModem(port, **habits))
        return made[-1]

    yield make
    for modem in made:
        modem.end()
        assert modem.failure is None


@pytest.fixture
async def listen(port):
    made = []

    async def make(*nodes, **options):
        made.append(Listening(bus(port, *nodes, **options)))
        return made[-1]

    yield make
    for one in made:
        await one.stop()


def cistern(node: int, level: float, valve: int = 0) -> bytes:
    return bytes([node]) + round(level * 10).to_bytes(2, "big") + bytes([valve])


async def hears(modem, listening, payload, **how):
    """Once the modem receives (it may just be set up again), this packet comes through."""
    before = len(listening.readings)
    await listening.until(lambda: modem.hear(payload, **how))
    await listening.until(lambda: len(listening.readings) > before)


DIALECTS = [
    {"dialect": "rui3", "bandwidths": ("125",)},
    {"dialect": "rui3", "bandwidths": ("0",)},
    {"dialect": "rui3", "bandwidths": ("125000", "125"), "mode": 1},
    {"dialect": "rui3", "mode": 1, "reboots": False, "echo": True, "strict": True},
    {"dialect": "old", "bandwidths": ("125",), "mode": 1},
    {"dialect": "old", "bandwidths": ("0", "125"), "chunk": 3},
    {"dialect": "rui3", "chunk": 1},
]


@pytest.mark.parametrize("habits", DIALECTS, ids=lambda habits: "-".join(map(str, habits.values())))
async def test_every_dialect_is_set_up_heard_and_written(habits, make_modem, listen):
    modem = make_modem(**habits)
    listening = await listen()
    await listening.up()
    frequency, spreading, bandwidth, *rest = modem.settings.split(":")
    assert (modem.mode, frequency, spreading, rest) == (0, "868100000", "7", ["0", "8", "14"])
    assert bandwidth == habits.get("bandwidths", ("125",))[0]
    await hears(modem, listening, cistern(1, 123.4), rssi=-97, snr=-4)
    assert listening.values("n01.level") == [123.4]
    assert (listening.values("n01.rssi"), listening.values("n01.snr")) == ([-97], [-4])
    assert listening.values("n01.sf") == [7]
    assert not listening.values("n02.level")
    await listening.wire.write("n02.valve", 1)
    assert modem.sent == [bytes.fromhex("02a001")]
    await hears(modem, listening, cistern(2, 5.0, 1))
    assert listening.values("n02.valve") == [1]


async def test_settings_that_are_there_already_are_not_written_again(make_modem, listen):
    modem = make_modem()
    modem.settings = "868100000:7:125:0:8:14"
    await (await listen()).up()
    assert not [c for c in modem.commands if c.startswith("AT+P2P=8") or c == "AT+NWM=0"]


async def test_frames_split_joined_and_between_garbage(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    one = [f"+EVT:RXP2P:-60:11:{cistern(1, level).hex()}" for level in (1.0, 2.0, 3.0, 4.0)]
    modem.say(b"\x00\xff\xfe\x1b[0m\r\n" + f"boot ok\n{one[0]}\r\n{one[1]}\n\r\n".encode())
    for part in (one[2][:9], one[2][9:20], one[2][20:], "\r", "\n"):
        modem.say(part)
        await asyncio.sleep(0)
    modem.say(b"\x80\x81+EV" + one[3].encode() + b"\r\n")
    await listening.until(lambda: listening.values("n01.level") == [1.0, 2.0, 3.0, 4.0])
    assert listening.wire.status()["garbage"] >= 1


async def test_no_line_end_for_long_and_noise_cost_no_frame_that_follows(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    for _ in range(20):
        modem.say(b"\xa5A" * 256)
        await listening.until(lambda: len(listening.wire._port._rest) <= 1024)
    modem.say("\r\n")
    await hears(modem, listening, cistern(1, 7.0))
    assert listening.values("n01.level") == [7.0]
    assert listening.wire.status()["garbage"] == 1


async def test_foreign_frames_and_duplicates_are_counted(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    modem.hear(b"\x77\x00\x01")
    modem.hear(b"")
    for _ in range(3):
        modem.hear(cistern(1, 5.0))
    modem.hear(cistern(1, 6.0))
    await listening.until(lambda: listening.values("n01.level") == [5.0, 6.0])
    found = listening.wire.status()
    assert (found["frames"], found["foreign"], found["repeated"]) == (5, 1, 2)


async def test_a_payload_that_does_not_decode_is_kept_with_the_reason(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    await hears(modem, listening, b"\x01\x00")
    assert not listening.values("n01.level")
    assert listening.values("n01.codec_error")[-1]


@pytest.mark.parametrize("word", ["RECEIVE TIMEOUT", "RECEIVE ERROR"])
async def test_reception_that_ends_is_started_again(word, make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    modem.receiving = 0
    modem.say(f"\r\n+EVT:RXP2P {word}\r\n")
    await hears(modem, listening, cistern(1, 5.0))


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_modem_that_starts_anew_is_set_up_again(forgets, make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    if forgets:
        modem.forget()
    modem.reset()
    await hears(modem, listening, cistern(1, 5.0))
    assert modem.settings.startswith("868100000:7:")
    assert listening.wire.status()["resets"] == 1


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_reset_without_a_word_is_found_by_looking(forgets, make_modem, listen, monkeypatch):
    monkeypatch.setattr(rak, "_SILENCE", 0.2)
    modem = make_modem(strict=True)
    listening = await listen()
    await listening.up()
    if forgets:
        modem.forget()
    modem.reset(banner=False)
    await hears(modem, listening, cistern(1, 5.0))


async def test_a_modem_that_falls_mute_is_noticed_and_comes_back(make_modem, listen, monkeypatch):
    monkeypatch.setattr(rak, "_SILENCE", 0.2)
    monkeypatch.setattr(rak, "_ANSWER", 0.4)
    modem = make_modem()
    listening = await listen()
    await listening.up()
    modem.mute = True
    await listening.until(lambda: listening.wire.status()["state"] == "down")
    assert "does not answer" in listening.wire.status()["error"] or "no modem" in listening.wire.status()["error"]
    modem.mute = False
    await listening.up()
    await hears(modem, listening, cistern(1, 5.0))
    assert listening.wire.status()["error"] == ""


async def test_unplugged_and_back_under_another_name(make_modem, listen, port):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    before = port.readlink()
    modem.vanish()
    await listening.until(lambda: listening.wire.status()["state"] == "down")
    held = os.openpty()  # so that the next terminal gets another number
    with pytest.raises(WireError):
        await listening.wire.write("n01.valve", 1)
    modem.forget()
    modem.appear()
    await hears(modem, listening, cistern(1, 5.0))
    assert port.readlink() != before
    for fd in held:
        os.close(fd)


async def test_a_port_that_another_program_holds_is_waited_for(make_modem, listen, port):
    modem = make_modem()
    fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    listening = await listen()
    await listening.until(lambda: "used by another program" in listening.wire.status()["error"])
    os.close(fd)
    await hears(modem, listening, cistern(1, 5.0))


async def test_a_modem_that_refuses_the_settings_says_which(make_modem, listen):
    make_modem()
    listening = await listen(power=30.0)
    await listening.until(lambda: listening.wire.status()["error"])
    error = listening.wire.status()["error"]
    assert "868100000:7:125:0:8:30" in error and "AT_PARAM_ERROR" in error


async def test_a_busy_modem_is_asked_again(make_modem, listen):
    modem = make_modem()
    modem.busy = 3
    listening = await listen()
    await listening.up()
    modem.busy = 2
    await listening.wire.write("n01.valve", 1)
    assert modem.sent == [bytes.fromhex("01a001")]


async def test_what_the_modem_refuses_or_does_not_send_is_said(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    modem.refuse["AT+PSEND"] = "AT_PARAM_ERROR"
    with pytest.raises(DeviceError, match="refused to send: AT_PARAM_ERROR"):
        await listening.wire.write("n01.valve", 1)
    modem.refuse.clear()
    modem.after_send = "+EVT:TXP2P CAD BUSY"
    with pytest.raises(DeviceError, match="CAD BUSY"):
        await listening.wire.write("n01.valve", 1)
    await hears(modem, listening, cistern(1, 5.0))


async def test_a_modem_that_forgot_its_mode_is_set_up_and_then_sends(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    modem.forget()
    await listening.wire.write("n01.valve", 1)
    assert modem.sent == [bytes.fromhex("01a001")]
    assert modem.mode == 0


async def test_no_word_of_the_packet_is_a_failure(make_modem, listen, monkeypatch):
    monkeypatch.setattr(rak, "_AIRTIME", 0.1)
    modem = make_modem()
    listening = await listen()
    await listening.up()
    modem.after_send = ""
    with pytest.raises(DeviceError, match="did not say"):
        await listening.wire.write("n01.valve", 1)


async def test_a_write_that_is_called_off_or_too_late_is_not_sent(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    with pytest.raises(DeviceError, match="expired"):
        await listening.wire.write("n01.valve", 1, until=0.0)
    waits = asyncio.create_task(listening.wire.write("n01.valve", 1))
    newer = asyncio.create_task(listening.wire.write("n01.valve", 2))
    await newer
    with pytest.raises(DeviceError, match="newer value"):
        await waits
    assert modem.sent == [bytes.fromhex("01a002")]


async def test_what_was_heard_before_a_write_confirms_nothing(make_modem, listen):
    modem = make_modem()
    listening = await listen()
    await listening.up()
    await hears(modem, listening, cistern(1, 5.0, valve=0))
    assert [r.value for r in await listening.wire.read(["n01.valve", "n01.level"])] == [0, 5.0]
    await listening.wire.write("n01.valve", 1)
    found = await listening.wire.read(["n01.valve", "n01.level"])
    assert [r.quality for r in found] == [Quality.BAD, Quality.GOOD]
    await hears(modem, listening, cistern(1, 5.0, valve=1))
    assert [r.value for r in await listening.wire.read(["n01.valve"])] == [1]


async def test_without_a_listener_one_can_write_and_hear_why_not(make_modem, port):
    wire = bus(port)
    with pytest.raises(WireError, match="No such file"):
        await wire.read(["n01.level"])
    modem = make_modem()
    assert [r.quality for r in await wire.read(["n01.level"])] == [Quality.BAD]
    await wire.write("n01.valve", 1)
    assert modem.sent == [bytes.fromhex("01a001")]
    assert wire.status()["state"] == "down"
    with pytest.raises(DeviceError, match="not a point"):
        await wire.read(["n09.level"])


async def test_the_next_sign_of_life_is_always_owed(make_modem, listen, port):
    """Without a modem, with one that says nothing, and with one that is well: never more than a minute or so."""
    clock = SystemClock("always")
    listening = await listen()
    await listening.until(lambda: "No such file" in listening.wire.status()["error"])
    assert listening.wire.due() - clock.monotonic() < 70
    modem = make_modem()
    await listening.up()
    await hears(modem, listening, cistern(1, 5.0))
    assert 0 < listening.wire.due() - clock.monotonic() < 70


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("+EVT:RXP2P:-60:11:AABBCCDD", Packet(b"\xaa\xbb\xcc\xdd", -60, 11)),
        ("+EVT:RXP2P:-50:10:4:AABBCCDD", Packet(b"\xaa\xbb\xcc\xdd", -50, 10)),
        ("+EVT:RXP2P:RSSI -52:SNR 8:4757", Packet(b"GW", -52, 8)),
        ("+EVT:RXP2P, RSSI -60, SNR -11", Packet(None, -60, -11)),
        ("+EVT:aabbccdd", Packet(b"\xaa\xbb\xcc\xdd")),
        ("\x80noise+EVT:RXP2P:-60:11:AA", Packet(b"\xaa", -60, 11)),
        ("+EVT:RXP2P:-60:1+EVT:RXP2P:-61:9:AB", Packet(b"\xab", -61, 9)),
        ("+EVT:RXP2P RECEIVE TIMEOUT", ModemNotice("RXP2P RECEIVE TIMEOUT")),
        ("+EVT:RXP2P RECEIVE ERROR", ModemNotice("RXP2P RECEIVE ERROR")),
        ("+EVT:TXP2P DONE", ModemNotice("TXP2P DONE")),
        ("+EVT:RXP2P:-60:11", None),
        ("+EVT:RXP2P:-60:11:ABC", None),
        ("+EVT:RXP2P:-60:11:XY", None),
        ("+EVT:RXP2P:::AB", None),
        ("+EVT:" + "AB" * 256, None),
        ("+EVT:JOINED", None),
        ("OK", None),
        ("", None),
    ],
)
def test_event_lines(line, found):
    assert parse(line) == found


_PIECES = st.sampled_from(
    ["+EVT:", "RXP2P", ":", ",", "-60", "11", "AABB", " RSSI ", " SNR ", "RECEIVE ERROR", "OK", "\r\n", "é", "9" * 400]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES | st.text(max_size=8), max_size=30).map("".join))
def test_any_text_is_a_packet_a_signal_or_nothing(text):
    found = parse(text)
    assert found is None or isinstance(found, Packet | ModemNotice)
    if isinstance(found, Packet):
        assert len(found.payload or b"") <= 255
        assert all(figure is None or abs(figure) < 1000 for figure in (found.rssi, found.snr))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200) | _PIECES.map(str.encode), max_size=40))
def test_any_bytes_leave_the_modem_well_and_its_memory_small(chunks):
    """What the port and the driver do with bytes, without a port: no exception but a restart, nothing kept for ever."""
    wire = bus(Path("/nowhere"))
    assert isinstance(wire, RakP2p)
    lines = wire._port
    for chunk in chunks:
        lines.feed(chunk)
        assert len(lines._rest) <= 1024 and len(lines._lines) <= 500
    while lines._lines:
        try:
            wire._take(lines._lines.popleft())
        except rak.Restarted:
            continue
    assert wire._frames.qsize() <= 1000
    assert len(wire._recent) <= 2
