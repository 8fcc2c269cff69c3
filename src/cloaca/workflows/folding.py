"""Folding: which tasks of a large workflow stand as one node of its picture, so that it can be looked at.

Tasks are put together step by step, and no further than they have to be: first those side by side whose ids differ in
their numbers alone; then those of copies that are alike; then all of a copy; what goes on from the same and leads to
the same; what follows one by one; and at last what is as far from the start. That follows from the workflow alone, so
a result has the picture of its workflow. Each step takes linear time.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import reduce
from math import isqrt

from cloaca.history.plan import Plan
from cloaca.workflows.outline import BEHIND, Boxes, Node, Outline, link_of

_SIDE_BY_SIDE = 5  # of all nodes one in so many may be on the same level
_ARROWS = 4  # for each node
_ROW = 4  # nodes at least, of which those between the first and the last are put together
_MANY = 2_000  # tasks of which it isn't looked for steps that aren't needed: that takes as long again for each
_NUMBER = re.compile(r"\d+")

_Fold = Callable[[Outline], Outline]


def outline_of(plan: Plan, copies: Boxes, most: int | None) -> Outline:
    """The outline of a workflow, with so many nodes at most; `None`: each task is one."""
    around = _around(plan, copies)
    nodes = [
        Node((rank,), name, name, "", numbers)
        for rank, (name, numbers) in enumerate(zip(plan.names, around, strict=True))
    ]
    boxes = {number: (prefix[:-1],) for number, (prefix, _) in enumerate(copies)}
    outline = Outline(plan, _depths(plan), boxes, nodes)
    return outline if most is None else _folded(outline, _steps(copies, most), most)


def _steps(copies: Boxes, most: int) -> tuple[_Fold, ...]:
    """From those that tell most of what is put together to those that tell least."""
    return (
        _side_by_side,
        _in_alike(copies),
        _copies,
        _between_the_same,
        _in_a_row,
        _wide_levels(most),
        _levels,
        _stretches(most),
    )


def _folded(whole: Outline, steps: Sequence[_Fold], most: int) -> Outline:
    """The outline by as many steps as it takes until it fits, without those that weren't needed after all."""
    outline, taken = whole, list[_Fold]()
    for step in steps:
        if _fits(outline, most):
            break
        folded = step(outline)
        if len(folded.nodes) < len(outline.nodes):
            outline = folded
            taken.append(step)
    if len(whole.nodes) > _MANY:
        return outline
    for step in taken[:-1]:
        others = [one for one in taken if one is not step]
        without = reduce(_after, others, whole)
        if _fits(without, most):
            outline, taken = without, others
    return outline


def _after(outline: Outline, step: _Fold) -> Outline:
    return step(outline)


def _around(plan: Plan, copies: Boxes) -> list[tuple[int, ...]]:
    """The copies around each task, the outermost first."""
    around: list[tuple[int, ...]] = [()] * len(plan.names)
    for number, (_, ids) in enumerate(copies):
        for id in ids:
            around[plan.rank[id]] += (number,)
    return around


def _depths(plan: Plan) -> list[int]:
    depths = [0] * len(plan.names)
    for depth, ranks in enumerate(plan.levels()):
        for rank in ranks:
            depths[rank] = depth
    return depths


def _fits(outline: Outline, most: int) -> bool:
    if len(outline.nodes) > most or max(outline.widths.values()) > _widest(most):
        return False
    return len(outline.edges) <= _ARROWS * most


