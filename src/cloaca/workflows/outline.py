"""Outlines: a workflow by nodes, each of one task or of several that stand as one."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from msgspec import Struct

from cloaca.history.plan import Plan

Boxes = Sequence[tuple[str, Sequence[str]]]
"""Prefixes of copies, each with the ids of its tasks; a copy before those inside it."""

BESIDE = " ... "
BEHIND = " -> ... -> "
"""What stands between the names of the first and the last of several: side by side, or each behind the one before."""

_OF_TWO = {BESIDE: ", ", BEHIND: " -> "}
_TWO = 2


class Node(NamedTuple):
    """What stands as one: tasks by rank, the names of the first and the last, and what stands between these.

    `around`: the numbers of the copies around it, the outermost first.
    """

    ranks: tuple[int, ...]
    first: str
    last: str
    link: str = ""
    around: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """What it is called.

        >>> Node((3,), "load", "load").title, Node((3, 4, 5), "load_0", "load_2", BESIDE).title
        ('load', 'load_0 ... load_2 (3 tasks)')
        """
        name = self.first if self.first == self.last else f"{self.first}{self.link}{self.last}"
        return name if len(self.ranks) == 1 else f"{name} ({len(self.ranks):,} tasks)"


class Outline(Struct, frozen=True, eq=False, dict=True):
    """Nodes of a plan, in the order of their first tasks.

    `depths`: how far each task is from the start, by rank. `boxes`: the names of the copies that stand in one box, by
    the number of the first of them.
    """

    plan: Plan
    depths: Sequence[int]
    boxes: Mapping[int, Sequence[str]]
    nodes: Sequence[Node]

    @cached_property
    def edges(self) -> Sequence[tuple[int, int]]:
        """From which node to which there are dependencies, by their places."""
        predecessors = self.plan.predecessors
        home = [0] * len(predecessors)
        for place, node in enumerate(self.nodes):
            for rank in node.ranks:
                home[rank] = place
        between = dict.fromkeys((home[one], home[rank]) for rank, above in enumerate(predecessors) for one in above)
        return [edge for edge in between if edge[0] != edge[1]]

    @cached_property
    def levels(self) -> Sequence[int]:
        """How far the first task of each node is from the start."""
        return [self.depths[node.ranks[0]] for node in self.nodes]

    @cached_property
    def widths(self) -> Counter[int]:
        """How many nodes each level has."""
        return Counter(self.levels)

    def neighbours(self) -> tuple[list[list[int]], list[list[int]]]:
        """Of each node the places of those before it, and of those behind it."""
        before: list[list[int]] = [[] for _ in self.nodes]
        behind: list[list[int]] = [[] for _ in self.nodes]
        for above, beneath in self.edges:
            before[beneath].append(above)
            behind[above].append(beneath)
        return before, behind

    def box_title(self, number: int) -> str:
        """What is written on a box."""
        names = self.boxes[number]
        return names[0] if len(names) == 1 else f"{names[0]}{link_of(names)}{names[-1]} ({len(names):,} copies)"

    def joined(self, keys: Iterable[Hashable], link: str = BESIDE) -> "Outline":
        """The same with those nodes as one that have the same key."""
        alike: dict[Hashable, list[Node]] = {}
        for node, key in zip(self.nodes, keys, strict=True):
            alike.setdefault(key, []).append(node)
        return self.made_of([_as_one(nodes, link) for nodes in alike.values()])

    def made_of(self, nodes: Iterable[Node]) -> "Outline":
        """The same workflow by other nodes."""
        return Outline(self.plan, self.depths, self.boxes, sorted(nodes, key=_first_rank))


def link_of(names: Sequence[object], link: str = BESIDE) -> str:
    """What stands between the first and the last of these."""
    return _OF_TWO[link] if len(names) == _TWO else link


def _as_one(nodes: Sequence[Node], link: str) -> Node:
    if len(nodes) == 1:
        return nodes[0]
    ranks = tuple(sorted([rank for node in nodes for rank in node.ranks]))
    return Node(ranks, nodes[0].first, nodes[-1].last, link_of(ranks, link), _shared([node.around for node in nodes]))


def _shared(boxes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The boxes that are around all of them."""
    least, most = min(boxes), max(boxes)
    return tuple([one for place, one in enumerate(least) if least[: place + 1] == most[: place + 1]])


def _first_rank(node: Node) -> int:
    return node.ranks[0]
