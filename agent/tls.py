"""How a link is made with TLS, from files that may change, or be lost, while the agent runs."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from agent.regular import open_regular

__all__ = ["client_context"]

log = logging.getLogger("bocage.tls")

_last: dict[tuple[Path | None, Path | None, Path | None], ssl.SSLContext] = {}
"""Those that were made last, by their files."""


def client_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """What these files say now; while they cannot be used, what they said last.

    `ca` None: the system's authorities. OSError if they cannot be used and never could, since the agent started.
    """
    files = ca, cert, key
    try:
        for path in filter(None, files):
            os.close(open_regular(path))  # OpenSSL would wait for a pipe
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None:
            context.load_cert_chain(cert, key, password=lambda: "")  # "": nobody is there to be asked for one
    except OSError as error:
        if files not in _last:
            raise
        log.warning("certificate unusable reason=%r next=the one before is used", str(error))
        return _last[files]
    _last[files] = context
    return context
