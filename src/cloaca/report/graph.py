"""The graph of a workflow as SVG, coloured by how tasks ended; of a large one, tasks that stand alike are one node."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from cloaca.account.account import Account
from cloaca.account.tasks import TaskFigures
from cloaca.account.told import duration
from cloaca.report.layers import Layout, layout
from cloaca.report.markup import key, section, tools
from cloaca.report.story import Group
from cloaca.wording import clipped

MOST_NODES = 80
TAKEN_OVER = "Taken over"

_WIDTH, _HEIGHT = 184, 40
_STEP = _WIDTH + 56, _HEIGHT + 14
_MARGIN = 8
_LONGEST_NAME = 24
_OUTCOMES = (
    ("completed", "completed"),
    ("failed", "failed"),
    ("skipped", "skipped"),
    ("cancelled", "cancelled"),
    ("taken-over", "taken over"),
    ("on-path", "on the critical path"),
)
_KEYS = "Keys: + and - zoom, 0 shows all, n and p go from node to node, arrows scroll."
_WORST = ("Failed", "Cancelled", "Skipped", TAKEN_OVER, "Completed")


class GraphNode(NamedTuple):
    """A task, or several that stand alike: their ranks, what stands right `before` it by number, and how they ended."""

    title: str
    ranks: Sequence[int]
    before: Sequence[int]
    counts: Mapping[str, int]
    seconds: float
    is_mapped: bool
    is_on_path: bool

    @property
    def size(self) -> int:
        """How many tasks it stands for; of a mapped task, the instances count."""
        return sum(self.counts.values())

    @property
    def worst(self) -> str:
        """How the tasks ended that are looked for first."""
        return next((status for status in _WORST if self.counts.get(status)), "Completed")

    @property
    def told(self) -> str:
        """How many ended how."""
        if self.size == 1:
            return self.worst.lower()
        others = [f"{self.counts[one]:,} {one.lower()}" for one in _WORST[:-1] if self.counts.get(one)]
        what = "instances" if self.is_mapped else "tasks"
        return ", ".join([f"{self.size:,} {what}", *others])


def nodes_of(account: Account, groups: Sequence[Group], taken_over: Collection[str]) -> list[GraphNode]:
    """What the graph shows."""
    tasks = account.tasks
    on_path = {span.task for span in account.critical_path.spans}
    counts = [_counts(task, taken_over) for task in tasks]
    node_of = {rank: number for number, group in enumerate(groups) for rank in group.ranks}
    return [
        GraphNode(
            title,
            ranks,
            sorted({node_of[above] for rank in ranks for above in tasks[rank].before} - {number}),
            sum((counts[rank] for rank in ranks), Counter[str]()),
            sum(tasks[rank].seconds for rank in ranks),
            len(ranks) == 1 and tasks[ranks[0]].instances is not None,
            any(tasks[rank].name in on_path for rank in ranks),
        )
        for number, (title, ranks) in enumerate(groups)
    ]


def workflow(nodes: Sequence[GraphNode]) -> Iterator[str]:
    """The part of the page."""
    found = layout([node.before for node in nodes])
    picture = "".join(_drawn(nodes, found))
    few = f"<p>{found.left_out:,} arrows are left out that longer ways stand for.</p>" if found.left_out else ""
    shown = f'<div id="workflow" class="scrolled" tabindex="0">{picture}</div>'
    yield from section("The workflow", key(_OUTCOMES, picture), few, tools("workflow", _KEYS), shown)


def _drawn(nodes: Sequence[GraphNode], found: Layout) -> Iterator[str]:
    layers, down = found.size
    width, height = layers * _STEP[0] - 56 + 2 * _MARGIN, int(down * _STEP[1]) + _HEIGHT + 2 * _MARGIN
    yield f'<svg id="graph" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
    yield f' aria-label="The graph of the workflow: {len(nodes)} nodes, from left to right"><defs>'
    yield '<marker id="head" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" '
    yield 'orient="auto-start-reverse"><path d="M0 0L6 3L0 6z"/></marker></defs>'
    yield from _arrows(found)
    for number, (node, (layer, place)) in enumerate(zip(nodes, found.places, strict=True)):
        yield _node(number, node, _MARGIN + layer * _STEP[0], round(_MARGIN + place * _STEP[1]))
    yield "</svg>"


def _counts(task: TaskFigures, taken_over: Collection[str]) -> Counter[str]:
    if task.name in taken_over:
        return Counter({TAKEN_OVER: sum((task.instances or {}).values()) or 1})
    return Counter(task.instances or {task.status: 1})


def _arrows(found: Layout) -> Iterator[str]:
    for places, is_back in found.arrows:
        (layer, down), *passed, (last, end) = places
        x, y = _MARGIN + layer * _STEP[0] + _WIDTH, _middle(down)
        told = [f"M{x} {y}"]
        for at, (joint, place) in enumerate([*passed, (last, end)], 1):
            left, level = _MARGIN + joint * _STEP[0], _middle(place)
            half = (left - x) // 2
            told.append(f"C{x + half} {y} {left - half} {level} {left} {level}")
            x, y = left, level
            if at < len(places) - 1:
                x += _WIDTH
                told.append(f"H{x}")
        kind = "arrow back" if is_back else "arrow"
        yield f'<path class="{kind}" d="{"".join(told)}"/>'


def _middle(place: float) -> int:
    return round(_MARGIN + place * _STEP[1]) + _HEIGHT // 2


def _node(number: int, node: GraphNode, x: int, y: int) -> str:
    kind = node.worst.lower().replace(" ", "-") + (" on-path" if node.is_on_path else "")
    double = f'<rect x="3" y="3" width="{_WIDTH - 6}" height="{_HEIGHT - 6}" rx="3" class="inner"/>'
    told = f"{node.told}, {duration(node.seconds)}" if node.seconds else node.told
    return (
        f'<g class="node {kind}" data-of="node" data-n="{number}" transform="translate({x} {y})">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>{double if node.is_mapped else ""}{"".join(_bar(node))}'
        f'<text x="10" y="17">{escape(clipped(node.title, _LONGEST_NAME))}</text>'
        f'<text x="10" y="31" class="small">{escape(clipped(told, 28))}</text></g>'
    )


def _bar(node: GraphNode) -> Iterator[str]:
    """Which part of its tasks ended how, where that differs."""
    if len(node.counts) == 1:
        return
    x = 0.0
    for status in reversed(_WORST):
        width = _WIDTH * node.counts.get(status, 0) / node.size
        kind = status.lower().replace(" ", "-")
        yield (
            f'<rect class="share {kind}" x="{x:.1f}" y="{_HEIGHT - 4}" width="{width:.1f}" height="4"/>'
            if width
            else ""
        )
        x += width
