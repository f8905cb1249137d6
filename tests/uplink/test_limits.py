"""What a broker does not take, or only in smaller pieces: nothing is lost, storms, or waits behind it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.model import Event, Reading
from agent.outbox import Outbox
from agent.outbox.blocks import decode
from agent.uplink.reconnect import Why, reconnect_delay
from agent.uplink.settings import BrokerAddress, UplinkSettings
from tests.fakes.broker import NEVER, ScriptedBroker
from tests.fakes.mosquitto import mosquitto
from tests.fakes.ports import free_port

BOTH = pytest.mark.parametrize("protocol", [5, "3.1.1"])


@pytest.fixture
async def box(tmp_path: Path, site: Any) -> Any:
    """The site's outbox is a real one."""
    outbox = Outbox.open(tmp_path / "state", tmp_path / "run", SystemClock("always"), window=0.2)
    keeping = asyncio.create_task(outbox.run())
    site.outbox = outbox
    yield outbox
    keeping.cancel()
    await outbox.close()


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.uplink.uplink.reconnect_delay", lambda outage, why, spread: 0.02)


def rows(payloads: list[bytes]) -> dict[tuple[str, int], tuple[str, Any, int | None]]:
    found: dict[tuple[str, int], tuple[str, Any, int | None]] = {}
    for payload in payloads:
        for row in decode(payload):
            content = row.point, row.value, row.ms
            assert found.setdefault((row.store, row.seq), content) == content
    return found


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize(("protocol", "too_long"), [(5, 0x95), (5, None), ("3.1.1", None)])
async def test_what_is_too_long_for_the_broker_is_split_until_it_passes(
    site: Any, box: Outbox, until: Any, monkeypatch: Any, protocol: Any, too_long: int | None, history: bool
) -> None:
    """It says so (PUBACK 0x95), or cuts the link without a word; each reading keeps its key, and others pass."""
    quick(monkeypatch)
    clock = SystemClock("always")
    made = [Reading(f"meter-{n}.active_power", n + 0.5, clock.now()) for n in range(2000)]
    box.put(made, 2)
    if history:
        await box._shielded(box._writer.locked_save(flush=True, last=False))
    async with ScriptedBroker(longest=1000, too_long=too_long) as broker, site.up(broker.port, protocol=protocol):
        await box.put_event(Event("alarm", "test", "km1", clock.now()))
        await until(lambda: box.status()["rows"] == 0, 20)
        assert len(rows(broker.accepted("/telemetry"))) == 2000
        assert sorted(value for _, value, _ in rows(broker.accepted("/telemetry")).values()) == [r.value for r in made]
        assert broker.accepted("/event") and not box.status()["lost"]


