"""The kinds of profiles that there are: those of the drivers that are installed."""

from __future__ import annotations

from agent.site.profiles.kind import Normalised, ProfileKind
from drivers.registry import built_in, load

__all__ = ["KINDS", "USUAL", "kind_of"]

KINDS: dict[str, ProfileKind] = {
    kind.section: kind
    for kind in (load(reference) for reference in dict.fromkeys(d.profile for d in built_in().values() if d.profile))
}
"""By the section that a profile of the kind has."""
USUAL = next(iter(KINDS.values()))
"""The kind of a profile that has no such section."""


def kind_of(profile: Normalised | None) -> ProfileKind | None:
    """The kind of a normalised profile; None for one that a driver made of a device's own keys, and for none."""
    return next((kind for section, kind in KINDS.items() if section in (profile or {})), None)
