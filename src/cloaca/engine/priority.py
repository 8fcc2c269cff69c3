"""Priority: in which order tasks go whose turn it is. Depth first; and how far it is from each to the end.

Depth first: what a task needs is made right before it, and what it makes is used right after it, so that as few values
as possible wait to be used. It is a walk back from the last tasks to what they need, the deepest side first (compare
Sethi and Ullman, 1970): so a long chain beside many short tasks never waits, and a running sum takes values one by one.

Where that would make all end later, the longest way goes first: list scheduling by critical path (Graham, 1969; Kohler,
1975). `Ready` sees to that. How long a way is, the durations of earlier runs tell; without any, the number of tasks on
it. Results don't depend on it.

All this is among tasks of the same *level*: the priority that they were given, 0 unless they say so. Those of a higher
one go first, whatever comes of that. A task doesn't hand its level on to what it needs.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence

from cloaca.history.plan import Plan

_NOTHING: Mapping[int, Sequence[int]] = {}


class Priority:
    """The order of a plan's tasks. `places[rank]` is a task's place in it, and `ranks[place]` leads back.

    `durations`: seconds by rank; 0 where a task's isn't known, which then counts as the mean of the others: `usual`.
    `followers` are the mapped tasks that go through the items of another one, by its rank, each after those that it
    follows. They go before it: so an item goes all the way before the next one begins. `levels` are the priorities
    that tasks were given, by rank.

    >>> from cloaca.history.plan import plan
    >>> pairs = plan("demo", [("load", []), ("load too", []), ("use", ["load"]), ("use too", ["load too"])])
    >>> [pairs.names[rank] for rank in Priority(pairs).ranks]
    ['load', 'use', 'load too', 'use too']
    """

    def __init__(
        self,
        plan: Plan,
        durations: Sequence[float] = (),
        followers: Mapping[int, Sequence[int]] = _NOTHING,
        levels: Sequence[int] = (),
    ) -> None:
        known = [seconds for seconds in durations if seconds > 0]
        self.usual = sum(known) / len(known) if known else 1.0
        self.seconds = array("d", [seconds if seconds > 0 else self.usual for seconds in durations if known])
        self.seconds.extend([self.usual] * (len(plan.names) - len(self.seconds)))
        self.ways = longest(range(len(plan.names) - 1, -1, -1), plan.successors, self.seconds)
        """How long the longest way from each task to the end is, the task included."""
        self.tail = _tail(plan, self.seconds)
        """How long the last tasks take that all others come before, one after the other."""
        self.ranks = _depth_first(plan, self.seconds)
        if followers:
            self.ranks = _last_stage_first(self.ranks, followers)
        self.urgency = self.ways
        """By which the longest way is found. Those of a higher level are taken to be longer than all others."""
        if any(levels):
            self.ranks = sorted(self.ranks, key=levels.__getitem__, reverse=True)
            self.urgency = _raised(self.ways, levels)
        self.places = [*plan.rank.values()]
        if self.ranks == self.places:
            self.ranks = self.places
        else:
            for place, rank in enumerate(self.ranks):
                self.places[rank] = place
        urgency = [self.urgency[rank] for rank in self.ranks]
        self.is_longest_first = urgency == sorted(urgency, reverse=True)
        """Whether the first of any tasks is the one with the longest way, too."""


def longest(ranks: Iterable[int], ahead: Sequence[Sequence[int]], seconds: Sequence[float]) -> "array[float]":
    """How long the longest way is that leads on from each task, the task included. `ranks`: those ahead come first."""
    ways = array("d", seconds)
    for rank in ranks:
        others = ahead[rank]
        if others:
            ways[rank] += ways[others[0]] if len(others) == 1 else max([ways[other] for other in others])
    return ways


def _raised(ways: "array[float]", levels: Sequence[int]) -> "array[float]":
    step = max(ways) + 1.0
    steps = {level: number * step for number, level in enumerate(sorted({*levels}))}
    return array("d", [way + steps[level] for way, level in zip(ways, levels, strict=True)])


def _tail(plan: Plan, seconds: Sequence[float]) -> float:
    ends = [rank for rank, successors in enumerate(plan.successors) if not successors]
    tail = 0.0
    while len(ends) == 1:
        tail += seconds[ends[0]]
        ends = [*plan.predecessors[ends[0]]]
    return tail


def _depth_first(plan: Plan, seconds: Sequence[float]) -> list[int]:
    """All tasks, each after what it needs, and as soon as that is there; the deepest first, ties as they are listed."""
    predecessors = plan.predecessors
    depths = longest(range(len(predecessors)), predecessors, seconds)
    ends = [rank for rank, successors in enumerate(plan.successors) if not successors]
    ends.sort(key=depths.__getitem__, reverse=True)
    if len(ends) == len(predecessors):
        return ends
    order: list[int] = []
    is_entered = bytearray(len(predecessors))
    ahead = ends[::-1]
    while ahead:
        rank = ahead.pop()
        if rank < 0:
            order.append(~rank)
        elif not is_entered[rank]:
            is_entered[rank] = True
            needed = predecessors[rank]
            if not needed:
                order.append(rank)
                continue
            ahead.append(~rank)
            ahead += needed if len(needed) == 1 else sorted(needed, key=depths.__getitem__, reverse=True)[::-1]
    return order


def _last_stage_first(order: Sequence[int], followers: Mapping[int, Sequence[int]]) -> list[int]:
    """The same order with those that follow a mapped task right before it, the last stage first."""
    following = {rank for ranks in followers.values() for rank in ranks}
    found: list[int] = []
    for rank in order:
        if rank not in following:
            found += reversed((rank, *followers.get(rank, ())))
    return found
