"""What a runner was asked to be, checked where it is said."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from cloaca import argument
from cloaca.border.inheritance import BEGUN_AS_WORKER
from cloaca.errors import WorkersUnavailableError
from cloaca.execution.choice import Chosen
from cloaca.retry import RetryPolicy, checked_policy
from cloaca.seed import LIMIT
from cloaca.tasks.place import place_of, working_directory

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from cloaca.workflows.workflow import Task, Workflow

_SHOWN = 5
_SAID = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_NOT_RUN_BY_A_CALL = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)

LEAST_MEMORY = 1 << 26
"""What a worker's limit is at least, in bytes: it takes a fifth of that before it has done anything."""


class Settings(NamedTuple):
    """The arguments of a runner. Sizes in bytes, times in seconds; `None`: no limit. `limits` are those with names.

    `store` is the URL of what records, if anything does.
    """

    workers: int
    executor: Chosen
    warn_above: int
    memory_limit: int | None
    task_timeout: float | None
    workflow_timeout: float | None
    grace: float
    limits: Mapping[str, int]
    raise_on_failure: bool
    store: str | None = None
    durability: Literal["normal", "full"] = "normal"
    allows_pickles: bool = True
    progress: bool = False
    tracer: "Tracer | None" = None


def check_platform() -> None:
    """Raise `RuntimeError` on a system that has no such processes."""
    if sys.platform == "win32":
        raise RuntimeError("cloaca runs on Linux and macOS. On Windows, run it in WSL 2.")


def check_interpreter() -> None:
    """Raise `WorkersUnavailableError` where workers can't be started as `sys.executable` is no Python interpreter."""
    if BEGUN_AS_WORKER in os.environ:
        raise WorkersUnavailableError(
            f"This process was started to be a worker, as sys.executable ({sys.executable}) was taken for a Python "
            f"interpreter; but it runs a program. {_ADVICE}"
        )
    if getattr(sys, "frozen", False) or not sys.executable:
        raise WorkersUnavailableError(
            "Worker processes can't be started: they need a Python interpreter, and sys.executable is "
            f"{'this program itself, which is frozen' if sys.executable else 'not set'}. {_ADVICE}"
        )


_ADVICE = 'Use executor="serial" (or CLOACA_EXECUTOR=serial) there, which runs tasks in the program itself.'


def checked_memory(size: int | None, executor: Chosen) -> int | None:
    """The limit of a worker's memory, if there is one."""
    if size is not None and executor not in ("processes", "serial"):
        raise ValueError(
            "memory_limit is that of a worker process of cloaca's: threads share the program's memory, and other "
            'processes aren\'t watched. Leave it out, or use executor="processes".'
        )
    return None if size is None else argument.whole("memory_limit, a number of bytes,", size, least=LEAST_MEMORY)


def checked_seconds(name: str, seconds: float | None) -> float | None:
    """A time limit, if there is one."""
    return None if seconds is None else argument.positive(f"{name}, in seconds,", seconds)


def shows_progress(asked: bool | None, said: str | None) -> bool:  # noqa: FBT001 - as the user says it
    """Whether progress is shown: as the runner was asked, or as is `said` in the environment, but in no task."""
    if asked is not None:
        return argument.switch("progress", asked)
    from cloaca.attempts.nesting import runs_task  # few ask

    return bool(said) and not runs_task() and argument.choice("CLOACA_PROGRESS", str(said).lower(), _SAID)


def checked_tracer(tracer: "Tracer | None") -> "Tracer | None":
    """What makes spans of OpenTelemetry, if anything does."""
    if tracer is None:
        return None
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise ImportError(
            "DefaultRunner(tracer=...) needs the package opentelemetry-api, which isn't installed here: "
            "pip install opentelemetry-api"
        ) from error
    if not isinstance(tracer, trace.Tracer):
        what = "a provider: give it provider.get_tracer('shop')" if hasattr(tracer, "get_tracer") else repr(tracer)
        raise ValueError(f"tracer is what opentelemetry.trace.get_tracer('shop') returns, not {what}.")
    return tracer


def checked_limits(limits: Mapping[str, int] | None) -> Mapping[str, int]:
    """The limits that tasks may name."""
    if limits is None:
        return {}
    if not isinstance(limits, Mapping) or not all(isinstance(name, str) and name for name in limits):
        raise ValueError(f'limits is a dict of names and numbers, as in {{"db": 2}}, not {limits!r}.')
    return {name: argument.amount(f"limits[{name!r}]", number) for name, number in limits.items()}


