"""The contract, checked by what the broker took and what the slaves saw: never by what the agent says of itself."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FINAL", "RETRY", "STARTS", "Judge", "batch_of", "command_of", "level_of", "wrote_last"]

MOMENTS = {"store_corrupt", "command_retained", "uplink_set_aside", "meter_replaced", "tamper"}
"""Alarms that happen and are over (docs/alarms.md): nothing clears them."""
OVER = {
    "device_lost", "points_refused", "output_mismatch", "crash_loop", "disk_full", "config_invalid", "clock_untrusted",
    "link_down", "uplink_refused", "identity_taken",
}  # fmt: skip
"""Alarms of what the faults bring about: half an hour after the last one they have ended."""
WINDOW = 6.0
"""Seconds of readings that a power cut may take: the durability window, and a second for the way there."""
MOMENT = 9.0
"""Seconds between telling an alarm and having it on flash: two jobs of a slow disk."""
KNOWN = 60.0
"""Seconds from the begin of a process until it knows whether what was wrong before it is over."""
ON_ITS_WAY = 30.0
STARTS = 4.0
"""Seconds from the begin of a process until what it found on the stage is on flash."""
RETRY = 65.0
"""Seconds between two attempts at a flash that failed, at the most."""
DATES = {"t", "boot", "boottime_ms", "clock", "t_min", "t_max"}
FINAL = {"rejected", "expired", "verified", "mismatch", "failed", "unknown"}
STEPS = ("accepted", "applied", "verified")
"""Of a command that succeeds; each is told once it was taken."""

LEVELS, STRIDE = 59_999, 7919


def level_of(number: int) -> int:
    """What the command of this number asks of the dimmer: each another level, far from those before (1 to 59,998)."""
    return number * STRIDE % LEVELS


def command_of(level: int) -> int:
    """The number of the command that asked for this level."""
    return level * pow(STRIDE, -1, LEVELS) % LEVELS


@dataclass
class Judge:
    """Takes each message in the order of its acknowledgement. `broken` are the promises that did not hold."""

    now: Any
    content: dict[tuple[str, int], str] = field(default_factory=dict)
    undated: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """Records that came without a date."""
    gaps: list[dict[str, Any]] = field(default_factory=list)
    events: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    results: dict[str, dict[tuple[str, int], dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    taken: dict[str, float] = field(default_factory=dict)
    """Commands that the agent has acknowledged, and when (virtual s)."""
    ended: set[str] = field(default_factory=set)
    """Commands of which an end was told, with a key of its own or without."""
    unheard: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Ends that the broker refused, and their numbers."""
    counts: set[int] = field(default_factory=set)
    made_up: Collection[int] = ()
    """Counts that noise made up, or will."""
    polls: dict[tuple[str, int], int] = field(default_factory=dict)
    """Which number has which count of the slave's: when it was given is known by that."""
    dates: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What was told of the time of a poll: `t`, or `boot` and `boottime_ms`, with `clock` and its bounds."""
    heard: dict[tuple[str, int], list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    """Counts of other devices by point and count, with their numbers."""
    offered: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """Counts that the broker refused, and their numbers: a gap record may name those instead."""
    turned_down: set[str] = field(default_factory=set)
    """Commands of which the broker refused a result: a gap record may be all that is heard of them."""

    index: dict[tuple[str, int], float] = field(default_factory=dict)
    """What the index of the water meter was said to be, by number."""
    broken: list[str] = field(default_factory=list)
    duplicates: int = 0
    is_hurt: Callable[[], bool] = lambda: False
    """Whether the flash refuses to be written, or did so lately: records go past those that it holds."""
    declined: set[tuple[str, int]] = field(default_factory=set)
    """Numbers of records that the broker refused: they come later than those behind them."""
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    """By store and kind of topic: the highest number of a record that came."""

    def must(self, holds: object, what: str) -> None:
        if not holds:
            self.broken.append(f"at {self.now():.3f} s: {what}")

    def took(self, topic: str, payload: bytes, retain: bool) -> None:
        """The broker has acknowledged a message."""
        kind = topic.split("/", 3)[3]
        if kind == "telemetry":
            self._telemetry(payload)
        elif kind == "event":
            event = json.loads(payload)
            if self._record(event, payload):
                self._in_order("event", event)
                self.events[tuple(event["k"])] = event
                if event["kind"] == "gap":
                    self.gaps.append(event["detail"])
                what = event["detail"].get("what", "") if event["code"] == "store_corrupt" else ""
                self.must("readable" not in what and "corrupt" not in what, what)  # no card lies here
        elif kind.startswith("cmd/"):
            result = json.loads(payload)
            if _is_end(result):
                self.ended.add(result["id"])
            if "k" in result and not self._was_half_written(result) and self._record(result, payload):
                self._in_order("cmd", result)
                self.results[result["id"]][tuple(result["k"])] = result

    def _in_order(self, kind: str, record: dict[str, Any]) -> None:
        """Records of a kind come in the order of their numbers (docs/outbox.md)."""
        store, number = record["k"]
        newest = self.newest.get((store, kind), 0)
        kept = number > newest or (store, number) in self.declined or self.is_hurt()
        self.must(kept, f"record {number} came after {newest}")
        if not self.is_hurt():
            self.newest[store, kind] = max(number, newest)

    def refused(self, topic: str, payload: bytes) -> None:
        """The broker did not take a message: for good, if a gap record says so later."""
        if topic.split("/", 3)[3].startswith(("event", "cmd/")) and "k" in (record := json.loads(payload)):
            self.declined.add((record["k"][0], record["k"][1]))
        if topic.endswith("/result"):
            self.turned_down.add(topic.split("/")[-2])

            result = json.loads(payload)
            if _is_end(result) and "k" in result:
                self.unheard[result["id"]] = result["k"][0], result["k"][1]
        if not topic.endswith("/telemetry"):
            return
        batch = batch_of(payload)
        for point, entries in batch["p"].items():
            number = batch["k"][1]
            for _, value, more, *_ in entries if point.endswith(".count") else ():
                number += more
                if isinstance(value, int):
                    self.offered[point, value] = batch["k"][0], number

    def _is_told(self, point: str, count: int) -> bool:
        return self._in_a_gap(self.offered.get((point, count), ("", 0)))

    def _in_a_gap(self, key: tuple[str, int]) -> bool:
        store, number = key
        return any(gap.get("store") == store and gap.get("first", 1) <= number <= gap.get("last", 0)
                   for gap in self.gaps)  # fmt: skip

    def _telemetry(self, payload: bytes) -> None:
        batch = batch_of(payload)
        store, first, last = batch["k"]
        numbers = []
        for point, entries in batch["p"].items():
            at, number = batch["t"] if batch["t"] is not None else batch["boottime_ms"], first
            for step, value, more, *rest in entries:
                at, number = at + step, number + more
                numbers.append(number)
                if "agg" in batch and isinstance(value, list):
                    continue  # it stands for others, which a gap names
                key, good = (store, number), not rest or rest[0] == "good"
                if value is None and good:
                    self.must(False, f"{point} is good, and has no value")
                if not self._key(key, repr([point, value, rest])) or value is None:
                    continue
                if point == "well-water":
                    self.index[key] = value
                elif good and point.endswith((".count", "-ct")):
                    self._counted(point, value, key)
                    if point == "m.count":
                        self.dates[value] = _date(batch, at)
        self.must(numbers and min(numbers) >= first and max(numbers) <= last, f"a batch leaves its range: {batch['k']}")

    def _counted(self, point: str, count: int, key: tuple[str, int]) -> None:
        if point == "m.count":
            self.counts.add(count)
            self.polls[key] = count
        else:
            self.heard[point, count].append(key)

    def _was_half_written(self, result: dict[str, Any]) -> bool:
        """Whether its acceptance could not be synced, so that it was refused, and was on flash nevertheless."""
        refused = json.loads(self.content.get(tuple(result["k"]), "{}"))
        known = str(refused.get("reason", "")).startswith("this cannot be recorded: ")
        return known and result["state"] == "accepted" and result["id"] == refused["id"]

    def _record(self, record: dict[str, Any], payload: bytes) -> bool:
        """Whether it is new. A date, or its bounds, may have become known since it came first (docs/outbox.md)."""
        key = tuple(record["k"])
        first = self.undated.get(key)
        if first is None and record.get("t", 0) is None:
            self.undated[key] = record
        if first is not None and record != first and _without_date(record) == _without_date(first):
            self.duplicates += 1
            moment = ("boot", "boottime_ms")
            same = record["t"] is not None or all(record[name] == first[name] for name in moment)
            self.must(same, f"number {key} came from two moments: {first} and {record}")
            return False
        return self._key((key[0], key[1]), payload.decode())

    def _key(self, key: tuple[str, int], text: str) -> bool:
        """Whether it is new. A number twice must have one content."""
        known = self.content.get(key)
        if known is None:
            self.content[key] = text
            return True
        self.duplicates += 1
        self.must(known == text, f"number {key} came with two contents: {known[:200]} and {text[:200]}")
        return False

    # -- at the end ------------------------------------------------------------------------------------------------

    def missing(self) -> dict[str, list[tuple[int, int]]]:
        """Runs of numbers, by store, that neither came nor were told as lost."""
        by_store: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for store, number in self.content:
            by_store[store].append((number, number))
        for gap in self.gaps:
            if gap.get("store") and "first" in gap:
                by_store[gap["store"]].append((gap["first"], gap["last"]))
        found = {}
        for store, spans in by_store.items():
            runs, reached = [], self._before(store)
            for first, last in sorted(spans):
                if first > reached + 1:
                    runs.append((reached + 1, first - 1))
                reached = max(reached, last)
            if runs:
                found[store] = runs
        return found

    def _before(self, store: str) -> int:
        """Up to which number none is of this store: one that takes another's place goes on from the numbers of that."""
        moves = (event for event in self.events.values() if event["code"] == "store_moved")
        if not any(move["detail"]["store"] == store for move in moves):
            return 0
        return min(number for name, number in self.content if name == store) - 1

    def alarms(
        self, answers: Any, deaths: list[float], hurt: list[tuple[float, float]], begun: Collection[float] = ()
    ) -> None:
        """Each is raised and cleared in turn, in the order of its numbers.

        Where a number in between was told as lost nobody knows. A process that died while the flash could not be
        written could not remember what it had told, and its successor tells it again; so it does where the process died
        in the moment between the telling and the remembering. It is remembered before it is told, too: who died in
        between left an alarm that nobody heard of, and its successor, who cannot know, tells the end as soon as it is
        known to be over. Successors began at `begun` (virtual s). Numbers of two stores have no order: what is missing
        between two of one store may have come under another, once.
        """
        forgot, read = _forgetful(deaths, hurt), self._moments(answers)
        gone = [(gap["store"], gap["first"], gap["last"]) for gap in self.gaps if gap.get("store") and "first" in gap]
        told = [(key, event) for key, event in sorted(self.events.items())
                if event["kind"] in ("alarm", "cleared") and event["code"] not in MOMENTS]  # fmt: skip
        stores: dict[tuple[str, str], set[str]] = defaultdict(set)
        for (store, _), event in told:
            stores[event["code"], event["subject"]].add(store)
        single = _single(told)
        last: dict[tuple[str, str], tuple[str, int, str]] = {}
        for (store, number), event in told:
            name = event["code"], event["subject"]
            before_store, before, kind = last.get(name, (store if len(stores[name]) == 1 else "", 0, "cleared"))
            last[name] = store, number, event["kind"]
            if kind != event["kind"] or before_store != store:
                continue
            since, (first, until) = _between(read[store], before)[0], _between(read[store], number)
            lost = any(one == store and low < number and high > before for one, low, high in gone)
            again = any(since <= death <= until for death in forgot)
            again = again or any(since <= death <= _between(read[store], before)[1] + MOMENT for death in deaths)
            again = again or (kind == "cleared" and any(first <= death <= until for death in deaths))
            again = again or (kind == "cleared" and any(first - KNOWN <= at <= until for at in begun))
            if not (lost or again):
                lost = self._elsewhere(event, store, before, single)
            self.must(lost or again, f"{kind} {name} twice, as {before} and {number}, {since:.0f} s to {until:.0f} s")

    def _elsewhere(self, event: dict[str, Any], store: str, before: int, single: list[dict[str, Any]]) -> bool:
        """Whether what lies between an alarm or its end and the one `before` it came under another store.

        If so, it is one of `single` no more.
        """
        since, until = self.events.get((store, before), {"t": None})["t"], event["t"]
        others = (
            one for one in single
            if one["k"][0] != store and _about(one) == _about(event) and one["kind"] != event["kind"]
        )  # fmt: skip
        between = (one for one in others if None in (since, one["t"], until) or since <= one["t"] <= until)
        if (found := next(between, None)) is not None:
            single.remove(found)
        return found is not None

    def _moments(self, answers: Any) -> dict[str, list[tuple[int, float]]]:
        """By store, numbers of polls and when they were answered (virtual s); of what noise made up nobody knows."""
        moments = {one.count: one.at for one in answers if one.count not in self.made_up}
        read: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for (store, number), count in sorted(self.polls.items()):
            if count in moments:
                read[store].append((number, moments[count]))
        return read

    def at_peace(
        self, answers: Any, deaths: list[float], hurt: list[tuple[float, float]], lasting: Collection[str]
    ) -> None:
        """After half an hour without faults no alarm of theirs is open, but of what is still wrong (`lasting`, codes).

        Of what a process told that died while the flash could not be written, nobody knows to tell the end.
        """
        forgot, read = _forgetful(deaths, hurt), self._moments(answers)
        last: dict[tuple[str, str], tuple[str, int, str]] = {}
        for (store, number), event in self.events.items():
            name = event["code"], event["subject"]
            known_store, known, _ = last.get(name, ("", 0, ""))
            if event["kind"] in ("alarm", "cleared") and (store != known_store or number > known):
                last[name] = store, number, event["kind"]
        for (code, subject), (store, number, kind) in last.items():
            told = any(gap.get("store") == store and gap.get("last", 0) > number for gap in self.gaps)
            is_over = kind == "cleared" or told or code not in OVER or code in lasting
            is_over = is_over or any(death >= _between(read[store], number)[0] for death in forgot)
            self.must(is_over, f"alarm {code} of {subject} is open in the end, since number {number}")

    def commands(
        self, writes: Any, asked: list[tuple[float, Any]], unkept: Callable[[int | None], bool] = lambda ms: False
    ) -> None:
        """A command has one end; none is carried out twice, nor after one that came later was.

        Each command has a level of its own. A level that comes again after another one was written and
        read back has been carried out twice. (After one that failed, the one before holds again.) `asked` are the
        levels that were delivered, and when (virtual s). `unkept` tells of a moment (Unix ms) whether the flash could
        not be written then: an end that was told from memory is not known to the next life.
        """
        for name, told in self.results.items():
            states = [result["state"] for _, result in sorted(told.items(), key=lambda one: one[0][1])]
            steps = [state for state in dict.fromkeys(states) if state in STEPS]
            kept = steps == sorted(steps, key=STEPS.index) or len({store for store, _ in told}) > 1
            self.must(kept or name in self.turned_down, f"command {name} went through {states}")
            ends = {state for state in states if state in FINAL}  # whoever asks again is told again
            if "accepted" not in states:  # a second message under its id is refused, whatever becomes of the first
                ends -= {"rejected", "expired"}
            if any(one["state"] in ends - {"unknown"} and unkept(one["t"]) for one in told.values()):
                ends.discard("unknown")
            self.must(len(ends - {"rejected"}) <= 1, f"command {name} ended twice: {states}")
        written: set[int] = set()
        over: set[int] = set()
        stands = 0
        for at, what, address, value in writes:
            if (what, address) != ("register", 8) or not 0 < value < LEVELS:
                continue
            came = [when for when, level in asked if level == value and when <= at]
            late = stands and value not in written and max(came, default=at) < min(
                when for when, level in asked if level == stands
            )
            self.must(value not in over and not late, f"level {value} was written at {at:.3f} s, after {stands}")
            written.add(value)
            told = self.results[f"c-{command_of(value)}"].values()
            if value != stands and any(one["state"] == "verified" for one in told):
                over |= written - {value}
                stands = value

    def acknowledged(self, topic: str, payload: bytes) -> None:
        """The agent has told the broker that it needs not keep a command."""
        self.taken.setdefault(topic.rpartition("/")[2], self.now())

    def answered(self, cuts: list[tuple[float, float]], hurt: list[tuple[float, float]]) -> None:
        """Each command that was acknowledged has an end, or is named among those that were too many.

        While the flash could not be written a power cut may take what is known of it (docs/guarantees.md).
        """
        spans, until = _joined(hurt), self.now() - 600.0
        named = {name for event in self.events.values() if event["code"] == "commands_refused"
                 for name in event["detail"].get("ids", ())}  # fmt: skip
        for name, at in self.taken.items():
            lost = any(
                begin <= died + RETRY and end + RETRY >= at for died, _ in cuts if died >= at for begin, end in spans
            )
            told = at > until or name in named or name in self.ended or lost
            told = told or self._in_a_gap(self.unheard.get(name, ("", 0)))
            self.must(told, f"command {name}, acknowledged at {at:.3f} s, has no end")

    def last_words(self, retained: dict[str, bytes], devices: Collection[str], now_ms: int, steps: bool) -> None:
        """After half an hour of peace the broker knows of each device how it is, and that the gateway is there.

        A box whose clock once ran ahead (`steps`) does not believe the true time: it gives none, or goes on from its
        own (docs/architecture.md).
        """
        known = {topic.split("/", 3)[3]: json.loads(payload) for topic, payload in retained.items() if payload}
        self.must(known.get("status", {}).get("state") == "online", f"the gateway is {known.get('status')} in the end")
        told = {name: known.get(f"state/{name}", {"at": 0})["at"] for name in devices}
        if steps:
            now_ms = max([now_ms, *(at for at in told.values() if at is not None)])
        for name, at in told.items():
            fresh = steps if at is None else abs(now_ms - at) < 900_000
            self.must(fresh, f"the broker knows of {name} as it was at {at}, at {now_ms}")

    def readings(
        self, answers: Any, cuts: list[tuple[float, float]], hurt: list[tuple[float, float]], slack: float = 0.0,
        point: str = "m.count",
    ) -> None:
        """What a good slave answered has come, but for the last 5 s before a power cut, and what a gap record names.

        `cuts` are pairs: until when somebody could write (`wrote_last`), and when the power was cut. `slack` is how
        long a write to a slow disk may take more (s). `hurt` are the spans in which the flash could not
        be written: what was read then is lost with the power, or when there is too much. What was answered in the last
        seconds of all may still be on its way.
        """
        spans, until = _joined(hurt), self.now() - ON_ITS_WAY
        came = self.counts if point == "m.count" else {count for name, count in self.heard if name == point}
        for one in (one for one in answers if one.sure and one.at < until and one.count not in came):
            cut = next(((died, at) for died, at in cuts if at >= one.at), None)
            lost = cut is not None and cut[0] - one.at <= WINDOW + slack
            if cut is not None and not lost:
                lost = any(begin <= one.at + WINDOW and end >= cut[0] - RETRY for begin, end in spans)
            what = "poll" if point == "m.count" else point
            told = self._is_told(point, one.count)
            self.must(lost or told, f"{what} {one.count}, answered at {one.at:.3f} s, never came")


