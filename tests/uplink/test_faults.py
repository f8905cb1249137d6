"""A broker that misbehaves: nothing is lost, nothing storms, a duplicate carries the same key."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import aiomqtt
import pytest

from agent.clock import SystemClock
from agent.errors import ConfigError
from agent.uplink.session import Session
from agent.uplink.settings import UplinkSettings
from tests.fakes.broker import NEVER, ScriptedBroker

BOTH = pytest.mark.parametrize("protocol", [5, "3.1.1"])


def keys(payloads: list[bytes]) -> list[int]:
    return [json.loads(payload)["k"][1] for payload in payloads]


@BOTH
async def test_everything_arrives_in_order_and_leaves_the_outbox_with_its_puback(
    site: Any, until: Any, protocol: Any
) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port, protocol=protocol):
        site.outbox.fill(200)
        await until(lambda: len(site.outbox.delivered) == 200)
        assert keys(broker.accepted("/telemetry")) == list(range(1, 201))
        assert not site.outbox.out and not site.outbox.returned


@BOTH
async def test_a_connection_cut_in_the_middle_gives_back_what_was_under_way(
    site: Any, until: Any, protocol: Any
) -> None:
    async with ScriptedBroker(delay=0.05) as broker, site.up(broker.port, protocol=protocol):
        site.outbox.fill(100)
        await until(lambda: len(site.outbox.delivered) >= 30)
        broker.cut()
        await until(lambda: len(site.outbox.delivered) == 100)
        received = keys(broker.accepted("/telemetry"))
        assert set(received) == set(range(1, 101))
        assert sorted(message.first for message in site.outbox.delivered) == list(range(1, 101))
        assert len(broker.connections) == 2
        again = [p.payload for p in broker.published if p.topic.endswith("telemetry")]
        assert len(dict(zip(keys(again), again, strict=True))) == len(set(again))


async def test_what_comes_back_after_a_cut_keeps_its_order(site: Any, until: Any) -> None:
    async with ScriptedBroker(puback=lambda nth, topic: NEVER) as broker, site.up(broker.port):
        site.outbox.fill(30)
        await until(lambda: len(site.outbox.out) == 19)  # the window, less the status message
        broker.puback = lambda nth, topic: 0
        broker.published.clear()
        broker.cut()
        await until(lambda: len(site.outbox.delivered) == 30)
        assert keys(broker.accepted("/telemetry")) == list(range(1, 31))
        assert not any(publish.dup for publish in broker.published)  # a new client object, nothing resent by paho


async def test_a_broker_that_hangs_up_at_each_tenth_message_is_asked_less_and_less(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []

    def delay(outage: float, why: Any, spread: float) -> float:
        delays.append(outage)
        return 0.01

    monkeypatch.setattr("agent.uplink.uplink.reconnect_delay", delay)
    async with ScriptedBroker(drop_at_nth=10) as broker, site.up(broker.port):
        site.outbox.fill(45)
        await until(lambda: len(site.outbox.delivered) == 45)
        assert set(keys(broker.accepted("/telemetry"))) == set(range(1, 46))
    assert len(delays) >= 5
    assert delays == sorted(delays) and delays[0] == 0 < delays[-1]  # the outage goes on: short links do not end it


async def test_receive_maximum_one(site: Any, until: Any) -> None:
    async with ScriptedBroker(receive_maximum=1, delay=0.002) as broker, site.up(broker.port) as uplink:
        site.outbox.fill(20)
        await until(lambda: uplink.status()["state"] == "connected")
        assert await uplink.publish_health({"cpu": 1})
        await until(lambda: len(site.outbox.delivered) == 20)
        assert broker.connections[0].most_unanswered == 1


async def test_who_gives_up_waiting_takes_no_publish_back(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is under way until its PUBACK: the broker's window stays full, and a goodbye waits for it without a storm."""
    waits: list[Any] = []
    wait = asyncio.wait

    async def counted(*arguments: Any, **named: Any) -> Any:
        waits.append(arguments)
        return await wait(*arguments, **named)

    monkeypatch.setattr("agent.uplink.uplink.ATTEMPT", 0.1)
    answer = {"puback": lambda nth, topic: NEVER if topic.endswith("/health") else 0, "delay": 0.02}
    async with ScriptedBroker(receive_maximum=2, **answer) as broker, site.up(broker.port) as uplink:
        await until(lambda: broker.accepted("/status"))
        assert not await uplink.publish_health({"cpu": 1})
        assert broker.published[-1].topic.endswith("/health")
        site.outbox.fill(10)
        await until(lambda: len(site.outbox.delivered) == 10)
        assert broker.connections[0].most_unanswered == 2
        monkeypatch.setattr("asyncio.wait", counted)
        await uplink.close()
        assert len(waits) < 20


