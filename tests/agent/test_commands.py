"""A command from the broker to the relay and back: to whoever asked, and at most once when a crash comes between."""

import json
import random
import time

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def test_the_asker_is_answered_on_his_own_topic(site, slave, subscriber, wait_for):
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    answers = []
    subscriber.client.message_callback_add("answers/#", lambda client, data, message: answers.append(message))
    subscriber.client.subscribe("answers/#", 1)
    asked = Properties(PacketTypes.PUBLISH)
    asked.ResponseTopic, asked.CorrelationData = "answers/marie", b"\x00\xff7"
    for name, value, state in (("c1", "on", "verified"), ("c2", "sideways", "rejected")):
        body = json.dumps({"id": name, "point": "lamp", "value": value, "ttl_ms": 60_000})
        subscriber.client.publish(f"bocage/v1/test-village/cmd/{name}", body, qos=1, properties=asked)
        wait_for(lambda name=name: [one for one in answers if json.loads(one.payload)["id"] == name], what="an answer")
        answer = json.loads(answers[-1].payload)
        assert (answer["state"], answers[-1].properties.CorrelationData) == (state, b"\x00\xff7")
        wait_for(lambda name=name, state=state: state in subscriber.states(name), what="the record of it")
        record = subscriber.results(name)[-1]
        assert {**answer, "k": record["k"]} == record, "the same, but for the key"
    assert slave.writes == [(0, True)]


@pytest.mark.slow
def test_no_command_is_acknowledged_and_forgotten(site, slave, subscriber, wait_for):
    """24 at once and kill -9 within 30 ms, five times: each has a result, or an event names it as refused."""
    moments, asked = random.Random(24), []
    for turn in range(5):
        site.start()
        wait_for(lambda: site.status()["uplink"]["state"] == "connected", what="the link")
        names = [f"k{turn}-{n}" for n in range(24)]
        heard = len(subscriber.messages)
        for name in names:
            subscriber.send(name, point="lamp" if name.endswith("7") else "nothing", value="on", ttl_ms=60_000)
        wait_for(lambda heard=heard: len(subscriber.messages) > heard, what="that it is at work")
        time.sleep(moments.uniform(0, 0.03))
        site.kill()
        asked += names
    site.start()

    def forgotten():
        named = {name for event in subscriber.events("commands_refused") for name in event["detail"]["ids"]}
        return [name for name in asked if name not in named and not subscriber.results(name)]

    wait_for(lambda: not forgotten(), what="a result or a word for each")


def test_an_index_and_an_output_of_nobody_need_their_own_name(site, slave, subscriber, wait_for):
    """A pattern means actuators: nobody who writes it thinks of a meter's index, or of a relay without an actuator."""
    site.document["uplink"]["commands"] = {"allow": ["*"]}
    site.document["signals"]["wc"] = {"from": "m.count", "kind": "counter", "unit": "L"}
    site.start()
    wait_for(lambda: subscriber.values("wc.index") or subscriber.values("wc"), what="the meter")
    for point, value in (("wc.index", 7), ("m.relay2", True)):
        subscriber.send(point.replace(".", "-"), point=point, value=value, ttl_ms=60_000)
        wait_for(lambda point=point: subscriber.results(point.replace(".", "-")), what="its result")
        last = subscriber.results(point.replace(".", "-"))[-1]
        assert (last["state"], "does not name" in last["reason"]) == ("rejected", True), last
    subscriber.send("lamp", point="lamp", value=True, ttl_ms=60_000)
    wait_for(lambda: "verified" in subscriber.states("lamp"))
    assert slave.writes == [(0, True)]


def test_a_crash_between_accepted_and_the_wire_is_unknown_and_never_made_up_for(site, slave, subscriber, wait_for):
    site.document["buses"]["plant"]["timeout"] = "5s"
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    slave.deaf.add(1)  # a question is open for 5 s, and the write waits behind it
    asked = slave.registers[0]
    subscriber.send("c1", point="lamp", value="on", ttl_ms=60_000)
    wait_for(lambda: subscriber.states("c1") == ["accepted"], what="that it is on flash, and told")
    site.kill()
    assert slave.writes == [] and slave.registers[0] == asked
    slave.deaf.clear()
    site.start()
    wait_for(lambda: "unknown" in subscriber.states("c1"))
    wait_for(lambda: slave.registers[0] > asked + 5, what="some polls")
    subscriber.send("c1", point="lamp", value="on", ttl_ms=60_000)
    wait_for(lambda: subscriber.states("c1").count("unknown") == 2, what="what became of it, told again")
    assert slave.writes == [], "nobody knows whether it was done, so it is not done again"
    assert subscriber.states("c1")[0] == "accepted" and "off" in subscriber.results("c1")[-1]["reason"]
    subscriber.send("c2", point="lamp", value="on", ttl_ms=60_000)
    wait_for(lambda: "verified" in subscriber.states("c2"))
    assert slave.writes == [(0, True)]
