"""The agent's own site, as the drivers see it that exchange messages with other sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agent.core.buses import Buses
from agent.core.hub import Hub
from agent.errors import Rejected
from agent.model import Reading
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.uplink.mail import Mail

__all__ = ["SiteHome"]


class SiteHome:
    """`Home` of drivers.api. The hub and the settings may be others after a reload."""

    def __init__(self, mail: Mail, buses: Buses, hub: Callable[[], Hub], settings: Callable[[], Settings]) -> None:
        self._mail, self._buses, self._hub, self._settings = mail, buses, hub, settings
        self.join, self.send = mail.join, mail.send

    @property
    def is_up(self) -> bool:
        return self._mail.is_up

    def reading(self, name: str) -> Reading | None:
        settings, hub = self._settings(), self._hub()
        point = settings.outputs.get(name, name)
        if not settings.personal.isdisjoint((name, point, point.partition(".")[0])):
            raise Rejected("it is personal")
        if self._is_of_another(point, settings):
            raise Rejected("it is another site's: ask that one")
        if point not in hub.points:
            raise Rejected("there is no such point")
        return hub.last.get(point)

    def _is_of_another(self, point: str, settings: Settings) -> bool:
        """Whether a point, or the source of a signal, is one that another site told."""
        sources: Sequence[str] = [one.source for one in settings.signals if one.name == point]
        return any(one in self._buses.from_other_sites for one in (point, *sources))
