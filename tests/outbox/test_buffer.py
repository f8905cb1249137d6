"""The buffer seen from outside: the same figures and readings as from within, and nothing is disturbed."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.cli import buffer
from agent.errors import StorageError
from agent.outbox.backlog_reader import export_readings, read_status
from agent.outbox.blocks import Block
from agent.outbox.store import Store, Work

SITE = """\
version: 1
site: {id: mill, name: The mill, timezone: Europe/Paris, latitude: 47.3, longitude: 5.0}
"""


async def test_status_and_export_beside_a_running_outbox(box: Any) -> None:
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    box.out.put(box.readings(4, value=True), 1)
    outside = read_status(box.state, box.stage)
    assert outside["rows"] == box.out.status()["rows"] == 14
    assert outside["oldest"] == box.out.status()["oldest"] is not None
    assert {key: outside[key] for key in ("classes", "lost", "gaps", "max_bytes")}.items() <= box.out.status().items()
    exported = list(export_readings(box.state, box.stage))
    assert [row.seq for row in exported] == list(range(1, 15))
    assert exported[-1].value is True
    assert sum(message.n for message in await box.drain()) == 14


async def test_what_is_delivered_is_not_counted(box: Any) -> None:
    box.out.put(box.readings(10), 2)
    box.out.accepted(await box.take())
    assert read_status(box.state, box.stage)["rows"] == 0
    assert list(export_readings(box.state, box.stage)) == []


def test_nothing_there_yet(tmp_path: Path) -> None:
    empty = {"rows": 0, "bytes": 0, "oldest": None, "hours_left": None, "gaps": 0, "lost": {}}
    assert empty.items() <= read_status(tmp_path, tmp_path / "stage").items()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"junk" * 1000)
    with pytest.raises(StorageError, match="cannot be read"):
        read_status(tmp_path, tmp_path)


def test_a_long_backlog_is_counted_without_files_beside_it(tmp_path: Path) -> None:
    """What SQLite sorts is held in memory, and files that it makes for it may find no room, or a read-only disk."""

    def written() -> int:
        return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["wchar"])

    db = Store(tmp_path)
    one = Block(db.name, 1, 1, 1, 2, "b", 1, True, 5, 5, os.urandom(15_000))
    db.commit(Work(blocks=[(row, one._replace(first=row, last=row, cls=1 + row % 3)) for row in range(1, 301)]))
    before = written()
    totals = db.totals()
    outside = read_status(tmp_path, tmp_path / "stage")
    assert written() - before < 100_000
    assert (totals.rows, totals.last[db.name], [*totals.bytes.values()]) == (300, 300, [0, *[1_500_000] * 3])
    assert [*outside["classes"].values()] == [0, *[1_500_000] * 3]
    db.close()


async def test_the_command(box: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box.out.put(box.readings(2), 2)
    await box.out.close()
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    folders = ["--state-dir", str(box.state), "--runtime-dir", str(box.stage)]
    parser = argparse.ArgumentParser()
    buffer.add(parser.add_subparsers())

    async def bocage(*words: str) -> str:
        options = parser.parse_args(["buffer", str(site), *words, *folders])
        assert await asyncio.to_thread(options.run, options) == 0
        return capsys.readouterr().out

    assert json.loads(await bocage("--json"))["rows"] == 2
    told = await bocage("status")
    assert "2 readings" in told and "telemetry" in told
    assert (await bocage("export")).splitlines()[1].startswith(box.out.store + ",1,meter-a.r0,21.5,good,2025-")
    first, _ = (await bocage("export", "--jsonl")).splitlines()
    assert json.loads(first) | {"store": "", "at": ""} == {
        "store": "", "seq": 1, "point": "meter-a.r0", "value": 21.5, "quality": "good", "at": "", "measured": None,
    }  # fmt: skip
