"""A whole agent that does not know the time: what it sends, what becomes of it once the time is known, and the link."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.collect.store import CollectStore
from agent.errors import BocageError
from tests.fakes.mosquitto import trusting

MACHINE = """
import time, pathlib
boot = pathlib.Path({boot!r})
if boot.exists():
    clock_ns, clock_s, begun = time.clock_gettime_ns, time.clock_gettime, time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    time.clock_gettime_ns = lambda which: clock_ns(which) - (begun if which == time.CLOCK_BOOTTIME else 0)
    time.clock_gettime = lambda which: clock_s(which) - (begun / 1e9 if which == time.CLOCK_BOOTTIME else 0)
import agent.clock  # it keeps the clocks that it finds
agent.clock._TIMESYNC = pathlib.Path({timesync!r})
if boot.exists():
    agent.clock._BOOT_ID = boot
    moment = agent.clock.SystemClock()
    assert abs(moment.monotonic() - moment.now().boottime_ns / 1e9) < 1, "two times since the boot"
"""


class Machine:
    """What the agent's box is to it: systemd-timesyncd, and the kernel's boots."""

    def __init__(self, site):
        self._site, self._timesync, self._boot = site, site.folder / "timesync", site.folder / "boot_id"
        self._timesync.mkdir()
        del site.env["BOCAGE_CLOCK"]
        site.sabotage = MACHINE.format(timesync=str(self._timesync), boot=str(self._boot))

    def synchronise(self):
        (self._timesync / "synchronized").touch()

    def reboot(self, name, trusted):
        """A power cut: what was in memory is gone, time since the boot begins anew, another boot id."""
        if self._site.process is not None:
            self._site.kill()
        shutil.rmtree(self._site.folder / "run", ignore_errors=True)
        self._boot.write_text(f"{name:0>8}-0000-4000-8000-000000000000\n")
        (self._timesync / "synchronized").unlink(missing_ok=True)
        if trusted:
            self.synchronise()
        self._site.start()


@pytest.fixture
def machine(site):
    return Machine(site)


@pytest.fixture
def region(broker, subscriber, tmp_path, wait_for):
    """What `bocage collect` has: rows of a query, while it goes on."""
    file = tmp_path / "region.db"
    program = [sys.executable, "-m", "agent", "collect", f"mqtt://127.0.0.1:{broker.port}", "--sqlite", str(file)]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(query):
        store = CollectStore(file, create=False)
        try:
            return store.db.execute(query).fetchall()
        finally:
            store.close()

    def listens():
        subscriber.client.publish("bocage/v1/nobody/event", b'{"code": "", "kind": ""}', qos=1)
        with contextlib.suppress(BocageError):
            return ask("SELECT * FROM refused")

    wait_for(listens, 20, "the collector")
    yield ask
    process.send_signal(signal.SIGTERM)
    process.wait(20)


@pytest.mark.parametrize("restarted", [False, True], ids=["same process", "the next process"])
def test_what_was_sent_without_a_date_is_dated_when_the_time_is_known(
    site, machine, subscriber, region, wait_for, restarted
):
    began = time.time()
    site.start()
    wait_for(lambda: len(region("SELECT * FROM reading WHERE point = 'm.count'")) >= 5)
    site.order("lamp", True)
    wait_for(lambda: subscriber.events("output", "audit"))
    assert {batch["clock"] for batch in subscriber.on("telemetry")} == {"unsynced"}
    assert region("SELECT count(t) FROM reading") == [(0,)]
    if restarted:
        site.kill()
    machine.synchronise()
    if restarted:
        site.start()
    wait_for(lambda: subscriber.events("dated", "clock"), 20, "the date of this boot")
    wait_for(lambda: "synced" in {batch["clock"] for batch in subscriber.on("telemetry")}, 20)
    assert site.stop()[0] == 0
    until = time.time()
    wait_for(lambda: len(region("SELECT * FROM reading")) == len(subscriber.readings), 20, "all that was sent")
    rows = region("SELECT t, value FROM reading WHERE point = 'm.count' ORDER BY seq")
    times = [at for at, _ in rows]
    assert None not in times and times == sorted(times)
    assert began * 1000 < times[0] and times[-1] < until * 1000
    polls = {value: at for at, value in rows}
    pace = [(polls[n + 1] - polls[n]) for n in polls if n + 1 in polls]
    assert 100 < sorted(pace)[len(pace) // 2] < 400, "every 200 ms, across the moment at which it was known"
    assert region("SELECT * FROM undated") == [] == region("SELECT * FROM event WHERE t IS NULL")
    assert len(subscriber.events("dated", "clock")) == 1


@pytest.mark.slow
def test_a_boot_that_never_had_a_date_lies_between_its_neighbours(
    site, machine, subscriber, link, slave, region, wait_for
):
    site.document["uplink"]["durability_window"] = "1s"
    began = time.time()
    machine.reboot("a", trusted=True)
    wait_for(lambda: subscriber.values("m.count"))
    link.cut()
    machine.reboot("b", trusted=False)
    first = slave.registers[0] + 1
    dark = time.time()
    wait_for(lambda: slave.registers[0] > first + 10)
    wait_for(lambda: site.status()["outbox"]["rows"] > 20, what="blocks on flash")
    machine.reboot("c", trusted=True)
    light = time.time()
    link.mend()
    wait_for(lambda: [b for b in subscriber.on("telemetry") if b["clock"] == "bounded"], 30, "the blocks of that boot")
    last = slave.registers[0]
    wait_for(lambda: (last,) in region("SELECT value FROM reading WHERE point = 'm.count'"), 20)
    bounds = "SELECT undated.boot, boottime_ms, t_min, t_max FROM undated JOIN reading USING (store, seq)"
    rows = region(f"{bounds} WHERE point = 'm.count' ORDER BY seq")
    assert rows and {boot[:8] for boot, *_ in rows} == {"0000000b"}
    for _, since, earliest, latest in rows:
        true = dark + since / 1000  # it began to count a little before we did
        assert began < earliest / 1000 < true + 0.5, (began, earliest, true)
        assert true - 5 < latest / 1000 < light + 1, (latest, true, light)
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    dated = region("SELECT min(t), max(t) FROM reading WHERE t IS NOT NULL")[0]
    assert began * 1000 < dated[0] and dated[1] < time.time() * 1000


def test_a_certificate_that_is_not_valid_yet_by_a_wrong_clock(
    site, machine, slave, tmp_path, certificates, make_broker, make_subscriber, faketime, wait_for
):
    """A box that wakes up two years ago: it says so, controls, and tries again when the time is known."""
    certificates(tmp_path, "broker", "supervisor")
    broker = make_broker(
        "allow_anonymous true",
        f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key",
    )  # fmt: skip
    shutil.copy(tmp_path / "ca.pem", site.folder / "ca.pem")
    site.document["uplink"] |= {"url": f"mqtts://localhost:{broker.port}", "ca": "ca.pem"}
    subscriber = make_subscriber(broker.port, tls=trusting(tmp_path))
    stand = faketime(-2 * 365 * 86400)
    site.sabotage += "import agent.uplink.uplink as uplink\nuplink.reconnect_delay = lambda *_: 3600.0\n"
    site.start()
    wait_for(lambda: "not yet valid" in site.status()["uplink"]["error"])
    year = time.gmtime(time.time() - 2 * 365 * 86400).tm_year
    assert f"this box's clock says {year}-" in site.status()["uplink"]["error"]
    assert "it may be the clock that is wrong" in site.log.read_text()
    wait_for(lambda: site.quality("m.relay1") == "good")  # the wire is open
    polls = slave.registers[0]
    assert site.order("lamp", True)[0] == "verified"
    wait_for(lambda: slave.registers[0] > polls + 5)
    stand(0)
    machine.synchronise()
    wait_for(lambda: subscriber.values("m.fixed"), 20, "the link, at once")
    wait_for(lambda: subscriber.events("dated", "clock"))
    first = subscriber.on("telemetry")[0]
    assert first["clock"] == "synced" and abs(first["t"] / 1000 - time.time()) < 60, "also what was read before"


@pytest.fixture
def faketime(site):
    """Put the agent under a wall clock that is off by so many seconds; what is returned sets it anew."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not here: apt-get install faketime")
    file = site.folder / "faketime"

    def set_to(seconds):
        fresh = file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(file)

    def begin(seconds):
        set_to(seconds)
        site.env |= {
            "LD_PRELOAD": str(found[0]), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(file),
        }  # fmt: skip
        return set_to

    yield begin
    site.kill()
    assert not list(Path("/dev/shm").glob(f"*faketime*_{site.process.pid}")), "what a killed process leaves"


