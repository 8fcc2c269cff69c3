"""A workflow compiled: every task gets a rank, its place in the one fixed topological order.

Purpose: the rest of the engine works with small integers, and every tie anywhere is broken by rank.

Guarantees: the order is the smallest by order of definition, so it depends on the workflow's text alone. Where every
dependency is defined before its dependents (nearly always), rank and order of definition are the same, and nothing is
sorted. All faults of a graph are found at once, and a graph with a plan has none. Cost is linear, and nothing recurses:
a chain of 100,000 tasks is as good as a short one.

Roads not taken: `graphlib` gives no fixed order, stops at the first cycle and costs several times as much. The very
shortest cycle of a large component takes quadratic time: only components that a reader would look at get it.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from msgspec import Struct

from cloaca.errors import WorkflowError
from cloaca.nearest import nearest

_Edges: TypeAlias = Sequence[Sequence[int]]

_CYCLE_STEPS = 10_000  # nodes to visit while looking for a shorter cycle: exact for components of up to 100 tasks
_CYCLE_NAMES = 12  # names of a cycle that are printed
_LISTED = 20  # faulty dependencies that get a finding (and a search for close matches) each


class Plan(Struct, frozen=True):
    """The compiled graph. Everything is by rank: `names[r]`, `predecessors[r]` and so on speak of one task.

    `predecessors` keeps the author's order of dependencies (the merge order), repeats dropped; `successors` ascends;
    `defined` is the task's place in the order of definition; `rank` leads from a task id back to its rank.
    """

    names: tuple[str, ...]
    predecessors: tuple[tuple[int, ...], ...]
    successors: tuple[tuple[int, ...], ...]
    defined: Sequence[int]
    rank: Mapping[str, int]

    def levels(self) -> list[list[int]]:
        """Return the ranks grouped by their longest distance from a root; each group ascends."""
        depths: list[int] = []
        levels: list[list[int]] = []
        for rank, predecessors in enumerate(self.predecessors):
            depth = 1 + max((depths[predecessor] for predecessor in predecessors), default=-1)
            depths.append(depth)
            if depth == len(levels):
                levels.append([])
            levels[depth].append(rank)
        return levels

    def beneath(self, is_meant: Callable[[int], bool]) -> list[bool]:
        """Of each task by rank, whether one that comes before it is meant."""
        beneath: list[bool] = []
        for above in self.predecessors:
            beneath.append(any(beneath[one] or is_meant(one) for one in above))
        return beneath


def plan(workflow: str, tasks: Sequence[tuple[str, Sequence[str]]]) -> Plan:
    """Compile a graph given as (task id, ids of its dependencies), in order of definition.

    `workflow` is the workflow's name, for the message. Raises `WorkflowError` with every fault of the graph: an empty
    workflow, duplicate ids, dependencies on nothing or on the task itself, cycles.

    >>> compiled = plan("demo", [("report", ["load"]), ("load", [])])
    >>> compiled.names, compiled.predecessors, compiled.defined
    (('load', 'report'), ((), (0,)), (1, 0))
    """
    places = {task: place for place, (task, _) in enumerate(tasks)}
    findings = list(_faulty_names(tasks, places))
    edges = [_resolve(task, dependencies, places) for task, dependencies in tasks]
    order = range(len(tasks)) if _ascending(edges) else _smallest_order(edges)
    if len(order) < len(tasks):
        findings += _cycles([task for task, _ in tasks], edges)
    if findings:
        raise WorkflowError(workflow, tuple(findings))
    return _compiled(places, edges, order)


def _resolve(task: str, dependencies: Sequence[str], places: Mapping[str, int]) -> tuple[int, ...]:
    """Turn ids into places, leaving out what `_faulty_names` reports: the search for cycles goes on without it."""
    if not dependencies:
        return ()
    return tuple([places[name] for name in dict.fromkeys(dependencies) if name in places and name != task])


def _ascending(edges: _Edges) -> bool:
    return all(not earlier or max(earlier) < place for place, earlier in enumerate(edges))


def _compiled(places: Mapping[str, int], edges: _Edges, order: Sequence[int]) -> Plan:
    names, rank = tuple(places), places
    if not isinstance(order, range):
        rank_of = dict(zip(order, range(len(order)), strict=True))
        order, names = tuple(order), tuple([names[place] for place in order])
        rank = {name: place for place, name in enumerate(names)}
        edges = [tuple([rank_of[earlier] for earlier in edges[place]]) for place in order]
    return Plan(names, tuple(map(tuple, edges)), tuple(_alike(map(tuple, _reversed(edges)))), order, rank)


def _alike(rows: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """The same, with one tuple for all of a row of equal ones: thousands of tasks may have the same successor."""
    last: tuple[int, ...] = ()
    for row in rows:
        if row != last:
            last = row
        yield last


def _reversed(edges: _Edges) -> list[list[int]]:
    followers: list[list[int]] = [[] for _ in edges]
    for node, earlier in enumerate(edges):
        for other in earlier:
            followers[other].append(node)
    return followers


def _smallest_order(edges: _Edges) -> list[int]:
    """Sort topologically, the smallest place first among the ready; shorter than `edges` where there is a cycle."""
    followers = _reversed(edges)
    waiting = [len(earlier) for earlier in edges]
    ready = [place for place, count in enumerate(waiting) if not count]
    heapify(ready)
    order: list[int] = []
    while ready:
        place = heappop(ready)
        order.append(place)
        for follower in followers[place]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heappush(ready, follower)
    return order


# ---- findings ------------------------------------------------------------------------------------------------------


def _faulty_names(tasks: Sequence[tuple[str, Sequence[str]]], places: Mapping[str, int]) -> Iterator[str]:
    if not tasks:
        yield "Workflow cannot be empty: define at least one task in its block."
    if len(places) < len(tasks):
        counts = Counter(task for task, _ in tasks)
        yield from (f"{n} tasks have the id {task!r}: give each its own." for task, n in counts.items() if n > 1)
    yield from (f"Task {task!r} depends on itself." for task, dependencies in tasks if task in dependencies)
    missing = [(task, name) for task, dependencies in tasks for name in dependencies if name not in places]
    yield from (_missing(task, name, places) for task, name in missing[:_LISTED])
    if missing[_LISTED:]:
        yield f"{len(missing) - _LISTED} more dependencies name no task of this workflow."


def _missing(task: str, name: str, places: Mapping[str, int]) -> str:
    matches = nearest(name, places)
    advice = f": did you mean {' or '.join(map(repr, matches))}?" if matches else "."
    if name.endswith("]") and (mapped := name.partition("[")[0]) in places:
        advice = f": depend on {mapped!r}, which has ended when all of its instances have."
    return f"Task {task!r} depends on {name!r}, which is no task of this workflow{advice}"


def _cycles(names: Sequence[str], edges: _Edges) -> Iterator[str]:
    for component in _components(edges):
        if len(component) > 1:
            cycle = [names[place] for place in _cycle(component, edges)]
            yield f"Tasks wait for each other, each for the next: {_arrows(cycle)}"


def _arrows(names: Sequence[str]) -> str:
    if len(names) > _CYCLE_NAMES:
        half = _CYCLE_NAMES // 2
        names = (*names[:half], f"... {len(names) - 2 * half} more ...", *names[-half:])
    return " -> ".join(names)


def _cycle(component: Sequence[int], edges: _Edges) -> list[int]:
    """Return a shortest cycle of the component: of all in a small one, through its first task in a large one."""
    starts = sorted(component)[: max(1, _CYCLE_STEPS // len(component))]
    inside = set(component)
    return min((_round_trip(start, inside, edges) for start in starts), key=len)


def _round_trip(start: int, inside: set[int], edges: _Edges) -> list[int]:
    """Return the shortest way from `start` back to itself, breadth first, both ends included."""
    came_from: dict[int, int] = {}
    queue = deque([start])
    while start not in came_from:
        place = queue.popleft()
        for other in edges[place]:
            if other in inside and other not in came_from:
                came_from[other] = place
                queue.append(other)
    trip = [start, came_from[start]]
    while trip[-1] != start:
        trip.append(came_from[trip[-1]])
    return trip[::-1]


def _components(edges: _Edges) -> Iterator[list[int]]:
    """Yield the strongly connected components: Tarjan's algorithm, with a list of its own instead of recursion.

    `todo` holds nodes to enter, and `~node` to leave one; nodes of components already found are out of reach.
    """
    out_of_reach = len(edges)
    entered: dict[int, int] = {}
    low: dict[int, int] = {}
    trail: list[int] = []
    todo = list(reversed(range(len(edges))))
    while todo:
        node = todo.pop()
        if node >= 0 and node not in entered:
            entered[node] = low[node] = len(entered)
            trail.append(node)
            todo += (~node, *(other for other in edges[node] if other not in entered))
        elif node < 0:
            low[~node] = min(low[other] for other in (~node, *edges[~node]))
            if low[~node] == entered[~node]:
                component = _cut(trail, ~node)
                low.update(dict.fromkeys(component, out_of_reach))
                yield component


def _cut(trail: list[int], node: int) -> list[int]:
    """Take everything from `node` on off the end of the trail."""
    cut = [trail.pop()]
    while cut[-1] != node:
        cut.append(trail.pop())
    return cut
