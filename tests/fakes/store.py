"""A store of small durable facts (`drivers.api.Facts`), in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from agent.errors import StorageError


class FakeStore(dict[str, Any]):
    """What was put, as it comes back from a file; `durable` is what of it outlives a power cut.

    `saves` counts the flushes. While `refuses` is set the disk is full. `hook` is called before and after each flush.
    """

    def __init__(self) -> None:
        super().__init__()
        self.durable: dict[str, Any] = {}
        self.saves, self.refuses = 0, False
        self.hook: Callable[[str], None] = lambda where: None

    def put(self, key: str, value: Any, now: bool = False) -> None:
        self[key] = json.loads(json.dumps(value))
        if now:
            self.flush()

    def flush(self) -> None:
        self.hook("keep")
        if self.refuses:
            raise StorageError("state cannot be written: No space left on device")
        self.durable |= self
        self.saves += 1
        self.hook("kept")

    def power_cut(self) -> None:
        """Forget what was not on flash."""
        self.clear()
        self.update(self.durable)
