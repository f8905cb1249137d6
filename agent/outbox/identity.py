"""Whether this state of the box is the newest that ever was: what is noted of it on flash."""

from __future__ import annotations

import json
from collections.abc import Mapping

from agent.machine import Machine
from agent.outbox.claim import MOST, Bare, Claim
from agent.outbox.store import Totals

__all__ = ["Identity"]


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
        self.bare: list[Bare] = []
        """What we claimed ourselves while there was no database: nobody else has gone on from there."""
        self._bare_noted: list[Bare] = []
        self._left = self._aside = False
        """Whether a store that was left, a database that was set aside, waits to be told: in the next transaction."""

    def adopt(self, totals: Totals, following: int) -> None:
        """A database is open; `following` is the next number. One without any number is nobody's copy."""
        self._bare_noted = [Bare.of(one) for one in totals.bare]
        self.bare = list(dict.fromkeys([*self._bare_noted, *self.bare]))[-MOST:]
        self.epoch, self._left, self._aside = totals.epoch, bool(totals.left), bool(totals.aside)
        self.others = self._others_noted = [Claim(*one) for one in totals.others]
        self._noted = None if totals.unsure is None else (totals.unsure[0], totals.unsure[1])
        self.unsure = self._noted or ((following, totals.epoch) if following > 1 or totals.epoch else None)

    def hear(self, claims: Mapping[str, Claim], store: str) -> bool:
        """Remember what is retained of others than `store`; whether that is news."""
        known = {**{one.store: one for one in self.others}, **claims}
        order = dict.fromkeys([*claims, *known])
        self.others = [known[name] for name in order if name != store][: MOST - 1]
        return self.others != self._others_noted

    @property
    def is_confirmed(self) -> bool:
        """Whether we are, and the flash knows it: a start that does not would take our own claim for another's."""
        return self.unsure is None and self._noted is None

    def gone_on(self, claim: Claim | None) -> str:
        """Why this state is not the newest of its store: what somebody else went on from. "" if nobody did."""
        claim = self.replaced(claim)
        if claim is None or self.unsure is None:
            return ""
        if claim.epoch > self.unsure[1]:
            return "an older state of the box"
        other = bool(claim.machine and self.machine.name) and claim.machine != self.machine.name
        return "the machine had another name when its numbers went out last" if other else ""

    def replaced(self, claim: Claim | None) -> Claim | None:
        """What the broker retained before we claimed this without a database; any other claim as it is."""
        return next((one.before for one in reversed(self.bare) if one.claim == claim), claim)

    def confirm(self) -> None:
        """The flash knows that this state has a name of its own, and of the store that it left."""
        self.unsure = self._noted = None
        self._left = True

    def facts(self, reserved: bool, tells: bool = True) -> dict[str, int | str]:
        """What the next transaction is to note, which reserves numbers or not, and tells what is to be told or not."""
        facts: dict[str, int | str] = {"epoch": self.epoch + 1} if reserved else {}
        if self.unsure != self._noted:
            facts["unsure"] = json.dumps(self.unsure) if self.unsure else ""
        if self.others != self._others_noted:
            facts["others"] = json.dumps(self.others)
        if self.bare != self._bare_noted:
            facts["bare"] = json.dumps(self.bare)
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
        if "bare" in facts:
            self._bare_noted = [Bare.of(one) for one in json.loads(str(facts["bare"]))]
        self._left = self._left and "left" not in facts
        self._aside = self._aside and "aside" not in facts
