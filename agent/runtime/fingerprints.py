"""Whether a secret, a key or a certificate changed since something was started with it, without keeping what it is."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.lib.secret import Kept

__all__ = ["Fingerprints"]

_LARGEST = 1_000_000
"""Bytes of a file that is looked at: a bundle of authorities has 200 kB."""


class Fingerprints:
    """Keyed hashes of the secrets and files that settings name, kept in memory under a random key."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._fingerprints: dict[str, bytes] = {}
        self._files: dict[Path, bytes] = {}
        """Hashes of files as they were last read: one that is lost has not changed."""

    def changed(self, name: str, settings: Any) -> bool:
        """Whether what these settings point to is other than when this was last asked of `name`; not the first time.

        `settings` may be dataclasses, mappings and sequences, with secrets and paths somewhere in them.
        """
        fingerprint = self._fingerprint(settings)
        before, self._fingerprints[name] = self._fingerprints.get(name, fingerprint), fingerprint
        return before != fingerprint

    def _fingerprint(self, settings: Any) -> bytes:
        found = hmac.new(self._key, digestmod=hashlib.sha256)
        for content in self._contents(settings):
            found.update(len(content).to_bytes(8, "big") + content)
        return found.digest()

    def _contents(self, value: Any) -> Iterator[bytes]:
        """The contents of secrets and files, in the order of the settings. One that was never there has no content."""
        if value is None or isinstance(value, str | int | float):
            return  # nearly all of them
        if isinstance(value, Kept):
            try:
                yield value.reveal().encode()
            except ConfigError:
                yield b""
        elif isinstance(value, Path):
            yield self._file(value)
        elif isinstance(value, Mapping):
            for part in value.values():
                yield from self._contents(part)
        elif isinstance(value, list | tuple):
            for part in value:
                yield from self._contents(part)
        elif is_dataclass(value):
            for field in fields(value):
                yield from self._contents(getattr(value, field.name))

    def _file(self, path: Path) -> bytes:
        if content := _content(path):
            self._files[path] = hmac.digest(self._key, content, hashlib.sha256)
        return self._files.get(path, b"")


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError:
        return b""
