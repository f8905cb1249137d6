"""Whether JavaScript codecs can be loaded at all: for `bocage check` and the reader of a site file, before one runs.

The same child as at work (worker.py) loads them, one after the other, and calls nothing in them.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from drivers.lora.codecs.result import CodecError

__all__ = ["ENGINE", "Fault", "faults", "start"]

ENGINE = "_quickjs"
_MISSING = (
    "JavaScript codecs need quickjs-ng, which is not installed: pip install 'bocage[js]' "
    "(there is no wheel for armv7l: write the payload as struct or tlv)"
)
_PATIENCE = 12.0
"""Seconds for the child's start, and for one answer: it ends itself long before."""


class Fault(NamedTuple):
    """Why a codec cannot be loaded. `line` and `column` count from 1; 1:1 where the place is unknown."""

    line: int
    column: int
    text: str


def start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The child, and the wire to it. CodecError if the engine is not installed.

    -I: neither the modules beside it nor the environment's take the place of the library's.
    """
    if importlib.util.find_spec(ENGINE) is None:
        raise CodecError(_MISSING)
    wire, theirs = socket.socketpair()
    command = [sys.executable, "-I", str(Path(__file__).with_name("worker.py"))]
    with theirs:
        child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env={}, cwd="/")
    return wire, child


def faults(files: Iterable[str]) -> Iterator[tuple[str, Fault]]:
    """The codecs among these that cannot be loaded, each with its error. CodecError if none can be looked at.

    One that never ends costs some seconds of processor time, so it is the last that is looked at.
    """
    wire, child = start()
    try:
        wire.settimeout(_PATIENCE)
        with wire, wire.makefile("rb") as answers:
            _check_ready(answers)
            for file in files:
                wire.sendall(json.dumps({"file": str(Path(file).absolute()), "call": "load"}).encode() + b"\n")
                answer = _answer(answers)
                if answer is None:
                    yield file, Fault(1, 1, "it does not come to an end while it is loaded, and was stopped")
                    return
                if "error" in answer:
                    line, column = answer.get("place") or (1, 1)
                    yield file, Fault(line, column, answer["error"])
    finally:
        child.kill()
        child.wait()


def _check_ready(answers: Any) -> None:
    ready = _answer(answers)
    if ready is None:
        raise CodecError("the process for JavaScript codecs does not start")
    if "error" in ready:
        raise CodecError(f"quickjs-ng cannot be loaded: {ready['error']}")


def _answer(answers: Any) -> Mapping[str, Any] | None:
    """None if the child has ended, or says nothing."""
    try:
        line = answers.readline()
    except OSError:
        return None
    return json.loads(line) if line.endswith(b"\n") else None
