"""Commands from the broker: what is taken, what is refused and why, and that a slow one holds up nobody."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent.errors import Rejected
from agent.model import Command, Instant, Origin, Outcome, OutcomeState
from agent.uplink.dialects.native_commands import parse
from agent.uplink.identity_check import IdentityCheck
from agent.uplink.session import Session
from tests.fakes.broker import ScriptedBroker

NOW = Instant("boot", 1, 1_764_000_000_000)
GOOD = {"id": "c1", "point": "km1", "value": True}


def body(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_a_whole_command() -> None:
    payload = body(value="on", issued_at=1, expires_at=2, ttl_ms=3, hold_ms=4.0, by="marie", key="k1")
    assert parse("c1", payload, NOW) == Command("c1", "km1", True, NOW, 1, 2, 3, 4, by="marie")
    assert parse("c1", body(), NOW).by == parse("c1", body(by=""), NOW).by == ""


@pytest.mark.parametrize(
    ("given", "value"), [("on", True), ("off", False), (True, True), (False, False), (None, None), (12.5, 12.5), (0, 0)]
)
def test_values(given: Any, value: Any) -> None:
    parsed = parse("c1", body(value=given), NOW).value
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"[" * 60_000, "nested too deeply"),
        (b"x" * 70_000, "longer than 64 kB"),
        (b'{"id":"c1","point":"km1","value":' + b"9" * 5000 + b"}", "too long"),
        (b'{"id":"c1","point":"km1","value":1' + b"0" * 400 + b"}", "value must be"),
        (b'{"id":"c1","point":"km1","value":-1' + b"0" * 400 + b"}", "value must be"),
        (body(ttl_ms=10**400), "ttl_ms must be a whole"),
        (body(issued_at=-(10**400)), "issued_at must be a whole"),
        (b'{"id":"c1","point":"km1","value":1,"hold_ms":1e999}', "hold_ms must be a whole"),
        (body(**{"if": {"point": "a", "equals": 10**400}}), "value must be"),
        (b'{"id":"c1","point":"km1","value":1,"sig":"x","sig":null}', '"sig" is there twice'),
        (b'{"id":"c1","point":"km1","value":1,"if":{"point":"a","point":"b","equals":1}}', '"point" is there twice'),
        (b'{"id":"c1","point":"km1","value":NaN}', "NaN is not JSON"),
        (b'{"id":"c1","point":"km1","value":1e999}', "value must be"),
        (body(value="open"), 'value must be a number, true, false, "on", "off", "ack", "reset" or null, not "open"'),
        (body(value=[1]), "value must be"),
        (b'{"id":"c1","point":"km1"}', "value is missing"),
        (b'{"point":"km1","value":1}', "id is missing"),
        (b'{"id":"c1","value":1}', "point is missing"),
        (body(point=3), "point must be a text"),
        (body(point=""), "point must be a text"),
        (body(id="c2"), 'id is "c2", but the topic says "c1"'),
        (body(id=7), "id must be a text"),
        (body(ttl_ms="5s"), "ttl_ms must be a number"),
        (body(ttl_ms=True), "ttl_ms must be a number"),
        (body(hold_ms=-1), "hold_ms must be a whole, positive"),
        (body(expires_at=1.5), "expires_at must be a whole"),
        (body(by={"x": 1}), "by must be a text"),
        (body(by="a\nb"), "by must be a text"),
        (body(key="k1", sig="x"), "signatures are not checked yet"),
        (body(ttl=5000), "unknown key \"ttl\", did you mean ttl_ms?"),
        (body(**{"if": {"point": "a"}}), "if must be"),
        (body(**{"if": {"point": "a", "equals": None}}), "if must be"),
        (body(**{"if": {"point": "a", "equals": [1]}}), "value must be"),
        (body(**{"if": {"point": "", "equals": 1}}), "point must be a text"),
        (body(**{"if": {"point": "a", "equals": 1, "else": 2}}), "if must be"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(payload: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse("c1", payload, NOW)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
async def test_a_command_comes_in_and_is_acknowledged(site: Any, until: Any, protocol: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port, protocol=protocol):
        await until(lambda: broker.subscribed)
        assert "bocage/v1/village/cmd/+" in broker.subscribed
        mid = await broker.send("bocage/v1/village/cmd/c1", body(value="on", ttl_ms=500))
        await until(lambda: site.commands and mid in broker.connections[0].acknowledged)
        assert (site.commands[0].value, site.commands[0].ttl_ms, site.commands[0].origin) == (True, 500, Origin.MQTT)


async def test_the_validity_of_a_command_counts_from_when_it_came(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from when somebody looks at it: that waits until our numbers are compared, which takes seconds."""
    compared = asyncio.Event()

    async def check(self: IdentityCheck, session: Session) -> None:
        await compared.wait()

    monkeypatch.setattr(IdentityCheck, "check", check)
    async with ScriptedBroker() as broker, site.up(broker.port) as uplink:
        await until(lambda: broker.subscribed)
        await broker.send("bocage/v1/village/cmd/c1", body(value="on", ttl_ms=500))
        await until(lambda: uplink._session.received.qsize())
        came = site.clock.now()
        assert not site.commands
        compared.set()
        await until(lambda: site.commands)
        assert site.commands[0].received.boottime_ns <= came.boottime_ns


