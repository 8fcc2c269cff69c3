"""Curves: what changes over the time of a run, as shapes of a size that doesn't grow with it."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from cloaca.account.cores import Moment

WIDTH = 1000
"""Into how many cells the time is cut."""


def running(moments: Sequence[Moment], seconds: float, most: float) -> list[float]:
    """How many tasks ran at once, as parts of `most`: in each cell, the mean."""
    means = [0.0] * WIDTH
    for one, after in pairwise(moments):
        spread(means, one.at, after.at, seconds, one.running)
    return [min(mean / most, 1) for mean in means]


def risen(readings: Iterable[tuple[float, int]], seconds: float, most: float) -> list[float]:
    """What was read at these moments, as parts of `most`: in each cell the highest, or the last one before it."""
    cells: list[float] = [0.0] * WIDTH
    last, before = 0, 0.0
    for at, value in readings:
        cell = min(int(at / seconds * WIDTH), WIDTH - 1) if seconds else 0
        cells[last + 1 : cell + 1] = [before] * (cell - last)
        cells[cell] = max(cells[cell], value / most)
        last, before = cell, value / most
    cells[last + 1 :] = [before] * (WIDTH - last - 1)
    return cells


def spread(cells: list[float], started: float, ended: float, seconds: float, weight: float) -> None:
    """Add a stretch of time to the cells that it covers, by how much of each it does."""
    left, right = (min(max(at / seconds, 0), 1) * WIDTH if seconds else 0 for at in (started, ended))
    for cell in range(int(left), min(int(right) + 1, WIDTH)):
        cells[cell] += weight * max(min(right, cell + 1) - max(left, cell), 0)


def filled(shares: Sequence[float], height: int) -> str:
    """One shape for all cells, each filled from below by its share."""
    steps, at = [f"M0 {height}"], 0
    for top, alike in groupby(round(height * (1 - share)) for share in shares):
        at += len([*alike])
        steps.append(f"V{top}H{at}")
    return f'<path class="much" d="{"".join(steps)}V{height}z"/>'
