"""The durable outbox: every reading waits here until the broker has accepted it; commands are remembered here too.

    queue.py           the façade: what goes in, and what comes out next
    writer.py          owns the parts, and says when what goes to flash
    pending_work.py    the next transaction: what is deleted, lost and written, and what follows from it
    messages.py        messages and where their content is; what waits in memory: readings (RamQueue), class 0 (Events)
    backlog_reader.py  the stored backlog on its way to the link, and its pace; the outbox from outside, read only
    retention.py       how full the buffer is, what is deleted, thinning
    numbers.py         a number for each record, reserved ahead; which are lost, by what a start finds (Replay)
    identity.py        whether this state is the newest of the box: what the broker retains, what the flash knows
    blocks.py          readings as columns: live, stored, sent
    records.py         events, results and gaps as JSON, and when each start of the box was, to date them
    stage.py           the files in tmpfs that outlive the process: what waits, and which numbers were given (Mark)
    flash.py           the database in its thread: faults, retries, one that is corrupt; ids that outlive it
    store.py           the SQLite database
"""

from agent.outbox.identity import Statement
from agent.outbox.messages import Message
from agent.outbox.queue import Outbox
from agent.outbox.records import MessageKind

__all__ = ["Message", "MessageKind", "Outbox", "Statement"]
