"""Terminal: a display on the last lines of the terminal, below what is printed meanwhile."""

import sys
from threading import RLock
from typing import TYPE_CHECKING, TextIO, cast

import psutil

from cloaca.progress.above import Above
from cloaca.progress.handlers import redirect
from cloaca.progress.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_SHORT = 0.9
"""Which part of the machine's memory has to be taken for it to be told."""

_LINES_OF_ONE = 4
_STREAMS = ("stdout", "stderr")


class Terminal:
    """Draws on standard error. What the program and its tasks print on the terminal meanwhile stands above.

    It stands in for the streams from the beginning, as what is printed past the display would move it; what draws is
    loaded with the first display. All that is written goes by one lock: `rich` finds out where the display begins, and
    writes, in two steps.
    """

    interval = 0.2

    def __init__(self) -> None:
        self._file = sys.stderr
        self._lock = RLock()
        self._console: Console | None = None
        self._live: Live | None = None
        self._above: dict[str, Above] = {}
        for name in _STREAMS:
            stream: TextIO | None = getattr(sys, name)
            if stream is not None and stream.isatty():
                self._above[name] = Above(stream, self._print)
                setattr(sys, name, self._above[name])
                redirect(stream, self._above[name])

    def show(self, under_way: list[Progress]) -> None:
        """So far are those that are under way."""
        if not under_way:
            self._take_away()
            return
        from rich.console import Console, Group
        from rich.live import Live
        from rich.text import Text

        from cloaca.progress.drawing import drawn

        with self._lock:
            if self._console is None:
                self._console = Console(file=self._file)
            if self._live is None:
                self._live = Live(
                    console=self._console,
                    auto_refresh=False,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()
            most = max(1, self._console.height // _LINES_OF_ONE - 1)
            unfinished = [Text.from_ansi(one.rest.rstrip("\r")) for one in self._above.values() if one.rest]
            self._live.update(Group(*unfinished, drawn(under_way, memory(), most)), refresh=True)

    def leave(self, progress: Progress) -> None:
        """This one has ended: a line of it stays."""
        from rich.console import Console

        from cloaca.progress.drawing import ended

        with self._lock:
            self._console = self._console or Console(file=self._file)
            self._console.print(ended(progress))

    def close(self) -> None:
        """Take the display away, and give the program's streams back."""
        self._take_away()
        for name, above in self._above.items():
            stream = above.give_up()
            redirect(cast("TextIO", above), stream)
            if getattr(sys, name) is above:  # the program may have put another one in its place
                setattr(sys, name, stream)
        self._above = {}

    def _take_away(self) -> None:
        with self._lock:
            live, self._live = self._live, None
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


def memory() -> str:
    """What there is to say of the machine's memory: nothing, as long as there is some."""
    found = psutil.virtual_memory()
    if found.available > (1 - _SHORT) * found.total:
        return ""
    return f"memory is short: {found.available / 1e9:.1f} of {found.total / 1e9:.0f} GB left"
