"""The devices of a site by DevEUI and by address, and the facts about them that must be kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from drivers.lora.gwmp.phy import Data
from drivers.lora.gwmp.sessions import ADDRESS_BITS, EndDevice, Match

__all__ = ["DeviceTable"]

KEY_RETRY = 60.0
"""Seconds between two looks for keys that are missing."""
SEARCH_EVERY, MOST_SEARCHES = 60.0, 60
"""Seconds, and searches in them for a counter that is far ahead."""


class DeviceTable:
    """`load` returns by name what `facts` returned: one fact a device, so that a change rewrites that one alone."""

    def __init__(self, devices: Iterable[EndDevice], load: Callable[[str], Any]) -> None:
        self._devices = {device.name: device for device in devices}
        self._by_eui = {device.dev_eui: device for device in self if device.dev_eui}
        self._by_address: dict[int, list[EndDevice]] = {}
        self._load = load
        self._changed: dict[str, EndDevice] = {}
        self._retry_at = self._searched_at = float("-inf")
        self._searches = 0

    def __iter__(self) -> Iterator[EndDevice]:
        return iter(self._devices.values())

    def __getitem__(self, name: str) -> EndDevice:
        return self._devices[name]

    def open(self) -> None:
        """Read the keys, and go on where the memory ends. A device whose key is missing has a `fault`."""
        for device in self:
            device.open(self._load(_fact(device)))
        self.index()

    def by_eui(self, dev_eui: str) -> EndDevice | None:
        return self._by_eui.get(dev_eui)

    def knows(self, address: int) -> bool:
        return address in self._by_address

    def match(self, frame: Data, now: float) -> Match | None:
        """The device that sent a frame; None if no device with this address has its MIC."""
        return self._matched(frame, far=False) or (self._matched(frame, far=True) if self._may_search(now) else None)

    def _matched(self, frame: Data, far: bool) -> Match | None:
        found = (device.match(frame, far) for device in self._by_address.get(frame.address, ()))
        return next((match for match in found if match is not None), None)

    def _may_search(self, now: float) -> bool:
        """Limit the searches far ahead in a minute: each costs 64 MICs, and any sender can cause one."""
        if now - self._searched_at >= SEARCH_EVERY:
            self._searched_at, self._searches = now, 0
        self._searches += 1
        return self._searches <= MOST_SEARCHES

    def free_address(self) -> int:
        while (address := random.getrandbits(ADDRESS_BITS)) in self._by_address:
            pass
        return address

    def index(self) -> None:
        """Sessions began or ended."""
        self._by_address = {}
        for device in self:
            for address in {session.address for session in device.sessions}:
                self._by_address.setdefault(address, []).append(device)

    def retry_keys(self, now: float) -> bool:
        """Look again for keys that were missing, once a minute at most. Whether one was found."""
        missing = [device for device in self if device.fault]
        if not missing or now < self._retry_at:
            return False
        self._retry_at = now + KEY_RETRY
        for device in missing:
            device.open(self._load(_fact(device)))
        self.index()
        return not all(device.fault for device in missing)

    def changed(self, device: EndDevice) -> None:
        """Note that the kept facts about a device are out of date."""
        self._changed[device.key] = device

    def facts(self) -> dict[str, Any]:
        """The records that changed since the last call, by name."""
        changed, self._changed = self._changed, {}
        return {_fact(device): device.record() for device in changed.values()}


def _fact(device: EndDevice) -> str:
    return f"session.{device.key}"
