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
else, and cycles among classes are plain pickle cycles. What unpickling may call is set before anything else: an
instance among a class's own attributes is rebuilt with the class's `__setstate__` and `__hash__`.

The identity is the one that cloudpickle's own tracker gives: classes that arrive by a plain `cloudpickle.dumps` inside
a task then are the same classes. A copy is always sent on with the definition it was loaded from, which costs nothing
and keeps the bytes stable.

Roads not taken: cloudpickle's own reduction, which sets the attributes of a known class again on each load; one
definition per class, which for classes that all mention each other grows with the factorial of their number.
"""

import copyreg
import pickle
import sys
import threading
import weakref
from dataclasses import dataclass
from enum import Enum
from io import BytesIO, TextIOWrapper
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from cloudpickle import cloudpickle

from cloaca.wire.code import global_names, reduce_code
from cloaca.wire.enums import details, tell
from cloaca.wire.generators import is_shared, reduce_shared
from cloaca.wire.homes import at_home
from cloaca.wire.layouts import layout
from cloaca.wire.markers import name_at_home, reduce_plain_object
from cloaca.wire.modules import by_reference, reduce_module
from cloaca.wire.reductions import (
    BY_TYPE,
    DESCRIPTORS,
    importable,
    is_dispatcher,
    reduce_descriptor,
    reduce_dispatcher,
    reduce_exception,
    reduce_member,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Base = pickle.Pickler
else:
    Base = cloudpickle.Pickler

Identity = str
Definition = bytes

# What unpickling an instance may call, one by one in this order. Each is set before the next is even read: the frozen
# `__setattr__` of a dataclass leads to the class as it was before it got its slots, and from there to anything.
REBUILDING = (
    "__dataclass_fields__",
    "__setstate__",
    "__eq__",
    "__hash__",
    "__new__",
    "__init__",
    "__setitem__",
    "append",
    "extend",
    "add",
    "__setattr__",
)


@dataclass(frozen=True, slots=True)
class Copy:
    """What a class that was loaded here was made from. `names`: the attributes that the definition set."""

    definition: Definition
    names: frozenset[str]


_classes: "weakref.WeakValueDictionary[Identity, type]" = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
_copies: "weakref.WeakKeyDictionary[type, Copy]" = weakref.WeakKeyDictionary()
_loading = threading.RLock()


def travels_by_value(cls: type) -> bool:
    """Whether a class can't be imported elsewhere, as far as can be told from here."""
    return cls not in cloudpickle._BUILTIN_TYPE_NAMES and not by_reference(cls)


# ---- reading -------------------------------------------------------------------------------------------------------


def known_class(identity: Identity, definition: Definition) -> type:
    """The class of that identity: this process's own, or else one made from the definition."""
    with _loading:
        known = _classes.get(identity)
        return _load(_Loader(definition), identity) if known is None else known


def fresh_class(identity: Identity, definition: Definition) -> type:
    """Like `known_class`, but a copy that was made from another definition is brought up to date."""
    with _loading:
        known = _classes.get(identity)
        if known is None:
            return _load(_Loader(definition), identity)
        copy = _copies.get(known)
        if copy is None or copy.definition == definition:
            return known
        return _load(_Refresher(definition), identity)


def _load(loader: "_Loader", identity: Identity) -> type:
    loader.finish()
    return _classes[identity]


class _Loader(pickle.Unpickler):
    """Opens one definition: makes the classes in it that are unknown here, and leaves the others alone."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(BytesIO(definition))
        self._definition = definition
        self._made: dict[Identity, type] = {}
        self._names: dict[type, set[str]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        ours = any(found is method for method in (_Loader.make, _Loader.assign, _Loader.detail, _Loader.complete))
        return MethodType(found, self) if ours else found

    def make(self, identity: Identity, maker: "Callable[..., type]", arguments: tuple[Any, ...]) -> type:
        known = _classes.get(identity)
        if known is not None:
            return known
        made = self._made[identity] = maker(*arguments)
        return made

    def assign(self, cls: type, attributes: dict[str, Any]) -> None:
        if self.may_define(cls):
            cloudpickle._class_setstate(cls, (attributes, {}))
            self._names.setdefault(cls, set()).update(attributes)

    def detail(self, cls: type[Enum], members: dict[str, dict[str, Any]]) -> None:
        if self.may_define(cls):
            tell(cls, members)

    def complete(self, cls: type, state: tuple[list[None], dict[str, Any]]) -> None:
        self.assign(cls, state[1])

    def may_define(self, cls: type) -> bool:
        return any(cls is made for made in self._made.values())

    def finish(self) -> None:
        try:
            self.load()
        except BaseException:
            for identity in self._made:
                _classes.pop(identity, None)
            raise
        for cls, names in self._names.items():
            self.record(cls, frozenset(names))

    def record(self, cls: type, names: frozenset[str]) -> None:
        _copies[cls] = Copy(self._definition, names)


class _Refresher(_Loader):
    """Opens one definition and applies it to the copies that are known here too."""

    def may_define(self, cls: type) -> bool:
        return cls in _copies or super().may_define(cls)

    def record(self, cls: type, names: frozenset[str]) -> None:
        before = _copies[cls].names if cls in _copies else frozenset()
        for name in (before - names) & vars(cls).keys():
            delattr(cls, name)
        super().record(cls, names)


# ---- writing -------------------------------------------------------------------------------------------------------


def _reduce_text_file(file: TextIOWrapper) -> Any:
    if file is sys.stdout or file is sys.stderr:
        return cloudpickle._file_reduce(file)
    raise TypeError("an open file belongs to its process: open it where it is used")


def _reduce_view(_: memoryview) -> Any:
    raise TypeError("a memoryview is a window on another object: use bytes(view)")


_REDUCERS = {
    **cloudpickle.Pickler._dispatch_table,
    TextIOWrapper: _reduce_text_file,
    memoryview: _reduce_view,
    CodeType: reduce_code,
    ModuleType: reduce_module,
}

_DESCRIPTORS = tuple(DESCRIPTORS)
_OF_CLOUDPICKLE = frozenset(value for value in vars(cloudpickle).values() if type(value) is FunctionType)
"""Every function that is pickled names some of them: that they travel by reference needn't be found out each time."""


