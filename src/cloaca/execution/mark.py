"""Mark: eight bytes that a worker shares with the coordinator, for the number of the attempt that it begins.

When a worker dies, this tells whether it had begun what was first in its queue: if not, the attempt can go to another
worker, as nothing of it has run. The memory has no name anywhere, and goes with the two processes.
"""

import os
import struct
import sys
import tempfile
from mmap import mmap

_NUMBER = struct.Struct("<q")
NONE = -1


class Mark:
    """The shared number; `descriptor` is only needed to hand it over."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap(descriptor, _NUMBER.size)

    def write(self, attempt: int) -> None:
        _NUMBER.pack_into(self._memory, 0, attempt)

    def read(self) -> int:
        number: int = _NUMBER.unpack_from(self._memory)[0]
        return number

    def close(self) -> None:
        self._memory.close()


def create() -> int:
    """A descriptor of fresh shared memory that says `NONE`."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("cloaca-mark")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, _NUMBER.pack(NONE))
    return descriptor
