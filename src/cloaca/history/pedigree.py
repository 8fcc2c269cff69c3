"""Pedigrees: who wrote a key, having seen what.

They outlive a run, so they hold no values, and cost it next to nothing: of each write its size is kept. What a writer
saw is a pure function of the plan and of who wrote, so it is found out again when somebody asks.
"""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any, NamedTuple

from cloaca.errors import INPUT
from cloaca.history.history import History
from cloaca.history.plan import Plan
from cloaca.history.telling import PlaceOf
from cloaca.history.write import INPUT_RANK
from cloaca.values.blobs import size_of
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


Final = Mapping[str, tuple[Version, ...]]
"""Of each key that a result has, the versions that stand in the end."""


class Pedigrees:
    """Of the keys of one run. `kept`: those that its result has; `None`: all. `place_of`: where tasks' functions stand.

    Who wrote a key that was written once, its final version tells, so nothing is kept of that.
    """

    def __init__(self, plan: Plan, history: History, place_of: PlaceOf, kept: AbstractSet[str] | None = None) -> None:
        self._plan = plan
        self._completed = history.completed
        self._sizes = history.sizes()
        self._dropped = {} if kept is None else history.sizes_of_lone(kept)
        self._passing = history.passed_in()
        self.place_of = place_of

    @property
    def sizes(self) -> dict[str, list[int]]:
        """How many bytes each of their values takes that a task has set."""
        found = {
            key: [size for rank, size in sizes.items() if size is not None and rank != INPUT_RANK]
            for key, sizes in self._sizes.items()
        }
        return found | {key: [size] for key, (_, size) in self._dropped.items() if size is not None}

    def of(self, key: str) -> tuple[Forebear, ...]:
        """All writes of the key, in the merge order at the end; none where there was one at most."""
        sizes = self._sizes.get(key)
        if sizes is None:
            return ()
        writes = self._replayed.all_writes(key)
        found = {write: number for number, write in enumerate(writes)}
        return tuple(
            Forebear(
                write.version.writer,
                "" if write.rank == INPUT_RANK else self.place_of(write.rank),
                sizes[write.rank],
                tuple([found[seen] for seen in write.seen]),
            )
            for write in writes
        )

    @cached_property
    def _replayed(self) -> History:
        """The history of these keys once more, in which each value tells who wrote it."""
        written: defaultdict[int, list[str]] = defaultdict(list)
        for key, sizes in self._sizes.items():
            for rank in sizes:
                written[rank].append(key)
        history = History(self._plan, {key: Version(INPUT, b"") for key in written[INPUT_RANK]})
        for rank, completed in enumerate(self._completed):
            if completed:
                history.record(rank, dict.fromkeys(written[rank], str(rank).encode()))
        return history

    def written(self, rank: int, final: Final) -> dict[str, int | None]:
        """The keys that the task wrote, with the bytes that the values take; `None`: it removed that one."""
        name, passed = self._plan.names[rank], {key for sources in self._passing.values() for key in sources}
        found: dict[str, int | None] = {
            key: size_of(told[0].payload)
            for key, told in final.items()
            if key not in self._sizes and key not in passed and told[0].writer == name and told[0].payload is not None
        }
        found |= {key: size for key, (writer, size) in self._dropped.items() if writer == rank}
        return found | {key: sizes[rank] for key, sizes in self._sizes.items() if rank in sizes}

    def seen(self, rank: int, key: str, final: Final) -> tuple[str, ...]:
        """The tasks whose writes of the key the task saw, in the merge order; "the input" for what was given."""
        writers = self._writers(key, final)
        history = History(self._plan, {key: Version(INPUT, b"")} if INPUT_RANK in writers else {})
        for writer in sorted(writers - {INPUT_RANK}):
            history.record(writer, {key: str(writer).encode()})
        found = tuple([write.version.writer for write in history.candidates(rank, key)])
        sources = self._passing.get(rank, {}).get(key, ())
        if not sources or found not in ((), (INPUT,)):
            return found
        return next(filter(None, (self.seen(one.entry, one.key, final) for one in sources)), ())

    def _writers(self, key: str, final: Final) -> set[int]:
        if key in self._sizes:
            return {*self._sizes[key]}
        if key in self._dropped:
            return {self._dropped[key][0]}
        return {self._plan.rank.get(version.writer, INPUT_RANK) for version in final.get(key, ())}

    def __getstate__(self) -> dict[str, Any]:
        """A pickle doesn't take along functions, nor where they stand, nor what can be found out again."""
        kept = {name: value for name, value in vars(self).items() if name != "_replayed"}
        return {**kept, "place_of": _nowhere}


def _nowhere(_rank: int) -> str:
    return ""
