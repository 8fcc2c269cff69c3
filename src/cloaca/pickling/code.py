"""Code of functions: what wraps them, which names it uses, how it travels (marshalled, once for all of it)."""

import marshal
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache, partial
from opcode import EXTENDED_ARG, opmap
from types import CodeType, MethodType
from typing import Any, TypeVar

from cloaca.pickling.loading import load_code

_T = TypeVar("_T")

PartsByType = Mapping[type, Callable[[Any], Iterable[object]]]
"""What values have for their parts, by their type."""

WRAPPERS: PartsByType = {
    MethodType: lambda method: (method.__func__, method.__self__),
    partial: lambda call: (call.func, call.args, call.keywords),
    type(cache(repr)): lambda cached: (cached.__wrapped__,),
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda accessors: (accessors.fget, accessors.fset, accessors.fdel),
}
"""What leads to functions, and what these consist of."""

_PLAIN = 2
"""The newest version of the format whose bytes don't depend on who else refers to a constant. It lacks slices."""

_OF_GLOBALS = {
    opmap[name]: int(name == "LOAD_GLOBAL")
    for name in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    if name in opmap
}
"""The instructions that name a global, and by how many bits the name's place is shifted there.

The last two stand in the body of a class, and in the code of its annotations (since Python 3.12).
"""


def wrapped_in(value: object) -> Iterable[object]:
    """What a wrapper of functions consists of; nothing, where it is none."""
    return by_type(WRAPPERS, value, nothing)(value)


def by_type(table: Mapping[type, _T], value: object, default: _T) -> _T:
    """What the table has for the type of a value, or for one that it inherits from."""
    cls = type(value)
    return table[cls] if cls in table else next((table[base] for base in cls.__mro__ if base in table), default)


def nothing(_: object) -> tuple[()]:
    """The parts of what has none."""
    return ()


@lru_cache
def global_names(code: CodeType) -> tuple[str, ...]:
    """The names of the globals that code may use, that of inner functions and classes included, in a fixed order."""
    return tuple(dict.fromkeys([name for one in codes_in(code) if one.co_names for name in _globals_named(one)]))


def _globals_named(code: CodeType) -> Iterator[str]:
    """As `dis` tells it, in a twentieth of the time. What the interpreter keeps between instructions reads as zeros."""
    names, steps, wide = code.co_names, code.co_code, 0
    for instruction, argument in zip(steps[::2], steps[1::2], strict=True):
        if instruction == EXTENDED_ARG:
            wide = (wide | argument) << 8
            continue
        if instruction in _OF_GLOBALS:
            yield names[(wide | argument) >> _OF_GLOBALS[instruction]]
        wide = 0


@lru_cache
def attribute_names(code: CodeType) -> frozenset[str]:
    """All names that code mentions, of attributes as well as of globals."""
    return frozenset([name for one in codes_in(code) for name in one.co_names])


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Code as its bytes. cloudpickle would hide where it stands: a traceback couldn't show the user's lines."""
    return load_code, (_marshalled(code, code.co_filename, code.co_qualname),)


@lru_cache
def _marshalled(code: CodeType, *_: str) -> bytes:
    """Equal code may stand in different files."""
    try:
        return marshal.dumps(code, _PLAIN)
    except ValueError:
        return marshal.dumps(code)


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """The code itself, and all that stands inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)
