"""Terminal: a worker has none, and a task that asks there is told so.

Workers have no standard input, and are sessions of their own, so that `/dev/tty` can't be opened either: a process of
the terminal's background that reads from it would be stopped, silently and for ever.
"""

import errno
import io
import os
import sys

CANT_ASK = (
    "A task can't ask at the terminal: ask in the program, and pass the answer in the context; or use "
    'executor="serial".'
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


def no_answers() -> NoAnswers:
    """A worker's standard input, as new."""
    return NoAnswers(open(0, "rb", closefd=False))  # it is open, and stays so


def explain(error: BaseException) -> None:
    """Say in an error of opening the terminal, in a worker, what is to be done."""
    if not isinstance(error, OSError) or error.errno != errno.ENXIO or not isinstance(sys.stdin, NoAnswers):
        return
    if _is_terminal(error.filename):
        error.strerror = f"{error.strerror}. {CANT_ASK}"
        error.args = error.errno, error.strerror


def _is_terminal(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike) and os.fsdecode(name) == "/dev/tty"