class Pickler(Base):
    """cloudpickle's pickler, with classes as identity and definition, and without its silent changes of type.

    cloudpickle turns a memoryview into bytes and an open text file into a `StringIO`; here both are refused. Arrays
    that are read-only come out writable, as what comes out is the reader's own.
    """

    resolve: "Callable[[Identity, Definition], type]" = staticmethod(known_class)
    by_type: "ClassVar[Mapping[type, Callable[[Any], Any]]]" = BY_TYPE
    is_for_code: ClassVar[bool] = False
    """Whether it is for functions or definitions: there, a marker that an importable module keeps is that module's."""

    def __init__(self, file: Any, buffer_callback: "Callable[[pickle.PickleBuffer], Any] | None" = None) -> None:
        # A plain dict: cloudpickle's ChainMap costs every instance that is pickled a microsecond.
        self.dispatch_table = {**copyreg.dispatch_table, **_REDUCERS, **self.by_type}
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._definitions: dict[type, Definition] = {}

    def reducer_override(self, obj: Any) -> Any:
        kind: Any = type(obj)
        if issubclass(kind, type):
            return self.reduce_class(obj) if travels_by_value(obj) else super().reducer_override(obj)
        if kind is FunctionType:
            return NotImplemented if obj in _OF_CLOUDPICKLE or by_reference(obj) else self._dynamic_function_reduce(obj)
        if kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__:
            if kind is object:
                return reduce_plain_object(obj)
            if issubclass(kind, _DESCRIPTORS):
                return reduce_descriptor(obj)
            may_be_marker = self.is_for_code and kind not in self.dispatch_table
            return (name_at_home(obj) or NotImplemented) if may_be_marker else NotImplemented
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

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        if is_dispatcher(func):
            return reduce_dispatcher(func)
        global_names(func.__code__)
        reduce: Any = cloudpickle.Pickler._dynamic_function_reduce
        reduced = at_home(func, reduce(self, func))
        parameters: Any = getattr(func, "__type_params__", None)
        if parameters:
            reduced[2][1]["__type_params__"] = parameters
        return reduced

    def reduce_class(self, cls: type) -> tuple[Any, ...]:
        return self.resolve, (cloudpickle._get_or_create_tracker_id(cls), self._definition(cls))

    def _definition(self, cls: type) -> Definition:
        copy = _copies.get(cls)
        if copy is not None:
            return copy.definition
        if cls not in self._definitions:
            self._definitions.update(_define(cls))
        return self._definitions[cls]


def _define(cls: type) -> dict[type, Definition]:
    try:
        return _defined(cls, is_text_resolved=True)
    except Exception:  # noqa: BLE001 - what annotations mean may lead to what can't be pickled, and nobody may read them
        return _defined(cls, is_text_resolved=False)


def _defined(cls: type, *, is_text_resolved: bool) -> dict[type, Definition]:
    with BytesIO() as file:
        pickler = DefinitionPickler(file, is_text_resolved=is_text_resolved)
        pickler.dump(cls)
        return dict.fromkeys(pickler.defined, file.getvalue())


class DefinitionPickler(Pickler):
    """Writes classes themselves where `Pickler` writes references. `defined`: the classes that it wrote."""

    is_for_code = True

    def __init__(self, file: Any, *, is_text_resolved: bool) -> None:
        super().__init__(file)
        self.defined: list[type] = []
        self._is_text_resolved = is_text_resolved

    def reduce_class(self, cls: type) -> tuple[Any, ...]:
        if cls in _copies:
            return super().reduce_class(cls)
        self.defined.append(cls)
        maker, arguments, attributes = layout(cls, is_text_resolved=self._is_text_resolved)
        attributes["__qualname__"] = cls.__qualname__  # made by its name alone, it would be at home nowhere
        first = [_Call(_Loader.assign, cls, {name: attributes.pop(name)}) for name in REBUILDING if name in attributes]
        if issubclass(cls, Enum):
            first.append(_Call(_Loader.detail, cls, details(cls)))
        making = (cloudpickle._get_or_create_tracker_id(cls), maker, arguments)
        return _Loader.make, making, (first, attributes), None, None, _Loader.complete


class _Call:
    """Pickles as a call of a method of `_Loader`, made where it stands in the stream."""

    def __init__(self, method: "Callable[..., None]", cls: type, argument: dict[str, Any]) -> None:
        self._call = (method, (cls, argument))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call
