"""A LoRaWAN 1.0.x network server for one site: class A and C, OTAA and ABP, EU868, a fixed data rate.

It has no socket and does not wait: `datagram` takes what a gateway sent and returns the acknowledgement, `tick` does
what is due and returns what came of it. Before a `Send` leaves, the facts that `facts` returns must be on flash:
then no counter and no nonce is used twice, whatever happens to the power.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.clock import Clock
from agent.lib.throttle import Throttle
from agent.model import Instant
from drivers.lora.gwmp import mac, packets, phy
from drivers.lora.gwmp.airtime import airtime
from drivers.lora.gwmp.device_table import DeviceTable
from drivers.lora.gwmp.downlinks import Mailbox, PendingDownlink
from drivers.lora.gwmp.gateways import Address, Gateways, SendWindow, Told
from drivers.lora.gwmp.joins import JoinLog, accept, refusal, said
from drivers.lora.gwmp.packets import Received, Rubbish
from drivers.lora.gwmp.phy import Data, JoinRequest
from drivers.lora.gwmp.region import CF_LIST, JOIN_WINDOWS, RX2_SF, most_payload, windows
from drivers.lora.gwmp.sessions import DeviceSession, EndDevice

__all__ = ["Act", "Battery", "Heard", "Joined", "Send", "Server", "describe"]

log = logging.getLogger("bocage.lora")

WINDOW = 0.2
"""Seconds in which the gateways' copies of one frame are collected."""
MOST_FRAMES, MOST_COPIES = 1024, 32
"""Frames that may be waiting for their copies, and copies of one."""
LONGEST = 255
"""Bytes of a LoRa packet."""
STATUS_EVERY = 86_400.0
"""Seconds between two questions for the battery."""
CLASS_C_WAIT = 10.0
"""Seconds in which a device that always listens confirms."""
JOIN_ACCEPT_SIZE, SHORT_ACCEPT_SIZE = 33, 17
"""Bytes with and without the list of five more channels. At SF7 the gateway is deaf for 72 ms or 46 ms."""
JOIN_PATIENCE = 4.0
"""Seconds until the second window (6 s, SF12: 1.8 s on the air) is taken for a join: it would cost others that ask
meanwhile their first, which takes 0.1 s.
"""
CROWD, CROWD_TIME = 1, 3.0
"""More joins in so many seconds are a crowd: for 1.8 s in RX2 another would not be heard. It is better to ask again."""
THRONG = 5
"""More joins in that time get the short answer: the devices keep to the three channels that all have, until they join
again.
"""
LINK_ADR_REQ_SIZE = 5
EMPTY_SIZE = 12
"""Bytes of a data frame that carries nothing."""


@dataclass(frozen=True, slots=True)
class Send:
    """A datagram for a gateway."""

    address: Address
    datagram: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """One uplink of a device of ours, decrypted. `port` is None where it carried no payload."""

    device: str
    payload: bytes
    at: Instant
    port: int | None
    counter: int
    best: Received


@dataclass(frozen=True, slots=True)
class Battery:
    """The battery level that a device reports, in %; None if it has external power or does not know."""

    device: str
    percent: float | None
    at: Instant


@dataclass(frozen=True, slots=True)
class Joined:
    """The first uplink of a new session comes next: its counters began at 0."""

    device: str


Act = Send | Heard | Battery | Joined


@dataclass(slots=True)
class _Frame:
    """One frame, and all its copies."""

    what: Data | JoinRequest
    at: Instant
    heard_at: float
    due: float
    by_gateway: dict[str, Received] = field(default_factory=dict)

    @property
    def copies(self) -> list[Received]:
        """One a gateway, the best first."""
        return sorted(self.by_gateway.values(), key=_strength, reverse=True)

    def add(self, copy: Received) -> None:
        """Keep the best reception of each gateway: a strong frame has weak ghosts on other channels."""
        known = self.by_gateway.get(copy.gateway)
        if known is None and len(self.by_gateway) >= MOST_COPIES:
            return
        if known is None or _strength(copy) > _strength(known):
            self.by_gateway[copy.gateway] = copy


