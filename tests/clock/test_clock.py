"""When the wall clock is believed, and how it is followed."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from agent import BUILT, clock
from agent.clock import SystemClock, Wall

NOON = 1_768_478_400  # 2026-01-15T12:00:00Z
S = 10**9
BUILT_MS = (NOON - 30 * 86400) * 1000
WEEKS = 1024 * 7 * 86400.0


class Box:
    """A machine whose clock stands `off` seconds beside the true time; its boot began at noon."""

    def __init__(self, boot="boot-1", memory=None, begun=0, at=0.0):
        self.boot, self.memory, self.begun, self.seconds, self.off, self.trusted = boot, memory, begun, at, 0.0, True
        self.restart()

    def restart(self):
        """The agent's process begins anew."""
        self.wall = Wall(self.boot, round(self.seconds * S), self.memory, BUILT_MS)

    @property
    def true(self):
        return NOON + self.begun + self.seconds

    def error(self, later=0.0):
        """By how many seconds our wall time is wrong, so many seconds later; None if there is none."""
        self.seconds += later
        machine = round((self.true + self.off) * S) if self.trusted else None
        wall_ms = self.wall.at(round(self.seconds * S), machine)
        return None if wall_ms is None else round(wall_ms / 1000 - self.true, 3)

    def news(self):
        return [what for what, _ in self.wall.take_news()]


class Flash(dict):
    """Facts as they come back from a file."""

    def put(self, key, value):
        self[key] = json.loads(json.dumps(value))


@pytest.fixture
def flash():
    return Flash()


@pytest.fixture
def box(flash):
    made = Box(memory=flash)
    assert made.error() == 0 and made.news() == []
    return made


@pytest.mark.parametrize("off", [0.3, -0.3, 5, -5, 59, -59])
def test_a_correction_of_less_than_a_minute_is_followed_at_once(box, off):
    box.off = off
    assert box.error(1) == off
    assert box.news() == (["clock"] if abs(off) >= 2 else [])


def test_what_passes_between_two_looks_at_two_clocks_is_no_correction(box):
    for off in (0.01, -0.015, 0.005):
        box.off = off
        assert box.error(1) == 0


@pytest.mark.parametrize("off", [-7 * 86400, 7200, -7200, 86400, 61, -61])
def test_a_step_is_an_alarm_and_is_followed_only_once_it_has_held(box, off):
    box.off = off
    assert box.error(1) == 0 and box.wall.take_news() == [("alarm", off)]
    assert box.wall.due() == pytest.approx(601)
    assert box.error(599.9) == 0 and box.news() == []
    assert box.error(0.1) == pytest.approx(off, abs=0.001) and box.wall.take_news() == [("clock", off), ("cleared", 0)]
    assert box.wall.due() == float("inf")
    assert box.error(10_000) == pytest.approx(off, abs=0.001) and box.news() == []


def test_a_step_that_goes_back_was_never_followed(box):
    box.off = -7200
    assert box.error(1) == 0
    box.off = 0.4
    assert box.error(300) == 0.4
    assert box.news() == ["alarm", "cleared"]


def test_another_step_begins_the_ten_minutes_anew_and_is_no_second_alarm(box):
    box.off = 7200
    box.error(1)
    box.off = 7300
    assert box.error(500) == 0 and box.error(500) == 0
    assert box.error(100) == 7300
    assert box.news() == ["alarm", "clock", "cleared"]


def test_a_trust_that_is_lost_begins_the_ten_minutes_anew(box):
    box.off = 7200
    box.error(1)
    box.trusted = False
    assert box.error(300) is None and box.wall.due() == float("inf")
    box.trusted = True
    assert box.error(301) == 0 and box.error(599) == 0 and box.error(1) == 7200


def test_the_anchor_outlives_the_process_and_the_alarm_is_not_said_twice(box):
    box.off = -7200
    box.error(1)
    assert box.news() == ["alarm"]
    box.restart()
    assert box.error(5) == 0, "the step is still one"
    assert box.news() == []
    box.off = 0
    box.error(5)
    assert box.news() == ["cleared"]
    box.off = 86400
    box.restart()
    assert box.error(1) == 0 and box.news() == ["alarm"], "a step while no process ran"


