"""The merge order: in which order a task's ancestors come wherever merging depends on an order.

For each dependency as the task lists them, first that dependency's own ancestors in this order, then itself, repeats
dropped. So it follows from the workflow alone; and every task comes after its own ancestors.

The end of a run is seen as by one more task, which depends on all `sinks`. So what is left is what the only sink would
have seen, and what a task after a copy sees.
"""

from collections.abc import Callable, Mapping, Sequence

from cloaca.history.plan import Plan


class MergeOrder:
    """The merge order of a plan's tasks. The last answer is remembered: a task reads many keys, one after another."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._last: tuple[Sequence[int], int] = ((), 0)
        self._places: dict[int, int] = {}
        self.steps = 0

    def of(self, dependencies: Sequence[int], floor: int = 0) -> list[int]:
        """The ancestors in this order of a task that lists these dependencies.

        Those of a rank below `floor` are left out, and not visited.

        They have no ancestor that is not left out: the order of the others is the same.
        """
        predecessors = self._plan.predecessors
        first = [task for task in dependencies if task >= floor]
        return in_order(first, lambda task: [above for above in predecessors[task] if above >= floor])

    def places(self, dependencies: Sequence[int], floor: int) -> Mapping[int, int]:
        """Where each ancestor of a rank of at least `floor` stands in the order; others may be there too."""
        last, last_floor = self._last
        if last is not dependencies or floor < last_floor:
            self._places = {task: place for place, task in enumerate(self.of(dependencies, floor))}
            self.steps += len(self._places)
            self._last = dependencies, floor
        return self._places


def in_order(tasks: Sequence[int], before: Callable[[int], Sequence[int]]) -> list[int]:
    """These tasks, each behind all that come before it: for each of those the same, in the order listed, once."""
    placed: dict[int, None] = {}
    ahead = list(reversed(tasks))
    while ahead:
        task = ahead[-1]
        unplaced = [] if task in placed else [above for above in before(task) if above not in placed]
        if unplaced:
            ahead += reversed(unplaced)
        else:
            placed[ahead.pop()] = None
    return list(placed)


def sinks(plan: Plan, completed: Sequence[int]) -> tuple[int, ...]:
    """The tasks that have completed and that no such task follows, in the order of definition; `completed` by rank."""
    followed = bytearray(len(plan.names))
    for rank in reversed(range(len(plan.names))):
        if completed[rank] or followed[rank]:
            for above in plan.predecessors[rank]:
                followed[above] = True
    found = [rank for rank in range(len(plan.names)) if completed[rank] and not followed[rank]]
    return tuple(sorted(found, key=plan.defined.__getitem__))
