"""Whether this state of the box is the newest that ever was: what the broker retains of it, and the flash knows.

A card that was restored, or copied, goes on from numbers that others have used. Each reservation of numbers counts one
`epoch` and has a name; the broker retains the newest. What it retains of our store must be a reservation of our own, or
not be newer than what the database knew when this stretch began: else a later state has gone on, and our numbers need
another name: another store. The functions at the end give it on flash; they are called within a transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from agent.lib.machine import Machine
from agent.model import Outcome
from agent.outbox.blocks import renamed
from agent.outbox.records import GAP, Boots, parted_gap, renamed_record

__all__ = [
    "MOST", "Claim", "Identity", "IdentityState", "Statement", "Totals", "compare_machine", "fact", "left",
    "parse_statement", "renew", "set_facts", "unsure", "unsure_fact",
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


class IdentityState(NamedTuple):
    """The numbers that a state may claim, and its own claims: none is later than epoch `since`, but those of `own`.

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
    """Parse a retained message, which may be anything; an empty statement if it is not one of ours."""
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


@dataclass(slots=True)
class Totals:
    """Sums of the flash. `oldest_ms` is None where unknown; `bytes` by class; `used` are bytes of the file in use.

    By store: `last` is the highest number known, `flushed` the one up to which all readings are on flash or done with,
    `records` the numbers of class-0 records beyond where it was asked for, `away` (given, done) of those without
    durable numbers, where something was in memory only.
    """

    rows: int = 0
    bytes: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(4), 0))
    used: int = 0
    oldest_ms: int | None = None
    next_id: int = 1
    reserved: int = 0
    gaps: int = 0
    lost: dict[str, dict[str, int]] = field(default_factory=dict)
    boots: Boots = field(default_factory=lambda: Boots([]))
    last: dict[str, int] = field(default_factory=dict)
    flushed: dict[str, int] = field(default_factory=dict)
    records: dict[str, set[int]] = field(default_factory=dict)
    away: dict[str, list[int]] = field(default_factory=dict)
    epoch: int = 0
    """Number of reservations so far."""
    unsure: tuple[int, int] | None = None
    """First number, and epoch, of what was numbered since the broker last confirmed that this is the newest state."""
    others: list[list[Any]] = field(default_factory=list)
    """Claims of other stores of the site."""
    reservations: list[str] = field(default_factory=list)
    """Names of the reservations since the epoch of `unsure`, the latest last."""
    aside: str = ""
    """The database before this one, which was set aside, until it is told."""
    left: list[dict[str, Any]] = field(default_factory=list)
    """Stores that were left for another, and were not told yet."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """The last of commands that were asked for."""


class Identity:
    """`unsure` are the first number and the epoch of what was numbered since the broker last confirmed us.

    It is None while we are confirmed: from then on no other box can have gone on from this state.
    """

    def __init__(self, machine: Machine, state: IdentityState | None) -> None:
        self.machine, self.epoch = machine, 0
        self._state = state
        """The numbers that may be claimed, as the stage knows them."""
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

    def recall(self) -> None:
        """No database can be opened: what the process before knew."""
        if known := self._state:
            self.epoch, self.reservations, self.unsure = known.claim.epoch, list(known.own), (0, known.since)

    def claim_up_to(self, store: str, limit: int) -> IdentityState:
        """Note anew what may be claimed, as it is on flash now, with numbers of a store reserved up to a limit."""
        name = self.reservations[-1] if self.reservations else ""
        since = self._noted[1] if self._noted else self.epoch
        claim = Claim(store, limit, self.epoch, self.machine.name, name)
        self._state = IdentityState(claim, since, tuple(self.reservations), self._noted, self.unsure)
        return self._state

    def compared(self) -> IdentityState | None:
        """Note that the broker knows of no later state; what may be claimed now."""
        self.unsure = None
        if self._state is not None:
            self._state = self._state._replace(unsure=None)
        return self._state

    @property
    def claim(self) -> Claim | None:
        """The claim on our numbers; None while they are not durable, or not compared."""
        return self._state.claim if self._state is not None and self.unsure is None else None

    def hear(self, claims: Mapping[str, Claim], store: str) -> bool:
        """Remember what is retained of others than `store`; whether that is news."""
        known = {**{one.store: one for one in self.others}, **claims}
        order = dict.fromkeys([*claims, *known])
        self.others = [known[name] for name in order if name != store][: MOST - 1]
        return self.others != self._others_noted

    def gone_on(self, claims: Mapping[str, Claim]) -> str:
        """Why this state is not the newest of its store, by claims that went on from a later one; "" if it is."""
        claim = claims.get(self._state.claim.store) if self._state is not None else None
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


def unsure_fact(unsure: tuple[int, int] | None) -> str:
    """As `unsure` reads it."""
    return json.dumps(unsure) if unsure else ""


def compare_machine(db: sqlite3.Connection, machine: Machine) -> None:
    """On another machine than before, its numbers go on under a store of their own; what waits keeps its keys."""
    known = Machine.parse(fact(db, "machine"))
    if machine.is_other(known):
        _move(db, "another machine")
        set_facts(db, machine=machine.text())
    elif machine.learn(known) != known:
        set_facts(db, machine=machine.learn(known).text())


def _move(db: sqlite3.Connection, why: str) -> None:
    """Leave a store without asking the broker.

    What was not compared goes along: a later state may have sent the same numbers, so it cannot keep its keys.
    """
    old, name, reserved = fact(db, "store"), str(uuid4()), fact(db, "reserved") or 0
    last = _one(db, "SELECT max(last_seq) FROM block WHERE store = ?", old) or 0
    done = max(last, fact(db, "flushed") or 0)
    if since := unsure(db):
        first = since[0]
        gaps, named = _rename(db, first, name, done)
        _leave(db, name, why, min(done, first - 1), max(reserved, named), first, gaps)
        set_facts(db, unsure="")
    else:
        _leave(db, name, why, done, reserved)
        set_facts(db, reserved=0, known=0, flushed=0)


def renew(db: sqlite3.Connection, first: int, done: int, name: str, why: str, sent: int) -> None:
    """Others went on from this database: what was numbered from `first` on gets another store.

    Up to `done` it is on flash, sent or told as lost. They may have `sent` numbers of the old one up to this.
    """
    gaps, named = _rename(db, first, name, done)
    _leave(db, name, why, first - 1, max(sent, named), first, gaps)
    set_facts(db, unsure="")


def _rename(db: sqlite3.Connection, first: int, name: str, done: int) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Give numbers of the store from `first` on another. What is to be told then (reason, detail).

    That is, of both, what lies in and beside a block that spans `first` and goes whole; of the new one, its part of
    gap records, and that some up to `done` are not here: they went under the old one. Beside it the last number of
    the old one that is named by a gap record that keeps its own.
    """
    old, lowest, named = str(fact(db, "store")), first, 0
    gaps: list[tuple[str, dict[str, Any]]] = []
    blocks = "SELECT id, first_seq, body FROM block WHERE store = ? AND last_seq >= ?"
    for row, begins, body in db.execute(blocks, (old, first)).fetchall():
        lowest = min(lowest, begins)
        db.execute("UPDATE block SET store = ?, body = ? WHERE id = ?", (name, renamed(body, name), row))
    if lowest < first:
        span = {"first": lowest, "last": first - 1, "count": None}
        gaps += [("power_cut", {"store": store, **span}) for store in (old, name)]
    messages = "SELECT id, body FROM message WHERE store = ? AND seq >= ?"
    for row, body in db.execute(messages, (old, first)).fetchall():
        said = renamed_record(body, old, name, first)
        db.execute("UPDATE message SET store = ?, body = ? WHERE id = ?", (name, said, row))
    counting = ("SELECT (SELECT coalesce(sum(n), 0) FROM block WHERE store = ?1 AND last_seq <= ?2) + "
                "(SELECT count(*) FROM message WHERE store = ?1 AND seq <= ?2)")  # fmt: skip
    if _one(db, counting, name, done) < done + 1 - lowest:  # sent where nothing could be compared, or told as lost
        gaps.append(("power_cut", {"store": name, "first": first, "last": done, "count": None}))
    telling = "SELECT id, store, body FROM message WHERE instr(body, ?) AND instr(body, ?)"
    for row, store, body in db.execute(telling, (GAP, old.encode())).fetchall():
        said, rest = parted_gap(body, old, name, first, store == name)
        if rest is not None:
            gaps.append(rest)
            named = max(named, rest[1]["last"] if said == body else 0)
        db.execute("UPDATE message SET body = ? WHERE id = ?", (said, row))
    return gaps, named


