"""Permits: who may have a queued attempt: its worker, to start it, or the coordinator, to recall it for an idle one.

A byte in a pipe for each attempt that a worker has queued behind another one, and the kernel sees to it that nobody
else gets the same one. The worker takes attempts from the front of its queue, the coordinator from its end: so how many
bytes it got tells which attempts it has. No attempt runs twice, and neither side ever waits for the other.

A permit is for no attempt in particular. So a worker from which some were recalled is given nothing more until it has
said that it knows: a new permit would let it start one that was recalled.
"""

import os
from collections import deque


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
    """The worker's side: what it has last, and for which attempt. It is had in one step, whatever interrupts that."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._last: deque[tuple[bytes, int]] = deque(maxlen=1)

    def give(self, attempt: int) -> None:
        """That attempt needs none from the pipe."""
        self._last.append((b".", attempt))

    def is_for(self, attempt: int) -> bool:
        """Whether the attempt, which is the first in the worker's queue, may be started. If not, it was recalled."""
        if (b".", attempt) in self._last:
            return True
        try:
            self._last.extend(zip(map(os.read, (self._reader,), (1,)), (attempt,), strict=True))
        except BlockingIOError:
            return False
        return (b".", attempt) in self._last
