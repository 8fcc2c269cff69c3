"""Ends: how each task and instance ended. There may be millions of instances, of which mostly only the costs are told.

So what an instance cost is kept as figures, 68 bytes, and made a `Usage` again for who asks.
"""

from array import array
from collections.abc import Container, Iterator
from struct import Struct as Layout

from msgspec import Struct

from cloaca.wire.messages import FIGURES, Failed, ItemsDone, Lost, Phases, Skipped, Usage, usage_of

_TIMES = Layout(f"<dd{FIGURES.size - 16}x")  # of the figures, when it began and ended

End = Usage | Failed | Lost | Skipped | None


def cost_of(end: End) -> Usage | None:
    """What a try has cost that ended so; `None` where it didn't report."""
    match end:
        case Failed(usage=usage) | Skipped(usage=usage) | (Usage() as usage):
            return usage
        case _:
            return None


def worker_of(end: End) -> int:
    """The number of the worker that made a try which ended so; 0: none, or the program itself."""
    if isinstance(end, Lost):
        return end.worker
    cost = cost_of(end)
    return 0 if cost is None else cost.worker


class FailedTry(Struct, frozen=True, gc=False):
    """The `nth` try of a task or an instance, which has failed, after which there was to be another one.

    `error` is what it failed with, in words; `delay` how many seconds the next one waited, where that is known. It
    `began`, as far as the run was told, and the run learned of its end at `ended`, on the clock of costs.
    """

    nth: int
    end: Failed | Lost
    error: str
    began: float | None
    ended: float
    delay: float | None


class AllEnds:
    """The ends of one run, by rank and unit; `of_tasks` alone by rank.

    >>> ends = AllEnds(1)
    >>> ends.grow(2)
    >>> figures = FIGURES.pack(1.5, 2.5, 0.25, 1000, 7, 0, 0, 0)
    >>> ends.keep(2, ItemsDone(0, figures, [(b"x",)], [("made",)], [("key",)], []))
    >>> ends[2] == Usage(1.5, 2.5, 0.25, 1000, ("key",), 7), list(ends)[:2]
    (True, [None, None])
    """

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self.of_tasks: list[End] = [None] * tasks
        self._others: dict[int, End] = {}  # of instances that didn't end well
        self._figures = bytearray()
        self._phases: dict[int, Phases] = {}  # of few
        self._read = array("I")  # by instance, from 1, which of these it has read
        self._reads: list[tuple[str, ...]] = []  # what instances have read: mostly the same
        self._places: dict[tuple[str, ...], int] = {}  # in that, from 1

    def grow(self, size: int) -> None:
        """There are so many more instances."""
        self._figures += bytes(size * FIGURES.size)
        self._read.frombytes(bytes(size * self._read.itemsize))

    def __len__(self) -> int:
        return self._tasks + len(self._read)

    def __iter__(self) -> Iterator[End]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, unit: int) -> End:
        if unit < self._tasks:
            return self.of_tasks[unit]
        if unit in self._others:
            return self._others[unit]
        place = self._read[unit - self._tasks]
        if not place:
            return None
        figures = FIGURES.unpack_from(self._figures, (unit - self._tasks) * FIGURES.size)
        return usage_of(figures, self._reads[place - 1], self._phases.get(unit))

    def __setitem__(self, unit: int, end: End) -> None:
        """Of a task, or of an instance that didn't end well."""
        if unit < self._tasks:
            self.of_tasks[unit] = end
        else:
            self._others[unit] = end

    def keep(self, unit: int, done: ItemsDone) -> None:
        """Instances have ended well, from that one on."""
        first, count = unit - self._tasks, len(done.read)
        self._figures[first * FIGURES.size : (first + count) * FIGURES.size] = done.figures
        for read in dict.fromkeys(done.read):
            if read not in self._places:
                self._reads.append(read)
                self._places[read] = len(self._reads)
        for past, phases in enumerate(done.phases):
            if phases is not None:
                self._phases[unit + past] = phases
        self._read[first : first + count] = array("I", map(self._places.__getitem__, done.read))

    def seconds(self, since: float, mapped: Container[int]) -> float:
        """How long all took together that began from then on. Of the `mapped` tasks, their instances count.

        Nothing is made for it, so that also of a million instances it is known in a moment.
        """
        costs = [cost_of(end) for rank, end in enumerate(self.of_tasks) if rank not in mapped]
        costs += map(cost_of, self._others.values())
        whole = sum([cost.ended - cost.started for cost in costs if cost is not None and cost.started >= since])
        others: list[float] = [end - start for start, end in _TIMES.iter_unpack(self._figures) if start >= since]
        return whole + sum(others)

    def of_tasks_and_failed(self) -> Iterator[tuple[int, End]]:
        """Those of all tasks, and of the instances that didn't end well."""
        yield from enumerate(self.of_tasks)
        yield from sorted(self._others.items(), key=_unit)


def _unit(entry: tuple[int, End]) -> int:
    return entry[0]
