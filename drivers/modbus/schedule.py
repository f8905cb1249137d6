"""When which device is asked what: fixed rates with spread phases, and backoff for a device that is gone.

Of the polls that are due the one with the earliest deadline (due + period) goes first: fast points come before slow
ones, and a slow one never waits longer than its own period. A slot that was missed is skipped, not made up for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.driver import DeviceSpec
from agent.model import Instant, Reading
from drivers.modbus.plan import Block, Register
from drivers.modbus.stats import Tally

__all__ = ["FAILURES", "Device", "Poll", "spread"]

FAILURES = 3
"""Failures in a row after which a device counts as gone and its points turn bad."""
_RETRY = 1.0  # s, after a failure, and the first step of the backoff
_BACKOFF_MOST = 60.0  # s
_REFUSED_AGAIN = 600.0  # s, until a point that the slave does not know is asked for again


class Device:
    """One slave on the line: what it has, how it is, and when it is asked again (`retry_at`, clock.monotonic)."""

    def __init__(self, spec: DeviceSpec, registers: Sequence[Register], guard: float) -> None:
        self.spec = spec
        self.name = spec.name
        self.unit: int = spec.address["unit_id"]
        self.registers = registers
        self.guard = guard
        self.tally = Tally(spec.name)
        self.polls: list[Poll] = []
        self.failures = 0
        self.retry_at = -math.inf
        self.unknown: set[int] = set()
        """Functions that the slave said it does not know (exception 1): others are used in their place."""

    @property
    def lost(self) -> bool:
        return self.failures >= FAILURES

    @property
    def backoff(self) -> float:
        """Seconds until the next attempt: one failure may be chance, a lost device waits 1 s, 2 s … 60 s."""
        delay = min(_RETRY * 2.0 ** min(max(0, self.failures - FAILURES), 6), _BACKOFF_MOST)
        fastest = min((poll.period for poll in self.polls), default=_RETRY)
        delay = delay if self.lost else min(delay, fastest)
        return delay if self.spec.output_watchdog is None else min(delay, self.spec.output_watchdog / 3)

    def failed(self, now: float) -> bool:
        """Count a failure; whether the device is lost by just this one."""
        self.failures += 1
        self.retry_at = now + self.backoff
        return self.failures == FAILURES

    def answered(self, now: float) -> bool:
        """Forget failures; whether the device was lost. Then everything is due at once."""
        was_lost, self.failures, self.retry_at = self.lost, 0, -math.inf
        if was_lost:
            for poll in self.polls:
                poll.due = min(poll.due, now)
        return was_lost

    def bad(self, at: Instant) -> list[Reading]:
        """All that is polled, as lost."""
        return [reading for poll in self.polls for reading in poll.bad(at)]


class Poll:
    """The points of one device that have one period, in as few questions as their addresses allow.

    Between two questions anything more urgent may go first: `batch` gathers a round, `block` is its next question.
    """

    def __init__(self, device: Device, period: float, blocks: list[Block]) -> None:
        self.device = device
        self.period = period
        self.due = self._grid = -math.inf
        self.batch: list[Reading] = []
        self._blocks = blocks
        self._refused: list[Block] = []
        self._again = math.inf
        self._round: list[Block] = []

    def start(self, now: float, phase: float) -> None:
        """Due now, and then at a fixed rate from `now + phase` on, seconds."""
        self.due = now
        self._grid = now + phase

    @property
    def ready_at(self) -> float:
        return max(self.due, self.device.retry_at)

    @property
    def deadline(self) -> float:
        return self.due + self.period

    def block(self, now: float) -> Block | None:
        """The question to ask now; it stays the same until `answered`, `refused` or `abort`. None: all are refused."""
        if not self._round:
            self._round = list(self._blocks)
            if now >= self._again:
                self._round += self._refused
                self._again = now + _REFUSED_AGAIN
        return self._round[0] if self._round else None

    def answered(self, readings: list[Reading]) -> None:
        block = self._round.pop(0)
        self.batch += readings
        if block in self._refused:
            self._refused.remove(block)
            self._blocks.append(block)

    def refused(self, halves: list[Block], at: Instant, now: float) -> Block | None:
        """The slave does not have all of the block: ask for its `halves`, or give up the one point that is left."""
        block = self._round.pop(0)
        if halves:
            place = self._blocks.index(block)
            self._blocks[place : place + 1] = halves
            self._round[:0] = halves
            return None
        self.batch += block.bad(at)
        if block in self._refused:
            return None
        self._blocks.remove(block)
        self._refused.append(block)
        self._again = min(self._again, now + _REFUSED_AGAIN)
        return block

    def skip(self, at: Instant) -> None:
        """The slave said no for a reason of the moment: its points are bad in this round."""
        self.batch += self._round.pop(0).bad(at)

    @property
    def done(self) -> bool:
        return not self._round

    def finish(self, now: float) -> list[Reading]:
        """The round's readings; the next slot after `now` is when it is due again."""
        slots = math.floor((now - self._grid) / self.period) + 1
        self.due = self._grid + slots * self.period
        return self._take()

    def abort(self) -> list[Reading]:
        """Give up the round, still due; what was read is not lost."""
        self._round = []
        return self._take()

    def bad(self, at: Instant) -> list[Reading]:
        return [reading for block in (*self._blocks, *self._refused) for reading in block.bad(at)]

    def _take(self) -> list[Reading]:
        batch, self.batch = self.batch, []
        return batch


def spread(polls: Sequence[Poll], now: float, turn: float = 0.0) -> None:
    """Start all polls at once, for a first look, and spread those of one period evenly over it from then on.

    `turn` (0 to 1) is how far into its share of the period this line comes, so that lines do not all ask at once.
    """
    for period in {poll.period for poll in polls}:
        same = [poll for poll in polls if poll.period == period]
        for n, poll in enumerate(same):
            poll.start(now, period * (n + turn) / len(same))
