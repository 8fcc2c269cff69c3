"""The options of `task`, checked when they are given: what makes no sense is a `ValueError` that says what would."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypedDict

from cloaca import argument
from cloaca.authoring.builder import Dependency, check_name, checked_dependencies
from cloaca.retry import BackoffStrategy, RetryCondition, RetryPolicy, checked_policy
from cloaca.triggers.condition import Condition
from cloaca.triggers.rules import TriggerRule, checked_rule
from cloaca.wire.text import is_encodable

if TYPE_CHECKING:
    from cloaca.profiling.tool import ProfilerName
    from cloaca.tasks.context import Context


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
    on_success: Callable[[str, "Context"], object] | None
    on_failure: Callable[[str, str, "Context"], object] | None
    trigger_rules: Condition | None
    trigger_rule: TriggerRule | None
    timeout: float | None
    for_each: str | None
    reads: Sequence[str] | None
    writes: Sequence[str] | None
    returns: str | Sequence[str] | None
    inputs: Mapping[str, str] | None
    limit: str | None
    limits: Mapping[str, int] | None
    priority: int | None
    reuse: bool | None
    fingerprint: Callable[..., object] | None
    cache_version: str | int | None
    accept: str | Sequence[str] | None
    profile: "bool | ProfilerName | None"
    allow_failure: bool | None


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

    The `retry_*` options are a policy: `retry`. `limit` is one of that name: `limits`.
    """
    said = {name: value for name, value in options.items() if value is not None}
    if unknown := said.keys() - _NAMES:
        raise TypeError(f"task() got an unexpected keyword argument {min(unknown)!r}; it takes {', '.join(_NAMES)}.")
    if "limit" in said and "limits" in said:
        raise ValueError("task takes either limit= or limits=, not both: limit='db' is short for limits={'db': 1}.")
    retries = [f"{name}=" for name in said if name in _POLICY]
    if "retry" in said and retries:
        raise ValueError(f"task takes either retry= or {', '.join(retries)}, not both: put them into the policy.")
    checked = {name: check(f"task({name}=...)", said[name]) for name, check in _CHECKS.items() if name in said}
    if "fingerprint" in said:
        checked["fingerprint"] = _fingerprint(said["fingerprint"], with_item="for_each" in said)
    excluded = [f"{name}=" for name in ("reads", "writes") if "returns" in said and name in said]
    if excluded:
        raise ValueError(f"task(returns=...) says what is read and set already: leave out {' and '.join(excluded)}.")
    if "inputs" in said and "returns" not in said:
        raise ValueError(
            "task(inputs=...) is for functions without a context: say under which key what they return "
            "is set, returns=..., or () where it isn't."
        )
    if "limit" in checked:
        checked["limits"] = ((checked.pop("limit"), 1),)
    if retries:
        checked["retry"] = RetryPolicy(**{_POLICY[name]: checked.pop(name) for name in _POLICY if name in checked})
    return checked


# ---- how each is checked -------------------------------------------------------------------------------------------


def _id(_what: str, name: Any) -> Any:
    check_name("A task's id", name)
    return name


def _fingerprint(function: Any, *, with_item: bool) -> Callable[..., object]:
    """Called before the task, with what that is called with, but for a handle and keys."""
    return argument.callback("task(fingerprint=...)", function, *("context", "item")[: 1 + with_item])


def _version(what: str, value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise ValueError(f"{what} is a text that isn't empty, or a whole number, not {value!r}.")
    return str(value)


def _digests(what: str, given: Any) -> tuple[str, ...]:
    listed = (given,) if isinstance(given, str) else given
    if not isinstance(listed, list | tuple | set | frozenset):
        raise ValueError(f"{what} takes the digest of a task's earlier code, or a list of some, not {given!r}.")
    for digest in listed:
        if not isinstance(digest, str) or len(digest) != _DIGITS or not _HEX.issuperset(digest.lower()):
            raise ValueError(f"{what} takes {_DIGITS} hex digits, as workflow.code_of(id) tells them, not {digest!r}.")
    return tuple([digest.lower() for digest in listed])


def _milliseconds(what: str, value: Any) -> float:
    return argument.not_negative(f"{what}, in milliseconds,", value) / 1000


def _limit(what: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} is the name of one of the runner's limits, as in 'db', not {name!r}.")
    return name


def _limits(what: str, given: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) and name for name in given):
        raise ValueError(f"{what} says how much of which limit it takes, as in {{'gpu': 1}}, not {given!r}.")
    return tuple([(name, argument.amount(f"{what[:-4]}{{{name!r}: ...}})", given[name])) for name in sorted(given)])


def _priority(what: str, given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool):
        raise ValueError(
            f"{what} is a whole number, the higher the sooner, and 0 where nothing is said, not {given!r}."
        )
    return given


def _profile(what: str, given: Any) -> bool | str:
    from cloaca.profiling.tool import PROFILERS  # few tasks say so

    if isinstance(given, bool | str) and given in (True, False, *PROFILERS):
        return given
    raise ValueError(f"{what} is True, False or one of {', '.join(map(repr, PROFILERS))}, not {given!r}.")


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


def _returned(what: str, given: Any) -> tuple[str, ...]:
    keys = argument.keys(what, [given] if isinstance(given, str) else given)
    if isinstance(given, set | frozenset) or len(set(keys)) < len(keys):
        raise ValueError(f"{what} takes a key, or a tuple of different keys in the order of what is returned.")
    return keys


def _inputs(what: str, given: Any) -> Mapping[str, str]:
    if not isinstance(given, Mapping) or not all(
        isinstance(one, str) and one and is_encodable(one) for pair in given.items() for one in pair
    ):
        raise ValueError(f'{what} maps parameters of the function to keys, as in {{"frame": "rows"}}, not {given!r}.')
    return dict(given)


_DIGITS: Final = 32
_HEX: Final = frozenset("0123456789abcdef")
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
    "returns": _returned,
    "inputs": _inputs,
    "retry": checked_policy,
    "retry_attempts": argument.whole,
    "retry_backoff": partial(argument.choice, choices=_BACKOFFS),
    "retry_delay_ms": _milliseconds,
    "retry_max_delay_ms": _milliseconds,
    "retry_condition": partial(argument.choice, choices=_CONDITIONS),
    "retry_jitter": argument.switch,
    "timeout": lambda what, value: argument.positive(f"{what}, in seconds,", value),
    "limit": _limit,
    "limits": _limits,
    "priority": _priority,
    "trigger_rule": checked_rule,
    "trigger_rules": _rules,
    "on_success": lambda what, function: argument.callback(what, function, "task_id", "context"),
    "on_failure": lambda what, function: argument.callback(what, function, "task_id", "error", "context"),
    "for_each": _items_key,
    "reuse": argument.switch,
    "cache_version": _version,
    "accept": _digests,
    "writes": argument.keys,
    "profile": _profile,
    "allow_failure": argument.switch,
}
