"""Secrets, certificates and keys that a site file refers to, and whether they can be read."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agent.errors import ConfigError, Problem
from agent.lib.secret import Kept, is_withdrawn

__all__ = ["Authorities", "Chain", "SecretReference"]


_AES_KEY = re.compile("[0-9a-fA-F]{32}")


class Authorities(NamedTuple):
    """A file of the trusted certificates."""

    ca: Path


class Chain(NamedTuple):
    """The gateway's own certificate and its private key."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class SecretReference:
    """One of them, and where the site file names it. `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    what: Kept | Authorities | Chain
    is_key: bool = False
    """Whether it is an AES-128 key of a radio node."""

    def problem(self, elsewhere: bool = False) -> Problem | None:
        """The obstacle to its use, as a warning: it may come later. None if nothing does.

        `elsewhere`: it is for a unit of systemd, which has an environment and credentials that we do not have. What is
        in a key's file was looked at with the site file then.
        """
        if not isinstance(self.what, Kept):
            why = _of_files(self.what)
        elif elsewhere and self.what.is_of_unit:
            return None
        else:
            why = _of_secret(self.what, self.is_key and not elsewhere)
        return None if why is None else Problem(self.file, self.line, self.column, "warning", why)


def _of_secret(secret: Kept, is_key: bool) -> str | None:
    try:
        text = secret.read()
    except ConfigError as error:
        return str(error)
    if is_key and not _AES_KEY.fullmatch(re.sub("[ :]", "", text.strip())):
        return f"{secret} has no AES-128 key in it; write 32 hexadecimal digits"
    if is_withdrawn(secret):
        return f"the credential {secret.name} was not handed over at this reload; the one before is used"
    return None


def _of_files(files: Authorities | Chain) -> str | None:
    """Read as TLS reads them: what is no certificate, and a key of another one, is found here too."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in files:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                return f"{path} is no file"
            path.open("rb").close()
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    try:
        if isinstance(files, Authorities):
            context.load_verify_locations(files.ca)
        else:
            context.load_cert_chain(files.cert, files.key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        names = " and ".join(map(str, files))
        return f"{names} cannot be used: {getattr(error, 'reason', None) or error}".replace("_", " ")
    return None