@pytest.mark.slow
def test_a_time_before_the_kept_one_is_refused_until_a_technician_knows_better(site, machine, subscriber, wait_for):
    """The first time that this box ever knew was a month ahead: the true one is refused, and said so."""
    ahead = site.folder / "ahead"
    ahead.write_text(str(30 * 86400))
    site.sabotage += f"""
ahead, machine_ns = pathlib.Path({str(ahead)!r}), time.time_ns
time.time_ns = lambda: machine_ns() + int(ahead.read_text()) * 10**9
"""
    machine.reboot("1", trusted=True)
    wait_for(lambda: '"sure": true' in site.facts().replace('":t', '": t'), 30, "the anchor")
    site.kill()
    ahead.write_text("0")
    machine.reboot("2", trusted=True)
    wait_for(lambda: subscriber.events("clock_refused", "alarm"), what="the alarm")
    assert site.status()["clock"] == "unsynced"
    assert "clock_refused" in site.bocage("alarms", check=0).stdout
    subscriber.send("from-afar", point="clock", value="reset")
    wait_for(lambda: subscriber.states("from-afar") == ["rejected"], what="the refusal")
    answer = site.bocage("write", "clock", "reset", check=0)
    assert "the machine's clock is followed" in answer.stdout
    wait_for(lambda: subscriber.events("clock_refused", "cleared"), what="the end of the alarm")
    assert site.status()["clock"] == "synced"
    assert abs(subscriber.events("clock_refused", "cleared")[-1]["t"] / 1000 - time.time()) < 60
