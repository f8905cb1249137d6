"""When which device is asked what: fixed rates with spread phases, and backoff for a device that is gone.

Of the polls that are due the fast ones go first, so that they keep their period on a line that is asked too much. The
slow ones share what is left, each by how many of its periods it has waited; after eight it goes before the fast ones,
with every second question at the most. A slot that was missed is skipped, not made up for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.lib.backoff import Backoff
from agent.model import Instant, Reading
from drivers.api import DeviceSpec
from drivers.modbus.plan import Register, RegisterBlock
from drivers.modbus.stats import DeviceStats

__all__ = ["FAILURES", "Poll", "PolledDevice", "Turns", "spread"]

FAILURES = 3
"""Failures in a row after which a device counts as gone and its points turn bad."""
_SILENT = 2
"""Questions in a row without an answer, writes too, after which a device is silent: one may be chance."""
_RETRY = 1.0  # s, after a failure, and the first step of the backoff
_BACKOFF_MOST = 60.0  # s
_REFUSED_AGAIN = 600.0  # s, until a point that the slave does not know is asked for again
_SILENT_AGAIN = 10.0  # s, until a block that it passes over in silence is: each try costs a timeout
_SILENT_MOST = 5  # times in a row, until it does: on a bad line one answer in two may be lost
_FAILED_AGAIN = 10.0  # s, until a point that the slave fails to give is
_FAST = 2.0  # times the shortest period of the line: polls up to that are the fast ones
_STARVED = 8.0  # periods that a slow poll waits at the most; with the slots around them it is read every ten
_OVERLOADED, _RELIEVED = 2.0, 1.5  # periods between two reads of one poll: from where on, and until when
_SMOOTH = 4  # rounds over which the time between two reads is smoothed


class PolledDevice:
    """One slave on the line: what it has, how it is, and when it is asked again (`retry_at`, clock.monotonic)."""

    def __init__(self, spec: DeviceSpec, registers: Sequence[Register], guard: float) -> None:
        self.spec = spec
        self.name = spec.name
        self.unit: int = spec.address["unit_id"]
        self.registers = registers
        self.guard = guard
        self.stats = DeviceStats(spec.name)
        self.polls: list[Poll] = []
        self.failures = 0
        self.unanswered = 0
        """Questions in a row without an answer."""
        self.heard = False
        """Whether it has answered since the start."""
        self.unread: set[str] = set()
        """The polled points of which it is not known yet, since the start, whether they can be read."""
        self.sole = False
        """Whether it is the only unit that is configured on its host."""
        self.reason = ""
        """Why it did not answer last; "" if it did."""
        self.remark = ""
        """The oddity of its answers, which are taken all the same."""
        self.retry_at = -math.inf
        self._backoff = Backoff(_RETRY, _BACKOFF_MOST)
        self.unknown: set[int] = set()
        """Functions that the slave does not take: others are used in their place."""
        self.refused: dict[str, str] = {}
        """The points that cannot be read though the slave answers, and why."""

    @property
    def lost(self) -> bool:
        return self.failures >= FAILURES

    @property
    def silent(self) -> bool:
        return self.unanswered >= _SILENT

    @property
    def backoff(self) -> float:
        """Seconds until the next attempt: one failure may be chance, a lost device waits 1 s, 2 s … 60 s."""
        delay = self._backoff.delay
        fastest = min((poll.period for poll in self.polls), default=_RETRY)
        delay = delay if self.lost else min(delay, fastest)
        return delay if self.spec.output_watchdog is None else min(delay, self.spec.output_watchdog / 3)

    def failed(self, now: float) -> bool:
        """Count a failure; whether the device is lost by just this one."""
        self.failures += 1
        if self.failures > FAILURES:
            self._backoff.next()
        self.retry_at = now + self.backoff
        return self.failures == FAILURES

    def answered(self, now: float) -> bool:
        """Forget failures; whether the device was lost. Then everything is due at once."""
        was_lost, self.failures, self.retry_at = self.lost, 0, -math.inf
        self._backoff.reset()
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

    def __init__(self, device: PolledDevice, period: float, blocks: list[RegisterBlock]) -> None:
        self.device = device
        self.period = period
        self.due = self._grid = -math.inf
        self.batch: list[Reading] = []
        self.stretch = 1.0
        """How many of its periods lie between two of its reads, smoothed; 1 where it keeps its period."""
        self.measured = 0
        """How often `stretch` was measured."""
        self._finished: float | None = None
        self._blocks = blocks
        self._refused: dict[RegisterBlock, float] = {}
        self._halved: dict[RegisterBlock, tuple[RegisterBlock, list[RegisterBlock]]] = {}
        self._failing: list[RegisterBlock] = []
        self._silent: dict[RegisterBlock, int] = {}
        self._gives = False
        self._round: list[RegisterBlock] = []

    def start(self, now: float, phase: float) -> None:
        """Due now, and then at a fixed rate from `now + phase` on, seconds."""
        self.due = now
        self._grid = now + phase

    @property
    def ready_at(self) -> float:
        return max(self.due, self.device.retry_at)

    def block(self, now: float) -> RegisterBlock | None:
        """The question to ask now; it stays the same until `answered`, `refused` or `abort`. None: all are refused."""
        if not self._round:
            self._halved, self._failing, self._gives = {}, [], False
            self._round = [*self._blocks, *(block for block, again in self._refused.items() if now >= again)]
        return self._round[0] if self._round else None

    def answered(self, readings: list[Reading]) -> None:
        block = self._round.pop(0)
        self._keep(block)
        self._gives = True
        self._silent.pop(block, None)
        self.batch += readings
        if self._refused.pop(block, None) is not None:
            self._blocks.append(block)

    def refused(
        self, halves: list[RegisterBlock], at: Instant, now: float, failure: bool = False
    ) -> list[RegisterBlock]:
        """The slave does not give all of the block: ask for its `halves`, or give up the one point that is left.

        Returns what is given up by this. A `failure` may be the slave's own and of the moment: then nothing changes
        unless it answers something else in the same round, and what is given up is asked for again soon.
        """
        block = self._round.pop(0)
        if halves:
            self._halved |= dict.fromkeys(halves, (block, halves))
            self._round[:0] = halves
            if not failure or block in self._refused:
                self._keep(halves[0])
            return []
        self.batch += block.bad(at)
        if block in self._refused:
            self._refused[block] = now + (_FAILED_AGAIN if failure else _REFUSED_AGAIN)
        elif failure or block in self._halved:
            self._failing.append(block)
        else:
            return self._give_up([block], now + _REFUSED_AGAIN)
        return []

    def unanswered(self, at: Instant, now: float) -> list[RegisterBlock] | None:
        """No answer to the question, though the slave answered the one before: what is given up by this, if anything.

        None where it may be the slave that is gone: the block comes last in the next round, so that others tell.
        """
        block = self._round[0]
        again = now + _SILENT_AGAIN
        if block in self._refused:
            self._refused[block] = again
        elif block not in self._blocks or self._silent.get(block, 0) + 1 < _SILENT_MOST:
            self._silent[block] = self._silent.get(block, 0) + 1
            self.put_last()
            return None
        self.batch += self._round.pop(0).bad(at)
        self._silent.pop(block, None)
        return [] if block in self._refused else self._give_up([block], again)

    def put_last(self) -> None:
        """From the next round on ask for the others before the block that is asked now."""
        block = self._round[0]
        if block in self._blocks:
            self._blocks.remove(block)
            self._blocks.append(block)

    def settle(self, now: float) -> list[RegisterBlock]:
        """At the end of a round: what failed in it. If the slave gave something else, that is given up for a while."""
        failing, self._failing = self._failing, []
        return self._give_up(failing, now + _FAILED_AGAIN) if self._gives else failing

    def _give_up(self, blocks: list[RegisterBlock], again: float) -> list[RegisterBlock]:
        for block in blocks:
            self._keep(block)
            self._blocks.remove(block)
            self._refused[block] = again
        return blocks

    def _keep(self, half: RegisterBlock) -> None:
        """From now on the halves of a block are asked for in its place."""
        if half not in self._halved:
            return
        whole, halves = self._halved[half]
        self._keep(whole)
        place = len(self._blocks) if self._refused.pop(whole, None) else self._blocks.index(whole)
        self._blocks[place : place + 1] = halves
        for one in halves:
            del self._halved[one]

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
        if self.due <= now:  # by the last bit: the division came out one too low
            self.due += self.period
        if self._finished is not None:
            self.stretch += (max(1.0, (now - self._finished) / self.period) - self.stretch) / _SMOOTH
            self.measured += 1
        self._finished = now
        return self._take()

    def abort(self) -> list[Reading]:
        """Give up the round, still due; what was read is not lost. Such a round does not count as stretched."""
        self._round = []
        self._finished = None
        return self._take()

    def bad(self, at: Instant) -> list[Reading]:
        return [reading for block in (*self._blocks, *self._refused) for reading in block.bad(at)]

    def _take(self) -> list[Reading]:
        batch, self.batch = self.batch, []
        return batch


class Turns:
    """The order in which the polls of all devices take turns on a line."""

    def __init__(self, devices: Sequence[PolledDevice]) -> None:
        self._devices = devices
        self._fast = _FAST * min((poll.period for device in devices for poll in device.polls), default=0.0)
        self._starved = False
        self._overloaded: bool | None = None

    def next(self, now: float) -> tuple[Poll | None, float]:
        """The poll to ask now, if one is due, and when the next of the others is."""
        ready, first, rest = None, (math.inf, 0.0), math.inf
        for device in self._devices:
            for poll in device.polls:
                at = poll.ready_at
                if at > now:
                    rest = min(rest, at)
                elif (rank := self._rank(poll, now - at)) < first:
                    ready, first = poll, rank
        self._starved = ready is not None and first[0] == 0
        return ready, rest

    def _rank(self, poll: Poll, waited: float) -> tuple[float, float]:
        periods = waited / poll.period
        if poll.period <= self._fast:
            return 1, -periods
        return 0 if periods >= _STARVED and not self._starved else 2, -periods

    @property
    def stretch(self) -> float:
        """How many of its periods lie between two reads of the slowest poll that is answered; 1: all keep theirs."""
        worst = 1.0
        for device in self._devices:
            if not device.failures:
                for poll in device.polls:
                    worst = max(worst, poll.stretch)
        return worst

    @property
    def overloaded(self) -> bool | None:
        """Whether the line is asked more than it can carry: some poll is read at every second slot or more seldom.

        None: not known yet, since the start.
        """
        stretch = self.stretch
        if stretch >= (_RELIEVED if self._overloaded else _OVERLOADED):
            self._overloaded = True
        elif self._overloaded or (self._overloaded is None and stretch < _RELIEVED and self._are_measured()):
            self._overloaded = False
        return self._overloaded

    def _are_measured(self) -> bool:
        return all(poll.measured >= _SMOOTH for one in self._devices if not one.failures for poll in one.polls)


def spread(polls: Sequence[Poll], now: float, turn: float = 0.0) -> None:
    """Start all polls at once, for a first look, and spread those of one period evenly over it from then on.

    `turn` (0 to 1) is how far into its share of the period this line comes, so that lines do not all ask at once.
    """
    for period in {poll.period for poll in polls}:
        same = [poll for poll in polls if poll.period == period]
        for n, poll in enumerate(same):
            poll.start(now, period * (n + turn) / len(same))
