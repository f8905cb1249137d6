"""A whole agent and Debian's broker: certificates, passwords, both versions of MQTT, commands that had to wait."""

import shutil
import signal
import subprocess
import time

import pytest

from tests.fakes.mosquitto import trusting

pytestmark = pytest.mark.broker


def test_certificates_the_documented_whitelist_and_a_wrong_ca(
    site, slave, tmp_path, certificates, documented_acl, make_broker, make_subscriber, wait_for
):
    """With a wrong CA the agent works on and says why; the right file in its place is enough, without a restart."""
    certificates(tmp_path, "broker", "test-village", "supervisor")
    other = tmp_path / "other"
    other.mkdir()
    certificates(other)
    (tmp_path / "acl").write_text(documented_acl)
    broker = make_broker(
        f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key",
        "require_certificate true", "use_identity_as_username true", f"acl_file {tmp_path}/acl",
    )  # fmt: skip
    for name in ("test-village.pem", "test-village.key"):
        shutil.copy(tmp_path / name, site.folder)
    shutil.copy(other / "ca.pem", site.folder / "ca.pem")
    site.document["uplink"] |= {
        "url": f"mqtts://localhost:{broker.port}", "state_interval": "1s",
        "ca": "ca.pem", "cert": "test-village.pem", "key": "test-village.key",
    }  # fmt: skip
    context = trusting(tmp_path)
    context.load_cert_chain(tmp_path / "supervisor.pem", tmp_path / "supervisor.key")
    subscriber = make_subscriber(broker.port, tls=context)
    site.start()
    wait_for(lambda: "certificate is not accepted" in site.status()["uplink"]["error"])
    assert site.order("lamp", True)[0] == "verified"
    assert not subscriber.readings

    shutil.copy(tmp_path / "ca.pem", site.folder / "ca.pem")
    wait_for(lambda: subscriber.on("status"), 20, "the link")
    assert subscriber.on("status")[-1]["state"] == "online"
    wait_for(lambda: subscriber.on("state/m") and subscriber.on("state/actuators"))
    early = "a reading of the beginning, which was before the link"
    wait_for(lambda: min(subscriber.values("m.count"), default=9) <= 3, what=early)
    subscriber.send("c1", point="lamp", value="off", ttl_ms=10_000)
    wait_for(lambda: "verified" in subscriber.states("c1"))
    assert slave.coils[0] is False
    assert not subscriber.events("uplink_refused")
    wait_for(lambda: subscriber.events("certificate_expiring", "alarm"), what="the alarm of certificates of 30 days")
    assert {event["subject"] for event in subscriber.events("certificate_expiring")} == {"ca.pem", "test-village.pem"}
    assert subscriber.events("output", "audit")


@pytest.mark.parametrize("where", ["file", "env", "credential"])
def test_the_brokers_password_comes_from_where_the_file_says(
    site, tmp_path, make_broker, make_subscriber, wait_for, where
):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "test-village", "sesame-7"], check=True)
    broker = make_broker("allow_anonymous false", f"password_file {passwords}")
    (site.folder / "mqtt-password").write_text("sesame-7\n")
    source = {"file": "mqtt-password", "env": "BROKER_PASSWORD", "credential": "mqtt-password"}[where]
    site.env |= {"env": {"BROKER_PASSWORD": "sesame-7"}, "credential": {"CREDENTIALS_DIRECTORY": str(site.folder)}}.get(
        where, {}
    )
    site.document["uplink"] |= {
        "url": f"mqtt://127.0.0.1:{broker.port}", "username": "test-village", "password": {where: source},
    }  # fmt: skip
    subscriber = make_subscriber(broker.port, login=("test-village", "sesame-7"))
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    assert site.stop()[0] == 0
    assert "sesame" not in site.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [5, "3.1.1"])