def _leave(
    db: sqlite3.Connection, name: str, why: str, done: int, given: int, first: int | None = None,
    gaps: Sequence[tuple[str, dict[str, Any]]] = (),
) -> None:  # fmt: skip
    """Note which store comes after which, until it is told; numbers from `first` on went with it.

    Of the old one, numbers beyond `done` and up to `given` need to be explained; `gaps` are told beside.
    """
    stores = left(db)
    stores.append({
        "store": fact(db, "store"), "now": name, "why": why, "done": done, "reserved": given, "first": first,
        "gaps": gaps,
    })  # fmt: skip
    set_facts(db, store=name, left=json.dumps(stores))


def left(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Stores that were left for another one, and were not told yet."""
    return list(json.loads(fact(db, "left") or "[]"))


def unsure(db: sqlite3.Connection) -> tuple[int, int] | None:
    """First number, and epoch, of what the broker had not confirmed when that was noted."""
    since = json.loads(fact(db, "unsure") or "null")
    return since and (since[0], since[1])


def fact(db: sqlite3.Connection, key: str) -> Any:
    """A fact of the database, None if it has none of this key."""
    return _one(db, "SELECT value FROM fact WHERE key = ?", key)


def set_facts(db: sqlite3.Connection, **facts: int | str) -> None:
    db.executemany("INSERT OR REPLACE INTO fact VALUES (?,?)", facts.items())


def _one(db: sqlite3.Connection, query: str, *values: object) -> Any:
    row = db.execute(query, values).fetchone()
    return row[0] if row else None

