"""Classes that other processes can't import: those of `__main__`, of notebooks, of function bodies.

Purpose: such a class travels as identity and definition, so that its instances work on both sides.

Guarantees
- A process that knows the identity keeps its own class. Decoding never changes a class of the user's program.
- `isinstance` holds both ways: an instance that comes back is one of the program's own class.
- A function's blob brings the definitions as they stand when it is captured: copies of classes that were loaded
  earlier are refreshed from it, originals are not.
- A definition that can't be loaded leaves no half-built class behind.

How: a class is pickled as `known_class(identity, definition)`. The definition is a pickle of its own, opened only where
the identity is unknown. It holds the class and every other such class that is reachable from it, so it needs nothing
else, and cycles among classes are plain pickle cycles. It has two parts: first all code, which is classes, their
functions and what is of Python's own types; then what leads to instances of these classes, as a class's own constants
do. So whatever rebuilding an instance calls, and what that calls and reads, is there.

A copy is always sent on with the definition it was loaded from, which costs nothing and keeps the bytes stable. What
identities are: see `pickling/identity`.

Roads not taken: cloudpickle's own reduction, which sets the attributes of a known class again on each load; one
definition per class, which for classes that all mention each other grows with the factorial of their number.
"""

import copyreg
import pickle
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import Field
from enum import Enum
from functools import partial
from io import BytesIO, TextIOWrapper
from operator import getitem
from types import CellType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from cloudpickle import cloudpickle

from cloaca.pickling.bare import AsCall, reduce_bare
from cloaca.pickling.code import reduce_code
from cloaca.pickling.definitions import Definition, Loader, copies, known_class
from cloaca.pickling.enums import OF_MEMBERS
from cloaca.pickling.hints import meant, unresolved
from cloaca.pickling.homes import Namespaces, reduce_function
from cloaca.pickling.identity import Identity, identity_of
from cloaca.pickling.layouts import OF_PYTHON, layout, subscripted
from cloaca.pickling.loading import MAKERS, load_code, tell_function
from cloaca.pickling.markers import reduce_plain_object
from cloaca.pickling.modules import by_reference, reduce_module
from cloaca.pickling.reductions import (
    BY_TYPE,
    DESCRIPTORS,
    importable,
    is_dispatcher,
    is_shared,
    reduce_descriptor,
    reduce_dispatcher,
    reduce_exception,
    reduce_member,
    reduce_shared,
)
from cloaca.pickling.referents import referents
from cloaca.wire.strike import is_strike

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Annotations = Callable[[type], dict[str, Any]]


def travels_by_value(cls: type) -> bool:
    """Whether a class can't be imported elsewhere, as far as can be told from here."""
    return cls not in OF_PYTHON and (subscripted(cls) is not None or not by_reference(cls))


