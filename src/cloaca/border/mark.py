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

_NUMBER = struct.Struct("<q")
_ALL = struct.Struct("<qdq")
_ATTEMPT = _ALL.size - _NUMBER.size
_HOLD = _ALL.size
_SIZE = _HOLD + 1
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a file there has no name
_put = _ALL.pack_into
NONE = -1
INITIALIZING = -2
"""In the place of an attempt: what the worker has begun is the runner's initializer."""


_of_items: "list[Mark]" = []


def come_to(item: int) -> None:
    """What this process runs comes to that item. Nobody is told where the process is no worker."""
    for mark in _of_items:
        mark.write_item(item)


class Mark:
    """The shared number; `descriptor` is only needed to hand it over."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap(descriptor, _SIZE)

    def write(self, attempt: int, moment: float, item: int = NONE) -> None:
        """The attempt begins, or an item of it, at that moment of the monotonic clock.

        The number comes last: it is what counts.
        """
        _put(self._memory, 0, item, moment, attempt)

    def read(self) -> tuple[int, float]:
        """The number of the attempt that was begun last, and when it was."""
        number: int = _NUMBER.unpack_from(self._memory, _ATTEMPT)[0]  # first, as it was written last
        moment: float = _ALL.unpack_from(self._memory)[1]
        return number, moment

    def write_item(self, number: int) -> None:
        """The attempt comes to that item of its batch."""
        _NUMBER.pack_into(self._memory, 0, number)

    @property
    def item(self) -> int | None:
        """The item to which the attempt came last, if it told."""
        number: int = _NUMBER.unpack_from(self._memory)[0]
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
