"""What a reader is told of a key that has several versions: all that its value follows from, and no more.

Going back from the candidates, that is every write down to the nearest one that stands by itself: one that came before
all that were met. What its writer saw has no bearing on the value any more. Keys that are collected by task are told
down to the input.

Cost: linear in the writes told (times the logarithm of how many stand side by side), and in the tasks among which they
were written, for their order.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush

from cloaca.engine.order import MergeOrder
from cloaca.engine.write import INPUT_RANK, Write
from cloaca.errors import INPUT
from cloaca.wire.blobs import blob_of, is_reference
from cloaca.wire.messages import Version

NOTHING_TO_MERGE = b"\xc0"
"""Told in place of a value that merging can't look into and nobody reads any more: `None`, encoded."""

PlaceOf = Callable[[int], str]
"""Where the function of a task stands, by its rank: `file.py:12`."""

Told = tuple[Version, ...]


class Telling:
    """Tells of the writes of one run. A reader is given by its dependencies, as it lists them.

    `predecessors` are the dependencies of each task, by rank. `ruled`: the keys that have merge rules.
    """

    def __init__(
        self,
        order: MergeOrder,
        predecessors: Sequence[Sequence[int]],
        place_of: PlaceOf,
        ruled: AbstractSet[str] = frozenset(),
    ) -> None:
        self._order = order
        self._predecessors = predecessors
        self._place_of = place_of
        self._ruled = ruled
        self._views: dict[Write, tuple[Write, ...]] = {}
        self._last: dict[str, tuple[Sequence[Write], Told]] = {}
        self.steps = 0

    def joined(self, dependencies: Sequence[int], key: str, candidates: Sequence[Write]) -> Told:
        """The versions of a key with several candidates at a reader. Those that see the same are told the same."""
        last = self._last.get(key)
        if last is not None and last[0] is candidates:
            return last[1]
        told = self._told(key, self._view(dependencies, candidates), self._what_its_writer_saw)
        self._last[key] = candidates, told
        return told

    def collected(self, dependencies: Sequence[int], key: str, candidates: Sequence[Write]) -> Told:
        """All versions of a key that is collected by task."""
        return self._told(key, self._in_order(dependencies, *_since_the_input(candidates)), _seen)

    def _told(self, key: str, writes: Sequence[Write], saw: Callable[[Write], Sequence[Write]]) -> Told:
        places = {write: place for place, write in enumerate(writes)}
        unneeded = frozenset() if key in self._ruled else _unneeded(writes)
        return tuple(
            [
                Version(
                    INPUT if write.rank == INPUT_RANK else write.version.writer,
                    NOTHING_TO_MERGE if write in unneeded else write.version.payload,
                    _told_places(saw(write), writes, places),
                    "" if write.rank == INPUT_RANK else self._place_of(write.rank),
                    write.version.rivals,
                    write.version.source,
                )
                for write in writes
            ]
        )

    def _what_its_writer_saw(self, write: Write) -> Sequence[Write]:
        if len(write.seen) < 2:  # noqa: PLR2004 - one needs no order
            return write.seen
        view = self._views.get(write)
        if view is None:
            view = self._views[write] = tuple(self._view(self._predecessors[write.rank], write.seen))
        return view

    def _view(self, dependencies: Sequence[int], candidates: Sequence[Write]) -> list[Write]:
        return self._in_order(dependencies, *self._since_the_last_alone(candidates))

    def _in_order(self, dependencies: Sequence[int], writes: Sequence[Write], floor: int) -> list[Write]:
        """In the merge order at the reader. A write below the floor came before all others."""
        places = self._order.places(dependencies, floor)
        return sorted(writes, key=lambda write: places.get(write.rank, -1))

    def _since_the_last_alone(self, candidates: Sequence[Write]) -> tuple[list[Write], int]:
        """The writes down to the nearest that came before all others met; and the rank from which order matters.

        They are met in the order of their ranks, which only grow from one write to the next: when just one is left to
        be looked at, all that were met before it came after it, unless one of them saw nothing at all.
        """
        met = {write.rank: write for write in candidates}
        ahead = [-rank for rank in met]
        heapify(ahead)
        found: list[Write] = []
        one_saw_nothing = False
        while ahead:
            write = met[-heappop(ahead)]
            self.steps += 1
            if found and not ahead and not one_saw_nothing:
                return [*found, write], found[-1].rank
            found.append(write)
            one_saw_nothing = one_saw_nothing or not write.seen
            for seen in write.seen:
                if seen.rank not in met:
                    met[seen.rank] = seen
                    heappush(ahead, -seen.rank)
        return found, found[-1].rank


def _told_places(seen: Sequence[Write], writes: Sequence[Write], places: Mapping[Write, int]) -> tuple[int, ...]:
    """Where the writes seen stand among all; `(-n,)` says: the first n, in their order."""
    count = len(seen)
    if count > 2 and tuple(seen) == tuple(writes[:count]):  # noqa: PLR2004 - below, the places are as short
        return (-count,)
    return tuple([places[write] for write in seen if write in places])


def _since_the_input(candidates: Sequence[Write]) -> tuple[list[Write], int]:
    """All writes, and the lowest rank of a task among them."""
    met = dict.fromkeys(candidates)
    ahead = list(candidates)
    while ahead:
        fresh = [write for write in ahead.pop().seen if write not in met]
        met.update(dict.fromkeys(fresh))
        ahead += fresh
    return list(met), min((write.rank for write in met if write.rank != INPUT_RANK), default=0)


def _unneeded(writes: Sequence[Write]) -> set[Write]:
    """The large values of which, without a rule, only their kind matters: opaque ones that one write after superseded.

    What several values came to, where a writer saw them side by side, may depend on each.
    """
    superseded = {seen for write in writes for seen in write.seen if len(write.seen) == 1}
    joined = {seen for write in writes for seen in write.seen if len(write.seen) > 1}
    return {write for write in superseded - joined if _is_large_and_opaque(write.version.payload)}


def _is_large_and_opaque(payload: bytes | None) -> bool:
    return payload is not None and is_reference(payload) and not blob_of(payload).is_structure


def _seen(write: Write) -> Sequence[Write]:
    return write.seen
