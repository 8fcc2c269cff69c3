"""The `task` decorator: it makes a function a task of the innermost open `WorkflowBuilder` block."""

from collections.abc import Callable
from typing import Any, TypeVar, Unpack, overload

from cloaca.authoring.builder import WorkflowBuilder, current_builder
from cloaca.authoring.options import TaskOptions, checked_options
from cloaca.tasks.place import place_of, working_directory
from cloaca.tasks.signature import form_of
from cloaca.warning import users_frame
from cloaca.workflows.workflow import Task

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def task(function: _F, /, **options: Unpack[TaskOptions]) -> _F: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[_F], _F]: ...
def task(function: Any = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make the decorated function a task of the open `WorkflowBuilder` block; returns the function unchanged.

    `id` defaults to the function's name. `dependencies` lists ids of tasks, or functions that are tasks of the same
    block; they may be defined later. `reads` lists the keys that are sent along with the task; by default those that
    its code mentions. Others are fetched when it reads them: the task doesn't notice.

    A task is tried once, unless a `retry` policy says otherwise, or arguments that make one: `retry_attempts` (how
    often it is tried in total, 3), `retry_backoff` ("fixed", "linear" or "exponential"), `retry_delay_ms` (1,000) and
    `retry_max_delay_ms` (60,000), `retry_condition` ("never", "transient" or "all"), `retry_jitter` (True). Any of
    them alone will do; the others then are as in `RetryPolicy.default()`. `timeout` bounds each try, in seconds.

    When all of its dependencies have ended, a task starts if at least one of them ended well. `trigger_rule` names
    another rule: "all_success", "all_done", "one_success", "one_failed", "all_failed", "none_failed", "none_skipped",
    "none_failed_min_one_success"; the default is "all_done_min_one_success". `trigger_rules` takes a condition, made
    by `context_value`, `task_success`, `all_of` and the like, which has to hold as well; one that names tasks, or says
    `always`, stands in place of the default rule. Where the answer is no, the task is skipped, and
    `result.tasks[id].reason` says why.

    With `allow_failure=True`, an execution in which the task fails counts as completed all the same, if nothing else
    fails: `result.handled` names it then. What depends on it is treated as behind any task that failed. A task that has
    nothing to do raises `cloaca.Skip`.

    With `for_each="rows"` it is a mapped task: it runs once for each item of the list or dict under that key, side by
    side, and its function takes `(context, item)`. What these instances set is collected, as a list or a dict.

    `limits` says how much each try takes of the runner's limits while it runs: `limits={"gpu": 1, "memory_gb": 4}`,
    say, where there is `DefaultRunner(limits={"gpu": 2, "memory_gb": 20})`. It takes all at once, or waits. The numbers
    are whole. `limit="db"` is short for `limits={"db": 1}`. `context.slots` tells which units it has.

    Of the tasks of an execution that are ready, those with a higher `priority` go first, a whole number, 0 by default.

    `on_success(task_id, context)` is called when the task has ended well, with what it saw and set, and
    `on_failure(task_id, error, context)` for each try that failed: in the program, on the thread that waits for the
    result, while the run goes on. Of a mapped task, that is said of each instance. Of a task that isn't run, as an
    attempt on record stands for it, nothing is. What they raise is logged.

    With `profile=True` it is profiled in each execution, by the profiler that `execute` names, or else by cProfile;
    with a name ("cprofile", "pyinstrument", "memray") by that one; with `False` never. See `result.profile`.

    The rest is about executions that are recorded. `reuse` says whether an attempt of an earlier one may stand for the
    task, if it ran the same code and looked at the same things; by default it is for the workflow or `execute` to say.
    What such an attempt depends on beside its context, `fingerprint(context)` tells: it is called in the task's place
    before it, and what it returns, any value, is part of what the task looks at. (Of a mapped task, it is called with
    `(context, item)`.) It can set nothing; where it raises, the task fails, with `FingerprintError`. `cache_version`, a
    text or number, is part of the code: with another one nothing is reused. `accept` lists what `Workflow.code_of` told
    of earlier code of the task, whose attempts are as good as those of its own.

    The function may be anything that can be called with the context: a lambda (with an `id`), a closure, a partial, a
    method, an object, an `async def`. A last parameter named `handle` or `task_handle` is given a `TaskHandle`.

    Parameters after an asterisk are keys: `def total(context, *, year: int)` is given the value of `year`, checked and
    converted as it is annotated. Without a default, the key has to be there. `writes` lists the keys that the task may
    set and remove; any other one fails it, with `UndeclaredWriteError`.

    With `returns`, the function knows nothing of contexts: each parameter is the key of its name, or the one that
    `inputs` has for it, as in `{"frame": "rows"}`. What it returns is set: under one key (`returns="rows"`) as it is,
    under several (`returns=("train", "test")`) one by one, as it is a tuple then; with `returns=()` it is let go. Of a
    mapped task, the first parameter is the item. Such a function may be a class, which is called as well.

    Raises `ValueError` outside a block, and for arguments that make no sense: `retry` together with any `retry_*`,
    a class without `returns`, a function that wants more than the context (the item), a handle and keys, a dependency
    that is neither id nor function, a callback that can't be called so. Whether dependencies exist, and whether what
    parameters are annotated with can be checked, is found out when the block ends.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("prices") as builder:
    ...
    ...     @cloaca.task(retry_attempts=5, retry_condition="transient", timeout=30)
    ...     def fetch(context): ...
    >>> builder.build().tasks[0].retry.max_attempts
    5
    """
    if function is not None and not callable(function):
        raise TypeError(f"task takes keyword arguments only: write task(id={function!r}).")
    said = checked_options(options)
    name, listed = said.pop("id", None), said.pop("dependencies", ())
    returns, inputs = said.pop("returns", None), said.pop("inputs", {})

    def define(function: _F) -> _F:
        builder, known_as = _open_builder(), _known_as(function, name)
        if returns is not None:
            from cloaca.tasks.plain import plain_form  # many workflows have none

            form = plain_form(known_as, function, returns, inputs, said.get("for_each"))
            builder.define(
                Task(known_as, function, form=form, writes=returns, defined=_line_of_caller(function), **said), listed
            )
            return function
        form = form_of(known_as, function, with_item="for_each" in said)
        builder.define(Task(known_as, function, form=form, **said), listed)
        return function

    return define if function is None else define(function)


def _line_of_caller(function: Callable[..., Any]) -> str:
    """The line that makes a task of the function, where it is a builtin, which has none of its own."""
    if place_of(function):
        return ""
    frame = users_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _open_builder() -> WorkflowBuilder:
    builder = current_builder()
    if builder is None:
        raise ValueError(
            "No workflow context available. Tasks must be defined within a WorkflowBuilder context manager."
        )
    return builder


def _shown(function: Callable[..., Any]) -> str:
    place = place_of(function, working_directory())
    return f"The lambda at {place}" if place else repr(function)


def _known_as(function: Callable[..., Any], name: str | None) -> str:
    """The id of the task that the function is."""
    known_as: str | None = name or getattr(function, "__name__", None)
    if known_as is None or known_as == "<lambda>":
        raise ValueError(f"{_shown(function)} has no name that could be the task's id: write task(id=...).")
    return known_as
