"""A picture as SVG, laid out and drawn by Graphviz, where its program is installed."""

import shutil
import subprocess

_SECONDS = 120.0
_SOON = 5.0
_INK, _PALE, _GREY = "#1f2328", "#f6f8fa", "#737c86"
_LOOKS = (
    "-Gbgcolor=transparent",
    f"-Gfontcolor={_GREY}",
    f"-Gcolor={_GREY}",
    "-Gfontname=Helvetica",
    "-Nshape=box",
    "-Nstyle=filled",
    f"-Nfillcolor={_PALE}",
    f"-Ncolor={_GREY}",
    f"-Nfontcolor={_INK}",
    "-Nfontname=Helvetica",
    f"-Ecolor={_GREY}",
)
"""On a light page and on a dark one."""

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
            [program, "-Tsvg", *_LOOKS], input=dot, capture_output=True, encoding="utf-8", check=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"Graphviz hasn't drawn the graph within {seconds:g} s: it is too large.") from None
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", None) or error
        raise RuntimeError(f"Graphviz failed to draw the graph: {said}") from error
    return ended.stdout


def drawn_soon(dot: str) -> str | None:
    """The same for a notebook, which shows something else where there is no Graphviz, or it takes long."""
    if shutil.which("dot") is None:
        return None
    try:
        return drawn(dot, _SOON)
    except RuntimeError:
        return None
