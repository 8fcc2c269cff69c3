"""How many cores this process may use."""

import os
from math import ceil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable(cgroup: Path = _CGROUP) -> int:
    """The number of cores that affinity and the control group's quota leave to this process; at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Cores per the quota of control groups, version 2 or 1; `None` where there is none."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        limit, period = _first_version(cgroup)
    if limit in ("max", "-1"):
        return None
    return int(limit) / int(period)


def _first_version(cgroup: Path) -> tuple[str, str]:
    try:
        limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
        period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return "max", "1"
    return limit, period


_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def thread_bounds(workers: int) -> dict[str, str]:
    """Environment variables that keep native thread pools from using more cores than there are.

    What the program's own environment sets stays as it is.
    """
    share = str(max(1, usable() // workers))
    return {name: share for name in _THREAD_VARIABLES if name not in os.environ}
