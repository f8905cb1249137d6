"""The broker, the link that can be cut, and the count by key."""

from __future__ import annotations

import asyncio
import json
import zlib

import aiomqtt
import pytest

from agent.demo.uplink import Deliveries, RuralLink, broker, subscriber

TOPIC = "bocage/v1/x/telemetry"


def batch(first, *points):
    entries = {name: rows for name, *rows in points}
    last = first + sum(len(rows) for rows in entries.values()) - 1
    return json.dumps({"k": ["store", first, last], "t": 1, "clock": "synced", "p": entries}).encode()


def test_every_reading_has_its_own_number():
    deliveries = Deliveries()
    deliveries.take(TOPIC, batch(10, ("a", [0, 1.0, 0], [5, 1.1, 2]), ("b", [0, True, 1])))
    assert deliveries.keys == {"store": {10, 11, 12}}
    assert (deliveries.delivered, deliveries.duplicates, deliveries.given("store")) == (3, 0, 12)


def test_what_comes_twice_is_counted_once_and_said():
    deliveries = Deliveries()
    deliveries.take(TOPIC, batch(1, ("a", [0, 1, 0])))
    deliveries.take(TOPIC, zlib.compress(batch(1, ("a", [0, 1, 0]), ("b", [0, 1, 1]))))
    assert (deliveries.delivered, deliveries.duplicates) == (2, 1)


def test_events_and_outcomes_have_numbers_and_states_have_none():
    deliveries = Deliveries()
    deliveries.take("bocage/v1/x/event", b'{"k":["store",1],"kind":"alarm"}')
    deliveries.take("bocage/v1/x/cmd/c1/result", b'{"k":["store",2],"id":"c1","state":"accepted"}')
    deliveries.take("bocage/v1/x/state/io-1", b'{"relay1":true}')
    assert deliveries.keys == {"store": {1, 2}} and deliveries.outcomes == {"c1": ["accepted"]}


async def test_the_link_is_cut_and_mended(unused_tcp_port_factory):
    port, link_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    deliveries, link = Deliveries(), RuralLink(link_port, port)

    def client():
        return aiomqtt.Client("127.0.0.1", link_port, protocol=aiomqtt.ProtocolVersion.V311, timeout=2)

    async with broker(port), subscriber(port, deliveries):
        await link.mend()
        async with client() as near:
            await near.publish(TOPIC, batch(1, ("a", [0, 1, 0])), qos=1)
        near = client()
        await near.__aenter__()
        await link.cut()
        with pytest.raises(aiomqtt.MqttError):
            async with asyncio.timeout(5):
                async for _ in near.messages:
                    pass
        with pytest.raises(aiomqtt.MqttError):
            async with client():
                pass
        await link.mend()
        async with client() as near:
            await near.publish(TOPIC, batch(2, ("a", [0, 2, 0])), qos=1)
        async with asyncio.timeout(5):
            while deliveries.delivered < 2:
                deliveries.came.clear()
                await deliveries.came.wait()
        await link.cut()


async def test_many_messages_all_arrive(unused_tcp_port):
    deliveries = Deliveries()
    async with broker(unused_tcp_port), subscriber(unused_tcp_port, deliveries) as client:
        for n in range(200):
            entries = [[10, 1.5, min(i, 1)] for i in range(100)]
            await client.publish(TOPIC, batch(1 + 100 * n, ("a", *entries)), qos=1)
        async with asyncio.timeout(10):
            while deliveries.delivered < 20_000:
                deliveries.came.clear()
                await deliveries.came.wait()
    assert deliveries.duplicates == 0


async def test_retained_messages_go_to_who_asked_for_them(unused_tcp_port):
    """What a newcomer's `mosquitto_sub '#'` must not bring upon the agent."""

    def client():
        return aiomqtt.Client("127.0.0.1", unused_tcp_port, protocol=aiomqtt.ProtocolVersion.V311)

    async with broker(unused_tcp_port), client() as curious:
        await curious.subscribe("bocage/#")
        await curious.publish("bocage/v1/x/status", b"online", qos=1, retain=True)
        async with client() as agent:
            await agent.subscribe("bocage/v1/x/cmd/+", qos=1)
            await agent.publish("bocage/v1/x/cmd/1", b"last", qos=1)
            first = await asyncio.wait_for(anext(aiter(agent.messages)), 5)
            assert first.payload == b"last"
        async with client() as late:
            await late.subscribe("bocage/v1/+/status")
            first = await asyncio.wait_for(anext(aiter(late.messages)), 5)
            assert (first.payload, first.retain) == (b"online", True)
