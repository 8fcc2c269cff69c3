"""Mark: a few bytes that a worker shares with the coordinator: the number of the attempt that it began, and when.

When a worker dies, this tells whether it had begun what was first in its queue: if not, the attempt can go to another
worker, as nothing of it has run. The memory has no name anywhere, and goes with the two processes.

The other way round it tells the worker whether to hold back what it has for whoever looks at the program: that asks for
no answer, on whichever thread it is looked at.
"""

import os
import struct
from contextlib import suppress
from mmap import ALLOCATIONGRANULARITY, mmap

from cloaca.border import tally

_ALL = struct.Struct("=qdq")
_ITEM, _MOMENT, _ATTEMPT = range(3)
_HOLD = _ALL.size
_SIZE = _HOLD + 1
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a file there has no name
NONE = -1
INITIALIZING = -2
"""In the place of an attempt: what the worker has begun is the runner's initializer."""


_of_items: "list[Mark]" = []


def come_to(item: int) -> None:
    """What this process runs comes to that item. Nobody is told where the process is no worker."""
    for mark in _of_items:
        mark.write_item(item)


class Mark:
    """The shared numbers; `descriptor` is only needed to hand them over.

    Each is stored at once, as a whole: `struct` would write zeros first, and a reader, or a death, come in between.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap(descriptor, _SIZE)
        self._words = memoryview(self._memory)[:_HOLD]
        self._numbers, self._moments = self._words.cast("q"), self._words.cast("d")

    def write(self, attempt: int, moment: float, item: int = NONE) -> None:
        """The attempt begins, or an item of it, at that moment of the monotonic clock.

        The number comes last: it is what counts.
        """
        self._moments[_MOMENT] = moment
        self._numbers[_ITEM] = item
        self._numbers[_ATTEMPT] = attempt

    def read(self) -> tuple[int, float]:
        """The number of the attempt that was begun last, and when it was."""
        number = self._numbers[_ATTEMPT]  # first, as it was written last
        return number, self._moments[_MOMENT]

    def write_item(self, number: int) -> None:
        """The attempt comes to that item of its batch."""
        self._numbers[_ITEM] = number

    @property
    def item(self) -> int | None:
        """The item to which the attempt came last, if it told."""
        number = self._numbers[_ITEM]
        return None if number == NONE else number

    @property
    def is_held(self) -> bool:
        """Whether the worker is to hold back what is only to be shown."""
        return self._memory[_HOLD] != 0

    def hold(self, *, back: bool) -> None:
        """Have the worker hold it back, or no more."""
        self._memory[_HOLD] = back

    def take_items(self) -> None:
        """From here on, this mark is told of the items to which the process comes."""
        _of_items[:] = [self]

    def close(self) -> None:
        for view in (self._numbers, self._moments, self._words):
            view.release()
        self._memory.close()


def create() -> int:
    """A descriptor of fresh shared memory that says `NONE`, with an empty tally behind it."""
    descriptor = _nameless()
    try:
        os.write(descriptor, _ALL.pack(NONE, 0.0, NONE) + b"\0")
        os.ftruncate(descriptor, ALLOCATIONGRANULARITY + tally.SIZE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _nameless() -> int:
    """A file without a name: in memory, where the system makes such files and lets this process do so."""
    with suppress(AttributeError, OSError):
        return os.memfd_create("cloaca-mark")
    with suppress(OSError):
        return _temporary(_SHARED_MEMORY)
    return _temporary(None)


def _temporary(place: str | None) -> int:
    """There all of its room is taken at once: who writes to memory of a file for which there is none is killed."""
    import tempfile

    with tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(ALLOCATIONGRANULARITY + tally.SIZE))
        file.flush()
        file.seek(0)
        return os.dup(file.fileno())
