"""The devices of a site as the network server knows them: keys, sessions, counters and nonces.

What must outlive a restart is `EndDevice.record`, one fact in the memory. No key is in it: the session keys of a
device that joined are worked out again from its AppKey and the two nonces.
"""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.errors import BocageError
from drivers.api import DeviceSpec
from drivers.lora.gwmp.adr import Adr
from drivers.lora.gwmp.airtime import Rolling
from drivers.lora.gwmp.asking import Asking
from drivers.lora.gwmp.phy import Data, Key, session_keys
from drivers.lora.gwmp.region import RX2_SF

__all__ = ["NET_ID", "DeviceSession", "EndDevice", "Match", "end_device"]

log = logging.getLogger("bocage.lora")

NET_ID = 0
"""For private networks (LoRaWAN Backend Interfaces, NetID 000000): DevAddr 00000000 to 01ffffff."""
ADDRESS_BITS = 25
OLD_RX1_DELAY, OTAA_RX1_DELAY = 1, 5
"""Seconds: the default of the specification, which ABP devices and older sessions have; and what a device is
told when it joins: a worn card takes its time until the counter is on flash.
"""
LATE_COPY = 3.0
"""Seconds in which a frame that was heard may come once more by a slow gateway. A device sends it anew after that at
the earliest: RX2 opens 2 s after the frame, and it waits 1 s at least for what may come (ACK_TIMEOUT).
"""
ROLL, FAR = 1 << 16, 64
"""A frame carries the lower 16 bits of its counter. 64 rounds are 4.2 million frames: eight years of one a minute."""
SAME_NUMBER = 660.0
"""Seconds after which the last frame once more is a new one, of a device whose counter is not checked: it may begin
with the same number each time, and say the same. Somewhat more than a node waits (drivers.lora.node).
"""
UNUSED = 8
"""Sessions beside the one in use that are kept until the device uses one of them."""
MOST_REPEATS = 3
"""Times that the acknowledgement of one frame is sent again."""


