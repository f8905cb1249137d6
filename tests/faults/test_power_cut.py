"""Power cuts replayed: 60 states here, 300 and more with `python -m tests.faults.power_cut --states 300`."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.power_cut import Disk, run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_every_state_that_a_cut_can_leave(tmp_path: Path) -> None:
    figures = run(tmp_path, states=60, turns=160)
    assert figures.faults == []
    assert figures.states == 60
    assert figures.delivered > 1000 and figures.explained > 100


def test_the_disk_forgets_what_was_not_synced() -> None:
    rng, disk = random.Random(1), Disk("/d")
    for operation in (("open", "/d/a", False, True), ("write", "/d/a", b"1" * 1024, 0), ("sync", "/d/a")):
        disk.apply(operation)
    assert disk.left("none", rng) == {}, "the name was not synced"
    disk.apply(("sync", "/d"))
    disk.apply(("write", "/d/a", b"2" * 1024, 0))
    disk.apply(("rename", "/d/a", "/d/b"))
    assert disk.left("none", rng) == {"/d/a": b"1" * 1024}
    assert disk.left("all", rng) == {"/d/b": b"2" * 1024}
    torn = {next(iter(disk.left("torn", rng).values())) for _ in range(50)}
    assert len(torn) == 4, "each sector on its own"
