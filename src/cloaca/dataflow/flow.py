"""Flow: which keys reach which task, worked out from what each task's code does. Pure, and linear in the workflow.

Nearly all questions are answered by a task's dependencies, or by the labels of `history/ancestry`. For the keys that
are left, sets of keys go through the plan, as the bits of integers. What would take more than a fixed share of the
workflow's size isn't asked: nothing is said then.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

from cloaca.dataflow.symbols import ANY, Symbol
from cloaca.dataflow.touches import Touches
from cloaca.history.ancestry import FEW, Ancestry
from cloaca.history.plan import Plan

AT_ONCE = 4096
MOST_KEYS = 8 * AT_ONCE
MOST_STEPS = 8
"""How many tasks are walked over and standing writes looked at, for each task of the workflow."""
FEW_TASKS = 100
_UNCLEAR = frozenset({"unknown", "added"})
_VAGUE = _UNCLEAR | {"collected"}

_Standing = Mapping[str, tuple[int, ...]]


class Flow:
    """What flows between the tasks of a plan. `touches` are by rank.

    `exceptional` are tasks that may be skipped where all goes well. `passed`: keys of copies, with those from which
    their values come.
    """

    def __init__(
        self,
        plan: Plan,
        touches: Sequence[Touches],
        exceptional: frozenset[int],
        passed: Mapping[str, str] | None = None,
    ) -> None:
        self._exceptional = exceptional
        self._passed = passed or {}
        self._plan = plan
        self._ancestry = Ancestry(plan)
        self._steps = MOST_STEPS * (len(touches) + FEW_TASKS)
        self.touches = touches
        self.setters: dict[str, list[int]] = defaultdict(list)
        self.readers: dict[str, list[int]] = defaultdict(list)
        for rank, touched in enumerate(touches):
            for key in touched.sets:
                self.setters[key].append(rank)
            for key in touched.reads | touched.asks:
                self.readers[key].append(rank)
        self.beneath_open = plan.beneath(lambda one: touches[one].leaves_more)
        self.unmet = self._unmet([touched.needs - touched.sets for touched in touches])

    @cached_property
    def unfound(self) -> dict[str, list[int]]:
        """The keys that tasks look for, and that surely no task before them sets, with those tasks."""
        return self._unmet([(one.looks | one.asks) - one.needs - one.sets for one in self.touches])

    # ---- keys that nobody before sets ------------------------------------------------------------------------------

    def _unmet(self, keys: Sequence[AbstractSet[str]]) -> dict[str, list[int]]:
        """Of the keys of each task, those that surely no task before it sets, with these tasks.

        Where the value of another key was passed in for one, that key is meant.
        """
        needed: dict[str, list[int]] = defaultdict(list)
        for rank, touched in enumerate(self.touches):
            if not self.beneath_open[rank] and not touched.sets_more:
                for key in keys[rank]:
                    needed[key].append(rank)
        unmet: dict[str, list[int]] = {}
        while needed:
            found = self._unmet_of(needed)
            needed = defaultdict(list)
            for key, ranks in found.items():
                source = self._passed.get(key)
                if source is None:
                    unmet[key] = sorted({*unmet.get(key, ()), *ranks})
                else:
                    needed[source] += ranks
        return unmet

    def _unmet_of(self, needed: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        """The same of these keys and tasks."""
        unmet: dict[str, list[int]] = defaultdict(list)
        unclear: dict[str, list[int]] = defaultdict(list)
        for key, ranks in needed.items():
            if key in self.setters:
                unclear[key] = [rank for rank in ranks if not self._is_near(rank, key)]
            else:
                unmet[key] += ranks
        for key, rank in self._not_reached({key: ranks for key, ranks in unclear.items() if ranks}):
            unmet[key].append(rank)
        return unmet

    def _is_near(self, rank: int, key: str) -> bool:
        """Whether a few looks tell that a task before it sets the key."""
        dependencies, setters = self._plan.predecessors[rank], self.setters[key]
        if len(dependencies) <= FEW and any(key in self.touches[one].sets for one in dependencies):
            return True
        return any(self._ancestry.is_surely_above(one, rank) for one in setters[:FEW])

    def _not_reached(self, unclear: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, int]]:
        keys = list(unclear)[:MOST_KEYS]
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            reached = self._reached(some)
            for bit, key in enumerate(some):
                for rank in unclear[key]:
                    if not reached[rank] >> bit & 1:
                        yield key, rank

    def _reached(self, keys: Sequence[str]) -> list[int]:
        """For each task, which of the keys are set before it, as bits."""
        own: dict[int, int] = defaultdict(int)
        for bit, key in enumerate(keys):
            for rank in self.setters[key]:
                own[rank] |= 1 << bit
        reached: list[int] = []
        for dependencies in self._plan.predecessors:
            bits = 0
            for one in dependencies:
                bits |= reached[one] | own.get(one, 0)
            reached.append(bits)
        return reached

    def comes_before(self, earlier: int, later: int) -> bool | None:
        """Whether one task is an ancestor of the other; `None` where finding out would take too long."""
        if self._ancestry.is_surely_above(earlier, later):
            return True
        if self._ancestry.is_surely_not_above(earlier, later):
            return False
        for task in self._ancestry.way_up(later, earlier):
            if task == earlier:
                return True
            self._steps -= 1
            if self._steps < 0:
                return None
        return False

    def value(self, rank: int, key: str) -> Symbol:
        """What the task sets the key to."""
        return self.touches[rank].values.get(key, ANY)

    # ---- keys that two set -----------------------------------------------------------------------------------------

    def clashes(self, settled: frozenset[str]) -> Iterator[tuple[str, int, int, int | None]]:
        """Keys that have two values where branches meet: the key, both setters, and who reads it there.

        Where branches meet only at the end, in the result, nobody does. Each key once, the `settled` ones never.
        """
        asked = {key for key, ranks in self.setters.items() if len(ranks) > 1} - settled
        beneath = self._plan.beneath(self._exceptional.__contains__) if asked else []  # then two may never meet
        perhaps = {rank for rank, is_beneath in enumerate(beneath) if is_beneath} | self._exceptional
        asked = {key for key in asked if perhaps.isdisjoint(self.setters[key])}
        standing: list[_Standing] = []
        for rank, dependencies in enumerate(self._plan.predecessors if asked else ()):
            found = self._met(standing, dependencies)
            if found is None:
                return
            touched = self.touches[rank]
            for key in sorted(touched.reads & asked):
                if len(found.get(key, ())) > 1 and not self.beneath_open[rank]:
                    one, other = found[key]
                    yield key, one, other, rank
                    asked.discard(key)
            own = touched.sets & asked
            self._steps -= len(found) if own else 0
            standing.append({**found, **dict.fromkeys(own, (rank,))} if own else found)
        yield from self._left(standing, asked)

    def _left(self, standing: Sequence[_Standing], asked: set[str]) -> Iterator[tuple[str, int, int, None]]:
        """The same of keys that nobody reads where branches meet, and of which the result has two values."""
        if not asked or any(touched.leaves_more for touched in self.touches):
            return
        leaves = [rank for rank, successors in enumerate(self._plan.successors) if not successors]
        for key, ranks in sorted((self._met(standing, leaves) or {}).items()):
            if len(ranks) > 1 and key in asked:
                one, other = ranks
                yield key, one, other, None

    def _met(self, standing: Sequence[_Standing], dependencies: Sequence[int]) -> _Standing | None:
        """What stands where these tasks meet; `None` where finding out would take too long."""
        if len(dependencies) > 1:
            self._steps -= sum([len(standing[one]) for one in dependencies])
        return None if self._steps < 0 else self._joined([standing[one] for one in dependencies])

    def _joined(self, before: Sequence[_Standing]) -> _Standing:
        """The standing writes where branches meet: those that no other one supersedes, two at most."""
        first = before[0] if before else {}
        if all(other is first for other in before):
            return first
        joined: dict[str, tuple[int, ...]] = {}
        for standing in before:
            for key, ranks in standing.items():
                for rank in ranks:
                    joined[key] = self._with(joined.get(key, ()), rank, key)
        return joined

    def _with(self, ranks: tuple[int, ...], rank: int, key: str) -> tuple[int, ...]:
        """The writers of a key with one more. Where it isn't sure that two are apart, or agree, one counts."""
        if not ranks:
            return (rank,)
        if rank in ranks:
            return ranks
        for other in ranks:
            first, last = min(rank, other), max(rank, other)
            if self.comes_before(first, last) is not False or self._agree(first, last, key):
                return (*(one for one in ranks if one != other), last)
        return (*ranks[:1], rank)

    def _agree(self, one: int, other: int, key: str) -> bool:
        """Whether what both set is one value, or is merged by its parts, or perhaps only one of them sets it."""
        if key not in self.touches[one].makes and key not in self.touches[other].makes:
            return True
        values = {self.value(rank, key) for rank in (one, other)}
        kinds = {value.kind for value in values}
        if kinds == {"list"}:  # each keeps its items: those who mean that look at the key before
            return any(key in self.touches[rank].reads | self.touches[rank].asks for rank in (one, other))
        if len(values) == 1:
            (value,) = values
            return value.is_constant or value.kind in ("dict", "collected", "removed")
        if any(value.is_constant for value in values):
            return False
        return not kinds <= _UNCLEAR and (kinds <= {"list", *_VAGUE} or kinds <= {"dict", *_VAGUE})
