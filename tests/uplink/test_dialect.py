"""A second dialect in one module, end to end against Mosquitto: nothing else of the uplink knows a topic."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from agent.clock import SystemClock
from agent.model import Event, Instant, Origin, Outcome, OutcomeState, Reading
from agent.outbox import Outbox
from tests.fakes.lines_dialect import Lines
from tests.fakes.mosquitto import mosquitto

pytestmark = pytest.mark.broker
UPLINK = Path(__file__).parents[2] / "agent/uplink"


async def test_all_of_it_goes_and_comes_in_another_dialect(site: Any, until: Any, tmp_path: Path) -> None:
    clock = SystemClock("always")
    box = site.outbox = Outbox.open(tmp_path / "state", tmp_path / "run", clock, window=0.2)
    keeping = asyncio.create_task(box.run())
    site.state = {"meter-a": {"x": 1}}
    got: dict[str, list[str]] = {}

    async def watch(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic = str(message.topic).removeprefix("lines/village/")
            got.setdefault(topic, []).append(bytes(message.payload).decode())

    for n in range(50):
        box.put([Reading("a.b", n, clock.now())], 2)
    await until(lambda: box.status()["bytes"] > 0, 20)  # they wait on flash, compressed
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        how = {"protocol": aiomqtt.ProtocolVersion.V5}
        async with aiomqtt.Client("127.0.0.1", port, **how) as client:  # type: ignore[arg-type]
            await client.subscribe("#", qos=1)
            watching = asyncio.create_task(watch(client))
            async with site.up(port, dialect=Lines("village"), state_interval=0.1) as uplink:
                box.put([Reading("a.b", 50, clock.now())], 2)
                now = Instant(clock.boot, 1, clock.now().wall_ms)
                await box.put_event(Event("alarm", "leak", "km1", now))
                await box.record(Outcome("c0", "km1", True, OutcomeState.VERIFIED, "", now))
                await client.publish("do/village/c1", b"km1 on", qos=1)
                await client.publish("do/village/c2", b"km1 sideways", qos=1)
                await until(lambda: len("\n".join(got.get("readings", ())).splitlines()) == 51, 20)
                await until(lambda: len(got.get("result", ())) == 2 and got.get("now/meter-a"), 20)
                assert await uplink.publish_health({"t": 1})
                await until(lambda: got.get("health") and got.get("event") and site.commands, 20)
                assert uplink.status()["state"] == "connected" and uplink.shortcomings() == set()
            await until(lambda: got["is"][-1] == "offline", 20)
            watching.cancel()
    keeping.cancel()
    await box.close()
    lines = [line.split() for text in got["readings"] for line in text.splitlines()]
    assert {store for store, *_ in lines} == {box.store}
    assert sorted(int(number) for _, number, *_ in lines) == list(range(1, 52))
    assert sorted(int(value) for *_, value in lines) == list(range(51))
    assert [text.split()[2:] for text in got["event"]] == [["km1", "leak"]]
    assert sorted(text.split()[2:] for text in got["result"]) == [["c0", "verified"], ["c2", "rejected"]]
    [command] = site.commands
    assert (command.id, command.point, command.value) == ("c1", "km1", True)
    assert (command.origin, command.by) == (Origin.MQTT, "mqtt"), "no dialect can make a command a local one"
    assert got["now/meter-a"][0] == "['x']" and got["is"][0] == "online"
    assert set(got) == {"readings", "event", "result", "health", "now/meter-a", "is", "do/village/c1", "do/village/c2"}


@pytest.mark.parametrize(
    "module", ["uplink", "session", "inbox", "outgoing", "broker_refusals", "identity_check", "broker_limits"]
)
def test_only_a_dialect_knows_topics(module: str) -> None:
    text = (UPLINK / f"{module}.py").read_text()
    assert not [word for word in ("telemetry", "cmd/", "state/", "/result") if word in text]
