"""Owner: the process that has an execution in hand, and whether it is gone.

A process is known by its id, by the moment at which it began, and by the system in which its id means something: this
boot of this machine, and this container. Of a process of the same system the kernel tells whether it lives: then it
doesn't matter how long nothing was heard of it. Of one elsewhere nobody can tell; it is taken for gone when it was
silent for a minute, of which it tells every few seconds.
"""

import os
from contextlib import suppress

from msgspec import Struct, json

from cloaca.values.folder import UNKNOWN, system

SILENCE_SECONDS = 60.0
"""How long nothing is heard of a process of another system that is taken for gone."""

_HIDDEN = "hidden"
_GONE = "gone"
_BEGAN = 19
"""The place of the moment at which a process began, among the fields behind its name."""


class Owner(Struct, frozen=True, array_like=True):
    """A process: `began` as the kernel has it, `host` as people call the machine."""

    pid: int
    began: str
    system: str
    host: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_gone(self, silent: float) -> bool:
        """Whether it surely is, or has to be taken for gone. Nothing was heard of it for `silent` seconds."""
        began = _began(self.pid) if self._is_of_this_system else _HIDDEN
        return silent > SILENCE_SECONDS if began == _HIDDEN else began != self.began

    @property
    def way(self) -> str:
        """What to do about it."""
        if self == this_process():
            return "It runs in this very program: wait for it, or cancel it."
        if self._is_of_this_system:
            return "Wait for it, or end that process."
        return f"Wait for it. If it is gone, that is known when nothing was heard of it for {SILENCE_SECONDS:.0f} s."

    @property
    def _is_of_this_system(self) -> bool:
        return self.system == system() != UNKNOWN


def this_process() -> Owner:
    """The process that asks."""
    return Owner(os.getpid(), _began(os.getpid()), system(), os.uname().nodename)


def written(owner: Owner) -> str:
    """An owner as text."""
    return json.encode(owner).decode()


def read(text: str) -> Owner:
    """The owner that was written so."""
    return json.decode(text, type=Owner)


def _began(pid: int) -> str:
    """When a process began. One that has ended and wasn't waited for yet is gone."""
    with suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b") ")[2].split()
        return _GONE if state in (b"Z", b"X") else fields[_BEGAN - 1].decode()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return _GONE
    except OSError:
        return _HIDDEN
    return _HIDDEN