@dataclass(slots=True)
class DeviceSession:
    """Counters of one activation. `up` is the last one accepted (-1: none yet), `down` the next one to be used."""

    address: int
    network: Key
    application: Key
    dev_nonce: int | None = None
    join_nonce: int | None = None
    up: int = -1
    down: int = 0
    mic: str = ""
    """The MIC of the last uplink: the same counter with the same MIC is the same frame once more."""
    repeats: int = 0
    """Acknowledgements of the last uplink that were sent again."""
    heard_at: float = -math.inf
    """When (clock.monotonic) the last uplink was heard; not known since a restart."""
    recent: dict[bytes, float] = field(default_factory=dict)
    """When (clock.monotonic) the frames of the last seconds were heard or answered, by MIC; the join-request too."""
    adr: Adr = field(default_factory=Adr)
    rx1_delay: int = OLD_RX1_DELAY
    """Seconds from the end of an uplink to RX1, as the device was told when it joined."""
    rx2_sf: int = RX2_SF

    def counter(self, frame: Data) -> int | None:
        """The 32-bit counter that gives the frame's MIC: the one that comes next, else an earlier one; None if no."""
        following = self._following(frame)
        return self._first_of(frame, (following, following - ROLL, frame.counter))

    def far_counter(self, frame: Data) -> int | None:
        """The same up to `FAR` rounds ahead: a device may have counted long before it was heard."""
        following = self._following(frame)
        return self._first_of(frame, range(following + ROLL, following + FAR * ROLL, ROLL))

    def _following(self, frame: Data) -> int:
        """The first counter from the last one on that has the 16 bits of the frame."""
        found = (max(self.up, 0) & ~(ROLL - 1)) + frame.counter
        return found + ROLL if found < self.up else found

    def _first_of(self, frame: Data, counters: Iterable[int]) -> int | None:
        for counter in dict.fromkeys(counters):
            if 0 <= counter <= 0xFFFFFFFF and frame.is_from(self.network, counter):
                return counter
        return None

    def is_late_copy(self, mic: bytes, now: float) -> bool:
        return now - self.recent.get(mic, -math.inf) < LATE_COPY

    def is_repeat(self, counter: int, mic: bytes, now: float) -> bool:
        """Whether it is the last frame, whenever it comes again, or a late copy of one before."""
        return (counter == self.up and mic.hex() == self.mic) or self.is_late_copy(mic, now)

    def missed(self, counter: int) -> int:
        """Frames that were sent before this one and never came. One by ABP may have counted before it was here."""
        return max(0, counter - self.up - 1) if self.up >= 0 or self.join_nonce is not None else 0

    def hear(self, counter: int, mic: bytes, now: float) -> None:
        """A new frame."""
        self.up, self.mic, self.repeats, self.heard_at = counter, mic.hex(), 0, now
        self.recent = {known: at for known, at in self.recent.items() if now - at < LATE_COPY} | {mic: now}

    def may_acknowledge_again(self, counter: int, mic: bytes, now: float) -> bool:
        """Whether a device may be sending its last frame anew, and was not answered often for that."""
        return counter == self.up and self.repeats < MOST_REPEATS and not self.is_late_copy(mic, now)

    def acknowledged_again(self, mic: bytes, now: float) -> None:
        self.repeats += 1
        self.recent[mic] = now

    def record(self) -> dict[str, Any]:
        return {
            "address": self.address, "check": _check(self.network), "dev_nonce": self.dev_nonce,
            "join_nonce": self.join_nonce, "up": self.up, "down": self.down, "mic": self.mic,
            "adr": self.adr.record(), "rx1_delay": self.rx1_delay, "rx2_sf": self.rx2_sf,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """The session of an uplink, and its whole counter."""

    device: EndDevice
    session: DeviceSession
    counter: int


@dataclass(slots=True)
class EndDevice:
    """One device of the site file. `sessions` has the present one, and before it new ones that it has not used yet, the
    newest first: an attacker may replay a join-request that was not heard here, without the device knowing the
    answer."""

    name: str
    key: str
    """Its name in the memory: the DevEUI, or the DevAddr of a device by ABP that has none."""
    dev_eui: str
    join_eui: str
    secrets: Mapping[str, Any] = field(repr=False)
    class_c: bool = False
    skip_check: bool = False
    rx1_delay: int = OTAA_RX1_DELAY
    """The RX1 delay (s) of sessions that begin; with ABP the one that was written into the device."""
    rx2_sf: int = RX2_SF
    adr: bool = True
    """Whether its data rate and power are set from here, if it wants that."""
    address: int | None = None
    """By ABP."""
    app_key: Key | None = None
    sessions: list[DeviceSession] = field(default_factory=list)
    used: DeviceSession | None = None
    asking: Asking = field(default_factory=Asking)
    joining_until: float = float("-inf")
    """Until then (clock.monotonic) it hears nothing but its join-accept."""
    answered_at: float = float("-inf")
    """When (clock.monotonic) the answer in its window is there. What is sent at once would overtake that, and have the
    higher counter: the device would drop the answer.
    """
    nonces: set[int] = field(default_factory=set)
    """DevNonces that were used; 65,536 at most."""
    join_nonce: int = 0
    joined_ms: int | None = None
    resets: int = 0
    lost: int = 0
    sent: Rolling = field(default_factory=Rolling)
    heard: Rolling = field(default_factory=Rolling)
    fault: str = ""
    """Why its keys cannot be had."""
    last: dict[str, Any] = field(default_factory=dict)
    """How its last uplink was heard, for people."""
    status_at: float = float("-inf")
    """When it was asked for its battery (clock.monotonic)."""

    @property
    def is_abp(self) -> bool:
        return self.address is not None

    @property
    def session(self) -> DeviceSession | None:
        """That in which it was heard last; after a join the new one, for then it has forgotten the other."""
        return self.used if self.used in self.sessions else next(iter(self.sessions), None)

    @property
    def silent_until(self) -> float:
        """Until then (clock.monotonic) nothing is sent to it at once."""
        return max(self.joining_until, self.answered_at)

    def match(self, frame: Data, far: bool = False) -> Match | None:
        """The session of a frame; with `far` only those that it could belong to after a long silence."""
        for session in self.sessions:
            if session.address == frame.address:
                counter = session.far_counter(frame) if far else session.counter(frame)
                if counter is not None:
                    return Match(self, session, counter)
        return None

    def is_repeat(self, session: DeviceSession, counter: int, mic: bytes, now: float) -> bool:
        if self.skip_check and now - session.heard_at >= SAME_NUMBER:
            return False
        return session.is_repeat(counter, mic, now)

    def confirm(self, session: DeviceSession) -> bool:
        """Note that the device uses this session; whether that ends those before. A frame of an old one ends nothing:
        it may have been recorded and held back. A newer one may be what the device has not heard yet.
        """
        self.used, self.joining_until = session, float("-inf")
        self.asking.heard()
        before, at = len(self.sessions), next(n for n, one in enumerate(self.sessions) if one is session)
        self.sessions = self.sessions[: at + 1]
        return at + 1 < before

    def begin(self, session: DeviceSession) -> None:
        """A join was answered. It may not hear that, and go on with a session that it has."""
        self.sessions, self.used = [session, *self.sessions[:-1][: UNUSED - 1], *self.sessions[-1:]], session

    def record(self) -> dict[str, Any]:
        """The facts that must be on flash before anything that depends on them is sent."""
        return {
            "sessions": [session.record() for session in self.sessions],
            "nonces": "".join(f"{nonce:04x}" for nonce in sorted(self.nonces)),
            "join_nonce": self.join_nonce, "joined_ms": self.joined_ms, "resets": self.resets, "lost": self.lost,
            "last": self.last, "asking": self.asking.record(),
        }  # fmt: skip

    def open(self, kept: Any) -> None:
        """Read the keys and go on where `kept`, its record, ends. With a key missing `fault` says which and why."""
        try:
            if self.is_abp:
                first = DeviceSession(self.address or 0, self._key("nwk_s_key"), self._key("app_s_key"))
            else:
                self.app_key = self._key("app_key")
        except BocageError as error:
            self.fault = str(error)
            log.error('no key device=%s reason="%s" next=its frames are not understood', self.name, error)
            return
        self.fault = ""
        kept = kept if isinstance(kept, dict) else {}
        self._recall(kept)
        found = [self._resumed(entry, first if self.is_abp else None) for entry in kept.get("sessions", [])]
        self.sessions = [session for session in found if session is not None]
        if self.is_abp and not self.sessions:
            self.sessions = [first]
        for session in self.sessions if self.is_abp else ():
            session.rx1_delay, session.rx2_sf = self.rx1_delay, self.rx2_sf

    def _recall(self, kept: Mapping[str, Any]) -> None:
        nonces = kept.get("nonces", "")
        self.nonces = {int(nonces[at : at + 4], 16) for at in range(0, len(nonces), 4)}
        self.join_nonce, self.joined_ms = kept.get("join_nonce", 0), kept.get("joined_ms")
        self.asking = Asking.resumed(kept.get("asking"))
        self.resets, self.lost, self.last = kept.get("resets", 0), kept.get("lost", 0), kept.get("last", {})

    def _resumed(self, kept: Mapping[str, Any], by_abp: DeviceSession | None) -> DeviceSession | None:
        """A session as it was; None if it was under other keys."""
        if by_abp is not None:
            network, application = by_abp.network, by_abp.application
            if kept["address"] != by_abp.address:
                return None
        elif self.app_key is None or kept["join_nonce"] is None:
            return None
        else:
            network, application = session_keys(self.app_key, kept["join_nonce"], NET_ID, kept["dev_nonce"])
        if not hmac.compare_digest(_check(network), kept["check"]):
            return None
        return DeviceSession(
            kept["address"], network, application, kept["dev_nonce"], kept["join_nonce"],
            kept["up"], kept["down"], kept["mic"], adr=Adr.resumed(kept.get("adr")),
            rx1_delay=kept.get("rx1_delay", OLD_RX1_DELAY), rx2_sf=kept.get("rx2_sf", RX2_SF),
        )  # fmt: skip

    def _key(self, name: str) -> Key:
        text = str(self.secrets[name].reveal()).strip().replace(" ", "").replace(":", "")
        try:
            return Key(bytes.fromhex(text))
        except ValueError:
            raise BocageError(f"{name} of {self.name} is not 32 hexadecimal digits, in {self.secrets[name]}") from None


def end_device(spec: DeviceSpec) -> EndDevice:
    """A device of the site file; nothing is read yet."""
    address = spec.address
    abp = address.get("dev_addr")
    dev_eui = address.get("dev_eui") or ""
    return EndDevice(
        spec.name,
        dev_eui or f"addr-{abp}",
        dev_eui,
        address.get("join_eui") or "",
        {name: address[name] for name in ("app_key", "nwk_s_key", "app_s_key") if name in address},
        class_c=((spec.profile or {}).get("lora") or {}).get("class") == "C",
        skip_check=bool(address.get("skip_fcnt_check")),
        rx1_delay=round(address.get("rx1_delay") or (OLD_RX1_DELAY if abp else OTAA_RX1_DELAY)),
        rx2_sf=address.get("rx2_spreading_factor") or RX2_SF,
        adr=address.get("adr") != "off",
        address=int(abp, 16) if abp else None,
    )


def _check(key: Key) -> str:
    """Tells whether a key is still the same, without telling the key."""
    return key.cmac(b"bocage key check")[:4].hex()
