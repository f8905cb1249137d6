"""What `check` says of light on request and presence, and what of it leaves the box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.hub import Policy
from agent.services.lighting.control import Circuit
from agent.site.build import build_settings
from agent.site.loader import check, load

SITE = """\
version: 1
site: {id: village, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
uplink: {url: "mqtt://broker.example:1883", prefix: bocage/v1}
buses:
  plant: {type: modbus_tcp, host: 192.168.1.20}
  lora-1: {type: lora_chirpstack, url: "mqtt://127.0.0.1:1883", application: village}
devices:
  io-1: {bus: plant, unit_id: 1, profile: relay8_di8, publish: {every: 1min}, points: {di4: {poll: 5s}}}
  ers-1: {bus: lora-1, dev_eui: "a81758fffe03ab12", profile: elsys_ers}
signals:
  button: {from: io-1.di3}
  warmth: {from: ers-1.temperature, unit: degC}
actuators:
  km1: {output: io-1.relay1, feedback: io-1.di1, safe_state: hold, min_on: 5min, min_off: 1min}
  dim1: {output: io-1.relay2, kind: level}
lighting:
  circuits:
    street:
      actuator: km1
      rated_power: 1 kW
      switch_on: {event: civil_dusk}
      switch_off: {event: civil_dawn}
      part_night_off: [{from: "23:00", to: "05:00"}]
      on_demand: {triggers: [button, io-1.di4], for: 15min, level: 100 %, at_most: 6/night, only: part_night_off}
"""
ON_DEMAND = "{triggers: [button, io-1.di4], for: 15min, level: 100 %, at_most: 6/night, only: part_night_off}"
LINE = 1 + SITE.splitlines().index(f"      on_demand: {ON_DEMAND}")


@pytest.fixture
def said(tmp_path: Path) -> Callable[[str], list[str]]:
    def run(text: str) -> list[str]:
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        return [str(problem).removeprefix(f"{path}:") for problem in check(path)]

    return run


def asks(text: str) -> str:
    return SITE.replace(ON_DEMAND, text)


@pytest.mark.parametrize(
    "text",
    [
        ON_DEMAND,
        "{for: 10min}",
        "{triggers: [ers-1.motion], for: 1h}",
        "{triggers: [io-1.di5], for: 30s, at_most: 20 / night, stuck_after: 10min}".replace("30s", "300s"),
    ],
)
def test_it_is_clean(said: Callable[[str], list[str]], text: str) -> None:
    assert said(asks(text)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{for: 15min, triggers: [buton]}", 'unknown signal "buton"; did you mean "button"?'),
        ("{for: 15min, triggers: [io-1.di9]}", 'io-1 has no point "di9" (profile relay8_di8)'),
        ("{for: 15min, triggers: [warmth]}", "warmth is measured in degC; what is wanted here is on or off"),
        ("{for: 15min, triggers: [button, button]}", "button is in the list already; write it once"),
        ("{for: 15min, triggers: [io-1.relay1]}",
         "io-1.relay1 shows the output of km1, and would ask for itself; name a button, a motion sensor or a contact"),
        ("{for: 15min, triggers: [io-1.di1]}",
         "io-1.di1 shows the output of km1, and would ask for itself; name a button, a motion sensor or a contact"),
        ("{for: 15}", "15 has no unit; write 15s, 15min or 15h"),
        ("{triggers: [button]}", '"for" is missing'),
        ("{for: 15min, at_most: 6}", "6 is no number of requests a night; write 6/night"),
        ("{for: 15min, at_most: 0/night}", '"0/night" is no number of requests a night; write 6/night'),
        ("{for: 15min, at_most: 4/h}", '"4/h" is no number of requests a night; write 4/night'),
        ("{for: 15min, only: nights}", '"nights" is none of part_night_off'),
        ("{for: 15min, level: 0 %}", "a request lights the lamps; write a level above 0 %, such as 100 %"),
        ("{for: 15min, level: 60 %}",
         "street is not dimmed, so it lights at 100 %; leave out level, or give it dimming"),
        ("{for: 3min}",
         "for 3min is shorter than km1.min_on 5min: the lamps burn that long for each request; "
         "write a shorter min_on or a longer for"),
        ("{for: 15min, stuck_after: 15min}",
         "stuck_after 15min is not above for 15min: each request would make its trigger stuck"),
        ("{for: 15min, during: night}", 'unknown key "during"'),
    ],
)  # fmt: skip
def test_a_slip_is_told(said: Callable[[str], list[str]], text: str, message: str) -> None:
    found = said(asks(text))
    assert len(found) == 1 and message in found[0], found
    assert found[0].startswith(f"{LINE}:")


CHURCH = """\
      kind: heritage
      lamp: {type: hid, count: 4, restrike: 15min}
      switch_on: {event: sunset}
      switch_off: {time: "23:00"}
"""


@pytest.mark.parametrize(
    ("before", "after", "messages"),
    [
        ('      part_night_off: [{from: "23:00", to: "05:00"}]\n', "",
         ["street has no part_night_off, and only then light may be requested; leave out only"]),
        ("      switch_on: {event: civil_dusk}\n      switch_off: {event: civil_dawn}\n",
         "      kind: car_park\n      switch_on: {event: sunset}\n      switch_off: {event: civil_dawn}\n",
         ["street (car_park) has no activity_ends, so it is not known until when the law lets it burn"]),
        ("      switch_on: {event: civil_dusk}\n      switch_off: {event: civil_dawn}\n",
         CHURCH.replace("23:00", "01:00"),
         ["is shorter than street lamp.restrike 15min", "light again only 15min after they went off"]),
    ],
)  # fmt: skip
def test_a_circuit_that_cannot(
    said: Callable[[str], list[str]], before: str, after: str, messages: list[str]
) -> None:
    found = said(SITE.replace(before, after))
    assert all(any(message in one for one in found) for message in messages), found


def test_hid_lamps_that_cannot_restrike_are_refused(said: Callable[[str], list[str]]) -> None:
    lamp = "      lamp: {type: hid, restrike: 20min}\n      on_demand:"
    found = said(SITE.replace("      on_demand:", lamp).replace("min_off: 1min", "min_off: 20min"))
    message = "for 15min is over before the lamps of street (hid) can light again, 20min after"
    assert any(message in one for one in found)


def test_lamps_that_burn_all_night_are_never_asked_for(said: Callable[[str], list[str]]) -> None:
    text = SITE.replace('      part_night_off: [{from: "23:00", to: "05:00"}]\n', "")
    (found,) = said(text.replace(", only: part_night_off", ""))
    assert "warning: light is never possible on request: street (road) burns all night" in found


PRESENCE = "      presence: {signal: io-1.di4, level: 100 %, otherwise: 30 %, hold: 5min}\n"
DIMMED = SITE.replace("      on_demand: " + ON_DEMAND + "\n", "      dimming: {actuator: dim1}\n" + PRESENCE)


def test_presence_is_clean(said: Callable[[str], list[str]]) -> None:
    assert said(DIMMED) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("      dimming: {actuator: dim1}\n", "", "street is not dimmed; presence is for a circuit with dimming"),
        ("otherwise: 30 %", "otherwise: 100 %", "otherwise 100 is not below level 100"),
        ("otherwise: 30 %", "otherwise: 0 %", "would switch the lamps off in hours in which they must burn"),
        (", otherwise: 30 %", "", '"otherwise" is missing'),
        ("signal: io-1.di4", "signal: dim1", 'unknown signal "dim1"'),
        ("hold: 5min", "hold: 5", "5 has no unit"),
        ("hold: 5min", "hold: 5min, stuck_after: 5min", "stuck_after 5min is not above hold 5min"),
    ],
)
def test_a_slip_of_presence_is_told(said: Callable[[str], list[str]], before: str, after: str, message: str) -> None:
    found = said(DIMMED.replace(before, after))
    assert len(found) == 1 and message in found[0], found


def test_what_a_radio_node_publishes_is_told(said: Callable[[str], list[str]]) -> None:
    text = asks("{triggers: [ers-1.motion], for: 15min}").replace("elsys_ers}", "elsys_ers, publish: {every: 1h}}")
    (found,) = said(text)
    assert "warning: ers-1.motion tells when people come by, so nothing of ers-1 leaves the gateway" in found


@pytest.mark.parametrize(
    "part",
    [
        "alarms:\n  cold: {point: warmth, below: 1, when: {point: button, is: on}}\n",
        "rules:\n  cold: {if: {all: [{point: warmth, below: 1}, {point: io-1.di4, is: on}]}, "
        "then: {actuator: dim1, value: on}}\n",
        "rules:\n  cold: {if: {point: io-1.di4, is: on}, lock: {actuator: dim1, value: 0}}\n",
    ],
)
def test_what_else_depends_on_a_trigger_is_told(said: Callable[[str], list[str]], part: str) -> None:
    """It is told at once, with its time: so is the one who came by."""
    site = SITE.replace("kind: level}", "kind: level, safe_state: 0}")
    (found,) = said(site + part)
    assert "warning: cold would tell each time that " in found and "who asks for light is not told" in found


def test_an_alarm_on_a_trigger_is_told(said: Callable[[str], list[str]]) -> None:
    (found,) = said(SITE + "alarms:\n  at-night: {point: io-1.di3, is: on, for: 1min}\n")
    assert "warning: at-night would tell each time that io-1.di3 is on, and when" in found


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("lighting:\n", "lighting:\n  local_switch: {manual_on: io-1.di3}\n", "17:29"),
        ("lighting:\n", "water: {points: {wc: {meter: m1, tamper: button}}}\nlighting:\n", "16:42"),
    ],
)
def test_an_input_of_something_else_that_asks_for_light_is_told(said, old: str, new: str, place: str) -> None:
    """A local switch, a lid: their alarms tell at once that it is on."""
    found = [one for one in said(SITE.replace(old, new)) if "asks for light" in one]
    assert len(found) == 1 and found[0].startswith(f"{place}: warning: ")
    assert "it would tell each time that it is on: who asks for light is not told; take a contact" in found[0]


def test_an_alarm_on_another_signal_of_the_same_contact_is_told(said: Callable[[str], list[str]]) -> None:
    site = SITE.replace("signals:\n", "signals:\n  twin: {from: io-1.di3}\n")
    (found,) = said(site + "alarms:\n  at-night: {point: twin, is: on, for: 1min}\n")
    assert "warning: at-night would tell each time that twin is on, and when" in found


@pytest.mark.parametrize(
    ("name", "is_told"),
    [
        ("io-1.di4", False), ("button", False), ("io-1.di3", False), ("twin", False), ("ers-1.temperature", False),
        ("warmth", False), ("io-1.di5", True), ("km1", True),
    ],
)  # fmt: skip
def test_another_site_does_not_read_what_asks_for_light(said, name: str, is_told: bool) -> None:
    """Nor anything else of a radio node that sends when people come by: the agent would refuse it."""
    site = asks("{triggers: [button, io-1.di4, ers-1.motion], for: 15min}")
    site = site.replace("signals:\n", "signals:\n  twin: {from: io-1.di3}\n")
    found = [one for one in said(f"{site}peers: {{pompage: {{read: [{name}]}}}}\n") if "people come by" in one]
    assert bool(found) is not is_told
    assert all("error" in one and "it stays on this gateway" in one for one in found)


def test_triggers_stay_on_the_box_and_so_does_all_of_a_radio_node(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(asks("{triggers: [button, io-1.di4, ers-1.motion], for: 15min}"), encoding="utf-8")
    found = build_settings(load(path))
    assert found.personal == {"button", "io-1.di3", "io-1.di4", "ers-1", "ers-1.motion", "warmth"}
    local = {name for name, policy in found.policies.items() if policy == Policy(local=True)}
    assert found.personal <= local, "a point with a poll of its own is no exception"
    assert not found.policies["io-1"].local, "the module's other points go out"
    (street,) = (one for one in found.controls if isinstance(one, Circuit))
    assert {one.id.partition(".")[2] for one in street.points} == {
        "run_hours", "starts", "energy", "detections", "requests", "requests_night", "request_minutes",
        "request_energy",
    }  # fmt: skip


def test_a_circuit_without_is_as_before(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("      on_demand: " + ON_DEMAND + "\n", ""), encoding="utf-8")
    found = build_settings(load(path))
    assert found.personal == frozenset()
    (street,) = (one for one in found.controls if isinstance(one, Circuit))
    assert "requested" not in street.dump(street.initial()) and len(street.points) == 3
