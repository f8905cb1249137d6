"""The demo's modem and its probe, heard by the driver that hears real ones."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.clock import SystemClock
from agent.demo import modem, site
from agent.demo.village import Village
from agent.site import build as wiring
from agent.site.loader import load
from drivers.registry import open_bus
from tests.fakes.store import FakeStore


async def test_the_driver_hears_the_probe(tmp_path, monkeypatch):
    monkeypatch.setattr(modem, "FIRST", 0.01)
    monkeypatch.setattr(modem, "EVERY", 0.05)
    (tmp_path / "profiles" / "codecs").mkdir(parents=True)
    for name, text in site.PROFILES.items():
        (tmp_path / "profiles" / name).write_text(text)
    (tmp_path / "site.yaml").write_text(site.text(tmp_path, 1, 2, 3))
    spec = wiring.build_settings(load(tmp_path / "site.yaml")).buses["radio"]
    wire = open_bus(spec, SystemClock("always"), FakeStore())
    with modem.DemoModem(tmp_path / site.RADIO, Village(datetime.now(UTC)).probe).serving():
        readings = wire.readings()
        batch = await anext(readings)
        await readings.aclose()
    values = {reading.point: reading.value for reading in batch}
    assert 130 < values["cistern.level"] < 155 and 8 < values["cistern.temperature"] < 10
    assert (values["cistern.battery"], values["cistern.rssi"], values["cistern.snr"]) == (97, modem.RSSI, modem.SNR)
