"""Cards: one image in two boxes, and a backup that is put back. Nobody may give a number that somebody else gave."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.torture.rig import Site, Slave, Verdict, Village, village, wait_for


def cards(folder: Path, rounds: int) -> Verdict:
    """Two boxes from one card run together for a while; then the card of the first goes back to an old backup."""
    with village(folder) as place:
        place.site.env["BOCAGE_MACHINE"] = "box-a"
        place.site.start()
        place.polls(20)
        wait_for(lambda: place.collected("m.fixed"), 30, "the first readings")
        place.kill()
        _clone(place, folder, rounds)
        for turn in range(rounds):
            _restore(place, folder / f"backup-{turn}")
        place.settle()
        found = place.verdict(stores=len(place.accounts()))
        found.must(len(place.accounts()) >= 2 + rounds, f"{len(place.accounts())} stores of {2 + rounds}")
        found.must(len(place.subscriber.events("store_moved")) >= 1 + rounds, "another store began without a word")
        return found


def _clone(place: Village, folder: Path, rounds: int) -> None:
    """The same card in a second box, with the same site file and so the same client id."""
    other = folder / "box-b"
    other.mkdir()
    slave = Slave()
    with tempfile.TemporaryDirectory(prefix="bocage-torture-", dir="/dev/shm") as stage:
        (other / "run").symlink_to(stage)
        clone = Site(other, slave, place.link.port)
        shutil.copytree(place.site.folder / "state", other / "state")
        clone.document = {**place.site.document, "buses": clone.document["buses"]}
        clone.document["buses"]["plant"]["timeout"] = "5s"
        clone.env["BOCAGE_MACHINE"] = "box-b"
        try:
            clone.start()
            place.site.start()
            wait_for(lambda: place.subscriber.events("identity_taken", "alarm"), 120, "the alarm of two clients")
            place.polls(20 * rounds)
            place.site.stop()
            last = slave.registers[0]
            wait_for(lambda: last in place.collected("m.count"), 90, "the second box alone")
            clone.stop()
        finally:
            if clone.process is not None and clone.process.poll() is None:
                clone.kill()
            slave.close()
    place.site.start()
    place.polls(5)


def _restore(place: Village, backup: Path) -> None:
    """A backup made in order, life goes on, the backup comes back; for a while without a link."""
    state = place.site.folder / "state"
    place.settle()
    place.site.stop()
    shutil.copytree(state, backup)
    place.site.start()
    place.polls(20)
    place.settle()
    place.site.stop()
    shutil.rmtree(state)
    shutil.copytree(backup, state)
    place.link.cut()
    place.site.start()
    place.polls(20)
    place.link.mend()
    place.settle()
