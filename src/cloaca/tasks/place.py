"""Where a function stands in its source, as messages tell it."""

import inspect
import os
from collections.abc import Callable
from functools import lru_cache, partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from cloaca.wire.text import encodable


def place_of(function: Callable[..., Any], directory: str = "") -> str:
    """The file and line of a function, `sales.py:12`; "" for one that has no Python code.

    Files under `directory` are named from there.
    """
    if isinstance(function, type):
        return _place_of_class(function, directory)
    if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
        function = innermost(function)
    code = getattr(function, "__code__", None)
    return "" if code is None else _place(code, directory)


def file_and_line_of(function: Callable[..., Any]) -> tuple[str, int]:
    """The file and the number of a function's first line, for a warning; names none where there is no Python code."""
    code = getattr(innermost(function), "__code__", None)
    return ("<unknown>", 0) if code is None else (code.co_filename, code.co_firstlineno)


def _place_of_class(cls: type, directory: str) -> str:
    """Where a class is defined: its constructor may be one that a decorator has made."""
    try:
        file, (_, line) = inspect.getsourcefile(cls), inspect.findsource(cls)
    except (OSError, TypeError):
        return ""
    return encodable(shortened(f"{file}:{line + 1}", directory))


@lru_cache(maxsize=1024)
def _place(code: CodeType, directory: str) -> str:
    return encodable(shortened(f"{code.co_filename}:{code.co_firstlineno}", directory))


def working_directory() -> str:
    """Where the program is: what files are named from. "" where that folder was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def shortened(place: str, directory: str) -> str:
    """A file and line, named from `directory` where it is under that."""
    return place.removeprefix(os.path.join(directory, "")) if directory else place


def innermost(function: Any) -> Any:
    """What runs in the end: beneath partials, methods, decorators, or the `__call__` of an object."""
    while isinstance(function, partial | MethodType) or hasattr(function, "__wrapped__"):
        if isinstance(function, partial):
            function = function.func
        else:
            function = function.__func__ if isinstance(function, MethodType) else inspect.unwrap(function)
    return function if hasattr(function, "__code__") else inspect.getattr_static(type(function), "__call__", None)
