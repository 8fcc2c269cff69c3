"""Waker: makes a selector return, from any thread, a signal handler or a finalizer.

Nobody waits here, and nothing is locked. So it may be closed while somebody is about to ring: what they write to has to
be the pipe all the same, and no other file that has got its number meanwhile. A pipe goes when nobody has it in hand.
"""

import os
from collections.abc import Callable
from contextlib import suppress


class Waker:
    """A pipe that doesn't block. `descriptor` becomes readable when somebody rings, until it is heard."""

    def __init__(self) -> None:
        pipe = _Pipe(*os.pipe())
        self.descriptor = pipe.reader
        self._pipe: _Pipe | None = pipe

    def ring(self) -> None:
        """Ring, unless it is closed. A pipe that is full of rings needs no more."""
        pipe = self._pipe
        if pipe is not None:
            with suppress(BlockingIOError):
                os.write(pipe.writer, b"!")

    def hear(self) -> None:
        """Take in all that has rung."""
        os.read(self.descriptor, 1 << 16)

    def close(self) -> None:
        """Ring no more."""
        self._pipe = None


class _Pipe:
    def __init__(self, reader: int, writer: int) -> None:
        self.reader, self.writer = reader, writer
        os.set_blocking(writer, False)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        for descriptor in (self.reader, self.writer):
            close(descriptor)  # at the interpreter's end, the names of this module may be gone
