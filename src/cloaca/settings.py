"""What a runner was asked to be, checked where it is said."""

import os
import sys
from dataclasses import dataclass
from typing import Literal

from cloaca import argument, cores
from cloaca.seed import LIMIT

ExecutorName = Literal["processes", "serial"]

LEAST_MEMORY = 1 << 26
"""What a worker's limit is at least, in bytes: it takes a fifth of that before it has done anything."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The arguments of a runner. Sizes in bytes, times in seconds; `None`: no limit."""

    workers: int
    executor: ExecutorName
    warn_above: int
    memory_limit: int | None
    task_timeout: float | None
    workflow_timeout: float | None
    grace: float


def check_platform() -> None:
    """Raise `RuntimeError` on a system that has no such processes."""
    if sys.platform == "win32":
        raise RuntimeError("cloaca runs on Linux and macOS. On Windows, run it in WSL 2.")


def checked_workers(workers: int | None) -> int:
    """The number of workers; by default that of the cores."""
    return cores.usable() if workers is None else argument.whole("workers", workers, least=1)


def checked_memory(size: int | None) -> int | None:
    """The limit of a worker's memory, if there is one."""
    return None if size is None else argument.whole("memory_limit, a number of bytes,", size, least=LEAST_MEMORY)


def checked_seconds(name: str, seconds: float | None) -> float | None:
    """A time limit, if there is one."""
    return None if seconds is None else argument.positive(f"{name}, in seconds,", seconds)


def chosen_seed(seed: int | None) -> int:
    """The seed that was given, or one that the system draws."""
    if seed is None:
        return int.from_bytes(os.urandom(8)) % LIMIT
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < LIMIT:
        raise ValueError(f"seed is a whole number from 0 to below 2**63, or None for one by chance; not {seed!r}")
    return seed


def checked_executor(name: str) -> ExecutorName:
    """The name of an executor."""
    if name == "processes":
        return "processes"
    if name == "serial":
        return "serial"
    raise ValueError(f'executor (or CLOACA_EXECUTOR) is "processes" or "serial", not {name!r}')
