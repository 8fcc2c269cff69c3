"""Whether anything that a function captures, or the definition of a class consists of, may have changed since.

Remembered are the identities of everything that a by-value function takes along, by-value functions that it calls
included: what its globals and attributes are, and what each object among them refers to that could be changed. With
that, an object is the same as before if it is an immutable atom, a module, or what travels by reference; or one that
is pickled as nothing but what it refers to: a list, a class of the script, an instance of one. With anything else among
them (an array, a generator) there is nothing to watch: the function has to be pickled to know.
The watch keeps what it has seen alive, so an identity can't come to mean another object.
"""

import builtins
import copyreg
import gc
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from enum import Enum, Flag
from functools import cached_property, partial
from inspect import ArgInfo
from itertools import chain
from operator import eq, is_
from types import (
    BuiltinFunctionType,
    CellType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any, ForwardRef, get_args, get_origin

from msgspec import Struct, field

from cloaca.pickling.bare import native_base
from cloaca.pickling.code import global_names
from cloaca.pickling.definitions import copies
from cloaca.pickling.hints import are_readable, is_plain, mentions_text, written
from cloaca.pickling.homes import home
from cloaca.pickling.layouts import OF_PYTHON, subscripted
from cloaca.pickling.markers import reduce_plain_object
from cloaca.pickling.modules import by_reference
from cloaca.pickling.reductions import BY_TYPE, is_shared
from cloaca.pickling.referents import referents

ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})
ABSENT = object()

MOST = 10_000
"""How many objects are looked at: of more, it is quicker to pickle them."""

_HOLDERS = frozenset(
    {dict, list, set, frozenset, CellType, MappingProxyType, partial, property, staticmethod, classmethod}
    | {type(vars(ArgInfo)["args"]), type(vars(Enum)["name"]), cached_property}
    | {vars(builtins).get("frozendict", dict)}  # since Python 3.15
)
"""What is pickled as what it refers to."""

_MODULES = ("dataclasses", "typing")
"""Modules whose objects are, too: fields of dataclasses, types."""

_FIXED = frozenset(
    {ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType, WrapperDescriptorType}
    | {CodeType, range, re.Pattern}
    | {vars(builtins).get("sentinel", CodeType)}  # since Python 3.15
)

_DEFAULTS = ("__reduce_ex__", "__reduce__", "__getstate__", "__getattribute__")
"""What of an object's class tells how it is pickled."""

_NAME = re.compile(r"[^\W\d][\w.]*")
_END = (object(),)


class Watch(Struct):
    """What functions captured: what these refer to, attributes of others, and entries of dicts, as they were."""

    functions: list[FunctionType] = field(default_factory=list)
    held: list[object] = field(default_factory=list)
    owners: list[object] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    attributes: list[object] = field(default_factory=list)
    lookups: list[Callable[[str, object], Any]] = field(default_factory=list)
    looked_up: set[tuple[int, str]] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    entries: list[object] = field(default_factory=list)
    sized: list[Sized] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    holders: list[object] = field(default_factory=list)
    referents: list[object] = field(default_factory=list)
    dicts: list[dict[Any, Any]] = field(default_factory=list)
    dict_keys: list[object] = field(default_factory=list)
    untold: list[dict[Any, Any]] = field(default_factory=list)  # of which the collector tells nothing
    untold_values: list[object] = field(default_factory=list)
    modules: int = field(default_factory=lambda: len(sys.modules))  # submodules in use are captured too

    def unchanged(self) -> bool:
        """Whether all of it still is the same."""
        try:
            return (
                all(
                    look(key, ABSENT) is entry
                    for look, key, entry in zip(self.lookups, self.keys, self.entries, strict=True)
                )
                and _are_the_same(gc.get_referents(*self.functions), self.held)
                and all(map(is_, map(getattr, self.owners, self.names), self.attributes))
                and all(map(eq, map(len, self.sized), self.sizes))
                and self.modules == len(sys.modules)
                and (not self.holders or self._hold_the_same())
            )
        except (ValueError, RuntimeError):  # a closure cell that has been emptied; a dict that another thread changes
            return False

    def _hold_the_same(self) -> bool:
        return (
            _are_the_same(gc.get_referents(*self.holders), self.referents)
            and all(map(is_, chain.from_iterable(self.dicts), self.dict_keys))
            and _are_the_same([*chain.from_iterable(map(dict.values, self.untold))], self.untold_values)
        )

    def hold(self, holder: object) -> list[Any]:
        """What it refers to, in its order. Of a dict that may be the values alone."""
        if type(holder) is dict:
            self.dicts.append(holder)
            self.dict_keys += holder
            self.size(holder)
        told, held = gc.get_referents(holder), referents(holder)
        self.holders += holder, _END
        self.referents += *told, *_END
        if type(holder) is dict and len(told) < len(held):
            self.untold.append(holder)
            self.untold_values += held
        return held

    def function(self, function: FunctionType) -> None:
        """What it holds by itself. It begins with its code and ends with its name, so all may stand in one row."""
        self.functions.append(function)
        self.held += gc.get_referents(function)

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
        if (id(mapping), key) not in self.looked_up:  # thousands of functions may name the same variable
            self.looked_up.add((id(mapping), key))
            self.lookups.append(mapping.get)
            self.keys.append(key)
            self.entries.append(value)
        return value


def _are_the_same(ones: Sequence[object], others: Sequence[object]) -> bool:
    return len(ones) == len(others) and all(map(is_, ones, others))


def is_watched(value: object, watch: Watch, asked: Collection[int] = ()) -> bool:
    """Put what a function captures, or what makes up a class, under watch. `False` if something may change unseen.

    `asked`: the `id` of values that were asked for by themselves.
    """
    return _Survey(watch, asked).covers(value)


