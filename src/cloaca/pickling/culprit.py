"""Which part of a value can't be pickled, and the way to it.

From the value down: of what an object is pickled as, in that order, the first child that fails by itself is the next
step; where no child fails, the object itself is at fault. What lies on the way already is cut out of every trial, so
cycles neither trap the search nor blame a child for what it only points back to. One pickler tries all children of an
object, so that what they share is tried once. The way is at most `MAX_STEPS` long.
"""

import functools
import gc
import pickle
import reprlib
from collections.abc import Iterable, Iterator
from types import BuiltinMethodType, CellType, FunctionType, MethodType, MethodWrapperType
from typing import Any

from msgspec import Struct

from cloaca.pickling.classes import DefinitionPickler
from cloaca.pickling.code import global_names
from cloaca.pickling.hints import unresolved
from cloaca.pickling.homes import home
from cloaca.pickling.layouts import layout
from cloaca.pickling.reductions import DESCRIPTORS, is_dispatcher, parts_of_descriptor

MAX_STEPS = 100
TOO_DEEP = "it is nested too deeply for pickle: a flat list of its parts can be sent"

Child = tuple[str, object, object]  # a format, what to fill it with, and the child: text is made for the culprit only


class Culprit(Struct, frozen=True):
    """`path` leads to the object at fault, `type_name` is its type, `reason` what pickling it raised."""

    path: str
    type_name: str
    reason: str


def find(value: object, name: str, error: Exception) -> Culprit:
    """The culprit in a value whose pickling raised `error`; `name` is what the path starts with."""
    if isinstance(error, RecursionError):
        return Culprit(name, type_name(value), TOO_DEEP)
    path, way = name, [value]
    while len(way) <= MAX_STEPS and (step := _first_failing(way)):
        (form, part, child), error = step
        path += form.format(part)
        way.append(child)
    return Culprit(path, type_name(way[-1]), _reason(error))


def type_name(value: object) -> str:
    """The type's name as a reader would look for it: `list`, `_thread.lock`, `shop.Basket`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def captured(function: FunctionType) -> dict[str, object]:
    """The variables that a function takes with it: globals, closure cells and defaults, each by its name."""
    code, namespace = function.__code__, function.__globals__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    positional, defaults = code.co_varnames[: code.co_argcount], function.__defaults__ or ()
    names = global_names(code) if home(function) is None else ()
    return {
        **{name: namespace[name] for name in names if name in namespace},
        **{name: cell.cell_contents for name, cell in cells if gc.get_referents(cell)},  # an empty cell has none
        **dict(zip(reversed(positional), reversed(defaults), strict=False)),
        **(function.__kwdefaults__ or {}),
    }


def _first_failing(way: list[object]) -> tuple[Child, Exception] | None:
    trial = _Trial(way)
    try:
        tried = ((child, trial.failure(child[-1])) for child in _children(way[-1], trial))
        return next(((child, error) for child, error in tried if error is not None), None)
    except Exception:  # noqa: BLE001 - the object's own `__reduce__` or `__getstate__` raises: it is the culprit
        return None


class _Sink:
    def write(self, data: bytes, /) -> int:
        return len(data)


class _Trial(DefinitionPickler):
    """Pickles to nowhere. What is on the way already counts as pickled."""

    def __init__(self, way: list[object]) -> None:
        super().__init__(_Sink(), unresolved)
        self._way = {id(step) for step in way}
        self.rest()  # all is tried at once

    def persistent_id(self, obj: object) -> str | None:
        return "on the way" if id(obj) in self._way else None

    def failure(self, value: object) -> Exception | None:
        try:
            self.dump(value)
        except Exception as error:  # noqa: BLE001 - whatever a user's own code raises is what is looked for
            return error
        return None

    def reduction(self, value: object) -> Any:
        reduced = self.reducer_override(value)
        if reduced is not NotImplemented:
            return reduced
        reducer = self.dispatch_table.get(type(value))
        return reducer(value) if reducer else value.__reduce_ex__(5)


def _children(value: object, trial: _Trial) -> Iterator[Child]:
    kind = type(value)
    match value:
        case dict() if kind is dict:
            yield from _items(value.items())
        case list() | tuple() | set() | frozenset() if kind in {list, tuple, set, frozenset}:
            yield from _elements(value)
        case FunctionType() if not is_dispatcher(value):
            yield from ((" uses {}", name, child) for name, child in captured(value).items())
            yield from _attributes(vars(value))
        case type():
            yield from ((".__bases__[{}]", index, base) for index, base in enumerate(value.__bases__))
            yield from _attributes(layout(value, unresolved)[2])
        case _ if isinstance(value, tuple(DESCRIPTORS)):
            yield from _attributes(parts_of_descriptor(value)[1] | getattr(value, "__dict__", {}))
        case functools.partial():
            yield from _attributes({"func": value.func, "args": value.args, "keywords": value.keywords})
            yield from _attributes(vars(value))
        case MethodType():
            yield from _attributes({"__func__": value.__func__, "__self__": value.__self__})
        case _:
            yield from _parts(value, trial.reduction(value))


def _parts(value: object, reduced: Any) -> Iterator[Child]:
    """The children of an object as `__reduce_ex__` gives them."""
    if isinstance(reduced, str):
        return
    fields: list[Any] = [*reduced[1:], None, None, None]
    arguments, state, listed, mapped = fields[:4]
    for index, argument in enumerate(arguments):
        yield _argument(value, index, argument)
    match state:
        case dict():
            yield from _attributes(state)
        case (dict() | None as plain, dict() as slotted):
            yield from _attributes((plain or {}) | slotted)
        case None:
            pass
        case _:
            yield ".__getstate__(){}", "", state
    yield from _elements(listed or ())
    yield from _items(mapped or ())


def _argument(value: object, index: int, argument: object) -> Child:
    match value:
        case _ if argument is type(value):
            return ".__class__{}", "", argument
        case BaseException(args=args) if found := [at for at, one in enumerate(args) if one is argument]:
            return ".args[{}]", found[0], argument
        case FunctionType() | functools._lru_cache_wrapper() if argument is vars(value).get("__wrapped__"):
            return ".__wrapped__{}", "", argument
        case BuiltinMethodType() | MethodWrapperType() if argument is value.__self__:
            return ".__self__{}", "", argument
        case CellType():
            return ".cell_contents{}", "", argument
        case _:
            return ".__reduce__()[1][{}]", index, argument


def _attributes(attributes: dict[Any, object]) -> Iterator[Child]:
    return ((".{}", name, child) for name, child in attributes.items())


def _elements(elements: Iterable[object]) -> Iterator[Child]:
    return (("[{}]", index, child) for index, child in enumerate(elements))


def _items(items: Iterable[tuple[object, object]]) -> Iterator[Child]:
    for key, child in items:
        yield " key {}", reprlib.repr(key), key
        yield "[{}]", reprlib.repr(key), child


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if isinstance(error, (TypeError, pickle.PicklingError)) else f"{type(error).__name__}: {text}"
