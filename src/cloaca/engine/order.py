"""The merge order: in which order a task's ancestors come wherever merging depends on an order.

For each dependency as the task lists them, first that dependency's own ancestors in this order, then itself, repeats
dropped. So it follows from the workflow alone; and every task comes after its own ancestors.
"""

from collections.abc import Mapping

from cloaca.engine.plan import Plan
from cloaca.engine.write import INPUT_RANK


class MergeOrder:
    """The merge order of a plan's tasks. The last answer is remembered: a task reads many keys, one after another."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._last: tuple[int, int] = (INPUT_RANK, 0)
        self._places: dict[int, int] = {}
        self.steps = 0

    def of(self, rank: int, floor: int = 0) -> list[int]:
        """The ancestors of a task in this order, without those of a rank below `floor`, which it doesn't visit.

        What is left out has no ancestor that is not: the order of the others is the same.
        """
        predecessors = self._plan.predecessors
        order: list[int] = []
        placed: set[int] = set()
        ahead = list(reversed(predecessors[rank]))
        while ahead:
            task = ahead[-1]
            unplaced = []
            if task >= floor and task not in placed:
                unplaced = [above for above in predecessors[task] if above >= floor and above not in placed]
            if unplaced:
                ahead += reversed(unplaced)
                continue
            ahead.pop()
            if task >= floor and task not in placed:
                placed.add(task)
                order.append(task)
        return order

    def places(self, rank: int, floor: int) -> Mapping[int, int]:
        """Where each ancestor of a rank of at least `floor` stands in the order; others may be there too."""
        last_rank, last_floor = self._last
        if last_rank != rank or floor < last_floor:
            self._places = {task: place for place, task in enumerate(self.of(rank, floor))}
            self.steps += len(self._places)
            self._last = rank, floor
        return self._places
