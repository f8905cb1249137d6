"""A contact where a measurement is wanted: a room of 1 degC is heated for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.site.loader import check

CASES = Path(__file__).parent.parent / "cases"
MESSAGE = "{} is on or off; what is wanted here is measured in degC"
BEFORE = [
    ("      sensor: classroom", "      sensor: {}", "degC"),
    ("outdoor: air-temp", "outdoor: {}", "degC"),
    ("{signal: flow-temp", "{{signal: {}", "degC"),
    ("{signal: lux", "{{signal: {}", "lx"),
    ("{signal: air-temp", "{{signal: {}", "degC"),
    ("level: tank-level", "level: {}", "%"),
]
SIGNAL = "  air-temp:    {from: out-1.temperature, unit: degC}\n"


@pytest.mark.parametrize("contact", ["io-1.di4", "gpio.22", "door"])
@pytest.mark.parametrize(("old", "new", "unit"), BEFORE)
def test_keys_that_took_contacts_warn_of_them(said, saint_seine, old, new, unit, contact):
    site = saint_seine.replace(SIGNAL, f"{SIGNAL}  door: {{from: io-1.di4}}\n")
    assert site.count(old) == 1
    before = said(site)
    found = [one for one in said(site.replace(old, new.format(contact))) if one not in before]
    message = MESSAGE.format(contact).replace("degC", unit)
    assert [one.partition(": ")[2] for one in found] == [f"warning: {message}"]


def test_hot_water_by_a_contact(said, saint_seine):
    water = "heating:\n  hot_water:\n    tap: {sensor: SENSOR, actuator: heater, setpoint: 55}\n"
    site = saint_seine.replace("  ev1: ", "  heater: {output: gpio.9}\n  ev1: ").replace("heating:\n", water)
    before = said(site.replace("SENSOR", "classroom"))
    found = [one for one in said(site.replace("SENSOR", "io-1.di4")) if one not in before]
    assert [one.partition(": ")[2] for one in found] == [f"warning: {MESSAGE.format('io-1.di4')}"]


@pytest.mark.parametrize(
    ("meter", "then"),
    [
        ("io-1.di4", "take a point that counts, or a pin: "
         "a signal {from: gpio.17, kind: counter, unit: L, per_pulse: 10}"),
        ("gpio.22", "write a signal: {from: gpio.22, kind: counter, unit: L, per_pulse: 10}"),
    ],
)
def test_a_contact_is_no_meter_until_it_is_counted(said, saint_seine, meter, then):
    before = said(saint_seine)
    found = [one for one in said(saint_seine.replace("meter: fountain-ct", f"meter: {meter}")) if one not in before]
    assert [one.partition(": ")[2] for one in found] == [
        f"warning: {meter} is on or off, and a water meter counts; {then}"
    ]


def test_a_counter_of_a_polled_contact_sees_no_pulses(said, saint_seine):
    """Between two polls it may have been on any number of times, or once for both of them."""
    before = said(saint_seine)
    counted = SIGNAL + "  m1: {from: io-1.di4, kind: counter, unit: L, per_pulse: 100}\n"
    found = [one for one in said(saint_seine.replace(SIGNAL, counted)) if one not in before]
    assert [one.partition(": ")[2] for one in found] == [
        "warning: io-1.di4 is on or off, and polls do not see how often it was: m1 counts once and stops; "
        "take a point that counts, or a pin (gpio.17)"
    ]
    pin = counted.replace("io-1.di4", "gpio.22")
    assert [one for one in said(saint_seine.replace(SIGNAL, pin)) if one not in before] == []


@pytest.mark.parametrize(
    "signal",
    [
        '{from: io-1.di4, scale: 100, unit: "%"}',  # a float switch that stands for an empty and a full tank
        '{from: io-2.ai3, signal: 4-20mA, scale: [0, 100], unit: "%"}',
        "{from: io-1.di4, kind: state, offset: 20}",
        "{from: io-2.ai3, kind: telemetry}",
    ],
)
def test_what_may_be_a_number_is_not_warned_of(said, saint_seine, signal):
    site = saint_seine.replace(SIGNAL, f"{SIGNAL}  other: {signal}\n").replace("level: tank-level", "level: other")
    assert not [one for one in said(site) if "on or off" in one]


def test_a_flow_switch_is_a_flow(said, saint_seine):
    """It is on while water flows, which is all that a dry run and an outlet ask for."""
    site = saint_seine.replace("dry_run: {flow: pump-flow", "outlet: io-1.di3, dry_run: {flow: io-1.di4")
    assert site != saint_seine and not [one for one in said(site) if "on or off" in one]


PROFILE = """\
modbus: {{}}
points:
  level: {{{}, address: 1}}
