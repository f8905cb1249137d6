"""What the flash can do to a whole agent: corrupt files, a full disk, a folder that cannot be written."""

import json
import subprocess

import pytest


def rows(site):
    return site.status()["outbox"]["rows"]


def test_corrupt_files_are_set_aside_told_and_nothing_stops(site, slave, link, subscriber, wait_for):
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    link.cut()
    assert site.order("lamp", True)[0] == "verified"
    wait_for(lambda: rows(site) > 30)
    site.kill()
    before = {store for store, _ in subscriber.readings}
    state = site.folder / "state"
    for name in ("outbox.db", "state.json"):
        (state / name).write_bytes(b"\x00garbage\xff" * 500)
    (state / "outbox.db-wal").unlink(missing_ok=True)
    (state / "state.previous.json").write_text('{"format": 1, "crc32": 1, "facts": {}}')
    link.mend()
    site.start()
    wait_for(lambda: len(subscriber.events("store_corrupt", "alarm")) >= 3, what="the alarms")
    told = json.dumps([event["detail"] for event in subscriber.events("store_corrupt", "alarm")])
    aside = [path.name for path in state.iterdir() if "corrupt-2" in path.name or "unreadable-2" in path.name]
    aside = [name for name in aside if not name.endswith(("-wal", "-shm"))]
    assert len(aside) == 3, aside
    assert all(name in told for name in aside)
    assert subscriber.events("store_corrupt", "gap")
    wait_for(lambda: {store for store, _ in subscriber.readings} - before, what="readings under a new store")
    assert site.order("lamp", False)[0] == "verified"
    assert site.stop()[0] == 0


@pytest.mark.slow
def test_a_full_disk(site, slave, link, small_disk, subscriber, wait_for):
    """Readings arrive and a technician commands; a command from afar is refused, for it cannot be put on record."""
    site.document["uplink"]["durability_window"] = "1s"
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(2_000_000))
    seen = len(subscriber.values("m.count"))
    assert site.order("lamp", True)[0] == "verified"
    subscriber.send("far", point="lamp", value="off", ttl_ms=5000)
    wait_for(lambda: subscriber.results("far"))
    refused = subscriber.results("far")[-1]
    assert (refused["state"], "recorded" in refused["reason"]) == ("rejected", True)
    assert slave.coils[0] is True
    link.cut()
    began = slave.registers[0]
    wait_for(lambda: slave.registers[0] > began + 15, what="polls of a full disk without a link")
    assert site.order("lamp", False)[0] == "verified"
    link.mend()
    last = slave.registers[0]
    first = subscriber.values("m.count")[0]
    wait_for(lambda: subscriber.has_all(first, last), what="every reading, which was kept in memory")
    assert len(subscriber.values("m.count")) > seen
    wait_for(lambda: subscriber.events("disk_full", "alarm"), what="the alarm")

    filler.unlink()
    wait_for(lambda: subscriber.events("disk_full", "cleared"), 30, "recovery without a restart")
    assert len(subscriber.events("disk_full")) == 2
    subscriber.send("far-2", point="lamp", value="on", ttl_ms=5000)
    wait_for(lambda: "verified" in subscriber.states("far-2"))
    assert site.stop()[0] == 0


@pytest.mark.slow
def test_a_state_folder_that_cannot_be_written_at_the_start(site, slave, small_disk, subscriber, wait_for):
    """An SD card that has gone read-only: systemd starts the agent anew, and the lamps must obey."""
    site.start()
    site.stop()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    site.start()
    wait_for(lambda: subscriber.values("m.fixed"))
    assert site.order("lamp", True)[0] == "verified"
    assert site.bocage("run").returncode == 75, "the folder still belongs to one agent only"
    wait_for(lambda: subscriber.events("disk_full", "alarm"))
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    wait_for(lambda: subscriber.events("disk_full", "cleared"), 45, "recovery without a restart")
    subscriber.send("c1", point="lamp", value="off", ttl_ms=5000)
    wait_for(lambda: "verified" in subscriber.states("c1"))
    assert site.stop()[0] == 0
