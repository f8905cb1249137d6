"""A whole agent whose sensors and valves come over ChirpStack and Debian's broker."""

import json
import subprocess

import pytest

from tests.fakes.mosquitto import trusting

pytestmark = pytest.mark.broker

ROOM, VALVE = "24e124136b316001", "24e124136b316009"
CLIMATE = bytes.fromhex("01756403671001046871")  # 100 %, 27.2 degC, 56.5 %
PROFILE = """\
name: valve
lora:
  class: {class_}
  fport: 2
  interval: {interval}
  struct: [{{field: position, type: u8}}, {{field: open, type: bool}}]
  downlink: [{{field: position, as: u8, prefix: "01"}}, {{field: open, as: bool, prefix: "02"}}]
points:
  position: {{unit: "%", writable: true, low: 0, high: 100}}
  open: {{writable: true}}
"""


@pytest.fixture
def lora(site):
    """The site with a room's sensor and a valve."""

    def make(class_="C", interval="10min"):
        (site.folder / "profiles" / "valve.yaml").write_text(PROFILE.format(class_=class_, interval=interval))
        site.document["devices"]["room-1"] = {
            "bus": "lora-1", "dev_eui": ROOM, "profile": "milesight_em300_th", "stale_after": "45min",
        }  # fmt: skip
        site.document["devices"]["v"] = {"bus": "lora-1", "dev_eui": VALVE, "profile": "valve"}
        site.document["signals"]["classroom"] = {"from": "room-1.temperature", "unit": "degC"}
        return site

    return make


def read(site, *points):
    found = site.ask(do="read", points=list(points))["points"]
    return [(found[point]["value"], found[point]["quality"]) for point in points]


def bus(site):
    return next(one for one in site.status()["buses"] if one["name"] == "lora-1")


def connected(site, wait_for):
    site.start()
    wait_for(lambda: bus(site)["state"] == "up", what="the connection to the broker")
    return site


def test_a_sensor_is_read_and_its_signal_follows(lora, server, wait_for):
    site = connected(lora(), wait_for)
    server.up(ROOM, CLIMATE, gateways=((-120, 0), (-97, 7.5)))
    wait_for(lambda: read(site, "room-1.temperature") == [(27.2, "good")])
    printed = json.loads(site.bocage("read", "--json", check=0).stdout)
    known = {name: printed[f"room-1.{name}"]["value"] for name in ("humidity", "battery", "rssi", "snr", "sf", "lost")}
    assert known == {"humidity": 56.5, "battery": 100, "rssi": -97, "snr": 7.5, "sf": 9, "lost": 0}
    assert printed["classroom"]["value"] == 27.2
    assert printed["room-1.payload"]["value"] == f"85:{CLIMATE.hex()}"
    server.tell(VALVE, "status", margin=7, externalPowerSource=False, batteryLevelUnavailable=False, batteryLevel=61.4)
    wait_for(lambda: read(site, "v.battery") == [(61.4, "good")])


def test_silence_is_an_alarm_until_the_node_speaks_again(lora, server, wait_for):
    site = lora(interval="300ms")
    site.sabotage = (
        "from agent.core import alarms; from agent.runtime import status; "
        "status.DEVICE_PATIENCE, alarms.PERIOD = 0.5, 0.2"
    )
    connected(site, wait_for)
    server.up(VALVE, b"\x32\x01", fport=2)
    wait_for(lambda: read(site, "v.position") == [(50, "stale")])
    wait_for(lambda: "v" in [one["subject"] for one in site.status()["alarms"] if one["code"] == "device_lost"])
    assert "device_lost" in site.bocage("alarms").stdout
    assert [one["subject"] for one in site.status()["alarms"] if one["code"] == "device_lost"] == ["v"]
    server.up(VALVE, b"\x32\x01", fport=2)
    wait_for(lambda: not [one for one in site.status()["alarms"] if one["code"] == "device_lost"], what="its end")


def test_a_downlink_is_verified_when_the_device_has_confirmed_it(lora, server, wait_for):
    site = connected(lora(), wait_for)
    assert site.order("v.position", 42)[0] == "verified"
    state, reason = site.order("v.open", True)
    assert state == "verified", reason
    assert [(one["fPort"], one["bytes"], one["confirmed"]) for one in server.commands][-1] == (2, b"\x02\x01", True)
    server.confirms = False
    state, reason = site.order("v.position", 7)
    assert state == "failed" and "did not confirm" in reason


def test_a_broker_that_is_down_costs_its_bus_alone(lora, broker, server, wait_for):
    site = connected(lora(), wait_for)
    broker.stop()
    wait_for(lambda: bus(site)["state"] == "down")
    assert "127.0.0.1" in site.order("v.position", 42)[1]
    assert site.order("lamp", True)[0] == "verified"
    assert site.quality("m.count") == "good"
    broker.start()
    wait_for(lambda: bus(site)["state"] == "up")
    wait_for(server.client.is_connected)
    server.up(ROOM, CLIMATE)
    wait_for(lambda: read(site, "room-1.temperature") == [(27.2, "good")])