"""


@pytest.mark.parametrize(
    ("point", "is_contact"),
    [
        ("register: coil", True),
        ("register: discrete", True),
        ("register: coil, kind: telemetry", True),
        ("register: holding, on: 256, off: 512", True),
        ("register: input, bit: 3", True),
        ("register: holding, kind: state", False),  # a mode, which may have many values
        ("register: holding", False),
        ('register: coil, unit: "%"', False),
        ("register: coil, kind: counter", False),
    ],
)
def test_a_register_is_known_to_be_a_contact(tmp_path, saint_seine, point, is_contact):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text(PROFILE.format(point), encoding="utf-8")
    site = saint_seine.replace("signals:\n", "  own: {bus: plant, unit_id: 7, profile: mine}\nsignals:\n", 1)
    path = tmp_path / "site.yaml"
    path.write_text(site.replace("level: tank-level", "level: own.level"), encoding="utf-8")
    found = [str(one) for one in check(path)]
    assert not any("mine.yaml" in one or '"mine"' in one for one in found), found
    assert any("own.level is on or off" in one for one in found) is is_contact


@pytest.mark.parametrize(
    ("codec", "point", "is_contact"),
    [
        ("struct: [{field: level, type: u8, bit: 0}]", "", True),
        ("struct: [{field: level, type: u8}]", "", False),
        ("struct: [{field: level, type: u8}]", ", kind: state", True),
        ("struct: [{field: level, type: u8}]", ", states: {1: on, 2: on}", True),
        ("struct: [{field: level, type: ascii, length: 2}]", ", kind: state", False),
    ],
)
def test_a_field_is_known_to_be_a_contact(tmp_path, saint_seine, codec, point, is_contact):
    (tmp_path / "profiles").mkdir()
    text = f"lora: {{{codec}}}\npoints: {{level: {{field: level{point}}}}}\n"
    (tmp_path / "profiles" / "mine.yaml").write_text(text, encoding="utf-8")
    node = '  own: {bus: lora-1, dev_eui: "24e124136b316009", profile: mine}\nsignals:\n'
    path = tmp_path / "site.yaml"
    site = saint_seine.replace("signals:\n", node, 1).replace("level: tank-level", "level: own.level")
    path.write_text(site, encoding="utf-8")
    found = [str(one) for one in check(path)]
    assert not any("mine.yaml" in one or '"mine"' in one for one in found), found
    assert any("own.level is on or off" in one for one in found) is is_contact


@pytest.mark.parametrize(
    ("kind", "is_contact"), [("kind: state, ", True), ("", False), ("kind: state, unit: degC, ", False)]
)
def test_another_site_says_what_is_on_or_off(said, saint_seine, kind, is_contact):
    remote = f"  own: {{bus: other, remote: {{level: {{{kind}from: level}}}}}}\nsignals:\n"
    site = saint_seine.replace("signals:\n", remote, 1).replace("level: tank-level", "level: own.level")
    site = site.replace("  gpio:    {type: gpio}\n", "  gpio:    {type: gpio}\n  other: {type: bocage_site, site: b}\n")
    assert any("own.level is on or off" in one for one in said(site)) is is_contact


@pytest.mark.parametrize(
    ("old", "new"), [("      sensor: hall", "      sensor: io.relay5"), ("outdoor: air", "outdoor: io.relay5"),
                     ("{signal: hp.flow,", "{signal: io.relay5,")]
)  # fmt: skip
def test_a_plant_with_a_flow_setpoint_takes_no_contact(tmp_path, old, new):
    (tmp_path / "profiles").symlink_to(CASES / "profiles")
    path = tmp_path / "site.yaml"
    text = (CASES / "hall.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    found = [str(one) for one in check(path)]
    assert [one.partition(": ")[2] for one in found] == [f"error: {MESSAGE.format('io.relay5')}"]
