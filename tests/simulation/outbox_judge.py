"""What the outbox promises, checked by what was put into it and what the broker took.

The judge hears which number each reading got and which store goes on under another name, for nobody says the first
outside, and the record of the second may be lost; and nothing else of what the outbox knows.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from tests.simulation.judge import batch_of, wrote_last

__all__ = ["OutboxJudge"]

SLACK = 4.0
"""Seconds beyond the durability window: two passes of the outbox, and a slow disk."""
AWAY = 8.0
"""Seconds from a power cut until the next process begins, at the least."""
RETRY = 65.0
ANSWERED = 180.0
"""Seconds from a message to its acknowledgement, or until a link that is half open is given up."""
NOTED = 20.0
"""Seconds beyond the durability window until it is on flash that a message was taken."""
LEFT_ALONE = 900.0
"""Seconds for which a kind of messages that the broker refuses is left alone at the most."""
COUNTED = {"thinned", "quota", "age", "memory"}


class OutboxJudge:
    """Readings and events are numbered by us, in the order in which they were put. `broken` are broken promises."""

    def __init__(self, now: Callable[[], float], start_ms: int) -> None:
        self.now, self.start_ms = now, start_ms
        self.broken: list[str] = []
        self.window = 5.0
        self.kinds: set[str] = set()
        self.cuts: list[tuple[float, float, bool]] = []
        self.begun: list[float] = []
        """When a process began; `died` says when one ended, `parted` when a link did."""
        self.parted: list[float] = []
        self.died: list[float] = []
        self.run_was_full = False
        self.is_hurt: Callable[[], bool] = lambda: False
        """Whether the flash refuses to be written now; `hurt` are the spans in which it did."""
        self.hurt: list[tuple[float, float]] = []
        # what was put, by our number
        self.cls: list[int] = []
        self.at: list[float] = []
        self.key: list[tuple[str, int] | None] = []
        self.kept: list[bool] = []
        """Whether the outbox had taken it when the process went on."""
        self.came: dict[int, tuple[str, int]] = {}
        self.aggregated: set[int] = set()
        self.numbers: dict[str, dict[int, str | None]] = defaultdict(dict)
        """By store and number: its content, as it came."""
        self.away: set[str] = set()
        """Stores without durable numbers."""
        self._away: list[tuple[str, int, int, str, float]] = []
        """(store, first, last, kind, s) of what was numbered under those."""
        self._set_back: dict[str, list[float]] = defaultdict(list)
        """When the broker refused a message of a kind: others passed it by."""
        self.given: dict[str, int] = defaultdict(int)
        self.gaps: dict[tuple[str, int], dict[str, Any]] = {}
        self.told: Counter[str] = Counter()
        self.older: dict[str, str] = {}
        """Which store each goes on from."""
        self.lost = 0
        self.corners: set[str] = set()
        self._waiting: list[int] = []
        self._last: dict[tuple[int, str, str], int] = {}
        self._taken: dict[int, float] = {}
        """When the broker took it last."""
        self._refused: set[int] = set()
        """What was in a message that the broker refused."""
        self._lanes: dict[tuple[str, int, int], str] = {}
        self._copied: dict[str, int] | None = None
        self._copied_at = 0
        self._undone: list[tuple[str, int, int]] = []
        """(store, first, last): what was numbered by a state that somebody replaced by an older one."""
        self._gone: list[tuple[int, int]] = []
        """Our numbers of the same."""
        self._claimed: set[str] = set()
        """Stores of which the broker retains whose numbers went out last: it took the last claim."""
        self._compares = False
        """Whether an older state was put back that the broker has not heard yet."""
        self._unfindable: set[str] = set()
        """Stores of which the broker knew nothing when such a state came to it: they may have numbers twice."""

    def must(self, holds: object, what: str) -> None:
        if not holds and len(self.broken) < 1000:
            self.broken.append(f"at {self.now():.3f} s: {what}")

    @property
    def content(self) -> list[int]:
        """A place for each reading and event that was put."""
        return self.cls

    # -- what goes in ----------------------------------------------------------------------------------------------

    @staticmethod
    def value(v: int) -> float:
        """One that says which it is, and that does not compress well."""
        return v + v * 7919 % 1000 / 1000

    def make(self, cls: int, n: int, at: Any) -> range:
        """New readings, about to be put."""
        first = len(self.cls)
        self.cls += [cls] * n
        self.at += [self.now()] * n
        self.key += [None] * n
        self.kept += [False] * n
        self._waiting = list(range(first, first + n))
        return range(first, first + n)

    def make_event(self, at: Any) -> int:
        return self.make(0, 1, at)[0]

    def put_since(self, at: float) -> int:
        """How many readings and events were put since then."""
        return len(self.at) - bisect_left(self.at, at)

    def was_put(self, values: range) -> None:
        for v in values:
            self.kept[v] = True

    def put_event(self, v: int) -> None:
        self.kept[v] = True

    def watch(self, outbox: Any) -> None:
        """Hear which numbers are given, and in which lane they are sent."""
        numbers, take = outbox._writer.numbers, outbox._writer.numbers.take

        def heard(n: int, of: str) -> tuple[str, int]:
            store, first = take(n, of)
            kind = "event"
            if len(self._waiting) == n:
                for step, v in enumerate(self._waiting):
                    self.key[v] = store, first + step
                    kind = "telemetry" if self.cls[v] else "event"
                self._waiting = []
            if store != numbers.store:
                self.away.add(store)
                self._away.append((store, first, first + n - 1, kind, self.now()))
            self.given[store] = max(self.given[store], first + n - 1)
            return store, first

        numbers.take = heard
        send = outbox.take

        async def taken() -> Any:
            message = await send()
            entry = outbox._writer.in_flight[message.token]
            self._lanes[entry.store, message.first, message.last] = message.lane
            return message

        outbox.take = taken

    def copied(self) -> None:
        """What was still on the stage is not in a copy of the flash, nor is what the flash did not take.

        No process runs now, and perhaps none has for a while.
        """
        wrote = wrote_last(self.died[-1], self.begun, self.died) if self.died else self.now()
        since = 0.0 if self._was_hurt() else wrote - self.window - SLACK
        self._copied, self._copied_at = dict(self.given), bisect_left(self.at, since)

    def put_back(self) -> None:
        assert self._copied is not None
        self._undone += [(store, self._copied.get(store, 0) + 1, last) for store, last in self.given.items()]
        self._gone.append((self._copied_at, len(self.cls)))
        self._unfindable |= self.given.keys() - self._claimed
        self._compares = True
        self._last.clear()  # what the newer state had thinned or not sent, the older one still has

    def forgot(self) -> None:
        """The broker knows nothing any more."""
        self._claimed.clear()
        if self._compares:
            self._unfindable |= self.given.keys()

    # -- what comes out --------------------------------------------------------------------------------------------

    def took(self, topic: str, payload: bytes, retain: bool) -> None:
        kind = topic.split("/", 3)[3]
        if kind == "telemetry":
            self._telemetry(payload)
        elif kind == "event":
            event = json.loads(payload)
            store, number = event["k"]
            said = {name: event[name] for name in ("kind", "code", "subject", "detail")}
            new = self._content(store, number, json.dumps(said))
            if event["kind"] == "gap" and new:
                self.gaps[store, number] = event["detail"]
                self.told[event["code"]] += 1
                self._gap(event["code"], event["detail"])
            elif event["code"] == "n":
                self._arrived(event["detail"]["n"], store, number, "live")
                self._dated(event["detail"]["n"], event)
        elif kind == "state/store":
            claim = json.loads(payload)
            self._claimed, self._compares = {claim["store"], *claim["others"]}, False

    def refused(self, topic: str, payload: bytes) -> None:
        """The broker did not take a message: what is in it comes later than what was under way behind it."""
        kind = topic.split("/", 3)[3]
        self._set_back[kind].append(self.now())
        if kind == "telemetry":
            for entries in batch_of(payload)["p"].values():
                self._refused.update(int(value) for _, value, *_ in entries if not isinstance(value, list))
        elif kind == "event":
            event = json.loads(payload)
            if event["code"] == "n":
                self._refused.add(event["detail"]["n"])
        elif kind == "state/store":  # numbers go on without it: who has no right to claim delivers all the same
            self._claimed.discard(json.loads(payload)["store"])

    def _gap(self, code: str, gap: dict[str, Any]) -> None:
        if "first" in gap:
            self.must(0 < gap["first"] <= gap["last"], f"a gap of nothing: {gap}")
            wide = gap["last"] - gap["first"] + 1
            self.must(gap["count"] is None or 0 < gap["count"] <= wide, f"a gap of more than there is: {gap}")
        if code == "stage_cut" and gap["count"] is not None:
            # a gap record has a number before the transaction that it is told in: what it would have told comes again
            own = gap["count"] == 1 and self._refused
            self.must(self.run_was_full or own, f"lost by a kill with room on the stage: {gap}")

    def _telemetry(self, payload: bytes) -> None:
        batch = batch_of(payload)
        store, first, last = batch["k"]
        lane = self._lanes.get((store, first, last), "live")
        ms0 = batch["t"] if batch["t"] is not None else batch["boottime_ms"]
        rows = []
        for point, entries in batch["p"].items():
            at, number = ms0, first
            for step, value, more, *rest in entries:
                at, number = at + step, number + more
                rows.append((number, point, value, rest, at))
        rows.sort(key=lambda row: row[0])
        self.must(rows and first <= rows[0][0] and rows[-1][0] <= last, f"a batch leaves its range: {batch['k']}")
        for number, point, value, rest, at in rows:
            if isinstance(value, list):
                self.corners.add("aggregate")
                self._aggregate(store, number, value)
                continue
            self._content(store, number, f"{point} {value} {rest}")
            v = int(value)
            self.must(0 <= v < len(self.cls) and self.value(v) == value, f"{value} was never put")
            self._arrived(v, store, number, lane)
            if batch["t"] is not None:
                self._timed(v, at)

    def _aggregate(self, store: str, number: int, value: list[Any]) -> None:
        low, mean, high, last, count = value
        v = int(last)
        known = self.numbers[store].get(number)
        self.numbers[store][number] = known or f"aggregate {last}"
        self.must(low <= mean <= high and low <= last <= high and count >= 1, f"an odd aggregate {value}")
        self.aggregated.add(v)
        self._is_its(v, store, number)

    def _content(self, store: str, number: int, content: str) -> bool:
        """Whether it is new."""
        known = self.numbers[store].get(number)
        self.numbers[store][number] = content
        if known in (None, content):
            return known is None
        if not known.startswith("aggregate") and store not in self._unfindable:
            self.must(False, f"{store} {number} with two contents: {known[:300]} and {content[:300]}")
        return store in self._unfindable

    def _arrived(self, v: int, store: str, number: int, lane: str) -> None:
        self._is_its(v, store, number)
        before, self._taken[v] = self._taken.get(v), self.now()
        if before is not None:
            known = self._is_unsure(before)
            self.must(known, f"{v} came again, which was taken at {before:.1f} s, and neither link nor process ended")
        if v in self.came:
            return
        self.came[v] = store, number
        cls = self.cls[v]
        before = self._last.get((cls, lane, store), -1)
        if v < before and v not in self._refused:
            ages = f"{self.at[v]:.0f} s after {before} of {self.at[before]:.0f} s"
            self.must(False, f"{v} of class {cls} came out of order, {lane}: {ages}")
        if cls or not self._was_hurt():  # while the flash fails, events go past those that it holds
            self._last[cls, lane, store] = max(before, v)

    def _is_unsure(self, at: float) -> bool:
        """Whether it may be forgotten that the broker took a message then.

        The link ended before its acknowledgement came, or the process before it could write so; or the flash failed, if
        only until the power was cut.
        """
        dead = "flash_dead" in self.kinds  # what has failed for hours is in `hurt` when it is over
        told, noted = at + ANSWERED, self.now() if dead else at + self.window + NOTED
        ended = any(bisect_left(times, at) < bisect_right(times, until)
                    for times, until in ((self.parted, told), (self.died, noted)))  # fmt: skip
        failed = [end + RETRY for _, end in self.hurt] + [cut for _, cut, was_hurt in self.cuts if was_hurt]
        return ended or bool(self._gone) or self._was_hurt() or any(end >= at for end in failed)

    def _was_hurt(self) -> bool:
        """Or was a moment ago; what was on its way when the power was cut arrives before the next process begins."""
        now = self.now()
        cut = any(at <= now <= at + AWAY for _, at, was_hurt in self.cuts if was_hurt)
        return cut or self.is_hurt() or any(begin <= now <= end + RETRY for begin, end in self.hurt)

    def _is_its(self, v: int, store: str, number: int) -> None:
        key = self.key[v]
        self.must(key is not None and key[1] == number, f"{v} was {key} and came as {store} {number}")

    def _dated(self, v: int, event: dict[str, Any]) -> None:
        if event["t"] is not None:
            self._timed(v, event["t"])

    def _timed(self, v: int, ms: int) -> None:
        if "clock_step" not in self.kinds:
            true = self.start_ms + self.at[v] * 1000
            self.must(abs(true - ms) <= 5, f"{v} was put at {true:.0f} and is dated {ms}")

    # -- at the end --------------------------------------------------------------------------------------------

    def finish(self) -> None:
        by_store: dict[str, list[tuple[int, int, dict[str, Any]]]] = defaultdict(list)
        for gap in self.gaps.values():
            if gap.get("store") and "first" in gap:
                by_store[gap["store"]].append((gap["first"], gap["last"], gap))
        corrupt = [gap for gap in self.gaps.values() if gap["reason"] == "store_corrupt" and not gap.get("store")]
        uncounted: Counter[str] = Counter()
        passed_by = self._passed_by()
        for v, cls in enumerate(self.cls):
            if v in self.came or not self.kept[v]:
                continue
            key = self.key[v]
            assert key is not None
            if v in self.aggregated:
                continue
            self.lost += 1
            if corrupt or any(first <= v < end for first, end in self._gone):
                continue
            if key[0] in self.away and key[1] > max(self.numbers[key[0]], default=0) and self._is_forgotten(v):
                continue
            if any(first <= key[1] <= last for first, last in passed_by[key[0]]):
                continue
            if key[0] in self.away and self.run_was_full:  # neither the flash nor the stage could know of it
                continue
            told = (one for name in self._names(key[0]) for one in by_store[name])
            covering = [gap for first, last, gap in told if first <= key[1] <= last]
            fitting = [gap for gap in covering if self._fits(gap, cls)]
            what = f"{v} (class {cls}, {self.at[v]:.1f} s, {key})"
            self.must(fitting, f"{what} neither came nor was told: {covering[:3]}")
            if fitting and all(gap["reason"] in COUNTED for gap in fitting):
                uncounted[key[0]] += 1
            if fitting and all(gap["reason"] == "power_cut" for gap in fitting):
                self._may_be_cut(v)
        for store, n in uncounted.items():
            gaps = [gap for name in self._names(store) for _, _, gap in by_store[name]]
            told = sum(gap["count"] or gap["last"] - gap["first"] + 1 for gap in gaps if gap["reason"] in COUNTED)
            self.must(told >= n, f"{n} of {store} are gone, {told} were told")
        for store, runs in self._holes(by_store, passed_by):
            if not corrupt:
                self.must(False, f"numbers of {store} neither came nor were told: {runs[:5]}")

    def _names(self, store: str) -> list[str]:
        """It, and those that went on with its numbers: we do not hear under which name a number is told."""
        return [store, *(name for new, old in self.older.items() if old == store for name in self._names(new))]

    @staticmethod
    def _fits(gap: dict[str, Any], cls: int) -> bool:
        """A message that was under way when it was stored counts as the most precious class in it."""
        told = gap.get("class")
        return told is None or told <= cls

    def _is_forgotten(self, v: int) -> bool:
        """Numbered under a store that the flash never heard of: after a power cut nobody knows how far it went.

        No later number of it came, so no consumer misses one.
        """
        return any(self.at[v] <= cut and self._may_take(v, died, cut, hurt) for died, cut, hurt in self.cuts)

    def _passed_by(self) -> dict[str, list[tuple[int, int]]]:
        """Numbers (first, last) by store that are forgotten, though later ones came: the broker refused their kind."""
        passed: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for store, first, last, kind, at in self._away:
            died, cut, hurt = next((one for one in self.cuts if at <= one[1]), (0.0, 0.0, False))
            refused = self._set_back[kind]
            was_refused = bisect_left(refused, at - LEFT_ALONE) < bisect_right(refused, cut)
            if was_refused and self._is_kept_back(at, died, hurt):
                passed[store].append((first, last))
        return passed

    def _is_kept_back(self, at: float, died: float, was_hurt: bool) -> bool:
        """Whether the flash could not take what was put then before the cut."""
        return was_hurt or any(begin <= died and end + RETRY >= at for begin, end in self.hurt)

    def _may_take(self, v: int, died: float, cut: float, was_hurt: bool) -> bool:
        """A power cut takes what was put in the window before it, and what the flash could not take."""
        since = cut if self.cls[v] == 0 else wrote_last(died, self.begun, self.died) - self.window - SLACK
        return self.at[v] >= since or self._is_kept_back(self.at[v], died, was_hurt)

    def _may_be_cut(self, v: int) -> None:
        """What was told lost in a power cut was put before one that may take it."""
        if self.run_was_full:  # a start finds nothing, as after a power cut
            return
        for died, cut, was_hurt in self.cuts:
            if self.at[v] > cut:
                continue
            what = f"{v} (class {self.cls[v]}, {self.at[v]:.1f} s) was lost by the cut at {died:.1f} s"
            self.must(self._may_take(v, died, cut, was_hurt), what)
            return
        self.must(False, f"{v} ({self.at[v]:.1f} s) was told lost in a power cut, and there was none")

    def _holes(
        self, by_store: dict[str, list[tuple[int, int, dict[str, Any]]]], passed_by: dict[str, list[tuple[int, int]]]
    ) -> Iterator[tuple[str, list[Any]]]:
        for store, numbers in self.numbers.items():
            spans = [(n, n) for n in numbers] + [(first, last) for first, last, _ in by_store[store]]
            youngest = max((last for _, last in spans), default=0)  # nobody misses what lies beyond it
            spans += [(first, last) for first, last in self._untold(store) if first < youngest]
            spans += [(first, last) for first, last in passed_by[store] if first < youngest]
            reached, runs = 0, []
            for first, last in sorted(spans):
                if first > reached + 1:
                    runs.append((reached + 1, first - 1))
                reached = max(reached, last)
            before = self._copied_from(store)
            runs = [(first, last) for first, last in runs if last > before]
            if runs and not (store in self.away and self.run_was_full):
                yield store, runs

    def _untold(self, store: str) -> Iterator[tuple[int, int]]:
        """What a newer state numbered and the older one cannot tell of: the store is new to it, or nobody finds it."""
        for name, first, last in self._undone:
            if name == store and (first == 1 or store in self._unfindable):
                yield first, last

    def _copied_from(self, store: str) -> int:
        """Of a store that others were renamed to, what was before the first of its numbers is not its own."""
        return min(self.numbers[store]) - 1 if store in self.older else 0