@pytest.mark.parametrize("turns", range(4))
async def test_a_subscription_is_called_off_also_as_it_is_answered(turns: int) -> None:
    """At each turn of the loop from the SUBACK on."""
    async with ScriptedBroker() as broker:
        settings = UplinkSettings("127.0.0.1", broker.port, client_id="bocage-v")
        session = Session(settings, aiomqtt.Will("bocage/v/status", b"{}"), SystemClock("always"))
        answered = asyncio.Event()
        await session.open()
        told = session._client.on_subscribe
        session._client.on_subscribe = lambda *of: (told(*of), answered.set())  # type: ignore[misc, func-returns-value]
        listening = asyncio.create_task(session.listen("bocage/v/cmd/+"))
        await answered.wait()
        for _ in range(turns):
            if not listening.done():
                await asyncio.sleep(0)
        called_off = listening.cancel()
        await asyncio.wait({listening})
        assert listening.cancelled() == called_off
        await session.close()


async def test_the_window_is_twenty(site: Any, until: Any) -> None:
    async with ScriptedBroker(delay=0.05) as broker, site.up(broker.port):
        site.outbox.fill(100)
        await until(lambda: len(site.outbox.delivered) == 100)
        assert broker.connections[0].most_unanswered == 20


async def test_a_broker_that_never_acknowledges_is_left(site: Any, until: Any) -> None:
    """keepalive 30 s gives 45 s; here 1 s gives 1.5 s. It answers pings: only the missing PUBACK tells."""
    async with ScriptedBroker(puback=lambda nth, topic: NEVER) as broker, site.up(broker.port, keepalive=1.0) as uplink:
        site.outbox.fill(3)
        began = time.monotonic()
        await until(lambda: len(broker.connections) == 2, 6)
        assert 1.5 <= time.monotonic() - began < 4.5
        assert "not acknowledged" in uplink.status()["error"] or uplink.status()["state"] == "connected"
        broker.puback = lambda nth, topic: 0
        broker.cut()
        await until(lambda: len(site.outbox.delivered) == 3)


async def test_a_half_open_link_is_noticed_while_idle(site: Any, until: Any) -> None:
    """Noticed within 1.5 keepalives, and a second or two for the clockwork of paho."""
    async with ScriptedBroker() as broker, site.up(broker.port, keepalive=2.0) as uplink:
        await until(lambda: uplink.status()["state"] == "connected" and broker.published)
        broker.mute = True
        began = time.monotonic()
        await until(lambda: uplink.status()["state"] != "connected", 8)
        assert time.monotonic() - began < 2.0 * 1.5 + 2.5
        broker.mute = False
        broker.cut()
        await until(lambda: uplink.status()["state"] == "connected")


