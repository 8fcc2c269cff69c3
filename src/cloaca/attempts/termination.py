"""Termination: a worker that is told to end (SIGTERM) lets the task put its things in order, and ends by that signal.

What runs on the main thread is left by an exception, so that `finally` and `with` do their work. It is raised once, and
so doesn't disturb what they do. Whoever sent the signal kills the worker if it takes too long.
"""

import os
import signal
from types import FrameType
from typing import NoReturn

from cloaca.border import forks
from cloaca.wire.messages import Failed

_was_told = False


class Terminated(SystemExit):
    """Raised in the middle of whatever the main thread does: of a worker, or of a program that waits for a run."""


def follow() -> None:
    """Be told by SIGTERM, from here on. A process that is forked from here ends by it at once, like any other."""
    forks.spare(_leave, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _leave)


def was_told() -> bool:
    """Whether this worker is to end."""
    return _was_told


def meant_for_program(report: object) -> BaseException | None:
    """Where tasks run in the program: what the report of one says that was meant for the program itself."""
    if isinstance(report, Failed) and report.type_name == KeyboardInterrupt.__name__:
        return KeyboardInterrupt()
    if isinstance(report, Failed) and report.type_name == Terminated.__name__:
        return Terminated(int(report.text))
    return None


def end() -> NoReturn:
    """End by SIGTERM, as was asked for."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(128 + signal.SIGTERM)


def _leave(number: int, frame: FrameType | None) -> None:
    global _was_told  # noqa: PLW0603 - a process is told once
    if not _was_told and not forks.puts_off(number, frame):
        _was_told = True
        raise Terminated(128 + signal.SIGTERM)
