"""The agent as a child process of the demo, and what its outbox says of itself once it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections import deque
from pathlib import Path

from agent.control.civil import Pace
from agent.lib.child import environment, program

__all__ = ["Cabinet", "numbers_given"]

PATIENCE = 15.0  # seconds for an orderly end


class Cabinet:
    """One run of the agent. It has a session of its own, so that Ctrl-C in the terminal is the demo's alone.

    `pace` is that of the village, and of the agent's schedules and timers. If it is `wired`, `put` moves its pins.
    """

    def __init__(self, site: Path, state: Path, runtime: Path, log: Path, pace: Pace, wired: bool = False) -> None:
        self._arguments = [str(site), str(state), str(runtime), str(pace.speed), str(pace.since)]
        self._log, self._wired = log, wired
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        variables = environment(BOCAGE_CLOCK="trusted", BOCAGE_DEMO_PARENT=str(os.getpid()))
        variables.pop("NOTIFY_SOCKET", None)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *program("agent.demo.cabinet", *self._arguments, *(["wired"] if self._wired else [])),
                env=variables, stdin=asyncio.subprocess.PIPE if self._wired else asyncio.subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def put(self, pin: int, what: str) -> None:
        """Move an input pin: `on`, `off`, or how many pulses a second come from now on."""
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.write(f"{pin} {what}\n".encode())

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.returncode

    async def ended(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and the exit code; SIGKILL if it does not end within 15 s."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    def kill(self) -> None:
        """For a demo that is torn down in a hurry: nothing stays behind."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def last_words(self, lines: int = 12) -> str:
        with self._log.open(errors="replace") as log:
            return "".join(deque(log, lines))


def numbers_given(state: Path) -> tuple[str, int]:
    """The name of the store and the highest number that it gave, as the outbox wrote them when it ended.

    Numbers follow one another from 1, for readings, events and outcomes alike. ("", 0) if there is no outbox.
    """
    database = state / "outbox.db"
    if not database.exists():
        return "", 0
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as outbox:
        facts = dict(outbox.execute("SELECT key, value FROM fact"))
    return str(facts.get("store", "")), int(facts.get("known", 0))