class _Survey:
    """Walks through what a function captures, and puts it under watch."""

    def __init__(self, watch: Watch, asked: Collection[int]) -> None:
        self.watch = watch
        self._asked = asked
        self._seen: dict[int, object] = {}

    def covers(self, value: object) -> bool:
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if type(one) in ATOMS or id(one) in self._seen or id(one) in self._asked:
                continue
            self._seen[id(one)] = one
            parts = self._parts(one)
            if parts is None or len(waiting) + len(self._seen) + len(parts) > MOST:
                return False
            waiting += parts
        return True

    def _parts(self, value: Any) -> Sequence[object] | None:
        """What leads on from a value; `None` where it may change unseen."""
        kind = type(value)
        match value:
            case FunctionType():
                return () if self._stands_for_itself(value) else self._of_function(value)
            case type():
                return self._of_class(value)
            case BuiltinFunctionType() | MethodType() if is_shared(value.__self__):
                return ()
            case BuiltinFunctionType():
                return (value.__self__,) if isinstance(value.__self__, ModuleType | type) else None
            case MethodType():
                return value.__func__, value.__self__
            case ModuleType():
                return () if by_reference(value) else None
            case GenericAlias() | UnionType():
                return get_origin(value), *get_args(value)
            case tuple() if kind is tuple:
                return value
            case _:
                return self._of_object(value, kind)

    def _of_object(self, value: Any, kind: type) -> Sequence[object] | None:
        if kind in _FIXED:
            return ()
        if kind is object:
            return self._of_marker(value)
        if kind is ForwardRef:
            self.watch.hold(value)
            return ()  # it travels as its text
        if kind is cached_property:
            self.watch.hold(value)
            self.watch.hold(vars(value))
            return (value.func,)  # its lock stays in its process
        if kind not in _HOLDERS and kind.__module__ not in _MODULES and not _is_what_it_holds(kind):
            return None
        own = getattr(value, "__dict__", None)  # before it is looked through: asked for, it may be another object
        return [*self.watch.hold(value), *([] if kind in _HOLDERS else [kind]), *([] if own is None else [own])]

    def _of_marker(self, value: object) -> Sequence[object]:
        """It travels as the place where it stands."""
        reduced = reduce_plain_object(value)
        if reduced is not NotImplemented:
            _, (_, module, name) = reduced
            self.watch.entry(vars(sys.modules[module]), name)
        return ()

    def _stands_for_itself(self, value: "FunctionType | type") -> bool:
        """Whether it travels by its name, under which it still has to stand."""
        module = sys.modules.get(value.__module__)
        if module is None or not by_reference(value):
            return False
        return self.watch.entry(vars(module), value.__qualname__) is value

    def _of_function(self, function: FunctionType) -> Sequence[object] | None:
        cells, keywords = function.__closure__ or (), function.__kwdefaults__
        if not all(map(gc.get_referents, cells)):
            return None
        more: list[object] = []
        if not is_plain(function):
            if not are_readable(function):
                return None
            own = function.__dict__
            self.watch.size(own)
            more = [*self._entries(function.__annotations__), *([own] if own else ())]
        self.watch.function(function)
        variables = [self.watch.entry(function.__globals__, name) for name in global_names(function.__code__)]
        return [
            *(function.__defaults__ or ()),
            *[self.watch.attribute(cell, "cell_contents") for cell in cells],
            *(self._entries(keywords) if keywords is not None else ()),
            *more,
            *(variables if home(function) is None else ()),
        ]

    def _entries(self, mapping: dict[str, Any]) -> list[object]:
        self.watch.size(mapping)
        return [self.watch.entry(mapping, key) for key in mapping]

    def _of_class(self, cls: type) -> Sequence[object] | None:
        if cls in OF_PYTHON:
            return ()
        if by_reference(cls):
            return () if self._stands_for_itself(cls) else None
        if cls in copies or subscripted(cls) is not None:
            return None
        meant = [part for one in written(cls).values() if mentions_text(one) for part in self._meant(cls, str(one))]
        for name in ("__name__", "__qualname__"):
            self.watch.attribute(cls, name)
        inherited = [held for base in cls.__mro__[1:] for held in gc.get_referents(base) if type(held) is dict]
        for namespace in inherited:
            self.watch.hold(namespace)  # what a class has of its bases isn't its own
        return [type(cls), *meant, *self.watch.hold(cls)]

    def _meant(self, cls: type, text: str) -> list[object]:
        """What the names in an annotation stand for."""
        module = sys.modules.get(cls.__module__)
        meant: list[object] = []
        for dotted in _NAME.findall(text) if module else ():
            value: Any = module
            for name in dotted.split("."):
                value = self.watch.entry(vars(value), name) if isinstance(value, ModuleType | type) else ABSENT
            meant += [] if value is ABSENT else [value]
        return meant


def _is_what_it_holds(kind: Any) -> bool:
    """Whether its instances are pickled as what they refer to: in no way of their own."""
    if kind in BY_TYPE or kind in copyreg.dispatch_table:
        return False
    if issubclass(kind, Enum):
        is_plain = getattr(kind, "_member_type_", object) in (object, *ATOMS)
        return is_plain and kind.__reduce_ex__ in (Enum.__reduce_ex__, Flag.__reduce_ex__)
    return (
        all(getattr(kind, name) is getattr(object, name) for name in _DEFAULTS)
        and not hasattr(kind, "__getnewargs__")
        and not hasattr(kind, "__getnewargs_ex__")
        and native_base(kind) is object
        and not vars(copyreg)["_slotnames"](kind)
    )
