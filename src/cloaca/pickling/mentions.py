"""The strings that the code of a function mentions: they may be keys of the context."""

import gc
import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import _lru_cache_wrapper, lru_cache, partial
from types import CodeType, FunctionType, MethodType, ModuleType

from cloaca.wire.text import is_encodable

MANY = 1000
"""How many strings of a list are taken for keys at most."""

_WITHOUT = (int, float, dict, ModuleType, type(None))


def strings_in(value: object) -> Iterator[str]:
    """The strings of a function, through partials, methods and the functions that a decorator closed over."""
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if is_encodable(one):
                yield one
        elif may_lead_to_strings(one) and id(one) not in seen:
            seen.add(id(one))
            waiting += reversed(_parts(one))


def may_lead_to_strings(value: object) -> bool:
    """Whether it is one, or may hold any that are told."""
    return not isinstance(value, _WITHOUT)


def _parts(value: object) -> Sequence[object]:
    match value:
        case FunctionType():
            return *texts(value.__code__), *held(value)
        case CodeType():
            return texts(value)
        case partial():
            return value.func, value.args, *value.keywords.values()
        case MethodType():
            return (value.__func__,)
        case _lru_cache_wrapper():
            return (value.__wrapped__,)
        case tuple():
            return value
        case list() if len(value) <= MANY:
            return value
        case _:
            return ()


def held(function: FunctionType) -> tuple[object, ...]:
    """What a function holds for itself, one after the other: defaults, and the contents of its closure cells.

    Cells that are empty are left out.
    """
    keywords = function.__kwdefaults__
    return (
        *(function.__defaults__ or ()),
        *(keywords.values() if keywords else ()),
        *gc.get_referents(*(function.__closure__ or ())),
    )


@lru_cache
def texts(code: CodeType) -> tuple[str, ...]:
    """The strings of the code, but for its docstring, each once: many functions share one code."""
    return tuple(dict.fromkeys(strings_in(code.co_consts[_documented(code) :])))


def _documented(code: CodeType) -> bool:
    """Whether the first constant is a docstring."""
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & inspect.CO_HAS_DOCSTRING)
    of_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")
    return bool(of_function and code.co_consts and isinstance(code.co_consts[0], str))
