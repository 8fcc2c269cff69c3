"""Gates: where tasks run on the threads that call, these wait here for the seats that an attempt takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition

from cloaca.engine.seats import Seats, Share, Slots


class Gates:
    """The `seats` of a runner, for any thread. Who waits is served as a run is that stands in line."""

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._changed = Condition()
        self._numbers = count()

    @contextmanager
    def passed(self, share: Share) -> Iterator[Slots]:
        """While this is entered, the thread has the seats of the share. It waits for them first."""
        number = next(self._numbers)
        try:
            yield self._taken(share, number)
        finally:  # also where an exception has struck while it waited
            with self._changed:
                self._seats.leave(number)
                self._seats.free(number)
                self._changed.notify_all()

    def _taken(self, share: Share, number: int) -> Slots:
        with self._changed:
            while not self._seats.room(share, number):
                self._seats.stand_in_line(share, number)
                self._changed.wait()
            return self._seats.take(share, number, number)
