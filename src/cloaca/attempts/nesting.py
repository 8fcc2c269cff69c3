"""Whether a thread of the program is inside a task: such a thread runs no workflow."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_runs_task = ContextVar("cloaca.runs_task", default=False)


def runs_task() -> bool:
    """Whether this thread is inside a task, or runs the coroutines of one."""
    return _runs_task.get()


@contextmanager
def inside_task() -> Generator[None, None, None]:
    """On this thread, a task runs."""
    before = _runs_task.set(True)
    try:
        yield
    finally:
        _runs_task.reset(before)
