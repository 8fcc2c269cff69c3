"""Above: what is printed while a display is shown stands above it, line by line.

A line that isn't at its end yet, as that of a progress bar, can't stand there, as it is to be gone on with: the display
shows it as its own first line until then.
"""

from collections.abc import Callable
from threading import RLock
from typing import Any, TextIO

_TO_THE_END = "\x1b[K"


class Above:
    """Stands for one of the program's streams. `show` prints whole lines above the display, and `rest` is what is left.

    When it is given up, whoever still has it writes to the stream itself.
    """

    def __init__(self, stream: TextIO, show: Callable[[str], None]) -> None:
        self._stream = stream
        self._show: Callable[[str], None] | None = show
        self._lock = RLock()
        self.rest = ""

    def write(self, text: str) -> int:
        """Print what is whole of it, and keep the rest."""
        with self._lock:
            show = self._show
            if show is None:
                return self._stream.write(text)
            *lines, rest = (self.rest + text).split("\n")
            self.rest = _kept(rest)
            if lines:
                show("\n".join(map(seen, lines)))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """As those of a file do."""
        self.write("".join(lines))

    def flush(self) -> None:
        """All that is whole has been shown."""
        if self._show is None:
            self._stream.flush()

    def give_up(self) -> TextIO:
        """The display is gone: what is left goes to the stream, which is returned."""
        with self._lock:
            self._show = None
            rest, self.rest = self.rest, ""
            if rest:
                self._stream.write(rest)
                self._stream.flush()
        return self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def seen(line: str) -> str:
    r"""What a terminal shows of a line in which a bar has gone back to its begin, again and again.

    >>> seen("50%|##  |\r100%|####|"), seen("50%\r   \r"), seen("plain")
    ('100%|####|', '', 'plain')
    """
    first, *parts = [part for part in line.replace(_TO_THE_END, "").split("\r") if part] or [""]
    return first if not parts else parts[-1] if parts[-1].strip() else ""


def _kept(rest: str) -> str:
    """What is left of an unfinished line: what is seen of it; and that it is to be written over, if it is."""
    return seen(rest) + ("\r" if rest.endswith("\r") else "")
