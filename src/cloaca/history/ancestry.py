"""Cheap answers to "does this task come before that one?": yes, no, or *not known*, and then the caller walks.

Yes is known for direct dependencies, and along *stems*: every task keeps one of its dependencies, the one with the
longest path behind it; the stems form a forest, and numbering it makes "is above along stems" two comparisons.

No is known where the intervals of a depth-first numbering say so: an ancestor's interval holds those of all that come
after it (one labelling of GRAIL: Yildirim, Chaoji and Zaki, 2010).

Exact answers for all pairs would take n * n bits, or labels whose size is the width of the workflow. For pairs whose
ranks are close, `is_known_above` has them: each task keeps its ancestors among the `NEAR` tasks before it, as bits.
"""

from collections.abc import Collection, Iterator
from functools import cached_property
from operator import eq, or_

from cloaca.history.plan import Plan

FEW = 4

NEAR = 4096
"""Up to which distance between ranks it is known for certain which task comes before which."""


class Ancestry:
    """The labels of a plan. Each kind is made when it is first needed, once: O(tasks + dependencies)."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._direct: dict[int, range | frozenset[int]] = {}
        self._near: list[int] = []

    def is_known_above(self, ancestor: int, task: int) -> bool:
        """Whether `ancestor` comes before `task`. Of tasks that are far apart it may not be known that it does."""
        if ancestor >= task:
            return False
        if task - ancestor > NEAR:
            return self.is_surely_above(ancestor, task)
        return bool(self._nearest(task) >> (task - ancestor - 1) & 1)

    def may_be_above(self, ancestor: int, task: int) -> bool:
        """Whether `ancestor` comes before `task`. Of tasks that are far apart it may not be known that it doesn't."""
        if task - ancestor <= NEAR:
            return self.is_known_above(ancestor, task)
        return not self.is_surely_not_above(ancestor, task)

    def _nearest(self, task: int) -> int:
        """The task's ancestors among those just before it: the lowest bit stands for the one of the rank before."""
        for rank in range(len(self._near), task + 1):
            found = 0
            for above in self._plan.predecessors[rank]:
                distance = rank - above
                if distance <= NEAR:
                    found |= self._near[above] << distance | 1 << distance - 1
            self._near.append(found & ((1 << NEAR) - 1))
        return self._near[task]

    def is_surely_above(self, ancestor: int, task: int) -> bool:
        """Whether `ancestor` is a dependency of `task`, or is above it along stems."""
        if ancestor in self.direct(task):
            return True
        first, past = self._stems
        return first[ancestor] < first[task] < past[ancestor]

    def is_surely_not_above(self, ancestor: int, task: int) -> bool:
        """Whether the numbering rules out that `ancestor` comes before `task`."""
        if ancestor >= task:
            return True
        lowest, number = self._intervals
        return not lowest[ancestor] <= number[task] < number[ancestor]

    def is_above(self, ancestor: int, task: int) -> bool:
        """Whether `ancestor` comes before `task`: known at once, or found on the way up."""
        if self.is_surely_above(ancestor, task):
            return True
        return not self.is_surely_not_above(ancestor, task) and ancestor in self.way_up(task, ancestor)

    def way_up(self, task: int, ancestor: int) -> Iterator[int]:
        """The tasks to look at where neither is sure, from `task` up; the last is `ancestor`, if it comes before."""
        seen, ahead = {task}, [task]
        while ahead:
            looked_at = ahead.pop()
            yield looked_at
            for one in self._plan.predecessors[looked_at]:
                if one == ancestor:
                    yield one
                    return
                if one not in seen and not self.is_surely_not_above(ancestor, one):
                    seen.add(one)
                    ahead.append(one)

    def is_beneath_join(self, task: int) -> bool:
        """Whether the task, or one before it, has several dependencies."""
        return self._beneath_join[task]

    @cached_property
    def _beneath_join(self) -> list[bool]:
        joins = [len(dependencies) > 1 for dependencies in self._plan.predecessors]
        return list(map(or_, joins, self._plan.beneath(joins.__getitem__)))

    def direct(self, task: int) -> Collection[int]:
        """The dependencies of the task, in which one is quickly found."""
        predecessors = self._plan.predecessors[task]
        if len(predecessors) <= FEW:
            return predecessors
        if task not in self._direct:
            row = range(predecessors[0], predecessors[-1] + 1)  # as mostly, of those that are many
            is_row = len(row) == len(predecessors) and all(map(eq, predecessors, row))
            self._direct[task] = row if is_row else frozenset(predecessors)
        return self._direct[task]

    @cached_property
    def _stems(self) -> tuple[list[int], list[int]]:
        """For each task its number in the forest of stems, and the first number past its subtree."""
        predecessors = self._plan.predecessors
        count = len(predecessors)
        length = [0] * count
        stem = [-1] * count
        for task, dependencies in enumerate(predecessors):
            if dependencies:
                stem[task] = max(dependencies, key=length.__getitem__)
                length[task] = length[stem[task]] + 1
        size = [1] * count
        for task in range(count - 1, -1, -1):
            if stem[task] >= 0:
                size[stem[task]] += size[task]
        first = [0] * count
        free = [0] * (count + 1)  # the next unused number below each task; the last entry serves the roots
        for task in range(count):
            first[task] = free[stem[task]]
            free[stem[task]] += size[task]
            free[task] = first[task] + 1
        return first, [number + extent for number, extent in zip(first, size, strict=True)]

    @cached_property
    def _intervals(self) -> tuple[list[int], list[int]]:
        """For each task the lowest number among itself and all that come after it, and its own, in postorder."""
        successors = self._plan.successors
        number = [-1] * len(successors)
        lowest = [0] * len(successors)
        free = 0
        ahead = [task for task in range(len(successors) - 1, -1, -1) if not self._plan.predecessors[task]]
        while ahead:
            task = ahead[-1]
            if number[task] < 0:
                unseen = [after for after in successors[task] if number[after] < 0]
                if unseen:
                    ahead += unseen
                    continue
                number[task] = free
                lowest[task] = min([free, *(lowest[after] for after in successors[task])])
                free += 1
            ahead.pop()
        return lowest, number
