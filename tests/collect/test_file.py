"""A collector's file that is locked, damaged, somebody else's, or no longer there."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from agent.cli import main
from agent.collect.schemas import Shelf
from agent.collect.store import CollectStore
from tests.collect.test_session import Broker, batch, publish
from tests.fakes.waiting import wait_for

COMMANDS = {
    "report": lambda file: ["report", str(file)],
    "rename": lambda file: ["rename", str(file), "village", "town"],
    "erase": lambda file: ["erase", str(file), "--site", "village"],
}


def fill(file):
    store, shelf = CollectStore(file), Shelf()
    for first in range(1, 3001, 500):
        store.take("telemetry", "village", shelf.parse("telemetry", batch(first, 500)))
    store.close()


def damage(file):
    content = bytearray(file.read_bytes())
    page = int.from_bytes(content[16:18])
    with sqlite3.connect(file) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name IN ('store', 'reading')"
        roots = [root for (root,) in db.execute(query)]
    db.close()
    for root in roots:
        content[(root - 1) * page : root * page] = b"\xa5" * page
    file.write_bytes(content)


def edit(statements):
    def change(file):
        with sqlite3.connect(file) as db:
            db.executescript(statements)
        db.close()

    return change


def replace(statements):
    def change(file):
        file.unlink()
        edit(statements)(file)

    return change


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (damage, "malformed; take an earlier copy"),
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), "malformed; take an earlier copy"),
        (lambda file: file.write_bytes(b"GIF89a" * 1000), "is not a file of bocage collect: file is not a database"),
        (lambda file: file.write_bytes(b""), "it does not have its tables"),
        (replace("CREATE TABLE store(x); PRAGMA user_version = 1"), "it does not have its tables"),
        (edit("PRAGMA user_version = 2"), "of a later version, 2; this program knows 1"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_right_is_said_and_left_alone(change, says, command, tmp_path, capsys):
    file = tmp_path / "region.db"
    fill(file)
    change(file)
    before = file.read_bytes()
    assert main(["collect", *COMMANDS[command](file)]) == 1
    assert says in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", ["rename", "erase"])
def test_a_file_that_another_program_has_locked_is_said(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("agent.collect.store._WAIT", 0.1)
    file = tmp_path / "region.db"
    fill(file)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert main(["collect", *COMMANDS[command](file)]) == 1
        assert "another program is at work on it" in capsys.readouterr().err
        other.execute("ROLLBACK")
    assert main(["collect", *COMMANDS[command](file)]) == 0


IMPATIENT = "import agent.collect.store as s; s._WAIT = 0.1; from agent.cli import main; raise SystemExit(main())"


class Collector:
    """A collector as a process, and a broker that sends a second message when it is told to."""

    def __init__(self, file):
        self.file, self.more = file, threading.Event()

    def messages(self):
        yield publish("bocage/v1/village/telemetry", batch(1, 5), 1)
        self.more.wait(30)
        yield publish("bocage/v1/village/telemetry", batch(6, 5), 2)

    def readings(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as db, \
                contextlib.suppress(sqlite3.Error):  # fmt: skip
            return db.execute("SELECT count(*) FROM reading").fetchone()[0]
        return 0

    @contextlib.contextmanager
    def running(self, name=None):
        with Broker(b"\x20\x02\x00\x01", self.messages()).running() as port:
            file = name or str(self.file)
            arguments = ["collect", f"mqtt://127.0.0.1:{port}", "--sqlite", file, "--protocol", "3.1.1"]
            program = [sys.executable, "-c", IMPATIENT, *arguments]
            process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, cwd=self.file.parent)
            try:
                wait_for(lambda: self.file.exists() and self.readings() == 5, 60)
                yield process
            finally:
                self.more.set()
                process.kill()
                process.communicate()


def test_a_collector_waits_while_another_program_has_the_file(tmp_path):
    collector = Collector(tmp_path / "region.db")
    with collector.running() as process:
        with contextlib.closing(sqlite3.connect(collector.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            collector.more.set()
            assert "file locked" in process.stderr.readline()
            other.execute("ROLLBACK")
        wait_for(lambda: collector.readings() == 10, 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("names", [["region.db", "region.db-wal", "region.db-shm"], ["region.db"], ["region.db-wal"]])
def test_what_comes_after_the_file_is_gone_is_not_acknowledged(names, tmp_path):
    collector = Collector(tmp_path / "region.db")
    with collector.running() as process:
        for name in names:
            (tmp_path / name).rename(tmp_path / f"moved-{name}")
        collector.more.set()
        assert process.wait(20) == 1
        assert "was deleted, moved or replaced" in process.stderr.read()


def test_a_copy_without_a_log_of_its_own_gets_one(tmp_path):
    fill(tmp_path / "region.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "region.db")) as db:
        db.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    CollectStore(tmp_path / "copy.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_name_that_sqlite_keeps_in_memory_is_a_file(tmp_path):
    collector = Collector(tmp_path / ":memory:")
    with collector.running(name=":memory:"):
        assert collector.readings() == 5
