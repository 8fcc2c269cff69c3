"""The options of `task`, checked when they are given: what makes no sense is a `ValueError` that says what would."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypedDict

from cloaca import argument
from cloaca.authoring.builder import Dependency, check_name, checked_dependencies
from cloaca.retry import BackoffStrategy, RetryCondition, RetryPolicy
from cloaca.tasks.context import Context
from cloaca.triggers.condition import Condition
from cloaca.triggers.rules import TriggerRule
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


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that say something. Raises where one is unknown, excludes another or does nothing yet."""
    said = {name: value for name, value in options.items() if value is not None}
    if unknown := said.keys() - _NAMES:
        raise TypeError(f"task() got an unexpected keyword argument {min(unknown)!r}; it takes {', '.join(_NAMES)}.")
    retries = [f"{name}=" for name in said if name in _RETRIES]
    if "retry" in said and retries:
        raise ValueError(f"task takes either retry= or {', '.join(retries)}, not both: put them into the policy.")
    return said


def task_id(name: str | None) -> str | None:
    """The id of the task, or `None` where it isn't given: then it is the function's name."""
    if name is not None:
        check_name("A task's id", name)
    return name


def dependencies(listed: Any) -> tuple[Dependency, ...]:
    """What the task depends on, in the order in which it is listed."""
    return () if listed is None else checked_dependencies("task(dependencies=...)", listed)


def keys(option: Literal["reads", "writes"], listed: Any) -> tuple[str, ...] | None:
    """The keys that the task says to read, or to set, or `None` where it doesn't say."""
    return None if listed is None else argument.keys(f"task({option}=...)", listed)


def items_key(for_each: Any) -> str | None:
    """The key of the items for each of which the task runs, or `None` where it runs once."""
    if for_each is None:
        return None
    if not isinstance(for_each, str) or not for_each or not is_encodable(for_each):
        raise ValueError(
            f"task(for_each=...) takes the key of the context that holds the items, like 'rows', not {for_each!r}: "
            "set the list or dict under a key, in a task before or in the input."
        )
    return str.__str__(for_each)


def seconds(timeout: Any) -> float | None:
    """How long one try may take, or `None` where it may take any time."""
    return None if timeout is None else argument.positive("task(timeout=...), in seconds,", timeout)


def limit(name: Any) -> str | None:
    """The name of the limit that the task keeps to, or `None` where it keeps to none."""
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"task(limit=...) is the name of one of the runner's limits, as in 'db', not {name!r}.")
    return name


def condition(trigger_rules: Any) -> Condition | None:
    """The condition on which the task starts, or `None` where it is given none."""
    if trigger_rules is None or isinstance(trigger_rules, Condition):
        return trigger_rules
    if isinstance(trigger_rules, list | tuple):
        raise ValueError("task(trigger_rules=...) takes one condition: combine several by all_of(...) or any_of(...).")
    advice = f"; a rule by name is trigger_rule={trigger_rules!r}" if isinstance(trigger_rules, str) else ""
    raise ValueError(
        f"task(trigger_rules=...) is a condition, as in cloaca.task_success('load'), not {trigger_rules!r}{advice}."
    )


def callbacks(said: Mapping[str, Any]) -> tuple[Callable[..., object] | None, Callable[..., object] | None]:
    """What to call when a try of the task has ended well, and when it has failed; `None` where it isn't said."""
    return _callback(said, "on_success", "task_id", "context"), _callback(
        said, "on_failure", "task_id", "error", "context"
    )


def _callback(said: Mapping[str, Any], name: str, *given: str) -> Callable[..., object] | None:
    return argument.callback(f"task({name}=...)", said[name], *given) if name in said else None


# ---- retries -------------------------------------------------------------------------------------------------------


def policy(said: Mapping[str, Any]) -> RetryPolicy | None:
    """The retry policy that `retry` is, or that the `retry_*` options make; `None` without any of them: one try."""
    if "retry" in said:
        example = "RetryPolicy.builder().max_attempts(5).build()"
        return argument.instance("task(retry=...)", said["retry"], RetryPolicy, example)
    settings = {
        setting: checked(f"task({name}=...)", said[name])
        for name, (setting, checked) in _RETRIES.items()
        if name in said
    }
    return RetryPolicy(**settings) if settings else None


def _backoff(what: str, name: Any) -> BackoffStrategy:
    return argument.choice(what, name, _BACKOFFS)


def _condition(what: str, name: Any) -> RetryCondition:
    return argument.choice(what, name, _CONDITIONS)


def _milliseconds(what: str, value: Any) -> float:
    return argument.not_negative(f"{what}, in milliseconds,", value) / 1000


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
_RETRIES: Final[Mapping[str, tuple[str, Callable[[str, Any], Any]]]] = {
    "retry_attempts": ("max_attempts", argument.whole),
    "retry_backoff": ("backoff_strategy", _backoff),
    "retry_delay_ms": ("initial_delay", _milliseconds),
    "retry_max_delay_ms": ("max_delay", _milliseconds),
    "retry_condition": ("retry_condition", _condition),
    "retry_jitter": ("with_jitter", argument.switch),
}
"""What each option sets in the policy, and how it is checked."""
