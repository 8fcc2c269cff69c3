"""The keys that a function's own code sets by a constant name, read from its bytecode.

Asked where a task is to count as one that has set its keys without having run: a mapped task without items. Found are
`context.set("key", ...)`, `insert` and `update`, `context["key"] = ...`, and `return {"key": ...}`. Names that are made
up while it runs, and what other functions set, can't be known.
"""

import dis
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

_METHODS = frozenset({"set", "insert", "update"})
ATTRIBUTES = frozenset({"LOAD_METHOD", "LOAD_ATTR"})
_LOADS = ("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")
SILENT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "RESUME", "COPY_FREE_VARS", "MAKE_CELL"})
DEEPEST = 100  # callables around a function
JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})


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


def called_by(function: Any) -> tuple[Any, int]:
    """The same as Python calls it: what a decorator says of the function that it wraps doesn't count."""
    match function:
        case partial():
            return function.func, len(function.args)
        case MethodType():
            return function.__func__, 1
        case FunctionType():
            return None, 0
        case _:
            call = inspect.getattr_static(type(function), "__call__", None)
            return (call, 1) if isinstance(call, FunctionType) else (None, 0)


def _keys(code: CodeType, context: str) -> Iterator[str]:
    steps = [step for step in dis.get_instructions(code) if step.opname not in SILENT]
    for place, step in enumerate(steps):
        if step.opname == "LOAD_CONST" and isinstance(step.argval, str) and _is_set(steps, place, context):
            yield step.argval
        elif step.opname == "RETURN_VALUE" and place:
            yield from returned(steps[:place])
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and context in inner.co_freevars:
            yield from _keys(inner, context)


def _is_set(steps: Sequence[dis.Instruction], place: int, context: str) -> bool:
    """Whether the constant at that place is the key in `context.set(key` or `context[key] =`."""
    if place and loads(steps[place - 1], context):
        return place + 1 < len(steps) and steps[place + 1].opname == "STORE_SUBSCR"
    named = steps[place - 1]
    return place > 1 and named.opname in ATTRIBUTES and named.argval in _METHODS and loads(steps[place - 2], context)


def loads(step: dis.Instruction, context: str) -> bool:
    """Whether it leaves the context on top of the stack. Some versions of Python load two names at once."""
    if not step.opname.startswith(_LOADS):
        return False
    return step.argval == context or (isinstance(step.argval, tuple) and step.argval[-1] == context)


# ---- what is returned ----------------------------------------------------------------------------------------------


def returned(steps: Sequence[dis.Instruction]) -> Iterator[str]:
    """The keys of the dict that is returned, where these steps end by making it of constant keys."""
    last = steps[-1]
    if last.opname == "BUILD_CONST_KEY_MAP":
        yield from (key for key in steps[-2].argval if isinstance(key, str))
    elif last.opname == "BUILD_MAP":
        yield from reversed([key for key in _built(steps[:-1], last.arg or 0) if key is not None])


def _built(steps: Sequence[dis.Instruction], count: int) -> Iterator[str | None]:
    """The keys of so many pairs that were put on the stack, the last one first."""
    end = len(steps)
    for _ in range(count):
        value = begin(steps, end)
        key = None if value is None else begin(steps, value)
        if key is None or value is None:
            return
        constant = steps[key].argval if steps[key].opname == "LOAD_CONST" and key == value - 1 else None
        yield constant if isinstance(constant, str) else None
        end = key


def begin(steps: Sequence[dis.Instruction], end: int) -> int | None:
    """Where the expression begins that leaves one value on the stack at `end`; `None` where that isn't clear."""
    depth = 0
    for place in range(end - 1, -1, -1):
        step = steps[place]
        if step.opcode in JUMPS:
            return None
        depth += dis.stack_effect(step.opcode, step.arg)
        if depth == 1:
            return place
    return None