class Server:
    """The devices and gateways of one site. `load` returns by name what `facts` returned."""

    def __init__(
        self, devices: Iterable[EndDevice], gateways: Sequence[str], clock: Clock, load: Callable[[str], Any]
    ) -> None:
        self._clock = clock
        self.devices = DeviceTable(devices, load)
        self._mail = {device.name: Mailbox() for device in self.devices}
        self._busy: dict[str, EndDevice] = {}
        """The devices with something in their mailbox."""
        self._confirm_by: dict[str, float] = {}
        self._sent_in: dict[str, DeviceSession] = {}
        """The session in which a device was sent its last value."""
        self._frames: dict[bytes, _Frame] = {}
        self._late: dict[bytes, _Frame] = {}
        """Join-requests whose RX1 is taken."""
        self._asked: deque[float] = deque(maxlen=THRONG + 1)
        self._acts: deque[Act] = deque()
        self._again: deque[Send] = deque()
        self._changed: set[str] = set()
        self.gateways = Gateways(gateways, clock.boot, load("airtime"))
        self.joins = JoinLog(load("joins"))
        self.counts: Counter[str] = Counter()
        """Counts of frames that came and their results, since the start."""
        self._began = clock.monotonic()
        self._reports = Throttle(clock.monotonic)

    # -- what comes ----------------------------------------------------------------------------------------------

    def datagram(self, data: bytes, address: Address) -> bytes | None:
        """Take one datagram; the acknowledgement to send back, if it deserves one."""
        gateway = self.gateways.admit(data[4:12].hex(), address) if len(data) >= 12 else None
        if gateway is None:
            self.counts["not_admitted"] += 1
            return None
        try:
            packet = packets.parse(data)
        except Rubbish as error:
            self.counts["rubbish"] += 1
            if self._reports("rubbish", gateway.eui):
                log.warning('datagram not understood gateway=%s reason="%s" next=it is dropped', gateway.eui, error)
            return None
        now = gateway.heard_at = self._clock.monotonic()
        if isinstance(packet, packets.TxAck):
            if again := self.gateways.tx_ack(packet, now):
                self._again.append(Send(*again))
            self._changed.add("airtime")
            return None
        if isinstance(packet, packets.PullData):
            gateway.address, gateway.pulled_at = address, now
        else:
            for received in packet.packets:
                gateway.counter = received.tmst, now
                self._collect(received, now)
        return packets.acknowledgement(data)

    def _collect(self, received: Received, now: float) -> None:
        if len(received.payload) > LONGEST:
            self.counts["rubbish"] += 1
            return
        try:
            what = phy.parse(received.payload)
        except Rubbish:
            self.counts["rubbish"] += 1
            return
        self.counts["received"] += 1
        if isinstance(what, Data) and not self.devices.knows(what.address) and not self.devices.retry_keys(now):
            self.counts["foreign"] += 1
            return
        key = received.payload  # the whole: one that is garbled is no copy
        frame = self._frames.get(key) or self._late.get(key)
        if frame is None:
            if len(self._frames) >= MOST_FRAMES:
                self.counts["overload"] += 1
                return
            frame = self._frames[key] = _Frame(what, self._clock.now(), now, now + WINDOW)
        elif received.gateway not in frame.by_gateway:
            self.counts["duplicates"] += 1
        frame.add(received)

    # -- what is asked -------------------------------------------------------------------------------------------

    def submit(self, device: str, downlink: PendingDownlink) -> None:
        """A value for a device: it goes out after its next uplink, to one that always listens with the next tick."""
        self._mail[device].add(downlink)
        self._busy[device] = self.devices[device]

    def withdraw(self, device: str, downlink: PendingDownlink) -> None:
        self._mail[device].withdraw(downlink)

    def give_up(self, device: str, reason: str) -> None:
        """End the downlink that was sent to a device that fell silent; queued ones stay."""
        self._mail[device].give_up(reason)

    def in_vain(self, in_time: Collection[str] = ()) -> dict[str, str]:
        """The devices that have asked to join for an hour, and why they could not. One that sends when it should
        (it is `in_time`) did not ask, where the same request came each time.
        """
        asking = {device.name: device.asking for device in self.devices if device.asking.in_vain}
        return {
            name: asks.in_vain for name, asks in asking.items() if not (name in in_time and asks.may_be_repeated)
        }  # fmt: skip

    def forget_nonces(self, device: str) -> int:
        """Its DevNonces count as unused. How many there were; the next facts keep that."""
        known = self.devices[device]
        count = len(known.nonces)
        known.nonces.clear()
        self.devices.changed(known)
        return count

    def waiting(self, device: str) -> int:
        return len(self._mail[device])

    # -- what is due ---------------------------------------------------------------------------------------------

    def due(self) -> float:
        """When (clock.monotonic) `tick` has something to do."""
        now = self._clock.monotonic()
        if self._acts or self._again or any(self._ready(device) for device in self._busy.values()):
            return float("-inf")
        frames = [next(iter(some.values())) for some in (self._frames, self._late) if some]
        times = [float("inf"), *(frame.due for frame in frames), *self._confirm_by.values(), self.gateways.due()]
        times += [device.silent_until for device in self._busy.values() if device.silent_until > now]
        return min([*times, *(self._mail[name].due() for name in self._busy)])

    def tick(self) -> list[Act]:
        """Do what is due."""
        now = self._clock.monotonic()
        for key, frame in _due(self._frames, now):
            if not isinstance(frame.what, JoinRequest):
                self._data(frame, frame.what, now)
            elif self._waits_for_rx2(frame, now):
                frame.due += JOIN_PATIENCE
                self._late[key] = frame
            else:
                self._join(frame, frame.what, now)
        for _, frame in _due(self._late, now):
            if isinstance(frame.what, JoinRequest):
                self._join(frame, frame.what, now)
        for device in list(self._busy.values()):
            if now >= self._confirm_by.get(device.name, float("inf")):
                del self._confirm_by[device.name]
                self._mail[device.name].unanswered(now)
            self._mail[device.name].next(now)
            if self._ready(device):
                self._send_now(device, now)
            if not len(self._mail[device.name]):
                del self._busy[device.name]
        self._again += [Send(*again) for again in self.gateways.unheard(now)]
        acts, self._acts = [*self.again(), *self._acts], deque()
        return acts

    def again(self) -> list[Send]:
        """Frames that went out before and were refused, for another window or gateway. Their counters are on flash, and
        they are late already: they need not wait for a write.
        """
        again, self._again = list(self._again), deque()
        return again

    def facts(self) -> dict[str, Any]:
        """The facts that changed and must outlive a restart, by name; the next call has later changes only."""
        changed, self._changed = self._changed, set()
        makers: dict[str, Callable[[], Any]] = {"airtime": self.gateways.kept, "joins": self.joins.kept}
        return {name: makers[name]() for name in changed} | self.devices.facts()

    # -- data frames ---------------------------------------------------------------------------------------------

    def _data(self, frame: _Frame, data: Data, now: float) -> None:
        found = self.devices.match(data, now)
        if found is None:
            self.counts["wrong_mic"] += 1
            return
        device, session, counter = found.device, found.session, found.counter
        if device.is_repeat(session, counter, data.mic, now):
            self._repeated(device, session, frame, data, counter, now)
            return
        if counter <= session.up and not self._begins_again(device, session, counter):
            return
        self._hear(device, frame, len(data.body) + 4, now)
        if device.confirm(session):
            self.devices.index()
        if session.up < 0 and session.join_nonce is not None:
            self._acts.append(Joined(device.name))
        device.lost += session.missed(counter)
        session.hear(counter, data.mic, now)
        self.devices.changed(device)
        if self._sent_in.get(device.name, session) is session:  # the old one knows nothing of the new
            self._confirm_by.pop(device.name, None)
            self._mail[device.name].heard(data.ack, now)
        commands = data.options
        payload = b""
        if data.port is not None:
            key = session.application if data.port else session.network
            payload = key.stream(phy.UPLINK, data.address, counter, data.payload)
        if data.port == 0:
            commands, payload = payload, b""
        best = frame.copies[0]
        self._acts.append(Heard(device.name, payload, frame.at, data.port or None, counter, best))
        if device.adr and data.adr:
            session.adr.hear(counter, best.sf, best.snr, mac.uplink(commands)[0].get(mac.LINK_ADR))
        self._answer(device, session, frame, data, self._obey(device, commands, frame), now)

    def _repeated(
        self, device: EndDevice, session: DeviceSession, frame: _Frame, data: Data, counter: int, now: float
    ) -> None:
        """Handle a frame that came before: a late copy, a device that did not hear the acknowledgement, or a replay;
        they cannot be told apart. It says nothing new, so it moves nothing; only a device that may wait for an
        acknowledgement gets it again, alone, and a few times at the most.
        """
        self.counts["repeated"] += 1
        if not data.confirmed or not session.may_acknowledge_again(counter, data.mic, now):
            return
        slot = self.gateways.slot(frame.copies, windows(session.rx1_delay), EMPTY_SIZE, 0, now, session.rx2_sf)
        if slot is not None:
            session.acknowledged_again(data.mic, now)
            self._send(device, slot, self._frame(device, session, None, True, b"", now), now)
            device.answered_at = max(device.answered_at, _over(slot))

    def _begins_again(self, device: EndDevice, session: DeviceSession, counter: int) -> bool:
        """Whether a frame with a good MIC and an old counter is accepted: the device was reset, or the frame is a
        replay.
        """
        accepted = device.skip_check and session is device.sessions[0]
        device.resets += 1
        self.counts["counter_resets"] += 1
        self.devices.changed(device)
        if self._reports("counter", device.name):
            log.warning("frame counter went back device=%s from=%d to=%d next=%s", device.name, session.up, counter,
                        "it is accepted (skip_fcnt_check)" if accepted else "dropped")  # fmt: skip
        if accepted:
            session.up = -1
        return accepted

    def _hear(self, device: EndDevice, frame: _Frame, size: int, now: float) -> None:
        best = frame.copies[0]
        device.last = {
            "at_ms": frame.at.wall_ms, "rssi": best.rssi, "snr": best.snr, "sf": best.sf,
            "gateways": [{"gateway": c.gateway, "rssi": c.rssi, "snr": c.snr} for c in frame.copies],
        }  # fmt: skip
        if best.sf is not None and best.bandwidth:
            device.heard.add(airtime(size, best.sf, best.bandwidth, crc=True), now)

    def _obey(self, device: EndDevice, commands: bytes, frame: _Frame) -> bytes:
        """The answers to the MAC commands of a device."""
        asked, unknown = mac.uplink(commands)
        if unknown is not None:
            self.counts["unknown_commands"] += 1
            log.debug("MAC command not known device=%s cid=0x%02x next=the rest is not read", device.name, unknown)
        answers = b""
        best = frame.copies[0]
        if mac.LINK_CHECK in asked:
            answers += mac.link_check_ans(best.snr, best.sf, len(frame.copies))
        if mac.DEVICE_TIME in asked and frame.at.wall_ms is not None:
            answers += mac.device_time_ans(frame.at.wall_ms)
        if mac.DEV_STATUS in asked:
            percent, _ = mac.status(asked[mac.DEV_STATUS])
            self._acts.append(Battery(device.name, percent, frame.at))
        return answers

    def _answer(
        self, device: EndDevice, session: DeviceSession, frame: _Frame, data: Data, answers: bytes, now: float
    ) -> None:
        """One downlink with all that there is to say: acknowledgement, answers, the next value, a better data rate, and
        the question for the battery, which goes alone when a day has passed without a downlink. A device that asks for
        any downlink (ADRACKReq) gets one, be it empty.
        """
        mail = self._mail[device.name]
        rx1 = frame.copies[0].sf or session.rx2_sf
        most = most_payload(rx1)
        downlink = mail.next(now)
        while downlink is not None and len(downlink.payload) > most:
            mail.refuse(downlink, f"{len(downlink.payload)} bytes are too many: SF{rx1} carries {most}")
            downlink = mail.next(now)
        size = len(downlink.payload) if downlink else 0
        if size + len(answers) > most:
            answers = b""  # the device asks again; the value has waited
        ask = now - max(device.status_at, self._began) >= STATUS_EVERY
        if device.adr and data.adr and size + len(answers) + LINK_ADR_REQ_SIZE <= most:
            answers += session.adr.request()
        if not (data.confirmed or data.adr_ack_req or answers or downlink or ask):
            return
        if now - device.status_at >= STATUS_EVERY and size + len(answers) + len(mac.DEV_STATUS_REQ) <= most:
            answers, device.status_at = answers + mac.DEV_STATUS_REQ, now
        body = len(answers) + size
        delays, whole = windows(session.rx1_delay), EMPTY_SIZE + body + bool(downlink)
        slot = self.gateways.slot(frame.copies, delays, whole, body, now, session.rx2_sf)
        if slot is None:
            self.counts["no_airtime"] += 1
            if self._reports("airtime", device.name):
                log.warning("no downlink device=%s reason=no gateway may send now next=its next uplink", device.name)
            return
        radio = self._frame(device, session, downlink, data.confirmed, answers, now)
        self._send(device, slot, radio, now, downlink)
        device.answered_at = max(device.answered_at, _over(slot))

    def _frame(
        self,
        device: EndDevice,
        session: DeviceSession,
        downlink: PendingDownlink | None,
        ack: bool,
        answers: bytes,
        now: float,
    ) -> bytes:
        """The next frame to a device; its counter is used by that."""
        mail = self._mail[device.name]
        if downlink is not None:
            mail.take(downlink, is_first=session.down == 0)
            self._sent_in[device.name] = session
        counter = session.down
        session.down += 1
        return phy.downlink(
            session.network, session.application, session.address, counter,
            confirmed=downlink is not None and downlink.confirmed, adr=device.adr, ack=ack,
            pending=mail.next(now) is not None, options=answers,
            port=downlink.port if downlink else None, payload=downlink.payload if downlink else b"",
        )  # fmt: skip

    def _send(
        self, device: EndDevice, slot: SendWindow, radio: bytes, now: float,
        downlink: PendingDownlink | None = None, told: Told | None = None,
    ) -> None:  # fmt: skip
        device.sent.add(slot.took, now)
        self.counts["downlinks"] += 1
        self.devices.changed(device)
        self._changed.add("airtime")
        self._acts.append(Send(*self.gateways.send(slot, radio, now, downlink, told)))

    # -- class C -------------------------------------------------------------------------------------------------

    def _ready(self, device: EndDevice) -> bool:
        """Whether something waits for a device that always listens, and that was heard before."""
        mail = self._mail[device.name]
        if not device.class_c or mail.sent is not None or not len(mail) or device.session is None:
            return False
        now = self._clock.monotonic()
        if now < device.silent_until:
            return False
        return self.gateways.slot_now(_euis(device), 0, 0, now, device.session.rx2_sf, waits=True) is not None

    def _send_now(self, device: EndDevice, now: float) -> None:
        mail, session = self._mail[device.name], device.session
        downlink = mail.next(now)
        if downlink is None or session is None:
            return
        size, sf = len(downlink.payload), session.rx2_sf
        if size > most_payload(sf):
            mail.refuse(downlink, f"{size} bytes are too many: SF{sf} carries {most_payload(sf)}")
            return
        slot = self.gateways.slot_now(_euis(device), EMPTY_SIZE + 1 + size, size, now, sf)
        if slot is None and self.gateways.slot_now(_euis(device), EMPTY_SIZE + 1 + size, size, now, sf, waits=True):
            return  # the gateway is sending something else
        if slot is None:
            mail.refuse(downlink, "no gateway has airtime left in this hour")
            return
        self._confirm_by[device.name] = now + CLASS_C_WAIT
        self._send(device, slot, self._frame(device, session, downlink, False, b"", now), now, downlink)

    # -- joining -------------------------------------------------------------------------------------------------

    def _waits_for_rx2(self, frame: _Frame, now: float) -> bool:
        """Whether a join that may be answered has no first window."""
        request = frame.what
        if not isinstance(request, JoinRequest) or refusal(self.devices.by_eui(request.dev_eui), request):
            return False
        self._asked.append(now)
        slot = self.gateways.slot(frame.copies, JOIN_WINDOWS, self._accept_size(now), 0, now, RX2_SF)
        return slot is None or slot.window != "RX1"

    def _are_more(self, than: int, now: float) -> bool:
        """Whether more than so many devices have asked to join of late."""
        return sum(now - asked_at < CROWD_TIME for asked_at in self._asked) > than

    def _accept_size(self, now: float) -> int:
        return SHORT_ACCEPT_SIZE if self._are_more(THRONG, now) else JOIN_ACCEPT_SIZE

    def _join(self, frame: _Frame, request: JoinRequest, now: float) -> None:
        self.devices.retry_keys(now)
        device = self.devices.by_eui(request.dev_eui)
        if device is not None and device.sessions and device.sessions[0].is_late_copy(request.mic, now):
            self.counts["duplicates"] += 1
            return
        foreign = device is None or (not device.is_abp and device.join_eui != request.join_eui)
        reason, slot = refusal(device, request), None
        if not reason:
            age = now - frame.heard_at
            slot = self.gateways.slot(frame.copies, JOIN_WINDOWS, self._accept_size(now), 0, now, RX2_SF, age)
            if slot is not None and slot.window != "RX1" and self._are_more(CROWD, now):
                slot = None
            reason = "" if slot is not None else "no gateway may send in time: airtime, other joins, or no PULL_DATA"
        best = frame.copies[0]
        entry = {
            "at_ms": frame.at.wall_ms, "dev_eui": request.dev_eui, "join_eui": request.join_eui,
            "device": device.name if device is not None else None, "dev_nonce": request.dev_nonce,
            "result": "refused" if reason else "accepted", "reason": reason, "gateway": best.gateway,
            "rssi": best.rssi, "snr": best.snr, "window": None, "sent_by": None, "taken": None,
        }  # fmt: skip
        if device is not None:
            device.asking.ask(reason, now, request.dev_nonce)
            self.devices.changed(device)
        self.joins.add(entry, foreign)
        self._changed.add("joins")
        if foreign:
            self.counts["foreign"] += 1
        elif reason:
            self.counts["joins_refused"] += 1
            if self._reports("join", entry["device"]):
                log.warning('join refused device=%s reason="%s" next=it may ask again', entry["device"], reason)
        elif device is not None and slot is not None:
            channels = b"" if self._are_more(THRONG, now) else CF_LIST
            radio = accept(device, request, self.devices.free_address(), frame.at.wall_ms, channels)
            device.sessions[0].recent[request.mic] = now
            self.devices.index()
            self._confirm_by.pop(device.name, None)
            self._mail[device.name].heard(False, now)
            self.counts["joins"] += 1
            log.info("joined device=%s gateway=%s", device.name, slot.gateway.eui)
            said(entry, slot)
            device.joining_until = _over(slot)

            def told(slot: SendWindow | None, error: str) -> None:
                said(entry, slot, error, taken=True)
                device.joining_until = _over(slot) if slot is not None else now
                self._changed.add("joins")

            self._send(device, slot, radio, now, told=told)