async def test_not_authorised_stops_that_topic_only_and_raises_one_alarm(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uplink.broker_refusals.STOPPED_FOR", 0.5)
    refuse = lambda nth, topic: 0x87 if topic.endswith("telemetry") else 0  # noqa: E731
    async with ScriptedBroker(puback=refuse) as broker, site.up(broker.port):
        site.outbox.fill(60)
        await until(lambda: site.outbox.events)
        site.outbox.fill(1, "event")
        await until(lambda: broker.accepted("/event"))
        assert not site.outbox.delivered[1:] and len(site.outbox.taken) < 90
        assert [(e.kind, e.code, e.subject) for e in site.outbox.events] == [("alarm", "uplink_refused", "telemetry")]
        broker.puback = lambda nth, topic: 0
        await until(lambda: len(site.outbox.delivered) == 61)
        assert keys(broker.accepted("/telemetry")) == list(range(1, 61))
        await until(lambda: [e.kind for e in site.outbox.events] == ["alarm", "cleared"])


async def test_events_that_are_refused_do_not_stand_in_the_way_of_readings(site: Any, until: Any) -> None:
    refuse = lambda nth, topic: 0x87 if topic.endswith("event") else 0  # noqa: E731
    async with ScriptedBroker(puback=refuse) as broker, site.up(broker.port):
        site.outbox.fill(100, "event")
        site.outbox.fill(100)
        await until(lambda: len(site.outbox.delivered) == 100)
        assert keys(broker.accepted("/telemetry")) == list(range(101, 201))


async def test_messages_are_spaced_out_on_a_metered_link(site: Any, until: Any) -> None:
    times: list[float] = []

    def note(nth: int, topic: str) -> int:
        times.extend([time.monotonic()] if topic.endswith("telemetry") else [])
        return 0

    async with ScriptedBroker(puback=note) as broker, site.up(broker.port, min_interval=0.2):
        site.outbox.fill(5)
        await until(lambda: len(site.outbox.delivered) == 5)
        assert min(b - a for a, b in itertools.pairwise(times)) > 0.15
        broker.cut()  # one that is in hand meanwhile is given back
        site.outbox.fill(3)
        await until(lambda: len(site.outbox.delivered) == 8)
        assert sorted(message.first for message in site.outbox.delivered) == list(range(1, 9))


async def test_a_used_up_quota_is_waited_for(site: Any, until: Any) -> None:
    async with ScriptedBroker(puback=lambda nth, topic: 0x97 if 2 <= nth <= 6 else 0) as broker, site.up(broker.port):
        site.outbox.fill(10)
        await until(lambda: len(site.outbox.delivered) == 10)
        assert set(keys(broker.accepted("/telemetry"))) == set(range(1, 11))
        assert len(broker.connections) == 1 and not site.outbox.events


async def test_a_quota_is_asked_for_less_and_less_often(site: Any, until: Any) -> None:
    times: list[float] = []

    def never(nth: int, topic: str) -> int:
        if not topic.endswith("telemetry"):
            return 0
        times.append(time.monotonic())
        return 0x97

    async with ScriptedBroker(puback=never, receive_maximum=1) as broker, site.up(broker.port, dice=0.0):
        site.outbox.fill(1)
        await until(lambda: len(times) >= 3, 6)
        first, second = times[1] - times[0], times[2] - times[1]
        assert 0.45 < first < 0.8 and 0.9 < second < 1.5
        assert len(broker.connections) == 1


@pytest.mark.parametrize("code", [0x99, 0x90])
async def test_what_will_never_be_taken_is_set_aside(site: Any, until: Any, code: int) -> None:
    async with ScriptedBroker(puback=lambda nth, topic: code if nth == 3 else 0) as broker, site.up(broker.port):
        site.outbox.fill(5)
        await until(lambda: len(site.outbox.delivered) == 4 and site.outbox.events)
        assert [reason for _, reason in site.outbox.aside] == [f"PUBACK 0x{code:02x}"]
        assert (site.outbox.events[0].kind, site.outbox.events[0].code) == ("alarm", "uplink_set_aside")
        assert len(broker.connections) == 1


async def test_what_is_longer_than_the_broker_takes_is_set_aside(site: Any, until: Any) -> None:
    async with ScriptedBroker(maximum_packet=2000) as broker, site.up(broker.port):
        site.outbox.fill(1, size=5000)
        site.outbox.fill(1)
        await until(lambda: len(site.outbox.delivered) == 1)
        assert len(site.outbox.aside) == 1 and len(broker.connections) == 1


async def test_no_subscriber_is_success(site: Any, until: Any) -> None:
    async with ScriptedBroker(puback=lambda nth, topic: 0x10) as broker, site.up(broker.port):
        site.outbox.fill(5)
        await until(lambda: len(site.outbox.delivered) == 5)
        assert len(broker.published) >= 5


async def test_a_broker_that_comes_back_has_the_first_message_within_a_second_and_a_half(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port, dice=1.0) as uplink:  # the worst throw
        await until(lambda: uplink.status()["state"] == "connected")
        await broker.stop()
        await until(lambda: uplink.status()["state"] == "waiting")
        site.outbox.fill(1)
        await asyncio.sleep(2)
        broker.published.clear()
        await broker.start()
        began = time.monotonic()
        await until(lambda: site.outbox.delivered)
        assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(("protocol", "code"), [(5, 0x86), (5, 0x87), ("3.1.1", 4), ("3.1.1", 5)])
async def test_bad_credentials_wait_five_minutes(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, protocol: Any, code: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("agent.uplink.uplink.reconnect_delay", lambda o, why, s: asked.append(why) or 300.0)
    async with ScriptedBroker(connack=code) as broker, site.up(broker.port, protocol=protocol, username="u") as uplink:
        await until(lambda: asked)
        assert asked[0].name == "CREDENTIALS"
        await until(lambda: uplink.status()["state"] == "waiting")
        assert len(broker.connections) == 1 and uplink.status()["error"]


async def test_a_broker_without_mqtt_5_is_told_apart(site: Any, until: Any) -> None:
    async with ScriptedBroker(connack=0x84) as broker, site.up(broker.port) as uplink:
        await until(lambda: "3.1.1" in uplink.status()["error"])
        assert broker.connections[0].level == 5


async def test_a_host_that_hangs_up_before_connack(site: Any, until: Any) -> None:
    async with ScriptedBroker(hang_up=True) as broker, site.up(broker.port) as uplink:
        await until(lambda: len(broker.connections) >= 2)
        site.outbox.fill(1)
        broker.hang_up = False
        await until(lambda: site.outbox.delivered)
        assert uplink.status()["state"] == "connected"


async def test_garbage_instead_of_mqtt_is_a_lost_link(site: Any, until: Any) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 5)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with server, site.up(server.sockets[0].getsockname()[1]) as uplink:
        await until(lambda: uplink.status()["state"] == "waiting")
        assert uplink.status()["error"] and not site.running.done()


async def test_a_name_that_nobody_knows_and_a_missing_certificate_are_reported_and_retried(
    site: Any, until: Any
) -> None:
    async with site.up(1883, host="broker.invalid") as uplink:
        await until(lambda: uplink.status()["state"] == "waiting", 10)
        assert uplink.status()["error"]
    async with site.up(1, tls=True, ca="/nowhere/ca.pem") as uplink:
        await until(lambda: "ca.pem" in uplink.status()["error"] or "No such file" in uplink.status()["error"])
        assert not site.running.done()


async def test_a_password_that_is_not_there_yet_is_reported_and_read_anew(site: Any, until: Any) -> None:
    class Later:
        there = False

        def reveal(self) -> str:
            if not self.there:
                raise ConfigError(["the secret {file: mqtt.pw} cannot be read"])
            return "sesame"

    password = Later()
    async with ScriptedBroker() as broker, site.up(broker.port, username="marie", password=password) as uplink:
        await until(lambda: "mqtt.pw" in uplink.status()["error"])
        password.there = True
        await until(lambda: broker.greeted)
        assert (broker.greeted[0].username, broker.greeted[0].password) == ("marie", "sesame")


@pytest.mark.parametrize(
    ("protocol", "clean", "properties"), [(5, False, b"\x11\x00\x00\x0e\x10"), ("3.1.1", True, b"")]
)
async def test_what_the_broker_is_asked_for(
    site: Any, until: Any, protocol: Any, clean: bool, properties: bytes
) -> None:
    """A session that outlives an hour without us where the broker can bound it; none where it cannot."""
    async with ScriptedBroker() as broker, site.up(broker.port, protocol=protocol):
        await until(lambda: broker.subscribed)
        (connection,) = broker.connections
        assert (connection.clean, connection.keepalive) == (clean, 30)
        assert properties in connection.properties  # MQTT 5, 3.1.2.11.2: Session Expiry Interval, 3,600 s
        assert connection.will is not None and connection.will[0] == "bocage/v1/village/status"


async def test_only_tls_1_2_and_1_3_are_offered(site: Any, until: Any) -> None:
    hellos: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server, site.up(server.sockets[0].getsockname()[1], tls=True):
        await until(lambda: hellos)
    extension = hellos[0][hellos[0].rindex(b"\x00\x2b\x00") :]  # supported_versions: RFC 8446, 4.2.1
    assert extension[5 : 5 + extension[4]] == b"\x03\x04\x03\x03"


async def test_closing_in_the_middle_of_an_attempt_does_not_wait_for_it(site: Any, until: Any) -> None:
    async with ScriptedBroker(mute=True) as broker, site.up(broker.port) as uplink:
        await until(lambda: broker.greeted)
        began = time.monotonic()
        await uplink.close()
        assert time.monotonic() - began < 1 and uplink.status()["state"] == "off"


async def test_a_suback_without_a_code_costs_the_link_alone(site: Any, until: Any, monkeypatch: Any) -> None:
    async with ScriptedBroker() as broker:
        monkeypatch.setattr(broker, "_suback", lambda connection, body: b"\x90\x03" + body[:2] + b"\0")
        async with site.up(broker.port) as uplink:
            await until(lambda: len(broker.connections) > 1 and "without a reason code" in uplink.status()["error"])
            monkeypatch.undo()
            await until(lambda: uplink.status()["state"] == "connected" and broker.subscribed, 15)


async def test_what_the_broker_says_is_cut_and_answers_to_nothing_are_not_told(
    site: Any, until: Any, caplog: Any
) -> None:
    async with ScriptedBroker(connack=0x9C, reference="x" * 60_000) as broker, site.up(broker.port) as uplink:
        await until(lambda: "it refers to" in uplink.status()["error"])
        assert len(uplink.status()["error"]) < 400
        broker.connack, broker.reference = 0, ""
        await until(lambda: uplink.status()["state"] == "connected" and broker.subscribed, 15)
        for writer in broker._writers:
            writer.write(b"\x90\x04\xff\xfe\0\x01" * 50 + b"\xb0\x04\xff\xfe\0\0" * 50)
        site.outbox.fill(1)
        await until(lambda: site.outbox.delivered)
        assert "Traceback" not in caplog.text
