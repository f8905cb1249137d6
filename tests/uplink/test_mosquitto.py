"""Against Debian's Mosquitto: certificates, the whitelist of docs/mqtt.md, last will, traffic against the schemas."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import aiomqtt
import jsonschema
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.clock import SystemClock
from agent.model import Event, Instant, Outcome, OutcomeState, Reading
from agent.outbox import Message, Outbox
from agent.outbox.blocks import decode
from agent.uplink.broker_refusals import NOT_AUTHORISED
from agent.uplink.dialect import Publication
from agent.uplink.session import WINDOW
from tests.fakes.mosquitto import certificates, documented_acl, mosquitto, trusting

pytestmark = pytest.mark.broker
SCHEMAS = Path(__file__).parents[2] / "docs/schemas"
ROOT = "bocage/v1/village/"
V5 = aiomqtt.ProtocolVersion.V5


def schema(name: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text()))


def numbers(message: Message) -> range:
    return range(message.first, message.last + 1)


class Watcher:
    """A subscriber of everything, which keeps what it got."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.got: dict[str, list[tuple[bytes, bool]]] = {}

    async def run(self) -> None:
        async for message in self.client.messages:
            self.got.setdefault(str(message.topic), []).append((bytes(message.payload), message.retain))

    def last(self, topic: str) -> Any:
        return json.loads(self.got[ROOT + topic][-1][0]) if ROOT + topic in self.got else None


@pytest.fixture
async def watch() -> Any:
    tasks, stack = [], []

    async def start(port: int, **how: Any) -> Watcher:
        client = aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, **how)
        stack.append(await client.__aenter__())
        await client.subscribe("bocage/v1/#", qos=1)
        watcher = Watcher(client)
        tasks.append(asyncio.create_task(watcher.run()))
        return watcher

    yield start
    for task in tasks:
        task.cancel()
    for client in stack:
        await client.__aexit__(None, None, None)


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
async def test_real_traffic_fits_the_schemas(site: Any, until: Any, watch: Any, tmp_path: Path, protocol: Any) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        watcher = await watch(port)
        site.state = {"meter-a": {"active_power": 61.2, "active_power_quality": "good", "at": 1764000000000}}
        async with site.up(port, protocol=protocol, state_interval=0.1) as uplink:
            await until(lambda: watcher.last("status"))
            assert watcher.last("status")["state"] == "online"
            schema("status").validate(watcher.last("status"))
            await until(lambda: watcher.last("state/meter-a"))
            schema("state").validate(watcher.last("state/meter-a"))
            assert await uplink.publish_health({"t": 1764000000000, "outbox": 0, "hours_left": None})
            await until(lambda: watcher.last("health"))
            schema("health").validate(watcher.last("health"))
            command = {"id": "c1", "point": "km1", "value": "on", "ttl_ms": 5000, "by": "marie"}
            schema("command").validate(command)
            await watcher.client.publish(ROOT + "cmd/c1", json.dumps(command), qos=1)
            await until(lambda: site.commands)
        await until(lambda: watcher.last("status")["state"] == "offline")
        schema("status").validate(watcher.last("status"))
        assert not await uplink.publish_health({})


async def test_state_is_published_when_it_changed_only(site: Any, until: Any, watch: Any, tmp_path: Path) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        watcher = await watch(port)
        site.state = {"meter-a": {"x": 1, "at": 1}, "tank": {"level": 4, "at": 1}}
        async with site.up(port, state_interval=0.05):
            await until(lambda: watcher.last("state/tank"))
            site.state = {"meter-a": {"x": 1, "at": 2}, "tank": {"level": 5, "at": 2}}
            await until(lambda: watcher.last("state/tank")["level"] == 5)
            assert len(watcher.got[ROOT + "state/meter-a"]) == 1


