"""Ready: the tasks whose turn it is, and which one goes first.

Of those of the highest level: depth first, unless the critical path is in danger.
"""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

from cloaca.engine.priority import Priority

_SPARE = 3.0
"""How many usual tasks later than it should the longest way may begin: towards the end, all ways are about as long."""


class ReadyTasks:
    """The ready tasks of a run, by rank; the one goes first that comes first in the order of its `priority`."""

    def __init__(self, priority: Priority) -> None:
        self._places, self._ranks = priority.places, priority.ranks
        self._heap: list[int] = []  # of places

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[int]:
        """All of them, in no particular order."""
        return (self._ranks[place] for place in self._heap)

    def fill(self, ranks: Sequence[int]) -> None:
        """These are ready at the start."""
        self._heap = [self._places[rank] for rank in ranks]
        heapify(self._heap)

    def add(self, rank: int) -> None:
        """It is ready."""
        heappush(self._heap, self._places[rank])

    def take(self, width: int) -> int | None:  # noqa: ARG002 - in this order the longest way comes first, too
        """Take out the first one, of which an attempt is to begin; `None` where there is none.

        `width`: how many attempts can be under way at once.
        """
        return self._ranks[heappop(self._heap)] if self._heap else None

    def expect(self, rank: int, number: int) -> None:
        """So many more attempts of the task are to begin than was thought."""

    def clear(self) -> None:
        """None is ready any more."""
        self._heap.clear()


class Guarded(ReadyTasks):
    """The same where that order may keep the longest way waiting.

    The work that hasn't begun, spread over all that can be under way at once, must last until the longest way has come
    to its end. Where it doesn't, the first task of that goes before all others of its level.
    """

    def __init__(self, priority: Priority) -> None:
        super().__init__(priority)
        self._seconds, self._ways, self._tail = priority.seconds, priority.ways, priority.tail
        self._urgency = priority.urgency
        self._spare = _SPARE * priority.usual
        self._left = sum(priority.seconds) - priority.tail
        self._here: set[int] = set()  # the ranks that are ready: the heaps may hold others, which were taken
        self._farthest: list[tuple[float, int]] = []
        self._is_held = bytearray(len(priority.ways))  # by that heap

    def __len__(self) -> int:
        return len(self._here)

    def __iter__(self) -> Iterator[int]:
        return iter(self._here)

    def fill(self, ranks: Sequence[int]) -> None:
        for rank in ranks:
            self.add(rank)

    def add(self, rank: int) -> None:
        super().add(rank)
        self._here.add(rank)
        if not self._is_held[rank]:
            self._is_held[rank] = True
            heappush(self._farthest, (-self._urgency[rank], rank))

    def take(self, width: int) -> int | None:
        if not self._here:
            return None
        rank = self._first(width)
        self._here.remove(rank)
        self._left -= self._seconds[rank]
        return rank

    def expect(self, rank: int, number: int) -> None:
        self._left += number * self._seconds[rank]

    def clear(self) -> None:
        self._here.clear()

    def _first(self, width: int) -> int:
        here, heap, farthest = self._here, self._heap, self._farthest
        while self._ranks[heap[0]] not in here:
            heappop(heap)
        while farthest[0][1] not in here:
            self._is_held[heappop(farthest)[1]] = False
        deepest, longest = self._ranks[heap[0]], farthest[0][1]
        way = self._ways[longest] - self._spare
        is_in_danger = way >= self._ways[deepest] and (way - self._tail) * width >= self._left
        return longest if is_in_danger else deepest
