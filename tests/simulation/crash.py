"""An exception in one line: what it was, and where in the code. Tracebacks of simulated lives go nowhere else."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from tests.simulation.loop import LIFE

__all__ = ["crashes", "in_a_line"]

ROOT = Path(__file__).resolve().parents[2]
OURS = "agent", "drivers"


def in_a_line(error: BaseException | None) -> str:
    """"KeyError('x') at agent/outbox/writer.py:487 in unload": of a group the first, of its frames our innermost."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None:
        return "no exception"
    frames = [(Path(one.filename), one) for one in traceback.extract_tb(error.__traceback__)]
    inside = [(path.relative_to(ROOT), one) for path, one in frames if path.is_relative_to(ROOT)]
    ours = [(path, one) for path, one in inside if path.parts[0] in OURS] or inside
    where = f" at {ours[-1][0]}:{ours[-1][1].lineno} in {ours[-1][1].name}" if ours else ""
    return f"{repr(error)[:200]}{where}"


class Crashes(logging.Handler):
    """In the place of standard error: keeps what the agent that lives said last of its end."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        life = LIFE.get()
        if life is not None and not life.dead and record.exc_info:
            self.last = in_a_line(record.exc_info[1])


crashes = Crashes()