def test_what_came_while_the_agent_was_away_is_history_and_nothing_is_lost(lora, server, wait_for):
    site = connected(lora(), wait_for)
    server.up(ROOM, CLIMATE, fcnt=7)
    wait_for(lambda: read(site, "room-1.fcnt") == [(7, "good")])
    assert site.stop()[0] == 0
    server.up(ROOM, CLIMATE, fcnt=8, age=3600)
    server.up(ROOM, bytes.fromhex("0367d700"), fcnt=10, age=0)
    connected(site, wait_for)
    wait_for(lambda: read(site, "room-1.temperature", "room-1.lost") == [(21.5, "good"), (1, "good")])
    assert (bus(site)["late"], bus(site)["events"]) == (1, 2)


def test_rubbish_is_counted_and_told_once(lora, server, wait_for):
    site = connected(lora(), wait_for)
    for body in (b"", b"{", b"[]", b"\xff" * 100, b"x" * 1_000_000, b'{"deviceInfo":{"devEui":"0000000000000000"}}'):
        server.event(ROOM, "up", body)
    server.up("0000000000000001", CLIMATE)
    server.up(ROOM, CLIMATE)
    wait_for(lambda: read(site, "room-1.temperature") == [(27.2, "good")])
    assert {key: bus(site)[key] for key in ("events", "malformed", "foreign")} == {
        "events": 8, "malformed": 6, "foreign": 1,
    }  # fmt: skip
    assert site.log.read_text().count("events not understood") == 1


def test_certificates_and_a_password(lora, tmp_path, make_broker, make_server, certificates, wait_for):
    certificates(tmp_path, "broker")
    subprocess.run(["mosquitto_passwd", "-c", "-b", tmp_path / "passwords", "bocage", "sesame-7"], check=True)
    broker = make_broker(
        f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key",
        "allow_anonymous false", f"password_file {tmp_path}/passwords",
    )  # fmt: skip
    site = lora()
    (site.folder / "ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    (site.folder / "word").write_text("wrong\n")
    site.document["buses"]["lora-1"] |= {
        "url": f"mqtts://localhost:{broker.port}", "ca": "ca.pem", "username": "bocage", "password": {"file": "word"},
    }  # fmt: skip
    site.start()
    wait_for(lambda: "uthori" in bus(site)["error"], what="the refusal")
    (site.folder / "word").write_text("sesame-7\n")
    wait_for(lambda: bus(site)["state"] == "up")
    context = trusting(tmp_path)
    server = make_server(broker.port, tls=context, username="bocage", password="sesame-7")
    server.up(ROOM, CLIMATE)
    wait_for(lambda: read(site, "room-1.temperature") == [(27.2, "good")])
    assert "sesame" not in site.log.read_text()


@pytest.fixture
def certificates():
    from tests.fakes import mosquitto

    return mosquitto.certificates


def test_a_command_waits_for_a_class_a_node_or_runs_out_of_time(lora, broker, server, make_subscriber, wait_for):
    """The node speaks: then it is verified. It does not: then it has expired, and is not written any more."""
    server.listens = False
    site, subscriber = lora("A"), make_subscriber(broker.port)
    commands = {"allow": ["v.position"]}  # it is no actuator's
    site.document["uplink"] = {"url": f"mqtt://127.0.0.1:{broker.port}", "prefix": "bocage/v1", "commands": commands}
    connected(site, wait_for)
    wait_for(lambda: subscriber.on("status"))
    subscriber.send("c1", point="v.position", value=42, ttl_ms=60_000)
    (command,) = wait_for(lambda: server.commands)
    assert "verified" not in subscriber.states("c1")
    server.up(VALVE, b"\x00\x00", fport=2)
    server.deliver(VALVE, command)
    wait_for(lambda: "verified" in subscriber.states("c1"), what=str(subscriber.results("c1")))
    subscriber.send("c2", point="v.position", value=43, ttl_ms=1000)
    (found,) = wait_for(lambda: [one for one in subscriber.results("c2") if one["state"] in ("expired", "failed")])
    assert found["state"] == "expired"


@pytest.mark.slow
def test_the_output_of_a_node_that_left_the_file_is_written_when_it_listens(lora, server, wait_for):
    """Node and bus are gone from the file. The downlink waits at ChirpStack; nothing of the node is read any more."""

    def orphaned():
        return [one for one in site.status()["alarms"] if one["code"] == "output_orphaned"]

    site = lora()
    site.document["actuators"]["gate"] = {"output": "v.open", "safe_state": "off", "stop_state": "hold"}
    connected(site, wait_for)
    assert site.order("gate", "on")[0] == "verified"
    server.commands.clear()
    server.listens = False
    for device in ("v", "room-1"):
        del site.document["devices"][device]
    for section, name in (("actuators", "gate"), ("signals", "classroom"), ("buses", "lora-1")):
        del site.document[section][name]
    site.write().bocage("reload", check=0)
    wait_for(orphaned)
    wait_for(lambda: [one["bytes"] for one in server.commands][-1:] == [b"\x02\x00"], 60)
    server.up(VALVE, b"\x32\x01", fport=2)

    def heard():
        server.deliver(VALVE, server.commands[-1])  # the one of before the reload may come first
        return not orphaned()

    wait_for(heard, 60)
    status = site.status()
    assert not [one for one in status["points"] if one["id"].startswith("v.")]
    assert "lora-1" not in [one["name"] for one in status["buses"]]
