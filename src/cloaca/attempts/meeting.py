"""Meeting: calls that return once as many of them as were expected have begun, in whichever threads or processes.

    the first one  <--- a byte ---  [here]  <--- each other one
    each other one <--- a byte ---  [go]    <--- the first one, when all are here

Both are named pipes, which all open before they say that they are here: so nothing is lost, and nobody looks again and
again whether the others have come. Somebody who never comes is waited for until a moment, not forever.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from select import select
from time import monotonic

HERE, GO = "here", "go"


class Meeting:
    """One of so many, which wait for each other for that many seconds. The pipes are in a `folder`."""

    def __init__(self, folder: str, size: int, seconds: float) -> None:
        self._here, self._go = os.path.join(folder, HERE), os.path.join(folder, GO)
        self._size = size
        self._seconds = seconds

    def prepare(self) -> None:
        """Make the pipes."""
        os.mkfifo(self._here)
        os.mkfifo(self._go)

    def __call__(self, number: int) -> None:
        """Be there, as the one of that number, from 0. Raises `TimeoutError` where others haven't come in time."""
        until = monotonic() + self._seconds
        others = self._size - 1
        with _opened(self._here) as here, _opened(self._go) as go:
            if number:
                os.write(here, b".")
                _await(go, until)
                return
            for _ in range(others):
                _await(here, until)
            os.write(go, b"." * others)


@contextmanager
def _opened(path: str) -> Generator[int, None, None]:
    """A pipe's descriptor for both ways: to open it so waits for nobody."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _await(descriptor: int, until: float) -> None:
    if not select([descriptor], [], [], max(0.0, until - monotonic()))[0]:
        raise TimeoutError("Not all workers were there in time.")
    os.read(descriptor, 1)
