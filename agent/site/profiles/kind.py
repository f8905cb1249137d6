"""Kinds of profiles: a driver that has one of its own derives it from these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from agent.site.language.base import Model
from agent.site.language.document import Document, Keys

if TYPE_CHECKING:
    from agent.site.checks.names import Checked
    from agent.site.language.problems import Problem
    from agent.site.profiles.model import Profile, ProfilePoint

__all__ = ["Normalised", "PointKeys", "ProfileKind", "Words", "kind_or_usual"]

Normalised = Mapping[str, Any]
"""A profile, or a point of one, as plain data with every default filled in."""
_COUNTED = {"kWh", "Wh", "MWh", "kvarh", "varh", "kVAh", "m3", "L"}


class Words(NamedTuple):
    """The words that a point may give instead of a number, none if they are not known; and where that is written."""

    words: tuple[str, ...]
    states: str = ""
    """How a profile says which one is on: {open: on, close: off}."""
    place: str = ""
    """The file and line that says so."""


class PointKeys(Model):
    """Keys that points have in profiles of one kind."""

    elsewhere: ClassVar[Mapping[str, str]] = {}
    """The message for a key in a profile of another kind, instead of the usual one."""


class ProfileKind:
    """One kind of profile: those that have its section."""

    section: ClassVar[str]
    family: ClassVar[str]
    """The protocol, in messages: Modbus."""
    noun: ClassVar[str]
    """One of its devices, in messages: a Modbus device."""
    section_model: ClassVar[type[Model]]
    point_keys: ClassVar[type[PointKeys]]
    is_polled: ClassVar[bool] = True
    """Whether its devices answer when they are asked. A radio node transmits by itself."""
    file_key: ClassVar[str] = ""
    """The key of the section that names a file beside the profile."""

    def check(self, document: Document, profile: Profile, left_out: set[Keys]) -> None:
        """Report what is wrong between the keys of a profile of this kind."""

    def normalised(self, section: Any) -> dict[str, Any]:
        """The section as its driver takes it."""
        return dict(section.model_dump(exclude_none=True, by_alias=True)) if section is not None else {}

    def point(self, name: str, point: ProfilePoint, section: Any) -> dict[str, Any]:
        """A point as its driver takes it: unit, kind, writable, low and high, and the keys of this kind."""
        raise NotImplementedError

    def check_device(self, at: Checked, name: str, profile: Normalised) -> None:
        """Rules for a device of the site file that has a profile of this kind."""

    def read_table(self, _path: Path) -> Document | None:
        """A profile that is a table in CSV; None if there are none of this kind."""
        return None

    def check_files(self, _files: Iterable[str]) -> Iterable[Problem]:
        """The problems of the files that profiles name."""
        return ()

    def interval(self, _profile: Normalised) -> float | None:
        """Seconds between two transmissions of a device that is not polled; None if its profile does not say."""
        return None

    def usual_poll(self, _profile: Normalised) -> float:
        """Seconds between two polls of a device whose file does not say."""
        return 10.0

    def place(self, profile: Normalised, point: str) -> Normalised:
        """How a point lies in what the device sends: `type` (u32), `scale`, and `register` if it is one."""
        found: Normalised = profile["points"].get(point) or {}
        return found

    def words(self, _profile: Normalised, _point: str) -> Words | None:
        """The words that a point gives; None if it gives numbers, or true and false."""
        return None

    def is_unclear(self, _profile: Normalised, _point: str) -> bool:
        """Whether nothing shows that a point is on or off."""
        return False

    def is_binary(self, profile: Normalised, point: str) -> bool:
        """Whether a point is known to be on or off."""
        is_known = self.words(profile, point) is None and not self.is_unclear(profile, point)
        return is_known and profile["points"][point]["kind"] == "state"


def kind_or_usual(point: ProfilePoint, is_binary: bool) -> str:
    """The kind of a point: as its profile says, else by its unit."""
    if point.kind is not None:
        return point.kind
    return "state" if is_binary else "counter" if point.unit in _COUNTED else "telemetry"
