"""A serial modem in a whole agent: what nodes say is delivered, a command reaches one, the adapter goes and comes."""

import os

import pytest

from tests.fakes.rak_modem import RakModem

PROFILE = """\
name: cistern
lora:
  interval: 10min
  struct:
    - {field: level, type: u16be, scale: 0.1}
    - {field: valve, type: bool}
  downlink:
    - {field: valve, values: {on: "a001", off: "a000"}}
points:
  level: {unit: cm}
  valve: {writable: true}
"""


@pytest.fixture
def modem(tmp_path):
    made = RakModem(tmp_path / "usb-RAK-if00", mode=1)
    yield made
    made.end()
    assert made.failure is None


@pytest.fixture
def radio(site, modem):
    (site.folder / "profiles" / "cistern.yaml").write_text(PROFILE)
    site.document["buses"]["rak"] = {"type": "lora_rak_p2p", "port": str(modem.link), "frequency": "868.1 MHz"}
    site.document["devices"]["cistern"] = {"bus": "rak", "node": "01", "profile": "cistern"}
    site.document["actuators"]["valve"] = {"output": "cistern.valve", "safe_state": "off", "boot_state": "off"}
    return site


def bus(site):
    return next(one for one in site.status()["buses"] if one["name"] == "rak")


def cistern(level, valve):
    return b"\x01" + round(level * 10).to_bytes(2, "big") + bytes([valve])


def test_a_node_is_heard_commanded_and_heard_again_after_the_adapter_was_away(radio, modem, subscriber, wait_for):
    radio.start()
    wait_for(lambda: bus(radio)["state"] == "up", what="the modem")
    wait_for(lambda: modem.hear(cistern(123.4, 0)), what="reception")
    wait_for(lambda: subscriber.values("cistern.level") == [123.4], what="the level upstream")
    found = radio.bocage("read", "cistern.level", check=0)
    assert "123.4" in found.stdout

    before = len(modem.sent)
    subscriber.send("c1", point="valve", value="on", ttl_ms=10000, hold_ms=60000)
    wait_for(lambda: modem.sent[before:] == [bytes.fromhex("01a001")], what="the command on the air")
    wait_for(lambda: modem.hear(cistern(120.0, 1)), what="reception after the command")
    wait_for(lambda: "verified" in subscriber.states("c1"), what="the outcome")

    modem.vanish()
    wait_for(lambda: bus(radio)["state"] == "down", what="the loss")
    held = os.openpty()  # so that the adapter comes back under another name
    modem.forget()
    modem.appear()
    wait_for(lambda: bus(radio)["state"] == "up", what="the adapter")
    wait_for(lambda: modem.hear(cistern(99.0, 1)), what="reception")
    wait_for(lambda: subscriber.values("cistern.level")[-1] == 99.0, what="the level upstream")
    assert radio.stop()[0] == 0
    for fd in held:
        os.close(fd)
