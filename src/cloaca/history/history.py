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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice, permutations
from weakref import proxy

from cloaca.history.ancestry import FEW, Ancestry
from cloaca.history.order import MergeOrder, sinks
from cloaca.history.passing import NOTHING_PASSED, Passed, Passing
from cloaca.history.plan import Plan
from cloaca.history.stretch import Site, Stretches
from cloaca.history.telling import PlaceOf, Telling, Told
from cloaca.history.told_digests import Combining, ContentOf, ToldDigests
from cloaca.history.write import INPUT_RANK, Write, unsuperseded
from cloaca.values.blobs import references_in, size_of
from cloaca.wire.messages import Version

MANY = 32
"""How many names of keys are worth telling to each task."""

LITTLE = 256
"""How many bytes a value takes at most that is sent along only because a task may well read it."""


class History:
    """The writes of one run.

    `inputs`: what the run was given. `ruled`: the keys that have merge rules; `collected`: those among them whose
    values are kept by task. `place_of`: where the function of a task stands, by rank. `passing`: which keys find the
    value of another key where no task has written them.
    """

    def __init__(
        self,
        plan: Plan,
        inputs: Mapping[str, Version],
        *,
        collected: AbstractSet[str] = frozenset(),
        ruled: AbstractSet[str] = frozenset(),
        place_of: PlaceOf = lambda _rank: "",
        passing: Passing = NOTHING_PASSED,
    ) -> None:
        self._plan = plan
        self._ruled = ruled
        self._place_of = place_of
        self._passing = passing
        self._passed = Passed(passing, collected)
        self._ancestry = Ancestry(plan)
        self._order = MergeOrder(plan)
        self._collected = collected
        self._inputs: dict[str, tuple[Write, ...]] = {
            key: (Write(INPUT_RANK, (version,), ()),) for key, version in inputs.items()
        }
        self._writes: list[dict[str, Write]] = [{}] * len(plan.names)
        here = proxy(self)  # in no circle: what a run held goes as soon as nobody has its history

        def candidates(rank: int, key: str) -> tuple[Write, ...]:
            found: tuple[Write, ...] = here.candidates(rank, key)
            return found

        stretches = Stretches(plan.predecessors, self._writes, candidates, self._ancestry)
        self._telling = Telling(self._order, stretches, place_of, ruled)
        self._completed = bytearray(len(plan.names))
        self._alone: dict[str, Write] = {}  # of each key the one write that stands, as mostly
        self._standing: dict[str, dict[Write, None]] = {}  # and where several stand, those
        self._lowest: dict[str, int] = {}  # the first rank that wrote a key, where it was written more than once
        self._remembered: dict[str, dict[int, tuple[Write, ...]]] = {}
        self._has_rivals = any(version.rivals for version in inputs.values())
        self._met_names: tuple[str, ...] = ()
        self._all_names: tuple[str, ...] = ()
        self._last_names: tuple[Sequence[int] | None, tuple[str, ...] | None] = (None, ())
        self._sees_many = bytearray(len(plan.names))  # names or tasks, as far as was asked
        self._met = {key for key, version in inputs.items() if version.rivals}  # of which several stood at any time
        self._walked = 0

    @property
    def steps(self) -> int:
        """How many tasks and writes were looked at in order to answer: what answering has cost."""
        return self._walked + self._order.steps + self._telling.steps

    # ---- for another thread ----------------------------------------------------------------------------------------

    def twin(self) -> "History":
        """Another history of the same run, which knows of no task's writes yet."""
        twin = History(
            self._plan, {}, collected=self._collected, ruled=self._ruled, place_of=self._place_of, passing=self._passing
        )
        twin._inputs = self._inputs
        return twin

    def take_over(self, rank: int, original: "History") -> None:
        """Take over the writes of a completed task, if there are any. Those of its ancestors come first."""
        writes = original._writes[rank]
        for key, write in writes.items():
            self._stand(key, write)
        self._writes[rank] = writes

    # ---- writing ---------------------------------------------------------------------------------------------------

    def record(self, rank: int, diff: Mapping[str, bytes | None]) -> Mapping[str, Write]:
        """Take over the writes of a completed task; returns those that count.

        To write what was there is none. Mostly the writer has left that out already: it can open values. What it didn't
        know of the bytes tell, here.
        """
        self._completed[rank] = True
        if not diff:
            return {}
        name = self._plan.names[rank]
        writes = {}
        for key, payload in diff.items():
            seen = self.candidates(rank, key)
            if self._is_unchanged(key, seen, payload) if seen else payload is None:
                continue
            writes[key] = write = Write(rank, (Version(name, payload),), seen)
            self._stand(key, write)
        self._writes[rank] = writes
        return writes

    def has_written(self, rank: int, key: str) -> bool:
        """Whether the task has written the key."""
        return key in self._writes[rank]

    def writes(self) -> Iterator[tuple[str, Write]]:
        """All there are, also of the input, by key."""
        yield from ((key, write) for key, writes in self._inputs.items() for write in writes)
        yield from (entry for writes in self._writes for entry in writes.items())

    def has_left_large(self, rank: int) -> bool:
        """Whether the task has written a value that is in a file."""
        payloads = (write.version.payload for write in self._writes[rank].values())
        return any(payload is not None and any(references_in(payload)) for payload in payloads)

    def writers(self, key: str) -> list[int]:
        """The tasks that have set the key, by rank."""
        found = ((rank, writes.get(key)) for rank, writes in enumerate(self._writes))
        return [rank for rank, write in found if write is not None and write.version.payload is not None]

    def stands_alone(self, key: str, write: Write) -> bool:
        """Whether all other writes of the key so far came before this one."""
        return self._alone.get(key) is write

    @property
    def shared(self) -> AbstractSet[bytes | None]:
        """The payloads that were passed in, and so belong to another key as well."""
        return self._passed.payloads

    @property
    def is_input_alike(self) -> bool:
        """Whether all tasks that depend on none see the same, from the start of the run to its end."""
        return not self._has_rivals and not self._passed.keys

    @property
    def ancestry(self) -> Ancestry:
        """What is known of which task comes before which."""
        return self._ancestry

    def _stand(self, key: str, write: Write) -> None:
        alone = self._alone.get(key)
        if alone is None and key not in self._standing:
            self._alone[key] = write
            return
        before = self._standing.pop(key) if alone is None else {self._alone.pop(key): None}
        self._lowest[key] = min(write.rank, self._lowest.get(key, write.rank if alone is None else alone.rank))
        for superseded in write.seen:
            before.pop(superseded, None)
        if not before:
            self._alone[key] = write
            return
        before[write] = None
        self._standing[key] = before
        self._met.add(key)

    def _stands(self, key: str) -> tuple[Write, ...]:
        """The writes of the key that stand, in no particular order."""
        alone = self._alone.get(key)
        return tuple(self._standing.get(key, ())) if alone is None else (alone,)

    def _is_unchanged(self, key: str, seen: Sequence[Write], payload: bytes | None) -> bool:
        version = seen[0].version
        return len(seen) == 1 and version.payload == payload and not version.rivals and key not in self._collected

    # ---- reading ---------------------------------------------------------------------------------------------------

    def candidates(self, rank: int, key: str) -> tuple[Write, ...]:
        """The writes of `key` that stand at task `rank`, in the merge order; empty where the key was never written."""
        alone = self._alone.get(key)
        if alone is None:
            if key not in self._standing:
                given = self._inputs.get(key, ())
                return given if given or not self._passed.keys else self._passed.to(rank, key, self._in_full)
        elif self._ancestry.is_surely_above(alone.rank, rank):
            return (alone,)
        remembered = self._remembered.setdefault(key, {})
        if rank not in remembered:
            start = self._climb(rank, key)
            if start not in remembered:
                only = self._only(start, self._stands(key))
                remembered[start] = self._walk(start, key) if only is None else (only,)
            remembered[rank] = remembered[start]
        found = remembered[rank]
        return found if found or not self._passed.keys else self._passed.to(rank, key, self._in_full)

    def _given_to(self, rank: int) -> dict[str, tuple[Write, ...]]:
        """What the task sees that no task has written, by key: what is passed in first, then the input."""
        keys = [key for key in self._passed.keys_at(rank) if key not in self._inputs]
        passed = {key: self._passed.to(rank, key, self._in_full) for key in keys}
        return {**{key: writes for key, writes in passed.items() if writes}, **self._inputs} if keys else self._inputs

    def _climb(self, rank: int, key: str) -> int:
        """The highest task that surely sees what the task sees: up along single dependencies that didn't write."""
        predecessors, remembered = self._plan.predecessors, self._remembered[key]
        while rank not in remembered and len(predecessors[rank]) == 1:
            (above,) = predecessors[rank]
            if key in self._writes[above]:
                break
            rank = above
            self._walked += 1
        return rank

    def _only(self, rank: int, standing: Iterable[Write]) -> Write | None:
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
        only = self._alone.get(key)
        lowest = only.rank if only is not None and key not in self._lowest else self._lowest[key]
        found: dict[Write, None] = {}
        visited: set[int] = set()
        ahead = list(reversed(predecessors[rank]))
        while ahead:
            task = ahead.pop()
            if task < lowest or task in visited:
                continue
            visited.add(task)
            self._walked += 1
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
        if len(writes) == 1:
            return writes
        if len(writes) > FEW:
            return unsuperseded(writes)
        above: set[Write] = set()
        for one, other in permutations(writes, 2):
            if self._ancestry.is_surely_above(one.rank, other.rank):
                above.add(one)
            elif not self._ancestry.is_surely_not_above(one.rank, other.rank):
                return unsuperseded(writes)
        return tuple(write for write in writes if write not in above)

    def versions(self, rank: int, key: str) -> Told:
        """The versions of `key` from which its value at task `rank` follows; none where the key was never written."""
        return self._told(self._plan.predecessors[rank], key, self.candidates(rank, key), self._telling.joined)

    def _in_full(self, rank: int, key: str) -> Told:
        """The same, where it matters how many there are."""
        return self._told(self._plan.predecessors[rank], key, self.candidates(rank, key), self._telling.joined_in_full)

    def _told(
        self, dependencies: Site, key: str, candidates: Sequence[Write], joined: Callable[[Site, str], Told]
    ) -> Told:
        if key in self._collected and candidates:
            return self._telling.collected(dependencies, key, candidates)
        if len(candidates) == 1:
            return candidates[0].told
        return joined(dependencies, key) if candidates else ()

    def settle(self, rank: int, settled: Mapping[str, Version]) -> None:
        """The task has found out what these keys come to, of which it was told several versions."""
        for key, version in settled.items():
            if key not in self._collected and len(self.candidates(rank, key)) > 1:
                self._telling.settle(self._plan.predecessors[rank], key, version)

    def told(self, rank: int, keys: Iterable[str]) -> dict[str, Told]:
        """The versions of each of the keys that were written."""
        found: dict[str, Told] = {}
        direct = self._ancestry.direct(rank)
        for key in keys:
            alone = self._alone.get(key)
            if alone is not None and alone.rank in direct and key not in self._collected:
                found[key] = alone.told  # as mostly, where a task reads what many others left
            elif alone is not None or key in self._standing or key in self._inputs or key in self._passed.keys:
                told = self.versions(rank, key)
                if told:
                    found[key] = told
        return found

    def left_by_dependencies(self, rank: int) -> dict[str, Told]:
        """What the task's few dependencies wrote, where that is little and stands by itself."""
        dependencies = self._plan.predecessors[rank]
        found: dict[str, Told] = {}
        for task in dependencies if len(dependencies) <= FEW else ():
            for key, write in islice(self._writes[task].items(), FEW):
                payload = write.version.payload
                is_little = payload is not None and len(payload) <= LITTLE
                if is_little and self._alone.get(key) is write and key not in self._collected:
                    found[key] = write.told
        return found

    def digests(self, content: ContentOf, combining: Combining) -> ToldDigests:
        """What tasks are told, as digests. `content` is that of a payload."""
        return ToldDigests(
            self._plan.predecessors,
            self.candidates,
            self._telling,
            self._passed,
            collected=self._collected,
            content=content,
            combining=combining,
        )

    def joined_keys(self, rank: int) -> list[str]:
        """The keys of which the task sees several candidates, in the order of the alphabet."""
        return sorted(key for key in self._met if len(self.candidates(rank, key)) > 1)

    def met(self, rank: int) -> tuple[str, ...] | None:
        """The keys of which the task may see several candidates, or one in conflict; `None` where they are too many."""
        passed = self._passed.keys_at(rank) if self._passed.keys else ()
        if not self._met or not (self._has_rivals or self._ancestry.is_beneath_join(rank)):
            return passed
        if len(self._met) > MANY:
            return None
        if len(self._met_names) != len(self._met):
            self._met_names = tuple(sorted(self._met))
        return (*passed, *self._met_names) if passed else self._met_names

    def names(self, rank: int) -> tuple[str, ...] | None:
        """Every key that the task may see, and maybe others; `None` where they are too many, or too many wrote them."""
        passed = self._passed.keys_at(rank) if self._passed.keys else ()
        names = self._names_after(rank)
        if names is None:
            names = self._names_of_all()
        return (*passed, *names) if passed and names is not None else names

    def _names_of_all(self) -> tuple[str, ...] | None:
        count = len(self._alone) + len(self._standing) + len(self._inputs)
        if count > MANY:
            return None
        if count != len(self._all_names):
            self._all_names = (*self._inputs, *self._alone, *self._standing)
        return self._all_names

    def _names_after(self, rank: int) -> tuple[str, ...] | None:
        """What the task's ancestors have set, where both are few: what is too much for one is so for all after it."""
        dependencies = self._plan.predecessors[rank]
        last, names = self._last_names
        if last != dependencies:
            is_too_much = any(map(self._sees_many.__getitem__, dependencies))
            names = None if is_too_much else self._names_of_few(dependencies)
            self._last_names = dependencies, names
        self._sees_many[rank] = names is None
        return names

    def _names_of_few(self, dependencies: Sequence[int]) -> tuple[str, ...] | None:
        if len(self._inputs) > MANY:
            return None
        names, tasks = [*self._inputs], [*dependencies]
        for task in tasks:  # grows meanwhile
            if len(tasks) > FEW or len(names) > MANY:
                return None
            names += self._writes[task]
            tasks += [above for above in self._plan.predecessors[task] if above not in tasks]
        return tuple(names) if len(names) <= MANY else None

    def near(self, rank: int) -> Iterator[tuple[str, Told] | None]:
        """Every key that the task sees and that stands by itself, with its version: those written nearest first.

        Yields `None` for a task on the way that adds none, so that a caller can bound the work too.
        """
        given: set[str] = set()
        for task in self.ancestors_nearest_first(rank):
            is_barren = True
            for key, write in self._writes[task].items():
                if key in given:
                    continue
                given.add(key)
                is_barren = False
                is_alone = self._alone.get(key) is write and key not in self._collected
                yield (key, write.told) if is_alone else self._alone_at(rank, key)
            if is_barren:
                yield None
        yield from (self._alone_at(rank, key) for key in self._given_to(rank) if key not in given)

    def _alone_at(self, rank: int, key: str) -> tuple[str, Told] | None:
        candidates = () if key in self._collected else self.candidates(rank, key)
        return (key, candidates[0].told) if len(candidates) == 1 else None

    def whole(self, rank: int) -> dict[str, Told]:
        """Every key that the task sees, in a fixed order: the input's first, then as the candidates were set."""
        return {
            key: writes[0].told if len(writes) == 1 and key not in self._collected else self.versions(rank, key)
            for key, writes in self.standing_at(rank).items()
        }

    def standing_at(self, rank: int) -> dict[str, tuple[Write, ...]]:
        """The same keys, each with its candidates, in no particular order of these."""
        are_few = len(self._alone) + len(self._standing) < rank // FEW
        standing = self._of_each_key(rank) if are_few else self._of_ancestors(rank)
        untouched = self._given_to(rank)
        tasks = sorted({write.rank for writes in standing.values() for write in writes})
        return self._in_order(untouched, {**untouched, **standing}, tasks)

    def _of_each_key(self, rank: int) -> dict[str, tuple[Write, ...]]:
        """The writes that stand at the task, by key: each key of the run is looked up."""
        found = {key: self.candidates(rank, key) for key in (*self._alone, *self._standing)}
        return {key: writes for key, writes in found.items() if writes and writes[0].rank != INPUT_RANK}

    def _of_ancestors(self, rank: int) -> dict[str, tuple[Write, ...]]:
        """The same, from what each ancestor has written."""
        found: dict[str, list[Write]] = {}
        for task in self._order.of(self._plan.predecessors[rank]):
            for key, write in self._writes[task].items():
                found.setdefault(key, []).append(write)
        return {key: self._unsuperseded(tuple(writes)) for key, writes in found.items()}

    def final(self) -> dict[str, Told]:
        """Every key at the end of the run, as a task would see it that depends on all sinks."""
        if not self._met and not self._collected:
            return self._final_alone()
        ends = sinks(self._plan, self._completed)
        ordered = self._in_order(self._inputs, self.standing(), range(len(self._writes)))
        in_full = self._telling.joined_in_full
        return {key: self._told(ends, key, writes, in_full) for key, writes in ordered.items()}

    def _final_alone(self) -> dict[str, Told]:
        """The same where one write of each key stands, as mostly: without asking how they go together."""
        alone = self._alone
        final: dict[str, Told] = {key: writes[0].told for key, writes in self._inputs.items() if key not in alone}
        final |= {key: write.told for writes in self._writes for key, write in writes.items() if alone[key] is write}
        return final

    @property
    def completed(self) -> bytes:
        """Which tasks have completed, by rank."""
        return bytes(self._completed)

    def sizes(self) -> dict[str, dict[int, int | None]]:
        """Of each key that was written more than once: how many bytes each write takes, by rank.

        `None` stands for a removal, or for several values that were given in conflict.
        """
        given = {**self._passed.given(), **self._inputs}
        overwritten = (key for key in given if key in self._alone or key in self._standing)
        found: dict[str, dict[int, int | None]] = {key: {} for key in (*self._lowest, *overwritten)}
        if not found:
            return found
        for key in given.keys() & found.keys():
            found[key][INPUT_RANK] = _size(given[key][0])
        for rank, writes in enumerate(self._writes):
            for key, write in writes.items():
                sizes = found.get(key)
                if sizes is not None:
                    payload = write.told[0].payload
                    sizes[rank] = None if payload is None else size_of(payload)
        return found

    def sizes_of_lone(self, but: AbstractSet[str]) -> dict[str, tuple[int, int | None]]:
        """Of each other key that was written once: the rank of the writer, and how many bytes it takes."""
        lone = ((key, write) for key, write in self._alone.items() if key not in self._lowest and key not in but)
        return {key: (write.rank, _size(write)) for key, write in lone}

    def passed_in(self) -> Passing:
        """Which keys find the value of another one, but for those that have one by the input."""
        return {
            rank: {key: found for key, found in sources.items() if key not in self._inputs}
            for rank, sources in self._passing.items()
        }

    def all_writes(self, key: str) -> list[Write]:
        """All writes of the key that what stands in the end goes back to, in the merge order there."""
        return self._telling.all_writes(sinks(self._plan, self._completed), self._stands(key))

    def standing(self) -> dict[str, tuple[Write, ...]]:
        """Every key at the end of the run, with the writes that stand, in no particular order."""
        return {
            **self._inputs,
            **{key: (write,) for key, write in self._alone.items()},
            **{key: tuple(standing) for key, standing in self._standing.items()},
        }

    def _in_order(
        self, given: Mapping[str, tuple[Write, ...]], found: Mapping[str, tuple[Write, ...]], tasks: Iterable[int]
    ) -> dict[str, tuple[Write, ...]]:
        ordered: dict[str, tuple[Write, ...]] = {key: writes for key, writes in given.items() if found[key] is writes}
        standing = {write for writes in found.values() for write in writes}
        for task in tasks:
            for key, write in self._writes[task].items():
                if key not in ordered and write in standing:
                    ordered[key] = found[key]
        return ordered

    def ancestors(self, rank: int) -> list[int]:
        """Every task that comes before the task, by rank."""
        return sorted(self._order.of(self._plan.predecessors[rank]))

    def ancestors_nearest_first(self, rank: int) -> Iterator[int]:
        """The same tasks: the dependencies first, then theirs, and so on."""
        visited: set[int] = set()
        ahead = deque(self._plan.predecessors[rank])
        while ahead:
            task = ahead.popleft()
            if task not in visited:
                visited.add(task)
                yield task
                ahead.extend(self._plan.predecessors[task])


def _size(write: Write) -> int | None:
    """How many bytes it takes, if it is a value."""
    payload = write.version.payload
    return None if payload is None else size_of(payload)
