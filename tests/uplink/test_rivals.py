"""Two clients with one id: recognised by the pattern, not by one takeover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.uplink.rivals import Rivals
from tests.fakes.mosquitto import mosquitto


def test_one_takeover_is_nothing_and_what_is_long_ago_is_over() -> None:
    now = [1000.0]
    rivals = Rivals(lambda: now[0])
    rivals.taken_over()
    assert not (rivals.are_there or rivals.are_known), "nobody knows what the process before has seen"
    now[0] += 60
    rivals.taken_over()
    assert rivals.are_there
    now[0] += 601
    assert not rivals.are_there and rivals.are_known
    for lasted in (3, 200, 3, 3, 3):
        rivals.closed(lasted)
    assert not rivals.are_there, "a connection that held is none"
    rivals.closed(3)
    assert rivals.are_there


@pytest.mark.broker
@pytest.mark.parametrize("protocol", [5, "3.1.1"])
async def test_two_clients_with_one_id(site: Any, until: Any, tmp_path: Path, protocol: Any) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        how = {"protocol": protocol, "client_id": "bocage-village"}
        async with site.up(port, **how) as first, type(site)().up(port, **how) as second:
            await until(lambda: first.rivals.are_there or second.rivals.are_there, 60)
