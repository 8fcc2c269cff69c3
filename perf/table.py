"""Tables of plain text: the scores of a run, and how they differ from another's."""

from collections.abc import Iterable, Sequence

from perf.record import Change
from perf.score import Figure, Must, Score

SCORE_HEAD = (
    *("workload", "contender", "median", "low-high", "peer", "median", "low-high", "ratio", "low-high"),
    *("difference", "must", "", "memory", "peer's", "rounds"),
)
CHANGE_HEAD = ("duel", "old ratio", "new ratio", "change", "")


def score_table(scores: Iterable[Score]) -> str:
    """One line for each duel."""
    return _aligned([SCORE_HEAD, *(_score_row(score) for score in scores)])


def change_table(changes: Iterable[Change]) -> str:
    """One line for each duel: the old ratio, the new one, and by how much it changed."""
    return _aligned([CHANGE_HEAD, *(_change_row(change) for change in changes)])


def _score_row(score: Score) -> tuple[str, ...]:
    return (
        score.workload,
        score.duel.contender,
        duration(score.time.median),
        span(score.time),
        score.duel.peer,
        duration(score.peer_time.median),
        span(score.peer_time),
        f"{score.ratio.median:.2f}",
        f"{score.ratio.low:.2f}-{score.ratio.high:.2f}",
        duration(score.difference.median),
        "; ".join(map(bound, score.duel.musts)) or "-",
        verdict(score),
        memory(score.peak),
        memory(score.peer_peak),
        str(score.rounds),
    )


def _change_row(change: Change) -> tuple[str, ...]:
    told = "-" if change.relative is None else f"{change.relative:+.0%}"
    return change.name, _ratio(change.old), _ratio(change.new), told, _mark(change)


def _mark(change: Change) -> str:
    if not change.is_notable:
        return ""
    return "<-- SLOWER" if change.is_loss else "<-- faster"


def verdict(score: Score) -> str:
    """Whether a score reaches all that it must."""
    met = {score.meets(must) for must in score.duel.musts}
    if not met:
        return ""
    return "met" if met == {True} else "missed" if False in met else "not measured"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> duration(0.000_022), duration(-0.0123), duration(1.5)
    ('22.0 us', '-12.3 ms', '1.50 s')
    """
    match abs(seconds):
        case size if size < 1e-3:
            return f"{seconds * 1e6:.1f} us"
        case size if size < 1:
            return f"{seconds * 1e3:.1f} ms"
        case _:
            return f"{seconds:.2f} s"


def span(figure: Figure) -> str:
    """The lowest and the highest; the low one without its unit where both have the same.

    >>> span(Figure(2.0, 1.0, 3.0)), span(Figure(0.5, 0.002, 1.0))
    ('1.00-3.00 s', '2.0 ms-1.00 s')
    """
    low, high = duration(figure.low), duration(figure.high)
    return f"{low.split()[0] if low.split()[1] == high.split()[1] else low}-{high}"


def bound(must: Must) -> str:
    """What a score must reach.

    >>> bound(Must("ratio", 1 / 1.3)), bound(Must("time", 0.1)), bound(Must("peak", 3 << 20))
    ('ratio >= 0.77', 'time <= 100.0 ms', 'peak <= 3 MiB')
    """
    match must:
        case Must("ratio" | "memory" as figure, least):
            return f"{figure} >= {least:.2g}"
        case Must("peak", most):
            return f"peak <= {memory(most)}"
        case Must(figure, most):
            return f"{figure} <= {duration(most)}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def memory(size: float | None) -> str:
    """Bytes in MiB."""
    return "-" if size is None else f"{size / 2**20:.0f} MiB"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
