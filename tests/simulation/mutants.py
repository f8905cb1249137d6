"""`make mutants`: defects put in on purpose, and how many seeds it takes until the simulation finds each.

A defect is a change of the source text when a module is imported, in a process of its own; the files stay as they are.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from tests.simulation import options
from tests.simulation.kinds import BOTH, ONLY_AGENT, ONLY_OUTBOX
from tests.simulation.runner import WORLDS, Job, forked, prepare, sort_of, sorts, with_fixed_hashes
from tests.simulation.village import RULED

__all__ = ["MUTANTS", "Mutant", "changed"]

_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Mutant:
    """`changes` are (file, text that is there once, text in its place). It is looked for in lives of `world`, of seeds
    from `first` on."""

    name: str
    what: str
    changes: tuple[tuple[str, str, str], ...]
    world: str = "agent"
    hours: float = 1.0
    first: int = 0


def _mutant(name: str, what: str, *change: str, world: str = "agent", hours: float = 0.0, first: int = 0) -> Mutant:
    changes: Any = tuple(zip(*[iter(change)] * 3, strict=True))
    return Mutant(name, what, changes, world, hours or {"agent": 1.0, "outbox": 2.0}[world], first)


MUTANTS = [
    _mutant("state-fsync", "the state file is renamed before it is synced",
            "agent/core/state.py", "                os.fsync(descriptor)\n            finally:",
            "                pass\n            finally:"),
    _mutant("state-folder-fsync", "the folder of the state is not synced after the renames",
            "agent/core/state.py", "        sync_folder(self._folder)\n", ""),
    _mutant("wal-unsynced", "SQLite commits without a sync",
            "agent/outbox/store.py", '"synchronous = FULL"', '"synchronous = OFF"'),
    _mutant("window-of-minutes", "readings go to flash after 10 minutes instead of 5 s",
            "agent/outbox/writer.py", "<= now - 0.8 * self._window\n", "<= now - 600.0\n"),
    _mutant("stage-not-written", "readings are not put on the stage",
            "agent/outbox/stage.py", '        self._append(("put", [tuple(lot) for lot in lots]))\n', ""),
    _mutant("stage-dropped", "a segment of the stage goes while what it holds is only in memory",
            "agent/outbox/stage.py", "for until, path in self._closed if until < oldest])",
            "for until, path in self._closed])", world="outbox"),
    _mutant("number-reused", "a start gives the last number once more",
            "agent/outbox/numbers.py", "name, reserved, last + 1, True", "name, reserved, max(1, last), True"),
    _mutant("reserve-forgotten", "after a power cut numbers go on behind what is known, not behind what is reserved",
            "agent/outbox/numbers.py", "        self.next = max(reserved, last) + 1\n", ""),
    _mutant("mark-not-made", "the mark does not note which numbers were given",
            "agent/outbox/stage.py", "            self._words[at // 8 + 2] = last  #", "            pass  #",
            world="outbox"),
    _mutant("batch-lost", "what could not be written to flash does not come back to memory",
            "agent/outbox/pending_work.py", "        self._ram_queue.come_back(batch.lots)\n", ""),
    _mutant("gap-not-told", "what was lost is counted and not told",
            "agent/outbox/pending_work.py",
            "        return [gap_event(*gap, now) for gap in gaps]", "        return []"),
    _mutant("set-aside-not-told", "a message that the broker refuses for good is set aside, and nobody hears of it",
            "agent/outbox/queue.py",
            '        pending.lose("refused", entry.cls, entry.store, message.first, message.last, message.n)\n', ""),
    _mutant("refusal-taken", "PUBACK 0x97, quota exceeded, is taken for an acceptance",
            "agent/uplink/outgoing.py", "        if code in ACCEPTED:\n            self._outbox.accepted",
            "        if code in (*ACCEPTED, 0x97):\n            self._outbox.accepted"),
    _mutant("sent-is-accepted", "a message is forgotten when it is sent, not when it is acknowledged",
            "agent/uplink/outgoing.py", "            ack.add_done_callback(partial(self._settle, message))\n",
            "            self.inflight.pop(message.token)\n            self._outbox.accepted(message)\n"),
    _mutant("not-put-back", "what was under way when the link went is not sent again",
            "agent/uplink/outgoing.py", "key=lambda message: message.token, reverse=True):\n"
            "            self._outbox.put_back(message)",
            "key=lambda message: message.token, reverse=True):\n            pass"),
    _mutant("lane-swapped", "the youngest of the backlog goes first",
            "agent/outbox/store.py",
            'f"SELECT {_STORED} FROM block WHERE id > ? ORDER BY id", (row,)',
            'f"SELECT {_STORED} FROM block WHERE id > ? ORDER BY id DESC", (row,)', world="outbox"),
    _mutant("events-swapped", "the youngest of the records goes first",
            "agent/outbox/messages.py", "one for one in self.ready if one.message.kind not",
            "one for one in reversed(self.ready) if one.message.kind not", world="outbox"),
    _mutant("readings-swapped", "two readings of one point take each other's place in a batch",
            "agent/outbox/blocks.py", "                column.append(entry)\n",
            "                column[-1][1], entry[1] = entry[1], column[-1][1]\n                column.append(entry)\n",
            world="outbox"),
    _mutant("records-come-back-last", "records that come back from the link go to the end of their queue",
            "agent/outbox/messages.py", "        self.ready.insert(next(later, len(self.ready)), entry)\n",
            "        self.ready.append(entry)\n", world="outbox"),
    _mutant("live-comes-back-reversed", "live readings that come back from the link go in the reverse order",
            "agent/outbox/messages.py",
            "        self.returned.sort(key=lambda one: (one.since, one.place, one.message.first))\n", "",
            world="outbox"),
    _mutant("epoch-not-compared", "a later epoch at the broker is not taken for a later state of the box",
            "agent/outbox/identity.py",
            "if claim.epoch > self.unsure[1] and claim.reservation not in self.reservations:",
            "if False:", world="outbox"),
    _mutant("stage-grows", "segments of the stage stay",
            "agent/outbox/stage.py", "                path.unlink(missing_ok=True)\n", "                pass\n",
            world="outbox"),
    _mutant("rows-stay", "what the broker took stays on flash",
            "agent/outbox/pending_work.py",
            "        (self.work.done_blocks if telemetry else self.work.done_messages).append(row)\n", "",
            world="outbox"),
    _mutant("quality-lost", "a reading that is not good looks like a good one",
            "agent/outbox/blocks.py", "                entry.append(lot.qualities[index])\n", "                pass\n"),
    _mutant("date-added-later", "a record has another date each time it is read",
            "agent/outbox/messages.py", "body=dated(entry.message.body, boots))",
            "body=dated(entry.message.body, boots)[:-1] + b', \"token\":%d}' % entry.message.token)"),
    _mutant("dates-not-told", "when a boot was is not told when that is known",
            "agent/outbox/records.py", "            if self._undated:\n", "            if False:\n"),
    _mutant("index-early", "an index of a meter is published before it is on flash",
            "agent/core/hub.py", "        return self._persist(reading.point)\n\n    def _is_held",
            "        return True\n\n    def _is_held"),
    _mutant("alarm-not-ended", "the end of an alarm is not told",
            "agent/core/alarms.py", '            await self._say("cleared", key, Severity.INFO, {})\n', ""),
    _mutant("alarm-forgotten", "which alarms are raised is not remembered over a restart",
            "agent/core/alarms.py", '"raised", [list(key) for key in sorted(raised)])', '"raised", [])'),
    _mutant("tank-alarms-forgotten", "a tank forgets at a restart which alarms it raised",
            "agent/services/water/tanks.py", 'frozenset(kept["raised"]) & SEVERITIES.keys()', "frozenset()"),
    _mutant("interlock-forgotten", "an interlock forgets at a restart that it acts",
            "agent/services/rules/control.py",
            'loaded(kept["memory"], self.condition), kept["active"], kept["known"]',
            'self.condition.initial, False, True', hours=2.0, first=RULED),
    _mutant("point-alarms-forgotten", "an alarm on a point forgets at a restart that it was raised",
            "agent/services/alarms/control.py", 'raised = frozenset(kept["raised"]) & {ALARM, FAULT}',
            "raised = frozenset()", first=RULED),
    _mutant("accepted-before-durable", "a command is carried out before its acceptance is on flash",
            "agent/outbox/queue.py", "            if await self._writer.save():\n                return None\n"
            "            if command.origin",
            "            return None\n            if command.origin"),
    _mutant("command-twice", "a command that is known is carried out again",
            "agent/arbiter/commands.py", "        if known is not None:\n            return known\n        try:\n"
            "            self._authorize(command)", "        try:\n            self._authorize(command)",
            "agent/outbox/queue.py",
            "            known = await self._known(command)\n            if known is not None:\n"
            "                return known\n            entry", "            entry"),
    _mutant("command-tried-again", "a command that a crash left open is carried out at the next start",
            "agent/arbiter/commands.py",
            '        reason = f"the agent died between', "        if actuator is not None:\n            "
            "actuator.command.forget()\n            await self._writer.write(actuator, "
            'Slot(outcome.value, "again"), REMOTE, self._clock.monotonic() + 60)\n'
            '        reason = f"the agent died between'),
    _mutant("verified-unseen", "a command is called verified without reading it back",
            "agent/arbiter/commands.py", "        if outcome.state is OutcomeState.APPLIED and actuator.spec.kind",
            "        await self._record(command, OutcomeState.VERIFIED, 'it will be')\n"
            "        if outcome.state is OutcomeState.APPLIED and actuator.spec.kind"),
    _mutant("acked-at-once", "a command is acknowledged before it is on flash",
            "agent/uplink/inbox.py",
            "        self._open.setdefault(name, []).append((session, message))\n        try:\n",
            "        self._open.setdefault(name, []).append((session, message))\n"
            "        session.acknowledge(message)\n        try:\n"),
    _mutant("ids-forgotten", "a restart forgets the ids of commands",
            "agent/outbox/queue.py",
            "            return await self._writer.flash.job(lambda db: db.outcome(command.id))\n",
            "            return None\n"),
    _mutant("expiry-ignored", "a command that came too late is carried out",
            "agent/arbiter/admission.py", "    if min(limits) <= mono:\n", "    if False:\n",
            "agent/arbiter/admission.py", "    return min(limits)\n", "    return max(mono + patience, *limits)\n"),
    _mutant("outcomes-swapped", "that a command was applied is on record after it was verified",
            "agent/arbiter/commands.py", "        return await self._record(command, state, reason), writes\n",
            "        asyncio.get_running_loop().call_later(\n"
            "            0.5, lambda: asyncio.ensure_future(self._record(command, state, reason)))\n"
            "        return self._outcome(command, state, reason), writes\n"),
    _mutant("override-for-ever", "an override does not end when its time is over",
            "agent/arbiter/commands.py", "        slot = replace(slot, until=now + lasts)\n",
            "        slot = replace(slot, until=None)\n"),
    _mutant("override-restored-anew", "a restart begins the time of an override again",
            "agent/arbiter/actuator_store.py", "replace(slot, until=slot.until + shift)",
            "replace(slot, until=slot.until + shift + 600)"),
    _mutant("stop-leaves-outputs", "an orderly stop leaves the outputs as they are",
            "agent/arbiter/arbiter.py",
            "            if value is not None and actuator.driven and not actuator.deferred:",
            "            if value is not None and actuator.driven and actuator.deferred:"),
    _mutant("release-stays", "an override that ends leaves the output as it is",
            "agent/arbiter/priority_array.py",
            "        if not awaited:\n            self.hold_relinquish_default()\n", ""),
    _mutant("crash-loop-restores", "overrides are taken up again after three crashes in ten minutes",
            "agent/runtime/parts.py", "restore=not self.crashes.looping", "restore=True"),
    _mutant("max-on-once", "who kept an output on past max_on switches it on again",
            "agent/arbiter/actuator.py", "self.overrun not in (None, key)", "self.overrun is not None"),
    _mutant("orphan-left", "an output that left the file stays as it is",
            "agent/arbiter/orphans.py", "for place in self._owned if place not in present}",
            "for place in self._owned if False}"),
    _mutant("reload-lets-go", "a reload brings outputs to their stop state",
            "agent/app.py", '        await self._stop_task("arbiter")\n',
            '        await self._parts.arbiter.stop()\n        await self._stop_task("arbiter")\n'),
    _mutant("min-on-ignored", "an output goes off before its min_on is over",
            "agent/arbiter/limits.py", "limits.min_off if on else limits.min_on", "limits.min_off if on else None"),
    _mutant("starts-not-counted", "the starts of an hour are not counted",
            "agent/arbiter/limits.py", "counts = on and not (back and self.fell)", "counts = False"),
    _mutant("max-on-anew", "a restart begins max_on again",
            "agent/arbiter/actuator_store.py", 'history = History(record["on"], record["since"],',
            'history = History(record["on"], now.boottime_ns / 1e9 - shift,',
            "agent/arbiter/actuator_store.py", 'record.get("maybe")', "None",
            hours=5.0),  # of a tank that fills slowly
    _mutant("limits-forgotten", "a restart knows nothing of minimum times and starts",
            "agent/arbiter/actuator_store.py",
            'history = History(record["on"], record["since"], tuple(record["starts"]), *more)',
            'history = History(record["on"])'),
    _mutant("stagger-ignored", "contactors of lamps go on together",
            "agent/arbiter/actuator.py",
            '            until = max(until, (self._turn(), "stagger"))\n', "            pass\n"),
    _mutant("tank-overflows", "neither the stop nor the interlock of a full tank stops its pump",
            "agent/services/water/tanks.py", "(state.filling and level < stop)", "state.filling",
            "agent/services/water/tanks.py", '"level high" if state.high', '"level high" if False'),
    _mutant("boiler-too-hot", "neither the heat curve nor its limit stops a burner",
            "agent/services/heating/boiler.py", "cut = flow > target - BAND if burner.cut else flow >= target + BAND",
            "cut = False", "agent/services/heating/boiler.py",
            "hot = flow > curve.max_flow - BAND if burner.hot else flow >= curve.max_flow", "hot = False"),
    _mutant("watchdog-starves", "the watchdog is fed too seldom",
            "agent/core/supervisor.py", "    PERIOD = 5.0\n", "    PERIOD = 24.0\n"),
    _mutant("watchdog-for-ever", "the watchdog is fed whatever stands still, and the outbox stands still after a fault",
            "agent/core/supervisor.py", "            if late:\n", "            if False:\n",
            "agent/outbox/queue.py", "            await asyncio.sleep(least)",
            "            await asyncio.sleep(least if not self.fault else 1e9)", hours=5.0),
]  # fmt: skip


def changed(mutant: Mutant, file: str) -> str:
    """The source of a file with the defect. ValueError if the text is not there once: the mutant is out of date."""
    text = (_ROOT / file).read_text()
    for name, old, new in mutant.changes:
        if name == file:
            if text.count(old) != 1:
                raise ValueError(f"mutant {mutant.name}: {old!r} is {text.count(old)} times in {file}, expected 1")
            text = text.replace(old, new)
    return text


def compiled(mutant: Mutant) -> dict[str, CodeType]:
    """The changed code of each file; ValueError if a change finds no place, SyntaxError if it is no Python."""
    return {file: compile(changed(mutant, file), file, "exec") for file in {file for file, *_ in mutant.changes}}


class _Loader(importlib.machinery.SourceFileLoader):
    mutant: Mutant

    def get_code(self, fullname: str) -> CodeType:
        return compile(changed(self.mutant, str(Path(self.path).relative_to(_ROOT))), self.path, "exec")


class _Finder:
    """Finds the modules of a mutant, before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._names = {file.removesuffix(".py").replace("/", ".") for file, *_ in mutant.changes}

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if name not in self._names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.origin is not None
        loader = _Loader(name, spec.origin)
        loader.mutant, spec.loader = self._mutant, loader
        return spec


