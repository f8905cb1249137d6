"""Limits of one broker, as it announced or showed them: retained messages, QoS, the length of a message."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.uplink.reconnect import Why
from agent.uplink.session import TOO_LARGE, LinkLost

__all__ = ["BrokerLimits", "Cuts"]

NO_RETAIN, NO_QOS = 0x9A, 0x9B
HANG_UPS = 3
"""With 3.1.1 a broker that takes no retained will closes without a reason: each third attempt asks for none."""
SHORT = 512
"""Bytes; no broker is assumed to refuse a message of this length."""
SILENT_FOR = 3600.0
"""Seconds for which a topic is not told after it cut the link: the broker may have cut at everything for a minute."""
SMALLEST = 256
"""Bytes: what is made anew is never bound to less."""


@dataclass(slots=True)
class Cuts:
    """Connections that the broker cut one after the other, each at the same message: it is too long for it.

    What is told at QoS 0 is not told for an hour then (`silent`: until when, by topic). Splitting in vain does no harm,
    so three cuts are enough for it; to set one record aside takes five. None is blamed that is no longer than one that
    was taken (`largest`).
    """

    largest: int = SHORT
    silent: dict[str, float] = field(default_factory=dict)
    _at: tuple[str, int, int] = ("", 0, 0)
    _times: int = 0
    _proven: bool = False

    def blame(self, lost: LinkLost, at: tuple[str, int, int], divisible: bool) -> bool:
        """Whether this message (topic, first number, bytes) is to blame for the end of the link."""
        if not lost.cut or not at[0] or 0 < at[2] <= self.largest:
            return False
        self._times = self._times + 1 if at == self._at else 1
        self._at = at
        said = lost.code == TOO_LARGE
        needed = (1 if said or self._proven else 3) if divisible else 2 if said else 5
        if self._times < needed:
            return False
        self._proven = True
        return True


@dataclass(slots=True)
class BrokerLimits:
    """`retain` and `qos` are for the next connection. `limit`: bytes of a body at the most, as learned."""

    retain: bool = True
    qos: int = 1
    limit: int = 1 << 30
    cuts: Cuts = field(default_factory=Cuts)
    hang_ups: int = 0
    known: bool = False
    """Whether it has taken us since the start."""
    doubted: bool = False
    """Once it hung up three times and took us without a retained will: that may have been chance."""

    def will_retain(self) -> bool:
        """Whether the next connection may ask for a retained will."""
        probe = self.hang_ups % HANG_UPS == HANG_UPS - 1 or (self.doubted and self.hang_ups > 0)
        return self.retain and not probe

    def lost(self, lost: LinkLost, protocol: object) -> bool:
        """Learn from the end of a connection; True: the next one can begin at once, on other terms."""
        if lost.code == NO_RETAIN and self.retain:
            self.retain = False
            return True
        if lost.code == NO_QOS and self.qos:
            self.qos = 0
            return True
        self.hang_ups = self.hang_ups + 1 if lost.why is Why.ANSWERED and protocol != 5 else 0
        return self.doubted and self.hang_ups == 1

    def connected(self, asked: bool, can: bool | None, qos: int) -> bool:
        """Learn from a CONNACK: `asked` for retained messages or not; `can`, `qos`: its answer (None: it cannot say).

        False: without them, by chance or not; to be tried once more.
        """
        self.qos = qos
        if can is not None:
            self.retain = can
        elif not asked and self.retain:
            if not self.doubted:
                self.hang_ups, self.doubted = 0, True
                return False
            self.retain = False
        self.hang_ups, self.doubted, self.known = 0, False, True
        return True

    def shorten(self, limit: int) -> None:
        """No message longer than that from now on."""
        self.limit = max(SMALLEST, min(self.limit, limit))