async def test_real_mosquitto_with_a_small_limit(
    site: Any, box: Outbox, until: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`message_size_limit`: PUBACK 0x95, which paho takes for a broken packet. `max_packet_size`: in the CONNACK."""
    quick(monkeypatch)
    clock = SystemClock("always")
    for line in ("message_size_limit 900", "max_packet_size 1500"):
        folder = tmp_path / line.partition(" ")[0]
        folder.mkdir()
        async with mosquitto(folder, "allow_anonymous true", line) as port, site.up(port) as uplink:
            box.put([Reading(f"meter-{n}.active_power", float(n), clock.now()) for n in range(300)], 2)
            await until(lambda: box.status()["rows"] == 0, 20)
            assert not box.status()["lost"] and uplink.status()["state"] == "connected"


async def test_one_record_too_long_is_set_aside_and_the_next_one_passes(site: Any, until: Any) -> None:
    async with ScriptedBroker(longest=2000, too_long=0x95) as broker, site.up(broker.port):
        site.outbox.fill(1, "event", size=5000)
        site.outbox.fill(1, "event")
        await until(lambda: len(site.outbox.delivered) == 1 and site.outbox.events)
        assert [(e.code, e.subject) for e in site.outbox.events] == [("uplink_set_aside", "event")]
        assert len(broker.connections) == 1


async def test_a_record_that_cuts_the_link_is_set_aside_and_a_cut_alone_proves_nothing(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    async with ScriptedBroker(longest=2000) as broker, site.up(broker.port, protocol="3.1.1"):
        site.outbox.fill(1, "event", size=5000)
        site.outbox.fill(5)
        await until(lambda: len(site.outbox.delivered) == 5, 10)
        assert [reason for _, reason in site.outbox.aside] and len(broker.connections) <= 8
    never = lambda nth, topic: NEVER if topic.endswith("telemetry") else 0  # noqa: E731
    async with ScriptedBroker(puback=never) as broker, site.up(broker.port):
        site.outbox.fill(1)
        for n in range(8):
            await until(lambda n=n: len([p for p in broker.published if p.topic.endswith("telemetry")]) > n)
            broker.cut()
        broker.puback = lambda nth, topic: 0
        await until(lambda: len(site.outbox.delivered) == 6)
        assert len(site.outbox.aside) == 1


async def test_a_last_value_is_told_again_within_the_hour_though_nothing_changed(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At QoS 0 nobody says that it was refused, for a quota or an access list: what is retained was wrong for days."""
    monkeypatch.setattr("agent.uplink.uplink.STATE_AGAIN", hour := 0.5)
    site.state = {"door": {"open": True, "at": 1}}
    async with ScriptedBroker() as broker, site.up(broker.port, state_interval=0.05):

        def told() -> list[Any]:
            return [p for p in broker.published if p.topic.endswith("state/door")]

        await until(lambda: told())
        site.state = {"door": {"open": False, "at": 2}}
        await until(lambda: len(told()) == 2)
        changed = asyncio.get_running_loop().time()
        await until(lambda: len(told()) == 3, 3 * hour)
        assert asyncio.get_running_loop().time() - changed > 0.8 * hour, "once an hour, for the bytes"
        assert json.loads(told()[-1].payload)["open"] is False


async def test_a_state_topic_that_cuts_the_link_is_not_told_for_an_hour(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is tried again, at the cost of one cut, for the broker may have cut at everything for a minute."""
    quick(monkeypatch)
    monkeypatch.setattr("agent.uplink.outgoing.SILENT_FOR", hour := 1.0)
    site.state = {"meter-a": {"text": "x" * 3000}, "meter-b": {"x": 1}}
    async with ScriptedBroker(longest=2000) as broker, site.up(broker.port, protocol="3.1.1", state_interval=0.05):
        await until(lambda: [e.subject for e in site.outbox.events] == ["bocage/v1/village/state/meter-a"], 10)
        await until(lambda: broker.published[-1].topic.endswith("state/meter-b"))
        site.outbox.fill(3)
        await until(lambda: len(site.outbox.delivered) == 3)
        many = len(broker.connections)
        await until(lambda: len(broker.connections) > many, 10 * hour)
        broker.longest = None
        await until(lambda: site.outbox.events[-1].kind == "cleared", 10 * hour)
        assert any(p.topic.endswith("state/meter-a") for p in broker.published)


@BOTH
async def test_links_that_are_cut_for_a_length_are_no_second_client(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, protocol: Any
) -> None:
    """The first topic takes three cuts, each other one: closed without a word, soon, and with nothing under way."""
    quick(monkeypatch)
    topics = [f"meter-{n}" for n in range(4)]
    site.state = {name: {"text": "x" * 3000} for name in topics}
    async with (
        ScriptedBroker(longest=2000) as broker,
        site.up(broker.port, protocol=protocol, state_interval=0.05) as uplink,
    ):
        await until(lambda: len(site.outbox.events) == 4, 20)
        assert len(broker.connections) >= 6 and not uplink.duplicate_client.is_likely


async def test_what_is_refused_breeds_no_messages(site: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is the topic of the alarms themselves: two are set aside, then the topic is left alone."""
    refuse = lambda nth, topic: 0x99 if topic.endswith(("event", "telemetry")) else 0  # noqa: E731
    async with ScriptedBroker(puback=refuse) as broker, site.up(broker.port):
        put_event = site.outbox.put_event

        async def queued(event: Any) -> None:
            await put_event(event)
            site.outbox.fill(1, "event")

        site.outbox.put_event = queued
        site.outbox.fill(200)
        site.outbox.fill(50, "event")
        await until(lambda: site.outbox.held_back == {"event", "readings"})
        site.outbox.fill(1, "result")
        await until(lambda: len(site.outbox.delivered) == 1)
        assert len(site.outbox.aside) == 4
        assert sorted(event.subject for event in site.outbox.events) == ["event", "telemetry"]
        assert len([p for p in broker.published if p.topic.endswith("event")]) <= 20


async def test_a_reason_that_may_pass_holds_up_its_topic_only(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uplink.broker_refusals.SHORT_STOP", 0.02)
    refuse = lambda nth, topic: 0x80 if topic.endswith("event") else 0  # noqa: E731
    async with ScriptedBroker(puback=refuse) as broker, site.up(broker.port):
        site.outbox.fill(1, "event")
        site.outbox.fill(30)
        await until(lambda: len(site.outbox.delivered) == 30)
        await until(lambda: site.outbox.aside)
        assert len([p for p in broker.published if p.topic.endswith("event")]) == 5


async def test_an_absurd_maximum_packet_size_is_a_failed_link(site: Any, until: Any) -> None:
    async with ScriptedBroker(maximum_packet=10) as broker, site.up(broker.port) as uplink:
        site.outbox.fill(50)
        await until(lambda: uplink.status()["state"] == "waiting")
        assert "at most 10 bytes" in uplink.status()["error"]
        assert not (site.outbox.aside or site.outbox.events or broker.published) and len(broker.connections) == 1
    assert reconnect_delay(0, Why.USELESS, 0.0) >= 150


async def test_health_is_not_sent_where_it_does_not_fit(site: Any, until: Any) -> None:
    async with ScriptedBroker(maximum_packet=2000) as broker, site.up(broker.port) as uplink:
        await until(lambda: uplink.status()["state"] == "connected")
        assert not await uplink.publish_health({"text": "x" * 3000})
        assert await uplink.publish_health({"text": "x"}) and len(broker.connections) == 1


async def test_an_answer_that_does_not_fit_is_not_sent(site: Any, until: Any) -> None:
    """Topic and Correlation Data are the asker's, and count: a broker ends the link at one byte too much."""
    reply_to, correlation = b"answers/" + b"x" * 900, b"y" * 1000
    asked = b"\x08" + len(reply_to).to_bytes(2) + reply_to + b"\x09" + len(correlation).to_bytes(2) + correlation
    async with ScriptedBroker(maximum_packet=2000) as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        await broker.send_long("bocage/v1/village/cmd/c1", 10, properties=asked)
        await broker.send_long("bocage/v1/village/cmd/c2", 10, properties=b"\x08\x00\x01a")
        await until(lambda: any(p.topic == "a" for p in broker.published))
        assert not any(p.topic == reply_to.decode() for p in broker.published) and len(broker.connections) == 1


@BOTH
async def test_a_broker_without_retained_messages(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, protocol: Any
) -> None:
    quick(monkeypatch)
    site.state = {"meter-a": {"x": 1}}
    async with ScriptedBroker(retain=False) as broker, site.up(broker.port, protocol=protocol) as uplink:
        await until(lambda: any(p.topic.endswith("state/meter-a") for p in broker.published))
        assert not any(publish.retain for publish in broker.published)
        assert uplink.shortcomings() == {"retain"}
        broker.cut()
        await until(lambda: uplink.status()["state"] == "connected" and broker.connections[-1].will)
        known = len(broker.connections)
        site.outbox.fill(3)
        await until(lambda: len(site.outbox.delivered) == 3)
        assert len(broker.connections) <= known + 1, "what it has learnt it keeps"
    lines = "allow_anonymous true", "retain_available false"
    async with mosquitto(tmp_path, *lines) as port, site.up(port, protocol=protocol) as uplink:
        site.outbox.fill(3)
        await until(lambda: len(site.outbox.delivered) == 6, 10)
        assert uplink.shortcomings() == {"retain"}


async def test_a_broker_that_restarts_is_not_taken_for_one_without_retain(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    async with ScriptedBroker(hang_up=True) as broker, site.up(broker.port, protocol="3.1.1") as uplink:
        await until(lambda: len(broker.connections) >= 7)
        broker.hang_up = False
        site.outbox.fill(1)
        await until(lambda: site.outbox.delivered)
        assert not uplink.shortcomings()
        assert [p.retain for p in broker.published if p.topic.endswith("status")] == [True]


async def test_a_broker_with_qos_0_only(site: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was published leaves the outbox when a ping that was sent after it is answered, not before."""
    quick(monkeypatch)
    async with ScriptedBroker(maximum_qos=0) as broker, site.up(broker.port) as uplink:
        site.outbox.fill(100)
        await until(lambda: len(site.outbox.delivered) == 100)
        assert {publish.qos for publish in broker.published} == {0}
        assert uplink.shortcomings() == {"qos"} and broker.connections[-1].pings >= 5
        broker.mute = True
        site.outbox.fill(5)
        await until(lambda: len(site.outbox.out) == 5)
        broker.cut()
        broker.mute = False
        await until(lambda: len(site.outbox.delivered) == 105)


async def test_a_server_keep_alive_is_obeyed(site: Any, until: Any) -> None:
    async with ScriptedBroker(server_keepalive=1) as broker, site.up(broker.port, keepalive=60.0):
        await until(lambda: broker.connections and broker.connections[0].pings >= 3, 8)
        assert len(broker.connections) == 1


@pytest.mark.parametrize("code", [0x89, 0x97, 0x9F])
async def test_a_busy_broker_is_asked_less_often(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("agent.uplink.uplink.reconnect_delay", lambda o, why, s: asked.append(why) or 300.0)
    async with ScriptedBroker(connack=code) as broker, site.up(broker.port):
        await until(lambda: asked == [Why.BUSY])
        assert len(broker.connections) == 1
    delays = [reconnect_delay(outage, Why.BUSY, 0.5) for outage in (0, 60, 10_000)]
    assert delays == [10.0, 20.0, 300.0]


@pytest.mark.parametrize("first", ["away", "refuses", "refers", "refers elsewhere"])
async def test_the_fallback_is_asked_with_the_same_credentials(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """A Server Reference is followed only to a host that is listed: whoever it names would be shown our password."""
    quick(monkeypatch)
    async with ScriptedBroker() as second, ScriptedBroker() as stranger:
        ports = {"refers": second.port, "refers elsewhere": stranger.port}
        reference = f"127.0.0.1:{ports[first]}" if first in ports else ""
        code = {"refuses": 0x88, "refers": 0x9C, "refers elsewhere": 0x9D}.get(first, 0)
        async with ScriptedBroker(connack=code, reference=reference) as broker:
            fallback = (BrokerAddress("127.0.0.1", free_port(), False), BrokerAddress("127.0.0.1", second.port, False))
            if first == "away":
                await broker.stop()
            async with site.up(broker.port, fallback=fallback, username="marie", password="sesame"):
                site.outbox.fill(1)
                await until(lambda: site.outbox.delivered)
                assert (second.connections[0].username, second.connections[0].password) == ("marie", "sesame")
                assert not stranger.connections
                if first == "refers":
                    assert len(broker.connections) == 1


def taken(broker: ScriptedBroker) -> int:
    """Connections that came as far as asking for commands."""
    return len([topic for topic in broker.subscribed if topic.endswith("/cmd/+")])


@pytest.mark.parametrize("code", [0x9C, 0x9D])
@pytest.mark.parametrize("listed", [True, False])
async def test_a_disconnect_refers_to_another_broker(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, code: int, listed: bool
) -> None:
    """To the third of the list, at once, past the second; to a stranger never: the first is asked again."""
    quick(monkeypatch)
    async with ScriptedBroker() as first, ScriptedBroker() as second, ScriptedBroker() as third:
        brokers = (second, third) if listed else (second,)
        fallback = tuple(BrokerAddress("127.0.0.1", one.port, False) for one in brokers)
        async with site.up(first.port, fallback=fallback, username="marie", password="sesame"):
            await until(lambda: first.subscribed)
            await first.disconnect(code, f"127.0.0.1:{third.port}")
            there = third if listed else first
            await until(lambda: taken(there) == (1 if listed else 2))
            site.outbox.fill(3)
            await until(lambda: len(site.outbox.delivered) == 3)
            assert not second.connections and bool(third.connections) is listed
            assert there.connections[-1].password == "sesame"


async def test_back_to_the_first_broker_when_it_is_well_again(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link stays where it is until it is lost; then the first one is asked first, and the others if it is away."""
    quick(monkeypatch)
    async with ScriptedBroker() as first, ScriptedBroker() as second, ScriptedBroker() as third:
        fallback = tuple(BrokerAddress("127.0.0.1", one.port, False) for one in (second, third))
        async with site.up(first.port, fallback=fallback):
            for turn in (1, 2):
                await until(lambda turn=turn: taken(first) == turn)
                await first.stop()
                await until(lambda turn=turn: taken(second) == 2 * turn - 1)
                second.cut()  # the first one is still away: asked, and the second one again
                await until(lambda turn=turn: taken(second) == 2 * turn)
                await first.start()
                site.outbox.fill(1)
                await until(lambda turn=turn: len(second.accepted("/telemetry")) == turn)
                second.cut()
            await until(lambda: taken(first) == 3)
            site.outbox.fill(1)
            await until(lambda: len(site.outbox.delivered) == 3)
            assert len(first.accepted("/telemetry")) == 1 and taken(second) == 4 and not third.connections


async def test_no_batch_is_longer_than_max_message(site: Any, box: Outbox, until: Any) -> None:
    """The bound for brokers that drop in silence what is too long (Mosquitto with 3.1.1). History and news."""
    clock = SystemClock("always")
    for _ in range(2):
        box.put([Reading(f"meter-{n}.active_power", n + 0.5, clock.now()) for n in range(2000)], 2)
        await box._shielded(box._writer.locked_save(flush=True, last=False))
    box.put([Reading(f"meter-{n}.active_power", n + 0.5, clock.now()) for n in range(2000)], 2)
    async with ScriptedBroker() as broker, site.up(broker.port, protocol="3.1.1", max_message=1000):
        await until(lambda: box.status()["rows"] == 0, 20)
        sizes = [len(p.payload) for p in broker.published]
        assert max(sizes) <= 1000 and len(sizes) > 20
        assert len(rows(broker.accepted("/telemetry"))) == 6000


def test_which_broker_a_reference_means() -> None:
    broker = UplinkSettings("mqtt.example.org", 8883)
    assert all(broker.is_meant(text) for text in ("mqtt.example.org", "MQTT.example.org:8883", "a b mqtt.example.org"))
    others = "", "mqtt.example.org:1883", "example.org", "mqtt.example.org.evil"
    assert not any(broker.is_meant(text) for text in others)
