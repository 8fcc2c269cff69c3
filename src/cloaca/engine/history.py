"""What every task of a run sees: the writes of its ancestors, and which of them stand.

Purpose
    `candidates(task, key)` answers the one question that merging rests on: which writes of `key` by ancestors of
    `task` has no other ancestor superseded, in the merge order. It is a pure function of the workflow and the writes;
    the order in which tasks finished leaves no trace in any answer.

How
    A finished task leaves its writes, and nothing else: recording costs the size of its diff, whatever the size of the
    context and the number of branches that meet. A key is looked up only when a task reads it, by walking back through
    dependencies to the nearest writers; each walk is remembered at the task that asked, where the next walk ends.
    Two short cuts make most walks unnecessary: a key that no task has written has the input's value everywhere, and a
    key with one standing write in the whole run has that value wherever the writer is known to be an ancestor.

Why no copies of the context per task
    A context per task as parent and diff makes every join enumerate what its branches lack, read or not: in a layered
    DAG with random dependencies that is the whole history at every task. Persistent maps have the same cost. Looking
    up what is read, when it is read, costs nothing at a join.

A write supersedes the writes of its task's ancestors. `Write.seen` holds what its writer would have read; so
*superseded* is reachability through `seen`, and ranks bound how far one has to look.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, permutations

from msgspec import Struct

from cloaca.engine.ancestry import FEW, Ancestry
from cloaca.engine.plan import Plan
from cloaca.wire.messages import Version

INPUT_RANK = -1


class Write(Struct, frozen=True, eq=False, gc=False):
    """One write of one key: the writer's rank, the version, and the candidates that its writer saw."""

    rank: int
    version: Version
    seen: "tuple[Write, ...]"

    def __repr__(self) -> str:
        return f"Write({self.version.writer!r}, {self.version.payload!r})"


