"""Pictures: a workflow, or what became of it, for who looks at it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from cloaca import argument
from cloaca.history.plan import Plan
from cloaca.workflows import diagram, svg
from cloaca.workflows.diagram import Direction, Note, NoteOf
from cloaca.workflows.folding import outline_of
from cloaca.workflows.outline import Boxes, Node, Outline

_IN_NOTEBOOKS = 100  # nodes at most


def noting(lines: Sequence[tuple[str, ...]], mapped: AbstractSet[int]) -> NoteOf:
    """Note what tasks say, given by rank, where all of a node say the same."""

    def note_of(node: Node) -> Note:
        said = {lines[rank] for rank in node.ranks}
        return Note(said.pop() if len(said) == 1 else (), "", mapped >= {*node.ranks})

    return note_of


class Picture(NamedTuple):
    """What is drawn: a plan with its name and its copies, and what is told of tasks."""

    name: str
    plan: Plan
    copies: Boxes
    note_of: NoteOf

    def to_mermaid(self, direction: Direction, most: int | None) -> str:
        """As the text of a Mermaid flowchart."""
        return diagram.to_mermaid(self._outline(most), self.note_of, direction)

    def to_dot(self, direction: Direction, most: int | None) -> str:
        """As the text of a Graphviz file."""
        return diagram.to_dot(self.name, self._outline(most), self.note_of, direction)

    def to_svg(self, direction: Direction, most: int | None) -> str:
        """As SVG. Raises `RuntimeError` where there is no Graphviz."""
        return svg.drawn(self.to_dot(direction, most))

    def for_notebooks(self) -> dict[str, str]:
        """By MIME type: drawn by Graphviz where it is installed and manages that soon, or else for Mermaid.

        Not both, as JupyterLab takes Mermaid first. Pages are scrolled down, so what is wide goes from left to right.
        """
        outline = self._outline(_IN_NOTEBOOKS)
        direction: Direction = "LR" if max(outline.widths.values()) > len(outline.widths) else "TB"
        drawn = svg.drawn_soon(diagram.to_dot(self.name, outline, self.note_of, direction))
        if drawn is None:
            return {"text/vnd.mermaid": diagram.to_mermaid(outline, self.note_of, direction)}
        return {"image/svg+xml": drawn}

    def _outline(self, most: int | None) -> Outline:
        if most is not None:
            argument.whole("most", most, 1)
        return outline_of(self.plan, self.copies, most)
