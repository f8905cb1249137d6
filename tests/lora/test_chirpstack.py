"""The driver by itself on Debian's broker: downlinks and their ends, and events of any kind."""

import asyncio
import contextlib
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.errors import DeviceError, WireError
from agent.model import Quality
from drivers.api import BusSpec, DeviceSpec
from drivers.broker_link import MqttMessage
from drivers.lora.chirpstack import ChirpStack
from tests.fakes.broker import ScriptedBroker
from tests.fakes.store import FakeStore
from tests.fakes.waiting import until

EUI = "24e124136b316009"
PROFILE = {
    "lora": {
        "class": "A", "fport": 2, "interval": 1.0, "confirmed": True,
        "struct": ({"field": "position", "type": "u8"},), "downlink": ({"field": "position", "as": "u8"},),
    },
    "points": {"position": {"unit": "%", "kind": "telemetry", "writable": True}},
}  # fmt: skip


TOPIC = f"application/saint-seine/device/{EUI}/event/up"


@pytest.fixture
def clock():
    return SystemClock("always")


@pytest.fixture
def make(clock):
    def bus(port, confirmed=True, memory=None):
        options = {
            "url": f"mqtt://127.0.0.1:{port}", "application": "saint-seine",
            "event_topic": "application/{application}/device/{dev_eui}/event/{event}",
            "command_topic": "application/{application}/device/{dev_eui}/command/down",
        }  # fmt: skip
        profile = {**PROFILE, "lora": {**PROFILE["lora"], "confirmed": confirmed}}
        spec = BusSpec("l", "lora_chirpstack", options, (DeviceSpec("v", {"dev_eui": EUI}, profile),))
        return ChirpStack(spec, clock, FakeStore() if memory is None else memory)

    return bus


@contextlib.asynccontextmanager
async def running(bus):
    """The bus while it is listened to, and what it has read."""
    heard = []

    async def listen():
        async for readings in bus.readings():
            heard.extend(readings)

    task = asyncio.create_task(listen())
    await until(lambda: bus.status()["state"] == "up" or task.done())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait({task})
        await bus.close()


async def position(bus):
    (found,) = await bus.read(["v.position"])
    return found.value, found.quality


@pytest.mark.broker
async def test_a_downlink_is_what_chirpstack_wants_and_ends_with_the_devices_word(make, broker, server, clock):
    bus = make(broker.port)
    async with running(bus):
        assert await position(bus) == (None, Quality.BAD)
        await bus.write("v.position", 42, clock.monotonic() + 60)
        assert await position(bus) == (42, Quality.GOOD)
        (one,) = server.commands
        assert (one["devEui"], one["fPort"], one["bytes"], one["confirmed"]) == (EUI, 2, b"\x2a", True)
        assert one["expiresAt"].endswith("Z") and len(one["id"]) == 36
        server.confirms = False
        with pytest.raises(DeviceError, match="did not confirm"):
            await bus.write("v.position", 43)
        assert await position(bus) == (None, Quality.BAD), "nobody knows"
        assert bus.status()["waiting"] == 0


@pytest.mark.broker
async def test_one_that_is_not_to_be_confirmed_ends_with_the_gateway(make, broker, server):
    bus = make(broker.port, confirmed=False)
    async with running(bus):
        await bus.write("v.position", 42)
        assert server.commands[0]["confirmed"] is False
        assert await position(bus) == (None, Quality.BAD)


@pytest.mark.broker
async def test_what_waits_for_a_class_a_device_is_replaced_expires_or_is_called_off(make, broker, server, clock):
    bus = make(broker.port)
    server.listens = False
    async with running(bus):
        first = asyncio.create_task(bus.write("v.position", 1, clock.monotonic() + 3600))
        await until(lambda: len(server.commands) == 1)
        second = asyncio.create_task(bus.write("v.position", 2, clock.monotonic() + 3600))
        with pytest.raises(DeviceError, match="newer value"):
            await first
        await until(lambda: len(server.commands) == 2)
        server.expire(EUI, server.commands[1])
        with pytest.raises(DeviceError, match="expired"):
            await second
        third = asyncio.create_task(bus.write("v.position", 3, clock.monotonic() + 3600))
        await until(lambda: len(server.commands) == 3)
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
        assert bus.status()["waiting"] == 0
        fourth = asyncio.create_task(bus.write("v.position", 3))
        await until(lambda: len(server.commands) == 4)
        server.tell(EUI, "log", level="ERROR", code="DOWNLINK_PAYLOAD_SIZE", description="Too long",
                    context={"max_payload_size": "0", "item_size": "1"})  # fmt: skip
        with pytest.raises(DeviceError, match="too long"):
            await fourth
        started = time.monotonic()
        with pytest.raises(DeviceError, match="expired before the device spoke"):
            await bus.write("v.position", 4, clock.monotonic() + 0.2)
        assert time.monotonic() - started >= 0.2
        with pytest.raises(DeviceError, match="expired"):
            await bus.write("v.position", 4, clock.monotonic() - 1)


