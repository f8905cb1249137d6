"""Our own network server: who can reach its port, and which keys go together."""

from __future__ import annotations

import ipaddress
import re
import shlex

from agent.lib.files import read_regular
from agent.lib.secret import Kept
from agent.site.checks.names import Checked
from agent.site.models.buses import Gwmp

__all__ = ["check_gwmp"]

_KEY = re.compile("[0-9a-fA-F]{32}")


def check_gwmp(at: Checked, name: str) -> None:
    """The protocol has no passwords: a port that others can reach needs the list of the gateways."""
    bus = at.site.buses[name]
    if not isinstance(bus, Gwmp):
        return
    if not bus.gateways and not _is_loopback(bus.listen.rpartition(":")[0]) and not at.wrong("buses", name, "gateways"):
        text = f"{bus.listen} can be reached from other machines, and the protocol has no passwords"
        at.error(("buses", name, "listen"), text, 'write the EUIs that may speak: gateways: ["0102030405060708"]')
    first = next(one for one, other in at.site.buses.items() if isinstance(other, Gwmp) and other.listen == bus.listen)
    if first != name:
        text = f"{bus.listen} is already used by bus {first} (line {at.line('buses', first)})"
        at.error(("buses", name, "listen"), text)
    for device, settings in at.site.devices.items():
        if settings.bus == name and settings.dev_addr is None and settings.skip_fcnt_check:
            text = "skip_fcnt_check is for a device by ABP; one that joins begins at 0 by itself"
            at.error(("devices", device, "skip_fcnt_check"), text, None, True)
        if settings.bus == name and (delay := settings.rx1_delay) and (delay % 1 or delay > 15):
            at.error(("devices", device, "rx1_delay"), "LoRaWAN knows 1s to 15s, whole seconds")
        if settings.bus == name:
            for key in ("app_key", "nwk_s_key", "app_s_key"):
                if (secret := getattr(settings, key)) is not None and secret.source == "file":
                    _check_key(at, ("devices", device, key), secret)


def _check_key(at: Checked, keys: tuple[str, ...], secret: Kept) -> None:
    """A file that is there already is looked at; what is in it is never shown."""
    try:
        path = secret.folder / secret.name
        text, mode = read_regular(path, 65_536).decode("utf-8-sig"), path.stat().st_mode
    except (OSError, UnicodeDecodeError):
        return  # it may come later
    text = re.sub("[ :]", "", text.strip())
    if not _KEY.fullmatch(text):
        at.warn(keys, f"{secret} has no AES-128 key in it", f"32 hexadecimal digits, not {len(text)} characters")
    if mode & 0o007:
        at.warn(keys, f"{secret} can be read by every user of this machine", shlex.join(["chmod", "600", str(path)]))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
