"""How many cores this process may use."""

import os
from collections.abc import Iterator
from math import ceil, inf
from pathlib import Path, PurePosixPath

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def usable(cgroup: Path = _CGROUP, membership: Path = _MEMBERSHIP) -> int:
    """The number of cores that affinity and the control groups' quotas leave to this process; at least one.

    `cgroup` is where control groups are mounted, `membership` the file that lists those of this process.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, ceil(min([cores, *_quotas(cgroup, membership)])))


def thread_bounds(workers: int) -> dict[str, str]:
    """Environment variables that keep native thread pools from using more cores than there are.

    What the program's own environment sets stays as it is.
    """
    share = str(max(1, usable() // workers))
    return {name: share for name in _THREAD_VARIABLES if name not in os.environ}


def _quotas(cgroup: Path, membership: Path) -> Iterator[float]:
    """The quota, in cores, of every control group around this process: each bounds those inside it."""
    for group in _groups(membership):
        yield _quota(_text(cgroup / group / "cpu.max"))  # version 2
        first = cgroup / "cpu" / group
        yield _quota(f"{_text(first / 'cpu.cfs_quota_us')} {_text(first / 'cpu.cfs_period_us')}")


def _groups(membership: Path) -> set[PurePosixPath]:
    """The groups of this process and all that enclose them, as paths below the mount; a container sees only that."""
    entries = (line.split(":", 2) for line in _text(membership).splitlines())
    own = {PurePosixPath(entry[-1].lstrip("/")) for entry in entries if _rules_cpu(entry)}
    return {PurePosixPath(), *own, *(parent for group in own for parent in group.parents)}


def _rules_cpu(entry: list[str]) -> bool:
    """Whether an entry `number:controllers:group` is of version 2 (no controllers), or names the CPU's."""
    return len(entry) > 1 and "cpu" in (entry[1] or "cpu").split(",")


def _quota(text: str) -> float:
    """The cores that `limit period` (microseconds) comes to; without end where it says so, or makes no sense."""
    try:
        limit, period = map(int, text.split())
        return limit / period if limit > 0 else inf
    except (ValueError, ZeroDivisionError):
        return inf


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
