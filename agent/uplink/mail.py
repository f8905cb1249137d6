"""Messages of drivers with other sites, by the uplink's connection: no client of their own would be let in beside it.

Nothing is kept: without a link nothing is sent, and what the broker refuses is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from agent.lib.timed_event import TimedEvent
from agent.uplink.dialect import Publication

__all__ = ["Mail", "Post"]

Post = Callable[[Publication], Awaitable[bool]]
"""Publishes, and returns whether the broker took it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    topics: tuple[str, ...]
    take: Callable[[str, bytes], None]
    connected: Callable[[], None]


class Mail:
    """Outlives the uplinks of a process: drivers join it, and the present uplink carries it."""

    def __init__(self) -> None:
        self._members: list[_Member] = []
        self._post: Post | None = None
        self.changed = TimedEvent()
        """Set when other topics are to be listened to."""

    # -- what drivers call -------------------------------------------------------------------------------------

    def join(
        self, topics: Sequence[str], take: Callable[[str, bytes], None], connected: Callable[[], None]
    ) -> Callable[[], None]:
        """See `Home.join` of drivers.api."""
        member = _Member(tuple(topics), take, connected)
        self._members.append(member)
        self.changed.set()

        def leave() -> None:
            self._members.remove(member)
            self.changed.set()

        return leave

    async def send(self, topic: str, body: bytes, life: float) -> bool:
        """See `Home.send` of drivers.api."""
        return self._post is not None and await self._post(Publication(topic, body, life=life))

    @property
    def is_up(self) -> bool:
        """Whether there is a link."""
        return self._post is not None

    # -- what the uplink calls ---------------------------------------------------------------------------------

    def carry(self, post: Post | None) -> None:
        """Send by `post` from now on; None: there is no link."""
        self._post = post

    @property
    def topics(self) -> Iterator[str]:
        """The topics that drivers listen to."""
        return iter(dict.fromkeys(topic for member in self._members for topic in member.topics))

    def take(self, topic: str, body: bytes) -> None:
        """A message came on one of the topics."""
        for member in [one for one in self._members if topic in one.topics]:
            member.take(topic, body)

    def listens(self, topic: str) -> None:
        """The broker hands messages on this topic on."""
        for member in [one for one in self._members if topic in one.topics]:
            member.connected()
