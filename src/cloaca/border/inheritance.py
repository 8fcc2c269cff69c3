"""Inheritance: what a worker has from its program by being started, and gives up, as tasks reckon with a new process.

Blocked and ignored signals pass to what is started: a program that waits with `sigwait`, a daemon that ignores SIGCHLD,
`nohup`. In a worker, a task would never hear that its time is up, and never be told how its own processes ended. And
where memory runs out the kernel ends what has the highest score: a worker, whose loss costs an attempt.
"""

import os
import resource
import signal
from contextlib import suppress
from resource import getrlimit

BEGUN_AS_WORKER = "CLOACA_BEGUN_AS_WORKER"
"""In the environment of what is started as a worker, which takes it away. Who has it later on is no worker."""

_OF_PYTHON = frozenset({getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ") if hasattr(signal, name)})
"""An interpreter ignores these by itself."""

_SCORE = "/proc/self/oom_score_adj"
_FIRST_TO_GO = b"1000"


def renounce() -> None:
    """Have a new process's handlers and no signal blocked, and be the first that the kernel ends for want of memory."""
    become_new()
    with suppress(OSError), open(_SCORE, "wb", buffering=0) as file:
        file.write(_FIRST_TO_GO)


def become_new() -> None:
    """Have a new process's handlers and no signal blocked."""
    os.environ.pop(BEGUN_AS_WORKER, None)
    for number in signal.valid_signals() - _OF_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def legacy() -> tuple[object, ...]:
    """What a process that is started now would have of this one and keep: its rights, limits, cores, places, output.

    Raises `OSError` where that can't be read.
    """
    status = [line for line in _read("status").splitlines() if line.startswith(_KEPT)]
    limits = [getrlimit(number) for number in _LIMITS]
    places = [os.readlink(f"{_SELF}/ns/{name}") for name in sorted(os.listdir(f"{_SELF}/ns"))]
    return _read("cgroup"), *status, *limits, os.nice(0), *places, os.readlink(f"{_SELF}/root"), *map(_opened, (1, 2))


_SELF = "/proc/thread-self"
_KEPT = (b"Umask", b"Uid", b"Gid", b"Groups", b"Cap", b"NoNewPrivs", b"Seccomp:", b"Cpus_allowed:", b"Mems_allowed:")
_LIMITS = sorted({number for name, number in vars(resource).items() if name.startswith("RLIMIT_")})


def _read(name: str) -> bytes:
    with open(f"{_SELF}/{name}", "rb") as file:
        return file.read()


def _opened(descriptor: int) -> tuple[int, int] | None:
    """What it leads to, where it is open."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino
