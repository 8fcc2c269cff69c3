"""What a reader is told of a key that has several versions: all that its value follows from, and no more.

Going back from the candidates, that is every write down to the nearest one that stands by itself: one that came before
all that were met. What its writer saw has no bearing on the value any more. Keys that are collected by task are told
down to the input.

On the way there are points from which all later writes go on (see `history/stretch.py`). What the writes up to such a
point come to is found out first, and the rest is merged with that: a *milestone*. So whoever has merged them can hand
back what they came to, and others are told that in their place. It makes no difference to any answer whether that has
been done.

Cost: linear in the writes told (times the logarithm of how many stand side by side). Where each join is read before the
next one, that is what was written since the one before.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain

from cloaca.errors import INPUT
from cloaca.history.order import MergeOrder
from cloaca.history.stretch import Site, Stretch, Stretches
from cloaca.history.write import INPUT_RANK, Write
from cloaca.values.blobs import blob_of, is_reference
from cloaca.wire.messages import MILESTONE, Version

NOTHING_TO_MERGE = b"\xc0"
"""Told in place of a value that merging can't look into and nobody reads any more: `None`, encoded."""

REMEMBERED = 1 << 24
"""How many bytes a run keeps of what keys came to."""

MANY = 1 << 12
"""Of how many sites it is kept what is told there."""

PlaceOf = Callable[[int], str]
"""Where the function of a task stands, by its rank: `file.py:12`."""

Told = tuple[Version, ...]


class Telling:
    """Tells of the writes of one run. A reader is given by its dependencies, as it lists them.

    `ruled`: the keys that have merge rules.
    """

    def __init__(
        self, order: MergeOrder, stretches: Stretches, place_of: PlaceOf, ruled: AbstractSet[str] = frozenset()
    ) -> None:
        self._order = order
        self._stretches = stretches
        self._place_of = place_of
        self._ruled = ruled
        self._told_of: dict[tuple[str, Site], tuple[Site, Sequence[Write], Told]] = {}
        self._settled: dict[tuple[str, Site], Version] = {}
        self._size = 0

    @property
    def steps(self) -> int:
        """How many tasks and writes were looked at."""
        return self._stretches.steps

    def joined(self, dependencies: Site, key: str) -> Told:
        """The versions of a key with several candidates at a reader, or the one that they are known to come to."""
        site = self.site(dependencies, key)
        settled = self._settled.get((key, site))
        return self._down_from(site, key) if settled is None else (settled,)

    def joined_in_full(self, dependencies: Site, key: str) -> Told:
        """The same, where it matters how many there are and what they are merged by."""
        return self._down_from(self.site(dependencies, key), key)

    def settle(self, dependencies: Site, key: str, version: Version) -> None:
        """Somebody who reads the key there has found out what it comes to: remember that, or rather the latest ones."""
        name = key, self.site(dependencies, key)
        if name in self._settled:
            return
        self._settled[name] = version
        self._size += len(version.payload or b"")
        while self._size > REMEMBERED:
            self._size -= len(self._settled.pop(next(iter(self._settled))).payload or b"")

    def site(self, dependencies: Site, key: str) -> Site:
        """Where a reader sees the key from: below what only passes it on."""
        site = self._stretches.site(dependencies, key)
        while not (found := self.stretch(site, key))[2]:
            site = found[0]
        return site

    def _down_from(self, site: Site, key: str) -> Told:
        """What is told there, down to what is known or stands by itself."""
        base, _, told = self.stretch(site, key)
        parts, settled = [told], None
        while base and (settled := self._settled.get((key, base))) is None:
            base, _, told = self.stretch(base, key)
            parts.append(told)
        if base and settled:
            parts[-1] = (settled, *parts[-1][1:])
        return parts[0] if len(parts) == 1 else tuple(chain.from_iterable(reversed(parts)))

    def stretch(self, site: Site, key: str) -> tuple[Site, Sequence[Write], Told]:
        """The base of a site, the writes since then, and what is told of these: the same at any time."""
        found = self._told_of.get((key, site))
        if found is None:
            stretch = self._stretches.down_from(site, key)
            if len(self._told_of) >= MANY:
                del self._told_of[next(iter(self._told_of))]
            found = self._told_of[key, site] = stretch.base, stretch.writes, self._told_stretch(key, stretch)
        return found

    def _told_stretch(self, key: str, stretch: Stretch) -> Told:
        if not stretch.base:
            return self._told(key, stretch.writes, stretch.seen, ())
        return self._told(key, stretch.writes, stretch.seen, (MILESTONE,)) if stretch.writes else ()

    def collected(self, dependencies: Site, key: str, candidates: Sequence[Write]) -> Told:
        """All versions of a key that is collected by task."""
        return self.collection(dependencies, key, candidates)[1]

    def collection(self, dependencies: Site, key: str, candidates: Sequence[Write]) -> tuple[Sequence[Write], Told]:
        """All writes of such a key, and what is told of them."""
        writes = self.all_writes(dependencies, candidates)
        return writes, self._told(key, writes, {write: write.seen for write in writes}, ())

    def all_writes(self, dependencies: Site, candidates: Sequence[Write]) -> list[Write]:
        """The candidates and all that came before them, in the merge order at the reader."""
        return self._in_order(dependencies, *_since_the_input(candidates))

    def _told(self, key: str, writes: Sequence[Write], seen: Mapping[Write, Sequence[Write]], milestone: Told) -> Told:
        places = {write: place for place, write in enumerate(writes, len(milestone))}
        unneeded = frozenset() if key in self._ruled else _unneeded(writes)
        told = [
            Version(
                INPUT if write.rank == INPUT_RANK else version.writer,
                NOTHING_TO_MERGE if write in unneeded else version.payload,
                _told_places(write, seen[write], writes, places, len(milestone)),
                "" if write.rank == INPUT_RANK else self._place_of(write.rank),
                version.rivals,
                version.source,
            )
            for write in writes
            for (version,) in (write.told,)
        ]
        return (*milestone, *told)

    def _in_order(self, dependencies: Site, writes: Sequence[Write], floor: int) -> list[Write]:
        """In the merge order at the reader. A write below the floor came before all others."""
        places = self._order.places(dependencies, floor)
        return sorted(writes, key=lambda write: places.get(write.rank, -1))


def _told_places(
    write: Write, seen: Sequence[Write], writes: Sequence[Write], places: Mapping[Write, int], milestones: int
) -> tuple[int, ...]:
    """Where what its writer saw stands among all; `(-n,)` says: the first n, in their order.

    Who saw several saw the milestone before them, if there is one.
    """
    if not milestones and len(seen) == 1:
        (one,) = seen
        return (places[one],) if one in places else ()
    before = milestones if len(write.seen) > 1 else 0
    count = before + len(seen)
    if count > 2 and places[write] >= count and tuple(seen) == tuple(writes[: len(seen)]):  # noqa: PLR2004 - below, the places are as short
        return (-count,)
    return (*range(before), *[places[one] for one in seen if one in places])


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
