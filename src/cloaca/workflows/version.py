"""The version of a workflow: a hash over its structure and its code.

Guarantees: 16 hex digits, the same in every process of one Python minor version (and optimisation level), whatever the
hash seed, the addresses of objects, the name of the file and the lines on which things stand. It changes with a task
id, a dependency, the order of definition, a retry policy, a timeout, a trigger rule, the key that a task is mapped
over, a prefix of an added workflow or what is passed in to it, the outputs, the bytecode, a constant, a default, a
captured value, or a helper function or class of the modules in which the tasks are defined (`__main__` always counts as
one).

Functions of other modules count by name. So do values that have no text of their own that is the same everywhere: of
such a value, only the type counts. Globals that hold data don't count: they are read when a run starts, and may differ
from run to run.

How: what has parts (`_PARTS`) gets a number when it is met, and is described later, from a queue, by the numbers of its
parts; all else is described in place (`_TEXTS`). So cycles end, what is shared is described once, and long chains of
calls don't recurse. A tuple gets a number of its own each time: whether equal constants are one object depends on how
the module was loaded.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

from cloaca.pickling.code import code_parts
from cloaca.pickling.lazy import settle

_T = TypeVar("_T")


def version(
    tasks: Iterable[tuple[str, Sequence[str], Callable[..., Any]]],
    rules: Sequence[tuple[str, Callable[..., Any]]] = (),
    on_conflict: str | None = None,
    tries: Sequence[tuple[str, str]] = (),
    triggers: Sequence[tuple[str, object]] = (),
    copies: Sequence[tuple[str, object]] = (),
) -> str:
    """Return the hash, 16 hex digits, over tasks given as (id, ids of the dependencies, function) in their order.

    `rules` are the merge rules as (key, function), in the order of keys; `tries` says what tasks say about how they are
    run, as (id, text), and `triggers` when they start, as (id, rule); `copies` which workflows are part of it, as
    (prefix, inputs), and what its outputs are. Where there is none of it, it doesn't count.
    """
    from hashlib import blake2b  # loads OpenSSL's library

    rows = tuple([(task, tuple(dependencies), function) for task, dependencies, function in tasks])
    functions = [*(function for _, _, function in rows), *(function for _, function in rules)]
    own = {"__main__", *map(_home, functions)} - {"builtins"}
    merged = (rows, tuple(rules), on_conflict) if rules or on_conflict else rows
    digest = blake2b(digest_size=8)
    tried = (merged, tuple(tries)) if tries else merged
    triggered = (tried, "triggers", tuple(triggers)) if triggers else tried
    for description in _descriptions((triggered, "copies", tuple(copies)) if copies else triggered, own):
        digest.update(description.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _home(function: Callable[..., Any]) -> str | None:
    return _home(function.func) if isinstance(function, partial) else getattr(function, "__module__", None)


def _descriptions(root: object, own: Collection[str | None]) -> Iterator[str]:
    """Describe `root` and all that it leads to; `own`: the modules whose functions and classes count by their code."""
    queue = [root]  # keeps temporary objects alive too, so that an address means one thing
    numbers: dict[int, int] = {}

    def reference(value: object) -> str:
        if not _has_parts(value, own):
            cls = type(value)
            return f"{reference(cls)} {_text(value)}" if cls.__module__ in own else _text(value)
        number = len(queue) if isinstance(value, tuple) else numbers.setdefault(id(value), len(queue))
        if number == len(queue):
            queue.append(value)
        return f"#{number}"

    for value in queue:  # grows meanwhile
        yield _joined(value, map(reference, _by_type(_PARTS, value, _no_parts)(value)))


def _has_parts(value: object, own: Collection[str | None]) -> bool:
    if isinstance(value, FunctionType | type):
        return value.__module__ in own
    return _by_type(_PARTS, value, _no_parts) is not _no_parts


def _by_type(table: Mapping[type, _T], value: object, default: _T) -> _T:
    cls = type(value)
    return table[cls] if cls in table else next((table[base] for base in cls.__mro__ if base in table), default)


def _joined(value: object, parts: Iterable[str]) -> str:
    """Join the type of `value` and its parts so that different ones never join to the same text."""
    return f"({_qualified(type(value))}{''.join([f' {len(part)}:{part}' for part in parts])})"


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


# ---- what has parts ------------------------------------------------------------------------------------------------

_UNSAID = {  # entries of a class that say where it stands, or that Python adds
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__msgspec_cache__",
    "__static_attributes__",
    "__weakref__",
}


def _no_parts(_: Any) -> Iterator[object]:
    return iter(())


def _function_parts(function: FunctionType) -> Iterator[object]:
    yield function.__code__
    yield function.__defaults__
    yield function.__kwdefaults__
    yield function.__closure__
    known, names = function.__globals__, dict.fromkeys(_names(function.__code__))
    settle(known, names)
    for name in names:
        if name in known and (callable(known[name]) or isinstance(known[name], ModuleType)):
            yield known[name]


def _names(code: CodeType) -> Iterator[str]:
    """Name whatever the code, or code inside it, might look up as a global."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _class_parts(cls: type) -> Iterator[object]:
    yield cls.__qualname__
    yield from cls.__bases__
    for name, member in vars(cls).items():
        if name not in _UNSAID:
            yield name
            yield member


