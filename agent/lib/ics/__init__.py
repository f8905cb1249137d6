"""Read iCalendars in a child process (worker.py): what comes from another's pen or server stays out of the agent.

The answer is when the events are, and nothing else of them.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import BocageError

__all__ = ["IcsError", "IcsRequest", "fetch", "read"]

LARGEST = 1_000_000
"""Bytes of a calendar (worker.BYTES)."""
_PATIENCE = 90.0
"""Seconds for an answer. The child ends itself after 10 s of processor time; servers and slow machines take longer."""
_PASSED = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
"""The variables of our environment that the child gets."""
_NEEDED = ("icalendar", "recurring_ical_events")


class IcsError(BocageError):
    """The calendar cannot be used. `line` counts from 1; 0 where it is of no line."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


class IcsRequest(NamedTuple):
    """The occurrences from `since` to `until` (Unix s) of a calendar in `timezone`: its `content`, or an address."""

    timezone: str
    since: int
    until: int
    content: bytes | None = None
    url: str | None = None

    def encoded(self) -> bytes:
        asked = {"timezone": self.timezone, "since": self.since, "until": self.until}
        if self.url is not None:
            return json.dumps({**asked, "url": self.url}).encode()
        return json.dumps({**asked, "content": base64.b64encode(self.content or b"").decode()}).encode()


def read(request: IcsRequest) -> list[tuple[int, int]]:
    """Begin and end (Unix s) of each occurrence. IcsError if the calendar is wrong or cannot be read."""
    _check_libraries()
    try:
        done = subprocess.run(
            _command(), input=request.encoded(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=_environment(), cwd="/", timeout=_PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise IcsError(_LATE) from None
    return _answer(done.returncode, done.stdout)


async def fetch(request: IcsRequest) -> list[tuple[int, int]]:
    """The same without blocking; the child ends with its caller."""
    _check_libraries()
    child = await asyncio.create_subprocess_exec(
        *_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=_environment(), cwd="/",
    )  # fmt: skip
    try:
        async with asyncio.timeout(_PATIENCE):
            answer, _ = await child.communicate(request.encoded())
    except TimeoutError:
        raise IcsError(_LATE) from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return _answer(child.returncode or 0, answer)


_LATE = f"it was not read within {_PATIENCE:.0f} s"


def _check_libraries() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise IcsError(f"iCalendars need {' and '.join(missing)}, which is not installed: pip install bocage again")


def _command() -> list[str]:
    """-I: neither the modules beside it nor the environment's take the place of the library's."""
    return [sys.executable, "-I", str(Path(__file__).with_name("worker.py"))]


def _environment() -> Mapping[str, str]:
    return {name: os.environ[name] for name in _PASSED if name in os.environ}


def _answer(code: int, text: bytes) -> list[tuple[int, int]]:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):  # the second one where the first was caught in a destructor
        raise IcsError("it takes more than 10 s of processor time")
    try:
        found: dict[str, Any] = json.loads(text)
        if "error" in found:
            raise IcsError(str(found["error"]), int(found["line"]))
        return [(int(begin), int(end)) for begin, end in found["spans"]]
    except (ValueError, KeyError, TypeError):
        raise IcsError(f"its reader ended with {code}") from None
