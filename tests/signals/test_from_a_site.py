"""Counters as a site file writes them: its text, the hub, and readings as drivers give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.hub import Hub
from agent.model import Point, Reading
from agent.site.build import build_settings
from agent.site.loader import load
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

SITE = """\
version: 1
site: {{id: s, name: S, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris}}
buses:
  gpio: {{type: gpio}}
  lora-1: {{type: lora_chirpstack, url: "mqtt://127.0.0.1:1883", application: s}}
  plant: {{type: modbus_tcp, host: 192.168.1.20, port: 502}}
devices:
  meter-a: {{bus: plant, unit_id: 1, profile: eastron_sdm120, publish: {{every: 10s}}}}
  own: {{bus: plant, unit_id: 2, profile: own, poll: 1h}}
  node: {{bus: lora-1, dev_eui: 24e124136b316001, profile: milesight_em300_di}}
signals:
  c: {{kind: counter, {signal}}}
"""
PROFILE = """\
name: own
points:
  small: {register: input, address: 0, unit: kWh}
  total: {register: input, address: 2, type: u32}
  tenths: {register: input, address: 4, type: u32, scale: 0.1, unit: kWh}
  litres: {register: input, address: 6, unit: L}
"""
FLOAT = "from: meter-a.energy_import, unit: kWh"
NODE = "from: node.pulses, unit: L, per_pulse: 10"
TOTAL = "from: own.total, unit: L"
LITRES = "from: own.litres, unit: L"


@pytest.fixture
def site(tmp_path: Path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.yaml").write_text(PROFILE)

    def write(signal: str):
        path = tmp_path / "site.yaml"
        path.write_text(SITE.format(signal=signal))
        return load(path)

    return write


@pytest.mark.parametrize(
    ("signal", "every", "counts", "index", "swaps"),
    [
        (FLOAT, 10, [1234.56, 1234.99, 1235.01], [1234.56, 1234.99, 1235.01], 0),
        (FLOAT, 10, [40483.1, 0, 40483.2], [40483.1, 40483.1, 40483.2], 0),
        ("from: own.small, unit: kWh", 60, [40483, 0, 0, 0, 1], [40483, 40483, 40483, 40483, 40484], 1),
        ("from: own.tenths, unit: kWh", 3600, [6553.5, 13107.1, 6553.7], [6553.5, 6553.5, 6553.7], 0),
        (TOTAL, 10, [300_000, 0, 300_005], [300_000, 300_000, 300_005], 0),
        (TOTAL, 3600, [65535, 131071, 65537], [65535, 65535, 65537], 0),
        (NODE, 21_600, [100_000, 3, 3, 3], [1_000_000] * 4, 1),
        (NODE, 43_200, [70_000, 135_000], [700_000, 1_350_000], 0),
        (TOTAL + ", max_rate: 2 m3/h", 3600, [0, 2500, 8000, 2600], [0, 2500, 2500, 2600], 0),
        ("from: own.small, unit: kWh", 60, [65530, 0, 65530, 65531], [65530, 65530, 65530, 65531], 0),
        ("from: own.small, unit: kWh", 60, [65534, 0, 1, 2], [65534, 65534, 65537, 65538], 0),
        ("from: own.small, unit: kWh", 60, [65534, 0, 0], [65534, 65534, 65536], 0),
        (LITRES + ", max_rate: 10 m3/h", 3600, [49000, 58000, 1464, 10464], [49000, 58000, 67000, 76000], 0),
        (LITRES + ", max_rate: 10 m3/h", 3600, [49000, 3, 3, 3], [49000, 49000, 49000, 49000], 1),
        ("from: own.small, max_rate: 40 kW", 3600, [0, 40, 300, 301, 302], [0, 40, 40, 40, 42], 1),
    ],
)
def test_what_a_site_file_makes_of_a_counter(site, signal, every, counts, index, swaps):
    found = build_settings(site(signal))
    source, told, clock = found.signals[0].source, [], FakeClock()
    hub = Hub([Point(source, source.partition(".")[0])], found.signals, {}, lambda *_: None, FakeStore(), clock)
    hub.replaced = lambda name, detail: told.append(name)
    seen = []
    for number, value in enumerate(counts):
        clock.at = number * every + 1
        hub.publish([Reading(source, value, clock.now())])
        seen.append(hub.last["c"].value)
    assert (seen, len(told)) == (index, swaps)


@pytest.mark.parametrize("again", [True, False], ids=["restart", "reload"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from: own.litres, unit: L", TOTAL),
        ("from: gpio.17, unit: L, per_pulse: 10", "from: gpio.27, unit: L, per_pulse: 10"),
    ],
)
def test_another_source_in_the_file_is_no_growth(site, before, after, again):
    """Its count has nothing to do with the one of before, however near it is."""
    memory, clock = FakeStore(), FakeClock()
    hub = None
    for signal, counts in ((before, [1000, 1001]), (after, [1500, 1501, 1502]), (before, [1001, 1002])):
        found = build_settings(site(signal))
        source = found.signals[0].source
        point = Point(source, source.partition(".")[0])
        if hub is None or again:
            hub = Hub([point], found.signals, {}, lambda *_: None, memory, clock)
        else:
            hub.configure([point], found.signals, {})
        for count in counts:
            clock.at += 10
            hub.publish([Reading(source, count, clock.now())])
        hub.flush()
    pulse = 10 if "gpio" in before else 1
    assert hub.last["c"].value == (1001 + 2 + 1) * pulse


@pytest.mark.parametrize(
    ("signal", "least"),
    [
        ("from: gpio.17, unit: L, per_pulse: 10, max_rate: 2500 L/h", 14.4),
        ("from: gpio.17, unit: m3, per_pulse: 0.1, max_rate: 2.5 m3/h", 144),
        ("from: gpio.17, unit: L, per_pulse: 10", 0.36),
        ("from: gpio.17, unit: kWh, per_pulse: 0.001, max_rate: 36 kW", 0.1),
        ("from: gpio.17, unit: mm, per_pulse: 0.2", 0),
        ("from: gpio.17, unit: mm, per_pulse: 0.2, max_rate: 60/h", 12),
    ],
)
def test_the_least_time_between_pulses_follows_from_per_pulse_and_max_rate(site, signal, least):
    (pin,) = build_settings(site(signal)).buses["gpio"].devices
    assert pin.options["least_between"] == pytest.approx(least)


def test_publish_every_is_measured_in_polls(site):
    assert build_settings(site(FLOAT)).policies["meter-a"].poll == 10
