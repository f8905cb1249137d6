"""Where log lines go: to a terminal with their time, to the journal with their priority."""

from __future__ import annotations

import logging
import os
import sys
from collections import deque

from agent.lib.screen import ScreenFormatter
from agent.lib.timetext import log_times_in

__all__ = ["LogTail", "log_in_zone", "log_to_stderr"]

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""The least level of each priority of syslog(3); 7 is for what is below."""


def log_to_stderr(level: str = "warning", timed: bool = True) -> None:
    """Structured lines (key=value) on stderr; libraries log warnings and errors only."""
    form = "%(levelname)s %(name)s %(message)s"
    handler = logging.StreamHandler(sys.stderr)
    if _is_journal():
        handler.setFormatter(_JournalFormatter("%(name)s %(message)s"))
    else:
        handler.setFormatter(ScreenFormatter(f"%(asctime)s {form}" if timed else form))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("bocage").setLevel(level.upper())


def log_in_zone(timezone: str) -> None:
    """From now on lines with a time have the site's, whatever the machine's own zone is."""
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None:
            log_times_in(handler.formatter, timezone)


class LogTail(logging.Handler):
    """Keeps the last lines of the log in `lines`, with the site's time, for the live view."""

    def __init__(self, timezone: str, most: int = 50) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=most)
        formatter = ScreenFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        log_times_in(formatter, timezone)
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record).splitlines()[0])


class _JournalFormatter(ScreenFormatter):
    """Lines with their priority in front, each of a traceback too, as sd-daemon(3) says; the journal has the time."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((priority for level, priority in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def _is_journal() -> bool:
    """Whether stderr is the journal's own stream, by systemd.exec(5): JOURNAL_STREAM is its device and inode."""
    try:
        at = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{at.st_dev}:{at.st_ino}"
