"""A command of 200 MB for an agent that has 512 MB in all: refused, and whatever comes after it is heard."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from tests.torture.links import Scripted
from tests.torture.rig import Verdict, Village, village, wait_for

SIZE = 200_000_000
ROOT = "bocage/v1/test-village"
_LIMIT = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))"


def oversized(folder: Path, times: int) -> Verdict:
    """Both protocols; at QoS 0 and 1, retained or not."""
    total = Verdict()
    for protocol in (5, "3.1.1"):
        total.add(_against(folder / f"mqtt-{protocol}", protocol, times))
    return total


def _against(folder: Path, protocol: Any, times: int) -> Verdict:
    with Scripted({}) as far, village(folder, front=lambda port: far) as place:
        place.site.document["uplink"]["protocol"] = protocol
        place.site.sabotage = _LIMIT
        place.site.start()
        wait_for(lambda: far.broker.subscribed, 20, "the subscription")
        place.polls(10)
        before, refused = place.site.rss_mb(), 0
        for turn in range(times):
            for qos, retain in ((1, False), (1, True), (0, False)):
                name = f"{turn}-{qos}-{retain}"
                _do(far, far.broker.send_long(f"{ROOT}/cmd/big-{name}", SIZE, qos=qos, retain=retain))
                wait_for(lambda name=name: _state(far, f"big-{name}") == ["rejected"], 60, "the refusal")
                refused += 1
        body = json.dumps({"id": "after", "point": "lamp", "value": "on", "ttl_ms": 60_000}).encode()
        _do(far, far.broker.send(f"{ROOT}/cmd/after", body))
        wait_for(lambda: "verified" in _state(far, "after"), 30, "the command that comes after it")
        grown = _peak_mb(place) - before
        last = place.slave.registers[0]
        wait_for(lambda: set(range(1, last + 1)) <= far.account(folder).counts, 60, "all readings")
        account = far.account(folder)
        found = Verdict(
            {
                "refused": refused,
                "delivered": account.readings,
                "lost": account.missing + len(set(range(1, last + 1)) - account.counts),
                "peak grown MB": round(grown, 1),
                "connections": len(far.broker.connections),
            }
        )
        found.must(found.figures["lost"] == 0, f"lost {found.figures['lost']}")
        found.must(grown < 20, f"memory grew by {grown:.0f} MB")
        found.must(len(far.broker.connections) == 1, f"{len(far.broker.connections)} connections")
        found.must(place.slave.writes == [(0, True)], f"relays moved: {place.slave.writes}")
        return found


def _do(far: Scripted, work: Any) -> None:
    asyncio.run_coroutine_threadsafe(work, far._loop).result(120)


def _state(far: Scripted, name: str) -> list[str]:
    """The states that the site told of a command, in their order."""
    results = [one.payload for one in list(far.broker.published) if one.topic == f"{ROOT}/cmd/{name}/result"]
    return [json.loads(payload)["state"] for payload in results]


def _peak_mb(place: Village) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{place.site.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000
