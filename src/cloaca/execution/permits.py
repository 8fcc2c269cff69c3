"""Permits: who may have a queued attempt: its worker, to start it, or the coordinator, to recall it for an idle one.

A byte in a pipe for each attempt that a worker has queued behind another one, and the kernel sees to it that nobody
else gets the same one. The worker takes attempts from the front of its queue, the coordinator from its end: so how many
bytes it got tells which attempts it has. No attempt runs twice, and neither side ever waits for the other.

A permit is for no attempt in particular. So a worker from which some were recalled is given nothing more until it has
said that it knows: a new permit would let it start one that was recalled.
"""

import os


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


def take(reader: int) -> bool:
    """The worker's side: whether the first attempt in its queue may be started. If not, it was recalled."""
    try:
        return bool(os.read(reader, 1))
    except BlockingIOError:
        return False
