"""Objects made bare: without a call of a `__new__` or `__init__` that the program has written."""

from collections.abc import Callable
from types import BuiltinMethodType, FunctionType
from typing import Any

from cloaca.lasting import lasting

_MAKING = ("__new__", "__reduce__", "__reduce_ex__")
_FILLED: tuple[type, ...] = (list, dict)


def native_base(kind: type) -> type:
    """The class behind another one that makes its instances in C."""
    return next(base for base in kind.__mro__ if type(vars(base).get("__new__")) is BuiltinMethodType)


def given_to(base: Any, value: object) -> tuple[Any, ...]:
    """What `__new__` of the native base takes to make such an instance, as the text of a `str`."""
    if base is object or base in _FILLED:
        return ()
    return tuple(base.__getnewargs__(value) if hasattr(base, "__getnewargs__") else base.__reduce__(value)[1])


def is_in_python(cls: type, name: str) -> bool:
    """Whether a method is written in Python."""
    return type(getattr(cls, name, None)) is FunctionType


def reduce_bare(value: Any) -> Any:
    """An instance as what it consists of, where its class has a way of its own to make or find it; otherwise `None`.

    A class's own constants are what such ways lead to: a `__new__` that returns the only instance, a `__reduce__` that
    looks in a table of the class.
    """
    kind = type(value)
    if not any(is_in_python(kind, name) for name in _MAKING):
        return None
    base: Any = native_base(kind)
    if base is not object and base not in _FILLED and not hasattr(base, "__getnewargs__"):
        return None
    elements = list.__iter__(value) if base is list else None
    items = iter(dict.items(value)) if base is dict else None
    return base.__new__, (kind, *given_to(base, value)), value.__getstate__(), elements, items


@lasting
def make_native(kind: Any, base: Any, *arguments: Any) -> Any:
    """An instance, made by a class behind its own that is written in C."""
    made = base.__new__(kind, *arguments)
    base.__init__(made, *arguments)
    return made


class AsCall:
    """Pickles as a call, which is made where it stands in the stream."""

    def __init__(self, function: Callable[..., object], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call
