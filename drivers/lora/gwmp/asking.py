"""Whether a device asks to join in vain, for how long, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["USED_NONCE", "Asking"]

IN_VAIN = 3600.0
"""Seconds from which on it is an alarm."""
PAUSE = 90_000.0
"""Seconds without a request after which it is another matter. Devices come to asking once a day."""
USED_NONCE = "this DevNonce was used before"
NOT_HEARD = "it was answered and asks again: it does not hear the gateway, or nothing of it is heard afterwards"


@dataclass(slots=True)
class Asking:
    """The requests of one device since it was last heard in a session. Times are clock.monotonic."""

    seconds: float = 0.0
    """From the first request to the last."""
    last: float | None = None
    """None: not known, since a restart."""
    reason: str = ""
    answered: int = 0
    nonce: int | None = None
    varies: bool = False
    """Whether they had more than one DevNonce: then it is not an old request that is replayed."""

    def ask(self, reason: str, now: float, nonce: int) -> None:
        """A request; `reason` is why it was refused, empty if it was answered."""
        if self.last is not None:
            pause = now - self.last
            if pause > PAUSE:
                self.seconds, self.answered, self.varies = 0.0, 0, False
            else:
                self.seconds += pause
                self.varies |= nonce != self.nonce
        self.last, self.nonce = now, nonce
        self.answered += not reason
        self.reason = reason or NOT_HEARD

    def heard(self) -> None:
        """It uses a session: whatever it asked for, it can do without."""
        self.seconds, self.last, self.reason, self.answered, self.varies = 0.0, None, "", 0, False

    @property
    def in_vain(self) -> str:
        """Why, if it has lasted for long. The first answer ends it, until the device asks once more."""
        waits = self.reason == NOT_HEARD and self.answered < 2
        return self.reason if self.seconds >= IN_VAIN and not waits else ""

    @property
    def may_be_repeated(self) -> bool:
        """Whether an old request may be replayed, without the device having sent it."""
        return self.reason == USED_NONCE and not self.varies

    def record(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds), "reason": self.reason, "answered": self.answered, "varies": self.varies,
        }  # fmt: skip

    @classmethod
    def resumed(cls, kept: Mapping[str, Any] | None) -> Asking:
        """As `record` returned it."""
        if not kept:
            return cls()
        return cls(kept["seconds"], None, kept["reason"], kept["answered"], varies=kept.get("varies", False))