class History:
    """The writes of one run."""

    def __init__(self, plan: Plan, inputs: Mapping[str, tuple[Version, ...]]) -> None:
        self._plan = plan
        self._ancestry = Ancestry(plan)
        self._inputs = {
            key: tuple(Write(INPUT_RANK, version, ()) for version in versions) for key, versions in inputs.items()
        }
        self._writes: list[dict[str, Write]] = [{}] * len(plan.names)
        self._standing: dict[str, dict[Write, None]] = {}
        self._lowest: dict[str, int] = {}
        self._remembered: dict[str, dict[int, tuple[Write, ...]]] = {}
        self.steps = 0

    # ---- writing ---------------------------------------------------------------------------------------------------

    def record(self, rank: int, diff: Mapping[str, bytes | None]) -> None:
        """Take over the writes of a completed task. Writing the very bytes that the writer saw is no write."""
        if not diff:
            return
        name = self._plan.names[rank]
        writes = {}
        for key, payload in diff.items():
            seen = self.candidates(rank, key)
            if _is_unchanged(seen, payload):
                continue
            writes[key] = write = Write(rank, Version(name, payload), seen)
            self._stand(key, write)
        self._writes[rank] = writes

    def _stand(self, key: str, write: Write) -> None:
        standing = self._standing.get(key)
        if standing is None:
            self._standing[key] = {write: None}
            self._lowest[key] = write.rank
            return
        for superseded in write.seen:
            standing.pop(superseded, None)
        standing[write] = None
        self._lowest[key] = min(self._lowest[key], write.rank)

    # ---- reading ---------------------------------------------------------------------------------------------------

    def candidates(self, rank: int, key: str) -> tuple[Write, ...]:
        """The writes of `key` that stand at task `rank`, in the merge order; empty where the key was never written."""
        standing = self._standing.get(key)
        if standing is None:
            return self._inputs.get(key, ())
        if len(standing) == 1:
            (write,) = standing
            if self._ancestry.is_surely_above(write.rank, rank):
                return (write,)
        remembered = self._remembered.setdefault(key, {})
        if rank not in remembered:
            start = self._climb(rank, key)
            if start not in remembered:
                alone = self._alone(start, standing)
                remembered[start] = self._walk(start, key) if alone is None else (alone,)
            remembered[rank] = remembered[start]
        return remembered[rank]

    def _climb(self, rank: int, key: str) -> int:
        """The highest task that surely sees what the task sees: up along single dependencies that didn't write."""
        predecessors, remembered = self._plan.predecessors, self._remembered[key]
        while rank not in remembered and len(predecessors[rank]) == 1:
            (above,) = predecessors[rank]
            if key in self._writes[above]:
                break
            rank = above
            self.steps += 1
        return rank

    def _alone(self, rank: int, standing: Iterable[Write]) -> Write | None:
        """The one write that the task sees, if a few questions settle that there is just one."""
        ahead = list(islice(standing, FEW))
        seen: list[Write] = []
        for write in ahead:
            if write.rank == INPUT_RANK:
                continue
            if self._ancestry.is_surely_above(write.rank, rank):
                seen.append(write)
            elif len(ahead) >= FEW or not self._ancestry.is_surely_not_above(write.rank, rank):
                return None
            else:
                ahead += write.seen
        seen = list(dict.fromkeys(seen))
        return seen[0] if len(seen) == 1 else None

    def _walk(self, rank: int, key: str) -> tuple[Write, ...]:
        """Back from the task to the nearest writers, dependencies in the order in which they are listed."""
        predecessors, writes = self._plan.predecessors, self._writes
        remembered = self._remembered[key]
        standing = self._standing[key]
        only = next(iter(standing)) if len(standing) == 1 else None
        lowest = self._lowest[key]
        found: dict[Write, None] = {}
        visited: set[int] = set()
        ahead = list(reversed(predecessors[rank]))
        while ahead:
            task = ahead.pop()
            if task < lowest or task in visited:
                continue
            visited.add(task)
            self.steps += 1
            write = writes[task].get(key)
            if write is not None:
                found[write] = None
            elif only is not None and self._ancestry.is_surely_above(only.rank, task):
                return (only,)
            elif task in remembered:
                found.update((write, None) for write in remembered[task] if write.rank != INPUT_RANK)
            else:
                ahead.extend(reversed(predecessors[task]))
        return self._unsuperseded(tuple(found)) if found else self._inputs.get(key, ())

    def _unsuperseded(self, writes: tuple[Write, ...]) -> tuple[Write, ...]:
        """As the function of that name; few writes are settled by asking about pairs, where that is certain."""
        if len(writes) > FEW:
            return unsuperseded(writes)
        above: set[Write] = set()
        for one, other in permutations(writes, 2):
            if self._ancestry.is_surely_above(one.rank, other.rank):
                above.add(one)
            elif not self._ancestry.is_surely_not_above(one.rank, other.rank):
                return unsuperseded(writes)
        return tuple(write for write in writes if write not in above)

    def near(self, rank: int) -> Iterator[tuple[str, tuple[Write, ...]] | None]:
        """Every key that the task sees, with its candidates: those written nearest to the task first.

        Yields `None` for a task on the way that adds no key, so that a caller can bound the work too.
        """
        given: set[str] = set()
        visited: set[int] = set()
        ahead = deque(self._plan.predecessors[rank])
        while ahead:
            task = ahead.popleft()
            if task in visited:
                continue
            visited.add(task)
            fresh = [key for key in self._writes[task] if key not in given]
            given.update(fresh)
            yield from ((key, self.candidates(rank, key)) for key in fresh)
            if not fresh:
                yield None
            ahead.extend(self._plan.predecessors[task])
        yield from ((key, writes) for key, writes in self._inputs.items() if key not in given)

    def whole(self, rank: int) -> dict[str, tuple[Write, ...]]:
        """Every key that the task sees, in a fixed order: the input's first, then as the candidates were set."""
        found: dict[str, list[Write]] = {}
        for task in self._merge_order(rank):
            for key, write in self._writes[task].items():
                found.setdefault(key, []).append(write)
        standing = {key: self._unsuperseded(tuple(writes)) for key, writes in found.items()}
        return self._in_order(
            {**self._inputs, **standing}, sorted({write.rank for writes in standing.values() for write in writes})
        )

    def final(self) -> dict[str, tuple[Write, ...]]:
        """Every key at the end of the run; where several writes stand, in the writers' order of definition."""
        defined = self._plan.defined
        found = dict(self._inputs)
        for key, standing in self._standing.items():
            writes = tuple(standing)
            found[key] = writes if len(writes) == 1 else tuple(sorted(writes, key=lambda write: defined[write.rank]))
        return self._in_order(found, range(len(self._writes)))

    def _in_order(self, found: Mapping[str, tuple[Write, ...]], tasks: Iterable[int]) -> dict[str, tuple[Write, ...]]:
        ordered = {key: writes for key, writes in self._inputs.items() if found[key] is writes}
        for task in tasks:
            for key, write in self._writes[task].items():
                if key not in ordered and write in found.get(key, ()):
                    ordered[key] = found[key]
        return ordered

    def _merge_order(self, rank: int) -> list[int]:
        """The task's ancestors: for each dependency as listed, first its own ancestors in this order, then itself."""
        predecessors = self._plan.predecessors
        order: list[int] = []
        placed: set[int] = set()
        ahead = list(reversed(predecessors[rank]))
        while ahead:
            task = ahead[-1]
            unplaced = [] if task in placed else [above for above in predecessors[task] if above not in placed]
            if unplaced:
                ahead += reversed(unplaced)
                continue
            ahead.pop()
            if task not in placed:
                placed.add(task)
                order.append(task)
        return order

    def ancestors(self, rank: int) -> list[int]:
        """Every task that comes before the task, by rank."""
        return sorted(self._merge_order(rank))

    # ---- what lies beneath -----------------------------------------------------------------------------------------

    @staticmethod
    def base(candidates: tuple[Write, ...]) -> tuple[Write, ...]:
        """The writes that precede all candidates and that no other such write supersedes."""
        tops = candidates[0].seen if candidates else ()
        common = {*tops, *_beneath(tops)}
        for candidate in candidates[1:]:
            first = tuple(_first_within(candidate.seen, common))
            if first != tops:
                tops = first
                common = {*tops, *_beneath(tops)}
        return unsuperseded(tops)


