"""Joining: which devices may, the answer, and the last hundred requests, for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from drivers.lora.gwmp import phy
from drivers.lora.gwmp.asking import USED_NONCE
from drivers.lora.gwmp.gateways import SendWindow
from drivers.lora.gwmp.phy import JoinRequest, session_keys
from drivers.lora.gwmp.sessions import NET_ID, DeviceSession, EndDevice

__all__ = ["JoinLog", "accept", "refusal", "said"]

MOST, MOST_FOREIGN = 100, 20


class JoinLog:
    """The join requests, newest last. A device that is not in the site file has one entry, with a count: a neighbour's
    node that asks for ever does not displace the others.
    """

    def __init__(self, kept: Any = None) -> None:
        kept = kept if isinstance(kept, dict) else {}
        self._ours: deque[dict[str, Any]] = deque(kept.get("ours", ()), MOST)
        self._foreign: dict[str, dict[str, Any]] = {entry["dev_eui"]: entry for entry in kept.get("foreign", ())}

    def add(self, entry: dict[str, Any], foreign: bool = False) -> None:
        if not foreign:
            self._ours.append(entry)
            return
        known = self._foreign.pop(entry["dev_eui"], {"count": 0})
        self._foreign[entry["dev_eui"]] = entry | {"count": known["count"] + 1}
        while len(self._foreign) > MOST_FOREIGN:
            del self._foreign[next(iter(self._foreign))]

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Oldest first; those without a trusted time come before them."""
        return sorted([*self._ours, *self._foreign.values()], key=lambda entry: entry["at_ms"] or 0)[-MOST:]

    def kept(self) -> dict[str, Any]:
        return {"ours": list(self._ours), "foreign": list(self._foreign.values())}


def said(entry: dict[str, Any], slot: SendWindow | None, error: str = "", *, taken: bool | None = None) -> None:
    """Note in which window a join-accept was ordered, or that no gateway sends it and why."""
    entry["window"], entry["sent_by"] = (slot.window, slot.gateway.eui) if slot is not None else (None, None)
    entry["taken"] = taken if slot is not None else False
    if slot is None:
        entry["result"], entry["reason"] = "not sent", f"the gateway says {error}"


def refusal(device: EndDevice | None, request: JoinRequest) -> str:
    """Why it may not join; empty if it may. A DevNonce that was used is one reason: a request is answered once."""
    if device is None:
        return "this DevEUI is not in the site file"
    if device.is_abp:
        return "the site file has keys by ABP for it"
    if device.join_eui != request.join_eui:
        return f"the site file has join_eui {device.join_eui}"
    if device.app_key is None:
        return device.fault
    if not request.is_from(device.app_key):
        return "wrong MIC: the device has another AppKey"
    if request.dev_nonce in device.nonces:
        return USED_NONCE
    return ""


def accept(device: EndDevice, request: JoinRequest, address: int, wall_ms: int | None, channels: bytes) -> bytes:
    """Begin a session at this address; the join-accept, which may leave when the device's record is on flash.

    `channels` is the CFList, 16 bytes or none.
    """
    assert device.app_key is not None
    device.nonces.add(request.dev_nonce)
    device.join_nonce = device.join_nonce % 0xFFFFFF + 1
    keys = session_keys(device.app_key, device.join_nonce, NET_ID, request.dev_nonce)
    session = DeviceSession(
        address, *keys, request.dev_nonce, device.join_nonce, rx1_delay=device.rx1_delay, rx2_sf=device.rx2_sf
    )
    device.begin(session)
    device.joined_ms = wall_ms
    return phy.join_accept(
        device.app_key, device.join_nonce, NET_ID, address, session.rx1_delay, channels, 12 - session.rx2_sf
    )
