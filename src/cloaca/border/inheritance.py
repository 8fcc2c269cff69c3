"""Inheritance: what a worker has from its program by being started, and gives up, as tasks reckon with a new process.

Blocked and ignored signals pass to what is started: a program that waits with `sigwait`, a daemon that ignores SIGCHLD,
`nohup`. In a worker, a task would never hear that its time is up, and never be told how its own processes ended. And
where memory runs out the kernel ends what has the highest score: a worker, whose loss costs an attempt.
"""

import os
import signal
from contextlib import suppress

BEGUN_AS_WORKER = "CLOACA_BEGUN_AS_WORKER"
"""In the environment of what is started as a worker, which takes it away. Who has it later on is no worker."""

_OF_PYTHON = frozenset({getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ") if hasattr(signal, name)})
"""An interpreter ignores these by itself."""

_SCORE = "/proc/self/oom_score_adj"
_FIRST_TO_GO = b"1000"


def renounce() -> None:
    """Have a new process's handlers and no signal blocked, and be the first that the kernel ends for want of memory."""
    os.environ.pop(BEGUN_AS_WORKER, None)
    for number in signal.valid_signals() - _OF_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with suppress(OSError), open(_SCORE, "wb", buffering=0) as file:
        file.write(_FIRST_TO_GO)
