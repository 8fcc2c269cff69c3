"""Lanes: what each worker ran when, and how many tasks ran at once, as SVG of a size that doesn't grow with the run."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from html import escape
from itertools import pairwise

from cloaca.account.cores import Moment
from cloaca.account.spans import Span
from cloaca.account.told import duration

WIDTH = 1000
_SHOWN = 1500  # the longest ones, in all lanes together, each as a piece of its own
_FAILED = 300
_HEIGHT = 20


def lanes(spans: Sequence[Span], seconds: float, on_path: Collection[int]) -> Iterator[str]:
    """A lane for each worker. What is too much to be shown one by one is shown as how busy the worker was."""
    by_worker: defaultdict[int, list[Span]] = defaultdict(list)
    for span in spans:
        by_worker[span.worker].append(span)
    longest = sorted(spans, key=_seconds, reverse=True)[:_SHOWN]
    failed = [span for span in spans if span.status == "Failed"][:_FAILED]
    shown = {span.unit for span in (*longest, *failed)}
    for worker, own in sorted(by_worker.items()):
        pieces = [_piece(span, seconds, on_path) for span in own if span.unit in shown]
        name = f"worker {worker}" if worker else "program"
        yield _lane(name, [_busy(own, seconds), *pieces], _HEIGHT)


def running(moments: Sequence[Moment], seconds: float, workers: int) -> str:
    """How many tasks ran at once: in each piece of the time, the mean."""
    means = [0.0] * WIDTH
    for one, after in pairwise(moments):
        _spread(means, one.at, after.at, seconds, one.running)
    most = max(workers, *means, 1)
    return _lane(f"0 to {most:.0f}", [_filled([mean / most for mean in means], 60)], 60)


def _seconds(span: Span) -> float:
    return span.seconds


def _busy(spans: Sequence[Span], seconds: float) -> str:
    shares = [0.0] * WIDTH
    for span in spans:
        _spread(shares, span.started, span.ended, seconds, 1)
    return _filled([min(share, 1) for share in shares], _HEIGHT)


def _filled(shares: Sequence[float], height: int) -> str:
    """One shape for all cells, each filled from below by its share."""
    tops = [f"V{height * (1 - share):.1f}H{at + 1}" for at, share in enumerate(shares)]
    return f'<path class="ran" d="M0 {height}{"".join(tops)}V{height}z"/>'


def _spread(cells: list[float], started: float, ended: float, seconds: float, weight: float) -> None:
    """Add a stretch of time to the cells that it covers, by how much of each it does."""
    left, right = (min(max(at / seconds, 0), 1) * WIDTH if seconds else 0 for at in (started, ended))
    for cell in range(int(left), min(int(right) + 1, WIDTH)):
        cells[cell] += weight * max(min(right, cell + 1) - max(left, cell), 0)


def _piece(span: Span, seconds: float, on_path: Collection[int]) -> str:
    kind = "failed" if span.status == "Failed" else "path" if span.unit in on_path else "ran"
    x, width = (WIDTH * at / seconds if seconds else 0 for at in (span.started, span.seconds))
    said = f"{span.name}: {span.status}, {duration(span.seconds)} from {duration(span.started)}, try {span.nth}"
    shape = f'x="{x:.2f}" y="0" width="{max(width, 0.5):.2f}" height="{_HEIGHT}"'
    return f'<rect class="task {kind}" {shape}><title>{escape(said)}</title></rect>'


def _lane(name: str, pieces: Sequence[str], height: int) -> str:
    box = f'viewBox="0 0 {WIDTH} {height}" height="{height}" preserveAspectRatio="none" role="img" aria-label="{name}"'
    return f'<div class="lane"><span>{name}</span><svg {box}>{"".join(pieces)}</svg></div>'