def unsuperseded(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Those of `writes` (of one key) that none of the others supersedes, in the order given."""
    writes = tuple(writes)
    if len(writes) < 2:  # noqa: PLR2004 - one write stands by itself
        return writes
    floor = min(write.rank for write in writes)
    superseded = _beneath(writes, floor)
    return tuple(write for write in writes if write not in superseded)


def _beneath(writes: Iterable[Write], floor: int = INPUT_RANK) -> set[Write]:
    """Every write that one of `writes` supersedes, down to the rank `floor`."""
    beneath: set[Write] = set()
    ahead = [seen for write in writes for seen in write.seen]
    while ahead:
        write = ahead.pop()
        if write.rank >= floor and write not in beneath:
            beneath.add(write)
            ahead.extend(write.seen)
    return beneath


def _first_within(start: Iterable[Write], wanted: set[Write]) -> Iterator[Write]:
    """Going down from `start`, the first writes on each path that are in `wanted`, each once."""
    visited: set[Write] = set()
    ahead = list(reversed(tuple(start)))
    while ahead:
        write = ahead.pop()
        if write in visited:
            continue
        visited.add(write)
        if write in wanted:
            yield write
        else:
            ahead.extend(reversed(write.seen))


def _is_unchanged(seen: tuple[Write, ...], payload: bytes | None) -> bool:
    if not seen:
        return payload is None
    return all(write.version.payload == payload for write in seen)
