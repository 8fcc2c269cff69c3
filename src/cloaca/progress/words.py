"""How far something is, in words: one line, where no display can be drawn."""

from math import ceil

from cloaca.progress.progress import Progress

_EACH = ((1.0, "s"), (60.0, "min"), (3600.0, "h"))
_LEAST = 0.5
_UNITS = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (float("inf"), 3600.0, "h"))


def told(progress: Progress) -> str:
    """All that matters of it, on a line.

    >>> told(Progress("sales", "Running", 40, 9, 1, 0, 0, 2, 1, 5.0, 15.0))
    'sales: 10 of 40 (25 %), 2 running, 1 failed, 1 retried, 2.0/s, about 15 s left'
    >>> told(Progress("sales", "Completed", 40, 40, 0, 0, 0, 0, 0, 20.0, None))
    'sales: Completed, 40 of 40 (100 %), 2.0/s, in 20 s'
    """
    said = "" if progress.status == "Running" else f"{progress.status}, "
    return f"{progress.name}: {said}{how_much(progress)}, {rest(progress)}"


def how_much(progress: Progress) -> str:
    """How many have ended, of how many."""
    total = progress.total
    percent = int(100 * progress.fraction)
    return f"{progress.done:,} of {total:,} ({percent} %)"


def rest(progress: Progress) -> str:
    """All else."""
    return ", ".join([*_counts(progress), *([_pace(progress)] if progress.rate else []), _time(progress)])


def _counts(progress: Progress) -> list[str]:
    """What there is to say of others than those that ran and completed."""
    known = ("running", "failed", "retried", "skipped", "cancelled", "reused")
    return [f"{count:,} {name}" for name in known if (count := getattr(progress, name))]


def _pace(progress: Progress) -> str:
    """How many end in a second, or in as long as it takes to be one.

    >>> [_pace(Progress("w", "Running", 9, 10, 0, 0, 0, 0, 0, seconds, None)) for seconds in (0.5, 4.0, 30, 7200)]
    ['20/s', '2.5/s', '20/min', '5.0/h']
    """
    paces = [(progress.rate * each, unit) for each, unit in _EACH]
    count, unit = next((pace for pace in paces if pace[0] >= _LEAST), paces[-1])
    return f"{count:,.0f}/{unit}" if count >= 10 else f"{count:.1f}/{unit}"  # noqa: PLR2004 - two digits do


def _time(progress: Progress) -> str:
    """How much longer it takes, or how long it has taken."""
    if progress.status != "Running":
        return f"in {span(progress.seconds)}"
    if progress.left is None:
        return f"{span(int(progress.seconds))} so far"
    return f"about {span(max(1, ceil(progress.left)))} left"  # it isn't known any better than to a second


def span(seconds: float) -> str:
    """A duration of two digits or so.

    >>> span(0.25), span(42.0), span(150.0), span(9000.0)
    ('0.2 s', '42 s', '2.5 min', '2.5 h')
    """
    each, unit = next((each, unit) for below, each, unit in _UNITS if seconds < below)
    count = seconds / each
    return f"{count:.0f} {unit}" if count >= 10 or count == int(count) else f"{count:.1f} {unit}"  # noqa: PLR2004 - as above
