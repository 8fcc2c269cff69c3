"""Hooks: functions that are told of all executions of a program, for metrics and for sending word.

They are the program's, whichever workflow runs, and are called as callbacks of workflows are (`running/callbacks`). An
execution looks once, when it is made, which there are: where there are none, it pays nothing. One that is started from
inside a task is a part of that, and told to none. Neither is one that a hook starts, which would go round in circles.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from msgspec import Struct

from cloaca import argument
from cloaca.attempts.nesting import runs_task
from cloaca.engine.facts import TaskFinished

if TYPE_CHECKING:
    from cloaca.results.result import WorkflowResult

_Event = TypeVar("_Event")


class ExecutionEvent(Struct, frozen=True):
    """An execution has begun, or has ended: what a function given to `on_run` is called with.

    Attributes:
        execution: its id. workflow: the workflow's name.
        status: "Running" where it begins; at its end "Completed", "Failed" or "Cancelled".
        time: when that was, in seconds since 1970.
        seconds: how long it has taken; `None` where it begins.
        error: why it hasn't completed, in words; `None` where it has, or begins.
        result: what `execute` returns; `None` where it begins, and where an error of cloaca's has ended it.
    """

    execution: str
    workflow: str
    status: str
    time: float
    seconds: float | None = None
    error: str | None = None
    result: "WorkflowResult | None" = None


class TaskEvent(Struct, frozen=True, gc=False):
    """A task has ended, or an instance of a mapped one: what a function given to `on_task` is called with.

    Attributes:
        execution: the execution's id. workflow: the workflow's name.
        task: the task's id. item: the number of the item, of an instance; `None` of others.
        status: "Completed", "Failed", "Skipped" or "Cancelled".
        attempts: how many of its tries have begun.
        time: when it ended, in seconds since 1970.
        seconds: how long the last try has taken; `None` where none reported that, as its worker died.
        error: what it failed with, in words. reason: why it was skipped. `None` where it wasn't.
        instances: of a mapped task that was expanded, how many it had: its end comes after theirs; `None` of others.
    """

    execution: str
    workflow: str
    task: str
    item: int | None
    status: str
    attempts: int
    time: float
    seconds: float | None = None
    error: str | None = None
    reason: str | None = None
    instances: int | None = None


class Hook(Generic[_Event]):
    """What `on_run` and `on_task` return: a function that is called until `remove()`, or the end of a `with` block.

    It can be called as the function itself. `name` is what messages call that.
    """

    def __init__(self, function: Callable[[_Event], object]) -> None:
        self._function = function
        self.name = str(getattr(function, "__qualname__", type(function).__qualname__))

    def __call__(self, event: _Event) -> object:
        """Call the function."""
        return self._function(event)

    def __repr__(self) -> str:
        return f"Hook({self.name}{'' if self.is_on else ', removed'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def is_on(self) -> bool:
        """Whether it is called."""
        return self in _of_runs or self in _of_tasks

    def remove(self) -> None:
        """Call it no more, from now on, also in executions that are under way. Any thread may ask, and twice."""
        _of_runs.pop(self, None)
        _of_tasks.pop(self, None)


class Hooked(NamedTuple):
    """One execution, and the hooks that are told of it."""

    execution: str
    workflow: str
    by_run: tuple[Hook[ExecutionEvent], ...]
    by_task: tuple[Hook[TaskEvent], ...]

    def begun(self, time: float) -> ExecutionEvent:
        """It has begun."""
        return ExecutionEvent(self.execution, self.workflow, "Running", time)

    def ended(self, time: float, seconds: float, error: str | None, result: "WorkflowResult | None") -> ExecutionEvent:
        """It has ended."""
        status = "Failed" if result is None else result.status
        return ExecutionEvent(self.execution, self.workflow, status, time, seconds, error, result)

    def finished(self, fact: TaskFinished) -> TaskEvent:
        """A task or instance has ended."""
        outcome, usage = fact.outcome, fact.usage
        return TaskEvent(
            self.execution,
            self.workflow,
            fact.task,
            fact.item,
            outcome.status,
            fact.nth,
            fact.time,
            None if usage is None else usage.ended - usage.started,
            outcome.error,
            outcome.reason,
            fact.size,
        )


_of_runs: dict[Hook[Any], None] = {}
_of_tasks: dict[Hook[Any], None] = {}

_is_in_hook = ContextVar("cloaca.hook", default=False)


def on_run(function: Callable[[ExecutionEvent], object]) -> Hook[ExecutionEvent]:
    """Call a function with a `ExecutionEvent` when an execution of this program begins, and when it has ended.

    Of every workflow and runner, from executions that are started next on. It is called as callbacks are: on the thread
    that waits for the result, one at a time, and what it raises is logged. Each call of `on_run` adds one more.

    Args:
        function: a plain function of one argument.

    Returns:
        The hook: its `remove()`, or the end of a `with` block, takes it off again.

    Raises:
        ValueError: it can't be called so, or has to be awaited.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("greeting") as builder:
    ...
    ...     @cloaca.task()
    ...     def greet(context):
    ...         context.set("greeting", "Hello")
    >>> with (
    ...     cloaca.on_run(lambda event: print(event.workflow, event.status)),
    ...     cloaca.DefaultRunner(workers=1) as runner,
    ... ):
    ...     result = runner.execute(builder)
    greeting Running
    greeting Completed
    """
    return _added(_of_runs, Hook(argument.callback("on_run(...)", function, "event")))


def on_task(function: Callable[[TaskEvent], object]) -> Hook[TaskEvent]:
    """Call a function with a `TaskEvent` when a task of this program has ended, or an instance of a mapped one.

    Of every workflow and runner, from executions that are started next on; also of what was skipped or cancelled, and
    not of what was taken over from a recorded execution. It is called as callbacks are: on the thread that waits for
    the result, one at a time, and what it raises is logged. Each call of `on_task` adds one more.

    Args:
        function: a plain function of one argument.

    Returns:
        The hook: its `remove()`, or the end of a `with` block, takes it off again.

    Raises:
        ValueError: it can't be called so, or has to be awaited.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("greeting") as builder:
    ...
    ...     @cloaca.task()
    ...     def greet(context):
    ...         context.set("greeting", "Hello")
    >>> with cloaca.on_task(lambda event: print(event.task, event.status, event.attempts)):
    ...     with cloaca.DefaultRunner(workers=1) as runner:
    ...         result = runner.execute(builder)
    greet Completed 1
    """
    return _added(_of_tasks, Hook(argument.callback("on_task(...)", function, "event")))


def _added(hooks: dict[Hook[Any], None], hook: Hook[_Event]) -> Hook[_Event]:
    hooks[hook] = None
    return hook


def hooked(execution: str, workflow: str) -> Hooked:
    """The hooks that an execution which is made now is told to: none, where a task or a hook makes it."""
    if runs_task() or _is_in_hook.get():
        return Hooked(execution, workflow, (), ())
    return Hooked(execution, workflow, tuple(_of_runs), tuple(_of_tasks))


def tell(hook: Hook[_Event], event: _Event) -> None:
    """Call a hook, if it wasn't removed meanwhile."""
    if not hook.is_on:
        return
    before = _is_in_hook.set(True)
    try:
        hook(event)
    finally:
        _is_in_hook.reset(before)
