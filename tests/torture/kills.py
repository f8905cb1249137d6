"""kill -9 of the agent at random moments, with the link up and down, while commands come."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from tests.torture.rig import Verdict, village, wait_for

FINAL = {"rejected", "expired", "verified", "mismatch", "failed", "unknown"}


def kill(folder: Path, rounds: int) -> Verdict:
    """Nothing accepted is lost, duplicates carry their key, no relay moves unasked, no command is done twice."""
    dice = random.Random(rounds)
    sent: Counter[int] = Counter()
    with village(folder) as place:
        place.site.start()
        place.site.bocage("write", "lamp", "on", check=0)
        for turn in range(rounds):
            (place.link.mend if dice.random() < 0.5 else place.link.cut)()
            level = turn % 100 + 1
            sent[level] += 1
            place.subscriber.send(f"level-{turn}", point="m.dimmer", value=level, ttl_ms=600_000)
            place.polls(dice.randrange(1, 25))
            place.kill()
            place.site.start()
        place.polls(5)
        place.link.mend()
        names = [f"level-{turn}" for turn in range(rounds)]
        wait_for(lambda: all(FINAL & set(place.subscriber.states(name)) for name in names), 60, "a result for each")
        place.settle()
        done = Counter(value for address, value in place.slave.registered if address == 8)
        edges = place.edges()
        found = place.verdict(
            commands=rounds,
            twice=sum(max(0, done[level] - count) for level, count in sent.items()),
            **{"edges unasked": len(edges) - 2},  # on by command; off when the third crash ended that
        )
        found.must(edges == [(0, True), (0, False)], f"relays moved: {edges}")
        found.must(found.figures["twice"] == 0, "a command was carried out twice")
        unknown = sum("unknown" in place.subscriber.states(name) for name in names)
        found.figures["unknown"] = unknown
        return found