@pytest.mark.broker
@pytest.mark.parametrize("turns", range(4))
async def test_a_write_is_called_off_also_while_the_broker_takes_it(make, broker, server, turns):
    """At each turn of the loop from the PUBACK on."""
    bus, taken = make(broker.port), asyncio.Event()
    server.listens = False
    async with running(bus):
        client = bus._link._client._client
        acked = client.on_publish
        client.on_publish = lambda *of: (acked(*of), taken.set())
        writing = asyncio.create_task(bus.write("v.position", 1))
        await taken.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait({writing}, timeout=15)
        assert writing.cancelled() and bus.status()["waiting"] == 0


@pytest.mark.broker
async def test_without_a_broker_a_write_fails_and_nothing_else(make):
    bus = make(1)
    listening = asyncio.create_task(anext(bus.readings()))
    await until(lambda: bus.status()["error"] not in ("", "not connected yet"))
    with pytest.raises(WireError):
        await bus.write("v.position", 1)
    assert bus.status()["state"] == "down" and bus.due() > time.monotonic()
    listening.cancel()


@pytest.mark.broker
async def test_a_session_that_the_broker_keeps(make, broker, server):
    """Under another run of the agent: what was published meanwhile comes, once."""
    memory = FakeStore()
    async with running(make(broker.port, memory=memory)):
        pass
    event = server.up(EUI, b"\x07", fport=2, age=500)
    server.event(EUI, "up", event)
    async with running(bus := make(broker.port, memory=memory)) as heard:
        await until(lambda: bus.status()["events"] == 2)
        assert (bus.status()["late"], bus.status()["repeated"]) == (1, 1)
        assert {reading.value for reading in heard if reading.point == "v.position"} == {7}
        assert all(reading.measured_at is not None for reading in heard)
        server.up(EUI, b"\x08", fport=2)
        await until(lambda: heard[-1].measured_at is None)
    assert await position(bus) == (8, Quality.GOOD)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["up", "up", "join", "ack", "txack", "log", "status", "location", "x"])


def message(topic, body):
    return MqttMessage(topic, body, False, 1, 1, 1)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=KINDS)
async def test_no_event_raises(make, up_event, data, kind):
    """A real event with some of its parts replaced by anything, then anything at all."""
    bus, event = make(1), up_event(EUI, b"\x05", fport=2, decoded={"position": 5})
    places = [event, event["rxInfo"][0], event["txInfo"], event["txInfo"]["modulation"]["lora"], event["object"]]
    for place in data.draw(st.lists(st.sampled_from(places), max_size=3)):
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    event |= data.draw(st.dictionaries(st.sampled_from(["context", "batteryLevel", "queueItemId", "level"]), JSON))
    topic = f"application/saint-seine/device/{EUI}/event/{kind}"
    readings = await bus.take(message(topic, json.dumps(event).encode()))
    json.dumps([reading.value for reading in readings], allow_nan=False)
    await bus.take(message(data.draw(st.just(topic) | st.text()), data.draw(st.binary() | JSON.map(_json))))
    assert bus.status()["events"] == 2


def _json(value):
    return json.dumps(value).encode()


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 12_000, b"x" * 1_000_000, b"9" * 20_000])
async def test_bodies_that_would_hurt(make, body):
    bus = make(1)
    assert await bus.take(message(f"application/saint-seine/device/{EUI}/event/up", body)) == []
    assert bus.status()["malformed"] == 1


def memory(name):
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


@pytest.mark.parametrize(("retain", "qos"), [(True, 1), (False, 1), (False, 0)])
async def test_an_event_of_250_mb_is_counted_said_once_and_the_link_stays(make, up_event, caplog, retain, qos):
    topic = "application/saint-seine/device/{}/event/up"
    async with ScriptedBroker() as broker, running(bus := make(broker.port)):
        await until(lambda: broker.subscribed)
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM begins anew
        before = memory("VmRSS")
        mids = [await broker.send_long(topic.format(EUI), 250_000_000, qos=qos, retain=retain) for _ in range(2)]
        mids += [await broker.send_long(topic.format("24e124136b31ffff"), 200_000, qos=qos, retain=retain)]
        await broker.send(topic.format(EUI), json.dumps(up_event(EUI, b"\x05", fport=2)).encode())
        await until(lambda: bus.status()["events"] == 4)
        assert memory("VmHWM") - before < 20
        assert await position(bus) == (5, Quality.GOOD)
        await until(lambda: not qos or set(mids) <= set(broker.connections[0].acknowledged))
        assert (len(broker.connections), bus.status()["state"]) == (1, "up")
    assert (bus.status()["oversized"], bus.status()["malformed"]) == (3, 3)
    assert len([line for line in caplog.messages if "longer than 64 kB" in line]) == 1


@pytest.mark.broker
async def test_one_that_the_broker_has_kept_comes_at_each_connection_and_harms_none(make, broker, server):
    topic = f"application/saint-seine/device/{EUI}/event/up"
    server.client.publish(topic, bytes(60_000_000), 1, retain=True).wait_for_publish(30)
    for _ in range(2):
        async with running(bus := make(broker.port)):
            await until(lambda: bus.status()["oversized"] == 1)
            assert bus.status()["state"] == "up"
            await bus.write("v.position", 42)
            server.up(EUI, b"\x06", fport=2)
            await until(lambda: bus.status()["events"] >= 4)


