"""Score: how a duel of two contenders ended. Pure arithmetic on what their rounds came to."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from perf.contest import Round

Peaks = Mapping[str, int | None]
"""The most memory that each contender had, in bytes; `None` where the system doesn't tell."""
NOT_WEIGHED: Peaks = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Must:
    """What the first contender of a duel is meant to reach, of one of a score's figures.

    At least so much of what is the peer's over its own (`ratio`, `memory`); at most so much of what is in seconds or
    bytes (`time`, `difference`, `peak`).
    """

    figure: Literal["ratio", "time", "difference", "memory", "peak"]
    bound: float


@dataclass(frozen=True, slots=True)
class Duel:
    """Two contenders of one workload, by name; the first one's speed is told in terms of the second's."""

    contender: str
    peer: str
    musts: tuple[Must, ...] = ()


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
    """A duel of one workload and its figures: times in seconds, peaks in bytes. `cpu` is told of programs only.

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
    cpu: float | None = None
    peer_cpu: float | None = None

    @property
    def name(self) -> str:
        """What tells this score from the others, in every run."""
        return f"{self.workload}: {self.duel.contender} / {self.duel.peer}"

    @property
    def memory(self) -> float | None:
        """The peer's peak over the contender's."""
        return None if self.peak is None or self.peer_peak is None else self.peer_peak / self.peak

    @property
    def cpu_ratio(self) -> float | None:
        """What the peer takes of the processors over what the contender does."""
        return None if self.cpu is None or self.peer_cpu is None else self.peer_cpu / self.cpu

    def reached(self, must: Must) -> float | None:
        """The figure that this is about: of what was measured in each round, the median."""
        match must.figure:
            case "memory":
                return self.memory
            case "peak":
                return self.peak
            case figure:
                median: float = getattr(self, figure).median
                return median

    def meets(self, must: Must) -> bool | None:
        """Whether that is reached; `None` where it wasn't measured."""
        reached = self.reached(must)
        if reached is None:
            return None
        return reached >= must.bound if must.figure in {"ratio", "memory"} else reached <= must.bound


def score(workload: str, duel: Duel, rounds: Sequence[Round], peaks: Peaks = NOT_WEIGHED) -> Score:
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
        peaks.get(duel.contender),
        peaks.get(duel.peer),
        _median(ours.cpu for ours, _ in pairs),
        _median(theirs.cpu for _, theirs in pairs),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
