"""Bytes a reading of history, on what the demo's village really sends: on flash with a window of 5 s, and on the air.

.venv/bin/python -m tests.bench.demo_bytes
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from agent.model import Quality, Reading
from agent.outbox import Outbox
from agent.outbox.blocks import Row, decode
from tests.bench import rig
from tests.fakes.clock import FakeClock

__all__ = ["measure"]


def readings(folder: Path, seconds: int = 60) -> list[Row]:
    """What the demo sends in so many seconds, by its numbers."""
    got: list[bytes] = []
    command = [sys.executable, "-m", "agent", "demo", "--seconds", str(seconds)]
    demo = rig.Process(command, folder / "demo.log", {"PYTHONPATH": str(rig.CLONE)})
    try:
        site = folder / "demo" / "site.yaml"
        rig.until(site.exists, 20, "the demo's site file", demo)
        port = int(re.search(r"mosquitto_sub -p (\d+)", site.read_text())[1])  # type: ignore[index]
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        client.on_connect = lambda client, *_: client.subscribe("bocage/v1/+/telemetry", 1)
        client.on_message = lambda _, __, message: got.append(message.payload)

        def connected() -> bool:
            try:
                client.connect("127.0.0.1", port)
            except OSError:
                return False
            return True

        rig.until(connected, 20, "the demo's broker", demo)
        client.loop_start()
        demo.popen.wait(seconds + 60)
        client.loop_stop()
    except subprocess.TimeoutExpired as error:
        raise TimeoutError("the demo does not end") from error
    finally:
        demo.stop()
    rows = {(row.store, row.seq): row for body in got for row in decode(body)}
    return sorted(rows.values(), key=lambda row: row.seq)


async def played(folder: Path, rows: list[Row], window: float) -> dict[str, float]:
    """The same readings in an outage, with all that it costs, and then sent."""
    clock = FakeClock(epoch=0.0)
    out = Outbox.open(folder / "state", folder / "stage", clock, window=window)
    passed = 0.0
    for row in sorted(rows, key=lambda row: row.ms or 0):
        clock.at = max(clock.at, (row.ms or 0) / 1000)
        out.put([Reading(row.point, row.value, clock.now(), Quality(row.quality), row.measured_ms)], 2)  # type: ignore[arg-type]
        if clock.monotonic() - passed >= window / 10:
            passed = clock.monotonic()
            await out._pass()
    clock.at += window
    await out._pass()
    stored = out.status()["bytes"]
    sent = await _sent(out, clock)
    await out.close()
    return {"flash": stored / len(rows), "air": sent / len(rows)}


async def _sent(out: Outbox, clock: FakeClock) -> int:
    size = 0
    while out.status()["rows"]:
        message = await out.take()
        size += len(message.body) if message.kind == "readings" else 0
        clock.at += 0.02
        out.accepted(message)
    return size


def measure(folder: Path, seconds: int = 60) -> dict[str, Any]:
    """Readings, and bytes each on flash and on the air, with windows of 5 s."""
    rows = readings(folder, seconds)
    return {"readings": len(rows), **asyncio.run(played(folder, rows, 5.0))}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bocage-bench-demo-", dir="/var/tmp") as name:
        began = time.monotonic()
        print(json.dumps({**measure(Path(name)), "seconds": round(time.monotonic() - began)}))
