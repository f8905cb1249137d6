"""What happened in a life, with virtual times: the log of the agent, and the faults that the world did."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation import faults
from tests.simulation.crash import crashes, in_a_line
from tests.simulation.loop import LIFE

__all__ = ["Notes", "first_moment", "last_before"]

_MOMENT = re.compile(r"(?:at|since|class \d,) (\d+\.\d+) s|, (\d+) s to \d+ s$")


class Notes(logging.Handler):
    """Keeps (virtual s, text) from now on, in this process. For a process that runs one seed only."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[tuple[float, str]] = []
        log = logging.getLogger("bocage")
        log.addHandler(self)
        log.addHandler(crashes)
        log.setLevel(logging.INFO)
        log.propagate = False
        for name, (pause, hurt) in faults.KINDS.items():
            faults.KINDS[name] = pause, self._noted(name, hurt)
        self._kind = ""
        self._for, faults._for = faults._for, self._lasting

    def emit(self, record: logging.LogRecord) -> None:
        life = LIFE.get()
        number = f"life {life.number}: " if life is not None else ""
        crash = f" {in_a_line(record.exc_info[1])}" if record.exc_info else ""
        self._note(f"{number}{record.levelname.lower()} {record.getMessage()}{crash}")

    def _note(self, text: str) -> None:
        loop = asyncio._get_running_loop()
        self.kept.append((loop.time() if loop is not None else 0.0, text))

    def _noted(self, name: str, hurt: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def hurts(world: Any, dice: Any) -> None:
            self._kind = name
            self._note(f"FAULT {name}")
            hurt(world, dice)

        return hurts

    def _lasting(self, world: Any, dice: Any, begin: Any, end: Callable[[], None], mean: float) -> None:
        name = self._kind

        def over() -> None:
            self._note(f"over: {name}")
            end()

        self._for(world, dice, begin, over, mean)


def first_moment(broken: Sequence[str]) -> float:
    """The first moment (virtual s) that the broken promises speak of. Some are only seen when all is over."""
    found = []
    for text in broken:
        said = [float(one or other) for one, other in _MOMENT.findall(text)]
        found += said[1:] or said  # the first one is when it was seen
    return min(found, default=float("inf"))


def last_before(notes: Sequence[Sequence[Any]], moment: float, many: int = 25) -> list[str]:
    """The last notes before a moment and those of the second after it, a line each."""
    lines = [f"{at:10.3f} s  {text}" for at, text in notes if at <= moment + 1.0]
    return lines[-many:]
