"""Overhead: the time of workers that went by beside the functions of tasks."""

from collections.abc import Sequence
from typing import NamedTuple

from cloaca.account.spans import Span


class Overhead(NamedTuple):
    """Seconds of all workers together, as far as they are worth a word for a task.

    `loading`: functions were loaded, and the large values that tasks read rebuilt from bytes. `waiting`: tasks had
    asked for values that they weren't sent with. `encoding`: values were made bytes. `handing_over`: tasks were ready,
    and on their way to workers that had nothing to do.
    """

    loading: float = 0.0
    waiting: float = 0.0
    encoding: float = 0.0
    handing_over: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self)


def overhead_of(spans: Sequence[Span], handing_over: float) -> Overhead:
    """What it comes to for these."""
    return Overhead(
        sum([span.loading for span in spans]),
        sum([span.waiting for span in spans]),
        sum([span.encoding for span in spans]),
        handing_over,
    )
