"""What `make simulate` costs, at the load for which its speed was promised: 100 numbers a minute.

python -m tests.bench.simulation WORLD      tells the CPU seconds a simulated hour and the numbers a minute, as JSON

A seed of `make simulate` draws how often the devices are polled, and most draw more than this load. Here the polls are
slower, and all else (the faults, the commands, the reloads) is as each seed draws it. What the judge says does
not count.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cost", "cost"]

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(101, 107)
HOURS = {"agent": 1.0, "outbox": 2.0}
"""With faults; half an hour without follows."""


class Cost(NamedTuple):
    """CPU seconds that one simulated hour takes, at so many numbers a minute."""

    cpu_s_an_hour: float
    numbers_a_minute: float


def cost(world: str) -> Cost:
    """Some seeds of this world, one after the other, in processes of their own. RuntimeError if one of them fails."""
    command = [sys.executable, "-m", "tests.bench.simulation", world]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-400:])
    return Cost(*json.loads(done.stdout))


def _slower(world: str) -> None:
    """About 100 numbers a minute, in the mean of the seeds."""
    if world == "agent":
        from tests.simulation import village

        village.POLLS, village.EDITED = {"m": ("12.5s", "13.5s"), "line": ("20.5s", "22.5s")}, ("12.5s", "13.5s")
    else:
        from tests.simulation import outbox_world

        outbox_world.PERIODS, outbox_world.PER_PUT = (60.0,), (75,)


def _measure(world: str) -> Cost:
    from tests.simulation.runner import Job, forked, prepare

    prepare(world)
    _slower(world)
    cpu = hours = numbers = 0.0
    for job, result in forked((Job(seed, HOURS[world], None, world) for seed in SEEDS), 1):
        if "cpu" not in result:
            raise SystemExit(f"seed {job.seed}: {result['broken'][0]}")
        cpu, hours, numbers = cpu + result["cpu"], hours + result["hours"], numbers + result["readings"]
    return Cost(cpu / hours, numbers / hours / 60)


if __name__ == "__main__":
    from tests.simulation.runner import with_fixed_hashes

    with_fixed_hashes("tests.bench.simulation")
    print(json.dumps(_measure(sys.argv[1])))
