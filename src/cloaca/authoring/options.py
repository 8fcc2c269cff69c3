"""The options of `task`, checked when they are given: what makes no sense is a `ValueError` that says what would."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypedDict

from cloaca import argument
from cloaca.authoring.builder import Dependency, check_name, checked_dependencies
from cloaca.retry import BackoffStrategy, RetryCondition, RetryPolicy, checked_policy
from cloaca.tasks.context import Context
from cloaca.triggers.condition import Condition
from cloaca.triggers.rules import TriggerRule, checked_rule
from cloaca.wire.frames import is_encodable


class TaskOptions(TypedDict, total=False):
    """The keyword arguments of `task`; leaving one out and giving `None` are the same."""

    id: str | None
    dependencies: Sequence[Dependency] | None
    retry: RetryPolicy | None
    retry_attempts: int | None
    retry_backoff: str | None
    retry_delay_ms: float | None
    retry_max_delay_ms: float | None
    retry_condition: str | None
    retry_jitter: bool | None
    on_success: Callable[[str, Context], object] | None
    on_failure: Callable[[str, str, Context], object] | None
    trigger_rules: Condition | None
    trigger_rule: TriggerRule | None
    timeout: float | None
    for_each: str | None
    reads: Sequence[str] | None
    writes: Sequence[str] | None
    limit: str | None


_NAMES: Final = TaskOptions.__annotations__.keys()
_POLICY: Final = {
    "retry_attempts": "max_attempts",
    "retry_backoff": "backoff_strategy",
    "retry_delay_ms": "initial_delay",
    "retry_max_delay_ms": "max_delay",
    "retry_condition": "retry_condition",
    "retry_jitter": "with_jitter",
}
"""What these options set in a policy that they make."""


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say something, as `Task` has them. Raises where one is unknown, excludes another or makes no sense.

    The `retry_*` options are a policy: `retry`.
    """
    said = {name: value for name, value in options.items() if value is not None}
    if unknown := said.keys() - _NAMES:
        raise TypeError(f"task() got an unexpected keyword argument {min(unknown)!r}; it takes {', '.join(_NAMES)}.")
    retries = [f"{name}=" for name in said if name in _POLICY]
    if "retry" in said and retries:
        raise ValueError(f"task takes either retry= or {', '.join(retries)}, not both: put them into the policy.")
    checked = {name: check(f"task({name}=...)", said[name]) for name, check in _CHECKS.items() if name in said}
    if retries:
        checked["retry"] = RetryPolicy(**{_POLICY[name]: checked.pop(name) for name in _POLICY if name in checked})
    return checked


# ---- how each is checked -------------------------------------------------------------------------------------------


def _id(_what: str, name: Any) -> Any:
    check_name("A task's id", name)
    return name


def _milliseconds(what: str, value: Any) -> float:
    return argument.not_negative(f"{what}, in milliseconds,", value) / 1000


def _limit(what: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} is the name of one of the runner's limits, as in 'db', not {name!r}.")
    return name


def _rules(what: str, given: Any) -> Condition:
    if isinstance(given, Condition):
        return given
    if isinstance(given, list | tuple):
        raise ValueError(f"{what} takes one condition: combine several by all_of(...) or any_of(...).")
    advice = f"; a rule by name is trigger_rule={given!r}" if isinstance(given, str) else ""
    raise ValueError(f"{what} is a condition, as in cloaca.task_success('load'), not {given!r}{advice}.")


def _items_key(what: str, key: Any) -> str:
    if not isinstance(key, str) or not key or not is_encodable(key):
        raise ValueError(
            f"{what} takes the key of the context that holds the items, like 'rows', not {key!r}: "
            "set the list or dict under a key, in a task before or in the input."
        )
    return str.__str__(key)


_BACKOFFS: Final = {
    "fixed": BackoffStrategy.fixed(),
    "linear": BackoffStrategy.linear(),
    "exponential": BackoffStrategy.exponential(2),
}
_CONDITIONS: Final = {
    "never": RetryCondition.never(),
    "transient": RetryCondition.transient_only(),
    "all": RetryCondition.all_errors(),
}
_CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "id": _id,
    "dependencies": checked_dependencies,
    "reads": argument.keys,
    "retry": checked_policy,
    "retry_attempts": argument.whole,
    "retry_backoff": partial(argument.choice, choices=_BACKOFFS),
    "retry_delay_ms": _milliseconds,
    "retry_max_delay_ms": _milliseconds,
    "retry_condition": partial(argument.choice, choices=_CONDITIONS),
    "retry_jitter": argument.switch,
    "timeout": lambda what, value: argument.positive(f"{what}, in seconds,", value),
    "limit": _limit,
    "trigger_rule": checked_rule,
    "trigger_rules": _rules,
    "on_success": lambda what, function: argument.callback(what, function, "task_id", "context"),
    "on_failure": lambda what, function: argument.callback(what, function, "task_id", "error", "context"),
    "for_each": _items_key,
    "writes": argument.keys,
}