def _due(frames: dict[bytes, _Frame], now: float) -> Iterator[tuple[bytes, _Frame]]:
    """Return those that are due, and remove them."""
    while frames:
        key, frame = next(iter(frames.items()))
        if frame.due > now:
            return
        del frames[key]
        yield key, frame


def _over(slot: SendWindow) -> float:
    """When (clock.monotonic) a device has heard what is sent there, and a little more."""
    return slot.at + slot.took / 1000 + 1.0


def _strength(copy: Received) -> tuple[float, float]:
    """SNR, and RSSI among equals; least where they are not told."""
    return (copy.snr if copy.snr is not None else -99.0, copy.rssi if copy.rssi is not None else -999.0)


def _euis(device: EndDevice) -> list[str]:
    """The gateways that heard it last, the best first."""
    return [copy["gateway"] for copy in device.last.get("gateways", ())]


def describe(device: EndDevice, waiting: int) -> Mapping[str, Any]:
    """A device for people and programs; never a key."""
    session = device.session
    state = "no key" if device.fault else "never heard" if session is None or session.up < 0 else "heard"
    if session is not None and session.join_nonce is not None and session.up < 0:
        state = "joined"
    return {
        "device": device.name, "dev_eui": device.dev_eui or None, "activation": "abp" if device.is_abp else "otaa",
        "class": "C" if device.class_c else "A", "state": state, "fault": device.fault,
        "dev_addr": f"{session.address:08x}" if session is not None else None, "joined_ms": device.joined_ms,
        "last_seen_ms": device.last.get("at_ms"), "fcnt_up": session.up if session and session.up >= 0 else None,
        "fcnt_down": session.down if session else None, "lost": device.lost, "counter_resets": device.resets,
        "rssi": device.last.get("rssi"), "snr": device.last.get("snr"), "sf": device.last.get("sf"),
        "gateways": device.last.get("gateways", []), "waiting": waiting,
    }  # fmt: skip
