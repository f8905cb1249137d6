"""What is retained on `state/store`: whose numbers went out last, so that an older copy of the state is found.

A card that was restored, or copied, goes on from numbers that others have used. Each reservation of numbers counts one
`epoch`; the broker retains the newest. What it retains of our store must not be newer than what the database knew when
this stretch began: else somebody went on from a later state, and our numbers need another name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Claim", "Statement", "heard_of"]

_OTHERS = 20
"""Other stores that are carried on in the retained message, the latest: clones and predecessors of one site."""


class Claim(NamedTuple):
    """No number of `store` above `last` has been sent, by the machine of that name (a digest)."""

    store: str
    last: int
    epoch: int
    machine: str


class Statement(NamedTuple):
    """What was retained: the claims by store, the latest first, and which run of an agent made the first of them."""

    claims: Mapping[str, Claim]
    run: str

    def body(self) -> dict[str, Any]:
        """As it is published."""
        mine, *others = self.claims.values()
        return {
            **mine._asdict(), "run": self.run,
            "others": {one.store: one._asdict() for one in others[:_OTHERS]},
        }  # fmt: skip

    def after(self, claim: Claim, run: str) -> Statement:
        """With a claim of ours in front."""
        others = {store: one for store, one in self.claims.items() if store != claim.store}
        return Statement({claim.store: claim, **others}, run)


def heard_of(payload: bytes) -> Statement:
    """What a retained message says; nothing where it is none of ours."""
    claims: dict[str, Claim] = {}
    try:
        found = json.loads(payload)
        for one in [found, *found["others"].values()][: _OTHERS + 1]:
            claim = Claim(str(one["store"]), int(one["last"]), int(one["epoch"]), str(one["machine"]))
            claims[claim.store] = claim
        return Statement(claims, str(found["run"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return Statement({}, "")
