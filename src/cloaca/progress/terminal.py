"""Terminal: a display on the last lines of the terminal, below what is printed meanwhile."""

import os
import sys
from contextlib import suppress
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, TextIO, cast

import psutil

from cloaca.progress.above import Above
from cloaca.progress.handlers import redirect
from cloaca.progress.hold import Hold
from cloaca.progress.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from cloaca.progress.drawing import Scene

_SHORT = 0.9
"""Which part of the machine's memory has to be taken for it to be told."""

_LINES_OF_ONE = 4
_STREAMS = ("stdout", "stderr")
_REDRAW_SECONDS = 1.0
"""How often it is drawn though nothing has changed: something else may have written over it."""


class Terminal:
    """Draws on standard error. What the program and its tasks print on the terminal meanwhile stands above.

    It stands in for the streams from the beginning, as what is printed past the display would move it; what draws is
    loaded with the first display. All that is written goes by one lock: `rich` finds out where the display begins, and
    writes, in two steps.

    Raises `BlockingIOError` where another program draws on this terminal.
    """

    interval = 0.25

    def __init__(self) -> None:
        self._file = sys.stderr
        self._lock = RLock()
        self._console: Console | None = None
        self._live: Live | None = None
        self._drawn: object = None
        self._next = 0.0
        self._memory = ""
        self._above: dict[str, Above] = {}
        streams: dict[str, TextIO | None] = {name: getattr(sys, name) for name in _STREAMS}
        shared = {name: stream for name, stream in streams.items() if stream is not None and leads_to_terminal(stream)}
        for stream in shared.values():
            stream.flush()
        self._hold = Hold(self._file)
        _begin_line(self._file)
        for name, stream in shared.items():
            self._above[name] = Above(stream, self._print)
            setattr(sys, name, self._above[name])
            redirect(stream, self._above[name])

    def show(self, under_way: list[Progress]) -> None:
        """So far are those that are under way."""
        if not under_way:
            self._take_away()
            return
        from cloaca.progress.drawing import scene

        with self._lock:
            size = self._opened().size
            most = max(1, size.height // _LINES_OF_ONE - 1)
            unfinished = [one.rest.rstrip("\r") for one in self._above.values() if one.rest]
            is_due = monotonic() > self._next
            self._memory = memory() if is_due else self._memory
            told = size, unfinished, scene(under_way, self._memory, most)
            if told != self._drawn or is_due:
                self._draw(*told[1:])
                self._drawn = told
            if is_due:
                self._next = monotonic() + _REDRAW_SECONDS

    def _draw(self, unfinished: list[str], shown: "Scene") -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        from cloaca.progress.drawing import drawn

        if self._live is None:
            self._live = Live(
                console=self._opened(),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(Group(*map(Text.from_ansi, unfinished), drawn(shown)), refresh=True)

    def leave(self, progress: Progress) -> None:
        """This one has ended: a line of it stays."""
        from cloaca.progress.drawing import ended

        with self._lock:
            self._opened().print(ended(progress))

    def close(self) -> None:
        """Take the display away, and give the program's streams back."""
        self._take_away()
        for name, above in self._above.items():
            stream = above.give_up()
            redirect(cast("TextIO", above), stream)
            if getattr(sys, name) is above:  # the program may have put another one in its place
                setattr(sys, name, stream)
        self._above = {}
        self._hold.let_go()

    def _opened(self) -> "Console":
        from rich.console import Console

        self._console = self._console or Console(file=self._file)
        return self._console

    def _take_away(self) -> None:
        with self._lock:
            live, self._live, self._drawn = self._live, None, None
            if live is not None:
                live.stop()

    def _print(self, lines: str) -> None:
        with self._lock:
            if self._console is None:
                self._file.write(lines + "\n")
                self._file.flush()
                return
            from rich.text import Text

            self._console.print(Text.from_ansi(lines), soft_wrap=True)


def leads_to_terminal(stream: TextIO) -> bool:
    """Whether it does; one that is closed doesn't."""
    with suppress(ValueError):
        return stream.isatty()
    return False


def memory() -> str:
    """What there is to say of the machine's memory: nothing, as long as there is some."""
    found = psutil.virtual_memory()
    if found.available > (1 - _SHORT) * found.total:
        return ""
    return f"memory is short: {found.available / 1e9:.1f} of {found.total / 1e9:.0f} GB left"


def _begin_line(stream: TextIO) -> None:
    """What is drawn begins on a line of its own, wherever the cursor is.

    As many blanks as a line has lead to the next one, but from the very beginning of one.
    """
    with suppress(OSError, ValueError):  # it has no file, or that no size
        stream.write(" " * os.get_terminal_size(stream.fileno()).columns + "\r")
        stream.flush()
