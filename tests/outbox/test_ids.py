"""A command is carried out once, also when the database that knew of it is lost or older."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.model import Command, Origin, Outcome, OutcomeState
from agent.outbox import flash


def command(box: Any, name: str) -> Command:
    return Command(name, "km1", "on", box.clock.now(), origin=Origin.MQTT)


async def test_a_database_that_is_set_aside_takes_no_ids_with_it(box: Any) -> None:
    assert await box.out.begin(command(box, "c1")) is None
    await box.out.record(Outcome("c1", "km1", "on", OutcomeState.VERIFIED, "", box.clock.now()))
    await box.out.close()
    (box.state / "outbox.db").write_bytes(b"\x00junk" * 500)
    box.open()
    known = await box.out.begin(command(box, "c1"))
    assert (known.state, known.point, known.value) == (OutcomeState.UNKNOWN, "km1", "on")
    assert "lost with the outbox database" in known.reason
    assert await box.out.unfinished() == [], "nothing to be closed: it is over"
    assert await box.out.begin(command(box, "c2")) is None


async def test_a_database_that_breaks_while_it_is_used(box: Any) -> None:
    assert await box.out.begin(command(box, "c1")) is None
    malformed = sqlite3.DatabaseError("database disk image is malformed")
    malformed.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def commit(work: object) -> None:
        raise malformed

    box.out._writer.flash.db.commit = commit
    assert (await box.out.begin(command(box, "c2"))).state is OutcomeState.REJECTED
    await box.tick(6)
    assert (await box.out.begin(command(box, "c1"))).state is OutcomeState.UNKNOWN


async def test_a_queue_that_is_put_back_from_a_backup(box: Any, tmp_path: Path) -> None:
    assert await box.out.begin(command(box, "c1")) is None
    await box.out.close()
    shutil.copy(box.state / "outbox.db", tmp_path / "backup")
    box.open()
    assert await box.out.begin(command(box, "c2")) is None
    await box.out.close()
    shutil.copy(tmp_path / "backup", box.state / "outbox.db")
    box.open()
    assert (await box.out.begin(command(box, "c1"))).state is OutcomeState.ACCEPTED
    assert (await box.out.begin(command(box, "c2"))).state is OutcomeState.UNKNOWN


async def test_a_torn_line_costs_itself_and_the_file_stays_short(box: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "KEPT", 10)
    for number in range(25):
        assert await box.out.begin(command(box, f"c{number}")) is None
    await box.out.close()
    file = box.state / "commands.ids"
    file.write_bytes(file.read_bytes()[:-8])
    for name in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
        (box.state / name).unlink(missing_ok=True)
    box.open()
    assert (await box.out.begin(command(box, "c23"))).state is OutcomeState.UNKNOWN
    assert await box.out.begin(command(box, "c24")) is None, "the power was cut in the middle of it"
    again = [*flash.outcomes(flash.Ids(box.state).lines())]
    assert [one.command for one in again][-2:] == ["c23", "c24"] and len(again) == 11


@pytest.mark.parametrize(
    "line",
    ["[" * 5000, "\x00\xff", '["c9"]', '{"a":1}', '[9,"km1",1,["boot",1,2]]', '["c9","km1",{"x":1},["boot",1,2]]',
     '["c9","km1",1,["boot","1",2]]', '["c9","km1",1,["boot",1,1' + "0" * 30 + "]]", '["c9\\ud800","km1",1,["b",1,2]]'],
    ids=range(9),
)  # fmt: skip
async def test_a_line_that_is_none_of_ours_is_passed_over(box: Any, line: str) -> None:
    assert await box.out.begin(command(box, "c1")) is None
    await box.out.close()
    with (box.state / "commands.ids").open("ab") as file:
        file.write(f"\n{line}\n".encode("latin-1"))
    for name in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
        (box.state / name).unlink(missing_ok=True)
    box.open()
    assert (await box.out.begin(command(box, "c1"))).state is OutcomeState.UNKNOWN
