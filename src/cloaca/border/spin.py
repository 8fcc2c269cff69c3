"""A short look-out before blocking: falling asleep and being woken takes longer than a trivial task.

Whoever spins takes a core. So the coordinator spins only while workers leave one free, and a worker only when it has
nothing to do, for as long as an answer usually takes. And whoever has looked out in vain many times in a row leaves it
for many waits: while tasks are long nothing comes soon, and on a busy machine the look-out keeps off the core just the
process that is waited for.

Looking out pays where both sides do: one that has fallen asleep answers too late. Both fail at the same time, leave it
for as many waits, and so try again together.
"""

from collections.abc import Callable
from time import monotonic
from typing import TypeVar

SPIN_SECONDS = 0.0002
TOLERATED = 16
TRIES_AGAIN = 8
OMITTED = 256

Found = TypeVar("Found")


class Lookout:
    """Looks out for a while, where that has been worth it.

    >>> looks = iter([[], [], ["an event"]])
    >>> Lookout().look(lambda: next(looks))
    ['an event']
    """

    def __init__(self) -> None:
        self._tries = TOLERATED
        self._to_omit = 0

    def look(self, look: Callable[[], Found]) -> Found:
        """Look until something is there, for at most `SPIN_SECONDS`; returns what the last look found."""
        if self._to_omit:
            self._to_omit -= 1
            return look()
        until = monotonic() + SPIN_SECONDS
        found = look()
        while not found and monotonic() < until:
            found = look()
        if found:
            self._tries = TOLERATED
            return found
        self._tries -= 1
        if self._tries <= 0:
            self._tries, self._to_omit = TRIES_AGAIN, OMITTED
        return found
