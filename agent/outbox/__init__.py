"""The durable outbox: every reading waits here until the broker has accepted it; commands are remembered here too.

    queue.py     the outbox itself: in, out, and when what is written
    blocks.py    readings as they wait and travel: columnar, compressed once
    stage.py     the file in memory that outlives the process
    store.py     the SQLite database: blocks, messages, the ledger of commands
    parcels.py   what is published in one message, and what one transaction writes
    records.py   events and outcomes as JSON
    backlog.py   the same from outside, read only
"""

from agent.outbox.parcels import Message
from agent.outbox.queue import Outbox

__all__ = ["Message", "Outbox"]
