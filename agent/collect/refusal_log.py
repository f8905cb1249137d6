"""Refused messages in the log: the first few of a site, then their number. A flood of poison is no flood of lines."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from agent.collect.schemas import InvalidMessage
from agent.collect.store import Foreign

__all__ = ["RefusalLog"]

_log = logging.getLogger("bocage.collect")

_NAMED = 5
"""Messages of a site that have a line each; an hour without one begins anew."""
_EVERY, _FORGET = 60.0, 3600.0
"""Seconds between two lines with a number; and until the first ones are named again."""
_SITES = 1_000
"""Sites that are counted apart. A broker may let strangers write to as many topics as they like."""


@dataclass(slots=True)
class _Site:
    named: int = 0
    more: int = 0
    last: float = 0.0
    """When the last one came (monotonic s)."""
    said: float = 0.0
    """When the last line was written (monotonic s)."""


class RefusalLog:
    """`log` writes the first refused messages of a site; `log_counts` writes how many more there were."""

    def __init__(self) -> None:
        self._sites: dict[str, _Site] = {}

    def log(self, site: str, topic: str, reason: InvalidMessage) -> None:
        now = time.monotonic()
        if site not in self._sites and len(self._sites) >= _SITES:
            site = ""
        here = self._sites.setdefault(site, _Site())
        if not here.more and now - here.last > _FORGET:
            here.named = 0
        here.last = now
        if here.named >= _NAMED:
            here.more += 1
            return
        here.named, here.said = here.named + 1, now
        what, level = ("message refused", logging.WARNING)
        if isinstance(reason, Foreign):
            what, level = f"alarm code={reason.code}", logging.ERROR
        _log.log(level, '%s topic=%r reason="%s" next=kept in table refused', what, topic[:300], str(reason)[:500])

    def log_counts(self, at_once: bool = False) -> None:
        """The numbers that are due; `at_once` at the end."""
        now = time.monotonic()
        for site, here in self._sites.items():
            if here.more and (at_once or now - here.said >= _EVERY):
                _log.warning("messages refused site=%r more=%d next=kept in table refused, the newest", site, here.more)
                here.more, here.said = 0, now
