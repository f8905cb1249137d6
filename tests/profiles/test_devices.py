"""Every Modbus profile of the package against registers as its maker documents them.

The slave and its bytes are independent of the driver: each case gives the raw registers, big-endian words as on the
wire, and what must be read from them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.errors import DeviceError
from agent.model import Quality
from agent.site.profiles.model import Library
from drivers.api import BusSpec, DeviceSpec
from drivers.registry import open_bus
from tests.fakes import modbus_slave

ROOT = Path(__file__).parent.parent.parent
MODBUS = sorted(
    path.stem
    for path in (ROOT / "drivers/profiles").glob("*.yaml")
    if "\nlora:" not in path.read_text(encoding="utf-8")
)


def words(form: str, *values: Any) -> list[int]:
    """The registers of values packed most significant word first."""
    data = struct.pack(f">{form}", *values)
    return [n for (n,) in struct.iter_unpack(">H", data)]


def low_first(value: int) -> list[int]:
    """A signed 32-bit value, low word first, as Carlo Gavazzi's meters send it."""
    return words("i", value)[::-1]


EASTRON = {0x00: words("f", 230.1), 0x06: words("f", 2.66), 0x0C: words("f", 612.5), 0x46: words("f", 50.02),
           0x48: words("f", 1234.56), 0x156: words("f", 1240.0)}  # fmt: skip
GAVAZZI = {0x00: low_first(2301), 0x02: low_first(2299), 0x04: low_first(2310), 0x0C: low_first(70_123),
           0x0E: low_first(5), 0x10: low_first(-1), 0x28: low_first(-123_456), 0x12: low_first(70_000)}  # fmt: skip
ABB = {0x5000: words("Q", 123_456_789), 0x5B00: words("I", 2301), 0x5B0C: words("I", 70_123),
       0x5B14: words("i", -612_50), 0x5B2C: words("H", 4998)}  # fmt: skip

CASES: dict[str, tuple[str, dict[int, list[int]], dict[str, Any]]] = {
    "eastron_sdm120": ("input", EASTRON, {
        "voltage": 230.1, "current": 2.66, "active_power": 612.5, "frequency": 50.02, "energy_import": 1234.56,
        "energy_total": 1240.0,
    }),
    "eastron_sdm630": ("input", {
        0: words("3f", 230.1, 231.2, 229.3), 6: words("3f", 1.5, 2.5, 3.5), 0x0C: words("3f", 100, 200, 300),
        0x34: words("f", -600.5), 0x46: words("f", 49.98), 0x48: words("f", 99.9), 0x156: words("f", 100.1),
    }, {
        "voltage_l1": 230.1, "voltage_l2": 231.2, "voltage_l3": 229.3, "current_l3": 3.5, "active_power_l2": 200.0,
        "active_power": -600.5, "frequency": 49.98, "energy_import": 99.9, "energy_total": 100.1,
    }),
    "carlo_gavazzi_em340": ("input", {**GAVAZZI, 0x33: words("h", 500), 0x34: low_first(1_234_567)}, {
        "voltage_l1": 230.1, "voltage_l2": 229.9, "voltage_l3": 231.0, "current_l1": 70.123, "current_l2": 0.005,
        "current_l3": -0.001, "active_power": -12345.6, "active_power_l1": 7000.0, "frequency": 50.0,
        "energy_import": 123456.7,
    }),
    "carlo_gavazzi_em24": ("input", {**GAVAZZI, 0x37: words("h", 499), 0x42: low_first(1_234_567)}, {
        "voltage_l1": 230.1, "current_l1": 70.123, "active_power": -12345.6, "frequency": 49.9,
        "energy_import": 123456.7,
    }),
    "schneider_iem3155": ("holding", {
        0xBB7: words("3f", 1.25, 2.5, 3.75), 0xBD3: words("3f", 230.1, 231.2, 229.3), 0xBF3: words("f", 1.2345),
        0xC25: words("f", 50.01), 0xC83: words("q", 1_234_567),
    }, {
        "current_l1": 1.25, "current_l2": 2.5, "current_l3": 3.75, "voltage_l1": 230.1, "voltage_l2": 231.2,
        "voltage_l3": 229.3, "active_power": 1234.5, "frequency": 50.01, "energy_import": 1234.567,
    }),
    "abb_b23": ("holding", ABB, {
        "energy_import": 1234567.89, "voltage_l1": 230.1, "current_l1": 701.23, "active_power": -612.5,
        "frequency": 49.98,
    }),
    "r4dcb08": ("holding", {0: words("8h", 214, -55, 0, 1250, -550, 1, -1, -32768)}, {
        "temperature1": 21.4, "temperature2": -5.5, "temperature3": 0.0, "temperature4": 125.0,
        "temperature5": -55.0, "temperature6": 0.1, "temperature7": -0.1, "temperature8": None,
    }),
    "waveshare_ai_8ch": ("input", {0: [4000, 12_000, 20_000, 0, 3600, 20_500, 21_000, 1]}, {
        "ai1": 4000, "ai2": 12_000, "ai3": 20_000, "ai4": 0, "ai5": 3600, "ai6": 20_500, "ai7": 21_000, "ai8": 1,
    }),
    "relay8_ai8": ("input", {0: [4000, 12_000, 20_000, 0, 3600, 20_500, 21_000, 1]}, {
        "ai1": 4000, "ai8": 1, "relay1": False,
    }),
    "relay8_di8": ("input", {}, {"relay1": False, "relay8": False, "di1": False}),
    "waveshare_relay_8ch": ("holding", {}, {"relay1": False, "relay8": False}),
}  # fmt: skip

