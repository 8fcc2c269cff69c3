"""Passing: keys that find the value of another key, where no task has written them. So copies get their inputs.

The source is looked up once, at a task where the copy begins. Every task of the copy has the same ancestors outside of
it, and none of the copy writes the source: so each of them would find the same, whenever it looks.

What is passed in is a write before all others of its key, as the input is. It may stay to the end of the run, and so do
the payloads that the two keys share.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

from msgspec import Struct

from cloaca.errors import MERGE
from cloaca.history.telling import Told
from cloaca.history.write import INPUT_RANK, Write
from cloaca.wire.messages import Version


class Source(Struct, frozen=True, gc=False):
    """Where a key finds its value: under another `key`, as it is seen at the task of rank `entry`."""

    key: str
    entry: int


Passing = Mapping[int, Mapping[str, tuple[Source, ...]]]
"""The sources, by the rank of the task that reads, and by the key: the first one that has a value counts."""

NOTHING_PASSED: Final[Passing] = {}


class Passed:
    """What is passed in, in one run. `keys`: all that may be; `payloads`: those that were.

    `collected` are the keys that are kept by task.
    """

    def __init__(self, passing: Passing, collected: AbstractSet[str]) -> None:
        self._passing = passing
        self._collected = collected
        self._found: dict[tuple[str, tuple[Source, ...]], tuple[Write, ...]] = {}
        self._sources: dict[Write, Source] = {}  # of those that stand for several versions
        self.keys = frozenset(key for sources in passing.values() for key in sources)
        self.payloads: set[bytes | None] = set()

    def keys_at(self, rank: int) -> tuple[str, ...]:
        """The keys that may be passed in to the task."""
        return tuple(self._passing.get(rank, ()))

    def given(self) -> dict[str, tuple[Write, ...]]:
        """What was passed in so far, by key."""
        return {key: writes for (key, _), writes in self._found.items() if writes}

    def to(self, rank: int, key: str, versions: Callable[[int, str], Told]) -> tuple[Write, ...]:
        """What is passed in to the task under the key: one write, or none. `versions`: what a task sees of a key."""
        sources = self._passing.get(rank, {}).get(key)
        if sources is None:
            return ()
        found = self._found.get((key, sources))
        if found is None:
            found = self._found[key, sources] = tuple(islice(self._writes(sources, versions), 1))
        return found

    def _writes(self, sources: Iterable[Source], versions: Callable[[int, str], Told]) -> Iterator[Write]:
        for source in sources:
            told = versions(source.entry, source.key)
            self.payloads.update(version.payload for version in told)
            for version in self._as_one(source, told):
                write = Write(INPUT_RANK, (version,), ())
                if version.source:
                    self._sources[write] = source
                yield write

    def source_of(self, write: Write) -> Source | None:
        """Where a write comes from that stands for all versions of another key; `None`: it doesn't."""
        return self._sources.get(write)

    def _as_one(self, source: Source, told: Told) -> tuple[Version, ...]:
        """The version that stands for all of the source. Who reads it merges them, by the rule of the source."""
        if len(told) != 1 or source.key in self._collected or told[0].rivals:
            return (Version(MERGE, None, rivals=told, source=source.key),) if told else ()
        (version,) = told
        return () if version.payload is None else (Version(version.writer, version.payload),)
