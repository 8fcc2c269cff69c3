"""Child: a process that a task forks ends where the task's function ends, as it would at the end of a program.

What it came back with decides how: a traceback and 1, the code of `sys.exit`, or 0. Exit handlers aren't run: they are
those of the process that it was forked from.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from cloaca.attempts.traces import users_traceback


def end(error: BaseException | None, flush: Callable[[], object]) -> NoReturn:
    """End this process, which came back with `error`, or well. `flush` writes what it has printed."""
    status = 1
    try:
        status = _told(error)
        flush()
    finally:
        os._exit(status)


def end_unless_in(process: int, error: BaseException | None) -> None:
    """End, unless this is the process that has called the function."""
    if os.getpid() != process:
        end(error, sys.stdout.flush)


def _told(error: BaseException | None) -> int:
    """The exit code, once standard error has what there is to say."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return _code(error.code)
    sys.excepthook(type(error), error.with_traceback(users_traceback(error)), error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    return 1


def _code(given: object) -> int:
    if given is None or isinstance(given, int):
        return (given or 0) & 0xFF
    sys.stderr.write(f"{given}\n")
    return 1
