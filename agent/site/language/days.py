"""Keys that name days of the week, such as "mon,tue"."""

from __future__ import annotations

import re
from typing import Any

from agent.site.language.spellings import days_meant
from agent.site.language.values import DAYS, Written, plain

__all__ = ["day_words"]


def day_words(*others: str) -> Written:
    """Keys such as "mon,tue": days of the week, or one of the other words."""

    def parse(value: Any) -> str:
        words = [word.strip() for word in value.split(",")] if isinstance(value, str) else [""]
        if not (len(words) == 1 and words[0] in others) and not set(words) <= set(DAYS):
            meant = days_meant(value) if isinstance(value, str) else None
            hint = f'write "{meant}"' if meant else f'write {", ".join(others)}, or days such as "mon,tue"'
            raise ValueError(f"{plain(value)} is no day; {hint}")
        return ",".join(words)

    day = "|".join(map(re.escape, DAYS))
    pattern = rf"^({'|'.join(others)}|({day})( *, *({day}))*)$"
    return Written(parse, {"type": "string", "pattern": pattern}, f'{", ".join(others)}, or days such as "mon,tue"')
