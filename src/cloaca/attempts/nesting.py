"""Whether a task runs here: in a worker, or on a thread of the program that is inside one. Then no workflow does."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_runs_task = ContextVar("cloaca.runs_task", default=False)


_is_worker = False


def become_worker() -> None:
    """This process runs tasks, and nothing else, once and for all."""
    global _is_worker  # noqa: PLW0603 - it holds for the process
    _is_worker = True


def runs_task() -> bool:
    """Whether this is a worker, or this thread is inside a task, or runs the coroutines of one."""
    return _is_worker or _runs_task.get()


@contextmanager
def inside_task() -> Generator[None, None, None]:
    """On this thread, a task runs."""
    before = _runs_task.set(True)
    try:
        yield
    finally:
        _runs_task.reset(before)
