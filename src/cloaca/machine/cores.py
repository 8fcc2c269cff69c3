"""How many cores this process may use."""

import os
from collections.abc import Iterator
from math import ceil, inf
from os.path import join

from cloaca.machine.cgroup import MEMBERSHIP, MOUNT, AnyPath, folders, text

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def usable(cgroup: AnyPath = MOUNT, membership: AnyPath = MEMBERSHIP) -> int:
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


def _quotas(mount: AnyPath, membership: AnyPath) -> Iterator[float]:
    """The quota, in cores, of every control group around this process: each bounds those inside it."""
    for folder in folders("cpu", mount, membership):
        yield _quota(text(join(folder, "cpu.max")))  # version 2
        yield _quota(f"{text(join(folder, 'cpu.cfs_quota_us'))} {text(join(folder, 'cpu.cfs_period_us'))}")


def _quota(told: str) -> float:
    """The cores that `limit period` (microseconds) comes to; without end where it says so, or makes no sense."""
    try:
        limit, period = map(int, told.split())
        return limit / period if limit > 0 else inf
    except (ValueError, ZeroDivisionError):
        return inf
