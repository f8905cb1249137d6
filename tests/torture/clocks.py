"""The wall clock jumps (libfaketime; monotonic time goes on): lamps stay, commands and dates go by the true time.

A jump lasts for seconds here, and is followed after ten minutes: what is proven is what happens until then.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.torture.rig import Unsettled, Verdict, Village, village, wait_for

# The one for several threads: with the other a thread may see no offset while the next one reads the file.
_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_JUMPS = {"1970": -time.time(), "+2 h": 7200.0, "a day on": 86400.0, "-2 h": -7200.0}
_KILLED_IN = "-2 h"
_NEAR = 5.0
"""Seconds by which a date may be off; the smallest jump is of two hours."""


def steps(folder: Path, times: int) -> Verdict:
    """Each jump, and back, in one village: no lamp edge, commands judged by the true time, the alarm, true dates."""
    if not _LIBRARIES:
        raise Unsettled("libfaketime is not here: apt-get install faketime")
    with village(folder) as place:
        jumps = _Jumps(place)
        for turn in range(times):
            for name, seconds in _JUMPS.items():
                jumps.jump(f"{turn}-{name}", seconds, killed=name == _KILLED_IN)
        return jumps.verdict()


class _Jumps:
    """A village under a wall clock that is ours."""

    def __init__(self, place: Village) -> None:
        self._place, self._stand = place, place.folder / "faketime"
        self._broken: list[str] = []
        self._expired = self._asked = 0
        self._began = time.time()
        self._set(0)
        place.site.env |= {
            "LD_PRELOAD": str(_LIBRARIES[0]), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._stand),
        }  # fmt: skip
        _lamps(place)
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"))
        place.polls(20)
        self._lit, self._writes = place.slave.coils[0], place.edges()
        if not self._lit:
            self._broken.append("the lamp is not lit in the evening")

    def jump(self, name: str, seconds: float, killed: bool) -> None:
        """There and back. `killed`: meanwhile the process is, and its successor must know better than the clock."""
        place = self._place
        raised, cleared = self._count("alarm"), self._count("cleared")
        self._set(seconds)
        wait_for(lambda: self._count("alarm") > raised, 20, f"the alarm of the clock ({name})")
        self._commands(name.replace(" ", "").replace("+", "p"))
        if killed:
            wait_for(lambda: "clock.anchor" in place.site.facts(), 20, "the anchor on flash")
            place.kill()
            place.site.start()
            self._commands(name.replace(" ", "") + "-killed")
            told = f"clock_step in bocage alarms ({name}, killed)"
            wait_for(lambda: "clock_step" in place.site.bocage("alarms", check=0).stdout, 20, told)
        place.polls(20)
        self._set(0)
        wait_for(lambda: self._count("cleared") > cleared, 20, f"the end of the alarm ({name})")
        place.polls(20)
        if self._count("alarm") > raised + 1 + killed:  # a kill may forget what was said in the 10 s before
            self._broken.append(f"{name}: the alarm was raised more than once: {self._told('alarm')[raised:]}")
        if place.slave.coils[0] is not self._lit:
            self._broken.append(f"{name}: a lamp was switched")

    def _commands(self, name: str) -> None:
        """Two that end a minute before and after now: by the clock that jumped, one of them would go another way."""
        place, now = self._place, round(time.time() * 1000)
        value = not place.slave.coils[1]
        place.subscriber.send(f"late-{name}", point="m.relay2", value=not value, expires_at=now - 60_000)
        place.subscriber.send(f"valid-{name}", point="m.relay2", value=value, expires_at=now + 60_000)
        for command, end in ((f"late-{name}", "expired"), (f"valid-{name}", "verified")):
            wait_for(lambda command=command: self._end(command), 20, f"the end of {command}")
            if self._end(command) != end:
                self._broken.append(f"{command} is {place.subscriber.results(command)[-1]}")
        self._expired += 1
        self._asked += 1
        self._writes.append((1, value))

    def _end(self, command: str) -> str | None:
        ends = {"expired", "rejected", "verified", "failed", "mismatch", "unknown"}
        return next((state for state in self._place.subscriber.states(command) if state in ends), None)

    def verdict(self) -> Verdict:
        place = self._place
        place.settle()
        subscriber, until = place.subscriber, time.time()
        dates = [at for _, _, at, *_ in subscriber.readings.values()]
        records = [document for topic, document, _ in subscriber.messages if topic.endswith(("event", "/result"))]
        dates += [record["t"] for record in records if "k" in record]
        wrong = [at for at in dates if at is None or not self._began - _NEAR < at / 1000 < until + _NEAR]
        edges = place.edges()
        unasked = len(edges) - len(self._writes)
        found = place.verdict(**{"edges unasked": unasked, "expired": self._expired, "carried out": self._asked})
        found.broken += self._broken
        found.must(edges == self._writes, f"moved {edges}, asked for {self._writes}")
        found.must(not wrong, f"{len(wrong)} of {len(dates)} dates are wrong, such as {wrong[:3]}")
        return found

    def _count(self, kind: str) -> int:
        return len(self._told(kind))

    def _told(self, kind: str) -> list[dict[str, Any]]:
        """The alarms of the clock, of a step or of a time that cannot be, in order; one that was sent twice is one."""
        subscriber = self._place.subscriber
        events = [*subscriber.events("clock_step", kind), *subscriber.events("clock_refused", kind)]
        return [event for _, event in sorted({tuple(event["k"]): event for event in events}.items())]

    def _set(self, seconds: float) -> None:
        """The offset of the faked wall clock; the file is replaced as a whole, it is read at each call."""
        fresh = self._stand.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}\n")
        fresh.rename(self._stand)


def _lamps(place: Village) -> None:
    """A street that burns from dusk, about 18:20 on the equator, to 21:00, in a place where it is after 19:00 now.

    So a clock that is believed would switch it, two hours earlier as well as two hours later.
    """
    east = (19 - datetime.now(UTC).hour + 11) % 24 - 11
    place.site.document["site"] |= {"latitude": 0.0, "longitude": 15.0 * east, "timezone": f"Etc/GMT{-east:+d}"}
    place.site.document["actuators"]["lamp"] |= {"safe_state": "hold", "boot_state": "recompute"}
    place.site.document["lighting"] = {
        "circuits": {
            "street": {
                "actuator": "lamp", "rated_power": "100 W", "lamp": {"type": "led", "count": 4},
                "switch_on": {"event": "civil_dusk"}, "switch_off": {"time": "21:00"},
            }
        }
    }  # fmt: skip
