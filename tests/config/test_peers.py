"""Peers and buses to other sites in a site file: what is wrong is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli import main

ASKED = """\
version: 1
site: {id: pompage}
uplink: {url: "mqtts://supervision.example.fr:8883"}
buses:
  plant: {type: modbus_tcp, host: 192.168.1.20}
  net: {type: bocage_site, site: ailleurs}
devices:
  io-3: {bus: plant, unit_id: 1, profile: relay8_ai8}
  room: {bus: plant, unit_id: 2, profile: relay8_ai8, personal: true}
  other:
    bus: net
    remote:
      level: {from: tank-level, unit: "%"}
      valve: {from: ev1, ask: true}
signals:
  sump: {from: io-3.ai1, signal: 4-20mA, scale: [0, 100], unit: "%"}
  there: {from: other.level}
actuators:
  well: {output: io-3.relay1}
  far: {output: other.valve, boot_state: recompute}
"""
BUS = "  net: {type: bocage_site, site: ailleurs}\n"
REMOTE = '      level: {from: tank-level, unit: "%"}\n'
VALVE = "      valve: {from: ev1, ask: true}\n"
FAR = "  far: {output: other.valve, boot_state: recompute}\n"


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def check(text: str) -> str:
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        main(["check", str(path)])
        return "".join(capsys.readouterr()).replace(f"{path}:", "")

    return check


@pytest.mark.parametrize("count", [199, 200])
def test_more_points_than_a_message_names_are_warned_of(said, count):
    more = "".join(f"      p{number}: {{from: p{number}}}\n" for number in range(count))
    told = said(ASKED.replace(REMOTE, REMOTE + more))
    message = "201 points of ailleurs are read here, and it takes no request for more than 200; leave out those that"
    assert (f"6:8: warning: {message}" in told) is (count == 200)


@pytest.mark.parametrize(
    "peers",
    [
        "{reservoir-haut: [well]}",
        "{reservoir-haut: {allow: [well], read: [sump, well, io-3.ai2]}}",
        "{reservoir-haut: {read: [sump]}}",
        "{reservoir-haut: [], ailleurs: [well]}",
        "{ailleurs: [well], ailleur: [well]}",
        "{reservoir-haut: [well], village: [well]}",
        "{}",
    ],
)
def test_peers_as_they_may_be(said, peers):
    assert said(f"{ASKED}peers: {peers}\n").startswith(" no problems")


@pytest.mark.parametrize(
    ("peers", "message"),
    [
        ("{haut: [wel]}", '21:16: error: unknown actuator "wel"; did you mean "well"?'),
        ("{haut: [far]}", "21:16: error: far is an output of another site (other.valve): a wish is not passed on"),
        ("{haut: {allow: [far]}}", "21:24: error: far is an output of another site (other.valve)"),
        ("{haut: {read: [smp]}}", '21:23: error: unknown signal or actuator "smp"; did you mean "sump"?'),
        ("{haut: {read: [io-3.ai9]}}", 'io-3 has no point "ai9"'),
        ("{haut: {read: [there]}}", "21:23: error: there is a point of another site: the reader asks that one"),
        ("{haut: {read: [other.level]}}", "21:23: error: other.level is a point of another site"),
        ("{haut: {read: [room.ai1]}}", "21:23: error: room.ai1 is personal: it stays on this gateway"),
        ("{pompage: [well]}", "21:9: error: pompage is this site; write the id of the other one"),
        ("{haut: {alow: [well]}}", 'unknown key "alow"; did you mean "allow"?'),
        ("{haut: well}", "21:15: error:"),
    ],
)
def test_what_is_wrong_with_a_peer(said, peers, message):
    assert message in said(f"{ASKED}peers: {peers}\n")


def test_a_peer_that_is_called_nearly_like_the_site_of_a_bus(said):
    text = "no bus is to ailleur, and one is to ailleurs, which has no entry here; did you mean \"ailleurs\"?"
    assert f"21:18: warning: {text}" in said(f"{ASKED}peers: {{ailleur: [well]}}\n")
    numbered = ASKED.replace("site: ailleurs", "site: pompage-11")
    assert said(f"{numbered}peers: {{pompage-12: [well]}}\n").startswith(" no problems")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (BUS, "  net: {type: bocage_site, site: pompage}\n", "6:34: error: pompage is this site"),
        (BUS, BUS + BUS.replace("net", "net2"), "7:35: error: ailleurs is already the site of net (line 6)"),
        (BUS, BUS.replace("}", ", every: 1s}"), "6:51: error: 1s is too little; write at least 5s"),
        (BUS, BUS.replace("}", ", every: 1h}"), "6:51: error: 1h is too much; write at most 15min"),
        (BUS, BUS.replace("}", ", password: {env: X}}"), '"password" is for the broker of "url", and there is none'),
        (BUS, BUS.replace("}", ", uplink: false}"), "6:8: error: uplink: false leaves no way to ailleurs"),
        (BUS, BUS.replace("ailleurs", '"là"'), "6:34: error:"),
        ("uplink:", "#plink:", "the file has no uplink: that leaves no way to ailleurs"),
        (REMOTE, REMOTE.replace("%", "Bananen"), "13:39: warning:"),
        (REMOTE, REMOTE.replace("}", ", low: 3}"), '"low" is for a number that is asked for'),
        (VALVE, VALVE.replace("}", ", kind: counter}"), "a counter cannot be asked for"),
        (VALVE, VALVE.replace("}", ", kind: telemetry, low: 9, high: 3}"), "14:59: error: low 9 is not below high 3"),
        (VALVE, VALVE + "      again: {from: ev1, ask: true}\n", "15:21: error: ev1 is asked for by valve"),
        (REMOTE + VALVE, "", "other has no point of ailleurs"),
        (FAR, FAR.replace("}", ", safe_state: on}"), "far cannot stay on without this gateway"),
        (FAR, FAR.replace("}", ", refresh: 10s}"), "a wish is repeated every 1min by itself; leave refresh out"),
        ("    bus: net\n", "    bus: net\n    poll: 5s\n", "ailleurs tells by itself; leave poll out"),
        ("{from: other.level}", "{from: other.lvl}", 'other has no point "lvl"; did you mean "level"?'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_bus_to_another_site(said, old, new, message):
    assert old in ASKED
    found = said(ASKED.replace(old, new))
    assert message in found and "problem" not in found, found


LOCK = "rules: {hatch: {if: {point: sump, below: 10}, lock: {actuator: far, value: off}}}\n"


def test_an_interlock_locks_nothing_at_another_site(said):
    assert said(ASKED + LOCK) == (
        "21:64: error: far is an output of ailleurs (line 20): off only ends our wish there, and locks nothing; "
        "write the interlock in the file of ailleurs\n 1 error\n"
    )
    assert said(ASKED + LOCK.replace("lock:", "then:")).startswith(" no problems")


@pytest.mark.parametrize("limit", ["min_off: 5min", "max_on: 1h", "max_starts_per_hour: 4"])
def test_a_limit_bounds_only_what_is_asked_of_another_site(said, limit):
    key = limit.partition(":")[0]
    found = said(ASKED.replace(FAR, FAR.replace("}", f", {limit}}}")))
    assert f"warning: {key} bounds what is asked for here alone: others at ailleurs may move it" in found


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("valve: far, frost: {signal: sump}", "far is an output of ailleurs: off only ends our wish"),
        ("valve: far, leak: {burst: 1500 L/h for 3min}", "far is an output of ailleurs: off only ends our wish"),
        ("valve: well, drain: far, frost: {signal: sump}", "far is an output of ailleurs: off only ends our wish"),
    ],
)
def test_a_valve_of_another_site_is_not_held_closed(said, point, message):
    meter = ASKED.replace("signals:\n", "signals:\n  ct: {from: io-3.ai2, kind: counter, unit: L, per_pulse: 10}\n")
    assert message in said(f"{meter}water: {{points: {{fountain: {{meter: ct, {point}}}}}}}\n")
    plain = said(f"{meter}water: {{points: {{fountain: {{meter: ct, valve: far}}}}}}\n")
    assert "off only ends our wish" not in plain
