"""Whatever can be sent as a command: bounded memory, no control period moved, nothing done that was not asked well."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from tests.torture.rig import Verdict, Village, village, wait_for

_RATE = 10_000
_ODD = [
    b"", b"not json", b"\xff\xfe\x00", b"[" * 100_000, b'{"id": "' + b"x" * 1_000_000 + b'"}', b"{}", b"null", b"[1]",
    b'{"id":"x","point":"lamp","value":NaN}', b'{"id":"x","point":"lamp","value":1e999}',
    b'{"id":"x","point":"lamp","value":"on","value":"off"}', b'{"id":"other","point":"lamp","value":"on"}',
    b'{"id":"x","point":null,"value":"on"}', b'{"id":"x","point":"lamp","value":"on","hold_ms":-1}',
]  # fmt: skip


def flood(folder: Path, seconds: int) -> Verdict:
    """Odd payloads, retained commands, 10,000 well-formed commands a second; then as many as a broker keeps for us."""
    with village(folder) as place:
        place.site.start()
        wait_for(lambda: place.collected("m.fixed"))
        for number, payload in enumerate(_ODD):
            place.subscriber.send(f"odd-{number}", payload)
        place.subscriber.send("kept", point="lamp", value="on", retain=True)
        wait_for(lambda: place.subscriber.states(f"odd-{len(_ODD) - 1}"), 30, "the last odd one's result")
        moved_by_odd = list(place.slave.writes)
        quiet = _periods(place, 3.0)
        memory, flash = place.site.rss_mb(), _flash(place)
        sent = _send(place, seconds)
        busy = _periods(place, max(3.0, seconds))
        wait_for(lambda: place.site.order("lamp", True)[0] in ("verified", "applied"), 60, "a technician's own write")
        queued = _queue(place, 2000 * seconds)
        heard = _heard(place)
        grown, written = place.site.rss_mb() - memory, _flash(place) - flash
        place.settle()
        found = place.verdict(
            commands=sent + queued,
            **{
                "edges unasked": len(moved_by_odd),
                "period ms quiet/flood": f"{quiet * 1000:.0f}/{busy * 1000:.0f}",
                "heard again after s": round(heard, 1),
                "memory grown MB": round(grown, 1),
                "flash grown MB": round(written / 1e6, 2),
            },
        )
        found.must(place.site.process.poll() is None, "the agent ended")
        found.must(not [write for write in moved_by_odd if write != (0, True)], f"relays moved: {moved_by_odd}")
        found.must(grown < 15, f"memory grew by {grown:.0f} MB")
        found.must(written < 5e6, f"{written / 1e6:.0f} MB of flash")
        found.must(busy < 2 * max(quiet, 0.05), f"polling went from {quiet * 1000:.0f} to {busy * 1000:.0f} ms")
        return found


def _send(place: Village, seconds: int) -> int:
    """Commands at QoS 0, each with an id of its own, as fast as 10,000 a second for so long."""
    client, sent, end = place.subscriber.client, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        due = time.monotonic() + 0.1
        for _ in range(_RATE // 10):
            body = json.dumps({"id": f"f{sent}", "point": "m.relay2", "value": "on", "ttl_ms": 1000})
            client.publish(f"bocage/v1/test-village/cmd/f{sent}", body, qos=0)
            sent += 1
        time.sleep(max(0.0, due - time.monotonic()))
    return sent


def _queue(place: Village, n: int) -> int:
    """So many commands at QoS 1, all of which the broker (whose queue has no bound) has taken."""
    client, info = place.subscriber.client, None
    for number in range(n):
        body = json.dumps({"id": f"q{number}", "point": "m.relay2", "value": "on", "ttl_ms": 1000})
        info = client.publish(f"bocage/v1/test-village/cmd/q{number}", body, qos=1)
    if info is not None:
        info.wait_for_publish(120)
    return n


def _heard(place: Village) -> float:
    """Seconds until a command that somebody tries each second is carried out."""
    began, tries = time.monotonic(), 0
    while not any("verified" in place.subscriber.states(f"try-{turn}") for turn in range(tries)):
        place.subscriber.send(f"try-{tries}", point="lamp", value="off" if tries % 2 else "on", ttl_ms=5000)
        tries += 1
        time.sleep(1)
        if time.monotonic() - began > 180:
            raise TimeoutError("nobody was heard for 3 minutes after a flood")
    return time.monotonic() - began


def _periods(place: Village, seconds: float) -> float:
    """The median time between two polls (s), over so long."""
    seen, last, end = [], place.slave.registers[0], time.monotonic() + seconds
    moment = time.monotonic()
    while time.monotonic() < end:
        if place.slave.registers[0] != last:
            now = time.monotonic()
            seen.append((now - moment) / (place.slave.registers[0] - last))
            last, moment = place.slave.registers[0], now
        time.sleep(0.002)
    return statistics.median(seen) if seen else float("inf")


def _flash(place: Village) -> int:
    """Bytes in the state folder."""
    return sum(path.stat().st_size for path in (place.site.folder / "state").rglob("*") if path.is_file())
