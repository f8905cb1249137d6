"""A window over a page that may be longer than the screen, and the keys that move it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

__all__ = ["Page", "PageWindow", "live"]

Page = tuple[RenderableType, RenderableType]
"""The fixed lines and the scrolling lines."""

_PERIOD = 0.5  # seconds between two looks at the page
_ROOMY = 66  # columns, from which the last line says all
_KEY = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_UP, _DOWN, _BACK, _ON, _TOP, _END, _LEAVE = range(7)
_KEYS = {
    **dict.fromkeys((b"\x1b[A", b"\x1bOA", b"k", b"K"), _UP),
    **dict.fromkeys((b"\x1b[B", b"\x1bOB", b"j", b"J", b"\r", b"\n"), _DOWN),
    **dict.fromkeys((b"\x1b[5~", b"b"), _BACK),
    **dict.fromkeys((b"\x1b[6~", b" "), _ON),
    **dict.fromkeys((b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"g"), _TOP),
    **dict.fromkeys((b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"G"), _END),
    **dict.fromkeys((b"q", b"Q", b"\x04"), _LEAVE),
}


class PageWindow:
    """As much of a page as fits. At its end it stays there while the page grows."""

    def __init__(self, has_keys: bool = True) -> None:
        self._head: RenderableType = ""
        self._body: RenderableType = ""
        self._has_keys = has_keys
        self._top = 0
        self._last = 0  # the position of the window at the end
        self._step = 1  # lines that a page key moves

    def show(self, page: Page) -> None:
        self._head, self._body = page

    def press(self, typed: bytes) -> bool:
        """Move as the keys say that were typed. False if one of them ends the view."""
        keys = [_KEYS.get(key) for key in _KEY.findall(typed)]
        for key in keys:
            moves = {_UP: -1, _DOWN: 1, _BACK: -self._step, _ON: self._step, _TOP: -self._top, _END: self._last}
            self._top = min(self._last, max(0, self._top + moves.get(key, 0))) if key is not None else self._top
        return _LEAVE not in keys

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = options.reset_height()
        height = options.height or console.height
        head = console.render_lines(self._head, whole)[: max(1, (height - 1) // 2)]  # it leaves the rest its place
        body = console.render_lines(self._body, whole)
        room = max(1, height - len(head) - 1)
        is_at_end = 0 < self._last <= self._top
        self._last, self._step = max(0, len(body) - room), max(1, room - 1)
        self._top = self._last if is_at_end else min(self._top, self._last)
        inside = body[self._top : self._top + room]
        empty = [[Segment(" " * options.max_width)]] * (room - len(inside))
        for row in (*head, *inside, *empty):
            yield from row
            yield Segment.line()
        yield Text(self._where(len(body), len(inside), options.max_width), "reverse", no_wrap=True, overflow="crop")

    def _where(self, lines: int, inside: int, width: int) -> str:
        """The visible part, and the keys."""
        is_roomy = width >= _ROOMY
        leave = "q ends" if self._has_keys else "Ctrl-C ends"
        if not self._last:
            return f" {leave} ".ljust(width)
        part = f" {self._top + 1}-{self._top + inside} of {lines}"
        move = "  arrows, page keys, j and k scroll, " if is_roomy else "  arrows scroll, "
        return f"{part}{move if self._has_keys else '  '}{leave} ".ljust(width)


async def live(console: Console, look: Callable[[], Awaitable[Page | None]]) -> None:
    """Show the page that `look` returns, twice a second, until q is pressed or `look` raises."""
    over = asyncio.Event()
    window = PageWindow(sys.stdin.isatty())
    with Live(console=console, screen=True, auto_refresh=False) as screen:

        def pressed(typed: bytes) -> None:
            if not window.press(typed):
                over.set()
            screen.update(window, refresh=True)

        with _keys(pressed):
            while not over.is_set():
                if (page := await look()) is not None:
                    window.show(page)
                    screen.update(window, refresh=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PERIOD):
                        await over.wait()


@contextmanager
def _keys(pressed: Callable[[bytes], None]) -> Iterator[None]:
    """Give each key at once, and do not show it. Ctrl-C stays what it is. Without a keyboard there are none."""
    if not sys.stdin.isatty():
        yield
        return
    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if typed := os.read(keyboard, 1024):
            pressed(typed)
        else:  # hung up
            loop.remove_reader(keyboard)

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, read)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
