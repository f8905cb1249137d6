"""Words that stand with the broker (status, state/store) and subscriptions, where it refuses them for a while."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from agent.outbox.identity import Claim
from tests.fakes.broker import ScriptedBroker


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.uplink.broker_refusals.SHORT_STOP", 0.02)
    monkeypatch.setattr("agent.uplink.broker_refusals.STOPPED_FOR", 0.1)


class Refusing:
    """Answers `code` to what ends so, so many times, and then takes it."""

    def __init__(self, topic: str, code: int, times: int = 3) -> None:
        self.topic, self.code, self.times = topic, code, times
        self.asked: Counter[str] = Counter()

    def puback(self, nth: int, topic: str) -> int:
        return self.answer(topic, 0)

    def answer(self, topic: str, fine: int = 1) -> int:
        self.asked[topic] += 1
        return self.code if topic.endswith(self.topic) and self.asked[topic] <= self.times else fine


@pytest.mark.parametrize("code", [0x97, 0x89, 0x9F, 0x83, 0x80])
async def test_online_that_is_refused_for_now_is_said_again(site: Any, until: Any, caplog: Any, code: int) -> None:
    async with ScriptedBroker(puback=Refusing("/status", code).puback) as broker, site.up(broker.port):
        await until(lambda: broker.accepted("/status"))
        assert json.loads(broker.accepted("/status")[0])["state"] == "online"
        assert len(broker.connections) == 1 and not site.outbox.events
        assert f"PUBACK 0x{code:02x}" in caplog.text and "ACL" not in caplog.text
        assert ("a quota is used up" in caplog.text) is (code == 0x97)


async def test_only_the_newest_word_is_said_again(site: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.uplink.broker_refusals.SHORT_STOP", 0.3)
    refusing = Refusing("/status", 0x97, times=10**9)
    async with ScriptedBroker(puback=refusing.puback) as broker, site.up(broker.port) as uplink:
        await until(lambda: refusing.asked.total())
        uplink.set_configuration("sha256:01", None)
        uplink.set_configuration("sha256:02", {"line": 2})
        refusing.times = 0
        await until(lambda: broker.accepted("/status"))
        said = json.loads(broker.accepted("/status")[0])
        assert (said["state"], said["config"], said["config_problem"]) == ("online", "sha256:02", {"line": 2})


async def test_a_forbidden_status_is_an_alarm_and_is_tried_again(site: Any, until: Any, caplog: Any) -> None:
    async with ScriptedBroker(puback=Refusing("/status", 0x87).puback) as broker, site.up(broker.port):
        await until(lambda: len(site.outbox.events) == 2)
        assert [(e.kind, e.code, e.subject) for e in site.outbox.events] == [
            ("alarm", "uplink_refused", "status"),
            ("cleared", "uplink_refused", "status"),
        ]
        assert "see its ACL" in caplog.text and len(broker.connections) == 1


async def test_what_does_not_pass_after_five_times_is_an_alarm(site: Any, until: Any, caplog: Any) -> None:
    async with ScriptedBroker(puback=Refusing("/status", 0x83, 6).puback) as broker, site.up(broker.port):
        await until(lambda: [e.kind for e in site.outbox.events] == ["alarm", "cleared"])
        assert "0x83" in site.outbox.events[0].detail["reason"] and "ACL" not in caplog.text
        assert len(broker.accepted("/status")) == 1


async def test_a_claim_that_is_refused_for_now_is_made_again(site: Any, until: Any) -> None:
    site.outbox.claim = Claim("s", 100_000, 2, "m")
    async with ScriptedBroker(puback=Refusing("/state/store", 0x97).puback) as broker, site.up(broker.port):

        def taken() -> bool:
            site.outbox.fill(1)  # there is always something to send
            return bool(broker.accepted("/state/store"))

        await until(taken)
        assert len(broker.connections) == 1 and not site.outbox.events


@pytest.mark.parametrize(("protocol", "code", "events"), [(5, 0x97, 0), (5, 0x83, 0), (5, 0x87, 2), ("3.1.1", 0x80, 2)])
async def test_commands_are_asked_for_again(site: Any, until: Any, protocol: int | str, code: int, events: int) -> None:
    refusing = Refusing("/cmd/+", code, 2)
    async with ScriptedBroker(suback=refusing.answer) as broker, site.up(broker.port, protocol=protocol):
        await until(lambda: sum(topic.endswith("/cmd/+") for topic in broker.subscribed) == 3)
        await until(lambda: len(site.outbox.events) == events)
        assert len(broker.connections) == 1


async def test_a_goodbye_that_is_refused_is_left_to_the_last_will(site: Any, until: Any) -> None:
    refusing = Refusing("/status", 0x97, times=0)
    async with ScriptedBroker(puback=refusing.puback) as broker:
        async with site.up(broker.port):
            await until(lambda: broker.accepted("/status"))
            refusing.times = 10**9
        assert json.loads(broker.published[-1].payload)["state"] == "offline"
        assert not broker.connections[0].clean_end, "with a DISCONNECT the broker would keep `online`"
