"""A site that has another name from now on: its stores and boots are its own under the new one."""

from __future__ import annotations

from agent.collect.schemas import Misfit, Shelf
from agent.collect.store import Foreign, Store, site_and_kind
from agent.errors import BocageError

__all__ = ["rename"]


def rename(store: Store, old: str, new: str) -> tuple[int, int]:
    """Give what is `old`'s to `new`: how many stores, and how many messages that had been refused for it are kept now.

    BocageError if nothing is `old`'s.
    """
    db = store.db
    store.begin()
    stores = db.execute("UPDATE store SET site = ? WHERE site = ?", (new, old)).rowcount
    boots = db.execute("UPDATE owner SET site = ? WHERE site = ?", (new, old)).rowcount
    if not stores and not boots:
        raise BocageError(f"nothing in this file is of site {old}")
    db.execute("UPDATE OR REPLACE alarm SET site = ? WHERE site = ? AND code = 'conflict'", (new, old))
    db.execute("DELETE FROM alarm WHERE site = ? AND code IN ('foreign_store', 'foreign_boot')", (new,))
    kept = _take_refused(store, new)
    while store.date_some():
        pass
    store.commit()
    return stores, kept


def _take_refused(store: Store, site: str) -> int:
    """Keep what was refused because it was another site's; what still is stays where it is, and an alarm."""
    shelf, kept = Shelf(), 0
    query = "SELECT rowid, topic, body FROM refused WHERE reason LIKE 'foreign: %' ORDER BY rowid"
    for rowid, topic, body in store.db.execute(query).fetchall():
        whose, kind = site_and_kind(topic)
        if whose != site:
            continue
        try:
            store.take(kind, site, shelf.parse(kind, body))
        except Foreign as reason:
            store.alarm(reason.code, site, reason.subject, str(reason))
        except Misfit:
            continue
        else:
            store.db.execute("DELETE FROM refused WHERE rowid = ?", (rowid,))
            kept += 1
    return kept