NOTHING = {
    "carlo_gavazzi_em340": ("input", dict.fromkeys(range(0, 0x42, 2), low_first(0x7FFFFFFF)) | {0x33: [0x7FFF]},
                            ["voltage_l1", "current_l2", "active_power", "frequency", "energy_import"]),
    "carlo_gavazzi_em24": ("input", dict.fromkeys(range(0, 0x44, 2), low_first(0x7FFFFFFF)) | {0x37: [0x7FFF]},
                           ["voltage_l1", "current_l2", "active_power", "frequency", "energy_import"]),
    "abb_b23": ("holding", {0x5000: [0xFFFF] * 4, 0x5B00: [0xFFFF] * 20, 0x5B14: words("4i", *[0x7FFFFFFF] * 4),
                            0x5B2C: [0xFFFF]},
                ["voltage_l1", "current_l3", "active_power", "active_power_l3", "frequency", "energy_import"]),
    "schneider_iem3155": ("holding", {0xBB7: [0xFFC0, 0] * 30, 0xBF3: [0xFFC0, 0], 0xC25: [0x7FC0, 0],
                                      0xC83: [0x8000, 0, 0, 0]},
                          ["voltage_l1", "current_l1", "active_power", "frequency", "energy_import"]),
    "eastron_sdm120": ("input", {0: [0x7FC0, 0] * 40}, ["voltage", "current", "active_power", "frequency"]),
}  # fmt: skip
"""What each sends for a quantity that it does not have, and the points that must then be bad."""


def table(registers: dict[int, list[int]]) -> dict[int, int]:
    """Address to word, zeros in the gaps: a meter answers for those too."""
    found = {start + n: word for start, block in registers.items() for n, word in enumerate(block)}
    return {n: 0 for start in registers for n in range(start - 10, start + 60) if n >= 0} | found


class Stand:
    """A slave with one device of a profile, and a wire of the driver to it."""

    def __init__(self, profile: str, kind: str, registers: dict[int, list[int]]) -> None:
        self.unit = modbus_slave.Unit(
            coil=dict.fromkeys(range(8), 0), discrete=dict.fromkeys(range(8), 0), **{kind: table(registers)}
        )
        self.slave = modbus_slave.TcpSlave({3: self.unit})
        data = Library(ROOT).get(profile)
        spec = DeviceSpec("d", {"unit_id": 3}, data)
        options = {"host": "127.0.0.1", "port": self.slave.port, "timeout": 1.0}
        self.wire: Any = open_bus(BusSpec("b", "modbus_tcp", options, (spec,)), SystemClock("always"), None)  # type: ignore[arg-type]

    def read(self, names: list[str]) -> dict[str, Any]:
        async def run() -> Any:
            try:
                return await self.wire.read([f"d.{name}" for name in names])
            finally:
                await self.wire.close()

        return {reading.point[2:]: reading for reading in asyncio.run(run())}

    def write(self, *writes: tuple[str, Any]) -> None:
        async def run() -> None:
            try:
                for name, value in writes:
                    await self.wire.write(f"d.{name}", value)
            finally:
                await self.wire.close()

        asyncio.run(run())


