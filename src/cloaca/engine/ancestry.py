"""A cheap, certain answer to "does this task come before that one?", for the pairs that tasks ask about most.

Every task keeps one of its dependencies, the one with the longest path behind it, as its *stem*; the stems form a
forest, and numbering it makes "is above along stems" two comparisons. A direct dependency is certain too. Other pairs
are answered "not surely": the caller then walks. Exact answers for all pairs would take n * n bits, or labels whose
size is the width of the workflow.
"""

from functools import cached_property

from cloaca.engine.plan import Plan


class Ancestry:
    """The stem forest of a plan, numbered when first asked about: O(tasks + dependencies), once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._direct: tuple[int, frozenset[int]] = (-1, frozenset())

    def is_surely_above(self, ancestor: int, task: int) -> bool:
        """Whether `ancestor` is a dependency of `task`, or is above it along stems."""
        predecessors = self._plan.predecessors[task]
        if len(predecessors) <= 4:  # noqa: PLR2004 - a scan of few beats building a set
            if ancestor in predecessors:
                return True
        elif ancestor in self._dependencies(task):
            return True
        first, past = self._numbered
        return first[ancestor] < first[task] < past[ancestor]

    def _dependencies(self, task: int) -> frozenset[int]:
        if self._direct[0] != task:
            self._direct = (task, frozenset(self._plan.predecessors[task]))
        return self._direct[1]

    @cached_property
    def _numbered(self) -> tuple[list[int], list[int]]:
        """For each task its number in the forest, and the first number past its subtree."""
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
