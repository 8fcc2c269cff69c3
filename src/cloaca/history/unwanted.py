"""Unwanted: the large values of keys that nobody asks for at the end. Each goes after its last reader.

A value waits for one thing at a time: first until no task comes after its writer any more that may look at any key,
then for the readers of its key, the last one first. It doesn't matter if it was superseded.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from cloaca.history.ancestry import Ancestry
from cloaca.history.plan import Plan
from cloaca.history.readers import Readers
from cloaca.history.write import Write

_Keyed = tuple[str, Write]


class Demand(Struct, frozen=True):
    """What is asked for of a run's values, at the end and by its tasks.

    `outputs`: the keys whose values are needed when the run has ended. `reads`: of each task, by rank, the keys whose
    values it may look at; `None`: any key.
    """

    outputs: frozenset[str]
    reads: Sequence[frozenset[str] | None]


class Unwanted:
    """Watches those values of one run."""

    def __init__(self, plan: Plan, ancestry: Ancestry, demand: Demand) -> None:
        self._demand = demand
        self._readers = Readers(plan, ancestry, demand.reads)
        self._watched: set[Write] = set()
        self._due: list[_Keyed] = []
        self._by_writer: dict[int, list[_Keyed]] = {}
        self._by_reader: dict[int, list[_Keyed]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is watched."""
        return not self._watched

    def written(self, key: str, write: Write) -> None:
        """A large value was written, or given."""
        if key not in self._demand.outputs:
            self._watched.add(write)
            self._due.append((key, write))

    def ended(self, rank: int) -> None:
        """A task has ended."""
        self._due += self._by_reader.pop(rank, ())
        for writer in self._readers.ended(rank):
            self._due += self._by_writer.pop(writer, ())

    def forget(self, writes: Iterable[Write]) -> None:
        """These were released for another reason."""
        self._watched.difference_update(writes)

    def released(self) -> list[Write]:
        """The writes whose values nobody can read any more; each is told once."""
        found: list[Write] = []
        for key, write in self._due:
            if write not in self._watched:
                continue
            if self._readers.is_any_after(write.rank):
                self._by_writer.setdefault(write.rank, []).append((key, write))
            elif (reader := self._readers.after(write.rank, key)) is not None:
                self._by_reader.setdefault(reader, []).append((key, write))
            else:
                found.append(write)
        self._due.clear()
        self._watched.difference_update(found)
        return found
