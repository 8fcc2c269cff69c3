"""A picture as SVG, laid out and drawn by Graphviz, where its program is installed."""

import shutil
import subprocess

MOST_IN_NOTEBOOKS = 200
"""How many tasks a graph may have to be drawn without being asked: with more, laying it out takes a while."""

_SECONDS = 120.0
_SECONDS_IN_NOTEBOOKS = 5.0
_ADVICE = (
    "Install it (apt install graphviz, brew install graphviz, conda install graphviz), or take to_mermaid() or "
    "to_dot() to a program that draws these."
)


def drawn(dot: str, seconds: float = _SECONDS) -> str:
    """What Graphviz draws of the text of one of its files.

    Raises `RuntimeError` where there is no Graphviz, or where it takes longer, or fails.
    """
    program = shutil.which("dot")
    if program is None:
        raise RuntimeError(f"SVG is drawn by Graphviz, whose program dot isn't on PATH. {_ADVICE}")
    try:
        ended = subprocess.run(
            [program, "-Tsvg"], input=dot, capture_output=True, encoding="utf-8", check=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"Graphviz hasn't drawn the graph within {seconds:g} s: it is too large.") from None
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", None) or error
        raise RuntimeError(f"Graphviz failed to draw the graph: {said}") from error
    return ended.stdout


def drawn_for_notebook(dot: str, tasks: int) -> str | None:
    """The same for a notebook, which shows something else where there is no Graphviz, or it would take long."""
    if tasks > MOST_IN_NOTEBOOKS or shutil.which("dot") is None:
        return None
    try:
        return drawn(dot, _SECONDS_IN_NOTEBOOKS)
    except RuntimeError:
        return None