async def test_a_command_is_acknowledged_when_its_acceptance_is_on_flash(site: Any, until: Any) -> None:
    """Not when its work starts: a crash before that leaves it with the broker. Nor at its end: that may take hours."""
    end = asyncio.Event()

    async def slow(command: Command) -> Outcome:
        site.commands.append(command)
        await end.wait()
        return Outcome(command.id, command.point, command.value, OutcomeState.VERIFIED, "", NOW)

    site.submit = slow
    async with ScriptedBroker() as broker, site.up(broker.port) as uplink:
        await until(lambda: broker.subscribed)
        mid = await broker.send("bocage/v1/village/cmd/c1", body())
        await until(lambda: site.commands)
        other = await broker.send("bocage/v1/village/cmd/c2", b"garbage")
        await until(lambda: other in broker.connections[0].acknowledged)
        assert mid not in broker.connections[0].acknowledged and site.outbox.outcomes[0].command == "c2"
        uplink.kept("c1")
        await until(lambda: mid in broker.connections[0].acknowledged)
        end.set()


async def test_an_id_that_came_for_something_else_before_the_first_ended_is_refused(site: Any, until: Any) -> None:
    """Both have come before it ended, so the time of that does not tell whose end it is."""
    end = asyncio.Event()

    async def shared(command: Command) -> Outcome:
        site.commands.append(command)
        await end.wait()
        return Outcome("c1", "km1", True, OutcomeState.VERIFIED, "", site.clock.now())

    site.submit = shared
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        await broker.send("bocage/v1/village/cmd/c1", body())
        await broker.send("bocage/v1/village/cmd/c1", body(point="km2"))
        await until(lambda: len(site.commands) == 2)
        end.set()
        await until(lambda: site.outbox.outcomes)
        (refused,) = site.outbox.outcomes
    assert (refused.point, refused.state) == ("km2", "rejected")
    assert refused.reason == "the id was used before, for km1: verified"


async def test_each_refused_command_is_on_record_before_it_is_acknowledged(site: Any, until: Any) -> None:
    """The arbiter's pace is no reason to forget: what has no result is named in an event by its id."""

    async def refuse(command: Command) -> Outcome:
        now = site.clock.now()
        return Outcome(command.id, command.point, None, OutcomeState.REJECTED, "too many", now, on_record=False)

    site.submit = refuse
    put_event, told = site.outbox.put_event, asyncio.Event()

    async def slowly(event: Any) -> None:
        await told.wait()
        await put_event(event)

    site.outbox.put_event = slowly
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        mids = [await broker.send(f"bocage/v1/village/cmd/c{n}", body(id=f"c{n}")) for n in range(20)]
        last = await broker.send("bocage/v1/village/cmd/x", b"garbage")
        await until(lambda: last in broker.connections[0].acknowledged)
        assert not set(mids) & set(broker.connections[0].acknowledged)
        told.set()
        await until(lambda: set(mids) <= set(broker.connections[0].acknowledged))
        named = [name for event in site.outbox.events for name in event.detail["ids"]]
        assert sorted(named) == sorted(f"c{n}" for n in range(20))


