"""What the flash does: full, read-only, I/O errors, a corrupt database, power cuts."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.faults import power_cut
from tests.torture.rig import Unsettled, Verdict, Village, village, wait_for

Deed = Callable[[Village], None]


def disk(folder: Path, times: int) -> Verdict:
    """Full, read-only and failing, with the link up and down: control goes on, the alarm, recovery by itself."""
    if os.geteuid() or not shutil.which("strace"):
        raise Unsettled("a small disk and failing system calls need root and strace")
    total = Verdict()
    for turn in range(times):
        total.add(_on_small_disk(folder / f"full-{turn}", "full", lambda place: _fill(_state(place)),
                                  lambda place: _empty(_state(place))))  # fmt: skip
        total.add(_on_small_disk(folder / f"read-only-{turn}", "read-only", _lock, _unlock))
        total.add(_failing(folder / f"eio-{turn}"))
    return total


def _on_small_disk(folder: Path, name: str, hurt: Deed, heal: Deed) -> Verdict:
    state = folder / "site" / "state"
    with village(folder) as place:
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k,mode=0700", "none", str(state)], check=True)
        try:
            return _hurt(place, name, hurt, heal)
        finally:
            if place.site.process is not None:
                place.site.kill()
            subprocess.run(["umount", "-l", str(state)], check=True)


def both_full(folder: Path, rounds: int) -> Verdict:
    """Flash and memory disk full together, kills at random moments, with the link up and down.

    What is only in memory when the agent is killed is lost; each number of it must be told, and none be used again.
    """
    if os.geteuid():
        raise Unsettled("small disks need root")
    dice = random.Random(rounds)
    with village(folder) as place:
        state = place.site.folder / "state"
        state.mkdir()
        disks = [state, (place.site.folder / "run").resolve()]
        for disk, size in zip(disks, ("900k", "200k"), strict=True):
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(disk)], check=True)
        try:
            place.site.start()
            place.polls(10)
            for _ in range(rounds):
                full = [one for one in disks if dice.random() < 0.8] or disks
                for disk in full:
                    _fill(disk)
                (place.link.mend if dice.random() < 0.7 else place.link.cut)()
                place.polls(dice.randrange(5, 40))
                place.kill()
                if dice.random() < 0.5:
                    for disk in full:
                        _empty(disk)
                place.site.start()
                place.polls(dice.randrange(1, 20))
                for disk in full:
                    _empty(disk)
            place.link.mend()
            place.polls(10)
            place.settle()
            return place.verdict(told_as_lost=True)
        finally:
            if place.site.process is not None:
                place.site.kill()
            for disk in disks:
                subprocess.run(["umount", "-l", str(disk)], check=True)


def _failing(folder: Path) -> Verdict:
    """Every write and sync of the agent's flash files gives EIO for a while."""
    with village(folder) as place:
        tracer: list[subprocess.Popen[bytes]] = []

        def hurt(place: Village) -> None:
            inject = "inject=pwrite64,fdatasync,fsync:error=EIO"
            command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync,fsync", "-e", inject]
            tracer.append(subprocess.Popen([*command, "-p", str(place.site.process.pid)]))

        def heal(place: Village) -> None:
            tracer[0].send_signal(signal.SIGINT)
            tracer[0].wait(10)

        return _hurt(place, "I/O errors", hurt, heal)


def _hurt(place: Village, name: str, hurt: Deed, heal: Deed) -> Verdict:
    place.site.document["uplink"]["durability_window"] = "1s"
    place.site.start()
    wait_for(lambda: place.collected("m.fixed"))
    place.link.cut()
    hurt(place)
    wait_for(lambda: _alarm(place), 60, f"the alarm ({name})")
    place.polls(30)
    for on in (True, False):
        state, reason = place.site.order("lamp", on)
        assert state == "verified", f"{name}: a technician's write: {state}, {reason}"
    place.link.mend()
    place.polls(10)
    heal(place)
    wait_for(lambda: place.subscriber.events("disk_full", "cleared"), 90, f"recovery without a restart ({name})")
    place.polls(10)
    place.settle()
    edges = len(place.slave.writes) - 2
    found = place.verdict(**{"edges unasked": edges})
    found.must(edges == 0, f"{name}: relays moved: {place.slave.writes}")
    return found


def _alarm(place: Village) -> bool:
    return any(alarm["code"] == "disk_full" for alarm in place.site.status()["alarms"])


def _state(place: Village) -> Path:
    return place.site.folder / "state"


def _fill(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass


def _empty(disk: Path) -> None:
    (disk / "filler").unlink(missing_ok=True)


def _lock(place: Village) -> None:
    """A card that went read-only: found so by a start, for a file system with open files does not let itself be."""
    place.kill()
    subprocess.run(["mount", "-o", "remount,ro", str(_state(place))], check=True)
    place.site.start()


def _unlock(place: Village) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(_state(place))], check=True)


def corrupt(folder: Path, times: int) -> Verdict:
    """The database is rubbish at the start: set aside, told, a new one is begun, and what the stage has is sent."""
    with village(folder) as place:
        place.site.start()
        for turn in range(times):
            place.polls(20)
            place.kill()
            state = place.site.folder / "state"
            (state / "outbox.db").write_bytes(b"\x00rubbish\xff" * 700)
            for name in ("outbox.db-wal", "outbox.db-shm"):
                (state / name).unlink(missing_ok=True)
            place.site.start()
            wait_for(lambda turn=turn: len(place.subscriber.events("store_corrupt", "alarm")) > turn, 20, "the alarm")
        place.polls(20)
        place.settle()
        found = place.verdict(stores=len(place.accounts()))
        found.must(len(place.accounts()) == times + 1, f"{len(place.accounts())} stores after {times} corruptions")
        return found


def power_cuts(folder: Path, states: int) -> Verdict:
    """Recorded writes of an outbox and a state file, cut anywhere, lost and torn: see tests/faults/power_cut.py."""
    if not shutil.which("strace"):
        raise Unsettled("writes cannot be recorded here: apt-get install strace")
    figures = power_cut.run(folder, states=states)
    found = Verdict(
        {
            "states": figures.states,
            "writes": figures.writes,
            "made": figures.readings,
            "delivered": figures.delivered,
            "explained": figures.explained,
            "lost": len(figures.faults),
        }
    )
    found.must(figures.states >= states, f"only {figures.states} states")
    found.must(not figures.faults, "; ".join(figures.faults[:5]))
    return found