async def test_a_flood_that_is_not_looked_at_stays_small(make, up_event):
    """Nobody takes the readings of a bus whose codec is slow: at QoS 0 what is too much is lost, at QoS 1 it waits."""
    topic, body = f"application/saint-seine/device/{EUI}/event/up", json.dumps(up_event(EUI, b"\x05", fport=2)).encode()
    async with ScriptedBroker() as broker:
        bus = make(broker.port)
        link = asyncio.create_task(bus._link.run())
        await until(lambda: broker.subscribed)
        for _ in range(2000):
            await broker.send(topic, body, qos=0)
        await until(lambda: bus._link.inbox.full())
        await broker.send(topic, body, qos=1)
        assert len(broker.connections) == 1 and len(bus._link._client.messages) <= 102
        for _ in range(600):
            await broker.send(topic, body, qos=1)
        client = bus._link._client
        await until(client._disconnected.done)
        assert len(client.messages) == 500
        reader = asyncio.create_task(_read_all(bus._link.inbox))
        await until(lambda: len(broker.connections) == 2)
        reader.cancel()
        link.cancel()
        await asyncio.wait({link, reader})


async def _read_all(inbox):
    while True:
        await inbox.get()


async def test_defaults_are_left_out_and_numbers_may_be_text(make, up_event):
    bus, event = make(1), up_event(EUI, b"\x05", fport=2, gateways=((0, 0), (-90, -3)))
    event |= {"fCnt": "12"}
    event["txInfo"]["modulation"]["lora"]["spreadingFactor"] = "12"
    readings = await bus.take(message(f"application/saint-seine/device/{EUI}/event/up", _json(event)))
    found = {reading.point: reading.value for reading in readings}
    assert (found["v.fcnt"], found["v.rssi"], found["v.snr"], found["v.sf"]) == (12, 0, 0, 12)
    assert found["v.position"] == 5


@pytest.mark.parametrize("key", ["snr", "rssi"])
@pytest.mark.parametrize("odd", ["NaN", "Infinity", float("nan"), "loud", [1], {}])
async def test_a_strength_that_is_no_number_costs_itself_only(make, up_event, key, odd):
    bus, event = make(1), up_event(EUI, b"\x05", fport=2, gateways=((-90, -3), (-100, -9)))
    event["rxInfo"][0][key] = odd
    event["txInfo"]["modulation"]["lora"]["spreadingFactor"] = "twelve"
    found = {r.point: r.value for r in await bus.take(message(TOPIC, _json(event)))}
    assert (found["v.position"], bus.status()["malformed"]) == (5, 0)
    strength = {"rssi": -100, "snr": -9} if key == "snr" else {"rssi": None, "snr": -3}
    assert {name: found.get(f"v.{name}") for name in ("rssi", "snr")} == strength


@pytest.mark.parametrize("where", ["object", "rxInfo", "margin"])
async def test_a_number_of_thousands_of_digits_costs_itself_only(make, up_event, where):
    bus, event = make(1), up_event(EUI, b"\x05", fport=2, gateways=((-90, -3),))
    event |= {"object": {"other": 12345}} if where == "object" else {"margin": 12345} if where == "margin" else {}
    event["rxInfo"][0]["rssi"] = 12345 if where == "rxInfo" else -90
    text = _json(event).replace(b"12345", b"1" * 5000)
    found = {r.point: r.value for r in await bus.take(message(TOPIC, text))}
    assert (found["v.position"], found.get("v.rssi"), found["v.snr"]) == (5, None if where == "rxInfo" else -90, -3)
    assert bus.status()["malformed"] == 0


@pytest.mark.parametrize("data", ["+/+/AA==", "+/+/AA", "-_-_AA==", "-_-_AA"])
async def test_base64_of_either_alphabet_padded_or_not(make, up_event, data):
    bus, event = make(1), up_event(EUI, b"", fport=2)
    readings = await bus.take(message(TOPIC, _json(event | {"data": data})))
    found = {reading.point: reading.value for reading in readings}
    assert (found["v.payload"], found["v.position"]) == ("2:fbffbf00", 0xFB)


async def test_a_decoded_null_says_so(make, up_event):
    bus, event = make(1), up_event(EUI, b"\x05", fport=2, decoded={"position": None})
    found = {reading.point: reading for reading in await bus.take(message(TOPIC, _json(event)))}
    assert found["v.position"].quality is Quality.BAD
    assert found["v.codec_error"].value == "position: null stands where a value should"


async def test_memory_of_seen_events_is_bounded(make, up_event):
    bus = make(1)
    for n in range(3000):
        await bus.take(message(f"application/saint-seine/device/{EUI}/event/up", _json(up_event(EUI, b"", fcnt=n))))
    assert len(bus._seen) == 1000
