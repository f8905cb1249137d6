"""An outbox in memory with the methods that the uplink uses, and a list of all that happened to each message."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Collection

from agent.model import Event, Outcome
from agent.outbox import Message, MessageKind


class MemoryOutbox:
    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.out: dict[int, Message] = {}
        self.taken: list[Message] = []
        self.delivered: list[Message] = []
        self.aside: list[tuple[Message, str]] = []
        self.events: list[Event] = []
        self.outcomes: list[Outcome] = []
        self.links: list[tuple[int, bool, int]] = []
        self.returned = 0
        self.held_back: frozenset[MessageKind] = frozenset()
        self._token = 0
        self._wake = asyncio.Event()

    def fill(self, n: int, kind: str = "readings", size: int = 0) -> None:
        """Queue so many messages of one reading each, keyed by their number."""
        for _ in range(n):
            self._token += 1
            t = self._token
            body = json.dumps(
                {"k": ["s", t, t], "t": 1, "clock": "synced", "p": {"a.b": [[0, t, 0]]}, "pad": "x" * size}
            )
            self.waiting.append(Message(MessageKind(kind), body.encode(), False, t, t, 1, t, command="c1"))
        self._wake.set()

    def link(self, window: int, *, compress: bool, limit: int) -> None:
        self.links.append((window, compress, limit))

    store, is_unsure, is_compared, claim, others = "s", False, True, None, ()
    """Nobody's copy, and nothing to be claimed."""

    async def compare_claims(self, heard: object) -> None:
        pass

    def hold_back(self, kinds: Collection[MessageKind]) -> None:
        self.held_back = frozenset(kinds)
        self._wake.set()

    async def take(self) -> Message:
        while not (free := [message for message in self.waiting if message.kind not in self.held_back]):
            self._wake.clear()
            await self._wake.wait()
        message = next((m for m in free if m.kind != "readings"), free[0])  # class 0 first
        self.waiting.remove(message)
        self.out[message.token] = message
        self.taken.append(message)
        return message

    def accepted(self, message: Message) -> None:
        self.delivered.append(self.out.pop(message.token))

    def put_back(self, message: Message) -> None:
        self.waiting.appendleft(self.out.pop(message.token))
        self.waiting = deque(sorted(self.waiting, key=lambda one: one.token))
        self.returned += 1
        self._wake.set()

    def split(self, message: Message, limit: int) -> bool:
        return False  # they are of one reading each

    def set_aside(self, message: Message, reason: str) -> None:
        self.aside.append((self.out.pop(message.token), reason))

    async def put_event(self, event: Event) -> None:
        self.events.append(event)

    async def record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
