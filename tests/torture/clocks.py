"""The wall clock jumps (libfaketime; monotonic time goes on): lamps stay, readings are dated right afterwards."""

from __future__ import annotations

import time
from pathlib import Path

from tests.torture.rig import Unsettled, Verdict, Village, village, wait_for

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
_JUMPS = {"1970": -time.time(), "+2 h": 7200.0, "-2 h": -7200.0, "a day on": 86400.0}


def steps(folder: Path, times: int) -> Verdict:
    """Each jump, and back: no lamp edge, no expired command carried out, the alarm, true times afterwards."""
    if not _LIBRARIES:
        raise Unsettled("libfaketime is not here: apt-get install faketime")
    total = Verdict()
    for turn in range(times):
        for name, seconds in _JUMPS.items():
            total.add(_jump(folder / f"{turn}-{name}", name, seconds))
    return total


def _jump(folder: Path, name: str, seconds: float) -> Verdict:
    with village(folder) as place:
        stand = folder / "faketime"
        _set(stand, 0)
        place.site.env |= {
            "LD_PRELOAD": str(_LIBRARIES[0]), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(stand),
        }  # fmt: skip
        _lamps(place)
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"))
        lit = place.slave.coils[0]
        before = len(place.slave.writes)
        _set(stand, seconds)
        wait_for(lambda: place.subscriber.events("clock_step", "alarm"), 20, f"the alarm clock_step ({name})")
        expired = round((time.time() - 60) * 1000)
        place.subscriber.send("late", point="m.relay2", value="on", expires_at=expired)
        wait_for(lambda: {"expired", "rejected"} & set(place.subscriber.states("late")), 20, "the late command's end")
        place.polls(40)
        _set(stand, 0)
        wait_for(lambda: place.subscriber.events("clock_step", "cleared"), 20, "the end of the alarm")
        mark = time.time()
        place.polls(20)
        place.settle()
        place.subscriber.client.loop()
        ages = [at / 1000 - mark for (point, _, at, *_) in place.subscriber.readings.values() if at is not None]
        found = place.verdict(**{"edges unasked": len(place.slave.writes) - before})
        found.must(place.slave.coils[0] == lit, f"{name}: a lamp was switched")
        found.must(len(place.slave.writes) == before, f"{name}: {place.slave.writes[before:]}")
        found.must(abs(max(ages)) < 30, f"{name}: the newest reading is dated {max(ages):.0f} s off")
        return found


def _lamps(place: Village) -> None:
    """A street that burns from dusk to dawn, so that a clock that is believed would switch it."""
    place.site.document["actuators"]["lamp"] |= {"safe_state": "hold", "boot_state": "recompute"}
    place.site.document["lighting"] = {
        "circuits": {
            "street": {
                "actuator": "lamp", "rated_power": "100 W", "lamp": {"type": "led", "count": 4},
                "switch_on": {"event": "civil_dusk"}, "switch_off": {"event": "civil_dawn"},
            }
        }
    }  # fmt: skip


def _set(stand: Path, seconds: float) -> None:
    """The offset of the faked wall clock; the file is replaced as a whole, it is read at each call."""
    fresh = stand.with_suffix(".new")
    fresh.write_text(f"{seconds:+.0f}\n")
    fresh.rename(stand)
