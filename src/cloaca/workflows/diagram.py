"""An outline as a picture, in the languages of Mermaid and Graphviz.

Nodes are called `t0`, `t1` and so on, by the rank of their first task; the author's ids appear in labels only, where
any text can be escaped. Beneath them stand the notes on tasks, if there are any. Mapped tasks have a double border.
Tasks of one copy (see `cloaca.workflows.copies`) stand in a box. How tasks ended is told by colour, and in the note.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from cloaca import argument
from cloaca.wording import clipped
from cloaca.workflows.outline import Node, Outline

_DOT_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "&": "&amp;", "\0": "\N{REPLACEMENT CHARACTER}"}
)
_LONGEST_NOTE = 120

Direction = Literal["TB", "LR"]
"""From top to bottom, or from left to right."""

_COLOURS = {
    "Completed": ("#1a7f37", "#dafbe1"),
    "Failed": ("#cf222e", "#ffebe9"),
    "Skipped": ("#8c959f", "#eaeef2"),
    "Cancelled": ("#bf8700", "#fff8c5"),
}
"""Of the border and of the ground, by how a task ended. Each can be told from a light and from a dark page."""

_INK = "#1f2328"


class Note(NamedTuple):
    """What is told of a node: a text for each line, how its tasks ended at worst, and whether they are mapped."""

    lines: tuple[str, ...] = ()
    status: str = ""
    is_mapped: bool = False


NoteOf = Callable[[Node], Note]
"""What is to be told of a node."""


def to_mermaid(outline: Outline, note_of: NoteOf, direction: Direction) -> str:
    """Return the outline as a Mermaid flowchart."""
    notes = [note_of(node) for node in outline.nodes]

    def told(node: Node, note: Note) -> str:
        text = '["' + "<br>".join(map(_mermaid, _lines(node, note))) + '"]'
        return _called(node) + (f"[{text}]" if note.is_mapped else text)

    def box(number: int) -> str:
        return f'subgraph b{number}["{_mermaid(outline.box_title(number))}"]'

    way = argument.choice("direction", direction, {"TB": "TD", "LR": "LR"})
    nodes = list(map(told, outline.nodes, notes))
    lines = [*_boxed(outline, nodes, box, "end"), *_edges(outline, "-->"), *_classes(outline.nodes, notes)]
    return "\n".join([f"flowchart {way}", *lines]) + "\n"


def _classes(nodes: Sequence[Node], notes: Sequence[Note]) -> Iterator[str]:
    """The colours of Mermaid's nodes."""
    for status, (border, ground) in _COLOURS.items():
        alike = [_called(node) for node, note in zip(nodes, notes, strict=True) if note.status == status]
        if alike:
            yield f"    classDef {status.lower()} fill:{ground},stroke:{border},stroke-width:2px,color:{_INK}"
            yield f"    class {','.join(alike)} {status.lower()}"


def to_dot(name: str, outline: Outline, note_of: NoteOf, direction: Direction) -> str:
    """Return the outline as a Graphviz digraph called `name`."""

    def told(node: Node) -> str:
        note = note_of(node)
        text = _called(node) + ' [label="' + "\\n".join(map(_dot, _lines(node, note))) + '"'
        if note.status in _COLOURS:
            border, ground = _COLOURS[note.status]
            text += f' color="{border}" fillcolor="{ground}" style=filled penwidth=2'
        return text + (" peripheries=2];" if note.is_mapped else "];")

    def box(number: int) -> str:
        return f'subgraph cluster{number} {{ label="{_dot(outline.box_title(number))}";'

    way = argument.choice("direction", direction, {"TB": [], "LR": ["    rankdir=LR;"]})
    nodes = list(map(told, outline.nodes))
    lines = [*way, *_boxed(outline, nodes, box, "}"), *(f"{edge};" for edge in _edges(outline, "->"))]
    return "\n".join([f'digraph "{_dot(name)}" {{', *lines, "}"]) + "\n"


def _called(node: Node) -> str:
    return f"t{node.ranks[0]}"


def _lines(node: Node, note: Note) -> tuple[str, ...]:
    """What the node is called, and what there is to note of it."""
    return node.title, *[clipped(line, _LONGEST_NOTE) for line in note.lines]


def _boxed(outline: Outline, nodes: Sequence[str], box: Callable[[int], str], end: str) -> Iterator[str]:
    """The nodes in no box, then box by box the rest; a box inside another one stands within it."""
    members: dict[tuple[int, ...], list[str]] = {}
    for node, told in zip(outline.nodes, nodes, strict=True):
        members.setdefault(node.around, []).append(told)
    open_boxes: tuple[int, ...] = ()
    paths = {path[:depth] for path in members for depth in range(len(path) + 1)}
    for path in sorted(paths):
        while path[: len(open_boxes)] != open_boxes:
            open_boxes = open_boxes[:-1]
            yield f"{_indent(open_boxes)}{end}"
        if path:
            yield f"{_indent(open_boxes)}{box(path[-1])}"
        open_boxes = path
        yield from (f"{_indent(path)}{told}" for told in members.get(path, ()))
    while open_boxes:
        open_boxes = open_boxes[:-1]
        yield f"{_indent(open_boxes)}{end}"


def _indent(around: Sequence[int]) -> str:
    return "    " * (1 + len(around))


def _edges(outline: Outline, arrow: str) -> Iterator[str]:
    names = list(map(_called, outline.nodes))
    return (f"    {names[above]} {arrow} {names[beneath]}" for above, beneath in outline.edges)


def _mermaid(text: str) -> str:
    """Write all but letters, digits and a few harmless marks as Mermaid's character codes."""
    return "".join(mark if mark.isalnum() or mark in " _-.,()'" else f"#{ord(mark)};" for mark in text)


def _dot(text: str) -> str:
    return text.translate(_DOT_ESCAPES)
