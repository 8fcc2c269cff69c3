"""Timers: what is due when. A heap of moments; one that is dropped leaves its entry behind, until too many are stale.

Most time limits are never reached: setting and dropping a timer costs little more than an entry of a dict, and a
million attempts that ended in time leave nothing behind.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

GRACE_SECONDS = 2.0
"""How long a task that is stopped has to put its things in order, where nobody has said."""

_TOLERATED_STALE = 64


class Timers:
    """Moments by number (of an attempt, or a task's rank). `due`: when the next one rings, if there is any.

    >>> timers = Timers()
    >>> timers.set(7, 12.5)
    >>> timers.set(8, 11.0)
    >>> timers.due, list(timers.ring(12.0)), timers.due
    (11.0, [8], 12.5)
    """

    def __init__(self) -> None:
        self.due: float | None = None
        self._moments: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __iter__(self) -> Iterator[int]:
        return iter(self._moments)

    def set(self, number: int, moment: float) -> None:
        """Have it ring at `moment`."""
        self._moments[number] = moment
        heappush(self._heap, (moment, number))
        self._clear()

    def drop(self, number: int) -> None:
        """Forget it, if it is set."""
        if self._moments.pop(number, None) is None:
            return
        if len(self._heap) > 2 * len(self._moments) + _TOLERATED_STALE:
            self._heap = [(moment, number) for number, moment in self._moments.items()]
            heapify(self._heap)
        self._clear()

    def drop_all(self) -> None:
        """Forget all."""
        self._moments.clear()
        self._heap.clear()
        self.due = None

    def ring(self, now: float) -> Iterator[int]:
        """Take out those whose moment has come, in order of their moments, then numbers."""
        while (due := self.due) is not None and due <= now:
            _, number = heappop(self._heap)
            del self._moments[number]
            self._clear()
            yield number

    def _clear(self) -> None:
        """Take stale entries off the top."""
        while self._heap and self._moments.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        self.due = self._heap[0][0] if self._heap else None
