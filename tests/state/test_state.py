"""Facts that must be there after whatever happened to the file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.state import State
from agent.errors import StorageError
from drivers.api import DurableStore


def two_generations(folder: Path) -> None:
    state = State.open(folder)
    state.put("a.count", 1, now=True)
    state.put("a.count", 2, now=True)


def test_facts_survive(tmp_path):
    state = State.open(tmp_path / "new")
    state.put("a.b", {"x": [1, 2.5, None, "é"]})
    memory: DurableStore = state.scope("a")
    assert memory.get("b") == {"x": [1, 2.5, None, "é"]}
    memory.put("c", True)
    state.put("gone", 1)
    state.put("gone", None)
    state.close()
    again = State.open(tmp_path / "new")
    assert (again.get("a.b"), again.get("a.c"), again.get("gone"), again.troubles) == (
        {"x": [1, 2.5, None, "é"]},
        True,
        None,
        [],
    )


def test_each_write_is_whole_whatever_changed_since_the_one_before(tmp_path):
    """What did not change is not put into words again: it stands there as it did, and the checksum is that of all."""
    state, facts = State.open(tmp_path), {}
    first = {f"area.{n}": [n, {"b": n / 3, "a": "é"}] for n in range(12)}
    for change in (
        first,
        {"area.3": True},
        {"area.3": 1},
        {"area.4": None, "area.11": {"z": None, "y": [1.0]}},
        {"x.1": 0},
    ):
        for key, value in change.items():
            state.put(key, value)
        facts |= change
        state.flush()
        found = State.open(tmp_path)
        assert found.troubles == []
        assert json.dumps({key: found.get(key) for key in facts}) == json.dumps(facts)


def test_what_is_got_is_a_copy(tmp_path):
    state = State.open(tmp_path)
    value = {"x": [1]}
    state.put("k", value)
    value["x"].append(2)
    state.get("k")["x"].append(3)
    assert state.get("k") == {"x": [1]}


def test_what_json_cannot_say_is_refused_at_once(tmp_path):
    state = State.open(tmp_path)
    with pytest.raises(TypeError):
        state.put("k", {1, 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        state.put("k", float("nan"))
    assert state.get("k") is None


def test_now_is_on_flash_and_later_is_not_yet(tmp_path):
    state = State.open(tmp_path)
    state.put("k", 1, now=True)
    state.put("k", 2)
    assert State.open(tmp_path).get("k") == 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_never_believed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("state")
    two_generations(folder)
    newest = folder / "state.json"
    content = bytearray(newest.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        damaged = bytes(content[:at])
    else:
        content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
        damaged = bytes(content)
    newest.write_bytes(damaged)
    state = State.open(folder)
    if state.troubles:
        assert state.get("a.count") == 1
        aside = list(folder.glob("state.json.unreadable-*"))
        assert [path.read_bytes() for path in aside] == [damaged]
        assert aside[0].name in state.troubles[0]
    else:  # blanks only
        assert state.get("a.count") == 2
    state.put("a.count", 3, now=True)
    assert State.open(folder).get("a.count") == 3


def test_both_unreadable_starts_empty_and_says_so(tmp_path):
    two_generations(tmp_path)
    (tmp_path / "state.json").write_bytes(b"\xff\x00")
    (tmp_path / "state.previous.json").write_text("[]")
    state = State.open(tmp_path)
    assert state.get("a.count") is None
    assert len(state.troubles) == 3
    assert "starts empty" in state.troubles[-1]
    assert len(list(tmp_path.glob("*.unreadable-*"))) == 2
    state.put("k", 1, now=True)
    assert State.open(tmp_path).troubles == []


class Disk:
    """Records what is asked of the disk, and gives every folder that a power cut could leave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple] = []
        self._names: dict[int, str] = {}
        real_open, real_write, real_fsync, real_replace = os.open, os.write, os.fsync, os.replace

        def open_(path, flags, mode=0o777):
            descriptor = real_open(path, flags, mode)
            self._names[descriptor] = "." if flags & os.O_DIRECTORY else Path(path).name
            if flags & os.O_TRUNC:
                self.steps.append(("create", Path(path).name))
            return descriptor

        def write(descriptor, content):
            count = min(len(content), 37)  # the kernel may take less than it was given
            self.steps.append(("write", self._names[descriptor], bytes(content[:count])))
            return real_write(descriptor, content[:count])

        def fsync(descriptor):
            self.steps.append(("fsync", self._names[descriptor]))
            real_fsync(descriptor)

        def replace(source, target):
            real_replace(source, target)
            self.steps.append(("rename", Path(source).name, Path(target).name))

        for name, function in {"open": open_, "write": write, "fsync": fsync, "replace": replace}.items():
            monkeypatch.setattr(os, name, function)

    def after_cut(self, steps: list[tuple]) -> list[dict[str, bytes]]:
        """Folders (name -> content) after a cut behind `steps`: renames and data that no fsync covered may be lost."""
        files: dict[str, int] = {}
        content: dict[int, bytes] = {}
        safe: set[int] = set()
        pending: list[tuple] = []
        folder: dict[str, int] = {}
        for number, step in enumerate(steps):
            match step:
                case ("create", name):
                    files[name] = number
                    content[number] = b""
                    pending.append((*step, number))
                case ("write", name, more):
                    content[files[name]] += more
                    safe.discard(files[name])
                case ("fsync", "."):
                    folder = apply(folder, pending)
                    pending = []
                case ("fsync", name):
                    safe.add(files[name])
                case ("rename", source, target):
                    files[target] = files.pop(source)
                    pending.append(step)
        folders = []
        for kept in itertools.chain.from_iterable(itertools.combinations(pending, n) for n in range(len(pending) + 1)):
            names = apply(folder, list(kept))
            for share in (0.0, 0.5, 1.0):
                folders.append(
                    {
                        name: content[inode] if inode in safe else content[inode][: int(len(content[inode]) * share)]
                        for name, inode in names.items()
                    }
                )
        return folders


