"""Ends: how each task and instance ended. There may be millions of instances, of which mostly only the costs are told.

So what an instance cost is kept as figures, 60 bytes, and made a `Usage` again for who asks.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress

from cloaca.wire.messages import Failed, Lost, Skipped, Usage

End = Usage | Failed | Lost | Skipped | None

_FIGURES = struct.Struct("<dddqqqqI")


class AllEnds:
    """The ends of one run, by rank and unit.

    >>> ends = AllEnds(1)
    >>> ends.grow(2)
    >>> ends[2] = Usage(1.5, 2.5, 0.25, 1000, ("key",), 7)
    >>> ends[2] == Usage(1.5, 2.5, 0.25, 1000, ("key",), 7), list(ends)[:2]
    (True, [None, None])
    """

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks
        self._ends: list[End] = [None] * tasks
        self._others: dict[int, End] = {}  # of instances that didn't end well
        self._figures = bytearray()
        self._reads: list[tuple[str, ...]] = []  # what instances have read: mostly the same
        self._places: dict[tuple[str, ...], int] = {}  # in that, from 1

    def grow(self, size: int) -> None:
        """There are so many more instances."""
        self._figures += bytes(size * _FIGURES.size)

    def __len__(self) -> int:
        return self._tasks + len(self._figures) // _FIGURES.size

    def __iter__(self) -> Iterator[End]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, unit: int) -> End:
        if unit < self._tasks:
            return self._ends[unit]
        if unit in self._others:
            return self._others[unit]
        started, ended, cpu, peak, read, mapped, written, place = _FIGURES.unpack_from(self._figures, self._at(unit))
        if not place:
            return None
        return Usage(started, ended, cpu, peak, self._reads[place - 1], read, mapped, written)

    def __setitem__(self, unit: int, end: End) -> None:
        if unit < self._tasks:
            self._ends[unit] = end
            return
        if isinstance(end, Usage):
            with suppress(struct.error):  # figures that can't be: a task has written to what isn't its own
                self._keep(unit, end)
                return
        self._others[unit] = end

    def of_tasks_and_failed(self) -> Iterator[tuple[int, End]]:
        """Those of all tasks, and of the instances that didn't end well."""
        yield from enumerate(self._ends)
        yield from sorted(self._others.items(), key=_unit)

    def _keep(self, unit: int, usage: Usage) -> None:
        place = self._places.get(usage.read)
        if place is None:
            self._reads.append(usage.read)
            place = self._places[usage.read] = len(self._reads)
        _FIGURES.pack_into(
            self._figures,
            self._at(unit),
            usage.started,
            usage.ended,
            usage.cpu,
            usage.peak_memory,
            usage.bytes_read,
            usage.bytes_mapped,
            usage.bytes_written,
            place,
        )

    def _at(self, unit: int) -> int:
        return (unit - self._tasks) * _FIGURES.size


def _unit(entry: tuple[int, End]) -> int:
    return entry[0]
