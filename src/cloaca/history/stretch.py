"""Stretches: the writes of one key, cut where all that came after had seen the same.

A task's *site* is where its view of a key comes from: the tasks that it goes back to first and that wrote the key or
saw a write of it. Tasks with the same site see the same, in the same order, whoever they are.

Going back from a reader, its writes are followed down to the nearest site from which all of them go on: its *base*.
Each of these writes came after everything that is seen at the base, and saw that in one and the same order. So they
are merged with what the base comes to, as if that were one write. The base has a stretch of its own, and so on.

Which sites are bases follows from the workflow and the writes of ancestors alone, never from time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from msgspec import Struct

from cloaca.history.ancestry import Ancestry
from cloaca.history.order import in_order
from cloaca.history.write import INPUT_RANK, Write

MANY = 8

Site = tuple[int, ...]
"""Tasks by rank, as they are listed."""


class Stretch(Struct, frozen=True, gc=False):
    """The writes since a base, in the merge order, and which of them each one's writer saw, in its own.

    Without a `base` they start from a single write, which stands first, or from nothing.
    """

    base: Site
    writes: tuple[Write, ...]
    seen: Mapping[Write, Sequence[Write]]


class Stretches:
    """Cuts the histories of keys into stretches.

    `predecessors` are the dependencies of each task; `writes` are those of each task, by key, and `candidates` those
    that stand at a task. `ancestry` is that of the plan.
    """

    def __init__(
        self,
        predecessors: Sequence[Site],
        writes: Sequence[Mapping[str, Write]],
        candidates: Callable[[int, str], tuple[Write, ...]],
        ancestry: Ancestry,
    ) -> None:
        self._predecessors = predecessors
        self._writes = writes
        self._candidates = candidates
        self._ancestry = ancestry
        self._sites: dict[str, dict[Site, Site]] = {}
        self._views: dict[tuple[Write, Site], tuple[Write, ...]] = {}
        self._starts: dict[Write, Write | None] = {}
        self.steps = 0

    def site(self, dependencies: Site, key: str) -> Site:
        """Where who lists these dependencies sees the key from."""
        sites = self._sites.setdefault(key, {})
        found = sites.get(dependencies)
        if found is None:
            found = sites[dependencies] = self._found_site(dependencies, key)
        return found

    def _found_site(self, dependencies: Site, key: str) -> Site:
        while True:
            site = tuple([task for task in dependencies if self._knows(task, key)])
            if len(site) > 1:
                site = self._without_what_adds_nothing(site, key)
            if len(site) != 1 or key in self._writes[site[0]]:
                return site
            dependencies = self._predecessors[site[0]]

    def _without_what_adds_nothing(self, site: Site, key: str) -> Site:
        """The site without tasks that the others lead to in the same place of the order.

        Such are a task that comes before one that is listed before it, and one whose write all that the others know of
        came after.
        """
        if len(site) <= MANY:
            is_above = self._ancestry.is_surely_above
            site = tuple([task for place, task in enumerate(site) if not any(is_above(task, b) for b in site[:place])])
        for task in site:
            write = self._writes[task].get(key)
            if write is not None and self._start(write) is write:
                others = tuple([other for other in site if other != task])
                return others if others and all(self._starts_with(write, other, key) for other in others) else site
        return site

    def _starts_with(self, write: Write, task: int, key: str) -> bool:
        own = self._writes[task].get(key)
        return all(self._start(one) is write for one in ((own,) if own else self._candidates(task, key)))

    def _start(self, write: Write) -> Write | None:
        """The write that it and all before it started from, if there is one: itself, where none was before."""
        ahead, starts = [write], self._starts
        while ahead:
            before = [seen for seen in ahead[-1].seen if seen.rank != INPUT_RANK]
            unknown = [seen for seen in before if seen not in starts]
            if unknown:
                ahead += unknown
                continue
            one, found = ahead.pop(), {starts[seen] for seen in before}
            starts[one] = one if not before else found.pop() if len(found) == 1 else None
        return starts[write]

    def down_from(self, site: Site, key: str) -> Stretch:
        """The writes that are seen at a site, down to its base."""
        below = {self._site_of(task, key) for task in site}
        if len(below) == 1:  # as mostly: they stand side by side
            base, first = below.pop(), None
            writes = tuple([own for task in site if (own := self._writes[task].get(key)) is not None])
        else:
            base = self._base(site, key)
            writes = self._ordered(site, base, key)
            first = _last_alone(writes)
        after = writes if first is None else _after(first, writes)
        if first is None:
            first = _first(writes, bool(base))
        if first is None:
            return Stretch(base, after, self._seen(after, None, base, key))
        return Stretch((), (first, *after), {first: (), **self._seen(after, first, base, key)})

    def _knows(self, task: int, key: str) -> bool:
        """Whether the task has written the key, or seen a task's write of it."""
        if key in self._writes[task]:
            return True
        standing = self._candidates(task, key)
        return bool(standing) and standing[0].rank != INPUT_RANK

    def _site_of(self, task: int, key: str) -> Site:
        return self.site(self._predecessors[task], key)

    def _base(self, site: Site, key: str) -> Site:
        """The nearest site below from which all go on; none where some saw nothing, or nothing in common.

        Tasks are visited in the order of their ranks, the last one first: so none of a site's comes before it is met.
        """
        unvisited = {site: len(site)}  # of each site that was met, how many of its tasks are still to be visited
        sites_with: dict[int, list[Site]] = {task: [site] for task in site}
        ahead = [-task for task in site]
        heapify(ahead)
        while ahead:
            task = -heappop(ahead)
            self.steps += 1
            for met in sites_with[task]:
                unvisited[met] -= 1
                if not unvisited[met]:
                    del unvisited[met]
            next_site = self._site_of(task, key)
            if not next_site:
                unvisited[()] = -1  # who sees nothing goes on from nowhere
            elif next_site not in unvisited:
                unvisited[next_site] = len(next_site)
                for one in next_site:
                    if one not in sites_with:
                        sites_with[one] = []
                        heappush(ahead, -one)
                    sites_with[one].append(next_site)
            if len(unvisited) == 1 and unvisited.get(next_site) == len(next_site):
                return next_site
        return ()

    def _ordered(self, site: Site, base: Site, key: str) -> tuple[Write, ...]:
        """The writes seen at a site and not at its base, in the merge order: as in `MergeOrder.of`."""

        def before(task: int) -> Site:
            below = self._site_of(task, key)
            return () if below == base else below

        tasks = in_order(site, before)
        self.steps += len(tasks)
        return tuple([self._writes[task][key] for task in tasks if key in self._writes[task]])

    def _seen(self, writes: Iterable[Write], first: Write | None, base: Site, key: str) -> dict[Write, Sequence[Write]]:
        seen: dict[Write, Sequence[Write]] = {write: write.seen for write in writes}
        several = [write for write in writes if len(write.seen) > 1]
        return seen | {write: self._seen_by(write, first, base, key) for write in several}

    def _seen_by(self, write: Write, first: Write | None, base: Site, key: str) -> tuple[Write, ...]:
        view = self._views.get((write, base))
        if view is None:
            site = self._site_of(write.rank, key)
            view = self._views[write, base] = () if site == base else self._ordered(site, base, key)
        if first is None or first in view:
            return view
        return (first, *view) if any(first in one.seen for one in (write, *view)) else view


