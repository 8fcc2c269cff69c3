"""Line: what waits for a worker, the most urgent first, and which of what was taken on is to end instead."""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from cloaca.wire.messages import Assignment, Unstarted

TOLERATED_IDLE_DEATHS = 3

_place = attrgetter("place")


class Line:
    """Attempts that no worker has. `load` is how many calls of functions these come to: none where nothing waits.

    Those of a chain stand behind the first of them, and go with it.

    `withdrawn` are those to be stopped that workers have, with the seconds of grace, and where each is to be stopped
    only at one of its items, the place of that.
    """

    def __init__(self) -> None:
        self.load = 0
        self.withdrawn: dict[int, tuple[float, int | None]] = {}
        self._waiting: deque[Assignment] = deque()
        self._behind: dict[int, list[Assignment]] = {}  # what comes after an attempt in a chain, by its number
        self._idle_deaths: dict[int, int] = {}  # how often an attempt was first at a worker that died without it

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, assignments: Iterable[Assignment]) -> None:
        """Put each in its place."""
        waiting = self._waiting
        behind: list[Assignment] = []
        for assignment in assignments:
            self.load += assignment.size
            if assignment.after is not None:
                if not behind:
                    behind = self._behind[assignment.after] = []
                behind.append(assignment)
                continue
            if behind:
                behind = []
            if waiting and assignment.place < waiting[-1].place:
                insort(waiting, assignment, key=_place)
            else:
                waiting.append(assignment)

    def take(self, count: int) -> list[Assignment]:
        """Take out the next ones, until they come to so many calls."""
        taken: list[Assignment] = []
        left = max(0, self.load - count)
        while self.load > left:
            assignment = self._waiting.popleft()
            self.load -= assignment.size
            taken.append(assignment)
            if self._behind and (behind := self._behind.pop(assignment.attempt, None)) is not None:
                self.load -= len(behind)
                taken += behind
        return taken

    def put_back(self, assignment: Assignment, behind: Sequence[Assignment] = ()) -> Iterator[Unstarted]:
        """Put it first, and what comes after it in a chain behind it. What was withdrawn is given back instead."""
        if assignment.attempt in self.withdrawn:
            yield from map(self.given_back, reversed([assignment, *behind]))
            return
        self._waiting.appendleft(assignment)
        self.load += assignment.size + len(behind)
        if behind:
            self._behind[assignment.attempt] = [*behind]

    def withdraw(
        self, attempts: Sequence[int], queued: Iterable[int], grace: float, item: int | None = None
    ) -> list[Unstarted]:
        """These are to end: what waits is given back, of what workers have `queued` it is noted."""
        withdrawn = set(attempts)
        going = [waiting for waiting in self._waiting if waiting.attempt in withdrawn]
        units = [[head, *self._behind.pop(head.attempt, ())] for head in going]
        given_back = [self.given_back(one) for unit in units for one in reversed(unit)]
        self._waiting = deque(waiting for waiting in self._waiting if waiting.attempt not in withdrawn)
        self.load = sum([waiting.size for waiting in self._waiting]) + sum(map(len, self._behind.values()))
        self.withdrawn.update(dict.fromkeys(withdrawn.intersection(queued), (grace, item)))
        return given_back

    def grace(self, attempt: int, at: int) -> float | None:
        """How many seconds an attempt gets to end that has come to that item; `None`: it is to go on."""
        grace, item = self.withdrawn.get(attempt, (None, None))
        if item is not None and at > item:
            del self.withdrawn[attempt]
            return None
        return grace

    def given_back(self, assignment: Assignment) -> Unstarted:
        """It doesn't stand here any more, nor is it to: whoever submitted it has it back."""
        self.forget(assignment.attempt)
        return Unstarted(assignment.attempt, assignment.size)

    def is_lost_idly(self, attempt: int) -> bool:
        """A worker died before it began the attempt. Whether that has happened to it once too often."""
        times = self._idle_deaths.get(attempt, 0)
        if attempt not in self.withdrawn and times >= TOLERATED_IDLE_DEATHS:
            return True
        self._idle_deaths[attempt] = times + 1
        return False

    def forget(self, attempt: int) -> None:
        """It has ended at its worker."""
        if self.withdrawn or self._idle_deaths:
            self.withdrawn.pop(attempt, None)
            self._idle_deaths.pop(attempt, None)
