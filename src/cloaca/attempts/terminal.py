"""Terminal: a worker has none, and a task that asks there is told so.

Workers have no standard input, and are sessions of their own, so that `/dev/tty` can't be opened either: a process of
the terminal's background that reads from it would be stopped, silently and for ever.
"""

import errno
import io
import os
import sys
from typing import Any

CANT_ASK = (
    "A task can't ask at the terminal: ask in the program, and pass the answer in the context; or use "
    'executor="serial".'
)
CANT_DEBUG = (
    "A debugger has no terminal in a worker: run the program with CLOACA_EXECUTOR=serial (or the runner with "
    'executor="serial"). Tasks then run in the program itself, and breakpoints in them work.'
)


class NoAnswers(io.TextIOWrapper):
    """A worker's `sys.stdin`. There is nothing to be read; who asks for a line (`input`, `getpass`) waits for somebody.

    >>> NoAnswers(io.BytesIO()).readline()
    Traceback (most recent call last):
    EOFError: A task can't ask at the terminal: ask in the program, and pass the answer in the context; or use \
executor="serial".
    """

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # noqa: ARG002 - as its base has it
        raise EOFError(CANT_ASK)

    def close(self) -> None:
        """It stays open for the next task."""

    def __next__(self) -> str:  # type: ignore[override]  # typeshed gives it the type of binary files
        raise StopIteration


def give_up() -> None:
    """Have nobody at the terminal in this process, neither for questions nor for a debugger."""
    sys.stdin = _no_answers()
    if sys.breakpointhook is sys.__breakpointhook__:  # else somebody debugs workers by other means
        sys.breakpointhook = _breakpoint


def _no_answers() -> NoAnswers:
    return NoAnswers(open(0, "rb", closefd=False))  # it is open, and stays so


def _breakpoint(*args: Any, **more: Any) -> Any:
    """What `breakpoint` does, unless another debugger was chosen, or none."""
    if os.environ.get("PYTHONBREAKPOINT"):
        return sys.__breakpointhook__(*args, **more)  # noqa: T100 - it is what the task asks for
    raise RuntimeError(CANT_DEBUG)


def explain(error: BaseException) -> None:
    """Say in an error of asking at the terminal, in a worker, what is to be done."""
    if not isinstance(sys.stdin, NoAnswers):
        return
    if isinstance(error, OSError) and error.errno == errno.ENXIO and _is_terminal(error.filename):
        error.strerror = f"{error.strerror}. {CANT_ASK}"
        error.args = error.errno, error.strerror
    elif _is_of_debugger(error):
        error.args = (CANT_DEBUG,)


def _is_of_debugger(error: BaseException) -> bool:
    """Whether it is what a debugger raises that was told nothing: `BdbQuit`, and from Python 3.14 on `SystemExit`."""
    raised_in: object = None
    trace = error.__traceback__
    while trace is not None:
        raised_in, trace = trace.tb_frame.f_globals.get("__name__"), trace.tb_next
    return raised_in in ("bdb", "pdb") and (isinstance(error, SystemExit) or type(error).__module__ == "bdb")


def _is_terminal(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike) and os.fsdecode(name) == "/dev/tty"
