"""Priority: which of the ready tasks goes first. The one with the longest way to the end of the workflow, ties by rank.

List scheduling by critical path (Graham, 1969; Kohler, 1975): a long chain beside many short tasks must never wait. How
long a way is, the durations of earlier runs tell; without any, the number of tasks on it. Results don't depend on it.
"""

from collections.abc import Sequence
from itertools import pairwise

from cloaca.engine.plan import Plan


class Priority:
    """The order of a plan's tasks. `places[rank]` is a task's place in it, and `ranks[place]` leads back.

    `durations`: seconds by rank; 0 where a task's isn't known, which then counts as the mean of the others.

    >>> from cloaca.engine.plan import plan
    >>> short_first = plan("demo", [("short", []), ("long", []), ("longer", ["long"])])
    >>> [short_first.names[rank] for rank in Priority(short_first).ranks]
    ['long', 'short', 'longer']
    """

    def __init__(self, plan: Plan, durations: Sequence[float] = ()) -> None:
        ways = _ways(plan, durations)
        self.ranks: Sequence[int] = range(len(ways))
        self.places: Sequence[int] = self.ranks
        if any(later > earlier for earlier, later in pairwise(ways)):
            self.ranks = sorted(self.ranks, key=lambda rank: -ways[rank])
            self.places = [0] * len(ways)
            for place, rank in enumerate(self.ranks):
                self.places[rank] = place


def _ways(plan: Plan, durations: Sequence[float]) -> list[float]:
    """How long the longest way from each task to the end is, the task included."""
    known = [seconds for seconds in durations if seconds > 0]
    usual = sum(known) / len(known) if known else 1.0
    ways = [seconds if seconds > 0 else usual for seconds in durations] if known else [usual] * len(plan.names)
    for rank in range(len(ways) - 1, -1, -1):
        successors = plan.successors[rank]
        if successors:
            ways[rank] += max([ways[successor] for successor in successors])
    return ways