def test_the_first_time_of_a_boot_is_followed_at_once(box, flash):
    box.error(3600)
    later = Box("boot-2", flash, begun=7200)
    later.trusted = False
    assert later.error(10) is None
    guess = later.wall.offset_ns / S + 10
    assert guess == pytest.approx(NOON + 3600 + 10, abs=1), "calendars go on from what an earlier boot knew last"
    later.trusted, later.off = True, 0
    assert later.error(10) == 0 and later.news() == ["clock"]
    later.off = 7200
    assert later.error(10) == 0 and later.news() == ["alarm"]


def test_a_crash_in_a_boot_that_knows_no_time_does_not_turn_it_back(box, flash):
    """It began from what an earlier boot knew, and five minutes have passed since: lamps went off for that."""
    box.error(3600)
    later = Box("boot-2", flash)
    later.trusted = False
    for _ in range(3):
        later.error(300)
        later.restart()
    assert later.wall.offset_ns / S + later.seconds == pytest.approx(NOON + 3600 + 900, abs=1)
    later.trusted, later.off = True, -7200
    assert later.error(1) is None and later.news() == ["refused"], "what the earlier boot knew is still the earliest"


def test_time_that_passed_untrusted_is_kept_too(flash):
    """A box that is switched off every evening and never sees a network: its days go on."""
    box = Box(memory=flash)
    box.error()
    for day in range(3):
        box = Box(f"boot-{day + 2}", flash)
        box.trusted = False
        for _ in range(8 * 6):
            box.error(600)
    assert flash["anchor"]["wall_ms"] / 1000 == pytest.approx(NOON + 3 * 8 * 3600, abs=600)
    assert flash["anchor"]["sure"] is False


@pytest.mark.parametrize("rubbish", [None, 7, [], {}, {"boot": "boot-1"}])
def test_a_fact_that_is_none_is_no_anchor(rubbish):
    box = Box(memory=Flash(anchor=rubbish))
    assert box.wall.offset_ns is None and box.error() == 0


@pytest.mark.parametrize("off", [-WEEKS, 315964800 - NOON, -31 * 86400])
def test_a_time_before_the_program_was_made_is_never_followed(box, off):
    box.off = off
    for _ in range(18):
        assert box.error(600) == 0
    assert box.news() == ["refused"]
    box.restart()
    assert box.error(1) == 0 and box.news() == []
    box.off = 0
    assert box.error(1) == 0 and box.news() == ["believed"]


@pytest.mark.parametrize("off", [-WEEKS, -25 * 3600, -7200])
def test_a_boot_does_not_begin_before_what_an_earlier_one_knew(box, flash, off):
    """Whatever lies before the kept anchor, calendars go on from there, and no reading is dated by it."""
    box.error(3600)
    later = Box("boot-2", flash, begun=3660)
    later.off = off
    for _ in range(6):
        assert later.error(600) is None
    assert later.news() == ["refused"] and not later.wall.believes
    assert later.wall.offset_ns / S == pytest.approx(NOON + 3600, abs=60)
    again = Box("boot-3", flash, begun=3660 + 3600)
    again.off = off
    assert again.error(1) is None and again.news() == [], "an alarm that stands is not said twice"
    again.off = 0
    assert again.error(1) == 0 and again.news()[0] == "believed"


def test_the_first_boot_of_all_waits_for_a_time_that_can_be(flash):
    box = Box(memory=flash)
    box.off = 315964800 - NOON
    assert box.error(1) is None and box.news() == ["refused"] and box.wall.offset_ns is None
    box.off = 0
    assert box.error(1) == 0


def test_an_anchor_of_the_future_is_not_for_ever(box, flash):
    """A wrong year that held for ten minutes was kept. A small mistake passes by itself, a great one with `reset`."""
    box.off = 7200
    box.error(1)
    box.error(600)
    later = Box("boot-2", flash, begun=1000)
    assert later.error(1) is None
    assert later.error(7200) == 0, "the true time has come to the anchor"
    later.off = 300 * 86400
    later.error(1)
    later.error(600)
    last = Box("boot-3", flash, begun=10_000)
    assert last.error(86400) is None
    last.wall.reset()
    assert last.error(1) == 0
    last.restart()
    assert last.error(1) == 0
    assert Box("boot-4", flash, begun=200_000).error(1) == 0


