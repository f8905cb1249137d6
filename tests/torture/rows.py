"""The rows: one a fault. Each says what it does, runs in three sizes, and gives its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.torture import cards, clocks, commands, files, flash, floods, kills, links, oversized, wires
from tests.torture.rig import Verdict

__all__ = ["ROWS", "Scale"]


class Scale(Enum):
    """How much of it: in every test run, by `make torture`, by `make torture LONG=1`."""

    SHORT = 1
    USUAL = 2
    LONG = 3


@dataclass(frozen=True)
class Row:
    fault: str
    work: Callable[..., Verdict]
    amounts: tuple[int, int, int]
    """What `work` is given beside the folder, by size: how often, or for how long. 0: not in every test run."""

    def run(self, folder: Path, scale: Scale) -> Verdict:
        return self.work(folder, self.amounts[scale.value - 1])


ROWS = {
    "kill": Row("kill -9 at random moments, link up and down", kills.kill, (6, 50, 500)),
    "power": Row("power cut: lost and torn writes", flash.power_cuts, (60, 320, 2000)),
    "outage": Row("broker gone, then back", links.outage, (5, 60, 3600)),
    "half-open": Row("link half open", links.half_open, (1, 2, 5)),
    "loss": Row("30 % packet loss", links.packet_loss, (6, 40, 600)),
    "rtt": Row("round trip of 2 s", links.round_trip, (6, 30, 600)),
    "broker": Row("broker that refuses, disconnects, takes one at a time", links.bad_broker, (0, 1, 5)),
    "disk": Row("disk full, read-only, I/O errors", flash.disk, (0, 1, 5)),
    "full": Row("stage and flash full together", flash.both_full, (3, 12, 200)),
    "corrupt": Row("database corrupt at the start", flash.corrupt, (1, 5, 50)),
    "cards": Row("cloned and restored card", cards.cards, (1, 2, 20)),
    "clock": Row("wall clock at 1970, +2 h, -2 h, a day on", clocks.steps, (1, 1, 3)),
    "slaves": Row("slaves silent, late, noisy; adapter unplugged", wires.bad_line, (1, 3, 20)),
    "payloads": Row("malformed, huge, retained and 10,000 commands a second", commands.flood, (2, 10, 60)),
    "flood": Row("commands by the thousand and kill -9", floods.told, (1, 4, 40)),
    "oversized": Row("oversized publish in 512 MB", oversized.oversized, (1, 2, 10)),
    "files": Row("wrong site file and power cut", files.wrong, (1, 1, 20)),
    "hung": Row("agent hung", wires.hung, (0, 2, 5)),
}
"""By their short names, in the order of the table of faults."""
