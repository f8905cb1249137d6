"""A site that has another name from now on: its stores and boots are its own under the new one."""

from __future__ import annotations

import time

from agent.collect.schemas import InvalidMessage, Shelf
from agent.collect.store import CollectStore, Foreign, site_and_kind
from agent.errors import BocageError

__all__ = ["rename"]

_LONGEST = 0.5
"""Seconds of one transaction, at most and one message."""
_PAUSE = 0.1
"""Seconds between two, as long as SQLite sleeps between two looks at a lock: a collector gets its turn."""


def rename(store: CollectStore, old: str, new: str) -> tuple[int, int]:
    """Give what is `old`'s to `new`: how many stores, and how many messages that had been refused for it are kept now.

    What had been refused is taken in small transactions, so that a collector hardly waits; where that was ended midway,
    a second call takes the rest. BocageError if nothing is `old`'s, and nothing was left to take.
    """
    db = store.db
    store.begin()
    stores = db.execute("UPDATE store SET site = ? WHERE site = ?", (new, old)).rowcount
    boots = db.execute("UPDATE owner SET site = ? WHERE site = ?", (new, old)).rowcount
    if stores or boots:
        db.execute("UPDATE OR REPLACE alarm SET site = ? WHERE site = ? AND code = 'conflict'", (new, old))
        db.execute("DELETE FROM alarm WHERE site = ? AND code IN ('foreign_store', 'foreign_boot')", (new,))
    store.commit()
    kept = _take_refused(store, new)
    while store.date_some():
        store.commit()
        time.sleep(_PAUSE)
    store.commit()
    if not stores and not boots and not kept:
        raise BocageError(f"nothing in this file is of site {old}")
    return stores, kept


def _take_refused(store: CollectStore, site: str) -> int:
    """Keep what was refused because it was another site's; what still is stays where it is, and an alarm."""
    shelf, kept, end = Shelf(), 0, time.monotonic() + _LONGEST
    query = "SELECT rowid, topic FROM refused WHERE reason LIKE 'foreign: %' ORDER BY rowid"
    for rowid, topic in store.db.execute(query).fetchall():
        if site_and_kind(topic)[0] != site:
            continue
        if time.monotonic() > end:
            store.commit()
            time.sleep(_PAUSE)
            end = time.monotonic() + _LONGEST
        kept += _take(store, shelf, rowid, topic)
    store.commit()
    return kept


def _take(store: CollectStore, shelf: Shelf, rowid: int, topic: str) -> bool:
    """One of them; it may be gone by now, where so many more were refused."""
    store.begin()
    site, kind = site_and_kind(topic)
    query = "SELECT body FROM refused WHERE rowid = ? AND topic = ? AND reason LIKE 'foreign: %'"
    row = store.db.execute(query, (rowid, topic)).fetchone()
    if row is None:
        return False
    try:
        store.take(kind, site, shelf.parse(kind, row[0]))
    except Foreign as reason:
        known = (reason.code, site, reason.subject)
        if not store.db.execute("SELECT 1 FROM alarm WHERE (code, site, subject) = (?, ?, ?)", known).fetchone():
            store.alarm(*known, str(reason))
        return False
    except InvalidMessage:
        return False
    store.db.execute("DELETE FROM refused WHERE rowid = ?", (rowid,))
    return True
