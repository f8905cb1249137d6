"""Whether this state of the box is the newest that ever was: what is noted of it on flash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from uuid import uuid4

from agent.lib.machine import Machine
from agent.outbox.claim import MOST, Claim, Standing
from agent.outbox.store import Totals, unsure_fact

__all__ = ["Identity"]

_OWN = 200
"""Reservations that are remembered by name: of 20 million numbers that nobody confirmed."""


class Identity:
    """`unsure` are the first number and the epoch of what was numbered since the broker last confirmed us.

    It is None while we are confirmed: from then on nobody else can have gone on from this state.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine, self.epoch = machine, 0
        self.unsure: tuple[int, int] | None = None
        self._noted: tuple[int, int] | None = None
        self.others: list[Claim] = []
        """What was claimed of other stores of the site, the latest first: the broker may forget it."""
        self._others_noted: list[Claim] = []
        self.reservations: list[str] = []
        """Names of those that we made since the epoch of `unsure`, the latest last: nobody else has their names."""
        self._left = self._aside = False
        """Whether a store that was left, a database that was set aside, waits to be told: in the next transaction."""

    def adopt(self, totals: Totals, known: tuple[int, int] | None, following: int) -> None:
        """A database is open; `known` is unsure of it, `following` the next number. Without any it is nobody's copy.

        It is confirmed where its last reservation is the one that was compared without it.
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
        """Why this state is not the newest of its store: what somebody else went on from. "" if nobody did."""
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
        """What the next transaction is to note, which reserves numbers or not, and tells what is to be told or not."""
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
        """It is on flash."""
        self.epoch = int(facts.get("epoch", self.epoch))
        if "unsure" in facts:
            self._noted = tuple(json.loads(str(facts["unsure"]))) if facts["unsure"] else None
        if "others" in facts:
            self._others_noted = [Claim(*one) for one in json.loads(str(facts["others"]))]
        if "reservations" in facts:
            self.reservations = json.loads(str(facts["reservations"]))
        self._left = self._left and "left" not in facts
        self._aside = self._aside and "aside" not in facts
