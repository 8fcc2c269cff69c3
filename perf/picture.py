"""Picture: ratios as dots on a logarithmic scale, a row for each form of a workload, a colour and a mark for each peer.

As SVG, whose colours can be read on white and on black. matplotlib is needed for drawing only, and comes with `perf`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from typing import Literal

from perf.peers import PEERS, peer_of
from perf.score import Figure, Score

MARKS = dict(zip(PEERS, "os^vD<XP", strict=True))
COLOURS = dict(
    zip(
        PEERS,
        ("#218bff", "#d4732a", "#1b9e77", "#2da44e", "#bf8700", "#8a63d2", "#d1344b", "#b35fa8"),
        strict=True,
    )
)
Kind = Literal["time", "memory"]
INK = "#6e7781"
WIDTH, ROW = 7.6, 0.27
"""Inches."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A peer's figure over the contender's; more than 1 is to the right, where cloaca is better."""

    peer: str
    ratio: Figure


@dataclass(frozen=True, slots=True)
class Row:
    """A contender of a workload beside each of its peers."""

    name: str
    dots: tuple[Dot, ...]


def rows(scores: Iterable[Score], figure: Kind) -> list[Row]:
    """The rows of a picture of these scores. What isn't measured beside a peer is left out: a loop, a bare process."""
    found = (
        Row(name, tuple(dot for score in group if (dot := _dot(score, figure)) is not None))
        for name, group in groupby(scores, _name)
    )
    return [row for row in found if row.dots]


def drawn(rows: Sequence[Row], better: str, worse: str) -> str:
    """The picture as SVG. `better` and `worse` say what it means to be right and left of 1."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Drawing
    from matplotlib.ticker import LogLocator, NullLocator

    style = {"svg.fonttype": "none", "svg.hashsalt": "cloaca", "font.size": 9, "text.color": INK}
    with mpl.rc_context({**style, "xtick.color": INK, "ytick.color": INK}):
        drawing = Drawing(figsize=(WIDTH, ROW * len(rows) + 1.1), layout="constrained")
        axes = drawing.add_subplot()
        axes.set_xscale("log")
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.axvline(1, color=INK, linewidth=1.2)
        axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_title(f"◂ {worse}", loc="left", color=INK, fontsize=9)
        axes.set_title(f"{better} ▸", loc="right", color=INK, fontsize=9)
        for place, row in enumerate(rows):
            axes.axhline(place, color=INK, alpha=0.15, linewidth=0.6)
            for dot in row.dots:
                mark, colour = MARKS[dot.peer], COLOURS[dot.peer]
                axes.plot([dot.ratio.low, dot.ratio.high], [place, place], color=colour, linewidth=2, alpha=0.6)
                axes.plot(dot.ratio.median, place, mark, color=colour, label=dot.peer, markersize=6.5)
        known = {label: mark for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        drawing.legend(
            known.values(), known, loc="outside lower center", ncols=len(known), frameon=False, labelcolor=INK,
            handletextpad=0.1, columnspacing=1.2,
        )  # fmt: skip
        written = StringIO()
        drawing.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return text[text.index("<svg ") :]


def _name(score: Score) -> str:
    form = score.duel.contender.removeprefix("cloaca").strip(" +")
    return f"{score.workload} · {form}" if form else score.workload


def _dot(score: Score, figure: Kind) -> Dot | None:
    peer = peer_of(score.duel.peer)
    if peer not in PEERS:
        return None
    if figure == "time":
        return Dot(peer, score.ratio)
    return None if score.memory is None else Dot(peer, Figure.of([score.memory]))
