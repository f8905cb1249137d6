"""Relays, contacts and counters on gpiozero's mocked chip."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from gpiozero import Device

from agent.errors import DeviceError, StorageError, WireError
from agent.model import Kind, Quality
from drivers.api import DeviceSpec, Listener, Poller, Writer
from drivers.gpio import chip as chip_module
from drivers.gpio import lines


def spec(number, role, poll=10.0, **options):
    return DeviceSpec(f"gpio.{number}", {"pin": number}, poll=poll, options={"role": role, **options})


def pulse(pin, times=1):
    """A contact to ground that closes and opens (the pin has a pull-up)."""
    for _ in range(times):
        pin.drive_low()
        pin.drive_high()


async def test_it_offers_what_it_can_do(make):
    gpio = make(spec(17, "counter"), spec(22, "relay"), spec(23, "input"))
    assert isinstance(gpio, Listener) and isinstance(gpio, Poller) and isinstance(gpio, Writer)
    points = {point.id: (point.kind, point.writable) for point in gpio.points}
    assert points == {
        "gpio.17": (Kind.COUNTER, False),
        "gpio.22": (Kind.STATE, True),
        "gpio.23": (Kind.STATE, False),
    }
    assert gpio.status()["state"] == "down"  # nothing is opened before it is used
    assert gpio.status()["unheard"] == ["gpio.17", "gpio.22", "gpio.23"]
    await gpio.read(["gpio.23"])
    assert gpio.status()["unheard"] == []
    with pytest.raises(ValueError, match="role 'lamp' is not relay"):
        make(spec(4, "lamp"))


@pytest.mark.parametrize(("active_high", "level"), [(True, True), (False, False)])
async def test_a_relay_is_written_and_read_back(make, chip, active_high, level):
    gpio = make(spec(22, "relay", active_high=active_high))
    assert [r.value for r in await gpio.read(["gpio.22"])] == [False]
    assert chip.pin(22).state is not level
    for value, wanted in [("on", True), (0, False), (True, True)]:
        await gpio.write("gpio.22", value)
        assert [r.value for r in await gpio.read(["gpio.22"])] == [wanted]
    assert chip.pin(22).state is level
    assert gpio.status() == {"state": "up", "load": 0.0, "error": "", "lost": [], "unheard": []}


async def test_a_relay_never_passes_through_on_when_it_starts_off(make, chip):
    gpio = make(spec(22, "relay", active_high=False, initial_value=None))
    chip.pin(22).drive_high()  # off, as the wiring holds it
    chip.pin(22).clear_states()
    await gpio.read(["gpio.22"])
    assert [state.state for state in chip.pin(22).states] == [True]


async def test_a_relay_may_start_from_what_is_on_the_pin(make, chip):
    gpio = make(spec(22, "relay", initial_value=None))
    chip.pin(22).drive_high()
    assert [r.value for r in await gpio.read(["gpio.22"])] == [True]


async def test_a_write_is_reported_at_once(make, listen):
    gpio = make(spec(22, "relay"))
    ear = listen(gpio)
    await ear.heard("gpio.22", False)
    await gpio.write("gpio.22", True)
    await ear.heard("gpio.22", True)


@pytest.mark.parametrize(("point", "value"), [("gpio.23", True), ("gpio.9", True), ("gpio.22", 0.5), ("gpio.22", "x")])
async def test_what_is_no_relay_or_no_state_is_refused(make, point, value):
    gpio = make(spec(22, "relay"), spec(23, "input"))
    with pytest.raises(DeviceError):
        await gpio.write(point, value)


async def test_a_contact_is_reported_at_its_edges_from_another_thread(make, listen, chip):
    ear = listen(make(spec(23, "input")))
    await ear.heard("gpio.23", False)
    for act, value in [(chip.pin(23).drive_low, True), (chip.pin(23).drive_high, False)]:
        before = len(ear.of("gpio.23"))
        threading.Thread(target=act).start()
        await ear.until(lambda n=before: len(ear.of("gpio.23")) > n)
        assert ear.of("gpio.23")[-1].value is value


async def test_a_chattering_contact_is_one_change(make, listen, chip):
    ear = listen(make(spec(23, "input", debounce=0.05)))
    await ear.heard("gpio.23", False)
    pulse(chip.pin(23), 5)
    chip.pin(23).drive_low()
    await ear.heard("gpio.23", True)
    assert [r.value for r in ear.of("gpio.23")] == [False, True]


async def test_every_poll_says_everything_and_finds_a_missed_edge(make, listen, chip):
    gpio = make(spec(23, "input", poll=0.05), spec(22, "relay", poll=0.05))
    ear = listen(gpio)
    await ear.until(lambda: len(ear.of("gpio.22")) >= 3)
    chip.pin(23)._state = False  # no edge is seen
    await ear.heard("gpio.23", True)
    assert gpio.due() > 0


async def test_pulses_are_counted_and_share_readings(make, listen, chip):
    ear = listen(make(spec(17, "counter")))
    await ear.heard("gpio.17", 0)
    for _ in range(20):
        pulse(chip.pin(17), 5)
        await asyncio.sleep(0.005)  # the meter's pace, not a wait for the program
    await ear.heard("gpio.17", 100)
    assert len(ear.of("gpio.17")) <= 5


async def test_bounces_and_spikes_are_no_pulses(make, listen, chip):
    ear = listen(make(spec(17, "counter", debounce=0.03)))
    await ear.heard("gpio.17", 0)
    pin = chip.pin(17)
    pulse(pin, 3)  # a spike: shorter than the debounce
    await asyncio.sleep(0.06)  # the contact's own time, not a wait for the program
    for expected in (1, 2):
        pulse(pin, 3)
        pin.drive_low()
        await ear.heard("gpio.17", expected)
        pulse_up = [pin.drive_high, pin.drive_low, pin.drive_high]
        for act in pulse_up:
            act()
        await asyncio.sleep(0.06)
    assert ear.of("gpio.17")[-1].value == 2


async def test_a_magnet_that_rocks_at_the_edge_is_one_pulse(make, listen, chip, monkeypatch):
    """10 L a pulse at 2.5 m3/h are 14.4 s; the wheel stands and the contact closes every 0.4 s for four minutes."""
    now = 1000.0
    monkeypatch.setattr("gpiozero.pins.mock.monotonic", lambda: now)
    ear = listen(make(spec(17, "counter", least_between=14.4)))
    await ear.heard("gpio.17", 0)

    async def closures(times, every, total):
        nonlocal now
        for _ in range(times):
            pulse(chip.pin(17))
            now += every
        await ear.heard("gpio.17", total)

    await closures(600, 0.4, 1)
    now += 14.4
    await closures(3, 14.5, 4)  # the meter turns at its most
    await closures(5, 11.6, 7)  # a quarter faster: every other one
    assert ear.of("gpio.17")[-1].value == 7


async def test_a_blocked_loop_loses_no_pulse(make, listen, chip):
    """Edges carry their own time stamps: how late they are handed over does not matter."""
    ear = listen(make(spec(17, "counter", debounce=0.005)))
    await ear.heard("gpio.17", 0)
    ready = threading.Event()

    def meter():
        pause = threading.Event()
        for _ in range(5):
            chip.pin(17).drive_low()
            pause.wait(0.01)
            chip.pin(17).drive_high()
            pause.wait(0.01)
        ready.set()

    threading.Thread(target=meter).start()
    ready.wait(2)  # the loop stands still meanwhile, on purpose
    await ear.heard("gpio.17", 5)


async def test_the_total_outlives_the_program(make, listen, chip, memory):
    first = make(spec(17, "counter"))
    ear = listen(first)
    await ear.heard("gpio.17", 0)
    pulse(chip.pin(17), 23)
    await ear.heard("gpio.17", 23)
    assert memory.durable == {"gpio.17.pulses": 20} and memory.saves == 2  # a kill -9 here loses three
    await ear.stop()
    assert memory == {"gpio.17.pulses": 23}
    assert [r.value for r in await make(spec(17, "counter")).read(["gpio.17"])] == [23]


async def test_a_flash_that_refuses_costs_no_pin(make, listen, chip, memory, monkeypatch):
    """The total waits in memory for the flash; meanwhile the counter counts, and the relay stays as it is."""

    def refuse(key, value, now=False):
        memory[key] = value
        raise StorageError("state cannot be written: Input/output error")

    gpio = make(spec(17, "counter"), spec(22, "relay"))
    ear = listen(gpio)
    await ear.heard("gpio.17", 0)
    await gpio.write("gpio.22", True)
    monkeypatch.setattr(memory, "put", refuse)
    pulse(chip.pin(17), 23)
    await ear.heard("gpio.17", 23)
    assert chip.pin(22).state and gpio.status()["state"] == "up"
    await ear.stop()
    assert memory == {"gpio.17.pulses": 23}


async def test_a_slow_counter_is_kept_after_a_minute(make, listen, chip, memory, monkeypatch):
    monkeypatch.setattr(lines, "_SAVE_SECONDS", 0.05)
    ear = listen(make(spec(17, "counter", poll=0.02)))
    await ear.heard("gpio.17", 0)
    pulse(chip.pin(17))
    await ear.until(lambda: bool(memory))
    assert memory == {"gpio.17.pulses": 1}


async def test_without_a_library_it_says_what_to_install_and_tries_again(make, listen, chip, monkeypatch):
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setitem(sys.modules, "lgpio", None)
    monkeypatch.setattr(chip_module, "RETRY", (0.02, 0.02))
    monkeypatch.setattr(lines, "RETRY", (0.02, 0.02))
    gpio = make(spec(22, "relay"))
    with pytest.raises(WireError, match=r"sudo apt install python3-lgpio, .* plain Debian has none: docs/install.md"):
        await gpio.write("gpio.22", True)
    ear = listen(gpio)
    await ear.heard("gpio.22", None, Quality.BAD)
    assert gpio.status()["state"] == "down" and "python3-lgpio" in gpio.status()["error"]
    assert gpio.status()["lost"] == [point.id for point in gpio.points] and gpio.status()["unheard"] == []
    monkeypatch.setattr(Device, "pin_factory", chip)
    await ear.heard("gpio.22", False)


async def test_without_a_chip_it_says_so(make, chip, monkeypatch):
    class Stub:
        class error(Exception):
            pass

        SET_BIAS_PULL_UP = SET_BIAS_PULL_DOWN = SET_BIAS_DISABLE = 0
        BOTH_EDGES = RISING_EDGE = FALLING_EDGE = 0

        @staticmethod
        def gpiochip_open(chip):
            raise Stub.error("can not open gpiochip")

    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setitem(sys.modules, "lgpio", Stub)
    with pytest.raises(WireError, match="no GPIO chip on this machine"):
        await make(spec(22, "relay")).read(["gpio.22"])


@pytest.mark.parametrize("role", ["relay", "input", "counter"])
async def test_a_pin_that_another_program_holds_costs_itself(make, listen, chip, monkeypatch, role):
    """lgpio says "GPIO busy" of a line that is claimed elsewhere: by an overlay, a fan, a second program."""
    monkeypatch.setattr(chip_module, "RETRY", (0.02, 0.02))
    monkeypatch.setattr(lines, "RETRY", (0.02, 0.02))
    real, taken = chip.pin, {17}

    def pin(name):
        if name in taken:
            raise OSError(16, "GPIO busy")
        return real(name)

    monkeypatch.setattr(chip, "pin", pin)
    gpio = make(spec(17, role), spec(22, "relay"), spec(23, "input"))
    ear = listen(gpio)
    await ear.heard("gpio.17", None, Quality.BAD)
    await ear.heard("gpio.22", False)
    await gpio.write("gpio.22", True)
    await ear.heard("gpio.22", True)
    chip.pin(23).drive_low()
    await ear.heard("gpio.23", True)
    status = gpio.status()
    assert (status["state"], status["lost"]) == ("up", ["gpio.17"])
    assert "pin 17: [Errno 16] GPIO busy" in status["error"]
    if role == "relay":
        with pytest.raises(DeviceError, match=r"pin 17: .*GPIO busy"):
            await gpio.write("gpio.17", True)
    with pytest.raises(DeviceError, match=r"pin 4: .*GPIO busy"):
        taken.add(4)
        await gpio.write_aside(spec(4, "relay"), "gpio.4", False)
    taken.clear()
    await ear.heard("gpio.17", 0 if role == "counter" else False)
    assert gpio.status()["lost"] == [] and gpio.status()["error"] == ""
    assert not [reading for reading in ear.of("gpio.22") if reading.quality is Quality.BAD]


async def test_a_chip_that_fails_is_opened_again_and_the_relay_resumes(make, listen, chip, monkeypatch):
    gpio = make(spec(22, "relay", poll=0.02))
    ear = listen(gpio)
    await gpio.write("gpio.22", True)
    await ear.heard("gpio.22", True)
    pin = chip.pin(22)
    real = type(pin)._get_state
    calls = iter([OSError(5, "Input/output error")])

    def flaky(self):
        for error in calls:
            raise error
        return real(self)

    monkeypatch.setattr(type(pin), "state", property(flaky, type(pin).state.fset))
    await ear.heard("gpio.22", None, Quality.BAD)
    ear.batches.clear()
    await ear.heard("gpio.22", True)


def test_gpiozero_is_not_imported_with_the_driver():
    code = "import sys, drivers.gpio; sys.exit('gpiozero' in sys.modules or 'lgpio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_pin_that_left_is_set_once_and_given_back(make, chip):
    """By its polarity of then; a pin that is a contact now is not driven."""
    gpio = make(spec(27, "input"))
    await gpio.write_aside(spec(17, "relay", active_high=False), "gpio.17", False)
    levels = [state.state for state in chip.pin(17).states]
    assert (levels[-1], chip.pin(17).function) == (True, "input"), "off is a high level here"
    await gpio.write_aside(spec(27, "relay"), "gpio.27", True)
    assert chip.pin(27).function == "input"
