"""A short look-out before blocking: falling asleep and being woken takes longer than a trivial task.

Whoever spins takes a core. So the coordinator spins only while workers leave one free, and a worker only when it has
nothing to do, for as long as an answer usually takes.
"""

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

SPIN_SECONDS = 0.0002

Found = TypeVar("Found")


def spin(look: Callable[[], Found]) -> Found:
    """Look until something is there, for at most `SPIN_SECONDS`; returns what the last look found.

    >>> looks = iter([[], [], ["an event"]])
    >>> spin(lambda: next(looks))
    ['an event']
    """
    until = monotonic() + SPIN_SECONDS
    found = look()
    while not found and monotonic() < until:
        found = look()
    return found
