"""Two agents, a real broker between them: the reservoir's village fills its tank with the pumping station's well."""

import json
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.fakes.gateway import Link, Mosquitto, Site, Slave
from tests.fakes.mosquitto import documented_acl
from tests.fakes.waiting import wait_for

EVERY = 5.0
"""Seconds between two messages; a wish ends after three of these."""
LOW, FULL = 4_800, 18_400
"""uA: 5 % and 90 %."""


class Pair:
    """`tank` fills its reservoir with the pump of `station`, each behind a link of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.slaves = {name: Slave() for name in ("reservoir", "pompage")}
        self.links = {name: Link(port) for name in self.slaves}
        self.sites = {}
        for name, slave in self.slaves.items():
            (folder / name).mkdir()
            site = self.sites[name] = Site(folder / name, slave, self.links[name].port)
            site.document["site"]["id"] = name
        self.tank, self.station = self.sites["reservoir"], self.sites["pompage"]
        self.tank.document |= {
            "buses": {**self.tank.document["buses"], "net": {"type": "bocage_site", "site": "pompage", "every": "5s"}},
            "devices": {
                **self.tank.document["devices"],
                "station": {"bus": "net", "remote": {
                    "well": {"from": "well", "ask": True}, "runs": {"from": "well", "kind": "state"},
                    "current": {"from": "m.level", "unit": "uA"}}},
            },
            "actuators": {"well": {"output": "station.well", "safe_state": "off", "boot_state": "recompute"}},
            "water": {"tanks": {"basin": {"level": "tank", "pump": "well", "stuck_after": "none", "max_fill": "none"}}},
        }  # fmt: skip
        self.station.document["actuators"] = {"well": {"output": "m.relay1", "safe_state": "off", "boot_state": "off"}}
        self.station.document["peers"] = {"reservoir": ["well"]}
        self.slaves["pompage"].registers[1] = 7_000

    @property
    def pump(self):
        return self.slaves["pompage"].coils[0]

    def level(self, value):
        self.slaves["reservoir"].registers[1] = value

    def start(self):
        for site in self.sites.values():
            site.write().launch()
        for site in self.sites.values():
            wait_for(lambda site=site: site._answers() or site.process.poll() is not None, what="the agent's socket")
            assert site.process.poll() is None, site.log.read_text()
        return self

    def read(self, point):
        return self.tank.ask(do="read", points=[point])["points"][point]

    def close(self):
        for site in self.sites.values():
            if site.process is not None and site.process.poll() is None:
                site.kill()
        for one in (*self.links.values(), *self.slaves.values()):
            one.close()


@pytest.fixture
def pair(tmp_path, broker):
    made = Pair(tmp_path, broker.port)
    yield made
    made.close()


def causes(subscriber):
    """What moved an output of either site, and its priority."""
    return [(one["detail"]["to"], one["detail"]["priority"], one["detail"]["cause"]) for one in
            subscriber.events("output") if one["detail"]["by"] == "control"]  # fmt: skip


def filling(pair):
    """The reservoir is low, and the pump runs for it."""
    pair.level(LOW)
    pair.start()
    wait_for(lambda: pair.pump, what="the pump to start")
    return pair


def test_the_tank_fills_with_the_well_of_the_other_site(pair, subscriber):
    filling(pair)
    wait_for(lambda: pair.read("station.runs")["value"] is True, what="its state here", seconds=10)
    assert pair.read("station.current")["value"] == 7_000
    pair.level(FULL)
    wait_for(lambda: not pair.pump, what="the pump to stop", seconds=10)
    wait_for(lambda: (True, 15, "asked by reservoir") in causes(subscriber), what="its audit")
    assert subscriber.events("output_mismatch") == []


@pytest.mark.slow
def test_a_link_that_is_cut_in_a_fill_ends_it_at_the_expiry(pair, subscriber):
    filling(pair)
    wait_for(lambda: pair.read("station.runs")["value"] is True, what="the other's point")
    pair.links["reservoir"].cut()
    cut = time.monotonic()
    time.sleep(EVERY)
    assert pair.pump, "one message that is lost stops nothing"
    wait_for(lambda: not pair.pump, what="the end of the wish", seconds=20)
    assert 2 * EVERY - 1 < time.monotonic() - cut < 3 * EVERY + 2
    wait_for(lambda: pair.read("station.runs")["quality"] == "stale", what="the other's point to go stale", seconds=20)
    pair.links["reservoir"].mend()
    wait_for(lambda: pair.pump, what="the wish to be repeated", seconds=20)
    assert not [one for one in subscriber.events("output_mismatch") if one["subject"] == "well"]


@pytest.mark.slow
def test_the_asked_site_killed_goes_on_with_the_wish_until_it_ends(pair):
    filling(pair)
    pair.links["reservoir"].cut()
    writes = len(pair.slaves["pompage"].writes)
    time.sleep(1)
    pair.station.kill()
    pair.station.launch()
    cut = time.monotonic()
    wait_for(lambda: not pair.pump, what="the end of the wish, which nothing repeats", seconds=30)
    assert time.monotonic() - cut > EVERY
    assert [value for _, value in pair.slaves["pompage"].writes[writes:] if not value] == [False], "one edge"


@pytest.mark.slow
def test_the_asking_site_killed_is_back_before_its_wish_ends(pair):
    filling(pair)
    writes = len(pair.slaves["pompage"].writes)
    pair.tank.kill()
    pair.tank.launch()
    time.sleep(4 * EVERY)
    assert pair.pump and len(pair.slaves["pompage"].writes) == writes, "no edge at all"
    pair.tank.kill()
    wait_for(lambda: not pair.pump, what="the end of the wish of a site that is gone", seconds=20)


def test_an_orderly_stop_ends_the_wish_at_once(pair):
    filling(pair)
    pair.tank.stop()
    wait_for(lambda: not pair.pump, what="the pump to stop", seconds=3)


def want(pair, of, **other):
    """A request as the reservoir would send it, from a client that is not it."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return {"t": round(time.time() * 1000), "boot": of, "boottime_ms": round(now * 1000), "for_ms": 15_000,
            "every_ms": 5_000, "set": {"well": True}, **other}  # fmt: skip


