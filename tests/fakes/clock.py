"""A clock that stands still until a test moves it (an `agent.clock.Clock`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.clock import Wall
from agent.model import Instant

EPOCH = 1_764_000_000.0
"""Unix s at which the monotonic time of a fake clock is 0, unless told otherwise: 2025-11-24T16:00:00Z."""


class FakeClock:
    """Tells the time that a test sets.

    `at` is the monotonic time (s), `epoch` the wall time (Unix s) when that was 0, known while `trusted`. With `runs`,
    what that function tells (s) is added to `at`: the time of a loop, for example.
    """

    def __init__(
        self, at: float = 1000.0, *, boot: str = "boot-1", epoch: float = EPOCH, trusted: bool = True,
        runs: Callable[[], float] = lambda: 0.0,
    ) -> None:  # fmt: skip
        self.at, self.boot, self.epoch, self.trusted, self.runs = at, boot, epoch, trusted, runs

    def monotonic(self) -> float:
        return self.runs() + self.at

    def now(self) -> Instant:
        at = self.monotonic()
        return Instant(self.boot, round(at * 1e9), round((self.epoch + at) * 1000) if self.trusted else None)


class FollowedClock(FakeClock):
    """One whose steps are judged by the agent's own rule, `agent.clock.Wall`."""

    def __init__(self, at: float = 1000.0, **more: Any) -> None:
        super().__init__(at, **more)
        self.wall = Wall(self.boot)

    def restart(self, store: Any) -> None:
        """Begin anew, as a process that finds its anchor in `store`."""
        self.wall = Wall(self.boot, round(self.monotonic() * 1e9), store)

    def now(self) -> Instant:
        said = super().now()
        machine = None if said.wall_ms is None else round((self.epoch + self.monotonic()) * 1e9)
        return Instant(self.boot, said.boottime_ns, self.wall.at(said.boottime_ns, machine))
