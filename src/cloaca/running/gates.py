"""Gates: where tasks run on the threads that call, these wait here for the seats that an attempt takes."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from threading import Condition

from cloaca.engine.seats import Seats, Share, Slots

_around = ContextVar[tuple["Gates", ...]]("cloaca.gates", default=())


class Gates:
    """The `seats` of a runner, for any thread. Who waits is served as a run is that stands in line.

    Who has some takes no more: so here, too, nobody has any and waits for others.
    """

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._changed = Condition()
        self._numbers = count()

    @contextmanager
    def passed(self, share: Share) -> Generator[Slots, None, None]:
        """While this is entered, the thread has the seats of the share. It waits for them first."""
        number = next(self._numbers)
        before = _around.set((*_around.get(), self))
        try:
            yield self._taken(share, number)
        finally:  # also where an exception has struck while it waited
            _around.reset(before)
            with self._changed:
                self._seats.leave(number)
                self._seats.free(number)
                self._changed.notify_all()

    def demand_none(self, what: str) -> None:
        """Raise `ValueError` where this is said inside a task that has seats: who is to take some would wait for it."""
        if self in _around.get():
            raise ValueError(
                f"{what} takes of this runner's limits, inside a task that does so, too: it would wait for the end of "
                "that one, which waits for it. Let the task around it take what both need, and leave out the limits "
                "of what it runs; or run that on a runner of its own."
            )

    def _taken(self, share: Share, number: int) -> Slots:
        with self._changed:
            while not self._seats.room(share, number):
                self._seats.stand_in_line(share, number)
                self._changed.wait()
            return self._seats.take(share, number, number)
