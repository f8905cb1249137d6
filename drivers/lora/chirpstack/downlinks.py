"""Downlinks that ChirpStack has in its queue, and what it says of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.errors import DeviceError, TooLate

__all__ = ["Downlinks", "QueuedDownlink"]

_DROPPED = {
    "EXPIRED": "it expired in ChirpStack's queue before the device spoke",
    "DOWNLINK_PAYLOAD_SIZE": "it is too long for the present data rate, and ChirpStack dropped it",
    "DOWNLINK_GATEWAY": "the gateway could not send it",
}
"""Codes of `log` events that end a downlink (integration.proto, LogCode), in our words."""


@dataclass(eq=False, slots=True)
class QueuedDownlink:
    """One item of the queue. `sent` is set when a gateway took it, or it ended before; `ended` says how."""

    device: str
    point: str
    size: int
    confirmed: bool
    item: str = field(default_factory=lambda: str(uuid.uuid4()))
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, error: DeviceError | None = None) -> None:
        """Well (None), or with why it was not confirmed; the first word counts."""
        self.sent.set()
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
            self.ended.exception()  # retrieved: the waiting task may have ended


class Downlinks:
    """The downlinks that a write waits for, by the id that we gave them."""

    def __init__(self) -> None:
        self._waiting: dict[str, QueuedDownlink] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, downlink: QueuedDownlink) -> None:
        """A newer value for a point takes the place of the one that waits."""
        for other in self._waiting.values():
            if other.point == downlink.point:
                other.end(DeviceError(
                    f"{other.point}: a newer value took its place; if ChirpStack still sends it, then before the newer"
                ))  # fmt: skip
        self._waiting[downlink.item] = downlink

    def remove(self, downlink: QueuedDownlink) -> None:
        self._waiting.pop(downlink.item, None)

    def taken(self, item: str) -> None:
        """A gateway took it (`txack`)."""
        downlink = self._waiting.get(item)
        if downlink is not None:
            downlink.sent.set()
            if not downlink.confirmed:
                downlink.end()

    def answered(self, item: str, acknowledged: bool) -> None:
        """The device confirmed it (`ack`), or sent an uplink without a confirmation."""
        downlink = self._waiting.get(item)
        if downlink is not None:
            silent = DeviceError(f"{downlink.point}: it was sent, and the device did not confirm it")
            downlink.end(None if acknowledged else silent)

    def logged(self, device: str, code: str, description: str, context: Mapping[str, object]) -> bool:
        """An error that ChirpStack tells of a device; whether it was about one of these.

        It names the item, but for one that is too long: there it tells the size.
        """
        found = [each for each in self._waiting.values() if each.item in context.values()]
        if not found and code == "DOWNLINK_PAYLOAD_SIZE":
            size = context.get("item_size")
            found = [each for each in self._waiting.values() if each.device == device and str(each.size) == size][:1]
        for downlink in found:
            why = _DROPPED.get(code) or f"ChirpStack says {code[:40]}: {description[:120]}"
            kind = TooLate if code == "EXPIRED" and not downlink.sent.is_set() else DeviceError
            downlink.end(kind(f"{downlink.point}: {why}"))
        return bool(found)