def test_a_request_that_is_old_forged_or_not_allowed_moves_nothing(pair, subscriber):
    pair.level(FULL)
    pair.start()
    wait_for(lambda: subscriber.on("peer/pompage/want"), what="the first request")
    wait_for(lambda: pair.station.status()["buses"][1]["heard"], what="it was heard")

    def publish(**body):
        subscriber.client.publish("bocage/v1/reservoir/peer/pompage/want", json.dumps(want(pair, **body)), qos=1)

    publish(of="an earlier boot", t=round((time.time() - 600) * 1000))
    publish(of="unknown time", t=None)
    publish(of="a stranger", set={"lamp": True, "m.relay2": True})
    subscriber.client.publish("bocage/v1/reservoir/peer/pompage/want", b"[]", qos=1)
    subscriber.client.publish("bocage/v1/another/peer/pompage/want", json.dumps(want(pair, of="x")), qos=1)
    time.sleep(3)
    assert not any(pair.slaves["pompage"].coils)
    bus = pair.station.status()["buses"][1]
    assert bus["malformed"] == 1 and bus["too_old"] >= 2


def test_a_request_that_is_played_again_moves_nothing(pair, subscriber):
    filling(pair)
    wait_for(lambda: [one for one in subscriber.on("peer/pompage/want") if "set" in one], what="a request")
    recorded = [one for one in subscriber.on("peer/pompage/want") if "set" in one]
    pair.level(FULL)
    wait_for(lambda: not pair.pump, what="the pump to stop", seconds=10)
    for one in recorded:
        subscriber.client.publish("bocage/v1/reservoir/peer/pompage/want", json.dumps(one), qos=1)
    time.sleep(3)
    assert not pair.pump


