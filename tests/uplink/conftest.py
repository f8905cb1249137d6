from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.model import Command, Outcome, OutcomeState
from agent.uplink.dialect import Dialect
from agent.uplink.dialects.native import Native
from agent.uplink.settings import UplinkSettings
from agent.uplink.uplink import Uplink
from tests.fakes.memory_outbox import MemoryOutbox
from tests.fakes.waiting import until


class Site:
    """An uplink with an outbox in memory and an arbiter that takes all."""

    def __init__(self) -> None:
        self.outbox: Any = MemoryOutbox()
        self.clock = SystemClock("always")
        self.commands: list[Command] = []
        self.submit: Callable[[Command], Any] = self._submit
        self.state: dict[str, dict[str, Any]] = {}
        self.uplink: Uplink
        self.running: asyncio.Task[None]

    async def _submit(self, command: Command) -> Outcome:
        self.commands.append(command)
        return Outcome(command.id, command.point, command.value, OutcomeState.VERIFIED, "", self.clock.now())

    @asynccontextmanager
    async def up(
        self, port: int, dice: float = 0.0, dialect: Dialect | None = None, **settings: Any
    ) -> AsyncIterator[Uplink]:
        """The uplink runs; at the end it must close in order, whatever the broker does."""
        chosen = replace(UplinkSettings("127.0.0.1", port, client_id="bocage-v"), **settings)
        self.uplink = Uplink(
            chosen, dialect or Native(chosen.prefix, "village"), self.outbox,
            lambda command: self.submit(command), self.clock,
            agent="0.1.0", config_hash="sha256:00", state=lambda: self.state, dice=lambda: dice,
        )  # fmt: skip
        self.running = asyncio.create_task(self.uplink.run())
        try:
            yield self.uplink
        finally:
            async with asyncio.timeout(4):
                await self.uplink.close()
                await self.running


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until


@pytest.fixture
async def site() -> Site:
    return Site()
