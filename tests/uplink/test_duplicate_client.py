"""Two clients with one id: recognised by the pattern, not by one takeover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.uplink.duplicate_client import DuplicateClient
from tests.fakes.mosquitto import mosquitto


def test_one_takeover_is_nothing_and_what_is_long_ago_is_over() -> None:
    now = [1000.0]
    duplicate_client = DuplicateClient(lambda: now[0])
    duplicate_client.taken_over()
    assert not (duplicate_client.is_likely or duplicate_client.is_known), "an earlier process may have seen more"
    now[0] += 60
    duplicate_client.taken_over()
    assert duplicate_client.is_likely
    now[0] += 601
    assert not duplicate_client.is_likely and duplicate_client.is_known
    for lasted in (3, 200, 3, 3, 3):
        duplicate_client.closed(lasted)
    assert not duplicate_client.is_likely, "a connection that held is none"
    duplicate_client.closed(3)
    assert duplicate_client.is_likely


@pytest.mark.broker
@pytest.mark.parametrize("protocol", [5, "3.1.1"])
async def test_two_clients_with_one_id(site: Any, until: Any, tmp_path: Path, protocol: Any) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        how = {"protocol": protocol, "client_id": "bocage-village"}
        async with site.up(port, **how) as first, type(site)().up(port, **how) as second:
            await until(lambda: first.duplicate_client.is_likely or second.duplicate_client.is_likely, 60)
