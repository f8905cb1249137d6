"""More commands than can be carried out, and kill -9: each has a result, or an event names it as refused."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.torture.rig import Verdict, Village, village, wait_for

EACH = 1_250
"""Commands before each kill: at 50 a second they would take 25 s to look at."""
MOMENTS = 0.0, 1.5
"""Seconds after them for the kill. Mosquitto 2.0.11 sends hundreds at once, whatever the window is."""
CARRIED_OUT = {"accepted", "applied", "verified", "mismatch", "failed", "unknown"}
_SENT = re.compile(r"Sending PUBLISH to bocage-test-village \(d\d, q1, r\d, m(\d+), '\S+/cmd/([\w-]+)'")
_GONE = "Client bocage-test-village closed its connection"
_TAKEN = re.compile(r"Received PUBACK from bocage-test-village \(Mid: (\d+)")


def told(folder: Path, kills: int) -> Verdict:
    """By both protocols: nothing that the broker was told of is forgotten, nothing is carried out twice.

    With MQTT 5 the broker keeps the rest for the next start, so each command is told. With 3.1.1 the session ends with
    the process, and what nobody acknowledged ends with it.
    """
    total = Verdict()
    for protocol in (5, "3.1.1"):
        total.add(_flooded(folder / f"mqtt-{protocol}", protocol, kills))
    return total


def _flooded(folder: Path, protocol: Any, kills: int) -> Verdict:
    dice, asked, written = random.Random(kills), dict[str, int](), 0
    log = folder / "mosquitto.log"
    lines = ("allow_anonymous true", f"log_dest file {log}", "log_type all")
    with village(folder, *lines) as place:
        place.site.document["uplink"]["protocol"] = protocol
        place.site.start()
        for turn in range(kills):
            wait_for(lambda: place.site.status()["uplink"]["state"] == "connected", 30, "the link")
            place.polls(20)
            for n in range(EACH):
                name = f"f{turn}-{n}"
                asked[name] = len(asked) % 100 + 1
                place.subscriber.send(name, point="m.dimmer", value=asked[name], ttl_ms=600_000)
            time.sleep(dice.uniform(*MOMENTS))
            written += _written(place)
            place.kill()
            place.site.start()
        owed = (lambda: set(asked)) if protocol == 5 else (lambda: _acknowledged(log))
        end = time.monotonic() + 180
        while owed() - _told(place) and time.monotonic() < end:
            time.sleep(0.5)
        place.settle()
        results, named, untold = _results(place), _named(place), owed() - _told(place)
        accepted = Counter(asked[name] for name, states in results.items() if states & CARRIED_OUT)
        done = Counter(level for address, level in place.slave.registered if address == 8)
        kind = f"mqtt {protocol}"
        found = place.verdict(
            commands=len(asked),
            twice=sum(max(0, n - accepted[level]) for level, n in done.items()),
            **{
                f"{kind}: result": len(results),
                f"{kind}: told by id": len(named - set(results)),
                f"{kind}: left with the broker": len(set(asked) - owed()),
                "untold": len(untold),
                f"{kind}: bytes written before kills": written,
            },
        )
        found.must(not untold, f"{len(untold)} commands were never told, such as {sorted(untold)[:5]}")
        found.must(found.figures["twice"] == 0, "a command was carried out twice")
        return found


def _results(place: Village) -> dict[str, set[str]]:
    """The states of each command that has a result."""
    states: dict[str, set[str]] = {}
    for topic, body, _ in list(place.subscriber.messages):
        if topic.startswith("cmd/") and body["id"].startswith("f"):
            states.setdefault(body["id"], set()).add(body["state"])
    return states


def _named(place: Village) -> set[str]:
    return {name for event in place.subscriber.events("commands_refused") for name in event["detail"]["ids"]}


def _told(place: Village) -> set[str]:
    return _named(place) | set(_results(place))


def _acknowledged(log: Path) -> set[str]:
    """The commands whose PUBACK the broker has seen, by its own log."""
    under_way: dict[str, str] = {}
    taken = set()
    for line in log.read_text(errors="replace").splitlines():
        if sent := _SENT.search(line):
            under_way[sent[1]] = sent[2]
        elif _GONE in line:  # its numbers begin anew
            under_way.clear()
        elif (ack := _TAKEN.search(line)) and ack[1] in under_way:
            taken.add(under_way.pop(ack[1]))
    return taken


def _written(place: Village) -> int:
    """Bytes that the agent has had written to a disk since its start."""
    return int(Path(f"/proc/{place.site.process.pid}/io").read_text().partition("\nwrite_bytes: ")[2].split()[0])