def test_what_an_earlier_program_kept_is_an_anchor_too(flash):
    flash.put("anchor", {
        "boot": "boot-0", "boottime_ms": 5, "wall_ms": NOON * 1000, "sure": True, "alarmed": False
    })  # fmt: skip
    box = Box("boot-1", flash)
    box.off = -7200
    assert box.error(1) is None and box.news() == ["refused"]


def test_the_program_knows_its_own_day():
    built = datetime.fromisoformat(BUILT).replace(tzinfo=UTC)
    assert datetime(2026, 1, 1, tzinfo=UTC) < built < datetime.now(UTC)


def test_a_suspend_is_no_step(box):
    """CLOCK_BOOTTIME counts through it."""
    assert box.error(30_000) == 0 and box.news() == []


def test_somebody_is_told_at_once(box):
    told = []
    box.wall.told = lambda: told.append(box.seconds)
    box.error(1)
    assert told == []
    box.off = 7200
    box.error(1)
    box.trusted = False
    box.error(1)
    box.error(1)
    box.trusted = True
    box.error(1)
    assert told == [2, 3, 5]


# -- the machine's -----------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """No override; timesyncd's folder is there; the kernel's word is a list to be filled."""
    monkeypatch.delenv("BOCAGE_CLOCK", raising=False)
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    monkeypatch.setattr(clock, "_TIMESYNC", tmp_path / "timesync")
    said = []
    monkeypatch.setattr(clock, "_kernel_synchronised", lambda: bool(said))
    return tmp_path / "timesync", said


def test_auto_is_what_timesyncd_says(machine, monkeypatch):
    folder, kernel = machine
    folder.mkdir()
    kernel.append("yes")
    made = SystemClock()
    assert not made.trusted and made.now().wall_ms is None, "timesyncd runs and has not set it"
    (folder / "synchronized").touch()
    assert not made.trusted, "asked once a second"
    monkeypatch.setattr(made, "_asked_at", float("-inf"))
    assert made.trusted and abs(made.now().wall_ms / 1000 - time.time()) < 5


def test_a_clock_that_is_set_while_it_is_asked_for_gives_the_time_after_that(machine, monkeypatch):
    """The daemon steps the clock from 1970, and says so, between two calls of ours."""
    stands = [0]

    def synchronised():
        stands[0] = NOON * S
        return True

    monkeypatch.setattr(clock.time, "time_ns", lambda: stands[0])
    monkeypatch.setattr(clock, "synchronised", synchronised)
    made = SystemClock()
    made.wall = Wall(made.boot)
    assert made.now().wall_ms == NOON * 1000


def test_auto_is_what_the_kernel_says_where_there_is_no_timesyncd(machine, monkeypatch):
    _, kernel = machine
    assert not SystemClock().trusted
    kernel.append("yes")
    assert SystemClock().trusted
    monkeypatch.setenv("INVOCATION_ID", "1")
    assert not SystemClock().trusted, "the unit forbids to ask"


@pytest.mark.parametrize(
    ("trust", "override", "trusted"),
    [("always", "", True), ("never", "", False), ("never", "trusted", True), ("always", "untrusted", False)],
)
def test_a_fixed_word(machine, monkeypatch, trust, override, trusted):
    monkeypatch.setenv("BOCAGE_CLOCK", override)
    assert SystemClock(trust).trusted is trusted


STEPPED = """
import sys, time
from agent.clock import SystemClock
from pathlib import Path
clock = SystemClock()
stand = Path(sys.argv[1])
for shift in ("+0", "-7200", "+86400"):
    stand.write_text(shift)
    now = clock.now()
    print(now.wall_ms, now.boottime_ns, time.time())
"""


def test_a_real_clock_that_is_set_is_not_followed(tmp_path, faketime):
    """Under libfaketime, with the override that says that it is trusted: the rule is the same."""
    stand = tmp_path / "stand"
    stand.write_text("+0")
    program = [sys.executable, "-c", STEPPED, str(stand)]
    done = subprocess.run(program, env=faketime(stand), capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    ours = [int(wall) / 1000 for wall, _, _ in rows]
    machines = [float(wall) for *_, wall in rows]
    assert machines[1] - machines[0] < -7000 and machines[2] - machines[0] > 86000, "the fake works"
    assert max(abs(one - time.time()) for one in ours) < 60, [datetime.fromtimestamp(one, UTC) for one in ours]
