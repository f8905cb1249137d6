"""A radio node, whichever way its frames come: from a frame to readings, and when it has been silent for too long.

    node = Node(spec, clock, memory)
    await node.uplink(Frame(payload, clock.now(), fport=85, fcnt=7, rssi=-103, snr=4.2))
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.clock import Clock
from agent.errors import DeviceError
from agent.lib.throttle import Throttle
from agent.model import Instant, Kind, Point, Quality, Reading, Readings, Value
from drivers.api import DeviceSpec, DurableStore
from drivers.lora.codecs import Codec, CodecError, Decoded, codec_of
from drivers.lora.rhythm import Rhythm
from drivers.lora.values import MISSING, NoValue, check_range, look_up, milliseconds, state_of, value_of

__all__ = ["KEEP_EVERY", "Frame", "Node"]

log = logging.getLogger("bocage.lora")

PATIENCE = 3
"""Intervals without an uplink, after which a node is lost."""
KEEP_EVERY = 60.0
"""Seconds between two times that what nodes have learned is kept."""
LARGEST_GAP = 64 * 65_536
"""Frames that a counter may skip while no gateway hears it: eight years of one a minute. Beyond, it began elsewhere."""
_UNKNOWN = 8 * 3600.0  # s, the interval of a node for which it is unknown: lost after a day
_REPEATED = 600.0  # s, in which a frame of the same number and content is the same frame
_MOST_HISTORY = 1000  # entries in one payload
_LONGEST_REASON = 250

_METADATA = {
    "rssi": "dBm", "snr": "dB", "sf": "", "fcnt": "", "lost": "", "battery": "%", "last_seen": "s", "interval": "s",
    "payload": "", "codec_error": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frame:
    """One uplink, from whichever driver. `at` is when we got it.

    `rssi` is in dBm, `snr` in dB, `sf` the spreading factor. `decoded` is what a network server made of it.
    `heard_ms` (Unix milliseconds) is set for a frame that waited elsewhere while we were away: its values are history.
    """

    payload: bytes
    at: Instant
    fport: int | None = None
    fcnt: int | None = None
    rssi: float | None = None
    snr: float | None = None
    sf: int | None = None
    decoded: Mapping[str, Any] | None = None
    heard_ms: int | None = None


class Node:
    """One node with the points of its profile, and those that every node has.

    `lost` (frames missed) counts since ever; `interval` is learned; `payload` is "port:hex" and is told also when it
    could not be decoded: then `codec_error` says why, and the values stay as they were.
    """

    def __init__(self, spec: DeviceSpec, clock: Clock, memory: DurableStore) -> None:
        self.name, self._clock, self._memory = spec.name, clock, memory
        self._profile = spec.profile or {}
        self._lora: Mapping[str, Any] = self._profile.get("lora") or {}
        self._maps: Mapping[str, Mapping[str, Any]] = self._profile.get("points") or {}
        self._flags = _flags(self._lora, self._maps)
        self._codec: Codec | None = codec_of(self._profile, spec.options.get("variables")) if self._lora else None
        self._stale_after: float | None = spec.options.get("stale_after")
        self._by_id = {point.id: point for point in self._make_points()}
        self._own = [
            (short, f"{self.name}.{short}") for short in _METADATA if short not in self._maps and short != "battery"
        ]
        self.last: dict[str, Reading] = {}
        """The present value of each point, as far as it was heard since the start."""
        found = memory.get(f"lora.{self.name}")
        kept: Mapping[str, Any] = found if isinstance(found, dict) else {}
        self._fcnt: int | None = kept.get("fcnt")
        self._missed: int = kept.get("lost") or 0
        self.lost: bool = bool(kept.get("silent"))
        """Whether it has been silent for three intervals."""
        expected = spec.options.get("interval") or self._lora.get("interval")
        self._rhythm = Rhythm(expected, kept.get("gaps") or ())
        self._print: str | None = kept.get("print")  # of the last frame; None: a program before this kept none
        self._heard: float | None = None  # clock.monotonic of the last frame since the start
        self._seen = clock.monotonic()  # the same, or the start
        self._read = self._seen  # the same of a frame that could be read
        self._cut = False  # whether the last one could be read in part only
        self._changed = False  # since it was kept
        self._reports = Throttle(clock.monotonic)
        self._missing: dict[str, str] = {}  # the points that are bad, and why, as it was said

    @property
    def points(self) -> Sequence[Point]:
        return list(self._by_id.values())

    # -- what it says ------------------------------------------------------------------------------------------

    async def uplink(self, frame: Frame) -> Readings:
        """The readings of one frame; none for a frame that was there already. Never raises for what is in it."""
        if self._is_repeated(frame):
            return []
        self._take_note(frame)
        reasons: list[str] = []
        readings = [*await self._values(frame, reasons), *self._metadata(frame, reasons)]
        if frame.heard_ms is not None:
            return [r if r.measured_at is not None else r._replace(measured_at=frame.heard_ms) for r in readings]
        readings += self._unread(frame.at)
        self.last.update((reading.point, reading) for reading in readings if reading.measured_at is None)
        return readings

    def battery(self, percent: float | None, at: Instant) -> Readings:
        """Note the battery level that a network server tells (%; None: unknown), unless the profile reads it itself."""
        if "battery" in self._maps or percent is None:
            return []
        reading = Reading(f"{self.name}.battery", percent, at)
        self.last[reading.point] = reading
        return [reading]

    def joined(self) -> None:
        """It joined (anew): its frame counter begins at 0."""
        self._fcnt, self._print, self._changed = -1, "", True

    # -- what it does not say ----------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When (clock.monotonic) it will have been silent for too long; infinite once it is lost."""
        return math.inf if self.lost else self._seen + PATIENCE * self.interval

    @property
    def unheard(self) -> bool:
        """Whether it is still unknown since the start if the node is lost."""
        return self._heard is None and not self.lost

    @property
    def is_in_time(self) -> bool:
        """Whether it was heard since the start, and its next words are not yet missed."""
        return self._heard is not None and self._rhythm.interval is not None and not self.lost

    @property
    def interval(self) -> float:
        """Seconds between two of its uplinks: learned, else of the profile, else a third of a stated `stale_after`."""
        if self._rhythm.interval is not None:
            return self._rhythm.interval
        return _UNKNOWN if self._stale_after is None else self._stale_after / PATIENCE

    def silent(self) -> Readings:
        """Stale readings of its values, once, when nothing came for three intervals; none before.

        Where the site file states `stale_after`, that says when values are stale, and here is nothing to tell.
        """
        if self._clock.monotonic() < self.due:
            return []
        self.lost = self._changed = True
        log.warning("node silent device=%s interval_s=%.0f next=alarm device_lost", self.name, self.interval)
        self.keep()
        stale = self._stale(self._clock.now())
        self.last.update((reading.point, reading) for reading in stale)
        return stale

    def _unread(self, at: Instant) -> list[Reading]:
        """Stale readings, once, of values that could not be read for three intervals while the node sends: of all, or
        of those that come after an unknown record.
        """
        limit = at.boottime_ns - PATIENCE * self.interval * 1e9
        nothing = self._read * 1e9 <= limit
        found = self._stale(at) if nothing or self._cut else []
        stale = [one for one in found if nothing or self.last[one.point].at.boottime_ns <= limit]
        if stale:
            names = ", ".join(one.point.removeprefix(f"{self.name}.") for one in stale)
            log.warning("not read for three intervals device=%s points=%s next=they are stale", self.name, names)
        return stale

    def _stale(self, at: Instant) -> list[Reading]:
        """Its good values, stale, unless the site file says when they are."""
        if self._stale_after is not None:
            return []
        return [
            Reading(name, reading.value, at, Quality.STALE)
            for name, reading in self.last.items()
            if reading.quality is Quality.GOOD and name.removeprefix(f"{self.name}.") in self._maps
        ]

    def keep(self) -> None:
        """Remember what is learned, if that has changed. Drivers call it for all their nodes at once, every
        `KEEP_EVERY` seconds and when they close: a card lives on few writes.
        """
        if not self._changed:
            return
        self._changed = False
        kept = {
            "fcnt": self._fcnt, "print": self._print, "lost": self._missed, "gaps": self._rhythm.gaps,
            "silent": self.lost,
        }  # fmt: skip
        self._memory.put(f"lora.{self.name}", kept)

    # -- what it is told ---------------------------------------------------------------------------------------

    async def encode(self, point: str, value: Value) -> tuple[int, bytes]:
        """Port and payload that set a point. DeviceError with the reason if there are none."""
        own = self._by_id.get(point)
        entry = self._maps.get(point.removeprefix(f"{self.name}."))
        if own is None or entry is None or not own.writable or self._codec is None:
            raise DeviceError(f"{point} cannot be written")
        field = entry.get("field") or point.removeprefix(f"{self.name}.")
        nested: Any = _raw(value, entry.get("scale", 1), entry.get("offset", 0))
        for part in reversed(field.split(".")):
            nested = {part: nested}
        return await self._codec.encode(nested, self._lora.get("fport"))

    # -- its points --------------------------------------------------------------------------------------------

    def _make_points(self) -> Iterator[Point]:
        deferred = self._lora.get("class", "A") == "A"
        for short, entry in self._maps.items():
            writable = bool(entry.get("writable"))
            yield Point(
                f"{self.name}.{short}", self.name, entry.get("unit") or "", Kind(entry.get("kind") or "telemetry"),
                writable, entry.get("low"), entry.get("high"), self._stale_after, deferred and writable,
            )  # fmt: skip
        for short, unit in _METADATA.items():
            if short not in self._maps:
                kind = Kind.TELEMETRY if short == "battery" else Kind.DIAGNOSTIC
                yield Point(f"{self.name}.{short}", self.name, unit, kind)

    # -- counting and learning ---------------------------------------------------------------------------------

    def _is_repeated(self, frame: Frame) -> bool:
        """The same number and content as the frame before: a retransmission, or the same event delivered twice.

        The same number with another content is another frame, also across a start: of a new session, whose join was
        not kept. The network server has already decided whether a frame is genuine or a replay.
        """
        if frame.fcnt is None or frame.fcnt != self._fcnt:
            return False
        if self._print is None:
            self._print = _print_of(frame)
        return self._clock.monotonic() - self._seen < _REPEATED and self._print == _print_of(frame)

    def _take_note(self, frame: Frame) -> None:
        step = 1
        if frame.fcnt is not None:
            if self._fcnt is not None and 0 < frame.fcnt - self._fcnt <= LARGEST_GAP:
                step = frame.fcnt - self._fcnt
                self._missed += step - 1
            elif self._fcnt is not None:
                log.info("frame counter began anew device=%s before=%d now=%d", self.name, self._fcnt, frame.fcnt)
            self._fcnt = frame.fcnt
        self._print = _print_of(frame)
        if frame.heard_ms is None:
            now = frame.at.boottime_ns / 1e9
            if self._heard is not None:
                self._rhythm.heard(max(now - self._heard, 0.0), step)
            self._heard = self._seen = now
            if self.lost:
                log.info("node is back device=%s", self.name)
                self.lost = False
        self._changed = True

    def _metadata(self, frame: Frame, reasons: Sequence[str]) -> list[Reading]:
        wall = frame.at.wall_ms if frame.heard_ms is None else frame.heard_ms
        interval = self._rhythm.interval
        values: dict[str, Value] = {
            "rssi": frame.rssi, "snr": frame.snr, "sf": frame.sf, "fcnt": frame.fcnt, "lost": self._missed,
            "last_seen": None if wall is None else wall // 1000,
            "interval": None if interval is None else round(interval, 1),
            "payload": f"{'' if frame.fport is None else frame.fport}:{frame.payload.hex()}",
            "codec_error": "; ".join(reasons)[:_LONGEST_REASON],
        }  # fmt: skip
        return [Reading(name, values[short], frame.at) for short, name in self._own if values[short] is not None]

    # -- decoding ----------------------------------------------------------------------------------------------

    async def _values(self, frame: Frame, reasons: list[str]) -> list[Reading]:
        """The profile's points, and history; why there are none goes to `reasons`."""
        wanted = self._lora.get("fport")
        if not self._maps or (frame.fport is not None and wanted is not None and frame.fport != wanted):
            return []
        theirs = frame.decoded or {}
        said = self._raws(theirs)
        held = {short: raw for short, raw in said.items() if not (isinstance(raw, str) and short in self._flags)}
        ours = Decoded({})
        how, blocks = self._lora.get("history"), self._lora.get("blocks")
        if len(held) < len(self._maps) or blocks:
            ours = await self._decode(frame, reasons, beside=bool(held))
        stored = blocks is not None and blocks["list"] in ours.data
        if stored:  # nothing of stored samples is the present, whichever codec decoded them
            said = held = {}
        present, self._cut = {**said, **self._raws(ours.data), **held}, ours.cut
        if present or not (stored or reasons or ours.warnings):
            self._read = frame.at.boottime_ns / 1e9
        past = theirs if how and held and look_up(theirs, how["field"]) is not MISSING else ours.data
        return [
            *self._pick(present, frame.at, None, reasons),
            *self._gone(ours.absent, held, frame, reasons),
            *self._history(past, frame.at, frame.at.wall_ms, reasons),
        ]

    def _raws(self, data: Any) -> dict[str, Any]:
        """The raw values of an object for the points of the profile."""
        found = {short: look_up(data, _field(short, entry)) for short, entry in self._maps.items()}
        return {short: raw for short, raw in found.items() if raw is not MISSING}

    def _gone(
        self, absent: Mapping[str, str], held: Mapping[str, Any], frame: Frame, reasons: list[str]
    ) -> list[Reading]:
        """Bad readings, once, for points that payloads of the present layout do not have."""
        found: list[Reading] = []
        if frame.heard_ms is not None:
            return found
        told: dict[str, list[str]] = {}
        for short, entry in self._maps.items():
            point = f"{self.name}.{short}"
            why, last = absent.get(_field(short, entry)), self.last.get(point)
            if why is not None and short not in held and (last is None or last.quality is not Quality.BAD):
                found.append(Reading(point, None, frame.at, Quality.BAD))
                told.setdefault(why, []).append(short)
        reasons += [f"{', '.join(names)}: {why}" for why, names in told.items()]
        return found

    async def _decode(self, frame: Frame, reasons: list[str], beside: bool) -> Decoded:
        """Decode a payload with our codec. `beside`: only for what the network server's lacks, so its faults are not
        told.
        """
        if self._codec is None or not frame.payload:
            return Decoded({})
        received = frame.heard_ms if frame.heard_ms is not None else frame.at.wall_ms
        try:
            decoded = await self._codec.decode(frame.payload, frame.fport or 0, received)
        except CodecError as error:
            if beside:
                return Decoded({})
            if self._reports("not decoded"):
                log.warning('payload not decoded device=%s reason="%s" next=it is kept as it is', self.name, error)
            reasons.append(str(error))
            return Decoded({})
        if decoded.warnings and not beside and self._reports("warnings"):
            words = "; ".join(decoded.warnings)[:_LONGEST_REASON]
            log.warning('codec warns device=%s text="%s" next=its values are taken', self.name, words)
        return decoded

    def _pick(
        self, raws: Mapping[str, Any], at: Instant, measured_at: int | None, reasons: list[str]
    ) -> Iterator[Reading]:
        for short, raw in raws.items():
            entry, point = self._maps[short], self._by_id[f"{self.name}.{short}"]
            value: Value = None
            states = entry.get("states")
            try:
                if states:
                    raw = state_of(raw, states)
                elif isinstance(raw, str) and short in self._flags:
                    raise NoValue(f"{raw[:40]!r} stands where on or off should; points.{short}.states can say which")
                found = value_of(point, raw, entry.get("scale", 1), entry.get("offset", 0))
                check_range(found, entry.get("range"))
                value = found
            except NoValue as error:
                reasons.append(f"{short}: {error}")
                if measured_at is None and self._missing.get(short) != str(error):  # said once
                    self._missing[short] = str(error)
                    log.warning('no value point=%s reason="%s" next=it is bad', point.id, error)
            else:
                self._missing.pop(short, None)
            yield Reading(point.id, value, at, Quality.BAD if value is None else Quality.GOOD, measured_at)

    def _history(self, data: Any, at: Instant, now_ms: int | None, reasons: list[str]) -> Iterator[Reading]:
        how = self._lora.get("history")
        entries = look_up(data, how["field"]) if how else ()
        if how is None or not isinstance(entries, list | tuple):
            return
        for entry in entries[:_MOST_HISTORY]:
            try:
                measured = milliseconds(look_up(entry, how["time"]), how.get("unit", "s"), now_ms)
            except NoValue as error:
                reasons.append(f"{how['field']}: {error}")
            else:
                yield from self._pick(self._raws(entry), at, measured, reasons)


def _print_of(frame: Frame) -> str:
    """A short print that tells a frame from another of the same number, to be kept on flash."""
    return hashlib.blake2b(b"%d:" % (frame.fport or 0) + frame.payload, digest_size=8).hexdigest()


def _field(short: str, entry: Mapping[str, Any]) -> str:
    return entry.get("field") or short


def _flags(lora: Mapping[str, Any], points: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """The points that struct or tlv read as on or off."""
    records = [*(lora.get("struct") or ()), *(lora.get("tlv") or ())]
    parts = [*records, *(part for record in records for part in record.get("fields") or ())]
    texts = ("hex", "ascii")
    read = {part["field"] for part in parts if "field" in part and part.get("as", part.get("type")) not in texts}
    return frozenset(
        short for short, entry in points.items()
        if entry.get("kind") == "state" and not entry.get("states") and _field(short, entry) in read
    )  # fmt: skip


def _raw(value: Value, scale: float, offset: float) -> Value:
    """The raw value of a field for a value of its point."""
    if isinstance(value, bool | str) or value is None or (scale == 1 and offset == 0):
        return value
    raw = float(f"{(value - offset) / scale:.12g}")
    return int(raw) if raw.is_integer() else raw
