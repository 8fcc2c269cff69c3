"""Plain: a line now and then, where the output is no terminal: in a file, a pipe, or the log of a batch system."""

import sys
from time import monotonic

from cloaca.progress.progress import Progress
from cloaca.progress.words import told

_FIRST_SECONDS = 2.0
_MOST_SECONDS = 60.0


class Plain:
    """Lines on standard error, the first after two seconds, and then ever more rarely: up to one a minute."""

    interval = 0.5

    def __init__(self) -> None:
        self._pause = _FIRST_SECONDS
        self._next = monotonic() + self._pause

    def show(self, under_way: list[Progress]) -> None:
        """So far are those that are under way."""
        if not under_way or monotonic() < self._next:
            return
        for progress in under_way:
            _write(told(progress))
        self._pause = min(_MOST_SECONDS, self._pause * 1.5)
        self._next = monotonic() + self._pause

    def leave(self, progress: Progress) -> None:
        """This one has ended."""
        _write(told(progress))

    def close(self) -> None:
        """There is nothing to be put in order."""


def _write(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