def test_what_the_asked_site_does_not_allow_is_refused_with_the_reason(pair):
    pair.level(LOW)
    pair.station.document["peers"] = {"reservoir": {"allow": [], "read": ["m.level"]}}
    pair.start()
    wait_for(lambda: "it is not in peers.reservoir" in pair.tank.log.read_text(), what="the reason in the log")
    wait_for(lambda: pair.read("station.current")["value"] == 7_000, what="what it may read")
    assert pair.read("station.runs")["quality"] == "bad"
    assert not any(pair.slaves["pompage"].coils)


@pytest.mark.slow
def test_the_pump_s_own_rules_hold(pair):
    """A dry run, a person, or a limit of the asked site: each beats the wish at 15."""
    pair.station.document["actuators"]["well"] |= {"max_on": "6s"}
    filling(pair)
    wait_for(lambda: not pair.pump, what="max_on", seconds=15)
    time.sleep(EVERY)
    assert not pair.pump


@pytest.mark.slow
def test_both_sides_without_the_time(pair):
    for site in pair.sites.values():
        site.env["BOCAGE_CLOCK"] = "untrusted"
    filling(pair)
    pair.level(FULL)
    wait_for(lambda: not pair.pump, what="the pump to stop", seconds=10)


class Intruder:
    """A client that the broker knows by name, and that is none of the two sites."""

    def __init__(self, port: int, name: str) -> None:
        self.heard: list[str] = []
        self.codes: list[int] = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(name, "secret")
        self.client.on_message = lambda _client, _data, message: self.heard.append(message.topic)
        self.client.on_publish = lambda _client, _data, _mid, code, _properties: self.codes.append(code.value)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe("bocage/v1/#", 1)

    def publish(self, topic: str, body: dict) -> int:
        before = len(self.codes)
        self.client.publish(topic, json.dumps(body), qos=1)
        wait_for(lambda: len(self.codes) > before, what="the broker's answer")
        return self.codes[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(params=["acl of a pair", "acl of all pairs"])
def guarded(tmp_path, request, make_broker):
    """The pair on a broker with the access list of docs/mqtt.md, names and passwords; the port, and the pair."""
    ends = {"acl of a pair": "\nWhere both", "acl of all pairs": "\nA broker on"}
    pair = documented_acl(request.param, ends[request.param]).replace("reservoir-haut", "reservoir")
    users = ("reservoir", "pompage", "mairie", "supervisor")
    passwords = tmp_path / "passwords"
    passwords.touch()
    for name in users:
        subprocess.run(["mosquitto_passwd", "-b", passwords, name, "secret"], check=True, capture_output=True)
    (tmp_path / "acl").write_text(f"{documented_acl()}\n{pair}\n")
    broker = make_broker(f"password_file {passwords}", f"acl_file {tmp_path}/acl", "use_username_as_clientid true")
    made = Pair(tmp_path, broker.port)
    for name, site in made.sites.items():
        site.env["PASSWORD"] = "secret"
        site.document["uplink"] |= {"username": name, "password": {"env": "PASSWORD"}}
    yield broker.port, made
    made.close()


@pytest.mark.broker
def test_the_documented_acl_lets_the_pair_work_and_another_client_neither_ask_nor_listen(guarded, make_subscriber):
    port, pair = guarded
    subscriber = make_subscriber(port, login=("supervisor", "secret"))
    stranger = Intruder(port, "mairie")
    try:
        filling(pair)
        wait_for(lambda: pair.read("station.runs")["value"] is True, what="its state here", seconds=10)
        pair.level(FULL)
        wait_for(lambda: not pair.pump, what="the pump to stop", seconds=10)
        forged = want(pair, "a forged boot")
        assert stranger.publish("bocage/v1/reservoir/peer/pompage/want", forged) == 0x87
        assert stranger.publish("bocage/v1/pompage/peer/reservoir", forged) == 0x87
        time.sleep(2)
        assert not pair.pump and not [topic for topic in stranger.heard if "/peer/" in topic]
        assert not subscriber.events("uplink_refused")
    finally:
        stranger.close()


def test_without_the_acl_of_a_pair_the_asking_site_says_that_it_is_refused(guarded, tmp_path, make_broker):
    _, pair = guarded
    (tmp_path / "acl").write_text(documented_acl())
    broker = make_broker(f"password_file {tmp_path}/passwords", f"acl_file {tmp_path}/acl")
    for site in pair.sites.values():
        site.document["uplink"]["url"] = f"mqtt://127.0.0.1:{broker.port}"
    pair.level(LOW)
    pair.start()
    topic = "reservoir/peer/pompage/want"
    wait_for(lambda: topic in str(pair.tank.status()["alarms"]), what=f"uplink_refused of {topic}")
    assert not pair.pump


@pytest.fixture
def lan(tmp_path, broker):
    """A broker on the LAN that both sites reach; the region's is `broker`."""
    folder = tmp_path / "lan"
    folder.mkdir()
    made = Mosquitto(folder).start()
    yield made
    made.stop()


@pytest.mark.slow
def test_a_broker_on_the_lan_carries_it_while_the_region_is_cut_off(pair, lan):
    url = f"mqtt://127.0.0.1:{lan.port}"
    pair.tank.document["buses"]["net"]["url"] = url
    pair.station.document["buses"]["net"] = {"type": "bocage_site", "site": "reservoir", "every": "5s", "url": url}
    filling(pair)
    for link in pair.links.values():
        link.cut()
    time.sleep(3 * EVERY + 2)
    assert pair.pump, "the LAN's broker has carried the repetitions"
    for link in pair.links.values():
        link.mend()
    for site in pair.sites.values():
        wait_for(lambda site=site: site.status()["uplink"]["state"] == "connected", what="the region's broker")
    lan.stop()
    time.sleep(3 * EVERY + 2)
    assert pair.pump, "the region's broker has carried the repetitions"
    pair.level(FULL)
    wait_for(lambda: not pair.pump, what="the pump to stop", seconds=10)
    assert "no progress" not in pair.tank.log.read_text() + pair.station.log.read_text()


def test_a_reload_that_ends_it_takes_no_request_for_a_command(pair, subscriber):
    """The broker keeps the subscription of the session: what still comes by it is let go."""
    filling(pair)
    pair.level(FULL)
    wait_for(lambda: not pair.pump, what="the pump to stop", seconds=10)
    peers = pair.station.document.pop("peers")
    pair.station.write().bocage("reload", check=0)
    time.sleep(EVERY + 1)
    pair.station.kill()
    pair.station.launch()
    wait_for(lambda: pair.station._answers() and pair.station.status()["uplink"]["state"] == "connected")
    time.sleep(EVERY + 1)
    assert not [one for one in subscriber.on("event") if one["code"].startswith("command")]
    assert not pair.pump
    pair.station.document["peers"] = peers
    pair.station.write().bocage("reload", check=0)
    said = "it is heard again"
    wait_for(lambda: [one for one in pair.station.status()["buses"] if one.get("heard")], what=said, seconds=30)


def off_by(site, seconds):
    """Put the site under a wall clock that is off by what the file says (s), now and later."""
    file = site.folder / "ahead"
    file.write_text(str(seconds))
    site.sabotage = f"""
import pathlib, time
ahead, machine_ns = pathlib.Path({str(file)!r}), time.time_ns
time.time_ns = lambda: machine_ns() + int(ahead.read_text()) * 10**9
"""
    return file


@pytest.mark.slow
def test_a_wrong_clock_and_a_step_of_the_other_stop_no_fill(pair):
    off_by(pair.tank, 3 * 86_400)
    station = off_by(pair.station, 0)
    filling(pair)
    assert "not known yet whether it is of now" in pair.station.log.read_text()
    station.write_text(str(-2 * 86_400))
    time.sleep(3 * EVERY + 2)
    assert pair.pump and pair.read("station.runs") == {**pair.read("station.runs"), "value": True, "quality": "good"}
    assert [on for _, on in pair.slaves["pompage"].writes if on] == [True]
    pair.level(FULL)
    wait_for(lambda: not pair.pump, what="the pump to stop", seconds=10)
