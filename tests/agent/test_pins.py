"""Relays on pins of a chip that notes what it is told: those that leave go off first, those that stay do not move."""

import pytest

CHIP = """
import gpiozero.pins.mock as mock
from gpiozero import Device
noted = open({noted!r}, "a", buffering=1)
class Pin(mock.MockPin):
    def _set_state(self, value):
        if self.function == "output":
            noted.write(f"{{self.info.name}} {{int(value)}}\\n")
        super()._set_state(value)
    def _set_function(self, value):
        if value != self._function:
            noted.write(f"{{self.info.name}} {{value}}\\n")
        super()._set_function(value)
    state = property(mock.MockPin._get_state, _set_state)
    function = property(mock.MockPin._get_function, _set_function)
Device.pin_factory = mock.MockFactory(pin_class=Pin)
"""


@pytest.fixture
def noted(site):
    """What the chip was told since this was last asked, by pin."""
    path = site.folder / "pins.log"
    path.touch()
    site.sabotage = CHIP.format(noted=str(path))
    site.document["buses"]["pins"] = {"type": "gpio"}
    for name, pin in (("pump", 17), ("burner", 27)):
        site.document["actuators"][name] = {"output": f"pins.{pin}", "safe_state": "off", "boot_state": "off"}

    def since():
        told = {}
        for line in path.read_text().splitlines():
            pin, what = line.removeprefix("GPIO").split()
            told.setdefault(int(pin), []).append(what)
        path.write_text("")
        return told

    return since


def on(site, noted):
    site.start()
    for name in ("pump", "burner"):
        assert site.order(name, True)[0] == "verified"
    assert noted() == {17: ["output", "0", "1"], 27: ["output", "0", "1"]}


def no_burner(site):
    del site.document["actuators"]["burner"]


def a_contact_in_its_place(site):
    no_burner(site)
    site.document["signals"]["door"] = {"from": "pins.27"}


def another_name_of_the_bus(site):
    no_burner(site)
    site.document["buses"]["chip"] = site.document["buses"].pop("pins")
    site.document["actuators"]["pump"]["output"] = "chip.17"


@pytest.mark.parametrize("change", [no_burner, a_contact_in_its_place, another_name_of_the_bus])
def test_a_relay_that_leaves_goes_off_and_the_others_do_not_move(site, noted, change):
    on(site, noted)
    change(site)
    site.write().bocage("reload", check=0)
    assert noted() == {27: ["0", "input"]}
    pump = next(one for one in site.status()["actuators"] if one["name"] == "pump")
    assert pump["value"] is True
    assert site.order("pump", False)[0] == "verified"
    assert noted() == {17: ["0"]}


def test_a_relay_and_a_counter_that_come_do_not_move_the_others(site, noted):
    on(site, noted)
    site.document["actuators"]["siren"] = {"output": "pins.22", "safe_state": "off"}
    site.document["signals"]["water"] = {"from": "pins.23", "kind": "counter", "per_pulse": 10, "unit": "L"}
    site.write().bocage("reload", check=0)
    assert noted() == {22: ["output", "0"]}
    assert site.order("siren", True)[0] == "verified"


def test_another_polarity_of_a_relay_is_another_relay(site, noted):
    on(site, noted)
    site.document["actuators"]["burner"] |= {"active": "low", "override": True}
    site.write().bocage("reload", check=0)
    told = noted()
    assert told.keys() == {27}
    assert told[27][:2] == ["input", "output"]


def test_relays_that_left_while_the_agent_was_off_are_let_go_in_the_off_state(site, noted):
    on(site, noted)
    site.kill()
    del site.document["buses"]["pins"]
    for name in ("pump", "burner"):
        del site.document["actuators"][name]
    site.start()
    assert noted() == {pin: ["output", "0", "0", "input"] for pin in (17, 27)}
    assert site.status()["alarms"] == []
