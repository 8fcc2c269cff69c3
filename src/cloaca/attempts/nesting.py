"""Whether a task runs here: in a worker, or on a thread of the program that is inside one. Then workers run none."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_depth = ContextVar("cloaca.depth", default=0)

_is_worker = False


def become_worker() -> None:
    """This process runs tasks, and nothing else, once and for all."""
    global _is_worker  # noqa: PLW0603 - it holds for the process
    _is_worker = True


def runs_task() -> bool:
    """Whether this is a worker, or this thread is inside a task, or runs the coroutines of one."""
    return _is_worker or _depth.get() > 0


def depth() -> int:
    """How many tasks this thread is inside of, each in the program of the one around it."""
    return _depth.get()


@contextmanager
def inside_task() -> Generator[None, None, None]:
    """On this thread, a task runs."""
    before = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        _depth.reset(before)
