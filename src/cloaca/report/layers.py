"""Layers: where the nodes of a graph stand, from left to right, so that arrows are short and few of them cross.

Each node stands in the layer after the last of those before it. An arrow that passes layers has a joint in each, which
takes room as nodes do. The order in a layer follows the mean of the neighbours' places, in sweeps to and fro (Sugiyama,
Tagawa and Toda, 1981). Then each layer moves as near to its neighbours as that order allows (pool adjacent violators):
the squares of how far arrows rise and fall become as small as they can, layer by layer.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

_SWEEPS = 6
_MOST_ARROWS = 400
"""Of more than that, those go that say nothing new: there is a longer way between the two."""

_STRAIGHT = 3
"""How much more arrows matter between nodes that have many: a chain stays level, whatever hangs on it."""

_JOINT = 0.3
"""How much room a joint takes, in nodes."""


class Arrow(NamedTuple):
    """The places that an arrow passes, from left to right. `is_back`: it points to the left."""

    places: Sequence[tuple[int, float]]
    is_back: bool


class Layout(NamedTuple):
    """Of each node, its layer, and how far down it stands, in nodes; the arrows, and how many of them were left out."""

    places: Sequence[tuple[int, float]]
    arrows: Sequence[Arrow]
    left_out: int

    @property
    def size(self) -> tuple[int, float]:
        """How many layers there are, and how far down the last place is."""
        passed = [*self.places, *(place for arrow in self.arrows for place in arrow.places)]
        return 1 + max((layer for layer, _ in passed), default=-1), max((down for _, down in passed), default=0.0)


def layout(before: Sequence[Sequence[int]]) -> Layout:
    """Of nodes, each with those `before` it. Arrows from those that have higher numbers point back."""
    edges = [(above, node) for node, row in enumerate(before) for above in row]
    forward = _forward(edges, len(before))
    kept = edges if len(edges) <= _MOST_ARROWS else _shortest(forward)
    layers = _Layers(forward)
    ways = [(layers.connect(min(edge), max(edge)), edge[0] > edge[1]) for edge in kept]
    layers.order()
    downs = layers.downs()
    places = [(layers.at[one], downs[one]) for one in range(len(layers.at))]
    arrows = [Arrow([places[one] for one in way], is_back) for way, is_back in ways]
    return Layout(places[: len(before)], arrows, len(edges) - len(kept))


def _forward(edges: Sequence[tuple[int, int]], size: int) -> list[list[int]]:
    """The same with all arrows from lower numbers to higher ones."""
    rows: list[list[int]] = [[] for _ in range(size)]
    for edge in edges:
        rows[max(edge)].append(min(edge))
    return rows


def _shortest(before: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The transitive reduction: what comes before each node is a set of bits."""
    known: list[int] = []
    found: list[tuple[int, int]] = []
    for node, row in enumerate(before):
        beyond = 0
        for above in row:
            beyond |= known[above]
        known.append(beyond | sum({1 << above for above in row}))
        found += [(above, node) for above in row if not beyond >> above & 1]
    return found


class _Layers:
    """Nodes and joints, by number; the joints come after all nodes. `at`: the layer of each."""

    def __init__(self, before: Sequence[Sequence[int]]) -> None:
        self.at: list[int] = []
        for row in before:
            self.at.append(1 + max((self.at[above] for above in row), default=-1))
        self._nodes = len(self.at)
        self._rows: list[list[int]] = [[] for _ in range(1 + max(self.at, default=-1))]
        self._above: list[list[int]] = [[] for _ in self.at]
        self._below: list[list[int]] = [[] for _ in self.at]
        self._place = [0.0] * len(self.at)
        for node, layer in enumerate(self.at):
            self._rows[layer].append(node)

    def connect(self, above: int, node: int) -> list[int]:
        """An arrow; returns what it passes, both ends included."""
        way = [above, *(self._joint(layer) for layer in range(self.at[above] + 1, self.at[node])), node]
        for one, after in pairwise(way):
            self._below[one].append(after)
            self._above[after].append(one)
        return way

    def _joint(self, layer: int) -> int:
        self.at.append(layer)
        self._above.append([])
        self._below.append([])
        self._place.append(0.0)
        self._rows[layer].append(len(self.at) - 1)
        return len(self.at) - 1

    def order(self) -> None:
        """Put each layer in order: by the one before, then by the one after."""
        for row in self._rows:
            self._number(row)
        for _ in range(_SWEEPS):
            self._sort(self._rows, self._above)
            self._sort(self._rows[::-1], self._below)

    def _sort(self, rows: Sequence[list[int]], neighbours: Sequence[Sequence[int]]) -> None:
        for row in rows:
            means = {one: _mean(neighbours[one] or [one], self._place) for one in row}
            row.sort(key=means.__getitem__)
            self._number(row)

    def _number(self, row: Sequence[int]) -> None:
        """Places in a layer are told from its middle."""
        for number, one in enumerate(row):
            self._place[one] = number - (len(row) - 1) / 2

    def downs(self) -> list[float]:
        """How far down each stands, from the topmost one: arrows are as level as that order allows."""
        for _ in range(_SWEEPS):
            for row in (*self._rows, *self._rows[::-1]):
                self._spread(row)
        top = min(self._place, default=0.0)
        return [place - top for place in self._place]

    def _spread(self, row: Sequence[int]) -> None:
        """As near as possible to all of their neighbours, in their order, none nearer than the room it takes."""
        rooms = [1.0 if one < self._nodes else _JOINT for one in row]
        offsets = [*accumulate(((one + after) / 2 for one, after in pairwise(rooms)), initial=0.0)]
        wanted = [self._wanted(one, offset) for one, offset in zip(row, offsets, strict=True)]
        for one, place, offset in zip(row, _rising(wanted), offsets, strict=True):
            self._place[one] = place + offset

    def _wanted(self, one: int, offset: float) -> tuple[float, int]:
        """Where it would stand best, less the offset, and how much that matters."""
        near = self._neighbours(one) or [one]
        own = len(near)
        pulls = [min(own, len(self._neighbours(other))) ** _STRAIGHT for other in near]
        weight = sum(pulls) or 1
        return sum(
            [pull * self._place[other] for pull, other in zip(pulls, near, strict=True)]
        ) / weight - offset, weight

    def _neighbours(self, one: int) -> list[int]:
        return self._above[one] + self._below[one]


def _mean(ones: Sequence[int], place: Sequence[float]) -> float:
    return sum([place[one] for one in ones]) / len(ones)


def _rising(wanted: Sequence[tuple[float, int]]) -> list[float]:
    """The row nearest to that one, by its weights, in which nothing is less than what comes before it.

    >>> _rising([(1.0, 1), (3.0, 1), (2.0, 1), (4.0, 2)])
    [1.0, 2.5, 2.5, 4.0]
    """
    pools: list[tuple[float, int, int]] = []  # what they come to together, their weight, and how many they are
    for value, weight in wanted:
        pool = value * weight, weight, 1
        while pools and pools[-1][0] / pools[-1][1] > pool[0] / pool[1]:
            before = pools.pop()
            pool = before[0] + pool[0], before[1] + pool[1], before[2] + pool[2]
        pools.append(pool)
    return [total / weight for total, weight, count in pools for _ in range(count)]