@pytest.mark.parametrize("protocol", [5, "3.1.1"])
async def test_no_command_of_a_flood_is_acknowledged_before_its_id_is_on_flash(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, protocol: Any
) -> None:
    """Neither what is refused unread nor what the inbox has no room for. What we send meanwhile does not wait."""
    monkeypatch.setattr("agent.uplink.command_limiter.PATIENCE", 0.2)
    put_event, open_ = site.outbox.put_event, asyncio.Event()

    async def slowly(event: Any) -> None:
        await open_.wait()
        await put_event(event)

    site.outbox.put_event = slowly
    async with ScriptedBroker() as broker, site.up(broker.port, protocol=protocol):
        await until(lambda: broker.subscribed)
        sent = {
            await broker.send(f"bocage/v1/village/cmd/c{n}", body(id=f"c{n}")): f"c{n}" for n in range(600)
        }  # this broker does not wait for acknowledgements

        def acknowledged() -> set[str]:
            return {sent[mid] for mid in broker.connections[0].acknowledged if mid in sent}

        def looked_at() -> set[str]:
            return {command.id for command in site.commands}

        site.outbox.fill(50)
        await until(lambda: len(site.outbox.delivered) == 50 and len(looked_at()) >= 50)
        await until(lambda: looked_at() <= acknowledged())
        assert acknowledged() == looked_at()
        open_.set()
        await until(lambda: acknowledged() == set(sent.values()))
        named = [name for event in site.outbox.events for name in event.detail["ids"]]
        assert len(named) == len(set(named)) and set(named) | looked_at() == set(sent.values())


