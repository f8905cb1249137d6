"""Names in a site file, and whether a reference leads to one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent.lib.suggestion import did_you_mean, nearest, suggested
from agent.model import Point
from agent.site.build.units import own_points, unit_of
from agent.site.language.document import Document, Keys
from agent.site.language.problems import Severity, listed
from agent.site.language.units import canonical, is_known
from agent.site.language.values import number
from agent.site.profiles.kinds import kind_of

if TYPE_CHECKING:
    from agent.site.language.base import Model
    from agent.site.models.bus import BusModel
    from agent.site.models.site import Site
    from agent.site.profiles.model import Library

__all__ = ["Checked", "Pin", "PointRef"]


_SECTIONS = {
    "bus": "buses", "device": "devices", "signal": "signals", "actuator": "actuators", "calendar": "calendars",
}  # fmt: skip
_MISNAMED = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class PointRef:
    """A point of a device; `data` is its part of the profile."""

    device: str
    point: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pin:
    """A pin of a bus that has pins, by its number there."""

    bus: str
    number: int


class Checked:
    """A site under check: its document, its names, and what was left out because it is wrong in itself."""

    def __init__(self, document: Document, site: Site, left_out: set[Keys], library: Library) -> None:
        self.document, self.site, self.library = document, site, library
        self._left_out = left_out
        self._unknown: dict[tuple[str, str], list[tuple[Keys, str | None]]] = {}
        self._owners: dict[str, tuple[str, Keys]] = {}
        self.private: dict[str, Keys] = {}
        """Points and signals that ask for light, and where: they tell when people come by."""
        self.held_off: dict[str, tuple[str, Keys]] = {}
        """Actuators that a service holds off or closed at the priority of an interlock, with its name and place."""
        self.held_on: dict[str, tuple[str, Keys]] = {}
        """Actuators that a service holds on or open against frost at the priority of an interlock."""

    def names(self, *section: str) -> set[str]:
        """The names of a section (or of a part of it), also those of wrong entries."""
        found = self.document.value(section)
        return set(found) if isinstance(found, dict) else set()

    def line(self, *keys: str | int) -> int:
        return self.document.place(keys).key_line

    def written(self, *keys: str | int) -> bool:
        """Whether the file says it (and not a default)."""
        return keys in self.document.places

    def wrong(self, *keys: str | int) -> bool:
        """Whether it was already said that this is wrong."""
        return any(keys[:end] in self._left_out for end in range(1, len(keys) + 1))

    def has_wrong(self, *keys: str | int) -> bool:
        """Whether it was already said that this, or a part of it, is wrong: what follows from the rest is not sure."""
        return self.wrong(*keys) or any(way[: len(keys)] == keys for way in self._left_out)

    def error(self, keys: Keys, message: str, hint: str | None = None, at_key: bool = False) -> None:
        """A rule is broken."""
        self._report(keys, message, hint, "error", at_key, True)

    def lacking(self, keys: Keys, message: str, hint: str | None = None) -> None:
        """Something is named that is not there: without it the file cannot be carried out."""
        self._report(keys, message, hint, "error", False, False)

    def unusable(self, keys: Keys, message: str) -> None:
        """A bus cannot be used on this machine; the rest of the file can be carried out."""
        if not self.wrong(*keys):
            self.document.report(keys, message, costs_bus_only=True)

    def warn(self, keys: Keys, message: str, hint: str | None = None, at_key: bool = False) -> None:
        self._report(keys, message, hint, "warning", at_key, False)

    def _report(
        self, keys: Keys, message: str, hint: str | None, severity: Severity, at_key: bool, rule: bool
    ) -> None:
        if not self.wrong(*keys):
            self.document.report(keys, message, hint, severity=severity, at_key=at_key, rule=rule)

    def known(self, keys: Keys, what: str, name: str, names: Iterable[str]) -> bool:
        """Whether a name is among others; an error if not."""
        names = set(names)
        if name not in names:
            bare = self._without_actuator(name) if what == "actuator" else None
            self._lacks(keys, what, name, self._named_so(name, names) or bare or did_you_mean(name, names))
        return name in names

    def _lacks(self, keys: Keys, what: str, name: str, hint: str | None) -> None:
        """Note a name that is not there; not where it was already said why."""
        section = _SECTIONS.get(what, "")
        slips = [one for one in self.names(section) if _MISNAMED.search(one)]
        if self.wrong(section) or (section,) in self.document.doubled or nearest(name, slips) is not None:
            return
        if not self.wrong(*keys):
            self._unknown.setdefault((what, name), []).append((keys, hint))

    def lacks_any(self, what: str) -> bool:
        """Whether the file names something of this sort that is not there."""
        return any(sort == what for sort, _ in self._unknown)

    def report_unknown(self) -> None:
        """Report each unknown name where it is used first, with the other lines that use it."""
        for (what, name), found in self._unknown.items():
            first, *others = sorted(found, key=lambda one: self.document.place(one[0]).line)
            lines = list(dict.fromkeys(str(self.document.place(keys).line) for keys, _ in others))
            more = f" (so on line{'s' if len(lines) > 1 else ''} {listed(lines, 'and')})" if lines else ""
            self.lacking(first[0], f'unknown {what} "{name}"{more}', first[1])

    def _named_so(self, text: str, names: set[str]) -> str | None:
        """Where a point is given instead of a name: the name that it belongs to."""
        owners = [name for name, actuator in self.site.actuators.items() if actuator.output == text]
        near = next((name for name in (*owners, text.partition(".")[0]) if name in names), None)
        return suggested(near) if near is not None else None

    def _without_actuator(self, text: str) -> str | None:
        """Where an output of a device is given that no actuator has: the actuator that it needs."""
        owner, _, point = text.partition(".")
        device = self.site.devices.get(owner)
        profile = (device.profile_data if device is not None else None) or {"points": {}}
        if not (profile["points"].get(point) or {}).get("writable"):
            return None
        kind = "" if self._is_binary(owner, point) else ", kind: level"
        return f"it is a point: give it an actuator, such as {point}: {{output: {text}{kind}}}, and name that here"

    def point(self, keys: Keys, text: str) -> PointRef | Pin | None:
        """The target of `device.point` or `bus.pin`; None, and an error, if nothing (or nothing that can be judged)."""
        owner, dot, rest = text.partition(".")
        if not dot or not rest:
            self.lacking(keys, f'"{text}" is not a point; write device.point, or gpio.17 for a pin')
            return None
        bus = self.site.buses.get(owner)
        if bus is not None and bus.has_pins:
            return self._pin(keys, bus, owner, rest)
        if owner not in self.names("devices"):
            pins = {name for name, found in self.site.buses.items() if found.has_pins}
            if not self.wrong("buses", owner):
                self._lacks(keys, "device", owner, did_you_mean(owner, self.names("devices") | pins))
            return None
        device = self.site.devices.get(owner)
        if device is None or device.profile_data is None:
            told = device is None or not self._is_judged(device.bus) or self.wrong("devices", owner, "profile")
            if device is not None and device.profile is None and not told:
                self.lacking(keys, f"{owner} has no profile, so it has no points", None)
            return None
        points = device.profile_data["points"]
        if rest not in points:
            of = f" (profile {device.profile})" if device.profile is not None else ""
            self.lacking(keys, f'{owner} has no point "{rest}"{of}', did_you_mean(rest, points))
            return None
        return PointRef(owner, rest, points[rest])

    def _is_judged(self, name: str) -> bool:
        """Whether a bus says what its devices are; else it was told what is wrong with it."""
        bus = self.site.buses.get(name)
        return bus is not None and bus.type not in self.site.bus_types.faults

    def _pin(self, keys: Keys, bus: BusModel, name: str, text: str) -> Pin | None:
        try:
            return Pin(name, bus.pin(name, text))
        except ValueError as error:
            self.lacking(keys, str(error))
            return None

    def contact(self, keys: Keys, text: str) -> None:
        """A signal or a point that is on or off, and not text."""
        unit = self.unit(self.value(keys, text, contact=True))
        if unit or self.scale(text) is not None:
            self.error(keys, f"{text} is measured{f' in {unit}' if unit else ''}; what is wanted here is on or off")

    def measurement(
        self, keys: Keys, text: str, wanted: str | None = None, refused: bool = False
    ) -> PointRef | Pin | str | None:
        """A signal or a point that is measured: a warning if it is on or off, or not in the unit `wanted`. Where
        contacts are `refused` one is an error: a key that took contacts from the first goes on taking them."""
        found = self.value(keys, text)
        unit = self.unit(found)
        if self.is_contact(found):
            what = f"measured in {wanted}" if wanted is not None else "measured"
            tell = self.error if refused else self.warn
            tell(keys, f"{text} is on or off; what is wanted here is {what}")
        elif wanted is not None and is_known(unit) and canonical(unit) != wanted:
            self.warn(keys, f"{text} is in {unit}, and what is wanted here is in {wanted}")
        return found

    def value(self, keys: Keys, text: str, contact: bool = False) -> PointRef | Pin | str | None:
        """A signal's name, or a point, which is no text. An error if neither is there."""
        if "." in text:
            found: PointRef | Pin | str | None = self.point(keys, text)
        else:
            found = text if self.known(keys, "signal", text, self.names("signals")) else None
        self._check_words(keys, found, contact)
        return found

    def is_contact(self, found: PointRef | Pin | str | None) -> bool:
        """Whether a signal or a point is known to be on or off, and neither scaled nor counted."""
        if isinstance(found, PointRef):
            return self._is_binary(found.device, found.point)
        signal = self.site.signals.get(found) if isinstance(found, str) else None
        if signal is None or self.has_wrong("signals", str(found)):
            return isinstance(found, Pin)
        if signal.kind == "counter" or signal.signal is not None or signal.scale is not None or signal.offset:
            return False
        owner, _, point = signal.from_.partition(".")
        bus = self.site.buses.get(owner)
        return (bus is not None and bus.has_pins) or self._is_binary(owner, point)

    def _is_binary(self, owner: str, point: str) -> bool:
        device = self.site.devices.get(owner)
        profile = (device.profile_data if device is not None else None) or {"points": {}}
        entry = profile["points"].get(point) or {}
        if entry.get("unit") or entry.get("kind") == "counter" or (entry.get("scale") or 1) != 1 or entry.get("offset"):
            return False
        kind = kind_of(profile)
        return entry.get("kind") == "state" if kind is None else bool(entry) and kind.is_binary(profile, point)

    def _check_words(self, keys: Keys, found: PointRef | Pin | str | None, contact: bool) -> None:
        """Check that a control gets no text: no control reads words, and they would drive nothing."""
        signal = self.site.signals.get(found) if isinstance(found, str) else None
        owner, _, point = signal.from_.partition(".") if signal is not None else ("", "", "")
        owner, point = (found.device, found.point) if isinstance(found, PointRef) else (owner, point)
        device = self.site.devices.get(owner)
        profile = device.profile_data if device is not None else None
        if device is None or profile is None or point not in profile["points"]:
            return
        kind = kind_of(profile)
        if kind is None:
            return
        words = kind.words(profile, point)
        if words is None:
            if contact and kind.is_unclear(profile, point):
                self.warn(
                    keys,
                    f"nothing in the codec of {device.profile} shows that {owner}.{point} is on or off",
                    f"if it is a word, say which one is on: points.{point}.states: {{open: on, close: off}}; "
                    "if not: {true: on, false: off}",
                )
            return
        if not words.words:
            what = f"{owner}.{point} is a text (profile {device.profile})"
            self.error(keys, f"{what}; no control can tell a number, or on from off, in it")
            return
        said = " or ".join(f'"{word}"' for word in words.words)
        tell = self.error if contact else self.warn  # what is measured is seldom a word, and its codec may be misread
        tell(
            keys,
            f"{owner}.{point} is a word, {said} ({words.place}), "
            f"and a control wants {'on or off' if contact else 'a number'}",
            f"say in profile {device.profile} which one is on: points.{point}.states: {words.states}",
        )

    @cached_property
    def owners(self) -> set[str]:
        """The names of circuits, water points, zones …: they may have points of their own."""
        sections = (self.document.value((one.name,)) for one, _ in self.site.services() if not one.is_named)
        groups = [group for section in sections if isinstance(section, dict) for group in section.values()]
        entries = (entry for group in groups if isinstance(group, dict) for entry in group.items())
        return {name for name, one in entries if isinstance(one, dict)}

    def has_points(self, owner: str) -> bool:
        """Whether a name that is no device's has points all the same: a circuit, a tank, one of its pumps …"""
        if owner in self.owners:
            return True
        known = () if owner in self.names("devices") else (self.own_points or ())
        return any(name.startswith(f"{owner}.") for name in known)

    @cached_property
    def own_points(self) -> Mapping[str, Point] | None:
        """The points of circuits, water points, zones …, by id; None where a service cannot be translated."""
        try:
            return own_points(self.site)
        except Exception:  # noqa: BLE001  something is wrong there, and was told
            return None

    def unit(self, found: PointRef | Pin | str | None) -> str:
        """The unit of a point, or of a signal: its own, else its source's. Empty: it is not known."""
        if isinstance(found, PointRef):
            return found.data.get("unit") or ""
        signal = self.site.signals.get(found) if isinstance(found, str) else None
        if signal is None or self.wrong("signals", str(found), "unit"):
            return ""
        device, _, point = signal.from_.partition(".")
        return signal.unit or self.profile_unit(device, point)

    def scale(self, reference: str) -> tuple[float, float] | None:
        """The lowest and the highest value that a 4-20mA signal can show, in its unit; None for another reference."""
        signal = self.site.signals.get(reference)
        if signal is None or signal.signal is None or not isinstance(signal.scale, tuple):
            return None
        return min(signal.scale), max(signal.scale)

    def good_range(self, reference: str) -> tuple[float, float] | None:
        """The least and the largest good value that a signal can have, in its unit; None: it has no bounds."""
        signal, scale = self.site.signals.get(reference), self.scale(reference)
        valid = None if signal is None else signal.valid
        if scale is None or valid is None:
            return scale or valid
        return max(scale[0], valid[0]), min(scale[1], valid[1])

    def shows(self, reference: str) -> str:
        """The words for what a signal with bounds can show."""
        found = self.good_range(reference) or (0.0, 0.0)
        values = f"{number(found[0])} to {number(found[1])} {unit_of(self.site, reference)}".rstrip()
        return f"{reference} shows {values} (line {self.line('signals', reference)})"

    def check_reached(
        self, keys: Keys, reference: str, limit: str, value: float, side: str = "", then: str = ""
    ) -> None:
        """Warn of a limit that no good value passes. `side` is where values pass it, `above` or `below`; without one
        they reach it. `then` is what comes of that."""
        found = self.good_range(reference)
        if found is None:
            return
        below, above = side == "below", side == "above"
        never = value <= found[0] if below else value >= found[1] if above else not found[0] <= value <= found[1]
        if never:
            what = f"{limit} is never {'passed' if side else 'reached'}: {self.shows(reference)}"
            self.warn(keys, what, then or None)

    def profile_unit(self, device: str, point: str) -> str:
        """The unit of a device's point by its profile. Empty: there is no such point, or it has none."""
        found = self.site.devices.get(device)
        points = ((found.profile_data if found is not None else None) or {}).get("points", {})
        return (points.get(point) or {}).get("unit") or ""

    def below(self, keys: Keys, model: Model, low: str, high: str) -> None:
        """The value of one key of a model is below that of another."""
        below, above = getattr(model, low), getattr(model, high)
        if below >= above:
            self.error((*keys, low), f"{low} {number(below)} is not below {high} {number(above)}")

    def actuator(self, keys: Keys, name: str, owner: str, held_off: bool = False, held_on: bool = False) -> None:
        """An actuator is there, and one service alone moves it. `held_off`: it may also hold it off as an interlock,
        `held_on`: on."""
        if self.known(keys, "actuator", name, self.names("actuators")):
            self.moved(keys, name, owner)
            if held_off:
                self.held_off.setdefault(name, (owner, keys))
            if held_on:
                self.held_on.setdefault(name, (owner, keys))

    def source(self, name: str) -> str:
        """The point that a signal is made of, or the point itself."""
        signal = self.site.signals.get(name)
        return name if signal is None else signal.from_

    def shown(self, name: str, actuators: Iterable[str]) -> str | None:
        """The first of some actuators whose output or feedback a point or a signal is; None: it is of none."""
        source = self.source(name)
        found = ((one, self.site.actuators.get(one)) for one in actuators)
        return next(
            (
                one for one, other in found
                if other is not None and source in (other.output, self.source(other.feedback or ""))
            ), None,
        )  # fmt: skip

    def asks_for_light(self, name: str) -> Keys | None:
        """Where light is asked for by a point, or by the radio node that sends it; None: nowhere."""
        point = self.source(name)
        for trigger, keys in self.private.items():
            own = self.source(trigger)
            owner = own.partition(".")[0]
            device = self.site.devices.get(owner)
            sends_alone = device is not None and not device.is_polled and point.partition(".")[0] == owner
            if point == own or sends_alone:
                return keys
        return None

    def other_site(self, point: str) -> str | None:
        """The site that a point is one of, if it is another one."""
        device = self.site.devices.get(point.partition(".")[0])
        bus = None if device is None else self.site.buses.get(device.bus)
        return None if bus is None else bus.other_site

    def held_here(self, keys: Keys, name: str) -> None:
        """An actuator that must stay off or closed is one of this site: at another, off only ends our wish."""
        actuator = self.site.actuators.get(name)
        other = None if actuator is None else self.other_site(actuator.output)
        if other is not None:
            self.warn(keys, f"{name} is an output of {other}: off only ends our wish, and others there may hold it on")

    def moved(self, keys: Keys, name: str, owner: str) -> None:
        """One service alone moves an actuator, or a point that has none."""
        first, where = self._owners.setdefault(name, (owner, keys))
        if first != owner or (where != keys and where[:3] == keys[:3]):
            self.error(keys, f"{name} is already moved by {first} (line {self.line(*where)})")