def _first(writes: Sequence[Write], are_based: bool) -> Write | None:  # noqa: FBT001 - a fact about them
    """The one write that these start from, if there is one and not several that stand side by side."""
    if not are_based:
        return next((seen for write in writes for seen in write.seen if seen.rank == INPUT_RANK), None)
    among = set(writes)
    before = next((write.seen for write in writes if among.isdisjoint(write.seen)), ())
    return before[0] if len(before) == 1 else None


def _last_alone(writes: Sequence[Write]) -> Write | None:
    """The latest of the writes that all others came before or after, if there is one and it isn't the very last.

    They are met in the order of their ranks, which only grow from one write to the next: when just one is left to be
    looked at, all that were met before it came after it, unless one of them saw none of these.
    """
    among = set(writes)
    met = among.difference(seen for write in writes for seen in write.seen)
    ahead = [(-write.rank, write) for write in met]
    heapify(ahead)
    while ahead:
        _, write = heappop(ahead)
        if not ahead and len(met) > 1:
            return write
        if not among.issuperset(write.seen) or not write.seen:
            return None
        for seen in write.seen:
            if seen not in met:
                met.add(seen)
                heappush(ahead, (-seen.rank, seen))
    return None


def _after(alone: Write, writes: Sequence[Write]) -> tuple[Write, ...]:
    """Those of the writes that came after that one, which all others came before or after."""
    after = {alone}
    for write in sorted(writes, key=lambda write: write.rank):
        if any(seen in after for seen in write.seen):
            after.add(write)
    return tuple([write for write in writes if write in after and write is not alone])