async def test_malformed_ones_get_a_rejected_outcome(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        await broker.send("bocage/v1/village/cmd/c1", b"\xff")
        await broker.send("bocage/v1/village/cmd/c2", b"x" * 1_000_000)
        await broker.send("bocage/v1/village/cmd/bad id!", body())
        await until(lambda: len(site.outbox.outcomes) == 2 and len(site.outbox.events) == 1)
        assert [(o.command, o.state) for o in site.outbox.outcomes] == [
            ("c1", OutcomeState.REJECTED),
            ("c2", OutcomeState.REJECTED),
        ]
        assert site.outbox.outcomes[1].reason == "longer than 64 kB"
        assert site.outbox.events[0].code == "command_refused" and not site.commands


async def test_a_wrong_value_is_refused_with_its_point(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        await broker.send("bocage/v1/village/cmd/c1", body(point="school.mode", value="confort"))
        await broker.send("bocage/v1/village/cmd/c2", body(id="c2", point="km1", value="confort"))
        await broker.send("bocage/v1/village/cmd/c3", body(id="c3", point="k\n1", tll_ms=5))
        await until(lambda: len(site.outbox.outcomes) == 3)
        words = 'value must be a number, true, false, "on", "off", "ack", "reset" or null, not "confort"'
        assert [(one.point, one.value, one.reason) for one in site.outbox.outcomes] == [
            ("school.mode", None, f"{words}; the mode of a zone takes comfort, reduced, frost, off or auto"),
            ("km1", None, words),
            ("", None, 'unknown key "tll_ms", did you mean ttl_ms?'),
        ]
        assert not site.commands


async def test_a_retained_command_is_refused_and_alarmed(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        await broker.send("bocage/v1/village/cmd/c1", body(), retain=True)
        await until(lambda: site.outbox.outcomes and site.outbox.events)
        assert (site.outbox.events[0].kind, site.outbox.events[0].code) == ("alarm", "command_retained")
        assert "retained" in site.outbox.outcomes[0].reason and not site.commands
        await broker.send("bocage/v1/village/cmd/c1", b"", retain=True)  # somebody wipes it out: nothing to say
        await broker.send("bocage/v1/village/cmd/c2", body(id="c2"))
        await until(lambda: site.commands)
        assert len(site.outbox.events) == 1


async def test_a_later_message_never_changes_what_became_of_a_command(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        await broker.send("bocage/v1/village/cmd/c1", body())
        await until(lambda: site.commands)
        await broker.send("bocage/v1/village/cmd/c1", b"garbage")
        await until(lambda: site.outbox.events)
        assert not site.outbox.outcomes


async def test_slow_commands_hold_up_nobody_and_start_in_order(site: Any, until: Any) -> None:
    started: list[str] = []
    gate = asyncio.Event()

    async def slow(command: Command) -> Outcome:
        started.append(command.id)
        await gate.wait()
        return Outcome(command.id, command.point, command.value, OutcomeState.VERIFIED, "", NOW)

    site.submit = slow
    async with ScriptedBroker() as broker, site.up(broker.port) as uplink:
        await until(lambda: broker.subscribed)
        for n in range(30):
            await broker.send(f"bocage/v1/village/cmd/c{n}", body(id=f"c{n}"))
        await until(lambda: len(started) == 30)
        assert started == [f"c{n}" for n in range(30)]
        site.outbox.fill(1)
        await until(lambda: site.outbox.delivered)
        broker.cut()  # a command outlives the link that brought it
        await until(lambda: uplink.status()["state"] == "connected" and len(broker.connections) == 2)
        gate.set()


async def test_a_burst_stays_with_the_broker(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        for n in range(300):
            await broker.send(f"bocage/v1/village/cmd/c{n}", body(id=f"c{n}"), qos=1 if n < 60 else 0)
        site.outbox.fill(1)
        await until(lambda: site.outbox.delivered and len(site.commands) >= 50)
        assert len(broker.connections[0].acknowledged) <= len(site.commands) + 1 < 100


async def test_a_flood_is_drained_unread_and_who_comes_after_it_is_heard(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uplink.command_limiter.PATIENCE", 0.2)
    monkeypatch.setattr("agent.uplink.session.INBOX", 2000)  # this broker does not wait for acknowledgements
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        mids = [await broker.send(f"bocage/v1/village/cmd/c{n}", body(id=f"c{n}")) for n in range(1000)]
        await until(lambda: set(mids) <= set(broker.connections[0].acknowledged))  # at 50 a second it would take 20 s
        assert len(site.commands) < 500
        await until(lambda: site.outbox.events)
        told = site.outbox.events[0]
        assert (told.code, told.subject) == ("commands_refused", "mqtt") and told.detail["refused"] > 0
        assert not site.outbox.outcomes
        known = len(site.commands)
        while len(site.commands) == known:  # an operator tries again
            await broker.send("bocage/v1/village/cmd/after", body(id="after"))
            await asyncio.sleep(0.1)
        assert site.commands[-1].id == "after"


@pytest.mark.parametrize("qos", [0, 1])
async def test_each_command_of_a_flood_has_an_outcome_or_is_told_by_its_id(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch, qos: int
) -> None:
    monkeypatch.setattr("agent.uplink.command_limiter.PATIENCE", 0.2)
    monkeypatch.setattr("agent.uplink.dropped_commands.YOUNG", 0.3)
    names = {f"c{n}" for n in range(3000)}
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        for name in names:
            await broker.send(f"bocage/v1/village/cmd/{name}", body(id=name), qos=qos)

        def told() -> set[str]:
            return {name for event in site.outbox.events for name in event.detail["ids"]}

        await until(lambda: told() | {command.id for command in site.commands} == names, 20)
        assert all(len(event.detail["ids"]) == event.detail["refused"] <= 100 for event in site.outbox.events)


async def test_of_a_flood_without_end_the_rest_is_a_number(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uplink.dropped_commands.NAMED", 50)
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        for n in range(1000):
            await broker.send(f"bocage/v1/village/cmd/c{n}", body(id=f"c{n}"), qos=0)
        await until(lambda: any(not event.detail["ids"] for event in site.outbox.events))
        await until(
            lambda: sum(event.detail["refused"] for event in site.outbox.events) + len(site.commands) == 1000, 20
        )


async def test_a_broker_that_sends_more_than_it_may_is_acknowledged_all_the_same(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        mids = [await broker.send(f"bocage/v1/village/cmd/c{n}", body(id=f"c{n}")) for n in range(400)]
        await until(lambda: len(set(mids) - set(broker.connections[0].acknowledged)) <= 100)
        await until(lambda: "commands_refused" in [event.code for event in site.outbox.events])


async def test_a_flood_of_what_is_no_command_costs_no_flash(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        for n in range(45):
            await broker.send(f"bocage/v1/village/cmd/c{n}", b"garbage")
        await broker.send("bocage/v1/village/cmd/good", body(id="good"))
        await until(lambda: site.commands)
        await until(lambda: "commands_refused" in [event.code for event in site.outbox.events])
        assert 20 <= len(site.outbox.outcomes) <= 30


async def test_a_retained_command_is_told_of_once(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port, protocol="3.1.1"):
        await until(lambda: broker.subscribed)
        for _ in range(3):  # as at three connections
            await broker.send("bocage/v1/village/cmd/c1", body(), retain=True)
        await broker.send("bocage/v1/village/cmd/c2", body(id="c2"))
        await until(lambda: site.commands)
        assert len(site.outbox.events) == len(site.outbox.outcomes) == 1