def test_an_outage_in_both_versions_and_what_became_of_commands_meanwhile(
    site, slave, link, subscriber, wait_for, protocol
):
    """MQTT 5 keeps commands for us: valid ones are carried out, expired ones are not. 3.1.1 begins anew."""
    site.document["uplink"] |= {"protocol": protocol, "durability_window": "1s"}
    site.document["devices"]["m"]["poll"] = "100ms"
    site.allow("m.relay2")
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    link.cut()
    subscriber.send("late", point="lamp", value="on", ttl_ms=60_000, expires_at=round(time.time() * 1000) + 300)
    subscriber.send("valid", point="m.relay2", value="on", expires_at=round(time.time() * 1000) + 60_000)
    wait_for(lambda: site.status()["outbox"]["bytes"] > 500, what="blocks on flash")
    assert slave.writes == []
    link.mend()
    last = slave.registers[0]
    first = subscriber.values("m.count")[0]
    wait_for(lambda: subscriber.has_all(first, last), what="every poll")
    counts = subscriber.values("m.count")
    assert counts == sorted(counts)
    assert set(subscriber.compressed) == ({"application/json+zlib"} if protocol == 5 else set())
    if protocol == 5:
        wait_for(lambda: subscriber.states("valid")[-1:] == ["verified"])
        (expired,) = subscriber.results("late")
        assert (expired["state"], "too late" in expired["reason"]) == ("expired", True)
        assert slave.writes == [(1, True)]
    else:
        subscriber.send("after", point="m.relay2", value="on", ttl_ms=5000)
        wait_for(lambda: "verified" in subscriber.states("after"))
        assert not subscriber.results("valid") + subscriber.results("late")


@pytest.mark.slow
def test_a_refused_topic_is_open_until_the_broker_takes_it_also_across_starts(
    site, tmp_path, make_broker, make_subscriber, wait_for
):
    acl, mine = tmp_path / "acl", "bocage/v1/test-village"
    rules = [f"topic read {mine}/#", f"topic write {mine}/cmd/#"]
    rules += [f"topic write {mine}/{name}" for name in ("status", "event", "health", "state/+")]
    acl.write_text("\n".join(rules))
    broker = make_broker("allow_anonymous true", f"acl_file {acl}")
    subscriber = make_subscriber(broker.port)
    site.document["uplink"]["url"] = f"mqtt://127.0.0.1:{broker.port}"

    def said():
        return [event["kind"] for event in subscriber.events("uplink_refused")]

    for start in (1, 2):
        site.start()
        wait_for(said, what="the alarm")
        wait_for(lambda start=start: site.log.read_text().count("refuses a topic topic=telemetry") == start)
        assert "uplink_refused telemetry" in site.bocage("alarms", check=0).stdout
        site.stop()
    assert said() == ["alarm"] and not subscriber.readings
    acl.write_text("\n".join([*rules, f"topic write {mine}/telemetry"]))
    broker.process.send_signal(signal.SIGHUP)
    site.start()
    wait_for(lambda: subscriber.readings and said() == ["alarm", "cleared"], what="the end of the alarm")
    assert "uplink_refused" not in site.bocage("alarms", check=0).stdout


@pytest.mark.slow
def test_the_topic_at_which_a_broker_cuts_is_said_and_forgotten_with_its_device(
    site, tmp_path, make_broker, make_subscriber, wait_for
):
    """Mosquitto 2.0.11 cuts at a publish of QoS 0 that it does not allow: the topic told before it is not meant."""
    acl, mine = tmp_path / "acl", "bocage/v1/test-village"
    rules = [f"topic read {mine}/#", f"topic write {mine}/cmd/#"]
    names = ("status", "event", "health", "telemetry", "state/store", "state/m", "state/signals", "state/actuators")
    acl.write_text("\n".join([*rules, *(f"topic write {mine}/{name}" for name in names)]))
    broker = make_broker("allow_anonymous true", f"acl_file {acl}")
    subscriber = make_subscriber(broker.port)
    site.document["uplink"] |= {"url": f"mqtt://127.0.0.1:{broker.port}", "state_interval": "1s"}
    devices = site.document["devices"]
    devices["other"] = {**devices["m"], "unit_id": 2}

    def said():
        return [(event["kind"], event["subject"]) for event in subscriber.events("uplink_refused")]

    site.start()
    wait_for(said, 30, "the alarm")
    count = len(subscriber.on("state/m"))
    wait_for(lambda: len(subscriber.on("state/m")) > count + 2, what="the other topics go on")
    assert said() == [("alarm", f"{mine}/state/other")]
    assert "uplink_refused" in site.bocage("alarms", check=0).stdout
    del devices["other"]
    site.write().bocage("reload", check=0)
    wait_for(lambda: said()[1:] == [("cleared", f"{mine}/state/other")], what="the end of the alarm")
    assert "uplink_refused" not in site.bocage("alarms", check=0).stdout
