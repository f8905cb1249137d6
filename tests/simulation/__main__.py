"""`make simulate`: many seeds, each a process of its own, side by side."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any


def one(seed: int, hours: float, only: set[str] | None) -> dict[str, Any]:
    from tests.simulation.world import run

    began = time.process_time()
    made = run(seed, hours, only)
    return {
        "seed": seed, "digest": made.digest, "broken": made.judge.broken, "faults": dict(made.mixture.done),
        "kinds": sorted(made.mixture.pauses), "cpu": time.process_time() - began, "hours": made.loop.time() / 3600,
        "readings": len(made.judge.content), "lives": made.lives, "troubles": made.loop.troubles,
    }  # fmt: skip


def forked(seeds: Iterator[int], hours: float, jobs: int, only: set[str] | None = None) -> Iterator[dict[str, Any]]:
    """The results, as they come."""
    running: dict[int, tuple[int, int]] = {}
    import selectors

    ready = selectors.DefaultSelector()
    more = True
    while more or running:
        while more and len(running) < jobs:
            seed = next(seeds, None)
            if seed is None:
                more = False
                break
            out, into = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(out)
                try:
                    result = one(seed, hours, only)
                except BaseException as error:  # noqa: BLE001
                    import traceback

                    result = {"seed": seed, "broken": [f"the simulation itself: {error!r}", traceback.format_exc()]}
                with os.fdopen(into, "w") as pipe:
                    json.dump(result, pipe)
                os._exit(0)
            os.close(into)
            running[out] = pid, seed
            ready.register(out, selectors.EVENT_READ, bytearray())
        for key, _ in ready.select() if running else ():
            some = os.read(key.fd, 65_536)
            key.data.extend(some)
            if not some:
                ready.unregister(key.fd)
                os.close(key.fd)
                pid, seed = running.pop(key.fd)
                os.waitpid(pid, 0)
                yield json.loads(key.data) if key.data else {"seed": seed, "broken": ["its process died"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    import logging

    logging.basicConfig(level=logging.CRITICAL)
    import drivers.modbus.tcp  # noqa: F401
    import tests.simulation.world  # noqa: F401

    failed = 0
    faults: Counter[str] = Counter()
    hours = cpu = 0.0
    seeds = iter(range(options.first, options.first + options.seeds))
    only = set(options.only.split(",")) if options.only else None
    for result in forked(seeds, options.hours, options.jobs, only):
        faults.update(result.get("faults", {}))
        hours += result.get("hours", 0)
        cpu += result.get("cpu", 0)
        if result["broken"]:
            failed += 1
            print(f"seed {result['seed']}: {len(result['broken'])} broken; kinds {','.join(result.get('kinds', []))}")
            for what in dict.fromkeys(line.partition(': ')[2] or line for line in result["broken"][:30]):
                print("   ", what[:400])
    speed = hours / max(cpu, 1e-9)
    print(f"{options.seeds} seeds, {failed} broken, {hours:.0f} h, {speed:.2f} h/CPU s, {dict(faults)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
