"""What outputs did, judged by what the modules saw, the sun, and what people asked for: never by the agent's words."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from tests.simulation.clock_judge import lag, off
from tests.simulation.judge import LEVELS, command_of
from tests.simulation.plant import Move, Slave
from tests.simulation.village import LATITUDE, LONGITUDE

__all__ = ["Asked", "Diary", "judge"]

HOLD = 7200.0
"""Seconds for which a command holds that does not say how long (docs/actuators.md)."""
SLACK = 8.0
"""Seconds from a decision to the wire: a poll that is under way, a time-out or two, a confirmation."""
LATE = 45.0
"""Seconds until a level that was answered must have been acted on: three polls of 15 s, for a first value that is far
from the one before is believed when it was confirmed."""
STAGGER = 10.0
"""Seconds between two contactors of lamps that go on."""
DOUBT = 150.0
"""Seconds from a reset for which a counter may be in doubt (the page of water: 2 min, from the poll that finds it)."""
DRY, REST = 75.0, 300.0
"""Seconds for which the pump may move nothing (grace, no_flow), and for which it rests then (the page of water)."""
NEAR = 650
"""By so much a level may be off (`ActuatorSpec.same`): 1 % of the range of the fan."""
BLIND = 300.0
"""Seconds after a question that failed in which a rule may do what is right for a lost sensor."""
AGAIN = 65.0
"""Seconds between two attempts at a write that failed, at the most (docs/actuators.md)."""
STALE = 60.0
"""Seconds after which a value that did not come again drives nothing. A point that its module refused is asked again
after ten minutes."""
CRASHES_WITHIN = 600.0
"""Seconds in which three crashes are a loop."""
LAMPS = {"street", "square"}
"""LED lamps: that they go on again after their power was gone is no start that counts (the page of lighting)."""
LAMP_STARTS = 4
"""Starts an hour of a lamp circuit whose actuator names none (the page of lighting)."""
PLACES = {
    "m.relay1": ("m", "coil", 0), "m.relay2": ("m", "coil", 1), "m.relay3": ("m", "coil", 2),
    "m.dimmer": ("m", "register", 8), "gpio.22": ("g", "pin", 22), "w.pump": ("w", "coil", 0),
    "h.burner": ("h", "coil", 0), "h.pump": ("h", "coil", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that was sent to the agent, and when (virtual s). It may not have come."""

    at: float
    body: dict[str, Any]

    @property
    def latest(self) -> float:
        """Until when it may be begun, and hold its output."""
        return self.at + self.body.get("ttl_ms", 10_000) / 1000 + self.holds

    def begins_until(self, world: Any, knows: bool) -> float:
        """Until when it may be begun (virtual s), by a box that `knows` the time or not."""
        came = self.at + self.body.get("ttl_ms", 10_000) / 1000
        if not knows or "issued_at" not in self.body:
            return came
        return min(came, (self.body["issued_at"] - world.village.start_ms + self.body["ttl_ms"]) / 1000)

    @property
    def holds(self) -> float:
        return float(self.body.get("hold_ms", HOLD * 1000)) / 1000


@dataclass
class Diary:
    """What happened to the agent, and what people did (virtual s)."""

    begun: list[float] = field(default_factory=list)
    stopping: list[float] = field(default_factory=list)
    """When it was asked to stop."""
    stopped: list[float] = field(default_factory=list)
    """When a life was over after an orderly stop."""
    edited: list[float] = field(default_factory=list)
    without_lamp: list[float] = field(default_factory=list)
    """When a file was saved in which the lamp is not there any more."""
    asked: list[Asked] = field(default_factory=list)
    dry: list[tuple[float, float]] = field(default_factory=list)
    """When the well gave nothing."""


