"""JavaScript codecs as makers publish them, run in one child process for the whole agent (see worker.py)."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivers.lora.codecs.downlink import Declared
from drivers.lora.codecs.look import start
from drivers.lora.codecs.result import CodecError, Decoded

__all__ = ["JavaScript", "run"]

log = logging.getLogger("bocage.codec")

_START = 30.0
"""Seconds for the child to start; a Pi Zero under load needs some. No payload waits for it to no purpose."""
_TS013 = {"data", "errors", "warnings"}
_LATE = "stopped after 500 ms of processor time, or 2 s to load it"
_LAST = 1.0
"""Seconds from the end of its socket to its own; in truth a millisecond."""
_PATIENCE = 60.0
"""Seconds until an answer is given up. The child ends itself after some seconds of processor time; on a machine that
has none to give, that takes long, and the payload is not lost."""


class JavaScript(Declared):
    """A codec file, read anew for each payload. In a running agent it is the copy that was applied last
    (`codec_kept`), so that a reload brings a better one, and an edited one that is wrong harms nothing.

    Where the profile has `downlink` records, they write, and not the codec.
    """

    def __init__(self, lora: Mapping[str, Any], variables: Mapping[str, str | float] | None = None) -> None:
        super().__init__(lora)
        self._variables = dict(variables or {})
        self._home: str = lora["codec"]
        self._kept: str | None = lora.get("codec_kept")

    @property
    def _file(self) -> str:
        """Where it is now. The copy is not there while the disk refuses it."""
        return self._kept if self._kept is not None and Path(self._kept).is_file() else self._home

    async def decode(self, payload: bytes, fport: int, received_ms: int | None) -> Decoded:
        foreign = self._foreign(fport)
        if foreign is not None:
            return foreign
        asked = {"bytes": list(payload), "fport": fport, "time": received_ms, "variables": self._variables}
        standard, found = await run(self._file, "decode", **asked)
        if not standard:
            found = {"data": found}
        data, warnings = self._result(found).get("data"), found.get("warnings")
        if not isinstance(data, dict):
            raise self._error(f"returned no data{_but(data)}")
        return Decoded(data, _texts(warnings))

    async def encode(self, data: Mapping[str, Any], fport: int | None) -> tuple[int, bytes]:
        if self._downlinks:
            return await super().encode(data, fport)
        port = fport or self._fport
        standard, found = await run(self._file, "encode", data=data, fport=port, variables=self._variables)
        if not standard:
            found = {"bytes": found}
        payload, own = self._result(found).get("bytes"), found.get("fPort")
        if not isinstance(payload, list) or not payload or not all(_whole(byte, 0, 255) for byte in payload):
            raise self._error(f"returned no bytes{_but(payload)}")
        port = port if own is None else own
        if port is None or not _whole(port, 1, 223):
            raise self._error("gives no fPort of 1 to 223; name one: --fport, or lora.fport of the profile")
        return int(port), bytes(int(byte) for byte in payload)

    def _result(self, found: Any) -> Mapping[str, Any]:
        if not isinstance(found, dict):
            raise self._error(f"returned no object{_but(found)}")
        errors = _texts(found.get("errors"))
        if errors:
            raise self._error("; ".join(errors))
        return found

    def _error(self, why: str) -> CodecError:
        return CodecError(f"{Path(self._file).name}: {why}")


def _request(file: str, call: str, asked: Mapping[str, Any]) -> bytes:
    """One line for the child, which works in another folder than we do."""
    return json.dumps({"file": str(Path(file).absolute()), "call": call, **asked}).encode() + b"\n"


async def run(file: str, call: str, **asked: Any) -> tuple[bool, Any]:
    """Call a codec ("decode", "encode") and give its whole return value, and whether that has the form of TS013."""
    answer = await _child().ask(_request(file, call, asked))
    if "error" in answer:
        raise CodecError(f"{Path(file).name}: {answer['error']}")
    try:
        standard, value = json.loads(answer["value"])
    except (ValueError, TypeError, RecursionError):
        raise CodecError(f"{Path(file).name}: returned what cannot be read, or is nested too deeply") from None
    if call == "decode" and isinstance(value, dict) and value and not _TS013 & value.keys():
        standard = False  # makers also give the data as it is
    return standard, value


class _Child:
    """The child process: started when it is wanted, ended when it is late, and started again for the next payload."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: socket.socket | None = None

    async def ask(self, request: bytes) -> dict[str, Any]:
        async with self._turn:
            try:
                wire = self._wire or await self._start()
                async with asyncio.timeout(_PATIENCE):
                    await self.loop.sock_sendall(wire, request)
                    return await self._line(wire)
            except TimeoutError:
                self.close()
                return {"error": "stopped: no answer"}
            except ConnectionError:
                return {"error": self._ended()}
            except BaseException:  # cancelled: its answer must not be taken for the next one's
                self.close()
                raise

    async def _start(self) -> socket.socket:
        wire = self._spawn()
        try:
            async with asyncio.timeout(_START):
                ready = await self._line(wire)
        except (TimeoutError, ConnectionError):
            raise CodecError(f"the process for JavaScript codecs does not start: {self._ended()}") from None
        if "error" in ready:
            raise CodecError(f"quickjs-ng cannot be loaded: {ready['error']}")
        return wire

    def _spawn(self) -> socket.socket:
        wire, self._process = start()
        wire.setblocking(False)
        self._wire = wire
        log.info("codec process started pid=%d", self._process.pid)
        return wire

    async def _line(self, wire: socket.socket) -> dict[str, Any]:
        line = bytearray()
        while not line.endswith(b"\n"):
            part = await self.loop.sock_recv(wire, 1 << 16)
            if not part:
                raise ConnectionResetError
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> str:
        """Why the process ended by itself; or it is ended now."""
        process = self._process
        try:
            code = process.wait(_LAST) if process is not None else 0
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        self.close()
        log.warning("codec process ended code=%d next=started again for the next payload", code)
        return _LATE if code == -signal.SIGPROF else f"the codec process ended with {code}"

    def close(self) -> None:
        """End the process, whatever it does."""
        process, wire = self._process, self._wire
        self._process = self._wire = None
        if wire is not None:
            wire.close()
        if process is not None:
            process.kill()
            process.wait()


_shared: _Child | None = None


def _child() -> _Child:
    """The one child, of the loop that runs now."""
    global _shared
    loop = asyncio.get_running_loop()
    if _shared is None or _shared.loop is not loop:
        if _shared is not None:
            _shared.close()
        _shared = _Child(loop)
    return _shared


def _whole(value: Any, low: int, high: int) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high and value == int(value)


def _texts(value: Any) -> tuple[str, ...]:
    """`errors` or `warnings` as texts; makers also write one text, or an object."""
    if not value:
        return ()
    return tuple(_text(item) for item in (value if isinstance(value, list) else [value]))


def _text(item: Any) -> str:
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def _but(value: Any) -> str:
    return "" if value is None else f", but {json.dumps(value, ensure_ascii=False)[:60]}"
