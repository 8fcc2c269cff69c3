"""Seats: how many attempts of tasks with a named limit may be under way on a runner. All its runs share them.

An attempt takes a seat when it is submitted, and gives it up when it has ended, however it did, or was given back. Runs
that find no seat stand in line, and each gets one in turn: so a run with many such tasks doesn't keep others waiting
for its end.
"""

from collections.abc import Mapping


class Seats:
    """The seats of a runner, `sizes` of each limit. A `run` is known by its identity.

    >>> seats, one, other = Seats({"db": 1}), object(), object()
    >>> seats.room("db", one), seats.take("db", 7, one), seats.room("db", other)
    (1, None, 0)
    >>> seats.stand_in_line("db", other), seats.free(7), seats.room("db", one), seats.room("db", other)
    (None, None, 0, 1)
    """

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self.sizes: Mapping[str, int] = dict(sizes or {})
        self._free = dict(self.sizes)
        self._taken: dict[int, str] = {}
        self._lines: dict[str, dict[object, None]] = {name: {} for name in self.sizes}

    @property
    def taken(self) -> Mapping[int, str]:
        """The limits of the attempts that have a seat, by number."""
        return self._taken

    def line(self, limit: str) -> list[object]:
        """The runs that wait for a seat, the next one first."""
        return list(self._lines[limit])

    def room(self, limit: str, run: object) -> int:
        """How many seats the run may take now: those beyond what others wait for, or one, where it is its turn."""
        free, line = self._free[limit], self._lines[limit]
        if not line:
            return free
        others = len(line) - (run in line)
        ahead = list(line).index(run) if run in line else others
        return max(0, free - others, free > ahead)

    def take(self, limit: str, attempt: int, run: object) -> None:
        """Give the attempt a seat. Its run leaves the line."""
        self._free[limit] -= 1
        self._taken[attempt] = limit
        self._lines[limit].pop(run, None)

    def stand_in_line(self, limit: str, run: object) -> None:
        """The run has a task that waits for a seat. Said again, it keeps its place."""
        self._lines[limit].setdefault(run)

    def leave(self, run: object) -> None:
        """The run waits for no seat any more. Its attempts keep theirs until they have ended."""
        for line in self._lines.values():
            line.pop(run, None)

    def free(self, attempt: int) -> None:
        """The attempt has ended, or was given back. Nothing happens where it has no seat."""
        limit = self._taken.pop(attempt, None)
        if limit is not None:
            self._free[limit] += 1
