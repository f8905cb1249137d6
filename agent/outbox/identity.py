"""Whether this state of the box is the newest that ever was: what the broker retains of it, and the flash knows.

A card that was restored, or copied, goes on from numbers that others have used. Each reservation of numbers counts one
`epoch` and has a name; the broker retains the newest. What it retains of our store must be a reservation of our own, or
not be newer than what the database knew when this stretch began: else a later state has gone on, and our numbers need
another name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from agent.lib.machine import Machine
from agent.outbox.store import Totals, unsure_fact

__all__ = [
    "MOST", "Claim", "Identity", "Standing", "Statement", "parse_statement",
]  # fmt: skip

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
    the flash has it unconfirmed; in truth it is unconfirmed from `unsure` on. None: all of it is confirmed.
    """

    claim: Claim
    since: int
    own: tuple[str, ...]
    noted: tuple[int, int] | None = None
    unsure: tuple[int, int] | None = None


class Statement(NamedTuple):
    """A retained message: claims by store, the latest first, and the run of an agent that made the first of them."""

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


def parse_statement(payload: bytes) -> Statement:
    """Parse a retained message, which may be anything; an empty statement if it is none of ours."""
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


_OWN = 200
"""Reservations that are remembered by name: of 20 million numbers without a confirmation."""


class Identity:
    """`unsure` are the first number and the epoch of what was numbered since the broker last confirmed us.

    It is None while we are confirmed: from then on no other box can have gone on from this state.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine, self.epoch = machine, 0
        self.unsure: tuple[int, int] | None = None
        self._noted: tuple[int, int] | None = None
        self.others: list[Claim] = []
        """Claims of other stores of the site, the latest first: the broker may forget them."""
        self._others_noted: list[Claim] = []
        self.reservations: list[str] = []
        """Names of those that we made since the epoch of `unsure`, the latest last. No other state has these names."""
        self._left = self._aside = False
        """Whether a store that was left, a database that was set aside, waits to be told: in the next transaction."""

    def adopt(self, totals: Totals, known: tuple[int, int] | None, following: int) -> None:
        """Go on from an open database; `known` is unsure of it, `following` the next number.

        Without any number it cannot be a copy. It is confirmed where its last reservation is the one that was
        compared without it.
        """
        compared = self.unsure is None and self.reservations[-1:] == totals.reservations[-1:] != []
        self.reservations = totals.reservations
        self.epoch, self._left, self._aside = totals.epoch, bool(totals.left), bool(totals.aside)
        self.others = self._others_noted = [Claim(*one) for one in totals.others]
        self._noted = totals.unsure
        since = known or ((following, totals.epoch) if following > 1 or totals.epoch else None)
        self.unsure = None if compared else since

    def recall(self, standing: Standing) -> None:
        """No database can be opened: what the process before knew."""
        self.epoch, self.reservations, self.unsure = standing.claim.epoch, list(standing.own), (0, standing.since)

    def standing(self, store: str, limit: int) -> Standing:
        """As it is on flash now, with numbers of a store reserved up to a limit."""
        name = self.reservations[-1] if self.reservations else ""
        since = self._noted[1] if self._noted else self.epoch
        claim = Claim(store, limit, self.epoch, self.machine.name, name)
        return Standing(claim, since, tuple(self.reservations), self._noted, self.unsure)

    def hear(self, claims: Mapping[str, Claim], store: str) -> bool:
        """Remember what is retained of others than `store`; whether that is news."""
        known = {**{one.store: one for one in self.others}, **claims}
        order = dict.fromkeys([*claims, *known])
        self.others = [known[name] for name in order if name != store][: MOST - 1]
        return self.others != self._others_noted

    def gone_on(self, claim: Claim | None) -> str:
        """Why this state is not the newest of its store, by a claim that went on from a later one; "" if it is."""
        if claim is None or self.unsure is None:
            return ""
        if claim.epoch > self.unsure[1] and claim.reservation not in self.reservations:
            return "an older state of the box"
        other = bool(claim.machine and self.machine.name) and claim.machine != self.machine.name
        return "the machine had another name when its numbers went out last" if other else ""

    def confirm(self) -> None:
        """The flash knows that this state has a name of its own, and of the store that it left."""
        self.unsure = self._noted = None
        self._left = True

    def facts(self, reserved: bool, tells: bool = True) -> dict[str, int | str]:
        """Facts for the next transaction: whether it reserves numbers, and reports moves and lost databases."""
        facts: dict[str, int | str] = {}
        if reserved:
            own = self.reservations if self.unsure else []  # confirmed: up to here the epoch tells enough
            facts |= {"epoch": self.epoch + 1, "reservations": json.dumps([*own, uuid4().hex[:12]][-_OWN:])}
        if self.unsure != self._noted:
            facts["unsure"] = unsure_fact(self.unsure)
        if self.others != self._others_noted:
            facts["others"] = json.dumps(self.others)
        if self._left and tells:
            facts["left"] = "[]"
        if self._aside and tells:
            facts["aside"] = ""
        return facts

    def settled(self, facts: dict[str, int | str]) -> None:
        """Note that these facts are on flash."""
        self.epoch = int(facts.get("epoch", self.epoch))
        if "unsure" in facts:
            self._noted = tuple(json.loads(str(facts["unsure"]))) if facts["unsure"] else None
        if "others" in facts:
            self._others_noted = [Claim(*one) for one in json.loads(str(facts["others"]))]
        if "reservations" in facts:
            self.reservations = json.loads(str(facts["reservations"]))
        self._left = self._left and "left" not in facts
        self._aside = self._aside and "aside" not in facts
