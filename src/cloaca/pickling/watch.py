"""Whether anything that a function captures may have changed since it was pickled.

Remembered are the identities of everything that a by-value function takes along, by-value functions that it calls
included, provided that each is something that can't change inside: an immutable atom, a module, or what travels by
reference. With anything else among them there is nothing to watch: the function has to be pickled to know.
The watch keeps what it has seen alive, so an identity can't come to mean another object.
"""

import gc
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sized
from itertools import chain
from operator import attrgetter, eq, is_
from types import BuiltinFunctionType, FunctionType, GenericAlias, MethodType, ModuleType, UnionType
from typing import Any, get_args, get_origin

from msgspec import Struct, field

from cloaca.pickling.code import global_names
from cloaca.pickling.hints import are_readable
from cloaca.pickling.homes import home
from cloaca.pickling.modules import by_reference
from cloaca.pickling.reductions import is_shared

ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})
ABSENT = object()
_OF_FUNCTION = (
    *("__code__", "__defaults__", "__kwdefaults__", "__annotations__"),
    *("__name__", "__qualname__", "__module__", "__doc__", "__dict__"),
)
_of_function = attrgetter(*_OF_FUNCTION)


class Watch(Struct):
    """What functions captured: attributes of these and of others, and entries of dicts, as they were."""

    functions: list[FunctionType] = field(default_factory=list)
    held: list[object] = field(default_factory=list)
    owners: list[object] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    attributes: list[object] = field(default_factory=list)
    lookups: list[Callable[[str, object], Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    entries: list[object] = field(default_factory=list)
    sized: list[Sized] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    modules: int = field(default_factory=lambda: len(sys.modules))  # submodules in use are captured too

    def unchanged(self) -> bool:
        """Whether all of it still is the same."""
        try:
            return (
                all(
                    look(key, ABSENT) is entry
                    for look, key, entry in zip(self.lookups, self.keys, self.entries, strict=True)
                )
                and all(map(is_, chain.from_iterable(map(_of_function, self.functions)), self.held))
                and all(map(is_, map(getattr, self.owners, self.names), self.attributes))
                and all(map(eq, map(len, self.sized), self.sizes))
                and self.modules == len(sys.modules)
            )
        except ValueError:  # a closure cell that has been emptied
            return False

    def function(self, function: FunctionType) -> tuple[Any, ...]:
        """What it holds by itself, in the order of `_OF_FUNCTION`."""
        held: tuple[Any, ...] = _of_function(function)
        self.functions.append(function)
        self.held += held
        return held

    def attribute(self, owner: object, name: str) -> Any:
        value = getattr(owner, name)
        self.owners.append(owner)
        self.names.append(name)
        self.attributes.append(value)
        return value

    def size(self, collection: Sized) -> None:
        self.sized.append(collection)
        self.sizes.append(len(collection))

    def entry(self, mapping: Mapping[str, Any], key: str) -> Any:
        value = mapping.get(key, ABSENT)
        self.lookups.append(mapping.get)
        self.keys.append(key)
        self.entries.append(value)
        return value


def is_watched(function: object, watch: Watch, asked: Collection[int] = ()) -> bool:
    """Put what a function captures under watch. `False` if something among it may change unseen.

    `asked`: the `id` of values that were asked for by themselves.
    """
    return _Survey(watch, asked).stable(function)


class _Survey:
    """Walks through what a function captures, and puts it under watch."""

    def __init__(self, watch: Watch, asked: Collection[int]) -> None:
        self.watch = watch
        self._asked = asked
        self._seen: set[int] = set()

    def stable(self, value: object) -> bool:
        kind = type(value)
        if kind in ATOMS or id(value) in self._asked or kind is object or value is os.environ:
            return True
        match value:
            case FunctionType():
                return self.stable_function(value)
            case type():
                return self.by_reference(value)
            case BuiltinFunctionType():
                return type(value.__self__) is ModuleType or is_shared(value.__self__)
            case MethodType():
                return is_shared(value.__self__)
            case ModuleType():
                return by_reference(value)
            case GenericAlias() | UnionType():
                return all(map(self.stable, (get_origin(value), *get_args(value))))
            case tuple() if kind is tuple:
                return all(map(self.stable, value))
            case _:
                return False

    def by_reference(self, value: "FunctionType | type") -> bool:
        module = sys.modules.get(value.__module__)
        if module is None or not by_reference(value):
            return False
        return self.watch.entry(vars(module), value.__qualname__) is value

    def stable_function(self, function: FunctionType) -> bool:
        if id(function) in self._seen:
            return True
        self._seen.add(id(function))
        return self.by_reference(function) or all(map(self.stable, self.taken_along(function)))

    def taken_along(self, function: FunctionType) -> list[object]:
        cells = function.__closure__ or ()
        own = function.__dict__
        if own or not all(map(gc.get_referents, cells)) or not are_readable(function):
            return [own]  # a dict: not stable
        code, defaults, keywords, annotations, *_ = self.watch.function(function)
        variables = [self.watch.entry(function.__globals__, name) for name in global_names(code)]
        self.watch.size(own)
        return [
            *(defaults or ()),
            *[self.watch.attribute(cell, "cell_contents") for cell in cells],
            *self.entries(keywords or {}),
            *(variables if home(function) is None else ()),
            *self.entries(annotations),
        ]

    def entries(self, mapping: dict[str, Any]) -> list[object]:
        self.watch.size(mapping)
        return [self.watch.entry(mapping, key) for key in mapping]
