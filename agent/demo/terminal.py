"""A pseudo-terminal under a name of its own: what the demo's devices have in place of a serial port."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["terminal"]


@contextmanager
def terminal(link: Path, readable: Callable[[], None]) -> Iterator[int]:
    """Return the far end, non-blocking; `readable` is called when the near end, which `link` leads to, has written.

    The near end stays open here too, so that a program may open and close it.
    """
    loop = asyncio.get_running_loop()
    far, near = pty.openpty()
    tty.setraw(near)
    os.set_blocking(far, False)
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(near))
    loop.add_reader(far, readable)
    try:
        yield far
    finally:
        loop.remove_reader(far)
        os.close(far)
        os.close(near)
        link.unlink(missing_ok=True)
