"""The gateways of a site: who may speak, where they are, and what they have sent.

GWMP has no passwords. With an allow-list a gateway is one of its EUIs, from any address; without one it is whoever
speaks from this machine itself (loopback).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from drivers.lora.gwmp.airtime import Ledger, airtime
from drivers.lora.gwmp.downlinks import Downlink
from drivers.lora.gwmp.packets import TMST_MODULUS, Received, Transmission, TxAck, pull_resp
from drivers.lora.gwmp.region import BANDWIDTH, RX2_FREQUENCY, SUB_BANDS, SubBand, most_payload, sub_band

__all__ = ["Address", "Gateway", "Gateways", "Slot"]

log = logging.getLogger("bocage.lora")

Address = tuple[Any, ...]

MOST_GATEWAYS = 16
"""Without an allow-list."""
PULLED = 60.0
"""Seconds that the address of a PULL_DATA holds: one comes every 5 s."""
USUAL_POWER = 16
"""dBm EIRP that every forwarder has in its table."""
TX_ACK_WAIT = 10.0
MOST_SENT = 256


class Gateway:
    """One concentrator. Times are clock.monotonic."""

    def __init__(self, eui: str, ledger: Ledger) -> None:
        self.eui, self.ledger = eui, ledger
        self.address: Address | None = None
        self.pulled_at = self.heard_at = float("-inf")
        self.sent = self.errors = 0
        self.most_power = max(band.power for band in SUB_BANDS)
        """dBm: the forwarders of older concentrators refuse what is not in their table, instead of sending less."""

    def listens(self, now: float) -> bool:
        return self.address is not None and now - self.pulled_at < PULLED


@dataclass(frozen=True, slots=True)
class Slot:
    """A moment at which a gateway may send: a receive window of a device, with airtime (ms) left for it."""

    gateway: Gateway
    band: SubBand
    took: float
    frequency: int
    sf: int
    bandwidth: int
    tmst: int | None
    later: Slot | None = None
    """The second window, if this is the first."""


@dataclass(frozen=True, slots=True)
class _Sent:
    slot: Slot
    payload: bytes
    at: float
    downlink: Downlink | None


class Gateways:
    """All of a site's gateways, and the transmissions that they have not acknowledged yet."""

    def __init__(self, allowed: Collection[str], boot: str, kept: Any) -> None:
        self._allowed = frozenset(allowed)
        self._boot = boot
        self._kept = kept if isinstance(kept, dict) else {}
        self._gateways = {eui: self._gateway(eui) for eui in sorted(self._allowed or self._kept)}
        self._token = random.getrandbits(16)
        self._sent: dict[int, _Sent] = {}

    def __iter__(self) -> Iterator[Gateway]:
        return iter(self._gateways.values())

    def admit(self, eui: str, address: Address) -> Gateway | None:
        """The gateway that says to have this EUI, if it may speak."""
        known = self._gateways.get(eui)
        if self._allowed:
            return known
        if not str(address[0]).startswith("127.") and address[0] not in ("::1", "::ffff:127.0.0.1"):
            return None
        if known is None and len(self._gateways) < MOST_GATEWAYS:
            known = self._gateways[eui] = self._gateway(eui)
        return known

    def slot(
        self, heard: Sequence[Received], delays: tuple[int, int], size: int, data: int, now: float,
        rx2_sf: int,
    ) -> Slot | None:
        """Where `size` bytes, `data` of them application payload and commands, go to a device after its uplink, heard
        best first: RX1, else RX2, by what is left of the sub-band's hour; None if no gateway may send.
        """
        for packet in heard:
            gateway = self._gateways.get(packet.gateway)
            if gateway is None or not gateway.listens(now):
                continue
            rx2 = self._free(gateway, size, data, now, RX2_FREQUENCY, rx2_sf, BANDWIDTH, packet.tmst + delays[1])
            if packet.sf is None or packet.bandwidth is None:
                rx1 = None
            else:
                tmst = packet.tmst + delays[0]
                rx1 = self._free(gateway, size, data, now, packet.frequency, packet.sf, packet.bandwidth, tmst)
            if rx1 is not None:
                return replace(rx1, later=rx2)
            if rx2 is not None:
                return rx2
        return None

    def slot_now(self, euis: Sequence[str], size: int, data: int, now: float, rx2_sf: int) -> Slot | None:
        """The second window at once, for a device that always listens (class C), by the gateways that heard it."""
        for eui in euis:
            gateway = self._gateways.get(eui)
            if gateway is not None and gateway.listens(now):
                slot = self._free(gateway, size, data, now, RX2_FREQUENCY, rx2_sf, BANDWIDTH, None)
                if slot is not None:
                    return slot
        return None

    def send(self, slot: Slot, payload: bytes, now: float, downlink: Downlink | None = None) -> tuple[Address, bytes]:
        """The datagram that orders it, and where it goes. Its airtime is spent."""
        slot.gateway.ledger.spend(slot.band, slot.took, now)
        slot.gateway.sent += 1
        self._token = (self._token + 1) % 65536
        for token in [token for token, sent in self._sent.items() if now - sent.at > TX_ACK_WAIT]:
            del self._sent[token]
        while len(self._sent) >= MOST_SENT:
            del self._sent[next(iter(self._sent))]
        self._sent[self._token] = _Sent(slot, payload, now, downlink)
        power = min(slot.band.power, slot.gateway.most_power)
        order = Transmission(payload, slot.tmst, slot.frequency, slot.sf, slot.bandwidth, power)
        assert slot.gateway.address is not None
        return slot.gateway.address, pull_resp(self._token, order)

    def tx_ack(self, ack: TxAck, now: float) -> tuple[Address, bytes] | None:
        """What became of a transmission. If the first window was missed, the order for the second; if the power was too
        much, the same with less.
        """
        sent = self._sent.get(ack.token)
        if sent is None or sent.slot.gateway.eui != ack.gateway:
            return None
        del self._sent[ack.token]
        if not ack.error:
            if sent.downlink is not None and not sent.downlink.confirmed:
                sent.downlink.end()
            return None
        slot = sent.slot
        slot.gateway.ledger.spend(slot.band, -slot.took, now)
        slot.gateway.sent -= 1
        slot.gateway.errors += 1
        if ack.error == "TX_POWER" and min(slot.band.power, slot.gateway.most_power) > USUAL_POWER:
            log.warning("downlink refused gateway=%s reason=TX_POWER next=%d dBm", ack.gateway, USUAL_POWER)
            slot.gateway.most_power = USUAL_POWER
            return self.send(slot, sent.payload, now, sent.downlink)
        retry = slot.later is not None and slot.gateway.ledger.allows(slot.later.band, slot.later.took, now)
        log.warning("downlink refused gateway=%s reason=%s next=%s", ack.gateway, ack.error,
                    "the second window" if retry else "after the next uplink")  # fmt: skip
        if retry and slot.later is not None and slot.gateway.listens(now):
            return self.send(slot.later, sent.payload, now, sent.downlink)
        if sent.downlink is not None:
            sent.downlink.trouble = f"the gateway says {ack.error}"
        return None

    def kept(self) -> Mapping[str, Any]:
        """For the memory: what was sent in the last hour."""
        return {gateway.eui: gateway.ledger.kept() for gateway in self}

    def _gateway(self, eui: str) -> Gateway:
        return Gateway(eui, Ledger(self._boot, self._kept.get(eui)))

    def _free(
        self, gateway: Gateway, size: int, data: int, now: float,
        frequency: int, sf: int, bandwidth: int, tmst: int | None,
    ) -> Slot | None:  # fmt: skip
        band, took = sub_band(frequency), airtime(size, sf, bandwidth)
        if band is None or data > most_payload(sf) or not gateway.ledger.allows(band, took, now):
            return None
        return Slot(gateway, band, took, frequency, sf, bandwidth, None if tmst is None else tmst % TMST_MODULUS)
