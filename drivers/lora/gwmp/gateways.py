"""The gateways of a site: which may send, where they are, and what they have sent.

GWMP has no passwords. With an allow-list a gateway is one of its EUIs, from any address; without one it is any
sender on this machine itself (loopback).
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from drivers.lora.gwmp.airtime import AirtimeAccount, airtime
from drivers.lora.gwmp.downlinks import PendingDownlink
from drivers.lora.gwmp.packets import TMST_MODULUS, Received, Transmission, TxAck, pull_resp
from drivers.lora.gwmp.region import BANDWIDTH, RX2_FREQUENCY, SUB_BANDS, SubBand, most_payload, sub_band
from drivers.lora.gwmp.schedule import Schedule

__all__ = ["Address", "Gateway", "Gateways", "SendWindow", "Told"]

log = logging.getLogger("bocage.lora")

Address = tuple[Any, ...]

MOST_GATEWAYS = 16
"""Without an allow-list."""
PULLED = 60.0
"""Seconds that the address of a PULL_DATA holds: one comes every 5 s."""
MUTE = 3.0
"""Seconds in which a gateway must answer an order. It may be dead long before `PULLED` is over."""
USUAL_POWER = 16
"""dBm EIRP that every forwarder has in its table."""
COLLECTED = 0.3
"""Seconds that have passed since an uplink when its answer is made: copies are collected."""
LEAD = 0.1
"""Seconds that an order takes to its concentrator, at the most that is counted on."""
TX_ACK_WAIT = 10.0
MOST_SENT = 256


class Gateway:
    """One concentrator. Times are clock.monotonic."""

    def __init__(self, eui: str, ledger: AirtimeAccount) -> None:
        self.eui, self.ledger = eui, ledger
        self.address: Address | None = None
        self.pulled_at = self.heard_at = float("-inf")
        self.ordered_at = float("-inf")
        """When it was ordered something first, since it said its last word."""
        self.schedule = Schedule()
        self.counter: tuple[int, float] | None = None
        """The gateway's last microseconds (tmst), and when they were heard."""
        self.sent = self.errors = 0
        self.most_power = max(band.power for band in SUB_BANDS)
        """dBm: the forwarders of older concentrators refuse what is not in their table, instead of sending less."""

    def listens(self, now: float) -> bool:
        return self.address is not None and now - self.pulled_at < PULLED

    def is_mute(self, now: float) -> bool:
        """Whether it has said nothing since an order: a forwarder acknowledges that, and sends PULL_DATA anyway."""
        return self.ordered_at > self.heard_at and now - self.ordered_at >= MUTE

    def tmst(self, now: float) -> int | None:
        """Its counter at this moment, as far as one can tell; None before it has heard anything."""
        if self.counter is None:
            return None
        return (self.counter[0] + round((now - self.counter[1]) * 1_000_000)) % TMST_MODULUS


@dataclass(frozen=True, slots=True)
class _Air:
    """The radio settings of a device's receive window, for any gateway."""

    frequency: int
    sf: int
    bandwidth: int
    tmst: int | None
    window: str
    """RX1, RX2, or "at once" (class C)."""
    at: float
    """When (clock.monotonic) it begins, or somewhat earlier."""


@dataclass(frozen=True, slots=True)
class SendWindow(_Air):
    """A window in which a gateway may send: one that has airtime (ms) left for it."""

    gateway: Gateway
    band: SubBand
    took: float
    others: tuple[SendWindow, ...] = ()
    """The other windows, the best first: for an order that the concentrator refuses."""


Told = Callable[["SendWindow | None", str], None]
"""Is called with the slot in which something is really sent (None: not at all), and the concentrator's error."""


@dataclass(frozen=True, slots=True)
class _Sent:
    slot: SendWindow
    payload: bytes
    at: float
    downlink: PendingDownlink | None
    told: Told | None


