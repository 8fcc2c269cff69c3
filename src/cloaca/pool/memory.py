"""Memory: what workers have for themselves, what the machine has left, and whether the kernel killed for want of it.

What a worker has for itself is its resident memory without what it shares: mapped values belong to all workers. Where
there is a limit, what tasks share with nobody but their own processes counts too, and so do these processes.
psutil takes a while to load, and short runs end before anything is read: it is imported when first needed.

All of that is advice. What can't be read (no `/proc`, no descriptor left, a file that psutil doesn't understand) isn't
known, and nothing ends for want of it.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from os.path import join
from time import monotonic

from cloaca.machine.cgroup import MEMBERSHIP, MOUNT, AnyPath, fields, folders, text
from cloaca.pool.footprint import Kinship, exceeding
from cloaca.pool.peer import Peer
from cloaca.values.records import encode_notice

READ_SECONDS = 0.1
"""How often memory is read while workers are busy."""

SHORT = 0.04
"""Which part of its memory a machine has left when it is short of it."""

_VMSTAT = "/proc/vmstat"


def private(pid: int) -> int | None:
    """How many bytes a process has for itself; `None` where it has ended, or that can't be read."""
    return _known(partial(_read if _STATM else _asked, pid))


_STATM = sys.platform == "linux"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _read(pid: int) -> int | None:
    """As psutil reads it, for a fifth of what that costs: it is read of each worker, many times in a second."""
    with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * _PAGE or None


def _asked(pid: int) -> int | None:
    import psutil

    info = psutil.Process(pid).memory_info()
    return int(info.rss) - int(getattr(info, "shared", 0)) or None


def _known(read: Callable[[], int | None]) -> int | None:
    """What a reading says, if it can be had."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - psutil raises whatever it meets, from missing files to malformed ones
        return None


def _total() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _available() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _least(told: int | None, bounds: Iterable[int]) -> int | None:
    return min([*bounds, *([] if told is None else [told])], default=None)


class Machine:
    """The memory of this machine, as far as control groups leave it to this process.

    `mount` and `membership`: as `cloaca.machine.cgroup.folders` takes them.
    """

    def __init__(self, mount: AnyPath = MOUNT, membership: AnyPath = MEMBERSHIP, vmstat: AnyPath = _VMSTAT) -> None:
        self._folders = folders("memory", mount, membership)
        self._vmstat = vmstat
        self._total: int | None = None

    @property
    def total(self) -> int | None:
        """How many bytes there are; `None` where nothing tells."""
        if self._total is None:
            self._total = _known(_total)
        return _least(self._total, (limit for _, limit in self._limits))

    def available(self) -> int | None:
        """How many bytes processes could still get; `None` where nothing tells."""
        total = self.total
        rooms = (max(0, limit - _used(folder)) for folder, limit in self._limits if total is None or limit <= total)
        return _least(_known(_available), rooms)

    def kills(self) -> int:
        """How often the kernel has killed a process for want of memory, so far: what counts is that it grows."""
        events = [fields(join(folder, name)).get("oom_kill", 0) for folder in self._folders for name in _EVENTS]
        return sum(events, fields(self._vmstat).get("oom_kill", 0))

    @cached_property
    def _limits(self) -> list[tuple[str, int]]:
        return [(folder, limit) for folder in self._folders for limit in _limits_in(folder)]


_EVENTS = ("memory.events", "memory.oom_control")
_LIMITS = ("memory.max", "memory.limit_in_bytes")
_USES = ("memory.current", "memory.usage_in_bytes")
_CACHED = ("inactive_file", "total_inactive_file")


def _limits_in(folder: str) -> Iterator[int]:
    """The limit of a group. Of no limit, the second version says "max", and the first more than a machine can have."""
    yield from (int(told) for name in _LIMITS if (told := text(join(folder, name))).isdecimal())


def _used(folder: str) -> int:
    """How many bytes the group can't give back: files that were only read can go at any time."""
    used = max((int(told) for name in _USES if (told := text(join(folder, name))).isdecimal()), default=0)
    stat = fields(join(folder, "memory.stat"))
    return used - max(stat.get(name, 0) for name in _CACHED)


# ---- the pool's readings -------------------------------------------------------------------------------------------


class MemoryWatch:
    """What a pool of `size` workers knows of memory. It reads when it is told to, every `READ_SECONDS` while they work.

    `limit`: how many bytes a worker may have for itself.
    """

    def __init__(self, size: int, limit: int | None) -> None:
        self.limit = limit
        self.put_off()
        self.available: int | None = None
        self.is_short = False
        self._size = size
        self._is_blind = False
        self._machine = Machine()
        self._kinship = Kinship()
        self._kills = self._machine.kills()

    def put_off(self) -> None:
        """Read nothing for a while: it has just been read, or nobody has done anything yet that takes memory."""
        self.due = monotonic() + READ_SECONDS

    def read_machine(self) -> bool:
        """Read what the machine has left; whether it has become short."""
        self.put_off()
        if self.limit is not None:
            self._kinship.look()
        self.available, total = self._machine.available(), self._machine.total
        was_short = self.is_short
        self.is_short = self.available is not None and total is not None and self.available < SHORT * total
        return self.is_short and not was_short

    def notice(self) -> bytes:
        """What is to be told when the machine has become short, as a record."""
        left = 0 if self.available is None else self.available
        return encode_notice(
            f"The machine has {left / 1e6:,.0f} MB of memory left: until it has more, no task is begun beside those "
            "that run. Use fewer workers, or less memory in a task."
        )

    def read(self, peer: Peer) -> None:
        """Read what a worker has for itself: much is more than half of its share, beside what it began with."""
        memory = private(peer.pid)
        if memory is not None:
            if self.limit is not None and memory <= self.limit:
                memory = exceeding(self._kinship.of(peer.pid), self.limit) or memory
            peer.memory = memory
            share = self._share
            peer.is_swollen = share is not None and memory - peer.baseline > share / 2

    def read_baseline(self, peer: Peer) -> None:
        """Read what the runner's initializer has left a worker with: another one would come to the same."""
        peer.memory = private(peer.pid)
        peer.baseline = peer.memory or 0

    def has_gone_blind(self) -> bool:
        """Whether there is a limit, and it shows that nobody's memory can be read: said once."""
        if self.limit is None or self._is_blind or private(os.getpid()) is not None:
            return False
        self._is_blind = True
        return True

    def is_over(self, peer: Peer) -> bool:
        """Whether a worker had more than the limit at its last reading."""
        return self.limit is not None and peer.memory is not None and peer.memory > self.limit

    def has_kernel_killed(self) -> bool:
        """Whether the kernel has killed a process for want of memory since this was asked last."""
        before, self._kills = self._kills, max(self._kills, self._machine.kills())
        return self._kills > before

    @property
    def _share(self) -> int | None:
        if self.limit is not None:
            return self.limit
        total = self._machine.total
        return None if total is None else total // self._size
