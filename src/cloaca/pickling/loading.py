"""Functions out of pickles: all that a process needs which only calls them.

What writes them (see `pickling/functions` and `pickling/homes`) takes many times as long to load, and most workers
never write any.
"""

import builtins
import marshal
import pickle
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from io import BytesIO
from sys import intern
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from cloaca.lasting import lasting

Held = tuple[dict[str, Any], tuple[Any, ...], dict[str, Any], dict[str, Any], tuple[ModuleType, ...]]
"""What a function is told: globals, contents of its cells, what it has by itself, attributes, modules to be loaded."""

OF_MODULE = ("__name__", "__package__", "__file__", "__path__")
"""What functions that are made know of the module that they stand in."""


class Sharing(partial[Any]):
    """A function with what all calls of it share, by the names of its parameters. Nobody is warned of that."""


def load(
    blob: bytes | memoryview, head: bytes | memoryview = b"", buffers: Iterable[bytes | memoryview] = ()
) -> Callable[..., Any]:
    """The function of a blob that goes on from that head, with the buffers that went apart, in their order.

    Raises whatever importing what it refers to raises.
    """
    function: Callable[..., Any]
    if head:
        unpickler = pickle.Unpickler(BytesIO(b"".join([head, blob])), buffers=buffers)
        unpickler.load()
        function = unpickler.load()
    else:
        function = pickle.loads(blob, buffers=buffers)
    return function


@lasting
class Empty:
    """Stands for what is in a cell that is empty, or will be told later."""


@lasting
@lru_cache
def load_code(marshalled: bytes) -> CodeType:
    """The code of these bytes: functions that share it do so here, too."""
    code: CodeType = marshal.loads(marshalled)  # noqa: S302 - in a pickle, which could run anything as well
    return code


@lasting
def make_function(code: CodeType, variables: dict[str, Any], cells: int) -> FunctionType:
    """A function that is still to be told what it holds."""
    return FunctionType(code, variables, None, None, tuple([CellType() for _ in range(cells)]) or None)


@lasting
def make_variables(*values: Any) -> dict[str, Any]:
    """Globals for functions to be made with. A process may have thousands of them: they share their texts."""
    made = {
        name: intern(value) if type(value) is str else value
        for name, value in zip(OF_MODULE, values)  # noqa: B905 - those at the end may be missing
        if value is not Empty
    }
    made["__builtins__"] = vars(builtins)
    return made


@lasting
def tell_function(function: FunctionType, told: Held) -> None:
    """Tell a function what it holds, or a part of it."""
    used, contents, own, attributes, _ = told
    variables = function.__globals__
    if used:
        variables.update(used)
    if "__builtins__" not in variables:
        variables["__builtins__"] = vars(builtins)
    if contents:
        for cell, content in zip(function.__closure__ or (), contents, strict=True):
            if content is not Empty:
                cell.cell_contents = content
    for name, value in own.items():
        setattr(function, name, value)
    if attributes:
        function.__dict__.update(attributes)


MAKERS = (make_function, make_variables, tell_function)
