"""Conditions: what `task(trigger_rules=...)` takes, made by the functions of this module.

They are values: immutable, equal where they say the same, and they travel. The value that a condition compares with is
kept encoded, so that changing an object later doesn't change the condition, and what can't be sent is found at once.

Whether a condition holds, `triggers/verdict` finds out; comparing is the business of `triggers/comparison`.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from msgspec import Struct

from cloaca import argument
from cloaca.merge.shown import shown
from cloaca.values.codec import decode, encode
from cloaca.wire.text import is_encodable

Operator = Literal[
    "equals", "not_equals", "greater_than", "less_than", "contains", "not_contains", "exists", "not_exists"
]
Named = str | Callable[..., Any]
"""A task: its id, or its function, which stands for its id until the end of the block."""

_SPELLINGS: Final[dict[Operator, tuple[str, ...]]] = {
    "equals": ("eq", "=="),
    "not_equals": ("ne", "!="),
    "greater_than": ("gt", ">"),
    "less_than": ("lt", "<"),
    "contains": (),
    "not_contains": (),
    "exists": (),
    "not_exists": (),
}
_OPERATORS: Final[dict[str, Operator]] = {
    name: operator for operator, others in _SPELLINGS.items() for name in (operator, *others)
}
_BY_SPELLING: Final[dict[str, Operator]] = {name.replace("_", ""): operator for name, operator in _OPERATORS.items()}
_PRESENCE: Final = frozenset({"exists", "not_exists"})
_MAKERS: Final = {"Completed": "task_success", "Failed": "task_failed", "Skipped": "task_skipped"}
_DEEPEST: Final = 100
_MISSING: Final = object()


class Condition(Struct, frozen=True):
    """Whether a task starts: asked once, when all that it names has ended, and skipped where the answer is no.

    Made by `context_value`, `task_success`, `task_failed`, `task_skipped`, `all_of`, `any_of`, `none_of` and `always`.

    >>> import cloaca
    >>> condition = cloaca.all_of(cloaca.task_success("load"), cloaca.context_value("rows", ">", 100))
    >>> condition
    all_of(task_success('load'), context_value('rows', 'greater_than', 100))
    >>> condition.tasks, condition.keys
    (('load',), ('rows',))
    """

    def __post_init__(self) -> None:
        if type(self) is Condition:
            raise TypeError("A condition is made by a function, as in cloaca.task_success('load') or cloaca.always().")

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it looks at."""
        return tuple(dict.fromkeys(leaf.key for leaf in leaves(self) if isinstance(leaf, ContextValue)))

    @property
    def tasks(self) -> tuple[Named, ...]:
        """The tasks that it asks about."""
        return tuple(dict.fromkeys(leaf.task for leaf in leaves(self) if isinstance(leaf, TaskEnded)))


class ContextValue(Condition, frozen=True):
    """Asks about the value of a key; `payload` is what it is compared with, encoded."""

    key: str
    operator: Operator
    payload: bytes | None

    @property
    def value(self) -> Any:
        """What it is compared with, a copy of the caller's own."""
        return None if self.payload is None else decode(self.payload)

    def __repr__(self) -> str:
        compared = "" if self.payload is None else f", {shown(self.payload)}"
        return f"context_value({self.key!r}, {self.operator!r}{compared})"


class TaskEnded(Condition, frozen=True):
    """Asks whether a task ended in a certain way."""

    task: Named
    status: str

    def __repr__(self) -> str:
        named = repr(self.task) if isinstance(self.task, str) else getattr(self.task, "__name__", repr(self.task))
        return f"{_MAKERS[self.status]}({named})"


class Combined(Condition, frozen=True):
    """Asks several conditions, from left to right and no further than necessary."""

    how: Literal["all_of", "any_of", "none_of"]
    parts: tuple[Condition, ...]
    depth: int

    def __repr__(self) -> str:
        return f"{self.how}({', '.join(map(repr, self.parts))})"


class Always(Condition, frozen=True):
    """Holds whatever has happened."""

    def __repr__(self) -> str:
        return "always()"


# ---- making them ---------------------------------------------------------------------------------------------------


def context_value(key: str, operator: str, value: Any = _MISSING) -> Condition:
    """The condition that the value of `key`, as the task would see it, compares so with `value`.

    Operators, in any case and with or without underscores: equals (==, eq), not_equals (!=, ne), greater_than (>, gt),
    less_than (<, lt), contains, not_contains, and exists, not_exists, which need no value. Values are compared as
    Python compares them, arrays and frames as wholes. A key that is absent has no value: not_equals, not_contains and
    not_exists hold then, and nothing else.

    Raises:
        ValueError: the key is no string, there is no such operator, or it needs a value.
        EncodeError: the value can't be sent to a worker.

    >>> context_value("score", ">=", 10)
    Traceback (most recent call last):
    ...
    ValueError: The operator of context_value('score', ...) is one of 'equals', 'eq', ... 'not_exists', not '>='.
    """
    if not isinstance(key, str) or not is_encodable(key):
        raise ValueError(f"context_value takes a key, which is a string that UTF-8 can carry, not {key!r}.")
    name = _operator(key, operator)
    if name in _PRESENCE:
        return ContextValue(str.__str__(key), name, None)
    if value is _MISSING:
        raise ValueError(f"context_value({key!r}, {operator!r}, ...) needs a value to compare with.")
    return ContextValue(str.__str__(key), name, encode(value, key))


