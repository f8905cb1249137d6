"""The only door to an actuator: every write, whoever asks, is decided and recorded here.

Each actuator has a priority array (1 to 16, the lowest number wins; BACnet's idea). Rules put wishes into it,
commands an override at priority 8 that always has an end. What wins is written when the limits allow it, and read
back. A command is on flash before the wire is written, and is never carried out twice.

    arbiter.py   the door: wishes in, what wins out, start and stop
    commands.py  the life of a command, from acceptance to what was read back (flood.py: too many)
    guard.py     before the door: which commands from afar are let in, and with what condition
    owned.py     an output as it can be written without the site file
    orphans.py   those that left the file, until each is safe
    desk.py      commands on what is no output (a latch, an alarm, an index)
    validity.py  how long a command is valid, and how long it holds
    roster.py    every actuator of a site, by any of its names
    actuator.py  one output: what is to be written now, and when to look again
    slots.py     its priority array: who wants what
    seen.py      what is known of it: written, read, when it moved, whether it does what it is told
    limits.py    minimum times, starts an hour, longest run
    spec.py      what the site file says of it
    hand.py      writes, reads, audits; knows no reasons
    record.py    what a restart must know
    ledger.py    where commands and events become durable
    status.py    a line an actuator, for people
"""

from agent.arbiter.arbiter import Arbiter
from agent.arbiter.commands import Desk
from agent.arbiter.ledger import Books, Ledger
from agent.core.actuator_spec import ActuatorSpec

__all__ = ["ActuatorSpec", "Arbiter", "Books", "Desk", "Ledger"]
