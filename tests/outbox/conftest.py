"""What the tests of the outbox share: a clock that is turned by hand, readings, and a broker's counting of keys."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.model import Event, Quality, Reading, Readings, Value
from agent.outbox import Message, Outbox
from agent.outbox.blocks import Row, decode
from agent.outbox.store import Store, Work
from tests.fakes.clock import FakeClock

BOOT = "6f1c7d6e-0000-4000-8000-000000000001"


class Box:
    """An outbox with its folders and its clock, which can be dropped (kill -9) and opened again."""

    def __init__(self, folder: Path) -> None:
        self.state, self.stage, self.clock = folder / "state", folder / "stage", FakeClock(boot=BOOT)
        self.options: dict[str, Any] = {}
        self.out = self.open()
        self.first_store = self.out.store

    def open(self) -> Outbox:
        self.out = Outbox.open(self.state, self.stage, self.clock, **self.options)
        return self.out

    def readings(self, n: int = 1, value: Value = 21.5, quality: Quality = Quality.GOOD) -> Readings:
        at = self.clock.now()
        return [Reading(f"meter-a.r{i}", value, at, quality) for i in range(n)]

    async def tick(self, seconds: float = 0.0) -> None:
        """Let time go by, and the outbox do a pass."""
        self.clock.at += seconds
        await self.out._pass()

    async def take(self) -> Message:
        return await asyncio.wait_for(self.out.take(), 5)

    async def drain(self) -> list[Message]:
        """Everything there is to send, accepted."""
        messages = []
        while (message := await self.peek()) is not None:
            messages.append(message)
            self.clock.at += 0.01
            self.out.accepted(message)
        return messages

    async def peek(self) -> Message | None:
        """The next message, None if none comes although the loop and the worker are idle."""
        task = asyncio.ensure_future(self.out.take())
        idle = 0
        while not task.done():
            await asyncio.sleep(0)
            idle = idle + 1 if not self.out._jobs else 0
            if idle == 10:  # turns of the loop: nothing is on its way
                task.cancel()
                return None
        return task.result()


def rows(messages: list[Message]) -> list[Row]:
    return [row for message in messages if message.kind == "readings" for row in decode(message.body)]


def events(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in messages if message.kind == "event"]


@pytest.fixture(autouse=True, scope="module")
def _killed_boxes_are_closed() -> Iterator[None]:
    """What the kernel does for a killed process: here the segments of its stage would stay open.

    They are plain descriptors, which nobody else closes; marks and databases close with their objects.
    """
    yield
    gc.collect()
    for file in Path("/proc/self/fd").iterdir():
        if file.is_symlink() and file.readlink().name.removesuffix(" (deleted)").endswith(".stage"):
            os.close(int(file.name))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    yield Box(tmp_path)


@pytest.fixture(name="events")
def events_fixture() -> Any:
    return events


@pytest.fixture
def alarm(box: Box) -> Any:
    """An alarm about one of many."""
    return lambda number: Event("alarm", "test", f"km{number}", box.clock.now())


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`flash(False)`: it cannot be written from now on; `flash(True)`: it can."""
    commit = Store.commit

    def fail(db: Store, work: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    return lambda works: monkeypatch.setattr(Store, "commit", commit if works else fail)


@pytest.fixture
def kept_flash(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`kept_flash(False)`: a write fails from now on, at its sync, and what it wrote is there all the same."""
    commit = Store.commit

    def fail(db: Store, work: Work) -> None:
        commit(db, work)
        raise sqlite3.OperationalError("disk I/O error")

    return lambda works: monkeypatch.setattr(Store, "commit", commit if works else fail)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`with unreadable():` no database can be opened."""

    def fail(*args: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    @contextmanager
    def made() -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(Store, "__init__", fail)
            yield

    return made