@dataclass
class Output:
    """An actuator of the site with the moves of its output. Times in seconds."""

    name: str
    slave: Slave
    spec: dict[str, Any]
    moves: list[Move]

    def state(self, at: float) -> int:
        """What it showed at this moment."""
        n = bisect_right([move.at for move in self.moves], at)
        return self.moves[n - 1].value if n else 0

    def moved(self, since: float, until: float) -> bool:
        return any(since < move.at < until for move in self.moves)

    def seconds(self, key: str) -> float:
        found = re.fullmatch(r"([0-9]+)(s|min)", self.spec.get(key, "0s"))
        assert found is not None
        return int(found[1]) * (60.0 if found[2] == "min" else 1.0)


@dataclass
class Outputs:
    """All of them, with what excuses a move."""

    world: Any

    def __post_init__(self) -> None:
        world = self.world
        self.diary: Diary = world.diary
        self.cuts = sorted(at for _, at in world.cuts)
        self.died = sorted(world.died)
        self.steps = world.mixture.done["clock_step"] > 0
        self.moment = 9.0 if "slow_disk" in world.mixture.pauses else 1.0
        """Seconds from a write to its place on flash: who dies within cannot remember it."""
        self.hurt = [(begin - 5.0, end + 70.0) for begin, end in world.disk.hurt]
        self.all = {}
        modules = world.village.slaves | {"g": world.village.board}
        for name, spec in world.village.site["actuators"].items():
            device, kind, address = PLACES[spec["output"]]
            slave = modules[device]
            moves = [move for move in slave.moves if (move.kind, move.address) == (kind, address)]
            self.all[name] = Output(name, slave, spec, moves)

    def must(self, holds: object, at: float, what: str) -> None:
        if not holds:
            self.world.judge.broken.append(f"at {at:.3f} s: {what}")

    # -- what explains a move --------------------------------------------------------------------------------------

    def forgot(self, since: float, until: float) -> bool:
        """Whether what was known at `since` may be unknown at `until`.

        The flash could not be written when the process ended, or the wall clock jumped and the box began anew.
        """
        if any(begin <= until and end >= since for begin, end in self.hurt) and _any(self.died, since, until):
            return True
        return (self.steps or self.world.clock_late) and _any(self.cuts, since, until)

    def stops(self, at: float) -> bool:
        """Whether an orderly stop was under way, be it that the process was killed in it."""
        return _any(self.diary.stopped, at - 1.0, at + 6.0) or _any(self.diary.stopping, at - SLACK, at)

    def crashed(self, since: float, at: float) -> bool:
        """Whether a life was the third in ten minutes that began after a crash: overrides are over, outputs safe."""
        after = [begun for begun in self.diary.begun[1:] if not self._was_orderly(begun)]
        lives = [begun for begun in self.diary.begun if since - SLACK <= begun <= at]
        return any(_count(after, begun - self._near(begun), begun) >= 3 for begun in lives)

    def _near(self, begun: float) -> float:
        """How long before this life a crash may lie that it takes for one of the last ten minutes: a boot whose clock
        is not believed does not know for how long the one before lasted."""
        unknown = self.steps and _any(self.cuts, 0.0, begun)
        return math.inf if unknown else 605.0 + off(self.world, begun)

    def _was_orderly(self, begun: float) -> bool:
        """Whether the life before this one had ended by an orderly stop, and the flash could be told."""
        ends = self.died[: bisect_left(self.died, begun)]
        noted = ends and not any(begin <= ends[-1] <= end for begin, end in self.hurt)
        return bool(noted) and _any(self.diary.stopped, ends[-1] - 0.001, begun)

    def begins(self, at: float) -> bool:
        """Whether a life was new: boot states, outputs that were found otherwise."""
        return _any(self.diary.begun, at - 15.0, at)

    def left(self, since: float, at: float) -> bool:
        """Whether the lamp was taken out of the file: then it goes to its safe state."""
        return _any(self.diary.without_lamp, since, at + 1.0)

    def asked(self, *names: str) -> list[Asked]:
        return [one for one in self.diary.asked if one.body.get("point") in names]

    def life(self, at: float) -> int:
        """Which process it was, the first being 1."""
        return bisect_right(self.diary.begun, at)

    # -- what must hold --------------------------------------------------------------------------------------------

    def levels(self) -> None:
        """Each command asks for a level of its own (`faults.command`): the register tells what became of each.

        It was carried out once, and the region heard how it ended: verified only if the register showed it, unknown
        only if nothing was written after that was said.
        """
        fan, asked, results = self.all["fan"], self.asked("fan"), self.world.judge.results
        knows = not self.steps and not self.world.clock_late
        written: dict[int, list[float]] = defaultdict(list)
        for at, kind, address, value in fan.slave.writes:
            if (kind, address) == ("register", 8) and 0 < value < LEVELS:
                written[value].append(at)
        for value, times in written.items():
            name = f"c-{command_of(value)}"
            told = {result["state"]: result for result in results[name].values()}
            orders = [one for one in asked if one.body["value"] == value]
            valid = any(one.begins_until(self.world, knows) + SLACK >= times[0] for one in orders)
            self.must(valid or not orders, times[0], f"level {value} was written after its command had expired")
            ended = name in self.world.judge.ended | self.world.judge.turned_down
            ended = ended or any(begin <= times[0] <= end for begin, end in self.hurt)
            self.must(ended, times[0], f"level {value} was written, and nobody heard how its command ended")
            shown = any(abs(value - there) <= NEAR for there in (0, *(move.value for move in fan.moves)))
            self.must("verified" not in told or shown, times[0], f"level {value} was verified, and never there")
            if "unknown" in told and told["unknown"]["t"] is not None and not self.steps:
                said = told["unknown"]["t"] / 1000 - self.world.village.start_ms / 1000
                begun = self.life(times[0]) < self.life(said)
                self.must(begun, times[0], f"level {value} was written after its command had ended, unknown")
            for before, at in pairwise(times):
                since = max(before, self.diary.begun[self.life(at) - 1])
                stood = fan.state(before) == fan.state(at) == value and not fan.moved(before, at)
                known = _any(fan.slave.failed, since - 1.0, at) or at - before < SLACK
                self.must(known or not stood, at, f"level {value} was written again, and stood since {before:.3f} s")

    def restored(self) -> None:
        """A level that was verified holds again after each start, as long as its command said."""
        fan, asked, results = self.all["fan"], self.asked("fan", "m.dimmer"), self.world.judge.results
        writes = [(at, value) for at, kind, address, value in fan.slave.writes if (kind, address) == ("register", 8)]
        for begun, until in pairwise([*self.diary.begun, self.world.loop.time()]):
            before = [one for one in writes if one[0] < begun and not self.stops(one[0])]
            at, value = before[-1] if before else (0.0, 0)
            orders = [one for one in asked if one.body["value"] == value]
            seen = next((good for good in fan.slave.good if good > begun + LATE), math.inf)
            verified = any(result["state"] == "verified" for result in results[f"c-{command_of(value)}"].values())
            if not verified or len(orders) != 1 or seen > until - SLACK:
                continue
            known = (
                seen > at + orders[0].holds - SLACK or any(orders[0].at < one.at <= seen for one in asked)
                or self.crashed(at, seen) or self.forgot(at, begun) or _any(self.diary.edited, at - SLACK, seen)
                or not self.answers(fan.slave, seen) or _any(fan.slave.ignored, at - SLACK, seen)
            )  # fmt: skip
            self.must(known or fan.state(seen) == value, seen, f"level {value}, verified, is gone after a start")

    def commanded(self, name: str, *names: str) -> None:
        """Nothing but commands moves it: it takes what one asked, while that holds, and lets go when it is over."""
        output, asked = self.all[name], self.asked(name, *names)
        since = before = 0.0
        for move in output.moves:
            value, before = before, move.value
            if move.fell:
                continue
            if move.value:
                fits = [one for one in asked if int(one.body["value"] or 0) == move.value and one.at <= move.at]
                valid = self.steps or any(move.at <= one.latest + SLACK for one in fits)
                self.must(fits and valid, move.at, f"{name} went to {move.value}, and nobody asked for it")
                since = move.at
                continue
            held = [one for one in asked if int(one.body["value"] or 0) == value]
            reason = (
                any(one.at >= since - 620.0 and one.at <= move.at and not one.body["value"] for one in asked)
                or any(one.at <= move.at and move.at >= since + one.holds - SLACK for one in held)
                or any(one.at <= since and move.at >= one.at + one.holds - SLACK for one in held)
                or _any(output.slave.failed, since - 0.1, since + SLACK)  # obeyed and not acknowledged: it is put back
                or _any(output.slave.ignored, since, move.at)  # another one held it that the output did not obey
                or self.stops(move.at) or self.crashed(since, move.at) or self.forgot(since, move.at)
                or 0 < output.seconds("max_on") <= move.at - since + 1.0
                or _any(self.cuts, since, move.at) or (name == "lamp" and self.left(since, move.at))
            )  # fmt: skip
            self.must(reason, move.at, f"{name} went off, on since {since:.3f} s, and nobody asked for it")

    def ended(self, name: str, *names: str) -> None:
        """Nothing keeps it on after the last command that asked for this value is over."""
        output, asked, end = self.all[name], self.asked(name, *names), self.world.loop.time()
        ends = [*(move.at for move in output.moves[1:]), end] if output.moves else []
        for move, until in zip(output.moves, ends, strict=True):
            fits = [one.latest for one in asked if int(one.body["value"] or 0) == move.value and one.at <= until]
            over = max(fits, default=move.at) + LATE
            seen = next((at for at in output.slave.good if over < at < until and self.rules(output.slave, at)
                         and not _any(output.slave.failed, at - AGAIN, at)), None)  # fmt: skip
            kept = not move.value or seen is None or self.steps or _any(output.slave.ignored, move.at, until)
            self.must(kept, until, f"{name} is {move.value} since {move.at:.3f} s")

    def rules(self, slave: Slave, at: float) -> bool:
        """Whether a life has long been at work, and the module is answering it."""
        begun = bisect_right(self.diary.begun, at)
        return begun > 0 and at - self.diary.begun[begun - 1] > LATE and self.answers(slave, at)

    def street(self, name: str, point: str) -> None:
        """It follows the sun, or a command."""
        output, asked = self.all[name], self.asked(name, point)
        if self.steps:
            return  # whoever is told another time has another night
        patience = output.seconds("min_on") + SLACK
        for last, move in pairwise([None, *output.moves]):
            late = lag(self.world, move.at)  # without any time it stays as it is
            night = {self.night(move.at + off) for off in (-90.0 - late, 90.0)} if late < math.inf else set()
            valid = [one for one in asked if one.at <= move.at <= one.latest + SLACK]
            told = any(one.body["value"] is bool(move.value) for one in valid)
            let_go = late == math.inf and not move.value and any(
                one.body["value"] and one.at + one.holds - 1.0 <= move.at <= one.latest + patience for one in asked
            )  # a command ended, and no rule speaks: the relinquish default is off (docs/actuators.md)
            put_back = (
                late == math.inf and last is not None and not move.value and move.at <= last.at + patience
                and _any(output.slave.failed, last.at - 0.1, last.at + SLACK)
            )  # obeyed and not acknowledged: it is put back as it was, when min_on allows
            known = bool(move.value) in night or told or move.fell or let_go or put_back
            self.must(known, move.at, f"{name} went to {move.value} without reason")
        end = self.world.loop.time()
        held = any(one.at <= end <= one.latest for one in asked)
        night = {self.night(end - 300.0), self.night(end)}
        most = output.spec.get("max_starts_per_hour", LAMP_STARTS)
        starts = [move.at for move in output.moves if move.value and move.at > end - 3600.0]
        spent = not output.state(end) and len(starts) >= most  # commands used up those of the hour
        known = held or spent or bool(output.state(end)) in night or not self.answers(output.slave, end)
        self.must(known, end, f"{name} is {output.state(end)} in the end")

    def night(self, at: float) -> bool:
        """Whether the sun stands 6 degrees or more below the horizon."""
        return elevation(self.world.village.start_ms / 1000 + at) < -6.0

    def tank(self) -> None:
        well = self.all["well"]
        if not well.slave.lied:
            ruled = self.world.village.is_ruled
            low, full, brim = (50.0, 69.1, 70.0) if ruled else (40.0, 85.0, 95.0)
            self.follows(well, 0, low, full, 1.0, rising=True, sure=2 if ruled else 4)
            self.never(well, 0, full + 1.0, LATE + well.seconds("min_on"), "the tank is full")
            self.never(well, 0, brim + 1.0, LATE, "an interlock holds it off")

    def heater(self) -> None:
        burner = self.all["burner"]
        if not burner.slave.lied:
            self.follows(burner, 0, 18.7, 19.3, 0.1, rising=False)
            self.never(burner, 1, 75.0 + 2.0, LATE, "the flow is too hot")
            curve = 70.0 - 0.8 * (min(15.0, max(-10.0, burner.slave.process.outdoors)) + 10.0)
            patience = LATE + burner.seconds("min_on")
            self.never(burner, 1, curve + 3.0 + 2.0, patience, "the flow is above the heat curve", by=2)
            self.never(burner, 1, 70.0 + 3.0 + 2.0, patience, "the flow is above that of the coldest day")
        for move in burner.moves:  # without the time the room is kept at its reduced temperature
            around = (move.at + half / 2 for half in range(-10, 11))  # a write is under way for a while
            unknown = all(lag(self.world, at) for at in around)
            warm = move.shown[0] > 16.3 + 0.1 and not _any(burner.slave.failed, move.at - BLIND, move.at)
            self.must(not (move.value and unknown and warm), move.at, f"burner went on at {move.shown[0]:.2f}, untimed")

    def follows(
        self, output: Output, which: int, low: float, high: float, tolerance: float, *, rising: bool, sure: int = 4
    ) -> None:
        """It goes on when its value was below `low`, and not yet above `high` since, as `sure` answers in a row tell;
        goes off by the value alone if `rising`, and other rules may switch it off too where not."""
        slave, wants, above = output.slave, False, 0
        told = [(at, value, None) for at, value in _told(slave, which)]
        moves = [(move.at, move.shown[which], move) for move in output.moves]
        seen, since, full = [at for at, _, _ in told], 0.0, 0.0
        for at, value, move in sorted((*told, *moves), key=lambda one: one[0]):
            above = above + 1 if value >= high + tolerance and move is None else 0
            wanted, wants = wants, value <= low + tolerance or (wants and above < sure)
            full = at if wanted and not wants else full
            if move is None or move.fell:
                continue
            blind = _any(slave.failed, at - BLIND, at) or not _any(seen, at - STALE, at)
            if move.value:
                since = at
                known = wants or blind or self.forgot(full, at)
                self.must(known, at, f"{output.name} went on at {value:.2f}")
            elif rising:
                longest = output.seconds("max_on")
                known = value >= high - tolerance or blind or self.stops(at) or self.begins(at)
                known = known or (output.name == "well" and self.seems_dry(at))
                known = known or self.crashed(since, at) or at >= since + longest - 1.0 or self.forgot(since, at)
                self.must(known, at, f"{output.name} went off at {value:.2f}")

    def never(
        self, output: Output, which: int, limit: float, patience: float, why: str, by: int | None = None
    ) -> None:
        """It is not on for longer than `patience` while the module answers that the value is beyond the limit.

        Where the limit goes by another value (`by`), it is answered too: a point that its module refused is not asked
        for ten minutes.
        """
        slave, first, before = output.slave, math.inf, -math.inf
        others = [at for at, _ in _told(slave, which if by is None else by)]
        for at, value in _told(slave, which):
            unbroken = at - before < 20.0 and not _any(slave.failed, before, at) and _any(others, at - 20.0, at)
            unbroken = unbroken and not _any(self.diary.begun, before, at)
            before = at
            if not unbroken or value < limit or not output.state(at):
                first = math.inf
                continue
            first = min(first, at)
            if at - first > patience:
                self.must(False, at, f"{output.name} is on since {first:.3f} s, and {why}: {value:.1f}")
                first = math.inf

    def limits(self, output: Output, broken_by: Any) -> None:
        """min_on, min_off and starts an hour; `broken_by` tells which moves a lower priority may have made."""
        shortest = {0: output.seconds("min_on"), 1: output.seconds("min_off")}
        for last, one, two in zip([None, *output.moves], output.moves, output.moves[1:], strict=False):
            since = last.at if one.fell and last is not None else one.at  # what was on has fallen: if that is known
            kept = two.at - one.at >= shortest[two.value] - 0.5
            excused = two.fell or self.forgot(since, two.at) or _any(self.died, one.at - 0.5, one.at + self.moment)
            excused = excused or (not two.value and broken_by(two))
            excused = excused or (not two.value and self.stops(two.at))
            self.must(kept or excused, two.at, f"{output.name} went to {two.value} after {two.at - one.at:.1f} s")
        most = output.spec.get("max_starts_per_hour")
        back = [two.at for one, two in pairwise(output.moves) if one.fell and output.name in LAMPS]
        starts = [one.at for one in output.moves if one.value and one.at not in back]
        starts = [at for at in starts if not _any(self.died, at - 0.5, at + self.moment)]
        for first, last in zip(starts, starts[most:] if most else [], strict=False):
            kept = last - first >= 3599.0 or self.forgot(first, last)
            self.must(kept, last, f"{output.name} started {most + 1} times in {last - first:.0f} s")

    def longest(self, output: Output) -> None:
        """max_on: it is not on for longer while somebody is there who could switch it off."""
        most = output.seconds("max_on")
        ends = [*(move.at for move in output.moves[1:]), self.world.loop.time()] if output.moves else []
        for move, until in zip(output.moves, ends, strict=True):
            if not most or not move.value or until - move.at <= most + SLACK:
                continue
            over = move.at + most + LATE
            seen = next((at for at in output.slave.good if over < at < until and self.rules(output.slave, at)), None)
            kept = seen is None or self.forgot(move.at, until) or _any(output.slave.ignored, move.at, until)
            self.must(kept, until, f"{output.name} was on for {until - move.at:.0f} s, since {move.at:.3f} s")

    def not_again(self, output: Output, *names: str) -> None:
        """What max_on switched off stays off, until a new command comes."""
        most, asked = output.seconds("max_on"), self.asked(output.name, *names)
        for began, ended, again in zip(output.moves, output.moves[1:], output.moves[2:], strict=False):
            lasted, rested = ended.at - began.at, again.at - ended.at
            if not began.value or ended.fell or not most - 1.0 <= lasted <= most + SLACK:
                continue
            new = any(one.body["value"] and ended.at - SLACK <= one.at <= again.at for one in asked)
            unsure = self.forgot(ended.at, again.at) or _any(self.died, ended.at - 0.5, ended.at + self.moment)
            self.must(new or unsure, again.at, f"{output.name} went on again, {rested:.0f} s after max_on")

    def gone(self) -> None:
        """An output that left the file is in its safe state, where it answers."""
        lamp = self.all["lamp"]
        for saved in self.diary.without_lamp:
            until = next((at for at in self.diary.edited if at > saved), self.world.loop.time())
            seen = next((at for at in lamp.slave.good if saved + LATE < at < until and self.rules(lamp.slave, at)
                         and not _any(lamp.slave.failed, at - AGAIN, at)), None)  # fmt: skip
            kept = seen is None or not lamp.state(seen) or _any(lamp.slave.ignored, saved, seen)
            self.must(kept, seen or saved, f"the lamp left the file at {saved:.3f} s, and is on")

    def looped(self, output: Output, *names: str) -> None:
        """Who began after three crashes in ten minutes holds it in its safe state, until a new command comes."""
        asked, ends = self.asked(output.name, *names), [*self.diary.begun[1:], self.world.loop.time()]
        for begun, until in zip(self.diary.begun, ends, strict=True):
            seen = next((at for at in output.slave.good if at > begun + LATE), math.inf)
            if not self.surely_loops(begun) or seen > until - SLACK or not self.answers(output.slave, seen):
                continue
            known = any(begun - SLACK <= one.at <= seen for one in asked)
            known = known or _any(output.slave.ignored, begun - CRASHES_WITHIN, seen)
            self.must(known or not output.state(seen), seen, f"{output.name} is on, and three lives have crashed")

    def surely_loops(self, begun: float) -> bool:
        """Whether this life knows that it is the third within ten minutes that began after a crash."""
        since = begun - CRASHES_WITHIN + 10.0
        if self.steps or self.world.clock_late or any(begin <= begun and end >= since for begin, end in self.hurt):
            return False
        lives = [(one, end) for one, end in zip(self.diary.begun, self.died, strict=False) if since < end <= begun]
        crashed = [end for one, end in lives if not _any(self.diary.stopped, end, end)]
        return len(crashed) >= 3 and all(end - one > self.moment + 1.0 for one, end in lives)

    def dry(self, since: float, until: float) -> bool:
        """Whether the well gave nothing for a while."""
        return any(begin <= until and end >= since for begin, end in self.diary.dry)

    def seems_dry(self, at: float) -> bool:
        """Whether the well gave nothing lately; where its meter began again, the agent may be late to say so."""
        resets = [reset for reset, _ in self.all["well"].slave.process.resets]
        late = DOUBT if _any(resets, at - 120.0 - DOUBT, at) else 0.0
        return self.dry(at - 120.0 - late, at)

    def never_dry(self) -> None:
        """The pump does not turn in the air for longer than its rule says, and rests for 5 min after that.

        A flow that is not read for a while protects from nothing, and a life that begins counts anew. A meter that
        begins again shows nothing until it is known.
        """
        well = self.all["well"]
        ends = [*(move.at for move in well.moves[1:]), self.world.loop.time()] if well.moves else []
        for n, (move, until) in enumerate(zip(well.moves, ends, strict=True)):
            for begin, end in self.diary.dry if move.value else ():
                since, last = max(begin, move.at), min(end, until)
                seen = not _any(well.slave.failed, since - STALE, last) and not _any(self.diary.begun, since, last)
                dried = last - since > DRY - 15.0 and seen and not well.slave.lied
                resets = [reset for reset, _ in well.slave.process.resets]
                longest = DRY + LATE + (DOUBT if _any(resets, since - DOUBT, last) else 0.0)
                self.must(not dried or last - since <= longest, last, f"the pump ran dry since {since:.3f} s")
                after = next((one for one in well.moves[n + 1 :] if one.value), None)
                level = well.moves[n + 1].shown[0] if n + 1 < len(well.moves) else 100.0
                if dried and last == until and level < 84.0 and after is not None and not self.stops(until):
                    rested = after.at - until >= REST - 2.0 or _any(self.died, until - 1.0, after.at)
                    self.must(rested, after.at, f"the pump went on {after.at - until:.0f} s after it ran dry")

    def staggered(self, *names: str) -> None:
        """Contactors of lamps go on 10 s apart (the page of lighting)."""
        moves = sorted((move.at, name) for name in names for move in self.all[name].moves if move.value)
        slave = self.all[names[0]].slave
        for (before, one), (at, two) in pairwise(moves):
            kept = one == two or at - before >= STAGGER - 0.5
            unsure = _any(slave.failed, before - SLACK, at) or _any(slave.ignored, before - SLACK, at)
            unsure = unsure or _any(self.died, before - 0.5, before + self.moment) or self.forgot(before, at)
            self.must(kept or unsure, at, f"{two} went on {at - before:.1f} s after {one}")

    def safe(self) -> None:
        """After an orderly stop each output that answers is in its safe state."""
        for at in self.diary.stopped:
            if not _any(self.diary.begun, 0.0, at - 20.0) or _any(self.diary.begun, at - 20.0, at):
                continue  # it had not taken up its outputs
            for output in self.all.values():
                wanted = output.spec["safe_state"]
                if wanted == "hold" or not self.answers(output.slave, at) or _any(output.slave.ignored, at - 700.0, at):
                    continue
                state = output.state(at)
                kept = state == {"off": 0, "on": 1}.get(wanted, wanted)
                self.must(kept, at, f"{output.name} is {state} after a stop")

    def answers(self, slave: Slave, at: float) -> bool:
        """Whether the module answered all that it was asked lately, up to this moment.

        That the agent took leave of it at its own end is no failure.
        """
        failures = _count(slave.failed, at - 30.0, at) - _count(slave.parted, at - 4.0, at)
        return failures == 0 and _any(slave.good, at - 20.0, at) and not _any(slave.fell, at - 30.0, at)


