"""Where a function stands in its source, as messages tell it."""

import inspect
import os
from collections.abc import Callable
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType
from typing import Any


def place_of(function: Callable[..., Any], directory: str = "") -> str:
    """The file and line of a function, `sales.py:12`; "" for one that has no Python code.

    Files under `directory` are named from there.
    """
    if type(function) is not FunctionType or "__wrapped__" in function.__dict__:
        function = innermost(function)
    code = getattr(function, "__code__", None)
    return "" if code is None else _place(code, directory)


@lru_cache(maxsize=1024)
def _place(code: CodeType, directory: str) -> str:
    return f"{code.co_filename.removeprefix(os.path.join(directory, ''))}:{code.co_firstlineno}"  # noqa: PTH118


def innermost(function: Any) -> Any:
    """What runs in the end: beneath partials, methods, decorators, or the `__call__` of an object."""
    while isinstance(function, partial | MethodType):
        function = function.func if isinstance(function, partial) else function.__func__
    function = inspect.unwrap(function)
    return function if hasattr(function, "__code__") else inspect.getattr_static(type(function), "__call__", None)
