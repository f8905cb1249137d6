"""The kinds of faults by name, what each does, and in which worlds it is. Nothing of the agent is imported for it."""

from __future__ import annotations

__all__ = ["BOTH", "ONLY_AGENT", "ONLY_OUTBOX", "kinds"]

BOTH = {
    "kill": "the process is killed, and begins again after up to 30 s",
    "step_kill": "it is killed between two steps of its tasks, wherever they stand",
    "fuse": "it is killed, or loses power, in the middle of a change of the disk",
    "power_cut": "no power for 5 s to 10 min: what was not synced is lost or torn, in any subset",
    "restart": "an orderly stop and a start",
    "link_cut": "the connection to the broker is reset",
    "half_open": "the connection takes everything and answers nothing",
    "broker_away": "the broker does not answer, refuses or has no address, for up to hours",
    "refused": "a share of what is published is refused: quota, ACL or no reason",
    "unanswered": "the link is cut before or after a message is acknowledged",
    "door": "the broker refuses connections: banned, quota, ACL, unavailable",
    "taken_over": "another client came by our name, once",
    "twin": "a second box by our name: the two push each other off for a while",
    "forgets": "the broker begins anew without sessions and retained messages",
    "late_acks": "acknowledgements come up to 30 s late",
    "far": "each packet takes up to 8 s: a satellite, a line that is full",
    "disk_error": "writes give EIO",
    "disk_full": "writes give ENOSPC, at once or after some room",
    "disk_read_only": "writes give EROFS",
    "sync_fails": "fsync gives EIO; what was written before it may be lost for good",
    "disk_unreadable": "the database cannot be read, mostly while a process begins",
    "slow_disk": "what is given to a thread takes much longer",
    "clock_step": "the wall clock jumps, from 1 s to a day, and back later",
    "clock_unknown": "no boot knows the time until a time server is heard",
}
ONLY_AGENT = {
    "reload": "the site file is edited and read anew",
    "detours": "messages arrive up to 30 s after later ones of other topics",
    "counter_reset": "a counter begins anew: another meter, or one that was set to 0",
    "slave_silent": "a slave does not answer a share of the questions",
    "slave_late": "a share of its answers come after the time-out",
    "slave_noisy": "a share of its answers are garbled",
    "slave_excepts": "a share of its answers are exceptions",
    "slave_off": "a module, or whoever leads to it, has no power for a while",
    "slave_stuck": "outputs do not obey, though the write was acknowledged",
    "well_dry": "the well gives nothing for a while",
    "command": "the region writes to a fan or a lamp, or to what it may not",
    "technician": "somebody writes, releases and reads at the agent's socket",
    "light_command": "the region lights a street, or all",
    "pin_command": "the region opens or closes the valve at the pins",
    "radio_command": "the region writes to a radio node",
    "air_lost": "radio frames are lost",
    "gateway_network": "datagrams of the radio gateway are lost, late or repeated",
    "gateway_off": "the radio gateway has no power for a while",
    "node_restart": "a radio node begins anew, with a new join",
    "replay": "somebody sends an old radio frame again",
}
ONLY_OUTBOX = {
    "run_full": "the memory disk of the stage has no room",
    "outage": "no broker for a day, in the mean",
    "flash_dead": "the flash cannot be written for an hour, in the mean, while much comes in",
    "burst": "some thousand readings at once",
    "storm": "up to sixty records at once, often while the link breaks",
    "copy": "somebody makes a copy of the state folder",
    "put_back": "the last copy is put in the place of the state folder",
    "old_card": "a copy of the state folder is made, and put back within the hour, twice",
    "moved": "the card goes into another box",
}


def kinds(world: str) -> dict[str, str]:
    """Those of a world."""
    return BOTH | (ONLY_OUTBOX if world == "outbox" else ONLY_AGENT)
