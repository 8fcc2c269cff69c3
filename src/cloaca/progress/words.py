"""How far something is, in words: one line, where no display can be drawn."""

from cloaca.progress.progress import Progress

_UNITS = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (float("inf"), 3600.0, "h"))


def told(progress: Progress) -> str:
    """All that matters of it, on a line.

    >>> told(Progress("sales", "Running", 40, 9, 1, 0, 0, 2, 1, 5.0, 15.0))
    'sales: 10 of 40 (25 %), 2 running, 1 failed, 1 retried, 2.0/s, about 15 s left'
    >>> told(Progress("sales", "Completed", 40, 40, 0, 0, 0, 0, 0, 20.0, None))
    'sales: Completed, 40 of 40 (100 %), 2.0/s, in 20 s'
    """
    said = [] if progress.status == "Running" else [progress.status]
    parts = [*said, how_much(progress), *counts(progress), *([pace(progress)] if progress.done else [])]
    return f"{progress.name}: {', '.join(parts)}, {time(progress)}"


def how_much(progress: Progress) -> str:
    """How many have ended, of how many."""
    total = progress.total
    percent = int(100 * progress.fraction)
    return f"{progress.done:,} of {total:,} ({percent} %)"


def counts(progress: Progress) -> list[str]:
    """What there is to say of others than those that completed."""
    known = ("running", "failed", "retried", "skipped", "cancelled")
    return [f"{count:,} {name}" for name in known if (count := getattr(progress, name))]


def pace(progress: Progress) -> str:
    """How many end in a second."""
    return f"{progress.rate:,.0f}/s" if progress.rate >= 10 else f"{progress.rate:.1f}/s"  # noqa: PLR2004 - two digits do


def time(progress: Progress) -> str:
    """How much longer it takes, or how long it has taken."""
    if progress.status != "Running":
        return f"in {span(progress.seconds)}"
    return f"{span(progress.seconds)} so far" if progress.left is None else f"about {span(progress.left)} left"


def span(seconds: float) -> str:
    """A duration of two digits or so.

    >>> span(0.25), span(42.0), span(150.0), span(9000.0)
    ('0.2 s', '42 s', '2.5 min', '2.5 h')
    """
    each, unit = next((each, unit) for below, each, unit in _UNITS if seconds < below)
    count = seconds / each
    return f"{count:.0f} {unit}" if count >= 10 or count == int(count) else f"{count:.1f} {unit}"  # noqa: PLR2004 - as above
