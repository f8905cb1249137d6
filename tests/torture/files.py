"""The site file is broken and the power goes: control goes on by the file that was applied last."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.torture.rig import PROFILE, Verdict, Village, village, wait_for

Deed = Callable[[Village], None]


def wrong(folder: Path, turns: int) -> Verdict:
    """Each wrong file, a power cut, a pump that must still react, the alarm, and its end when the file is mended."""
    with village(folder) as place:
        place.with_tank()
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"))
        reactions = 0
        for turn in range(turns):
            for name, deed in _DEEDS.items():
                reactions += _one(place, f"{turn}-{name}", deed)
        place.settle()
        found = place.verdict(wrong=turns * len(_DEEDS), reactions=reactions)
        found.must(reactions == 2 * turns * len(_DEEDS), "the pump did not follow the level")
        return found


def _one(place: Village, name: str, deed: Deed) -> int:
    """Break the file, cut the power, look at what the agent does without it; then mend the file."""
    raised, cleared = _told(place, "alarm"), _told(place, "cleared")
    deed(place)
    place.cut_power()
    place.site.launch()
    reactions = 0
    for level, on in ((8_000, True), (18_400, False)):  # uA: 25 % and 90 % of the tank
        place.slave.registers[1] = level
        wait_for(lambda on=on: place.slave.coils[1] is on, 30, f"{name}: the pump {'on' if on else 'off'}")
        reactions += 1
    wait_for(lambda: _told(place, "alarm") > raised, 30, f"{name}: the alarm config_invalid")
    _mend(place)
    wait_for(lambda: _told(place, "cleared") > cleared, 30, f"{name}: the end of the alarm")
    return reactions


def _told(place: Village, kind: str) -> int:
    """How many there were; one that comes twice has the same key."""
    return len({tuple(event["k"]) for event in place.subscriber.events("config_invalid", kind)})


def _mend(place: Village) -> None:
    place.site.path.unlink(missing_ok=True)
    (place.site.path.parent / "profiles").mkdir(exist_ok=True)
    _profile(place).write_text(PROFILE)
    place.site.write()
    place.site.hup()


def _profile(place: Village) -> Path:
    return place.site.path.parent / "profiles" / "bench8.yaml"


def _typo(place: Village) -> None:
    text = place.site.path.read_text()
    place.site.path.write_text(text.replace("safe_state", "save_state", 1))


def _torn(place: Village) -> None:
    text = place.site.path.read_bytes()
    place.site.path.write_bytes(text[: len(text) // 2])


def _broken_profile(place: Village) -> None:
    _profile(place).write_text(_profile(place).read_text().replace("holding", "hodling", 1))


_DEEDS: dict[str, Deed] = {
    "typo": _typo,
    "torn": _torn,
    "empty": lambda place: place.site.path.write_text("") and None,
    "zeros": lambda place: place.site.path.write_bytes(bytes(4096)) and None,
    "gone": lambda place: place.site.path.unlink(),
    "profile": _broken_profile,
    "no-profiles": lambda place: shutil.rmtree(_profile(place).parent),
}
