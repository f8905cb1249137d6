"""What is retained on `state/store`: whose numbers went out last, so that an older copy of the state is found.

A card that was restored, or copied, goes on from numbers that others have used. Each reservation of numbers counts one
`epoch` and has a name; the broker retains the newest. What it retains of our store must be a reservation of our own, or
not be newer than what the database knew when this stretch began: else somebody went on from a later state, and our
numbers need another name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["MOST", "Claim", "Standing", "Statement", "heard_of"]

MOST = 21
"""Stores that are carried on in the retained message, the latest: clones and predecessors of one site."""
_LONGEST = 64
"""Characters of a name: a uuid or a digest."""
_LARGEST = (1 << 53) - 1
"""The schemas' largest number."""


class Claim(NamedTuple):
    """No number of `store` above `last` has been sent, by the machine of that name (a digest).

    `reservation` is the name of the one that reserved `last`, "" where an older agent made it.
    """

    store: str
    last: int
    epoch: int
    machine: str
    reservation: str = ""


class Standing(NamedTuple):
    """What a state may claim, and how it knows its own claims: none is later than epoch `since`, but those of `own`.

    `own` are the names of the reservations that it made after `since`. `noted` (first number, epoch) is from where on
    the flash says that nobody has confirmed it; in truth that is from `unsure` on. None: all of it is confirmed.
    """

    claim: Claim
    since: int
    own: tuple[str, ...]
    noted: tuple[int, int] | None = None
    unsure: tuple[int, int] | None = None


class Statement(NamedTuple):
    """What was retained: the claims by store, the latest first, and which run of an agent made the first of them."""

    claims: Mapping[str, Claim]
    run: str

    def body(self) -> dict[str, Any]:
        """As it is published."""
        mine, *others = self.claims.values()
        return {
            **mine._asdict(), "run": self.run,
            "others": {one.store: one._asdict() for one in others[: MOST - 1]},
        }  # fmt: skip

    def beside(self, claims: Iterable[Claim]) -> Statement:
        """With the claims of stores that it says nothing of."""
        more = {one.store: one for one in claims if one.store not in self.claims}
        return Statement({**self.claims, **more}, self.run)

    def after(self, claim: Claim, run: str) -> Statement:
        """With a claim of ours in front."""
        others = {store: one for store, one in self.claims.items() if store != claim.store}
        return Statement({claim.store: claim, **others}, run)


def heard_of(payload: bytes) -> Statement:
    """What a retained message says; nothing where it is none of ours: whoever may publish there can write anything."""
    try:
        found = json.loads(payload)
        claims = [_claim(one) for one in [found, *found["others"].values()][:MOST]]
        return Statement({claim.store: claim for claim in claims}, _text(found["run"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Statement({}, "")


def _claim(one: Mapping[str, Any]) -> Claim:
    return Claim(
        _text(one["store"]), _number(one["last"]), _number(one["epoch"]), _text(one["machine"]),
        _text(one.get("reservation", "")),
    )  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise ValueError("no name of ours")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError("no number of ours")
    return value
