"""Memory in large pages: a life touches so much of it that finding its pages of 4 KB takes a good part of the time."""

from __future__ import annotations

import ctypes
from pathlib import Path

__all__ = ["collapse"]

COLLAPSE = 25
"""MADV_COLLAPSE of madvise(2), since Linux 6.1."""
_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def collapse() -> None:
    """What this process has in memory lies in pages of 2 MB from now on, where the kernel can; else nothing changes.

    A fork has it to do for itself: where it writes into a large page that it shares, the kernel makes small ones of it.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, _, _, inode, *_ = line.split()
        if rights == "rw-p" and inode == "0":
            begin, end = (int(one, 16) for one in span.split("-"))
            _madvise(begin, end - begin, COLLAPSE)