def wrote_last(died: float, begun: Sequence[float], deaths: Sequence[float], starts: float = STARTS) -> float:
    """When the last process died, up to `died`, that had the time to bring to flash what it found (virtual s).

    One that died as soon as it began had none, and before it nobody was there to write. What it found was within the
    window when the process before it died.
    """
    while True:
        began = max((at for at in begun if at <= died), default=0.0)
        before = max((at for at in deaths if at < began), default=None)
        if before is None or died - began > starts:
            return died
        died = before


def batch_of(payload: bytes) -> Any:
    """A telemetry message, compressed or not."""
    return json.loads(payload if payload[:1] == b"{" else zlib.decompress(payload))


def _is_end(result: dict[str, Any]) -> bool:
    return result["state"] in FINAL or (result["state"] == "applied" and result["reason"] != "")


def _without_date(record: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in record.items() if name not in DATES}


def _date(batch: dict[str, Any], at: int) -> dict[str, Any]:
    """The date of one of its readings, at `at` (Unix ms, or ms since the boot)."""
    told = {name: batch[name] for name in ("clock", "boot") if name in batch}
    for name in ("t_min", "t_max"):  # of the moment from which all others count
        if name in batch:
            told[name] = None if batch[name] is None else batch[name] + at - batch["boottime_ms"]
    return told | {"t" if batch["t"] is not None else "boottime_ms": at}


def _between(read: list[tuple[int, float]], number: int) -> tuple[float, float]:
    """Between which moments (virtual s) a number was given, by the readings before and after it."""
    before = [at for known, at in read if known < number]
    after = [at for known, at in read if known > number]
    return max(before, default=0.0), min(after, default=1e10)


def _about(event: dict[str, Any]) -> tuple[str, str]:
    return event["code"], event["subject"]


def _single(told: list[tuple[tuple[str, int], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Alarms that have no end under the store of theirs, and ends that have no alarm there."""
    single: list[dict[str, Any]] = []
    for (store, _), event in told:
        alarm = (one for one in single
                 if (one["k"][0], _about(one), one["kind"]) == (store, _about(event), "alarm"))  # fmt: skip
        if event["kind"] == "cleared" and (raised := next(alarm, None)) is not None:
            single.remove(raised)
        else:
            single.append(event)
    return single


def _forgetful(deaths: list[float], hurt: list[tuple[float, float]]) -> list[float]:
    """Deaths of processes that could not note what they had told."""
    return [at for at in deaths if any(begin <= at <= end + RETRY for begin, end in _joined(hurt))]


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans with less than a retry between them are one."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1] + RETRY:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined
