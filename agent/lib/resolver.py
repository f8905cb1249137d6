"""Look up host names in threads of their own.

A resolver that does not answer holds a thread for as long as it likes: half a minute for each name. In asyncio's shared
pool, ten dead names would delay every write to the flash, and the end of the program. So each look-up has a thread of
its own that is not joined at the end; a name has no more than one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

__all__ = ["addresses", "in_thread"]

_MOST = 64
"""Look-ups under way at once: a site has fewer hosts with names than that."""
_GOOD_FOR = 30.0
"""Seconds for which an answer is used, so that one that came too late for its caller is not lost."""

T = TypeVar("T")
Key = tuple[str, int]

_under_way: dict[Key, Future[list[str]]] = {}
_found: dict[Key, tuple[float, list[str]]] = {}


async def addresses(host: str, port: int) -> list[str]:
    """The IP addresses of `host`, the one to be tried first at the front. OSError if it has none."""
    if _is_address(host):
        return [host]
    key = host, port
    at, known = _found.get(key, (0.0, []))
    if known and time.monotonic() - at < _GOOD_FOR:
        return known
    look = _under_way.get(key)
    if look is None:
        if len(_under_way) >= _MOST:
            raise OSError(f"the look-ups of {_MOST} other names have no answer yet")
        look = _under_way[key] = in_thread(partial(_look_up, key), f"name {host}")
        look.add_done_callback(lambda _: _under_way.pop(key, None))
    return await asyncio.wrap_future(look)


def in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Do `work` in a daemon thread of its own: it holds up neither the loop, nor others, nor the end of the program."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # from now on one cancelled caller does not cancel it for the others

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001, the waiting callers get it
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


def _look_up(key: Key) -> list[str]:
    try:
        found = [str(address[0]) for *_, address in socket.getaddrinfo(*key, type=socket.SOCK_STREAM)]
    except UnicodeError as error:  # two dots in a row, or more than 63 characters between them
        raise OSError(f"invalid host name: {key[0]}") from error
    if not found:
        raise OSError(f"the name {key[0]} has no address")
    _found[key] = time.monotonic(), list(dict.fromkeys(found))
    return _found[key][1]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