class Gateways:
    """All of a site's gateways, and the transmissions that they have not acknowledged yet."""

    def __init__(self, allowed: Collection[str], boot: str, kept: Any) -> None:
        self._allowed = frozenset(allowed)
        self._boot = boot
        self._kept = kept if isinstance(kept, dict) else {}
        self._gateways = {eui: self._gateway(eui) for eui in sorted(self._allowed or self._kept)}
        self._token = random.getrandbits(16)
        self._sent: dict[int, _Sent] = {}
        self._at_once: deque[tuple[float, int]] = deque()
        """When to look whether an order that another gateway could have had was answered, and its token."""

    def __iter__(self) -> Iterator[Gateway]:
        return iter(self._gateways.values())

    def admit(self, eui: str, address: Address) -> Gateway | None:
        """The gateway with this EUI, if it is allowed."""
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
        rx2_sf: int, age: float = COLLECTED,
    ) -> SendWindow | None:
        """Where `size` bytes, `data` of them application payload and commands, go to a device after its uplink, heard
        best first: RX1 by one of the gateways, else RX2, by what is left of the sub-band's hour, and never while the
        concentrator sends something else; None if no gateway may send. `age` is how long ago it was heard (s).
        """
        found = []
        ready = [(self._gateways[one.gateway], one) for one in heard if self._listens(one.gateway, now)]
        for gateway, one in ready:
            if one.sf is not None and one.bandwidth is not None:
                at = now - age + delays[0] / 1e6
                air = _Air(one.frequency, one.sf, one.bandwidth, one.tmst + delays[0], "RX1", at)
                found.append(self._free(gateway, size, data, now, air))
        for gateway, one in ready:
            air = _Air(RX2_FREQUENCY, rx2_sf, BANDWIDTH, one.tmst + delays[1], "RX2", now - age + delays[1] / 1e6)
            found.append(self._free(gateway, size, data, now, air))
        return _best_of(found)

    def slot_now(
        self, euis: Sequence[str], size: int, data: int, now: float, rx2_sf: int, *, waits: bool = False
    ) -> SendWindow | None:
        """The second window at once, for a device that always listens (class C), by the gateways that heard it, a
        mute one last. With `waits` also by one that is sending something else now, as those may be that are left over.
        """
        air = _Air(RX2_FREQUENCY, rx2_sf, BANDWIDTH, None, "at once", now)
        ready = [self._gateways[eui] for eui in euis if self._listens(eui, now)]
        ready.sort(key=lambda gateway: gateway.is_mute(now))
        found = _best_of([self._free(gateway, size, data, now, air, waits) for gateway in ready])
        if found is None or waits:
            return found
        left = [self._free(gateway, size, data, now, air, waits=True) for gateway in ready if gateway != found.gateway]
        return replace(found, others=tuple(slot for slot in left if slot is not None))

    def send(
        self,
        slot: SendWindow,
        payload: bytes,
        now: float,
        downlink: PendingDownlink | None = None,
        told: Told | None = None,
    ) -> tuple[Address, bytes]:
        """The datagram that orders it, and where it goes. Its airtime is spent."""
        gateway = slot.gateway
        gateway.ledger.spend(slot.band, slot.took, now)
        gateway.sent += 1
        if gateway.ordered_at <= gateway.heard_at:
            gateway.ordered_at = now
        tmst = slot.tmst if slot.tmst is not None else gateway.tmst(now)
        if tmst is not None:
            gateway.schedule.take(tmst, slot.took + (slot.tmst is None) * LEAD * 1000, now)
        self._token = (self._token + 1) % 65536
        for token in [token for token, sent in self._sent.items() if now - sent.at > TX_ACK_WAIT]:
            del self._sent[token]
        while len(self._sent) >= MOST_SENT:
            del self._sent[next(iter(self._sent))]
        self._sent[self._token] = _Sent(slot, payload, now, downlink, told)
        if slot.tmst is None and slot.others:
            self._at_once.append((now + MUTE, self._token))
        power = min(slot.band.power, gateway.most_power)
        order = Transmission(payload, slot.tmst, slot.frequency, slot.sf, slot.bandwidth, power)
        assert gateway.address is not None
        return gateway.address, pull_resp(self._token, order)

    def tx_ack(self, ack: TxAck, now: float) -> tuple[Address, bytes] | None:
        """Handle the result of a transmission. If it was refused, the order for the next window or gateway for which
        there is time; if the power was too much, the same with less.
        """
        sent = self._sent.get(ack.token)
        if sent is None or sent.slot.gateway.eui != ack.gateway:
            return None
        del self._sent[ack.token]
        if not ack.error:
            if sent.told is not None:
                sent.told(sent.slot, "")
            if sent.downlink is not None and not sent.downlink.confirmed:
                sent.downlink.end()
            return None
        slot = sent.slot
        self._give_back(slot, now)
        if ack.error == "TX_POWER" and min(slot.band.power, slot.gateway.most_power) > USUAL_POWER:
            log.warning("downlink refused gateway=%s reason=TX_POWER next=%d dBm", ack.gateway, USUAL_POWER)
            slot.gateway.most_power = USUAL_POWER
            return self.send(slot, sent.payload, now, sent.downlink, sent.told)
        other = self._other(slot, now)
        later = "after the next uplink" if slot.tmst is not None else "once more in some seconds"
        log.warning('downlink refused gateway=%s reason="%s" next=%s', ack.gateway, ack.error,
                    f"{other.window} by {other.gateway.eui}" if other else later)  # fmt: skip
        if other is not None:
            return self.send(other, sent.payload, now, sent.downlink, sent.told)
        if sent.told is not None:
            sent.told(None, ack.error)
        if sent.downlink is not None:
            sent.downlink.trouble = f"the gateway says {ack.error}"
        return None

    def due(self) -> float:
        """When (clock.monotonic) `unheard` may have something."""
        return self._at_once[0][0] if self._at_once else float("inf")

    def unheard(self, now: float) -> Iterator[tuple[Address, bytes]]:
        """The immediate transmissions that a gateway did not confirm, for the next gateway. A device takes each only
        once.
        """
        while self.due() <= now:
            _, token = self._at_once.popleft()
            sent = self._sent.get(token)
            if sent is None or not sent.slot.gateway.is_mute(now):
                continue
            if other := self._other(sent.slot, now):
                mute = sent.slot.gateway.eui
                log.warning("gateway does not answer gateway=%s next=at once by %s", mute, other.gateway.eui)
                del self._sent[token]
                yield self.send(other, sent.payload, now, sent.downlink, sent.told)
            elif now - sent.at < TX_ACK_WAIT:  # the others are sending something else
                self._at_once.append((now + MUTE, token))

    def _other(self, slot: SendWindow, now: float) -> SendWindow | None:
        """The next of what else there was, if it still may be and there is time."""
        for at, other in enumerate(slot.others, 1):
            if self._may_still(other, now):
                return replace(other, others=slot.others[at:])
        return None

    def _may_still(self, slot: SendWindow, now: float) -> bool:
        gateway, at_once = slot.gateway, slot.tmst is None
        tmst = gateway.tmst(now) if slot.tmst is None else slot.tmst
        return (
            gateway.listens(now) and (at_once or slot.at - now > LEAD)
            and gateway.ledger.allows(slot.band, slot.took, now)
            and (tmst is None or gateway.schedule.free(tmst, slot.took, now))
        )  # fmt: skip

    def _give_back(self, slot: SendWindow, now: float) -> None:
        slot.gateway.ledger.spend(slot.band, -slot.took, now)
        slot.gateway.sent -= 1
        slot.gateway.errors += 1
        if slot.tmst is not None:
            slot.gateway.schedule.give_back(slot.tmst)

    def _listens(self, eui: str, now: float) -> bool:
        gateway = self._gateways.get(eui)
        return gateway is not None and gateway.listens(now)

    def kept(self) -> Mapping[str, Any]:
        """For the memory: what was sent in the last hour."""
        return {gateway.eui: gateway.ledger.kept() for gateway in self}

    def _gateway(self, eui: str) -> Gateway:
        return Gateway(eui, AirtimeAccount(self._boot, self._kept.get(eui)))

    def _free(
        self, gateway: Gateway, size: int, data: int, now: float, air: _Air, waits: bool = False
    ) -> SendWindow | None:
        band, took = sub_band(air.frequency), airtime(size, air.sf, air.bandwidth)
        if band is None or data > most_payload(air.sf) or not gateway.ledger.allows(band, took, now):
            return None
        tmst = gateway.tmst(now) if air.tmst is None else air.tmst % TMST_MODULUS
        if tmst is not None and not waits and not gateway.schedule.free(tmst, took, now):
            return None
        began = None if air.tmst is None else tmst
        return SendWindow(air.frequency, air.sf, air.bandwidth, began, air.window, air.at, gateway, band, took)


def _best_of(found: Sequence[SendWindow | None]) -> SendWindow | None:
    """The first, with the rest of them for an order that is refused."""
    slots = [slot for slot in found if slot is not None]
    return replace(slots[0], others=tuple(slots[1:])) if slots else None
