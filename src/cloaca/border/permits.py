"""Permits: who may have a queued attempt: its worker, to start it, or the coordinator, to recall it for an idle one.

A byte in a pipe for each attempt that a worker has queued behind another one, or each item of an attempt that has
several, and the kernel sees to it that nobody else gets the same one. The worker takes them from the front of its
queue, the coordinator from its end: so how many bytes it got tells which ones it has. Nothing runs twice, and neither
side ever waits for the other.

A permit is for nothing in particular. So a worker from which some were recalled is given nothing more until it has
said that it knows: a new permit would let it start one that was recalled.
"""

import os
from itertools import repeat


class Permits:
    """The coordinator's end of the pipe; `reader` is what the worker inherits."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)

    def issue(self, count: int) -> None:
        """Let the worker start so many more. Before it hears of them: it takes one without a permit for recalled."""
        if count > 0:
            os.write(self._writer, b"." * count)

    def recall(self, count: int) -> int:
        """Take back up to `count`; returns how many were still there."""
        try:
            return len(os.read(self.reader, count))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._writer)


class Permit:
    """The worker's side: which attempt it may start. What is taken from the pipe is kept, whatever interrupts that."""

    def __init__(self, reader: int) -> None:
        self._has: tuple[int, int] | None = None
        self._taken: list[bytes] = []
        self._take = map(self._taken.append, map(os.read, repeat(reader), repeat(1))).__next__

    def give(self, attempt: int) -> None:
        """That attempt needs none from the pipe, nor does its first item, where it has several."""
        self._has = attempt, 0

    def is_for(self, attempt: int, item: int = 0) -> bool:
        """Whether the attempt, which is the first in the worker's queue, may be started, or its next item.

        If not, it was recalled.
        """
        wanted = attempt, item
        if wanted == self._has:
            return True
        taken = self._taken
        if not taken:
            try:
                self._take()
            except BlockingIOError:
                return False
        is_one = taken[0]  # else the pipe has come to its end
        if is_one:
            self._has = wanted  # no call stands between this and what follows
        del taken[0]
        return bool(is_one)