def _told(slave: Slave, which: int) -> list[tuple[float, float]]:
    """What its module answered of one of its values, and when (virtual s)."""
    return [(at, value) for at, shown in slave.told if (value := shown[which]) is not None]


def judge(world: Any) -> None:
    """What was broken is added to the world's judge."""
    found = Outputs(world)
    found.commanded("lamp", "m.relay1")
    found.commanded("fan", "m.dimmer")
    found.ended("lamp", "m.relay1")
    found.ended("fan", "m.dimmer")
    found.looped(found.all["lamp"], "m.relay1")
    found.looped(found.all["fan"], "m.dimmer")
    found.gone()
    found.levels()
    found.restored()
    if "fountain" in found.all:
        found.commanded("fountain", "gpio.22")
        found.ended("fountain", "gpio.22")
        found.limits(found.all["fountain"], lambda move: False)
        found.not_again(found.all["fountain"], "gpio.22")
        found.looped(found.all["fountain"], "gpio.22")
    found.street("street", "m.relay2")
    if "square" in found.all:
        found.street("square", "m.relay3")
        found.limits(found.all["square"], lambda move: False)
        found.staggered("street", "square")
    for output in found.all.values():
        found.longest(output)
    found.tank()
    found.never_dry()
    found.heater()
    found.limits(found.all["street"], lambda move: False)
    for name, which, limit in (("well", 0, 69.0 if world.village.is_ruled else 94.0), ("burner", 1, 73.0)):
        found.limits(found.all[name], partial(_interlocked, found.all[name].slave, which, limit))
    found.safe()


