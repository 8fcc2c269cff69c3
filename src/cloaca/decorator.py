"""The `task` decorator: it makes a function a task of the innermost open `WorkflowBuilder` block."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, overload

from cloaca.builder import Dependency, TaskFunction, check_name, current_builder, refuse_unsupported
from cloaca.signature import check_signature

_F = TypeVar("_F", bound=TaskFunction)

_CHOICES = {"retry_backoff": ("fixed", "linear", "exponential"), "retry_condition": ("never", "transient", "all")}


class TaskOptions(TypedDict, total=False):
    """The keyword arguments of `task`; leaving one out and giving `None` are the same."""

    id: str | None
    dependencies: Sequence[Dependency] | None
    retry: object
    retry_attempts: int | None
    retry_backoff: str | None
    retry_delay_ms: int | None
    retry_max_delay_ms: int | None
    retry_condition: str | None
    retry_jitter: bool | None
    on_success: TaskFunction | None
    on_failure: TaskFunction | None
    trigger_rules: object
    trigger_rule: object
    timeout: float | None
    for_each: object
    reads: Sequence[str] | None
    writes: Sequence[str] | None
    limit: object


_NAMES = TaskOptions.__annotations__.keys()


@overload
def task(function: _F, /) -> _F: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[_F], _F]: ...
def task(function: Any = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make the decorated function a task of the open `WorkflowBuilder` block; returns the function unchanged.

    `id` defaults to the function's name. `dependencies` lists ids of tasks, or functions that are tasks of the same
    block; they may be defined later. `reads` lists the keys that are sent along with the task; by default those that
    its code mentions. Others are fetched when it reads them: the task doesn't notice. Every other argument raises
    `NotSupportedYetError` for now.

    Raises `ValueError` outside a block, and for arguments that make no sense: `retry` together with any `retry_*`,
    both trigger rules, a function that can't be called with the context alone, a dependency that is neither id nor
    function. Whether dependencies exist is checked when the block ends.
    """
    if function is not None and not callable(function):
        raise TypeError(f"task takes keyword arguments only: write task(id={function!r}).")
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "id" in given:
        check_name("A task's id", given["id"])
    name = given.pop("id", None)
    dependencies = _listed(given.pop("dependencies", ()))
    reads = _keys(given.pop("reads", None))
    if given:
        _refuse(given)

    def define(function: _F) -> _F:
        _define(function, name, dependencies, reads)
        return function

    return define if function is None else define(function)


def _define(
    function: TaskFunction, name: str | None, dependencies: Sequence[Dependency], reads: tuple[str, ...] | None
) -> None:
    builder = current_builder()
    if builder is None:
        raise ValueError(
            "No workflow context available. Tasks must be defined within a WorkflowBuilder context manager."
        )
    known_as = name or getattr(function, "__name__", None)
    if known_as is None:
        raise ValueError(f"{function!r} has no name that could be the task's id: write task(id=...).")
    check_signature(known_as, function)
    builder.define(known_as, function, dependencies, reads)


def _listed(dependencies: Any) -> tuple[Dependency, ...]:
    if not isinstance(dependencies, list | tuple):
        raise ValueError(f"task(dependencies=...) takes a list of ids or functions, not {dependencies!r}.")
    for i, dependency in enumerate(dependencies):
        if not isinstance(dependency, str) and not callable(dependency):
            raise ValueError(f"Dependency {i} must be either a string or a function object with __name__ attribute")
    return tuple(dependencies)


def _keys(reads: Any) -> tuple[str, ...] | None:
    if reads is None:
        return None
    if not isinstance(reads, list | tuple | set | frozenset) or not all(isinstance(key, str) for key in reads):
        raise ValueError(f"task(reads=...) takes a list of keys, not {reads!r}.")
    return tuple(sorted(reads)) if isinstance(reads, set | frozenset) else tuple(reads)


def _refuse(given: Mapping[str, Any]) -> None:
    if unknown := given.keys() - _NAMES:
        raise TypeError(f"task() got an unexpected keyword argument {min(unknown)!r}; it takes {', '.join(_NAMES)}.")
    retries = [f"{name}=" for name in given if name.startswith("retry_")]
    if "retry" in given and retries:
        raise ValueError(f"task takes either retry= or {', '.join(retries)}, not both: put them into the policy.")
    if "trigger_rule" in given and "trigger_rules" in given:
        raise ValueError("task takes either trigger_rule= or trigger_rules=, not both.")
    for name, choices in _CHOICES.items():
        if name in given and given[name] not in choices:
            raise ValueError(f"task({name}=...) is one of {', '.join(map(repr, choices))}, not {given[name]!r}.")
    refuse_unsupported("task", given)