def _reduce_text_file(file: TextIOWrapper) -> Any:
    for name in ("stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError("an open file belongs to its process: open it where it is used")


def _reduce_view(_: memoryview) -> Any:
    raise TypeError("a memoryview is a window on another object: use bytes(view)")


_REDUCERS = {
    **vars(cloudpickle.Pickler)["dispatch_table"].maps[0],
    TextIOWrapper: _reduce_text_file,
    memoryview: _reduce_view,
    CodeType: reduce_code,
    ModuleType: reduce_module,
}

_DESCRIPTORS = tuple(DESCRIPTORS)
_HOLDERS = frozenset(
    {tuple, list, dict, set, frozenset, OrderedDict, defaultdict, deque, Counter}
    | {CellType, Field, MappingProxyType, MethodType, partial}
)
"""What leads to other objects, and isn't rebuilt by code that is sent along."""

_CODE = frozenset({type, FunctionType, property, staticmethod, classmethod})
_HARMLESS = _HOLDERS | _CODE | {type(None), bool, int, float, str, bytes}
_WEAK = frozenset({WeakKeyDictionary, WeakSet, WeakValueDictionary})

_MAKING = frozenset({*MAKERS, load_code})
"""Every function that is pickled names them: that they travel by reference needn't be found out each time."""


class Pickler(pickle.Pickler):
    """A pickler with cloudpickle's ways, but classes as identity and definition, and no silent changes of type.

    cloudpickle turns a memoryview into bytes and an open text file into a `StringIO`; here both are refused. Arrays
    that are read-only come out writable, as what comes out is the reader's own.
    """

    resolve: "Callable[[Identity, Definition], type]" = staticmethod(known_class)
    by_type: "ClassVar[Mapping[type, Callable[[Any], Any]]]" = BY_TYPE

    def __init__(self, file: Any, buffer_callback: "Callable[[pickle.PickleBuffer], Any] | None" = None) -> None:
        # A plain dict: cloudpickle's ChainMap costs every instance that is pickled a microsecond.
        self.dispatch_table = {**copyreg.dispatch_table, **_REDUCERS, **self.by_type}
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self.defined: dict[type, list[AsCall]] = {}
        self._definitions: dict[type, Definition] = {}
        self.namespaces: Namespaces = {}

    def reducer_override(self, obj: Any) -> Any:
        kind: Any = type(obj)
        if issubclass(kind, type):
            if obj in OF_PYTHON:
                return getattr, (types, OF_PYTHON[obj])
            return self.reduce_class(obj) if travels_by_value(obj) else NotImplemented
        if kind is FunctionType:
            return NotImplemented if obj in _MAKING or by_reference(obj) else self.reduce_function(obj)
        if kind in self.defined and not issubclass(kind, Enum) and (bare := reduce_bare(obj)):
            return bare
        if kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__:
            if kind is object:
                return reduce_plain_object(obj)
            if issubclass(kind, _DESCRIPTORS):
                return reduce_descriptor(obj)
            return NotImplemented
        return NotImplemented if kind in self.dispatch_table else self.reduce_its_own_way(obj, kind)

    def reduce_its_own_way(self, obj: Any, kind: type) -> Any:
        if issubclass(kind, Enum):
            return reduce_member(obj)
        if issubclass(kind, BaseException):
            return reduce_exception(obj)
        if kind.__name__ == "ndarray" and kind.__module__ == "numpy" and not obj.flags.writeable:
            return obj.copy(order="K").__reduce_ex__(5)
        if is_shared(obj):
            return reduce_shared(obj)
        reduced = obj.__reduce_ex__(5)
        return importable(obj, reduced) if isinstance(reduced, str) else reduced

    def reduce_function(self, func: FunctionType) -> Any:
        if is_dispatcher(func):
            return reduce_dispatcher(func)
        return reduce_function(func, self.namespaces)

    def reduce_class(self, cls: type) -> tuple[Any, ...]:
        made_of = subscripted(cls)
        if made_of is not None:
            return getitem, made_of
        return self.resolve, (identity_of(cls), self._definition(cls))

    def _definition(self, cls: type) -> Definition:
        copy = copies.get(cls)
        if copy is not None:
            return copy.definition
        if cls not in self._definitions:
            from cloaca.pickling.kept import definitions_of  # workers have copies of classes, mostly

            self._definitions.update(definitions_of(cls, _define))
        return self._definitions[cls]


def _define(cls: type) -> dict[type, Definition]:
    try:
        return _defined(cls, meant)
    except Exception as error:  # what annotations mean may lead to what can't be pickled, and nobody may read them
        if is_strike(error, partial(_defined, cls, meant)):
            raise
        return _defined(cls, unresolved)


def _defined(cls: type, annotations: "Annotations") -> dict[type, Definition]:
    with BytesIO() as file:
        pickler = DefinitionPickler(file, annotations)
        pickler.dump([cls])
        pickler.dump(pickler.rest())
        return dict.fromkeys(pickler.defined, file.getvalue())


class DefinitionPickler(Pickler):
    """Writes classes themselves where `Pickler` writes references. `defined`: the classes that it wrote.

    What leads to their instances is left for the rest.
    """

    def __init__(self, file: Any, annotations: "Annotations") -> None:
        super().__init__(file)
        self._annotations = annotations
        self._of_functions: list[AsCall] = []
        self._is_at_the_rest = False
        self._harmless: set[type] = {*_HARMLESS}

    def rest(self) -> list[AsCall]:
        """What is still to be written. The classes that were met first stand on those that were met later."""
        self._is_at_the_rest = True
        return [call for calls in reversed(self.defined.values()) for call in calls] + self._of_functions

    def reduce_class(self, cls: type) -> tuple[Any, ...]:
        if cls in copies or subscripted(cls) is not None:
            return super().reduce_class(cls)
        calls = self.defined[cls] = []
        identity = identity_of(cls)  # before cloudpickle asks for one
        maker, arguments, attributes = layout(cls, self._annotations)
        later = {name: one for name, one in attributes.items() if self._must_wait(one)}
        in_order = dict.fromkeys((OF_MEMBERS, *vars(cls), *later))
        calls += [AsCall(Loader.assign, cls, {name: later[name]}) for name in in_order if name in later]
        at_once = {name: one for name, one in attributes.items() if name not in later}
        return Loader.make, (identity, maker, arguments), at_once, None, None, Loader.assign

    def reduce_function(self, func: FunctionType) -> Any:
        reduced = super().reduce_function(func)
        if reduced[-1] is not tell_function or not self._must_wait(reduced[2]):
            return reduced
        made, arguments, told, *_ = reduced
        self._of_functions.append(AsCall(tell_function, func, told))
        return made, arguments

    def _must_wait(self, value: object) -> bool:
        """Whether a value holds what code makes that isn't there yet: instances of classes, or generic ones."""
        level, seen = [] if self._is_at_the_rest else [value], set[int]()
        while level:
            if any(self._is_made_by_code(kind, level) for kind in set(map(type, level)) - self._harmless):
                return True
            holders = [one for one in level if type(one) in _HOLDERS and id(one) not in seen]
            seen.update(map(id, holders))
            level = referents(*holders)
        return False

    def _is_made_by_code(self, kind: type, level: list[Any]) -> bool:
        if issubclass(kind, type):
            return any(subscripted(one) is not None for one in level if type(one) is kind)
        if kind in _WEAK or (not issubclass(kind, Enum) and travels_by_value(kind)):
            return True
        self._harmless.add(kind)
        return False
