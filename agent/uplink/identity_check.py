"""Find a restored or copied card before anything numbered is sent, by what the broker retains of our store.

The retained message (`Dialect.claims`) is read at each connection, compared (`Outbox.compare_claims`), and renewed
when more numbers were reserved. If a broker retains nothing or does not let us read it, a restored card cannot be
found, and the gateway goes on all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import uuid4

from agent.errors import StorageError
from agent.outbox import Outbox
from agent.outbox.identity import MOST, Claim, Statement
from agent.uplink.dialect import Dialect
from agent.uplink.session import Session

__all__ = ["IdentityCheck"]

log = logging.getLogger("bocage.uplink")

PATIENCE = 1.0
"""Seconds after the SUBACK for which a retained message is waited for, once in a process: brokers send it at once."""
REMEMBERED = 50 * MOST
"""Claims of different stores, the latest: a broker that makes them up fills no memory."""
AGAIN = 5.0
"""Seconds between two attempts to note on flash that the numbers are another's."""


class IdentityCheck:
    """One site's. `duplicate` is called when another run of an agent retains a claim for the same site after us."""

    def __init__(self, dialect: Dialect, outbox: Outbox, duplicate: Callable[[], None]) -> None:
        self._dialect, self._outbox, self._duplicate = dialect, outbox, duplicate
        self.name = dialect.claims.name if dialect.claims else ""
        """The name of the topic, for alarms."""
        self._run = uuid4().hex
        self._heard = Statement({}, "")
        self._came = asyncio.Event()
        self._compares = False
        """Whether the broker of this connection retains anything to compare with."""
        self._claimed: Claim | None = None
        self._said: Claim | None = None
        """The last claim of this process, at any broker."""
        self.renewed = False
        """Whether this process found its state older than what was sent: what is redelivered may have been done."""

    async def check(self, session: Session) -> None:
        """At the start of a connection. LinkLost if it ends meanwhile."""
        claims = self._dialect.claims if session.retains else None
        self._claimed, self._compares = None, claims is not None
        if claims is None:
            return
        session.route(claims.topic, self._take)
        code = await session.listen(claims.topic, anew=True)
        if code >= 0x80:
            log.warning("%s cannot be read suback=0x%02x next=a restored card would not be found", claims.name, code)
        elif self._outbox.is_unsure:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._came.wait()
        await self.compare()

    async def compare(self) -> None:
        """Compare what we know of our numbers with what was retained; returns when they are ours to use."""
        self._heard = self._heard.beside(self._outbox.others)
        before = self._outbox.store
        while True:
            try:
                await self._outbox.compare_claims(self._heard)
                break
            except StorageError as error:
                log.error(
                    "another agent used this store's sequence numbers "
                    'reason="%s" next=nothing is sent, tried again',
                    error,
                )
                await asyncio.sleep(AGAIN)
        self.renewed = self.renewed or (self._outbox.store != before)

    @property
    def has_compared(self) -> bool:
        """Whether nothing was learned since: the database of an older state may open while the link is up."""
        return self._outbox.is_compared or not self._compares

    @property
    def is_behind(self) -> bool:
        """Whether more must be compared or claimed before the next message is sent."""
        return not self.has_compared or self._outbox.claim not in (None, self._claimed)

    def claim(self, session: Session) -> asyncio.Future[int] | None:
        """Retain what may be sent from now on; the caller has a slot of the window. None: there is nothing to say."""
        claim = self._outbox.claim
        if claim is None or claim == self._claimed or not session.retains or self._dialect.claims is None:
            self._claimed = claim
            return None
        self._claimed = self._said = claim
        self._heard = self._heard.after(claim, self._run)
        return session.publish(self._dialect.claim(self._heard))

    def repeat(self) -> None:
        """The broker did not take what was claimed: claim it again before the next message."""
        self._claimed = None

    def _take(self, payload: bytes) -> None:
        """Take what is retained or published on the topic; our own claims come back as well."""
        heard = self._dialect.claimed(payload)
        if heard.run == self._run or not heard.claims:
            return
        if self._said is not None and not _is_before(next(iter(heard.claims.values())), self._said):
            self._duplicate()
        newest = dict(heard.claims)
        for store, claim in self._heard.claims.items():
            known = store in newest
            if (not known and len(newest) < REMEMBERED) or (known and newest[store].epoch < claim.epoch):
                newest[store] = claim
        self._heard = Statement(newest, heard.run)
        self._came.set()


def _is_before(claim: Claim, ours: Claim) -> bool:
    """Whether it is an earlier claim of this box, by another run: a broker may have gone back, or be another one."""
    return (claim.store, claim.machine) == (ours.store, ours.machine) and claim.epoch <= ours.epoch
