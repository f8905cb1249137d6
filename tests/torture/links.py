"""What a rural link and its broker do: away for long, half open, lossy, slow, refusing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from agent.collect.schemas import Shelf
from agent.collect.store import CollectStore
from tests.fakes import broker as scripted
from tests.torture.rig import SlowLink, Unsettled, Verdict, Village, slow_link, village, wait_for


def outage(folder: Path, seconds: int) -> Verdict:
    """The link is down for so long: control reacts as before, the backlog comes in order, live readings do not wait."""
    with village(folder) as place:
        place.with_room()
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"))
        up = _reactions(place, 3)
        place.link.cut()
        began = time.monotonic()
        down = _reactions(place, 3)
        while time.monotonic() - began < seconds:
            down += _reactions(place, 1)
            time.sleep(1)
        waiting = place.site.status()["outbox"]["rows"]
        place.link.mend()
        wait_for(lambda: place.site.status()["uplink"]["state"] == "connected", 90, "the link")
        probe = _Latency(place)
        wait_for(lambda: place.site.status()["outbox"]["rows"] < 50, 60 + seconds, "the drain")
        place.polls(60)
        place.settle(60 + seconds)
        live = probe.p99()
        found = place.verdict(
            backlog=waiting,
            **{
                "edges unasked": len(place.slave.writes) - len(up) - len(down),
                "reaction up/down ms": f"{max(up) * 1000:.0f}/{max(down) * 1000:.0f}",
                "live p99 ms in the drain": "-" if live is None else round(live),
            },
        )
        found.must(live is None or live <= 100, f"live readings took {live} ms during the drain")
        found.must(max(down) < max(1.0, 3 * max(up)), f"control was slower without the link: {max(down):.2f} s")
        found.must(not place.subscriber.disorder, f"out of order: {place.subscriber.disorder[:5]}")
        found.must(found.figures["edges unasked"] == 0, f"relays moved: {place.slave.writes}")
        return found


def _reactions(place: Village, cycles: int) -> list[float]:
    """The room is cold and warm: seconds until its boiler is switched, each time."""
    took = []
    for _ in range(cycles):
        for milliamperes, on in ((8.0, True), (18.4, False)):
            place.slave.registers[1] = round(milliamperes * 1000)
            began = time.monotonic()
            wait_for(lambda on=on: place.slave.coils[1] is on, 15, f"the boiler {'on' if on else 'off'}")
            took.append(time.monotonic() - began)
    return took


class _Latency:
    """How old readings are that come live (ms): those that are made from now on."""

    def __init__(self, place: Village) -> None:
        self.ages: list[float] = []
        self._since = time.time() * 1000
        place.subscriber.taken = self._take

    def _take(self, batch: dict[str, Any]) -> None:
        if "h" in batch or batch["t"] is None:
            return
        last = max(batch["t"] + sum(entry[0] for entry in entries) for entries in batch["p"].values())
        if last >= self._since:
            self.ages.append(time.time() * 1000 - last)

    def p99(self) -> float | None:
        return sorted(self.ages)[int(len(self.ages) * 0.99)] if len(self.ages) >= 20 else None


def half_open(folder: Path, times: int) -> Verdict:
    """The link swallows everything: noticed by the keepalive, given up, and everything comes afterwards."""
    noticed = []
    with village(folder, front=SlowLink) as place:
        place.site.document["uplink"]["keepalive"] = "5s"
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"))
        for _ in range(times):
            place.link.cut()
            began = time.monotonic()
            wait_for(lambda: place.site.status()["uplink"]["state"] != "connected", 20, "that somebody notices")
            noticed.append(time.monotonic() - began)
            place.polls(20)
            place.link.mend()
            wait_for(lambda: place.site.status()["uplink"]["state"] == "connected", 60, "the link")
        place.settle()
        found = place.verdict(**{"noticed after s": round(max(noticed), 1), "connections": place.link.accepted})
        found.must(max(noticed) <= 9, "a half-open link was noticed later than 1.5 keepalives")
        found.must(place.link.accepted <= 12 * times + 2, f"{place.link.accepted} connections: a storm")
        return found


def round_trip(folder: Path, seconds: int) -> Verdict:
    """RTT 2 s: everything arrives, and nothing is given up for being slow."""
    with village(folder, front=slow_link(1.0)) as place:
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"), 40)
        place.polls(20 * seconds, 40 + 2 * seconds)
        place.settle()
        found = place.verdict(connections=place.link.accepted)
        found.must(place.link.accepted <= 3, f"{place.link.accepted} connections")
        return found


def packet_loss(folder: Path, seconds: int) -> Verdict:
    """30 % of the packets to and from the broker are dropped, in a network namespace of its own."""
    rules = (
        "ip link set lo up; nft add table ip lossy; nft 'add chain ip lossy in { type filter hook input priority 0; }';"
    )
    inside = f"{sys.executable} -m tests.torture.links {folder} {seconds}"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-ec", f"{rules} exec {inside}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Unsettled(f"packets cannot be dropped here (needs root, iproute2, nftables): {done.stderr[-400:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Verdict(answer["figures"], answer["broken"])


def _lossy(folder: Path, seconds: int) -> Verdict:
    with village(folder) as place:
        place.site.document["uplink"]["keepalive"] = "10s"
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"), 30)
        for way in ("dport", "sport"):  # the link's port: the slave's and the collector's packets are let alone
            drop = f"add rule ip lossy in tcp {way} {place.link.port} numgen random mod 100 < 30 drop"
            subprocess.run(["nft", drop], check=True)
        place.polls(20 * seconds, 40 + 4 * seconds)
        subprocess.run(["nft", "flush chain ip lossy in"], check=True)
        place.settle(90)
        return place.verdict()


def bad_broker(folder: Path, times: int) -> Verdict:
    """A broker that refuses acknowledgements (0x87, 0x97), cuts at every 10th message, takes one at a time."""
    total = Verdict()
    behaviours: dict[str, dict[str, Any]] = {
        "quota": {"puback": lambda nth, topic: 0x97 if nth % 4 == 0 else 0},
        "not authorised": {"puback": lambda nth, topic: 0x87 if "telemetry" in topic and nth < 6 else 0},
        "cuts": {"drop_at_nth": 10},
        "one at a time": {"receive_maximum": 1, "delay": 0.02},
        "never answers": {"puback": lambda nth, topic: scripted.NEVER if nth % 7 == 0 else 0},
    }
    for turn in range(times):
        for name, how in behaviours.items():
            total.add(_against(folder / f"{name}-{turn}", name, how))
    return total


def _against(folder: Path, name: str, how: dict[str, Any]) -> Verdict:
    with Scripted(how) as far, village(folder, front=lambda port: far) as place:
        place.site.document["uplink"]["keepalive"] = "2s"  # an acknowledgement that never comes is given up after 3 s
        place.site.start()
        place.polls(100)
        far.broker.puback = lambda nth, topic: 0  # well again: an alarm and its backoff end within a minute
        far.broker.drop_at_nth = None
        last = place.slave.registers[0]
        wait_for(lambda: set(range(1, last + 1)) <= far.account(folder).counts, 90, f"all of it ({name})")
        account = far.account(folder)
        found = Verdict(
            {
                "made": last,
                "delivered": account.readings,
                "duplicates": account.duplicates,
                "lost": account.missing + len(set(range(1, last + 1)) - account.counts),
                "connections": len(far.broker.connections),
            }
        )
        found.must(found.figures["lost"] == 0, f"{name}: lost {found.figures['lost']}")
        found.must(account.conflicts == 0, f"{name}: one key came with two contents")
        found.must(len(far.broker.connections) < 40, f"{name}: {len(far.broker.connections)} connections: a storm")
        return found


class Scripted:
    """The scripted broker in a thread, and the account of what it took."""

    def __init__(self, how: dict[str, Any]) -> None:
        self.broker = scripted.ScriptedBroker(**how)
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Scripted:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.broker.start(), self._loop).result(5)
        self.port = self.broker.port
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.broker.stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def close(self) -> None:
        """The village's word; the broker ends with its own context."""

    def account(self, folder: Path) -> Any:
        """What the far side of this broker would have: everything that was acknowledged with success."""
        path = folder / "taken.db"
        path.unlink(missing_ok=True)
        shelf, store = Shelf(), CollectStore(path)
        try:
            for one in list(self.broker.published):
                kind = "result" if one.topic.endswith("/result") else one.topic.rpartition("/")[2]
                if kind in ("telemetry", "event", "result") and one.qos and one.code in (0, 0x10):
                    store.take(kind, one.topic.split("/")[2], shelf.parse(kind, one.payload))
            found = store.accounts()
            query = "SELECT value FROM reading WHERE point = 'm.count'"
            counts = {value for (value,) in store.db.execute(query)}
        finally:
            store.close()
        return _Taken(found, counts)


class _Taken:
    def __init__(self, accounts: list[Any], counts: set[int]) -> None:
        def total(name: str) -> int:
            return sum(getattr(one, name) for one in accounts)

        self.readings, self.duplicates = total("readings"), total("duplicates")
        self.missing, self.conflicts, self.counts = total("missing"), total("conflicts"), counts


if __name__ == "__main__":
    found = _lossy(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(vars(found)))