def apply(folder: dict[str, int], changes: list[tuple]) -> dict[str, int]:
    result = dict(folder)
    for change in changes:
        if change[0] == "create":
            result[change[1]] = change[2]
        elif change[1] in result:
            result[change[2]] = result.pop(change[1])
    return result


def test_a_power_cut_leaves_the_new_or_the_previous_generation(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        state = State.open(tmp_path / "real")
        marks = [0]
        for value in range(1, 5):
            state.put("k", value, now=True)
            marks.append(len(disk.steps))
    seen = 0
    for cut in range(len(disk.steps) + 1):
        promised = max(value for value, mark in enumerate(marks) if mark <= cut)
        for files in disk.after_cut(disk.steps[:cut]):
            folder = tmp_path / f"cut-{seen}"
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
            after = State.open(folder)
            assert (after.get("k") or 0) in (promised, promised + 1), (cut, files)
            assert after.troubles == []
            seen += 1
    assert seen > 200


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that can be full: `full_disk.add(1)`."""
    full: set[int] = set()
    real = os.write

    def write(descriptor, content):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", write)
    return full


def test_a_full_disk_refuses_now_and_keeps_the_fact(tmp_path, full_disk):
    state = State.open(tmp_path)
    state.put("k", 1, now=True)
    full_disk.add(1)
    with pytest.raises(StorageError, match="No space left"):
        state.put("k", 2, now=True)
    assert (state.get("k"), state.fault) == (2, "No space left on device")
    assert State.open(tmp_path).get("k") == 1
    assert not (tmp_path / "state.new.json").exists()
    full_disk.clear()
    state.flush()
    assert (State.open(tmp_path).get("k"), state.fault) == (2, None)


async def test_coalesced_writes_outlive_a_full_disk(tmp_path, full_disk, caplog):
    state = State.open(tmp_path, every=0.01)
    task = asyncio.create_task(state.run())
    full_disk.add(1)
    state.put("k", 1)
    async with asyncio.timeout(5):
        while not state.fault:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert not task.done()
        full_disk.clear()
        while state.fault:
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert State.open(tmp_path).get("k") == 1
    assert [record.message.split()[1] for record in caplog.records if record.levelname == "ERROR"] == ["not"]


async def test_many_puts_are_one_write(tmp_path, monkeypatch):
    folder = tmp_path
    state = State.open(folder, every=0.05)
    renames = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (real(a, b), renames.append(b))[0])
    for value in range(1000):
        state.put("k", value)
    task = asyncio.create_task(state.run())
    async with asyncio.timeout(5):
        while not renames:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    task.cancel()
    assert len(renames) == 1


def test_threads_may_put(tmp_path):
    state = State.open(tmp_path)

    def work(name: str) -> None:
        for value in range(20):
            state.put(name, value, now=value % 5 == 0)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state.close()
    again = State.open(tmp_path)
    assert [again.get(f"t{n}") for n in range(4)] == [19] * 4


def test_a_folder_that_cannot_be_made_does_not_stop_us(tmp_path):
    (tmp_path / "file").write_text("")
    state = State.open(tmp_path / "file" / "state")
    state.put("k", 1)
    state.close()
    assert state.get("k") == 1
    assert "in memory only" in state.troubles[0]


def test_the_file_is_for_people_too(tmp_path):
    two_generations(tmp_path)
    facts = json.loads((tmp_path / "state.json").read_text())["facts"]["facts"]
    assert facts == {"1": {"key": "a.count", "value": 2}}
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0
