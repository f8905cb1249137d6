"""Any modem that prints a line for each packet; the site file says what a line looks like."""

from __future__ import annotations

import logging
import re

from agent.clock import Clock
from agent.errors import DeviceError, WireError
from agent.lib.pattern import Pattern, TooSlow
from agent.model import Kind, Point, Value
from drivers.api import BusSpec, DurableStore
from drivers.lora.modem import LONGEST_PACKET, Modem
from drivers.lora.node import Node

__all__ = ["LoraLine", "number", "payload"]

log = logging.getLogger("bocage.lora")

_BETWEEN = re.compile(r"0x|[\s:,;-]", re.IGNORECASE)
_NUMBER = re.compile(r"-?[0-9]{1,4}(?:\.[0-9]{1,4})?")
_REST = 60.0  # s, between two signs of life while nothing comes
_PAUSE = 5.0  # s, in which no line is looked at after one that took too long: a hundred times as much


def payload(text: str | None) -> bytes | None:
    """Bytes from hexadecimal digits with any separators (`0x01 0xA2`, `01:a2`, `01A2`); None if the text has others."""
    digits = _BETWEEN.sub("", text or "")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return None
    return found if 0 < len(found) <= LONGEST_PACKET else None


def number(text: str | None) -> float | None:
    """A signal's figure, None for anything else."""
    found = None if text is None else _NUMBER.fullmatch(text.strip())
    return None if found is None else float(found[0])  # float() itself knows fewer blanks than strip()


class LoraLine(Modem):
    """A port that is only listened to. Options: port, baudrate, and pattern with the group `data`, and if the lines
    tell them `rssi` (dBm), `snr` (dB) and `node`. Without `node` the payload's first byte says which node sent it.

    Nothing can be asked here, so a modem that fell silent shows in its nodes, and the port as up.
    """

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        self._pattern = Pattern(spec.options["pattern"])
        self._pause_until = float("-inf")
        super().__init__(spec, clock, memory)

    async def write(self, point: str, _value: Value, _until: float | None = None) -> None:
        """DeviceError: there is no way down."""
        raise DeviceError(f"{point}: {self._bus} is a lora_line, which only listens; nothing can be sent")

    def _tells(self, point: Point) -> bool:
        """The signal's figures are told only where the pattern takes them from the line."""
        short = point.id.rpartition(".")[2]
        signal = point.kind is Kind.DIAGNOSTIC and short in ("rssi", "snr", "sf")
        return super()._tells(point) and (not signal or short in self._pattern.groups)

    async def _make_ready(self) -> None:
        """Nothing is known of the modem."""

    def _refuse(self, error: WireError) -> None:
        """Refuse: this modem only listens."""

    async def _turn(self) -> None:
        self._owe(_REST)
        line = await self._port.line(_REST)
        if line is not None:
            self._take(line)

    def _take(self, line: str) -> None:
        groups = self._groups(line)
        data = payload(groups.get("data"))
        if data is None:
            self._counts["garbage"] += 1
            return
        self._counts["frames"] += 1
        name = groups.get("node")
        home = self._named(data) if name is None else self._called(name, data)
        if home is None:
            self._counts["foreign"] += 1
        else:
            self._heard(*home, number(groups.get("rssi")), number(groups.get("snr")))

    def _groups(self, line: str) -> dict[str, str | None]:
        """The groups that the pattern finds. A line that takes too long is no packet, and the next lines are
        skipped.
        """
        if self._clock.monotonic() < self._pause_until:
            return {}
        try:
            found = self._pattern.search(line)
        except TooSlow as error:
            self._pause_until = self._clock.monotonic() + _PAUSE
            log.warning('pattern too slow bus=%s reason="%s" line=%.40r next=no line is looked at for %g s',
                        self._bus, str(error), line, _PAUSE)  # fmt: skip
            return {}
        return found.groupdict() if found is not None else {}

    def _called(self, name: str, data: bytes) -> tuple[Node, bytes] | None:
        """The node of that name in hexadecimal (`7` is `07`), and the whole payload."""
        for prefix, node in self._nodes:
            if prefix.hex() == name.strip().lower().removeprefix("0x").zfill(2):
                return node, data
        return None
