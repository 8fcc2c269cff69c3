"""Notebook: a display in the output of the cell that is run."""

from importlib import import_module
from io import StringIO
from typing import Any

from rich.console import Console, RenderableType

from cloaca.progress.drawing import drawn, ended, scene
from cloaca.progress.progress import Progress
from cloaca.progress.terminal import memory

_WIDTH = 100
_AS_HTML = '<pre style="line-height:normal">{code}</pre>'


class Notebook:
    """One output that changes. Those that have ended stay in it, above those that are under way."""

    interval = 0.25

    def __init__(self) -> None:
        display: Any = import_module("IPython.display").display  # there is one, as the kernel is its own
        self._ended: list[Progress] = []
        self._handle = display(_shown([], []), raw=True, display_id=True)

    def show(self, under_way: list[Progress]) -> None:
        """So far are those that are under way."""
        self._handle.update(_shown(self._ended, under_way), raw=True)

    def leave(self, progress: Progress) -> None:
        """This one has ended."""
        self._ended.append(progress)

    def close(self) -> None:
        """There is nothing to be put in order."""


def _shown(over: list[Progress], under_way: list[Progress]) -> dict[str, str]:
    parts: list[RenderableType] = [*map(ended, over), *([drawn(scene(under_way, memory()))] if under_way else [])]
    console = Console(file=StringIO(), record=True, width=_WIDTH, force_jupyter=False, color_system="standard")
    for part in parts:
        console.print(part)
    text = console.export_text(clear=False)
    return {"text/plain": text, "text/html": console.export_html(inline_styles=True, code_format=_AS_HTML)}
