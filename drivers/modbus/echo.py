"""Own bytes on a line whose adapter returns them, as two-wire adapters do whose receiver is always on.

The answer to a write of function 5, 6 or 22 equals its question, so that an echo would pass for it. The answer to a
read does not: on reads it is seen whether the line echoes.
"""

from __future__ import annotations

import math
from collections import deque

from drivers.modbus.question import Question

__all__ = ["Echo"]

_LASTS = 0.1  # s, after which a write waits for another look: cables may be changed meanwhile
_LATE = 4  # reads whose echo is still known when it comes after their timeout


class Echo:
    """Whether the line returns our bytes (`heard`), and which bytes are ours. Times are the loop's, in seconds."""

    def __init__(self) -> None:
        self.heard = False
        self._looked_at = -math.inf
        self._question: Question | None = None
        self._dropped = False
        self._reads: deque[bytes] = deque(maxlen=_LATE)

    def forget(self) -> None:
        """Another adapter may be there now."""
        self.heard, self._looked_at = False, -math.inf

    def is_known(self, now: float) -> bool:
        return now - self._looked_at < _LASTS

    def begin(self, question: Question) -> None:
        self._question, self._dropped = question, False
        if not question.mirrors and question.frame not in self._reads:
            self._reads.append(question.frame)

    def drop(self, buffer: bytearray) -> None:
        """Take our own bytes out of what came, once: of a write that is echoed the second copy is the answer."""
        question = self._question
        if question is None or self._dropped:
            return
        own = buffer.find(question.frame) if self.heard or not question.mirrors else -1
        if own >= 0:
            del buffer[: own + len(question.frame)]
            self.heard = self._dropped = True
            return
        for frame in self._reads:
            if (at := buffer.find(frame)) >= 0:  # late, of a read that is over
                del buffer[at : at + len(frame)]
                self.heard = True
                self.drop(buffer)
                return

    def end(self, answered: bool, now: float) -> None:
        """A question is over. A read that was answered, or that was heard, shows how the line is."""
        question, self._question = self._question, None
        if question is None or question.mirrors or not (answered or self._dropped):
            return
        self.heard, self._looked_at = self._dropped, now

    def overhear(self, buffer: bytearray) -> None:
        """Bytes while no question is open: an echo may come after the timeout of its read."""
        self.heard = self.heard or any(frame in buffer for frame in self._reads)
