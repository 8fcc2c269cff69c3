"""Numbers of classes that aren't built in, as NumPy's scalars are, as the built-in ones."""

import sys
from contextlib import suppress
from operator import index
from typing import Any


def plain(value: Any, kind: Any) -> Any:
    """The number as an `int`, `float` or `bool`, where that is the `kind` and nothing is lost; else the value."""
    if type(value).__module__ == "builtins":
        return value
    if _is_of_numpy(value, "bool_"):  # before NumPy 2 it was an index, too
        return bool(value) if kind is bool else value
    if kind is float and _is_of_numpy(value, "floating"):
        return float(value)
    if kind in (int, float) and hasattr(value, "__index__"):
        with suppress(TypeError):  # arrays have the method too
            return kind(index(value))
    return value


def _is_of_numpy(value: Any, name: str) -> bool:
    """Whether it is an instance of that class of NumPy, which is there already if it is."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, name, ()))
