"""Trigger rules by name: whether a task may start, once all of its dependencies have ended.

A rule is asked exactly once, when the last dependency has ended, so its answer can't depend on timing. It is a test on
how many of them ended well, failed and were skipped. A task without dependencies starts without being asked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from cloaca import argument
from cloaca.triggers.condition import Condition, stands_alone

TriggerRule = Literal[
    "all_success",
    "all_done",
    "one_success",
    "one_failed",
    "all_failed",
    "none_failed",
    "none_skipped",
    "none_failed_min_one_success",
    "all_done_min_one_success",
]
DEFAULT: Final = "all_done_min_one_success"

_SHOWN: Final = 10
_TOLD: Final = {"Completed": "ended well", "Failed": "failed", "Skipped": "was skipped", "Cancelled": "was cancelled"}


class Ends(NamedTuple):
    """How many of a task's dependencies ended well, failed and were skipped.

    >>> Ends.of(["Completed", "Failed", "Completed"])
    Ends(succeeded=2, failed=1, skipped=0)
    """

    succeeded: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, statuses: Iterable[str]) -> "Ends":
        """Count tasks that ended so."""
        listed = list(statuses)
        return cls(listed.count("Completed"), listed.count("Failed"), listed.count("Skipped"))


class NamedRule(Struct, frozen=True):
    """A test on counts, and what it demands, in words.

    Where it says no, `otherwise` is why, and it is up to the dependencies of these `statuses`.
    """

    holds: Callable[[Ends], bool]
    demand: str
    otherwise: str
    statuses: tuple[str, ...]


RULES: Final[Mapping[str, NamedRule]] = {
    "all_success": NamedRule(
        lambda ends: ends.failed == 0 and ends.skipped == 0,
        "all of these have to end well",
        "not all of its dependencies ended well",
        ("Failed", "Skipped"),
    ),
    "all_done": NamedRule(lambda _: True, "it starts however these end", "", ()),
    "one_success": NamedRule(
        lambda ends: ends.succeeded >= 1,
        "at least one of these has to end well",
        "none of its dependencies ended well",
        ("Failed", "Skipped"),
    ),
    "one_failed": NamedRule(
        lambda ends: ends.failed >= 1,
        "at least one of these has to fail",
        "none of its dependencies failed",
        ("Completed", "Skipped"),
    ),
    "all_failed": NamedRule(
        lambda ends: ends.failed >= 1 and ends.succeeded == 0 and ends.skipped == 0,
        "all of these have to fail",
        "not all of its dependencies failed",
        ("Completed", "Skipped"),
    ),
    "none_failed": NamedRule(
        lambda ends: ends.failed == 0, "none of these may fail", "some of its dependencies failed", ("Failed",)
    ),
    "none_skipped": NamedRule(
        lambda ends: ends.skipped == 0,
        "none of these may be skipped",
        "some of its dependencies were skipped",
        ("Skipped",),
    ),
    "none_failed_min_one_success": NamedRule(
        lambda ends: ends.failed == 0 and ends.succeeded >= 1,
        "none of these may fail, and at least one has to end well",
        "some of its dependencies failed, or none ended well",
        ("Failed", "Skipped"),
    ),
    DEFAULT: NamedRule(
        lambda ends: ends.succeeded >= 1,
        "at least one of these has to end well",
        "none of its dependencies ended well",
        ("Failed", "Skipped"),
    ),
}
"""What each name stands for."""


def may_start(completed: int) -> bool:
    """The default rule, `all_done_min_one_success`: at least one dependency ended well.

    An aggregating task can so handle a partial failure, and a chain behind a failure is skipped instead of crashing
    task by task.
    """
    return completed > 0


def beside(condition: Condition | None) -> str:
    """The rule that has to hold beside a condition where none is named: the default one, or one that always does.

    >>> from cloaca.triggers.condition import always, context_value
    >>> beside(context_value("score", ">", 10)), beside(always())
    ('all_done_min_one_success', 'all_done')
    """
    return DEFAULT if condition is None or not stands_alone(condition) else "all_done"


def refusal(rule: str, dependencies: Sequence[tuple[str, str]]) -> str | None:
    """Why a task with that rule isn't to start, given how each of its dependencies ended; `None`: it is to start.

    One may be there several times: a mapped task whose instances ended differently.

    >>> refusal("all_success", [("load", "Completed"), ("check", "Failed")])
    "not all of its dependencies ended well: 'check' failed"
    >>> refusal("all_done", [("load", "Failed")])
    """
    named = RULES[rule]
    if not dependencies or named.holds(Ends.of(status for _, status in dependencies)):
        return None
    at_fault = (told(task, status) for task, status in dependencies if status in named.statuses)
    shown = list(islice(at_fault, _SHOWN + 1))
    return f"{named.otherwise}: {', '.join(shown[:_SHOWN])}{', ...' if len(shown) > _SHOWN else ''}"


def told(task: str, status: str) -> str:
    """How a task ended, in words.

    >>> told("load", "Skipped")
    "'load' was skipped"
    """
    return f"{task!r} {ended(status)}"


def ended(status: str) -> str:
    """The same without its name."""
    return _TOLD[status]


def checked_rule(what: str, name: object) -> str | None:
    """The name of a rule, or `None` where none is given. Raises `ValueError`, listing the names, for any other."""
    if name is None:
        return None
    if isinstance(name, Condition):
        raise ValueError(f"{what} is the name of a rule; a condition is given as task(trigger_rules={name!r}).")
    argument.choice(what, name, RULES)
    return str(name)
