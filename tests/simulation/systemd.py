"""The service manager in the simulated world: what the unit promises (systemd/bocage.service), and who asks the agent.

    Type=notify, WatchdogSec=20, Restart=always: an agent that does not show a sign of life for 20 s is killed.
"""

from __future__ import annotations

import json
from typing import Any

from tests.simulation.wire import pair

__all__ = ["Manager", "ask"]

WATCHDOG = 20.0
START = 60.0
"""Seconds that a start may take until READY=1."""
LOOK = 1.0
ANSWER, SLOWLY = 30.0, 60.0
"""Seconds within which a technician has his answer: a write waits for the wire, a reload for a worn disk. On a slow
disk a write waits for what others write before it, and twice for its own."""


class Manager:
    """Takes what the agent tells systemd, and kills it when it falls silent: no fault may bring that about."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._life = 0
        self._sign = 0.0
        self._ready = False
        self.fed = 0
        world.notified = self._told
        world.loop.call_later(LOOK, self._look)

    def _told(self, data: bytes) -> None:
        """A datagram of the agent's."""
        self._newest()
        lines = data.decode().split("\n")
        if "WATCHDOG=1" in lines:
            self.fed += 1
            self._sign = self._world.loop.time()
        if "READY=1" in lines:
            self._ready, self._sign = True, self._world.loop.time()

    def _newest(self) -> None:
        """Whoever began last is looked after, from then on."""
        if self._world.lives != self._life:
            self._life, self._sign, self._ready = self._world.lives, self._world.diary.begun[-1], False

    def _look(self) -> None:
        """When it can be too late, and soon where nobody lives."""
        world, now = self._world, self._world.loop.time()
        self._newest()
        late = self._sign + (WATCHDOG if self._ready else START) + LOOK
        if world.life is not None and now >= late:
            world.judge.must(False, f"life {world.lives} gave no sign for {now - self._sign:.0f} s")
            world.kill()
            world.begin_later(1.0)
        world.loop.call_later(max(LOOK, late - now) if world.life is not None else WATCHDOG, self._look)


def ask(world: Any, request: dict[str, Any]) -> None:
    """A technician at the box sends a request to the agent's socket; he gets an answer while the agent lives."""
    server = world.loop.listeners.get(str(world.run_folder / "agent.sock"))
    life = world.life
    if server is None or life is None:
        return
    theirs, ours = pair(world.loop, "technician", lambda: 0.001)
    answer, patience = bytearray(), SLOWLY if "slow_disk" in world.mixture.pauses else ANSWER

    def took(data: bytes) -> None:
        answer.extend(data)
        if answer.endswith(b"\n") and ours.fileno() >= 0:
            ours.listener = None
            ours.close()
            said = json.loads(answer)
            world.answers[request["do"], said["ok"]] += 1

    def late() -> None:
        if not answer.endswith(b"\n") and world.life is life:
            world.judge.must(False, f"no answer to {request} within {patience:.0f} s")

    ours.listener = took
    server.accept(theirs)
    ours.send(json.dumps(request).encode() + b"\n")
    world.loop.call_later(patience, late)
