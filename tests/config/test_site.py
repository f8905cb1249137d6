"""What the models hold: base units, defaults that depend on others, secrets, profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.site.language.secret import Secret
from agent.site.language.values import Deadband, Surge
from agent.site.loader import check, load
from agent.site.models.site import Site

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
        "moves": None, "kind": "telemetry",
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


def test_keys_that_the_example_does_not_show(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    lora = "lora: {class: C, struct: [{field: temperature, type: i16be, scale: 0.01}], interval: 10min}\n"
    (tmp_path / "profiles" / "my_struct.yaml").write_text(lora + "points: {temperature: {unit: degC}}")
    path = tmp_path / "site.yaml"
    path.write_text(
        """
site: {id: a, timezone: Europe/Paris, public_holidays: FR-6AE}
uplink: {url: "mqtts://h", protocol: 5, ca: ca.pem, cert: c.pem, key: k.pem, keepalive: 30s, min_interval: 0s,
         state_interval: 60s, session_expiry: 1h}
buses:
  rak: {type: lora_rak_p2p, port: /dev/serial/by-id/x, baudrate: 115200, frequency: 868.1 MHz, spreading_factor: 7,
        bandwidth: 125 kHz, coding_rate: 4/5, preamble: 8, power: 14 dBm}
  air: {type: lora_gwmp, listen: "127.0.0.1:1700", gateways: ["0102030405060708"]}
  line: {type: lora_line, port: /dev/serial/by-id/y, pattern: "^RX (?P<data>[0-9A-F]+)$"}
  old: {type: lora_rn2483, port: /dev/serial/by-id/r, frequency: 868.1 MHz}
  e22: {type: lora_ebyte, port: /dev/serial/by-id/e, frequency: 868.125 MHz}
  far: {type: modbus_rtu_over_tcp, host: 10.0.0.2, port: 4001}
  gpio: {type: gpio}
devices:
  m: {bus: far, unit_id: 3, profile: eastron_sdm120, poll: 10s, points: {active_power: {poll: 1s}},
      publish: {every: 1min, deadband: 0.5 %, max_silence: 1h}, personal: false}
  p2p: {bus: rak, node: "01", profile: my_struct}
  otaa: {bus: air, dev_eui: "24e124136b316001", join_eui: "24e124c0002a0001", app_key: {file: app.key},
         profile: my_struct}
  abp: {bus: air, dev_addr: "260b1234", nwk_s_key: {env: A}, app_s_key: {env: B}, skip_fcnt_check: true,
        profile: my_struct}
signals:
  water: {from: gpio.17, kind: counter, unit: L}
  room: {from: p2p.temperature}
actuators:
  relay: {output: gpio.22, active: high, safe_state: off, boot_state: off, stop_state: off}
  boiler: {output: gpio.5, override: true}
water: {points: {f: {meter: water, leak: {continuous: none}}}}
heating:
  zones:
    z: {sensor: room, plant: {burner: relay}, setpoints: {comfort: 19},
        control: {type: pid, kp: 1, ki: 0.1, cycle: 15min}}
  hot_water:
    H: {sensor: room, actuator: boiler, setpoint: 55, thermal_cycle: {at: "03:00", temperature: 65, hold: 4min}}
"""
    )
    assert [problem.message.partition(" is not driven yet")[0] for problem in check(path)] == [
        "lora_rn2483", "lora_ebyte",
    ]  # fmt: skip
    site = load(path)
    assert site.buses["rak"].frequency == 868_100_000
    assert site.devices["m"].point_interval("active_power") == 1
    assert site.devices["m"].point_interval("voltage") == 10
    assert site.water.points["f"].leak is not None and site.water.points["f"].leak.continuous is None


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
    (tmp_path / "windows").write_bytes(b"\xef\xbb\xbfhunter2\r\n")  # Notepad marks a file as UTF-8
    assert Secret("file", "windows", tmp_path).reveal() == "hunter2"
    with pytest.raises(ConfigError, match="cannot be read"):
        Secret("credential", "none").reveal()
