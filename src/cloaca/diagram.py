"""A plan as a picture, in the languages of Mermaid and Graphviz.

Nodes are called `t0`, `t1` and so on, by rank; the author's ids appear in labels only, where any text can be escaped.
Beneath them stand the notes on tasks, if there are any. Mapped tasks have a double border.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

from cloaca.engine.plan import Plan

_DOT_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "&": "&amp;", "\0": "\N{REPLACEMENT CHARACTER}"}
)


_LONGEST_NOTE = 120


def to_mermaid(plan: Plan, notes: Mapping[str, str], mapped: Collection[str] = ()) -> str:
    """Return the plan as a Mermaid flowchart, from top to bottom. `mapped` are the ids of mapped tasks."""

    def label(name: str) -> str:
        text = '["' + "<br>".join(map(_mermaid, _lines(name, notes))) + '"]'
        return f"[{text}]" if name in mapped else text

    return "\n".join(["flowchart TD", *_nodes(plan, label), *_edges(plan, "-->")]) + "\n"


def to_dot(name: str, plan: Plan, notes: Mapping[str, str], mapped: Collection[str] = ()) -> str:
    """Return the plan as a Graphviz digraph called `name`. `mapped` are the ids of mapped tasks."""

    def label(task: str) -> str:
        text = ' [label="' + "\\n".join(map(_dot, _lines(task, notes))) + '"'
        return text + (" peripheries=2];" if task in mapped else "];")

    lines = [*_nodes(plan, label), *(f"{edge};" for edge in _edges(plan, "->"))]
    return "\n".join([f'digraph "{_dot(name)}" {{', *lines, "}"]) + "\n"


def _lines(task: str, notes: Mapping[str, str]) -> tuple[str, ...]:
    """The task's name, and what there is to note of it."""
    if task not in notes:
        return (task,)
    note = notes[task]
    return task, note if len(note) <= _LONGEST_NOTE else f"{note[:_LONGEST_NOTE]}..."


def _nodes(plan: Plan, label: Callable[[str], str]) -> Iterator[str]:
    return (f"    t{rank}{label(name)}" for rank, name in enumerate(plan.names))


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