def lives(mutant: Mutant | None, jobs: Iterable[Job], side_by_side: int) -> Iterator[tuple[int, list[str]]]:
    """What broke in each life, with the defect or without one, in processes that come from one of their own."""
    assert "agent" not in sys.modules, "the agent is here already, without the defect"
    out, into = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.close(out)
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = lambda unraisable: None  # one that comes in the middle of a fork: the pipe ends it
            if mutant is not None:
                sys.meta_path.insert(0, _Finder(mutant))  # type: ignore[arg-type]
            for world in WORLDS:
                prepare(world)
            with os.fdopen(into, "w") as pipe:
                for job, result in forked(iter(jobs), side_by_side):
                    pipe.write(json.dumps([job.seed, result["broken"]]) + "\n")
                    pipe.flush()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(into)
    try:
        with os.fdopen(out) as pipe:
            for line in pipe:
                seed, broken = json.loads(line)
                yield seed, broken
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        os.waitpid(pid, 0)


@cache
def without(job: Job) -> frozenset[str]:
    """The promises that the program breaks as it is."""
    return frozenset(sorts(next(lives(None, [job], 1))[1]))


def hunt(mutant: Mutant, seeds: range, side_by_side: int, only: frozenset[str] | None = None) -> tuple[int, str]:
    """The first seed that breaks a promise which it keeps without the defect, and which one; (0, "") if none does."""
    jobs = {seed: Job(seed, mutant.hours, only, world=mutant.world) for seed in seeds}
    for seed, broken in lives(mutant, jobs.values(), side_by_side):
        seen = [one for one in broken if not one.startswith(("the simulation itself", "Traceback"))]
        new = sorts(seen) - without(jobs[seed]) if seen else set()
        if new:
            return seed, next(one for one in seen if sort_of(one) in new)
    return 0, ""


