"""What the models hold: base units, defaults that depend on others, secrets, profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import Secret, Site, load
from agent.config.values import Deadband, Surge
from agent.errors import ConfigError

CASES = Path(__file__).parent.parent / "cases"


@pytest.fixture
def site() -> Site:
    return load(CASES / "saint-seine.yaml")


def test_base_units(site: Site) -> None:
    assert site.uplink is not None
    assert (site.uplink.host, site.uplink.port, site.uplink.tls) == ("supervision.example.fr", 8883, True)
    assert (site.uplink.buffer.max, site.uplink.durability_window) == (200_000_000, 5)
    assert site.signals["classroom"].max_rate == pytest.approx(5 / 60)
    assert site.signals["lux"].scale == (0, 200)
    assert site.actuators["pump"].exercise is not None
    assert site.actuators["pump"].exercise.every == 7 * 86400
    assert site.devices["meter-b"].publish.deadband == Deadband(1, True)
    leak = site.water.points["fountain"].leak
    assert leak is not None and leak.burst == Surge(1500, 180)
    assert site.lighting.circuits["church"].switch_off.time == 23 * 60
    assert site.config_hash.startswith("sha256:") and site.path == CASES / "saint-seine.yaml"


def test_defaults_that_depend_on_others(site: Site) -> None:
    assert site.actuators["km1"].stop_state == "hold"
    assert [site.devices[name].period for name in ("meter-a", "io-1", "io-2")] == [10, 1, 1]
    assert (site.devices["meter-a"].stale, site.devices["room-1"].stale) == (30, 2700)
    assert site.devices["out-1"].interval == 600


def test_a_profile_is_plain_and_complete(site: Site) -> None:
    profile = site.devices["meter-a"].profile_data
    assert profile is not None
    assert profile["modbus"] == {"max_gap": 8, "max_read": 80, "guard": 0}
    assert profile["points"]["active_power"] == {
        "register": "input", "address": 12, "type": "f32", "order": "abcd", "scale": 1, "offset": 0, "unit": "W",
        "unavailable": None, "poll": None, "writable": False, "low": None, "high": None, "length": None, "bit": None,
        "kind": "telemetry",
    }  # fmt: skip
    assert profile["points"]["energy_total"]["kind"] == "counter"
    relays = site.devices["io-2"].profile_data
    assert relays is not None
    assert [relays["points"][f"relay{n}"]["address"] for n in range(1, 9)] == list(range(8))
    assert (relays["points"]["relay1"]["kind"], relays["points"]["ai8"]["address"]) == ("state", 7)


def test_two_reads_of_one_file_are_equal(site: Site) -> None:
    assert site == load(CASES / "saint-seine.yaml")
    assert site.devices["meter-a"] != site.devices["meter-b"]


def test_a_level_actuator_fails_to_its_level(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "dali.yaml").write_text(
        'points: {level: {register: holding, address: 0, writable: true, low: 0, high: 100, unit: "%"}}'
    )
    path = tmp_path / "site.yaml"
    path.write_text(
        'site: {id: a}\nuplink: {url: "mqtt://h", protocol: 3.1.1}\nbuses: {r: {type: modbus_tcp, host: h}}\n'
        "devices: {dali-1: {bus: r, unit_id: 1, profile: dali}}\n"
        "actuators: {dim1: {output: dali-1.level, kind: level, failure_level: 100 %}}\n"
    )
    dim = load(path).actuators["dim1"]
    assert (dim.safe_state, dim.stop_state, dim.boot_state) == (100, 100, 100)
    uplink = load(path).uplink
    assert uplink is not None and uplink.protocol == "3.1.1"


def test_a_secret_is_read_late_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "word").write_text("hunter2\n")
    assert Secret("file", "word", tmp_path).reveal() == "hunter2"
    secret = Secret("env", "BOCAGE_TEST_WORD")
    with pytest.raises(ConfigError, match="BOCAGE_TEST_WORD is not set"):
        secret.reveal()
    monkeypatch.setenv("BOCAGE_TEST_WORD", "hunter2")
    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r}"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Secret("credential", "word").reveal() == "hunter2"
    with pytest.raises(ConfigError, match="cannot be read"):
        Secret("credential", "none").reveal()
