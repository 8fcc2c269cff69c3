"""A plan as a picture, in the languages of Mermaid and Graphviz.

Nodes are called `t0`, `t1` and so on, by rank; the author's ids appear in labels only, where any text can be escaped.
Mapped tasks have a double border.
"""

from collections.abc import Callable, Collection, Iterator

from cloaca.engine.plan import Plan

_DOT_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "&": "&amp;", "\0": "\N{REPLACEMENT CHARACTER}"}
)


def to_mermaid(plan: Plan, mapped: Collection[str] = ()) -> str:
    """Return the plan as a Mermaid flowchart, from top to bottom. `mapped` are the ids of mapped tasks."""

    def label(task: str) -> str:
        text = f'["{_mermaid(task)}"]'
        return f"[{text}]" if task in mapped else text

    return "\n".join(["flowchart TD", *_nodes(plan, label), *_edges(plan, "-->")]) + "\n"


def to_dot(name: str, plan: Plan, mapped: Collection[str] = ()) -> str:
    """Return the plan as a Graphviz digraph called `name`. `mapped` are the ids of mapped tasks."""

    def label(task: str) -> str:
        return f' [label="{_dot(task)}"{" peripheries=2" if task in mapped else ""}];'

    lines = [*_nodes(plan, label), *(f"{edge};" for edge in _edges(plan, "->"))]
    return "\n".join([f'digraph "{_dot(name)}" {{', *lines, "}"]) + "\n"


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
    return "".join(mark if mark.isalnum() or mark in " _-." else f"#{ord(mark)};" for mark in text)


def _dot(text: str) -> str:
    return text.translate(_DOT_ESCAPES)
