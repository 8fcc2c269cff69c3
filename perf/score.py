"""Score: how a duel of two contenders ended. Pure arithmetic on what their rounds came to."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from perf.contest import Round


@dataclass(frozen=True, slots=True)
class Must:
    """What the first contender of a duel is meant to reach: a ratio of at least, a time (in seconds) of at most."""

    figure: Literal["ratio", "time", "difference"]
    bound: float


@dataclass(frozen=True, slots=True)
class Duel:
    """Two contenders of one workload, by name; the first one's speed is told in terms of the second's."""

    contender: str
    peer: str
    must: Must | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of one figure over all rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure":
        """The figure of these values, of which there is at least one.

        >>> Figure.of([3.0, 1.0, 10.0])
        Figure(median=3.0, low=1.0, high=10.0)
        """
        seen = sorted(values)
        return cls(statistics.median(seen), seen[0], seen[-1])


@dataclass(frozen=True, slots=True)
class Score:
    """A duel of one workload and its figures: times in seconds, peaks in bytes.

    `ratio` is the peer's time over the contender's: 2 says twice as fast as the peer. `difference` is the contender's
    time less the peer's. Both are taken round by round, from processes that ran right after each other.
    """

    workload: str
    duel: Duel
    rounds: int
    time: Figure
    peer_time: Figure
    ratio: Figure
    difference: Figure
    peak: float | None
    peer_peak: float | None

    @property
    def name(self) -> str:
        """What tells this score from the others, in every run."""
        return f"{self.workload}: {self.duel.contender} / {self.duel.peer}"

    @property
    def is_met(self) -> bool | None:
        """Whether the medians reach what they must; `None` where nothing is asked for."""
        must = self.duel.must
        if must is None:
            return None
        if must.figure == "ratio":
            return self.ratio.median >= must.bound
        figure = self.time if must.figure == "time" else self.difference
        return figure.median <= must.bound


def score(workload: str, duel: Duel, rounds: Sequence[Round]) -> Score:
    """The score of a duel after these rounds, of which there is at least one."""
    pairs = [(outcomes[duel.contender], outcomes[duel.peer]) for outcomes in rounds]
    return Score(
        workload,
        duel,
        len(rounds),
        Figure.of(ours.seconds for ours, _ in pairs),
        Figure.of(theirs.seconds for _, theirs in pairs),
        Figure.of(theirs.seconds / ours.seconds for ours, theirs in pairs),
        Figure.of(ours.seconds - theirs.seconds for ours, theirs in pairs),
        _median(ours.peak for ours, _ in pairs),
        _median(theirs.peak for _, theirs in pairs),
    )


def _median(peaks: Iterable[int | None]) -> float | None:
    known = [peak for peak in peaks if peak is not None]
    return statistics.median(known) if known else None
