"""Callee: what a callable calls in the end."""

import inspect
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

DEEPEST: Final = 100
"""How many callables around a function are looked through."""


def called_by(function: Any) -> tuple[Any, int]:
    """What a callable calls, and how many arguments it gives before those that it is given; nothing for a function.

    As Python calls it: what a decorator says of the function that it wraps doesn't count.
    """
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
