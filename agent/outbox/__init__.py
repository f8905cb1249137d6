"""The durable outbox: every reading waits here until the broker has accepted it; commands are remembered here too.

    queue.py     the outbox's façade: what goes in, and what comes out next
    writer.py    its parts, and the one transaction that brings all that is due to flash
    numbers.py   a number for each record, reserved ahead
    ram_queue.py readings that are not on flash
    events.py    events and outcomes: on flash at once, first on the link
    backlog_reader.py  the backlog on its way from flash (drain.py: blocks as messages; lanes.py: how fast)
    pending_work.py    what the next transaction is to do and to tell (retention.py: what is deleted, thinning.py)
    dating.py    when this start of the box was (dates.py: all of them)
    figures.py   what is counted, and how much is too much
    flash.py     the database in its thread: faults, retries, one that is corrupt
    blocks.py    readings as they wait and travel: columnar, compressed once
    stage.py     the file in memory that outlives the process (mark.py: which numbers were given, though it is full)
    store.py     the SQLite database: blocks, messages, the ledger of commands
    ids.py       the ids of commands once more, for when the database is lost
    claim.py     what the broker retains of our numbers (identity.py: what the flash knows of it)
    messages.py  what is published in one message, and what one transaction writes
    records.py   events and outcomes as JSON
    export.py    the same from outside, read only
"""

from agent.outbox.claim import Statement
from agent.outbox.messages import Message
from agent.outbox.queue import Outbox
from agent.outbox.records import MessageKind

__all__ = ["Message", "MessageKind", "Outbox", "Statement"]