@pytest.fixture
def stand() -> Iterator[Any]:
    made: list[Stand] = []

    def make(*arguments: Any) -> Stand:
        made.append(Stand(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.slave.end()


def test_every_modbus_profile_has_its_case() -> None:
    assert set(MODBUS) == set(CASES)


@pytest.mark.parametrize("profile", CASES)
def test_what_the_maker_documents_is_read(stand: Any, profile: str) -> None:
    kind, registers, expected = CASES[profile]
    found = stand(profile, kind, registers).read(list(expected))
    assert {name: reading.value for name, reading in found.items()} == expected
    assert [n for n, r in found.items() if (r.quality is Quality.GOOD) != (expected[n] is not None)] == []


@pytest.mark.parametrize("profile", NOTHING)
def test_what_a_meter_does_not_have_is_never_a_value(stand: Any, profile: str) -> None:
    kind, registers, names = NOTHING[profile]
    found = stand(profile, kind, registers).read(names)
    assert {name: (r.value, r.quality) for name, r in found.items()} == dict.fromkeys(names, (None, Quality.BAD))


@pytest.mark.parametrize(("profile", "most"), [("carlo_gavazzi_em24", 11), ("carlo_gavazzi_em340", 50),
                                               ("eastron_sdm630", 80)])  # fmt: skip
def test_no_question_is_longer_than_the_meter_takes(stand: Any, profile: str, most: int) -> None:
    """The slave refuses longer ones, and then the driver would ask twice."""
    kind, registers, _ = CASES[profile]
    one = stand(profile, kind, registers)
    one.unit.most = most
    one.read(list(Library(ROOT).get(profile)["points"]))  # type: ignore[index]
    lengths = [int.from_bytes(request.pdu[3:5], "big") for _, request in one.slave.requests]
    assert lengths and max(lengths) <= most


def test_waveshares_relays_and_their_flashes(stand: Any) -> None:
    """The frames of Waveshare's own examples: 05 0000 FF00, and 05 0200 0007 for 700 ms."""
    one = stand("waveshare_relay_8ch", "holding", {})
    one.unit.coil |= dict.fromkeys([0x200, 0x207, 0x400], 0)
    one.write(("relay1", True), ("relay8", True), ("flash_on1", 0.7), ("flash_on8", 3276.7), ("flash_off1", 2))
    assert [request.pdu.hex() for _, request in one.slave.requests if request.function == 5] == [
        "050000ff00", "050007ff00", "0502000007", "0502077fff", "0504000014",
    ]  # fmt: skip


def test_a_flash_is_never_read_nor_longer_than_it_can_be(stand: Any) -> None:
    one = stand("waveshare_relay_8ch", "holding", {})
    found = one.read(["relay1", "flash_on1"])
    assert (found["relay1"].value, found["flash_on1"].quality) == (False, Quality.BAD)
    assert [request.address for _, request in one.slave.requests] == [0]
    with pytest.raises(DeviceError, match=r"above 3276\.7"):
        one.write(("flash_on1", 4000))


def test_a_flash_that_the_module_does_not_know_is_an_error(stand: Any) -> None:
    one = stand("waveshare_relay_8ch", "holding", {})
    one.unit.unknown = {5}
    with pytest.raises(DeviceError, match="illegal function"):
        one.write(("flash_on1", 1))
    assert len([request for _, request in one.slave.requests if request.function == 5]) == 1


@pytest.mark.parametrize("profile", MODBUS)
def test_each_says_where_it_comes_from(profile: str) -> None:
    text = (ROOT / "drivers/profiles" / f"{profile}.yaml").read_text(encoding="utf-8")
    assert "\ndescription: " in text and ("# Source: " in text or "generic" in text)
