"""What is retained on state/store is compared before anything numbered goes, and a later word is a duplicate's."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.lib.machine import Machine
from agent.model import OutcomeState, Reading
from agent.outbox import Outbox
from agent.outbox.identity import MOST, Claim, Statement
from agent.outbox.store import Store
from agent.uplink.dialects.native import Native, encode
from agent.uplink.duplicate_client import DuplicateClient
from agent.uplink.identity_check import REMEMBERED, IdentityCheck
from agent.uplink.session import ReceivedMessage
from tests.fakes.mosquitto import documented_acl, mosquitto


def statement(store: str, epoch: int, machine: str, run: str) -> bytes:
    return encode(Statement({}, "").after(Claim(store, 100_000, epoch, machine), run).body())


def test_a_duplicate_speaks_after_us() -> None:
    duplicates: list[int] = []
    outbox = type("Outbox", (), {"claim": Claim("s", 100_000, 2, "m"), "is_compared": True})()
    identity = IdentityCheck(Native("bocage/v1", "village"), outbox, lambda: duplicates.append(1))
    session: Any = type("Session", (), {"retains": True, "publish": lambda *a, **k: None})()
    identity._take(statement("s", 9, "other", "before us"))
    assert not duplicates, "we have not spoken yet"
    identity.claim(session)
    identity._take(statement("s", 2, "m", identity._run))
    identity._take(statement("s", 1, "m", "an earlier run of ours"))
    assert not duplicates
    identity._take(statement("t", 1, "other", "another"))
    assert len(duplicates) == 1
    identity._take(b"nonsense")
    assert len(duplicates) == 1


def test_claims_that_are_made_up_fill_no_memory() -> None:
    duplicate_client = DuplicateClient(lambda: 0.0)
    outbox = type("Outbox", (), {"claim": Claim("s", 100_000, 2, "m"), "is_compared": True})()
    identity = IdentityCheck(Native("bocage/v1", "village"), outbox, duplicate_client.taken_over)
    identity.claim(type("Session", (), {"retains": True, "publish": lambda *a, **k: None})())  # type: ignore[arg-type]
    for n in range(3 * REMEMBERED):
        identity._take(statement(f"t{n}", 1, "other", "another"))
    assert REMEMBERED <= len(identity._heard.claims) <= REMEMBERED + MOST
    assert duplicate_client.is_likely and len(duplicate_client._signs) < 100


@pytest.mark.broker
async def test_a_restored_card_over_a_broker_with_the_documented_rights(site: Any, until: Any, tmp_path: Path) -> None:
    """A user may read the state/store of its own site: so another store is taken before a number goes."""
    (tmp_path / "acl").write_text(documented_acl() + "\n")
    (tmp_path / "passwords").write_text("village:x\n")
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "passwords")], check=True)
    lines = ("allow_anonymous false", f"password_file {tmp_path}/passwords", f"acl_file {tmp_path}/acl")
    clock, state, stages = SystemClock("always"), tmp_path / "state", iter(range(9))

    def opened() -> Outbox:
        return Outbox.open(state, tmp_path / f"stage-{next(stages)}", clock, machine=Machine("a" * 16))

    async def life(port: int, n: int) -> str:
        """Read some, deliver all, end in order."""
        site.outbox = opened()
        site.outbox.put([Reading(f"m.r{i}", i, clock.now()) for i in range(n)], 2)
        running = asyncio.create_task(site.outbox.run())
        async with site.up(port, username="village", password="x"):
            await until(lambda: site.outbox.status()["rows"] == 0)
        running.cancel()
        store = site.outbox.store
        await site.outbox.close()
        return str(store)

    async with mosquitto(tmp_path, *lines) as port:
        first = await life(port, 5)
        shutil.copytree(state, tmp_path / "backup")
        assert await life(port, 5) == first, "nobody went on from a later state"
        shutil.rmtree(state)
        shutil.copytree(tmp_path / "backup", state)
        second = await life(port, 5)
        assert second != first
    async with mosquitto(tmp_path, *lines) as port:  # one that retains nothing of it
        assert await life(port, 5) == second
        shutil.rmtree(state)
        shutil.copytree(tmp_path / "backup", state)
        assert await life(port, 5) not in (first, second), "the store that was left is claimed anew as well"


@pytest.mark.broker
async def test_an_older_card_whose_database_opens_while_the_link_is_up(
    site: Any, until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be read at the start, so nothing was compared then: it is before its first number goes."""
    clock, state, stages = SystemClock("always"), tmp_path / "state", iter(range(9))

    def opened() -> Any:
        site.outbox = Outbox.open(state, tmp_path / f"stage-{next(stages)}", clock, machine=Machine("a" * 16))
        return site.outbox

    @asynccontextmanager
    async def up(outbox: Any, port: int) -> AsyncIterator[None]:
        running = asyncio.create_task(outbox.run())
        async with site.up(port):
            outbox.put([Reading("m.r", 1, clock.now())], 2)
            await until(lambda: outbox.status()["rows"] == 0)
            yield
        running.cancel()
        await outbox.close()

    def fail(*args: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with mosquitto(tmp_path, "allow_anonymous true") as port:
        async with up(opened(), port):
            first = site.outbox.store
        shutil.copytree(state, tmp_path / "backup")
        async with up(opened(), port):
            assert site.outbox.store == first
        shutil.rmtree(state)
        shutil.copytree(tmp_path / "backup", state)
        whole = Store.__init__
        monkeypatch.setattr(Store, "__init__", fail)
        async with up(opened(), port):
            monkeypatch.setattr(Store, "__init__", whole)
            await site.outbox._writer.locked_save(flush=False)
            site.outbox.put([Reading("m.r", 2, clock.now())], 2)
            await until(lambda: site.outbox.status()["rows"] == 0)
            assert site.outbox._writer.flash.db is not None and site.outbox.store != first


async def test_what_comes_again_to_a_restored_state_is_refused(site: Any) -> None:
    """The later state, which is gone, may have carried it out: nobody can know."""
    async with site.up(1) as uplink:
        inbox = uplink._inbox
        body = b'{"id":"c1","point":"km1","value":"on","ttl_ms":5000}'
        message = ReceivedMessage("bocage/v1/village/cmd/c1", body, False, 1, 1, site.clock.now(), again=True)
        inbox.doubts_repetitions = True
        outcome = await inbox._judge("c1", message)
        assert (outcome.state, site.commands) == (OutcomeState.REJECTED, [])
        assert "may have been carried out" in outcome.reason
        await inbox._judge(
            "c2", message._replace(topic="bocage/v1/village/cmd/c2", payload=body.replace(b"c1", b"c2"), again=False)
        )
        assert [command.id for command in site.commands] == ["c2"]
