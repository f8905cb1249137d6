"""What became of the meter's pulses at the box's own pins, judged by when its contact closed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

__all__ = ["judge"]

LOST = 10
"""Pulses that a kill or a power cut may take, of those of the last minute (the page of GPIO)."""
MINUTE = 61.0
POINT = "fountain-ct"
LITRES = 10


def judge(world: Any) -> None:
    """The count never grows by more than the contact closed, and falls by 10 at the most, when a process ends."""
    board, must = world.village.board, world.judge.must
    if board is None:
        return
    told: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for (point, value), keys in world.judge.heard.items():
        if point == POINT:
            for store, number in keys:
                told[store].append((number, value // LITRES))
    ends = len(world.died)
    closed, heard = len(board.closures), [at for at, listening in board.closures if listening]
    last = 0
    for store, values in told.items():
        fallen, before = 0, 0
        for _, value in sorted(values):
            must(value <= closed, f"{POINT} counts {value}, of {closed}")
            if value < before:
                fallen += 1
                must(before - value <= LOST or world.disk.hurt, f"{POINT} fell from {before} to {value}")
            before, last = value, max(last, value)
        must(fallen <= ends, f"{POINT} fell {fallen} times in store {store}, in {ends} ends")
    must(told, f"{POINT} never came")
    lost = sum(min(LOST, sum(end - MINUTE <= at <= end for at in heard)) for end in world.died)
    if told and not world.disk.hurt:
        must(last >= len(heard) - lost, f"{POINT} counts {last} in the end, of {len(heard)}, less {lost} at ends")
