"""Report the state to systemd: sd_notify(3), without its library.

Outside a unit (no NOTIFY_SOCKET) everything here does nothing, so that the agent runs the same from a terminal.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier"]

log = logging.getLogger("bocage.notify")


class Notifier:
    """One datagram to the service manager for each thing worth saying.

    It never blocks and never raises: a manager that does not listen must not stop control, and WATCHDOG is sent
    several times in a period, so that the next datagram makes good for a lost one.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))

    def ready(self, status: str = "") -> None:
        """Start-up is over: units ordered after this one may start."""
        self._send("READY=1", status)

    def status(self, text: str) -> None:
        """The one line that `systemctl status` shows."""
        self._send("", text)

    def watchdog(self, status: str = "") -> None:
        """Proof of progress. To be sent only when every owner of a loop has shown its sign of life."""
        self._send("WATCHDOG=1", status)

    def stopping(self, status: str = "") -> None:
        """An orderly stop has begun."""
        self._send("STOPPING=1", status)

    def _send(self, state: str, status: str = "") -> None:
        if self._address is None:
            return
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))  # a line break would start another assignment
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning('service manager not told what=%s reason="%s" next=go on', state or "STATUS", error)


def _address(name: str) -> str | None:
    """NOTIFY_SOCKET as sendto(2) wants it; "@" at the front stands for the NUL of an abstract socket (unix(7))."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None
