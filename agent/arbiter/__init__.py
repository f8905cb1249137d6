"""The arbiter: the only way to an output. Every write is decided, carried out and recorded here.

Each actuator has a priority array of 16 entries; the lowest number wins (BACnet's command prioritization, ISO 16484-5).
Controls enter wishes, commands enter an override at priority 8 that always ends. The winner is written when the limits
allow it, and read back. A command is on flash before the output is written, and is never carried out twice.

    arbiter.py         takes wishes and commands, writes what wins, starts and stops
    commands.py        carries out one command, from its acceptance to the value read back
    authorization.py   which commands by MQTT are allowed, and the condition that a command carries
    admission.py       how many commands an origin may send, how long one is valid, how long its override lasts
    point_commands.py  commands on points that are no outputs (a latch, an alarm, a meter's index)
    actuator_table.py  the actuators of a site, by their names and their points; their status lines
    actuator.py        one output: what to write now, and when to decide again
    command_state.py   its command under way: waiting, being written, or left open by a crash
    priority_array.py  its sixteen priorities
    output_state.py    what was written and read, when it moved, and whether it does what was written
    limits.py          minimum times, starts per hour, longest run
    output_writer.py   writes and reads the outputs, and records each change
    actuator_store.py  persists and restores an actuator's state
    ledger.py          where commands and events become durable
    orphans.py         outputs that left the site file, until each is in its safe state
    removed_nodes.py   radio nodes that left the site file and stay on their bus until then
"""

from agent.arbiter.arbiter import Arbiter
from agent.arbiter.ledger import JoinedLedger, Ledger
from agent.core.actuator_spec import ActuatorSpec

__all__ = ["ActuatorSpec", "Arbiter", "JoinedLedger", "Ledger"]
