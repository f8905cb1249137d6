"""The spine, end to end: wire to broker and back, with the real processes."""

import json
import shutil

import pytest

ACCEPTED_LIFE = ["accepted", "applied", "verified"]


def send(subscriber, name, **body):
    body = {"id": name, **body}
    subscriber.client.publish(f"bocage/v1/test-village/cmd/{name}", json.dumps(body), qos=1)


def results(subscriber, name):
    return subscriber.on(f"cmd/{name}/result")


def states(subscriber, name):
    return [result["state"] for result in results(subscriber, name)]


def test_a_register_reaches_the_broker_with_its_true_time_and_a_key_of_its_own(site, subscriber, wait_for):
    site.start()
    wait_for(lambda: len(subscriber.values("m.fixed")) >= 5)
    assert subscriber.values("m.fixed")[0] == pytest.approx(61.2)
    assert subscriber.values("tank")[0] == 50.0
    assert subscriber.deliveries == len(subscriber.readings)
    assert subscriber.on("status")[-1]["state"] == "online"
    code, seconds = site.stop()
    assert (code, seconds < 5) == (0, True)
    wait_for(lambda: subscriber.on("status")[-1]["state"] == "offline")


def test_a_command_lives_from_accepted_to_verified_and_is_audited(site, slave, subscriber, wait_for):
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    send(subscriber, "c1", point="lamp", value="on", ttl_ms=10_000)
    wait_for(lambda: "verified" in states(subscriber, "c1"))
    assert states(subscriber, "c1") == ACCEPTED_LIFE
    assert slave.writes[-1] == (0, True)
    audits = [event for event in subscriber.on("event") if event["kind"] == "audit" and event["subject"] == "lamp"]
    assert audits[-1]["detail"]["priority"] == 8
    send(subscriber, "c1", point="lamp", value="off", ttl_ms=10_000)
    send(subscriber, "c2", point="nowhere", value=1, ttl_ms=10_000)
    wait_for(lambda: "rejected" in states(subscriber, "c2"))
    assert slave.coils[0] is True, "a repeated id is never carried out again"


def test_a_technician_reads_writes_and_releases(site, slave, subscriber, wait_for):
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    shown = json.loads(site.bocage("read", "m.fixed", "--json", check=0).stdout)["m.fixed"]
    assert (shown["unit"], shown["quality"], shown["at"][-6:]) == ("W", "good", shown["at"][-6:])
    assert site.bocage("write", "lamp", "on", "--for", "1h", check=0).stdout.startswith("lamp on: verified")
    assert slave.coils[0] is True
    status = json.loads(site.bocage("watch", "--json", check=0).stdout)
    (lamp,) = status["actuators"]
    assert (lamp["value"], lamp["priority"]) == (True, 8)
    assert "uid" in lamp["by"]
    assert lamp["until"] is not None
    site.bocage("release", "lamp", check=0)
    wait_for(lambda: slave.coils[0] is False)
    site.bocage("write", "lamp", "on", check=0)
    assert site.bocage("write", "lamp", "null", check=0).stdout.startswith("lamp released: ")
    wait_for(lambda: slave.coils[0] is False)
    assert "did you mean" in site.bocage("write", "lmp", "on", check=1).stdout
    assert "did you mean" in site.bocage("read", "m.fixd", check=1).stderr
    site.bocage("write", "lamp", "sideways", check=2)
    assert "leave --direct out" in site.bocage("write", "lamp", "on", "--direct", check=1).stderr


def test_without_an_agent_the_wire_is_read_directly_and_written_through_the_same_door(site, slave):
    site.write()
    shown = json.loads(site.bocage("read", "--json", check=0).stdout)
    assert shown["m.fixed"]["value"] == pytest.approx(61.2)
    assert shown["tank"]["value"] == 50.0
    site.bocage("write", "lamp", "on", check=3)
    assert "lamp on: verified" in site.bocage("write", "lamp", "on", "--direct", check=0).stdout
    assert slave.writes == [(0, True)]
    site.bocage("watch", "--once", check=3)
    assert json.loads(site.bocage("buffer", "status", "--json", check=0).stdout)["rows"] >= 0


@pytest.mark.slow
def test_a_dead_device_and_a_dead_link_stop_nothing(site, slave, link, subscriber, wait_for):
    site.document["devices"]["dead"] = {"bus": "plant", "unit_id": 9, "profile": "bench8", "poll": "200ms"}
    slave.deaf.add(9)
    link.cut()
    site.start()
    wait_for(lambda: json.loads(site.bocage("buffer", "status", "--json").stdout or '{"rows":0}')["rows"] > 30)
    shown = json.loads(site.bocage("read", "--json", check=0).stdout)
    assert shown["dead.fixed"]["quality"] == "bad"
    assert shown["m.fixed"]["quality"] == "good"
    site.bocage("write", "lamp", "on", check=0)
    link.mend()
    wait_for(lambda: len(subscriber.values("m.count")) > 20)
    counts = subscriber.values("m.count")
    assert counts == sorted(counts), "the backlog comes in order"


@pytest.mark.slow
def test_a_wrong_file_never_starts_the_agent_and_a_second_agent_is_refused(site):
    site.start()
    second = site.bocage("run")
    assert second.returncode == 75
    assert "another agent" in second.stderr
    site.stop()
    shutil.rmtree(site.folder / "state")  # where something was applied before, that goes on (test_applied.py)
    site.document["devices"]["m"]["profile"] = "bench9"
    site.write()
    wrong = site.bocage("run")
    assert wrong.returncode == 78
    assert 'unknown profile "bench9"; did you mean "bench8"?' in wrong.stderr


def test_hangup_applies_what_changed_and_leaves_the_rest_alone(site, slave, subscriber, wait_for):
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    site.document["devices"]["n"] = {"bus": "plant", "unit_id": 2, "profile": "bench8", "poll": "200ms"}
    site.write()
    site.hup()
    wait_for(lambda: subscriber.values("n.fixed"))
    site.path.write_text("version: 1\nnonsense: 3\n")
    site.hup()
    wait_for(lambda: [e for e in subscriber.on("event") if e["code"] == "refused"])
    before = len(subscriber.values("n.fixed"))
    wait_for(lambda: len(subscriber.values("n.fixed")) > before)


def test_sigterm_puts_outputs_into_their_stop_state(site, slave, subscriber, wait_for):
    site.start()
    site.bocage("write", "lamp", "on", check=0)
    assert slave.coils[0] is True
    assert site.stop()[0] == 0
    assert slave.coils[0] is False


@pytest.mark.slow
@pytest.mark.parametrize("state", ["up", "down"])
def test_a_kill_moves_no_relay_and_stop_outputs_makes_it_safe(site, slave, link, wait_for, state):
    if state == "down":
        link.cut()
    site.start()
    site.bocage("write", "lamp", "on", check=0)
    site.kill()
    writes = list(slave.writes)
    site.start()
    wait_for(
        lambda: json.loads(site.bocage("read", "m.count", "--json").stdout or "{}").get("m.count", {}).get("value")
    )
    assert site.bocage("read", "lamp").returncode in (0, 1)
    assert slave.writes == writes, "a restart within an override moves nothing"
    site.kill()
    assert "safe state" in site.bocage("stop-outputs", check=0).stdout
    assert slave.coils[0] is False