def main() -> int:
    asked = options.parser("python -m tests.simulation.mutants", __doc__, 200, "at most, for each")
    names = options.names([one.name for one in MUTANTS], "defect")
    kinds = options.names(BOTH | ONLY_AGENT | ONLY_OUTBOX, "kind of fault")
    asked.add_argument("--hours", type=options.hours, help="in the place of those of each row")
    asked.add_argument("--only", type=names, help="these defects")
    asked.add_argument("--kinds", type=kinds, help="of faults, in the place of those that each seed draws")
    given = asked.parse_args()
    chosen = [one for one in MUTANTS if given.only is None or one.name in given.only]
    for mutant in chosen:
        try:
            compiled(mutant)
        except (ValueError, SyntaxError) as error:
            asked.error(str(error))
    found = {}
    print("| defect | what it does | where | seeds until it is found | what broke |\n|---|---|---|---|---|")
    for mutant in chosen:
        began = time.monotonic()
        mutant = replace(mutant, hours=given.hours or mutant.hours)
        first = max(given.first, mutant.first)
        seeds = range(first, first + given.seeds)
        try:
            seed, what = hunt(mutant, seeds, given.jobs, given.kinds)
        except KeyboardInterrupt:
            print(f"\nstopped at {mutant.name}")
            return 130
        found[mutant.name] = {"seed": seed, "broken": what, "wall_s": round(time.monotonic() - began, 1)}
        needed = str(seed - first + 1) if seed else f"not within {len(seeds)}"
        where = f"{mutant.world}, {mutant.hours:g} h" + f", from {mutant.first}" * (mutant.first > 0)
        print(f"| `{mutant.name}` | {mutant.what} | {where} | {needed} | {sort_of(what)} |", flush=True)
    missed = [name for name, one in found.items() if not one["seed"]]
    print(f"\n{len(found)} defects, {len(found) - len(missed)} found; not found: {', '.join(missed) or 'none'}")
    if given.out:
        Path(given.out).write_text(json.dumps(found, indent=1) + "\n")
    return bool(missed)


if __name__ == "__main__":
    with_fixed_hashes("tests.simulation.mutants")
    with options.interruptible():
        sys.exit(main())