async def test_the_last_will_says_offline(site: Any, until: Any, watch: Any, tmp_path: Path) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        watcher = await watch(port)
        async with site.up(port) as uplink:
            await until(lambda: watcher.last("status") and watcher.last("status")["state"] == "online")
            uplink._session.drop("pulled")
            await until(lambda: len(watcher.got[ROOT + "status"]) >= 2)
            will = json.loads(watcher.got[ROOT + "status"][1][0])
            assert will["state"] == "offline" and will["connected_at"] is not None
            await until(lambda: watcher.last("status")["state"] == "online")


async def test_commands_wait_at_an_mqtt_5_broker_while_we_are_away(
    site: Any, until: Any, watch: Any, tmp_path: Path
) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        watcher = await watch(port)
        async with site.up(port):
            await until(lambda: watcher.last("status") and watcher.last("status")["state"] == "online")
        await watcher.client.publish(ROOT + "cmd/c9", b'{"id":"c9","point":"km1","value":1}', qos=1)
        async with site.up(port):
            await until(lambda: site.commands)
            assert site.commands[0].id == "c9"


async def test_certificates_and_the_whitelist(site: Any, until: Any, watch: Any, tmp_path: Path) -> None:
    certificates(tmp_path, "broker", "village", "supervisor")
    (tmp_path / "acl").write_text(documented_acl())
    lines = (
        f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key",
        "require_certificate true", "use_identity_as_username true", f"acl_file {tmp_path}/acl",
    )  # fmt: skip
    context = trusting(tmp_path)
    context.load_cert_chain(tmp_path / "supervisor.pem", tmp_path / "supervisor.key")
    tls = {"tls": True, "ca": tmp_path / "ca.pem", "cert": tmp_path / "village.pem", "key": tmp_path / "village.key"}
    async with mosquitto(tmp_path, *lines) as port:
        watcher = await watch(port, tls_context=context)
        site.state = {"meter-a": {"x": 1}}
        async with site.up(port, **tls) as uplink:
            await until(lambda: watcher.last("status") and watcher.last("state/meter-a"))
            site.outbox.fill(100)
            site.outbox.fill(1, "event")
            site.outbox.fill(1, "result")
            await until(lambda: len(site.outbox.delivered) == 102)
            assert await uplink.publish_health({"t": 1})
            await watcher.client.publish(ROOT + "cmd/c1", b'{"id":"c1","point":"km1","value":1}', qos=1)
            await until(lambda: site.commands)
            forbidden = Publication(ROOT + "cmd/c1", b"{}")  # a gateway must not command itself or others
            assert await uplink._session.deliver(forbidden) == NOT_AUTHORISED
            await until(lambda: len(watcher.got[ROOT + "telemetry"]) == 100)
        async with site.up(port, **{**tls, "prefix": "bocage/v1/other"}):
            await until(lambda: {e.subject for e in site.outbox.events} >= {"status"})


async def test_our_own_certificate_that_has_ended_is_named(site: Any, until: Any, tmp_path: Path) -> None:
    """With TLS 1.3 the broker refuses it after the handshake, and just closes."""
    certificates(tmp_path, "village", days=-1)
    shutil.copy(tmp_path / "ca.pem", tmp_path / "ca-of-villages.pem")
    certificates(tmp_path, "broker")
    lines = (
        f"cafile {tmp_path}/ca-of-villages.pem", f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key",
        "require_certificate true", "use_identity_as_username true",
    )  # fmt: skip
    tls = {"tls": True, "ca": tmp_path / "ca.pem", "cert": tmp_path / "village.pem", "key": tmp_path / "village.key"}
    async with mosquitto(tmp_path, *lines) as port, site.up(port, **tls) as uplink:
        await until(lambda: "village.pem ended on" in uplink.status()["error"])
        assert "this box's clock says" in uplink.status()["error"]


def documented_conf(folder: Path) -> list[str]:
    """The mosquitto.conf that docs/mqtt.md gives to the reader, with the files of this folder; without the listener."""
    text = (SCHEMAS.parent / "mqtt.md").read_text().partition("# mosquitto.conf\n")[2].partition("\n\n")[0]
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith("listener")]
    return [line.replace("/etc/mosquitto", str(folder)) for line in lines]


@pytest.mark.parametrize("documented", [True, False])
async def test_another_sites_credentials_do_not_throw_us_off(
    site: Any, until: Any, tmp_path: Path, documented: bool
) -> None:
    """Who comes with our client id takes our place, and what was kept for us: the broker has to give ids by name."""
    certificates(tmp_path, "broker", "village", "other")
    (tmp_path / "acl").write_text(documented_acl())
    lines = [line for line in documented_conf(tmp_path) if documented or "clientid" not in line]
    tls = {"tls": True, "ca": tmp_path / "ca.pem", "cert": tmp_path / "village.pem", "key": tmp_path / "village.key"}
    context = trusting(tmp_path)
    context.load_cert_chain(tmp_path / "other.pem", tmp_path / "other.key")
    async with mosquitto(tmp_path, *lines) as port, site.up(port, **tls) as uplink:
        await until(lambda: uplink.status()["state"] == "connected")
        session = uplink._session
        thief = aiomqtt.Client("127.0.0.1", port, identifier="bocage-v", tls_context=context, protocol=V5)
        async with thief:
            site.outbox.fill(20)
            await until(lambda: len(site.outbox.delivered) == 20 or uplink._session is not session)
            assert (uplink._session is session) is documented


async def test_a_certificate_that_is_not_accepted_is_reported_and_retried(
    site: Any, until: Any, tmp_path: Path
) -> None:
    certificates(tmp_path, "broker")
    other = tmp_path / "other"
    other.mkdir()
    certificates(other)
    lines = (f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key")
    async with mosquitto(tmp_path, *lines, "allow_anonymous true") as port:
        async with site.up(port, tls=True, ca=other / "ca.pem") as uplink:
            await until(lambda: "certificate" in uplink.status()["error"])
            assert not site.running.done()
        async with site.up(port, tls=True, ca=tmp_path / "ca.pem") as uplink:
            await until(lambda: uplink.status()["state"] == "connected")


async def test_a_secret_never_stands_in_a_log(
    site: Any, until: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with mosquitto(tmp_path, "allow_anonymous false") as port, site.up(
        port, username="marie", password="sesame-7"
    ) as uplink:  # fmt: skip
        await until(lambda: uplink.status()["state"] == "waiting")
        assert "sesame" not in caplog.text + repr(uplink._settings) + str(uplink.status())
        assert "ot authori" in uplink.status()["error"]


async def test_the_real_outbox_through_a_broker_that_goes_and_comes(
    site: Any, until: Any, watch: Any, tmp_path: Path
) -> None:
    clock = SystemClock("always")
    box = Outbox.open(tmp_path / "state", tmp_path / "run", clock, window=0.2)
    keeping = asyncio.create_task(box.run())
    site.outbox = box
    try:
        async with mosquitto(tmp_path, "allow_anonymous true") as port:
            watcher = await watch(port)
            async with site.up(port) as uplink:
                for n in range(300):
                    box.put([Reading("a.b", float(n), clock.now())], 2)
                    if n == 150:
                        await until(lambda: uplink.status()["sent"])
                        under_way = [message for message, *_ in uplink._outgoing.inflight.values()]
                        cut_off = {number for message in under_way for number in numbers(message)}
                        uplink._session.drop("pulled")
                    await asyncio.sleep(0)
                now = Instant(clock.boot, 1, clock.now().wall_ms)
                await box.put_event(Event("alarm", "test", "km1", now))
                await box.record(Outcome("c1", "km1", True, OutcomeState.VERIFIED, "", now))
                await until(
                    lambda: box.status()["rows"] == 0 and watcher.last("cmd/c1/result") and watcher.last("event")
                )

                def came() -> Counter[tuple[str, int, float]]:
                    payloads = [payload for payload, _ in watcher.got[ROOT + "telemetry"]]
                    return Counter((row.store, row.seq, row.value) for payload in payloads for row in decode(payload))

                await until(lambda: len({value for _, _, value in came()}) == 300)
                readings = came()
                assert len(readings) == 300 == len({key for _, key, _ in readings})  # one key, one reading
                assert {key for (_, key, _), times in readings.items() if times > 1} <= cut_off
    finally:
        keeping.cancel()
        await box.close()


async def test_a_device_that_is_read_later_does_not_wait_for_the_interval(
    site: Any, until: Any, watch: Any, tmp_path: Path
) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        watcher = await watch(port)
        site.state = {"actuators": {"km1": None, "at": 1}}
        async with site.up(port, state_interval=60):
            await until(lambda: watcher.last("state/actuators"))
            site.state = {"actuators": {"km1": True, "at": 2}, "meter-a": {"x": 1, "at": 1}}
            await until(lambda: watcher.last("state/meter-a"))
            assert watcher.last("state/actuators")["km1"] is True


async def test_a_repeated_id_gets_its_stored_result(site: Any, until: Any, watch: Any, tmp_path: Path) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        watcher = await watch(port)
        stored = Outcome("c1", "km1", True, OutcomeState.VERIFIED, "km1 reads on", site.clock.now())

        async def submit(command: Any) -> Outcome:
            return stored

        site.submit = submit
        async with site.up(port):
            await until(lambda: watcher.last("status"))
            body = {"id": "c1", "point": "km1", "value": "on"}
            await watcher.client.publish(ROOT + "cmd/c1", json.dumps(body), qos=1)
            await until(lambda: site.outbox.outcomes)
            assert site.outbox.outcomes == [stored]
            body["value"] = "off"
            await watcher.client.publish(ROOT + "cmd/c1", json.dumps(body), qos=1)
            await until(lambda: len(site.outbox.outcomes) == 2)
        refused = site.outbox.outcomes[1]
        assert (refused.state, refused.value) == ("rejected", False)
        assert refused.reason == "the id was used before, for km1: verified"


async def test_the_asker_is_answered_on_his_own_topic(site: Any, until: Any, watch: Any, tmp_path: Path) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        watcher = await watch(port)
        async with site.up(port) as uplink, aiomqtt.Client("127.0.0.1", port, protocol=V5) as asker:
            await until(lambda: watcher.last("status"))
            await asker.subscribe("answers/7")
            asked = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            asked.ResponseTopic, asked.CorrelationData = "answers/7", b"\x00my-7"
            for name, body in (("c1", b'{"id":"c1","point":"km1","value":"on"}'), ("c2", b"{")):
                await asker.publish(ROOT + f"cmd/{name}", body, qos=1, properties=asked)
                async with asyncio.timeout(5):
                    answer = await anext(aiter(asker.messages))
                assert isinstance(answer.payload, bytes)
                assert answer.properties is not None and answer.properties.CorrelationData == b"\x00my-7"
                found = json.loads(answer.payload)
                assert (found["id"], found["state"]) == (name, "verified" if name == "c1" else "rejected")
                assert "k" not in found
            asked.ResponseTopic = "answers/of/" + "x" * 60_000  # a broker takes it, or not: the uplink lives
            await asker.publish(ROOT + "cmd/c3", b'{"id":"c3","point":"km1","value":"on"}', qos=1, properties=asked)
            await until(lambda: len(site.commands) == 2)
            asked.ResponseTopic = "answers/#"  # none to publish on: it takes no place of the window for ever
            with contextlib.suppress(aiomqtt.MqttError):  # Mosquitto 2.0.21 throws out who asks so, 2.0.11 does not
                async with aiomqtt.Client("127.0.0.1", port, protocol=V5, timeout=5) as rude:
                    for n in range(WINDOW + 1):
                        body = json.dumps({"id": f"w{n}", "point": "km1", "value": "on"})
                        await rude.publish(ROOT + f"cmd/w{n}", body, qos=1, properties=asked)
            asked.ResponseTopic = "answers/7"
            await asker.publish(ROOT + "cmd/c4", b'{"id":"c4","point":"km1","value":"on"}', qos=1, properties=asked)
            async with asyncio.timeout(5):
                answer = await anext(aiter(asker.messages))
            assert isinstance(answer.payload, bytes) and json.loads(answer.payload)["id"] == "c4"
            assert uplink.status()["state"] == "connected"
