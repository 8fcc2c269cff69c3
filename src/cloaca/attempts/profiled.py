"""Profiled: a task's function under a profiler, from its call to its end; that of a coroutine included."""

from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from inspect import isawaitable, iscoroutinefunction
from typing import Any

from cloaca.profiling.task import TaskProfiler
from cloaca.tasks.context import Context
from cloaca.tasks.place import innermost

_AT_ONCE = (type(None), Context, Mapping)


def profiled(function: Callable[..., Any], profiler: TaskProfiler) -> Callable[..., Any]:
    """The function, each call of which is profiled."""
    if iscoroutinefunction(innermost(function)):
        import_module("cloaca.attempts.coroutines")  # now, as it takes long to load, which is no work of the task

    @wraps(function, assigned=(), updated=())
    def call(*given: Any) -> Any:
        try:
            begin = profiler.prepared()
            try:
                begin()  # here, as memray tells only of calls from there on where it was begun
            except (RuntimeError, ValueError) as error:
                profiler.is_hindered(str(error))
            else:
                profiler.has_begun()
            returned = function(*given)
            if isinstance(returned, _AT_ONCE) or not isawaitable(returned):
                return returned
            from cloaca.attempts.coroutines import finish  # asyncio takes longer to load than a worker to start

            return finish(returned)
        finally:
            profiler.end()

    return call