def _interlocked(slave: Slave, which: int, limit: float, move: Move) -> bool:
    """Whether a rule that goes before the limits may have moved it: too full, too hot, or nothing known."""
    return move.shown[which] >= limit or _any(slave.failed, move.at - BLIND, move.at)


def _any(times: list[float], since: float, until: float) -> bool:
    return _count(times, since, until) > 0


def _count(times: list[float], since: float, until: float) -> int:
    return bisect_right(times, until) - bisect_left(times, since)


def elevation(seconds: float) -> float:
    """Degrees of the sun over the horizon at the village, by Unix seconds: within 0.1 degree.

    The Astronomical Almanac, "Low-precision formulas for the Sun".
    """
    days = seconds / 86_400 - 10_957.5
    mean = math.radians((280.460 + 0.9856474 * days) % 360)
    anomaly = math.radians((357.528 + 0.9856003 * days) % 360)
    longitude = mean + math.radians(1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    tilt = math.radians(23.439 - 4e-7 * days)
    ascension = math.atan2(math.cos(tilt) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(tilt) * math.sin(longitude))
    sidereal = math.radians((280.46062 + 360.98564737 * days + LONGITUDE) % 360)
    place = math.radians(LATITUDE)
    hour = sidereal - ascension
    height = math.sin(place) * math.sin(declination) + math.cos(place) * math.cos(declination) * math.cos(hour)
    return math.degrees(math.asin(height))
