"""The agent's Unix socket, by which the command line on the box talks to the running agent.

`<runtime-dir>/agent.sock` has mode 0600 in a folder of the agent's own. Each end checks the other's user: a client must
not take another user's socket for the agent. One JSON object a line each way: `{"do": "status"}` -> `{"ok": true, …}`
or `{"ok": false, "error": "…"}`. The client's user is known from SO_PEERCRED and is in the audit record of its
writes. A request that names another `"site"` than the agent's is not carried out: a command for a demo must not switch
a street lamp.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.errors import BocageError
from agent.runtime.folders import open_folder, user_name

__all__ = ["NoAgent", "NotStarted", "SocketClient", "SocketServer", "connect"]

log = logging.getLogger("bocage.local")

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes: the status document of the largest site is far below."""

_AMISS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""Errors that a malformed request causes in a handler."""
_SHOWN = 80
"""Bytes of a line that is no request, as the journal shows it."""

Handler = Callable[[Mapping[str, Any], str], Awaitable[Mapping[str, Any]]]
"""Answers a request of a user ("uid 1000 (marie)"). BocageError becomes the error of the answer."""


class NoAgent(BocageError):
    """No agent listens on the socket."""


class NotStarted(NoAgent):
    """No agent holds the folders: one can be started."""


class SocketServer:
    """Answers on the socket until it is closed. `site` is the id of the agent's site."""

    def __init__(self, folder: Path, handlers: Mapping[str, Handler], site: str = "") -> None:
        self.path = folder / "agent.sock"
        self._site = site
        self._handlers = handlers
        self._conversations: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve while the block runs. A socket left by a killed agent is replaced: the folder's lock is ours.

        Where there can be none, control goes on without it.
        """
        try:
            server = await self._open()
        except OSError as error:
            log.error('no commands from this box path=%s reason="%s" next=free the path and restart', self.path, error)
            yield
            return
        try:
            yield
        finally:
            server.close()
            self.path.unlink(missing_ok=True)
            for conversation in self._conversations:
                conversation.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _open(self) -> asyncio.Server:
        self.path.unlink(missing_ok=True)
        with _address(self.path) as address:
            server = await asyncio.start_unix_server(self._begin, address, limit=LONGEST_LINE)
        self.path.chmod(0o600)
        return server

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(self._serve(reader, writer))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = _peer(writer.get_extra_info("socket"))
        try:
            while line := await reader.readline():
                answer = await self._answer(line, who)
                writer.write(_line(answer))
                await writer.drain()
        except ValueError:  # a line without end
            log.warning('local client dropped by="%s" reason="a line longer than %d bytes"', who, LONGEST_LINE)
            with suppress(OSError):
                writer.write(_line(self._expected()))
                await writer.drain()
        except OSError as error:
            log.info('local client dropped by="%s" reason="%s"', who, error)
        finally:
            writer.close()

    async def _answer(self, line: bytes, who: str) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers.get(str(request.get("do"))) if isinstance(request, dict) else None
        except (ValueError, TypeError, RecursionError):
            handler = None
        if handler is None:
            begin = line[:_SHOWN].decode(errors="replace").strip()
            log.warning('local request refused by="%s" reason="no request: %s"', who, begin)
            return self._expected()
        if self._site and request.get("site", self._site) != self._site:
            return {"ok": False, "error": f"it runs the site {self._site}", "site": self._site}
        try:
            return {"ok": True, **await handler(request, who)}
        except BocageError as error:
            return {"ok": False, "error": str(error)}
        except _AMISS as error:  # a wrong request gets an answer, and the journal one line
            said = f'"{request["do"]}" could not be carried out ({type(error).__name__}: {error})'
            log.warning('local request refused by="%s" reason="%s"', who, said)
            return {"ok": False, "error": said}

    def _expected(self) -> Mapping[str, Any]:
        return {"ok": False, "error": f'expected one JSON object with "do": one of {", ".join(self._handlers)}'}


class _Answer(dict[str, Any]):
    """An object of an answer; what an agent of another version does not say is missed by its name."""

    def __missing__(self, key: str) -> Any:
        raise BocageError(f'the agent\'s answer has no "{key}": it is of another version; restart it')


class SocketClient:
    """One conversation with the running agent, about one site if it is named."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, site: str = "") -> None:
        self._reader, self._writer = reader, writer
        self._about = {"site": site} if site else {}

    async def request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask and wait for the answer.

        BocageError with the agent's words if it refuses, NoAgent if it went away or is another site's.
        """
        try:
            self._writer.write(json.dumps({**self._about, **request}).encode() + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        except OSError as error:
            raise NoAgent(f"the agent went away: {error}") from error
        except ValueError as error:  # a line without end
            raise NoAgent("what answers here is not the agent") from error
        if not line.endswith(b"\n"):
            raise NoAgent("the agent went away" + " in the middle of its answer" * bool(line))
        try:
            answer: dict[str, Any] = json.loads(line, object_hook=_Answer)
            is_ok = answer.pop("ok")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise NoAgent("what answers here is not the agent") from error
        if not is_ok:
            if self._about and "site" in answer:
                raise NoAgent(f"no agent runs the site {self._about['site']} here: {answer['error']}")
            raise BocageError(str(answer.get("error")))
        return answer


@asynccontextmanager
async def connect(folder: Path, site: str = "") -> AsyncIterator[SocketClient]:
    """A conversation with the agent whose runtime folder this is; NoAgent if there is none.

    With a site's id, an agent of another site answers nothing.
    """
    path = folder / "agent.sock"
    try:
        inside = open_folder(folder)
    except OSError as error:
        raise NotStarted(f"no agent is running here (no answer at {path})") from error
    try:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{inside}/{path.name}", limit=LONGEST_LINE)
        owner = os.fstat(inside).st_uid
    except PermissionError as error:
        raise BocageError(f"{path}: permission denied; only the agent's user and root may ask") from error
    except OSError as error:
        raise NotStarted(f"no agent is running here (no answer at {path})") from error
    finally:
        os.close(inside)
    try:
        peer = _peer_uid(writer.get_extra_info("socket"))
        if peer != owner:
            raise BocageError(f"{path}: {user_name(peer)} answers there, and the folder is {user_name(owner)}'s: "
                              "that is not the agent; nothing was asked")  # fmt: skip
        yield SocketClient(reader, writer, site)
    finally:
        writer.close()


def _line(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The socket's path as the kernel takes it: at most 107 bytes, so a longer one goes by way of its open folder."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _peer(connection: socket.socket) -> str:
    return user_name(_peer_uid(connection))


def _peer_uid(connection: socket.socket) -> int:
    """The user id of the other end, by the kernel (SO_PEERCRED: pid, uid, gid)."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
