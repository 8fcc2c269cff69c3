"""How figures are told: durations, sizes, shares and rows of tasks, short enough for a line."""

from collections.abc import Sequence

from cloaca.account.spans import Span
from cloaca.wording import clipped, counted

_UNITS = ((0.001, 1e6, "us", 0), (0.1, 1e3, "ms", 0), (10.0, 1.0, "s", 2), (100.0, 1.0, "s", 1))
"""Below how many seconds, how many of the unit a second has, and with how many digits."""

_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_LONGEST_NAME = 40
_NAMED = 4


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> [duration(one) for one in (0.00004, 0.0321, 0.5, 12.3456, 3723.0)]
    ['40 us', '32 ms', '0.50 s', '12.3 s', '1 h 2 min']
    """
    for below, times, unit, digits in _UNITS:
        if seconds < below:
            return f"{seconds * times:.{digits}f} {unit}"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def size(count: int) -> str:
    """Bytes in the unit that suits them.

    >>> size(1), size(12), size(4_600), size(200_000_000)
    ('1 byte', '12 bytes', '4.6 kB', '200.0 MB')
    """
    unit = next(((least, name) for least, name in _SIZES if count >= least), None)
    return counted(count, "byte") if unit is None else f"{count / unit[0]:.1f} {unit[1]}"


def share(part: float, whole: float) -> str:
    """A part of a whole.

    >>> share(1, 4), share(0, 0)
    ('25 %', '0 %')
    """
    return f"{100 * part / whole if whole else 0:.0f} %"


def names(spans: Sequence[Span]) -> str:
    """A row of tasks, the middle left out where it is long."""
    told = [clipped(span.name, _LONGEST_NAME) for span in spans]
    if len(told) > _NAMED:
        told = [*told[: _NAMED // 2], "...", *told[-_NAMED // 2 :]]
    return " -> ".join(told)
