"""Pedigrees: who wrote a key, having seen what.

They outlive a run, so they hold no values, and cost it next to nothing: of each write its size is kept. What a writer
saw is a pure function of the plan and of who wrote, so it is found out again when somebody asks.
"""

from typing import Any, NamedTuple

from cloaca.errors import INPUT
from cloaca.history.history import History
from cloaca.history.plan import Plan
from cloaca.history.telling import PlaceOf
from cloaca.history.write import INPUT_RANK
from cloaca.wire.messages import Version


class Forebear(NamedTuple):
    """One write: by which task ("the input": by none), where its function stands, and the bytes that it takes.

    `size` is `None` where it removed the key, or held several values. `saw`: the places of the writes that its writer
    saw, among all of the pedigree.
    """

    task: str
    place: str
    size: int | None
    saw: tuple[int, ...]


class Pedigrees:
    """Of the keys of one run that were written more than once."""

    def __init__(self, plan: Plan, history: History, place_of: PlaceOf) -> None:
        self._plan = plan
        self._completed = history.completed
        self._sizes = history.sizes()
        self._place_of = place_of

    @property
    def sizes(self) -> dict[str, list[int]]:
        """How many bytes each of their values takes that a task has set."""
        return {
            key: [size for rank, size in sizes.items() if size is not None and rank != INPUT_RANK]
            for key, sizes in self._sizes.items()
        }

    def of(self, key: str) -> tuple[Forebear, ...]:
        """All writes of the key, in the merge order at the end; none where there was one at most."""
        sizes = self._sizes.get(key)
        if sizes is None:
            return ()
        history = History(self._plan, {key: Version(INPUT, b"")} if INPUT_RANK in sizes else {})
        for rank in range(len(self._plan.names)):
            if self._completed[rank]:
                history.record(rank, {key: str(rank).encode()} if rank in sizes else {})
        writes = history.all_writes(key)
        found = {write: number for number, write in enumerate(writes)}
        return tuple(
            Forebear(
                write.version.writer,
                "" if write.rank == INPUT_RANK else self._place_of(write.rank),
                sizes[write.rank],
                tuple([found[seen] for seen in write.seen]),
            )
            for write in writes
        )

    def __getstate__(self) -> dict[str, Any]:
        """A pickle doesn't take along functions, nor where they stand."""
        return {**vars(self), "_place_of": _nowhere}


def _nowhere(_rank: int) -> str:
    return ""