def task_success(task: Named) -> Condition:
    """The condition that a task ended well. `task` is its id or its function, and comes before the task with this rule.

    >>> task_success("load")
    task_success('load')
    """
    return TaskEnded(_named("task_success", task), "Completed")


def task_failed(task: Named) -> Condition:
    """The condition that a task failed, after its last try. `task` is as for `task_success`.

    >>> task_failed("load")
    task_failed('load')
    """
    return TaskEnded(_named("task_failed", task), "Failed")


def task_skipped(task: Named) -> Condition:
    """The condition that a task was skipped. `task` is as for `task_success`.

    >>> task_skipped("load")
    task_skipped('load')
    """
    return TaskEnded(_named("task_skipped", task), "Skipped")


def all_of(*conditions: Condition) -> Condition:
    """The condition that each of the conditions holds. Raises `ValueError` where there is none, or what is none.

    >>> all_of(task_success("load"), none_of(task_failed("check")))
    all_of(task_success('load'), none_of(task_failed('check')))
    """
    return _combined("all_of", conditions)


def any_of(*conditions: Condition) -> Condition:
    """The condition that at least one of the conditions holds. Raises as `all_of` does.

    >>> any_of(task_failed("load"), task_skipped("load"))
    any_of(task_failed('load'), task_skipped('load'))
    """
    return _combined("any_of", conditions)


def none_of(*conditions: Condition) -> Condition:
    """The condition that none of the conditions holds. Raises as `all_of` does.

    >>> none_of(context_value("is_test", "equals", True))
    none_of(context_value('is_test', 'equals', True))
    """
    return _combined("none_of", conditions)


def always() -> Condition:
    """The condition that always holds: the task starts however its dependencies ended.

    >>> always() == always()
    True
    """
    return Always()


def _operator(key: str, given: Any) -> Operator:
    spelling = given.lower().replace("_", "") if isinstance(given, str) else given
    if isinstance(spelling, str) and spelling in _BY_SPELLING:
        return _BY_SPELLING[spelling]
    return argument.choice(f"The operator of context_value({key!r}, ...)", given, _OPERATORS)


def _named(maker: str, task: Any) -> Named:
    if callable(task) or (isinstance(task, str) and task):
        return task if callable(task) else str.__str__(task)
    raise ValueError(f"{maker} takes the id of a task, or its function, not {task!r}.")


def _combined(how: Literal["all_of", "any_of", "none_of"], conditions: tuple[Any, ...]) -> Condition:
    if not conditions:
        raise ValueError(f"{how} takes at least one condition; always() is the one that always holds.")
    for condition in conditions:
        if isinstance(condition, list | tuple | set | frozenset):
            raise ValueError(f"{how} takes conditions one by one: write {how}(*conditions), with an asterisk.")
        if not isinstance(condition, Condition):
            raise ValueError(f"{how} takes conditions, as in task_success('load'), not {condition!r}.")
    depth = 1 + max(condition.depth if isinstance(condition, Combined) else 0 for condition in conditions)
    if depth > _DEEPEST:
        raise ValueError(f"Conditions nest {_DEEPEST} deep at most: give {how} several at once, in one call.")
    return Combined(how, conditions, depth)


# ---- taking them apart ---------------------------------------------------------------------------------------------


def stands_alone(condition: Condition) -> bool:
    """Whether it stands in place of the default rule: it names tasks, or says `always`. Of values alone, it doesn't.

    >>> stands_alone(context_value("score", ">", 10)), stands_alone(all_of(always(), context_value("score", ">", 10)))
    (False, True)
    """
    return not all(isinstance(leaf, ContextValue) for leaf in leaves(condition))


def leaves(condition: Condition) -> Iterator[Condition]:
    """The conditions that are no combination, from left to right."""
    if isinstance(condition, Combined):
        for part in condition.parts:
            yield from leaves(part)
    else:
        yield condition


def renamed(
    condition: Condition, id_of: Callable[[Named], Named], key_of: Callable[[str], str] = lambda key: key
) -> Condition:
    """The condition with the ids of the tasks that it asks about, and with other names for keys."""
    match condition:
        case Combined():
            parts = tuple([renamed(part, id_of, key_of) for part in condition.parts])
            return Combined(condition.how, parts, condition.depth)
        case TaskEnded():
            return TaskEnded(id_of(condition.task), condition.status)
        case ContextValue():
            return ContextValue(key_of(condition.key), condition.operator, condition.payload)
        case _:
            return condition


def described(condition: Condition) -> tuple[Any, ...]:
    """The condition as a tuple of plain parts, and the values that it compares with."""
    match condition:
        case Combined():
            return condition.how, *map(described, condition.parts)
        case TaskEnded():
            return _MAKERS[condition.status], condition.task
        case ContextValue():
            return "context_value", condition.key, condition.operator, condition.value
        case _:
            return ("always",)
