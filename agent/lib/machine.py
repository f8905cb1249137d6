"""Which machine this is: a state folder that wakes on another one must not go on with the numbers of the first.

The board's serial number decides where there is one (a Raspberry Pi's device tree). Else the addresses of network
adapters that are built in, of which one in common is enough: a driver may come late, and an adapter on USB may go.
Else /etc/machine-id, which is copied with a card's image and so tells clones apart only when it was made anew.
$BOCAGE_MACHINE names a machine that has none of these, such as a container. Only digests are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Machine"]

_ARPHRD_ETHER = "1"  # linux/if_arp.h: Ethernet and Wi-Fi
_PERMANENT = "0"  # linux/netdevice.h, NET_ADDR_PERM: not made up, not set by anybody


@dataclass(frozen=True, slots=True)
class Machine:
    """The identity of a machine, each part as a short digest; all empty where it has none."""

    serial: str = ""
    addresses: tuple[str, ...] = ()
    machine_id: str = ""

    @classmethod
    def present(cls, root: Path = Path("/")) -> Machine:
        """This machine, by what the kernel shows below `root`."""
        serial = os.environ.get("BOCAGE_MACHINE") or _line(root / "proc/device-tree/serial-number")
        return cls(
            _digest(serial.strip("0") and serial),
            tuple(sorted(_digest(address) for address in _built_in(root / "sys/class/net"))),
            _digest(_line(root / "etc/machine-id")),
        )

    @classmethod
    def parse(cls, text: Any) -> Machine:
        """Restore what `text` returned; all parts are empty for an empty text."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            found = json.loads(text)
            return cls(str(found["serial"]), tuple(map(str, found["addresses"])), str(found["machine_id"]))
        return cls()

    def text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def name(self) -> str:
        """The best that is known, "" if nothing is."""
        return self.serial or next(iter(self.addresses), "") or self.machine_id

    def is_other(self, known: Machine) -> bool:
        """Whether this is surely not the machine that was known before. What cannot be compared does not decide."""
        if self.serial and known.serial:
            return self.serial != known.serial
        if self.addresses and known.addresses:
            return not set(self.addresses) & set(known.addresses)
        return bool(self.machine_id and known.machine_id) and self.machine_id != known.machine_id

    def learn(self, known: Machine) -> Machine:
        """Return the parts that are known of this machine by now, where `known` is the same machine."""
        return Machine(
            known.serial or self.serial,
            tuple(sorted({*known.addresses, *self.addresses})),
            known.machine_id or self.machine_id,
        )


def _built_in(folder: Path) -> Iterator[str]:
    """Addresses of adapters that are on the board: real ones, their own, and not on USB."""
    with contextlib.suppress(OSError):
        for adapter in sorted(folder.iterdir()):
            device = adapter / "device"
            if not device.exists() or "/usb" in os.path.realpath(device):
                continue
            address = _line(adapter / "address")
            own = _line(adapter / "addr_assign_type") == _PERMANENT and _line(adapter / "type") == _ARPHRD_ETHER
            if own and address.strip("0:"):
                yield address


def _line(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes()[:200].decode("ascii", "replace").strip("\0 \n")
    return ""


def _digest(text: str) -> str:
    return hashlib.sha256(f"bocage {text}".encode()).hexdigest()[:16] if text else ""