def check_limits_of(workflow: "Workflow", limits: Mapping[str, int]) -> None:
    """Raise `ValueError` where tasks take of limits that the runner has not, or more than it has."""
    lacking = [task for task in workflow.tasks if any(count > limits.get(name, 0) for name, count in task.limits)]
    if not lacking:
        return
    taken = (pair for task in lacking for pair in task.limits)
    needed = {name: count for name, count in sorted(taken) if count > limits.get(name, 0)}
    directory = working_directory()
    shown = ", ".join(_taking(task, place_of(task.function, directory)) for task in lacking[:_SHOWN])
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    raise ValueError(
        f"Workflow {workflow.name!r} can't run on this runner: it has too little for {shown}{more}. It has "
        f"{_listed(limits)}. Say how much there is: DefaultRunner(limits={dict(limits) | needed!r})."
    )


def _taking(task: "Task", place: str) -> str:
    """The task with what it takes, as it says so, and where its function stands."""
    taken = dict(task.limits)
    said = f"limit={next(iter(taken))!r}" if [*taken.values()] == [1] else f"limits={taken!r}"
    return f"{task.id!r} ({said}, {place})" if place else f"{task.id!r} ({said})"


def _listed(limits: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name!r}" for name, count in limits.items()) or "no limits"


def check_limit(name: str | None, limits: Mapping[str, int]) -> None:
    """Raise `ValueError` where a call of `map` names a limit that the runner has not."""
    if name is None or (isinstance(name, str) and name in limits):
        return
    raise ValueError(
        f"limit is the name of one of the runner's limits, not {name!r}. It has {_listed(limits)}. Say how much there "
        f"is: DefaultRunner(limits={{{name!r}: 2}})."
    )


# ---- calls of map --------------------------------------------------------------------------------------------------


def checked_retry(policy: RetryPolicy | None, attempts: int | None) -> RetryPolicy | None:
    """How an item is tried again, if it is at all."""
    if policy is None:
        return None if attempts is None else RetryPolicy(max_attempts=argument.whole("retry_attempts", attempts))
    if attempts is not None:
        raise ValueError("map takes either retry= or retry_attempts=, not both: put it into the policy.")
    return checked_policy("retry", policy)


def checked_order(on_error: str, ordered: object) -> tuple[bool, bool]:
    """Whether errors come in the places of results, and whether these come in the order of the items."""
    yields_errors = argument.choice("on_error", on_error, {"raise": False, "return": True})
    return yields_errors, argument.switch("ordered", ordered)


def checked_size(chunksize: int | None, timeout: float | None) -> int | None:
    """How many items make up a batch; `None`: that is measured. A time limit is that of an item, so there is one."""
    if chunksize is not None and argument.whole("chunksize", chunksize, least=1) > 1 and timeout is not None:
        raise ValueError(f"timeout is that of one item, so items travel one by one: leave out chunksize={chunksize}.")
    return chunksize if timeout is None else 1


# ---- the rest ------------------------------------------------------------------------------------------------------


def checked_initializer(function: Callable[[], object] | None) -> Callable[[], object] | None:
    """What each worker calls before its first task, if anything."""
    if function is None:
        return None
    form = "initializer is a function that can be called without arguments"
    if not callable(function):
        raise ValueError(f"{form}, not {function!r}.")
    call = function if inspect.isroutine(function) else type(function).__call__
    if any(kind(function) or kind(call) for kind in _NOT_RUN_BY_A_CALL):
        raise ValueError(f"{form}; {function!r} is a coroutine or a generator, of which a call runs nothing.")
    if misfit := argument.misfit_of(function):
        raise ValueError(
            f"{form}, and {function!r} can't: {misfit.error}. functools.partial gives it some."
        ) from misfit.error
    return function


def chosen_seed(seed: int | None) -> int:
    """The seed that was given, or that follows from the task that runs here; or else one that the system draws."""
    if seed is None:
        from cloaca.attempts.seeding import inner_seed  # whoever defines workflows does without

        inner = inner_seed()
        return int.from_bytes(os.urandom(8)) % LIMIT if inner is None else inner
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < LIMIT:
        raise ValueError(f"seed is a whole number from 0 to below 2**63, or None for one by chance; not {seed!r}")
    return seed
