"""A plan as a picture, in the languages of Mermaid and Graphviz.

Nodes are called `t0`, `t1` and so on, by rank; the author's ids appear in labels only, where any text can be escaped.
Beneath them stand the notes on tasks, if there are any. Mapped tasks have a double border. Tasks of one copy (see
`cloaca.workflows.copies`) stand in a box. How a task ended is told by the colour of its border, and in its note.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal

from cloaca import argument
from cloaca.history.plan import Plan
from cloaca.wording import clipped

_DOT_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "&": "&amp;", "\0": "\N{REPLACEMENT CHARACTER}"}
)


_LONGEST_NOTE = 120

Boxes = Sequence[tuple[str, Sequence[str]]]
"""Prefixes, each with the ids of its tasks; a box before those inside it."""


Direction = Literal["TB", "LR"]
"""From top to bottom, or from left to right."""

_NOTHING: Mapping[str, str] = {}

_COLOURS = {"Completed": "#1a7f37", "Failed": "#cf222e", "Skipped": "#8c959f", "Cancelled": "#bf8700"}
"""By how a task ended: each can be told from a light and from a dark ground."""


def to_mermaid(
    plan: Plan,
    notes: Mapping[str, str],
    mapped: Collection[str] = (),
    boxes: Boxes = (),
    direction: Direction = "TB",
    statuses: Mapping[str, str] = _NOTHING,
) -> str:
    """Return the plan as a Mermaid flowchart. `mapped` are the ids of mapped tasks; `statuses` tell how tasks ended."""

    def label(name: str) -> str:
        text = '["' + "<br>".join(map(_mermaid, _lines(name, notes))) + '"]'
        return f"[{text}]" if name in mapped else text

    def box(number: int, prefix: str) -> str:
        return f'subgraph b{number}["{_mermaid(prefix)}"]'

    way = argument.choice("direction", direction, {"TB": "TD", "LR": "LR"})
    nodes = _boxed(plan, label, boxes, box, "end")
    return "\n".join([f"flowchart {way}", *nodes, *_edges(plan, "-->"), *_classes(plan, statuses)]) + "\n"


def _classes(plan: Plan, statuses: Mapping[str, str]) -> Iterator[str]:
    """The colours of Mermaid's nodes."""
    for status, colour in _COLOURS.items():
        alike = [f"t{plan.rank[task]}" for task, one in statuses.items() if one == status]
        if alike:
            yield f"    classDef {status.lower()} stroke:{colour},stroke-width:2px"
            yield f"    class {','.join(alike)} {status.lower()}"


def to_dot(
    name: str,
    plan: Plan,
    notes: Mapping[str, str],
    mapped: Collection[str] = (),
    boxes: Boxes = (),
    direction: Direction = "TB",
    statuses: Mapping[str, str] = _NOTHING,
) -> str:
    """Return the plan as a Graphviz digraph called `name`. The rest as above."""

    def label(task: str) -> str:
        text = ' [label="' + "\\n".join(map(_dot, _lines(task, notes))) + '"'
        text += f' color="{_COLOURS[statuses[task]]}" penwidth=2' if statuses.get(task) in _COLOURS else ""
        return text + (" peripheries=2];" if task in mapped else "];")

    def box(number: int, prefix: str) -> str:
        return f'subgraph cluster{number} {{ label="{_dot(prefix)}";'

    way = argument.choice("direction", direction, {"TB": [], "LR": ["    rankdir=LR;"]})
    lines = [*way, *_boxed(plan, label, boxes, box, "}"), *(f"{edge};" for edge in _edges(plan, "->"))]
    return "\n".join([f'digraph "{_dot(name)}" {{', *lines, "}"]) + "\n"


def _lines(task: str, notes: Mapping[str, str]) -> tuple[str, ...]:
    """The task's name, and what there is to note of it."""
    if task not in notes:
        return (task,)
    note = notes[task]
    return task, clipped(note, _LONGEST_NOTE)


def _boxed(
    plan: Plan, label: Callable[[str], str], boxes: Boxes, box: Callable[[int, str], str], end: str
) -> Iterator[str]:
    """The tasks in no box, then box by box the rest; a box inside another one stands within it."""
    innermost = {task: prefix for prefix, tasks in boxes for task in tasks}
    members: dict[str, list[str]] = {prefix: [] for prefix in ("", *(prefix for prefix, _ in boxes))}
    for rank, name in enumerate(plan.names):
        members[innermost.get(name, "")].append(f"t{rank}{label(name)}")
    yield from (f"    {node}" for node in members[""])
    around: list[str] = []
    for number, (prefix, _) in enumerate(boxes):
        while around and not prefix.startswith(around[-1]):
            around.pop()
            yield f"{_indent(around)}{end}"
        yield f"{_indent(around)}{box(number, prefix[:-1])}"
        around.append(prefix)
        yield from (f"{_indent(around)}{node}" for node in members[prefix])
    while around:
        around.pop()
        yield f"{_indent(around)}{end}"


def _indent(around: Sequence[str]) -> str:
    return "    " * (1 + len(around))


def _edges(plan: Plan, arrow: str) -> Iterator[str]:
    return (
        f"    t{predecessor} {arrow} t{rank}"
        for rank, predecessors in enumerate(plan.predecessors)
        for predecessor in predecessors
    )


def _mermaid(text: str) -> str:
    """Write all but letters, digits and a few harmless marks as Mermaid's character codes."""
    return "".join(mark if mark.isalnum() or mark in " _-.,()'" else f"#{ord(mark)};" for mark in text)


def _dot(text: str) -> str:
    return text.translate(_DOT_ESCAPES)
