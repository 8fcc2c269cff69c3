"""Latch: closed until it is opened, once and for all. Whoever waits for that waits with a limit, or can be interrupted.

Not a `threading.Event`: it has a lock of its own, which an exception at the wrong moment leaves taken, and which a
signal handler or a finalizer may find taken by what it has interrupted. Here each who waits has a bell of their own.
"""

from queue import Empty, SimpleQueue


class Latch:
    """It may be opened, and waited for, on any thread and at any moment."""

    def __init__(self) -> None:
        self.is_open = False
        self._bells: list[SimpleQueue[None]] = []

    def open(self) -> None:
        """Let everybody through, from now on."""
        self.is_open = True
        for bell in list(self._bells):
            bell.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open, for at most `timeout` seconds; returns whether it is.

        >>> latch = Latch()
        >>> latch.wait(0.0), latch.open(), latch.wait()
        (False, None, True)
        """
        bell: SimpleQueue[None] = SimpleQueue()
        self._bells.append(bell)
        try:
            if not self.is_open:
                bell.get(timeout=timeout)
        except Empty:
            return self.is_open
        finally:
            self._bells.remove(bell)
        return self.is_open
