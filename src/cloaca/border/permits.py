"""Permits: who may have a queued attempt: its worker, to start it, or the coordinator, to recall it for an idle one.

A byte in a pipe for each attempt that a worker has queued behind another one, or each item of an attempt that has
several, and the kernel sees to it that nobody else gets the same one. The worker takes them from the front of its
queue, the coordinator from its end: so how many bytes it got tells which ones it has. Nothing runs twice, and neither
side ever waits for the other.

Where items are short, a worker takes several at once: to take one is a call of the system, which may take longer. What
it has in hand nobody can recall. So it does that only where no item can wait for another one, and a few short ones may
stand behind one that turns out long. All are for one attempt, and it hears of nothing that was recalled before it has
come to their end.

A permit is for nothing in particular. So a worker from which some were recalled is given nothing more until it has
said that it knows: a new permit would let it start one that was recalled.
"""

import os
from itertools import repeat

SEVERAL = 16
"""How many a worker takes at once, where items are short."""


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
        self._taken: list[int] = []  # bytes
        self._take, self._take_several = [
            map(self._taken.extend, map(os.read, repeat(reader), repeat(most))).__next__ for most in (1, SEVERAL)
        ]

    def give(self, attempt: int) -> None:
        """That attempt needs none from the pipe, nor does its first item, where it has several."""
        self._has = attempt, 0

    @property
    def is_in_hand(self) -> bool:
        """Whether there are any that were taken and not used yet."""
        return bool(self._taken)

    def is_for(self, attempt: int, item: int = 0, *, are_short: bool = False) -> bool:
        """Whether the attempt, which is the first in the worker's queue, may be started, or its next item.

        If not, it was recalled. `are_short`: there are `SEVERAL` more items, and all are short, by what is known.
        """
        wanted = attempt, item
        if wanted == self._has:
            return True
        taken = self._taken
        if not taken:
            try:
                self._take_several() if are_short else self._take()
            except BlockingIOError:
                return False
        if not taken:  # the pipe has come to its end
            return False
        self._has = wanted  # no call stands between this and what follows
        del taken[-1]
        return True
