"""When the next attempt is made; without waiting for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.uplink.reconnect import Outage, Why, reconnect_delay, routes
from tests.fakes.broker import ScriptedBroker


@pytest.mark.parametrize(
    ("outage", "why", "low", "high"),
    [
        (0, Why.LOST, 0.5, 1.5),
        (30, Why.LOST, 0.5, 1.5),
        (300, Why.LOST, 5, 15),
        (1800, Why.LOST, 30, 90),
        (86400, Why.LOST, 30, 90),
        (0, Why.ANSWERED, 0.4, 1.2),
        (31, Why.ANSWERED, 0.4, 1.2),  # so the first message comes within 1.5 s of the broker's return
        (1800, Why.ANSWERED, 30, 90),
        (0, Why.CREDENTIALS, 150, 450),
        (9999, Why.ROUTE, 0, 0),
    ],
)
def test_the_delay_grows_with_the_outage(outage: float, why: Why, low: float, high: float) -> None:
    assert reconnect_delay(outage, why, 0.0) == pytest.approx(low)
    assert reconnect_delay(outage, why, 1.0) == pytest.approx(high)


def test_a_short_connection_does_not_end_the_outage() -> None:
    now = 0.0
    outage = Outage(lambda: now)
    assert outage.down() == 0
    now = 100
    outage.up()
    now = 105
    assert outage.down() == 105
    outage.up()
    now = 140
    assert outage.down() == 0


def test_a_day_of_a_dead_broker_is_at_most_a_few_attempts_a_minute() -> None:
    now, attempts = 0.0, 0
    while now < 86400:
        now += reconnect_delay(now, Why.LOST, 0.5)
        attempts += 1
    assert attempts < 1600


def test_routes(tmp_path: Path) -> None:
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
    (tmp_path / "route").write_text(head)
    assert routes(tmp_path) == frozenset()
    (tmp_path / "route").write_text(head + "wwan0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
    (tmp_path / "ipv6_route").write_text(
        f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000003 00000003 lo\n"
    )
    assert routes(tmp_path) == {("wwan0", "00000000", "0100A8C0")}
    assert routes(tmp_path / "nowhere") == frozenset()


async def test_a_route_that_comes_back_starts_an_attempt_at_once(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: set[tuple[str, ...]] = set()
    monkeypatch.setattr("agent.uplink.uplink.routes", lambda: frozenset(there))
    monkeypatch.setattr("agent.uplink.uplink.reconnect_delay", lambda *given: 1000.0)
    async with ScriptedBroker() as broker:
        await broker.stop()
        async with site.up(broker.port) as uplink:
            await until(lambda: uplink.status()["state"] == "waiting")
            await broker.start()
            there.add(("wwan0", "00000000", "0100A8C0"))
            await until(lambda: uplink.status()["state"] == "connected", 3)


async def test_an_attempt_that_hangs_is_given_up_when_a_route_comes_back(
    site: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: set[tuple[str, ...]] = set()
    monkeypatch.setattr("agent.uplink.uplink.routes", lambda: frozenset(there))
    async with ScriptedBroker(mute=True) as broker, site.up(broker.port) as uplink:
        await until(lambda: broker.greeted)
        broker.mute = False
        there.add(("wwan0", "00000000", "0100A8C0"))
        await until(lambda: uplink.status()["state"] == "connected", 4)
        assert len(broker.connections) == 2