def _cell_parts(cell: CellType) -> Iterator[object]:
    try:
        yield cell.cell_contents
    except ValueError:  # its variable has no value yet
        return


def _dict_parts(entries: dict[object, object]) -> Iterator[object]:
    for key, value in sorted([(_text(key), value) for key, value in entries.items()], key=lambda entry: entry[0]):
        yield key
        yield value


_PARTS: dict[type, Callable[[Any], Iterator[object]]] = {
    tuple: iter,
    list: iter,
    dict: _dict_parts,
    CodeType: code_parts,
    FunctionType: _function_parts,
    CellType: _cell_parts,
    type: _class_parts,
    MethodType: lambda method: iter((method.__func__, method.__self__)),
    partial: lambda call: iter((call.func, call.args, call.keywords)),
    type(cache(repr)): lambda cached: iter((cached.__wrapped__,)),
    staticmethod: lambda method: iter((method.__func__,)),
    classmethod: lambda method: iter((method.__func__,)),
    property: lambda accessors: iter((accessors.fget, accessors.fset, accessors.fdel)),
}


# ---- what is described in place ------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """Describe a value by its type, and by what it says itself where that is the same everywhere."""
    return _joined(value, _by_type(_TEXTS, value, _no_texts)(value))


def _no_texts(_: Any) -> list[str]:
    return []


_TEXTS: dict[type, Callable[[Any], list[str]]] = {
    int: lambda value: [hex(value)],
    float: lambda value: [float.hex(value)],
    complex: lambda value: [complex.__repr__(value)],
    str: lambda value: [str.__str__(value)],
    bytes: lambda value: [bytes.hex(value)],
    range: lambda value: [range.__repr__(value)],
    Decimal: lambda value: [Decimal.__str__(value)],
    date: lambda value: [date.isoformat(value)],
    datetime: lambda value: [datetime.isoformat(value)],
    time: lambda value: [time.isoformat(value)],
    timedelta: lambda value: [timedelta.__repr__(value)],
    Enum: lambda member: [str(member.name)],
    ModuleType: lambda module: [module.__name__],
    BuiltinFunctionType: lambda function: [_qualified(function)],
    FunctionType: lambda function: [_qualified(function)],
    type: lambda cls: [_qualified(cls)],
    tuple: lambda items: [_text(item) for item in items],
    set: lambda items: sorted([_text(item) for item in items]),
    frozenset: lambda items: sorted([_text(item) for item in items]),
}