def _widest(most: int) -> int:
    return max(most // _SIDE_BY_SIDE, 1)


# ---- the steps -----------------------------------------------------------------------------------------------------


def _side_by_side(outline: Outline) -> Outline:
    """Those whose ids differ in their numbers alone."""
    return outline.joined(
        (node.around, level, _kind(node.first)) for node, level in zip(outline.nodes, outline.levels, strict=True)
    )


def _kind(name: str) -> str:
    return _NUMBER.sub("#", name)


def _in_alike(copies: Boxes) -> _Fold:
    """The same within copies that have the same tasks: they stand in one box."""
    kinds = _kinds(copies)
    boxes: dict[int, list[str]] = {}
    for (prefix, _), kind in zip(copies, kinds, strict=True):
        boxes.setdefault(kind, []).append(prefix[:-1])

    def own_name(node: Node) -> str:
        return node.first.removeprefix(copies[node.around[-1]][0]) if node.around else node.first

    def step(outline: Outline) -> Outline:
        around = [tuple([kinds[number] for number in node.around]) for node in outline.nodes]
        keys = zip(around, outline.levels, [_kind(own_name(node)) for node in outline.nodes], strict=True)
        nodes = [node._replace(around=one) for node, one in zip(outline.nodes, around, strict=True)]
        return Outline(outline.plan, outline.depths, boxes, nodes).joined(keys)

    return step


def _kinds(copies: Boxes) -> list[int]:
    """Of each copy the number of the first one that is alike: in an alike one, or in none, with the same tasks."""
    numbers = {prefix: number for number, (prefix, _) in enumerate(copies)}
    kinds: list[int] = []
    known: dict[Hashable, int] = {}
    for number, (prefix, ids) in enumerate(copies):
        outer = numbers.get(prefix[:-1].rpartition(".")[0] + ".")
        alike = (None if outer is None else kinds[outer], tuple([id.removeprefix(prefix) for id in ids]))
        kinds.append(known.setdefault(alike, number))
    return kinds


def _copies(outline: Outline) -> Outline:
    """All of a copy that stands in no other, or of alike ones, as one."""
    inside: dict[int, list[int]] = {}
    for node in outline.nodes:
        if node.around:
            inside.setdefault(node.around[0], []).extend(node.ranks)
    nodes = [node for node in outline.nodes if not node.around]
    for number, ranks in inside.items():
        names = outline.boxes[number]
        nodes.append(Node(tuple(sorted(ranks)), names[0], names[-1], link_of(names)))
    return outline.made_of(nodes)


def _between_the_same(outline: Outline) -> Outline:
    """Those that go on from the same nodes, and lead to the same."""
    before, behind = outline.neighbours()
    return outline.joined(
        (node.around, frozenset(above), frozenset(beneath))
        for node, above, beneath in zip(outline.nodes, before, behind, strict=True)
    )


def _in_a_row(outline: Outline) -> Outline:
    """Those that follow one by one, but for the first and the last of a row."""
    keys = [*range(len(outline.nodes))]
    for row in _rows(outline):
        if len(row) >= _ROW:
            for place in row[1:-1]:
                keys[place] = row[1]
    return outline.joined(keys, BEHIND)


def _rows(outline: Outline) -> Iterator[list[int]]:
    """The places of those that follow one by one: the only way from each leads to the next, and no other does."""
    before, behind = outline.neighbours()
    around = [node.around for node in outline.nodes]
    following = {
        place: found[0]
        for place, found in enumerate(behind)
        if len(found) == 1 and len(before[found[0]]) == 1 and around[place] == around[found[0]]
    }
    for start in following.keys() - following.values():
        row = [start]
        while row[-1] in following:
            row.append(following[row[-1]])
        yield row


def _wide_levels(most: int) -> _Fold:
    """What is as far from the start, where that is too much to stand side by side."""

    def step(outline: Outline) -> Outline:
        wide = {level for level, width in outline.widths.items() if width > _widest(most)}
        return outline.joined(
            ("level", level) if level in wide else ("node", place) for place, level in enumerate(outline.levels)
        )

    return step


def _levels(outline: Outline) -> Outline:
    """What is as far from the start."""
    return outline.joined(outline.levels)


def _stretches(most: int) -> _Fold:
    """Levels that follow each other: so few that there can't be too many arrows between them."""
    count = min(most, isqrt(2 * _ARROWS * most))

    def step(outline: Outline) -> Outline:
        levels = 1 + max(outline.levels)
        return outline.joined([level * count // levels for level in outline.levels], BEHIND)

    return step
