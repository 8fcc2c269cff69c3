"""What values say of themselves, the same in every process of one Python minor version.

Whatever the hash seed, the addresses of objects, the name of the file and the lines on which things stand. Of a value
that has no text of its own that is the same everywhere, only the type counts.

How: what has parts gets a number when it is met, and is described later, from a queue, by the numbers of its parts; all
else is described in place (`_TEXTS`). So cycles end, what is shared is described once, and long chains of calls don't
recurse. A tuple gets a number of its own each time: whether equal constants are one object depends on how the module
was loaded.
"""

import dis
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

from cloaca.pickling.code import WRAPPERS, PartsByType, by_type, nothing
from cloaca.pickling.modules import SCRIPTS

UNSAID = frozenset(
    {
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
)
"""Entries of a class that say where it stands, or that Python adds."""


STATED = ("__slots__", "__match_args__", "__struct_encode_fields__", "__struct_defaults__")
"""Attributes that belong to the definition of a class, where it has them."""


def digest(root: object, parts: PartsByType, is_own: Callable[[Any], bool]) -> str:
    """The hash, 16 hex digits, of a value and all that it leads to.

    `is_own` says which functions and classes count by their parts; the others count by name.
    """
    from hashlib import blake2b  # loads OpenSSL's library

    found = blake2b(digest_size=8)
    for description in _descriptions(root, parts, is_own):
        found.update(description.encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _descriptions(root: object, parts: PartsByType, is_own: Callable[[Any], bool]) -> Iterator[str]:
    queue = [root]  # keeps temporary objects alive too, so that an address means one thing
    numbers: dict[int, int] = {}

    def has_parts(value: object) -> bool:
        if isinstance(value, FunctionType | type):
            return is_own(value)
        return by_type(parts, value, nothing) is not nothing

    def reference(value: object) -> str:
        if not has_parts(value):
            cls = type(value)
            return f"{reference(cls)} {_text(value)}" if is_own(cls) else _text(value)
        number = len(queue) if isinstance(value, tuple) else numbers.setdefault(id(value), len(queue))
        if number == len(queue):
            queue.append(value)
        return f"#{number}"

    for value in queue:  # grows meanwhile
        yield _joined(value, map(reference, by_type(parts, value, nothing)(value)))


def _joined(value: object, parts: Iterable[str]) -> str:
    """Join the type of `value` and its parts so that different ones never join to the same text."""
    return f"({qualified(type(value))}{''.join([f' {len(part)}:{part}' for part in parts])})"


def qualified(thing: Any) -> str:
    """The name of a class or function, with its module."""
    return f"{module_of(thing)}.{thing.__qualname__}"


def module_of(thing: Any) -> str:
    """The module that a class or function says it is of. A script that `multiprocessing` has spawned is the script."""
    return "__main__" if thing.__module__ in SCRIPTS else thing.__module__


def _code_parts(code: CodeType) -> Iterator[object]:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield repr((counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
    yield code.co_exceptiontable
    if "__firstlineno__" in code.co_names:
        yield from _class_body(code)
    else:
        yield code.co_code
        yield from code.co_consts


def _class_body(code: CodeType) -> Iterator[object]:
    """Give the steps of a class body but for its line: since Python 3.13 that is a constant, which may shift others."""
    steps = list(dis.get_instructions(code))
    for step, following in pairwise(steps):
        if following.argval != "__firstlineno__":
            yield step.opname
            yield step.argval if step.opcode in dis.hasconst else step.arg


def cell_parts(cell: CellType) -> Iterator[object]:
    """What is in a cell."""
    try:
        yield cell.cell_contents
    except ValueError:  # its variable has no value yet
        return


def dict_parts(entries: Mapping[Any, object]) -> Iterator[object]:
    """Keys and values, in the order of keys."""
    for key, value in sorted([(_text(key), value) for key, value in entries.items()], key=lambda entry: entry[0]):
        yield key
        yield value


WRAPPED: PartsByType = {
    CodeType: _code_parts,
    tuple: iter,
    **WRAPPERS,
}
"""What leads to functions, and what these consist of."""


# ---- what is described in place ------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """Describe a value by its type, and by what it says itself where that is the same everywhere."""
    return _joined(value, by_type(_TEXTS, value, nothing)(value))


_TEXTS: dict[type, Callable[[Any], Iterable[str]]] = {
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
    BuiltinFunctionType: lambda function: [qualified(function)],
    FunctionType: lambda function: [qualified(function)],
    type: lambda cls: [qualified(cls)],
    tuple: lambda items: [_text(item) for item in items],
    set: lambda items: sorted([_text(item) for item in items]),
    frozenset: lambda items: sorted([_text(item) for item in items]),
}
