"""Backlog: what workers have told, in the order in which it is shown, and whose it is.

The program's terminal may be slower than its tasks, or read by nobody. What waits to be shown lies in the program's
memory: a worker that has much there is held back, in its next `print`, until half of it is shown. Others go on, and
whatever isn't shown: reports, questions and answers, and the worker's end.
"""

from collections import deque

from cloaca.pool.peer import Peer
from cloaca.wire.messages import Logged, Remark, Said

ITSELF = 500
"""What a message takes in the program beside its text, in bytes: many a line has a few characters."""


class Backlog:
    """What was told and isn't shown yet."""

    def __init__(self) -> None:
        self._told: deque[tuple[Peer | None, int]] = deque()

    def add(self, told: Remark, peer: Peer | None = None) -> None:
        """That was told, by a worker or by the pool itself."""
        size = ITSELF + _length(told)
        self._told.append((peer, size))
        if peer is not None:
            peer.tells(size)

    def shown(self, count: int) -> None:
        """So many, the oldest first, were shown."""
        for _ in range(min(count, len(self._told))):
            peer, size = self._told.popleft()
            if peer is not None:
                peer.tells(-size)


def _length(told: Remark) -> int:
    if isinstance(told, Said):
        return len(told.text)
    return len(told.record) if isinstance(told, Logged) else len(told.text) + len(told.warning or b"")
