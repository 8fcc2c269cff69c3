"""Footprint: what a task takes beside the memory of its worker that is easily told: shared mappings, child processes.

Resident memory tells neither: mapped values are in it, which belong to all workers, and processes that were forked
count what they still share. So a rough bound is read first, and only where that is over the limit the kernel is asked
of each mapping. All of it is of Linux, and advice: what can't be read isn't known.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

_PROC = "/proc"
_SHARED_BY_KIN = (b"/dev/zero", b"/memfd:", b"/SYSV")
"""What `mmap(-1, size)` and the like are called: it has no name by which others could map it."""

_SHARED_MEMORY = b"/dev/shm/"
_VALUES = b"/dev/shm/cloaca-"


class Kinship:
    """Which process is whose child. One whose parent has gone stays with those that it came from."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def look(self) -> None:
        """Look again: at those that are new."""
        try:
            there = {int(name) for name in os.listdir(_PROC) if name.isdecimal()}
        except OSError:
            there = set()
        for pid in self._parents.keys() - there:
            del self._parents[pid]
        for pid in there - self._parents.keys():
            with suppress(OSError, ValueError, IndexError):
                self._parents[pid] = int(_read(pid, "stat").rpartition(b") ")[2].split()[1])

    def of(self, pid: int) -> list[int]:
        """A process and its descendants."""
        kin = [pid]
        for one in kin:
            kin += [child for child, parent in self._parents.items() if parent == one]
        return kin


def exceeding(pids: Iterable[int], limit: int) -> int | None:
    """How many bytes these processes have for themselves together, where that is more than the limit."""
    pids = list(pids)
    if sum(map(_at_most, pids)) <= limit:
        return None
    size = sum(sum(_own_parts(pid)) for pid in pids)
    return size if size > limit else None


def _at_most(pid: int) -> int:
    """What a process has, files aside; what it shares counts in full."""
    with suppress(OSError, ValueError):
        told = dict(line.split(b":", 1) for line in _read(pid, "status").splitlines() if line.startswith(b"Rss"))
        return sum(_bytes(told.get(name, b"0")) for name in (b"RssAnon", b"RssShmem"))
    return 0


def _own_parts(pid: int) -> Iterator[int]:
    """What each mapping comes to: what processes share counts in parts."""
    with suppress(OSError, ValueError):
        fields: dict[bytes, int] = {}
        name = b""
        for line in _read(pid, "smaps").splitlines():
            word, _, rest = line.partition(b" ")
            if word.endswith(b":"):
                if word in _COUNTED:
                    fields[word] = _bytes(rest)
            else:
                yield _own_part(name, fields)
                name, fields = b"".join(line.split(None, 5)[5:]), {}
        yield _own_part(name, fields)


_COUNTED = frozenset({b"Pss:", b"Anonymous:", b"Private_Clean:", b"Private_Dirty:"})


def _own_part(name: bytes, fields: dict[bytes, int]) -> int:
    if not fields:
        return 0
    if not name or name.startswith((b"[", *_SHARED_BY_KIN)):
        return fields[b"Pss:"]
    if name.startswith(_SHARED_MEMORY) and not name.startswith(_VALUES):
        return fields[b"Private_Clean:"] + fields[b"Private_Dirty:"]
    return fields[b"Anonymous:"]


def _bytes(told: bytes) -> int:
    return int(told.split()[0]) * 1024


def _read(pid: int, name: str) -> bytes:
    with open(f"{_PROC}/{pid}/{name}", "rb") as file:
        return file.read()
