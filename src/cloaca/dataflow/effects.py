"""The keys that a function's own code sets by a constant name, read from its bytecode.

Asked where a task is to count as one that has set its keys without having run: a mapped task without items. Found are
`context.set("key", ...)`, `insert` and `update`, `context["key"] = ...`, and `return {"key": ...}`. Names that are made
up while it runs, and what other functions set, can't be known.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, MethodType
from typing import Any

from cloaca.dataflow.callee import DEEPEST, called_by
from cloaca.dataflow.steps import ATTRIBUTES, Steps, loads, returned, steps_of

_METHODS = frozenset({"set", "insert", "update"})


def keys_set(function: Callable[..., Any]) -> tuple[str, ...]:
    """The keys that a task function sets, in the order of its code, each once.

    >>> def load(context):
    ...     context["rows"] = [1, 2]
    ...     return {"year": 2026, "count": 2}
    >>> keys_set(load)
    ('rows', 'year', 'count')
    """
    found = _with_context(function)
    return tuple(dict.fromkeys(_keys(*found))) if found is not None else ()


def _with_context(function: Any) -> tuple[CodeType, str] | None:
    """The code that runs, and what it calls the context: through partials, methods and decorators that say so."""
    place = 0
    for _ in range(DEEPEST):
        inner, given = _inner(function)
        if inner is None:
            code = getattr(function, "__code__", None)
            return (code, code.co_varnames[place]) if code is not None and place < code.co_argcount else None
        function = inner
        place += given
    return None


def _inner(function: Any) -> tuple[Any, int]:
    """What a callable calls, and how many arguments it gives before those that it is given; nothing for a function."""
    if not isinstance(function, partial | MethodType) and hasattr(function, "__wrapped__"):
        return function.__wrapped__, 0
    return called_by(function)


def _keys(code: CodeType, context: str) -> Iterator[str]:
    steps = steps_of(code)
    for place, step in enumerate(steps):
        if step.opname == "LOAD_CONST" and isinstance(step.argval, str) and _is_set(steps, place, context):
            yield step.argval
        elif step.opname == "RETURN_VALUE" and place:
            yield from (key for key, _ in returned(steps[:place]))
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and context in inner.co_freevars:
            yield from _keys(inner, context)


def _is_set(steps: Steps, place: int, context: str) -> bool:
    """Whether the constant at that place is the key in `context.set(key` or `context[key] =`."""
    if place and loads(steps[place - 1], context):
        return place + 1 < len(steps) and steps[place + 1].opname == "STORE_SUBSCR"
    named = steps[place - 1]
    return place > 1 and named.opname in ATTRIBUTES and named.argval in _METHODS and loads(steps[place - 2], context)
