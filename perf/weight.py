"""Weight: the most memory that a process and all that it started have at once, looked at from outside while they run.

Of each page that several processes share, each has its share (PSS): forked processes and mapped files are counted once.
Shared memory is what is mapped, or what has come to `/dev/shm` meanwhile if that is more: values that no process has
mapped just now are memory, too. Others who fill `/dev/shm` at the same time are counted as well.

Looking costs time: so what is weighed isn't measured, and what is measured isn't weighed.
"""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from time import perf_counter, sleep

import psutil

FOLDER = "/dev/shm"
SHORTEST_PAUSE = 0.01
"""Seconds between two looks; where a look takes longer, so does the pause."""


def peak(process: Popen[bytes]) -> int | None:
    """Bytes, once the process has ended; `None` where the system doesn't tell."""
    if not Path("/proc/self/smaps_rollup").exists():
        process.wait()
        return None
    before, most = _in_folder(), 0
    while process.poll() is None:
        start = perf_counter()
        most = max(most, weight(_family(process.pid), _in_folder() - before))
        sleep(max(SHORTEST_PAUSE, 2 * (perf_counter() - start)))
    return most


def weight(pids: Iterable[int], files: int) -> int:
    """Bytes of these processes now, of which `files` lie in the folder for shared memory."""
    kinds: Counter[str] = Counter()
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it has just gone
            kinds.update(shares(Path(f"/proc/{pid}/smaps_rollup").read_text()))
    return kinds["Pss_Anon"] + kinds["Pss_File"] + max(kinds["Pss_Shmem"], files)


def shares(told: str) -> dict[str, int]:
    """The bytes of each kind of memory, as `smaps_rollup` tells them.

    >>> shares("7f-80 ---p 00:00 0  [rollup]\\nRss:  9 kB\\nPss_Anon:     2 kB\\nPss_Shmem:    1 kB\\n")
    {'Pss_Anon': 2048, 'Pss_Shmem': 1024}
    """
    words = [line.split() for line in told.splitlines() if line.startswith("Pss_")]
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in words}


def _family(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def _in_folder() -> int:
    room = os.statvfs(FOLDER)
    return (room.f_blocks - room.f_bfree) * room.f_frsize
