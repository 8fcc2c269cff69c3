"""Which class a class is, for classes that other processes can't import.

One that stands under its own name in such a module, as the classes of a script do, is known by that name and a hash of
its definition: another process of the same script takes it for its own. The hash is over what stands in the class: its
bases, annotations, code, and the members of an enum; not over files, lines, other data, or what its code calls. So it
is the same in every process of one Python minor version, whatever the hash seed, and however often a counter in the
class has counted. All other classes, such as those that a function makes, are known by an identity of this process.

A process gives an identity once: a cell of a notebook that runs again makes another class.

The identities stand in cloudpickle's own tracker: classes that arrive by a plain `cloudpickle.dumps` inside a task are
the same classes.
"""

import sys
import threading
from collections.abc import Iterator
from enum import Enum
from functools import _lru_cache_wrapper, cached_property, partial, partialmethod, singledispatchmethod
from itertools import count
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, ForwardRef, get_args, get_origin
from weakref import WeakKeyDictionary, WeakValueDictionary

from cloudpickle import cloudpickle

from cloaca.pickling.code import code_parts
from cloaca.pickling.hints import unresolved
from cloaca.pickling.modules import SCRIPTS, by_reference

Identity = str

_STATED = ("__slots__", "__match_args__", "__struct_encode_fields__", "__struct_defaults__")
"""Attributes that belong to the definition, where a class has them."""

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})
_ON_DEMAND = frozenset({"__annotate__", "__annotate_func__"})

_classes: WeakValueDictionary[Identity, Any] = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
_identities: WeakKeyDictionary[Any, Identity] = WeakKeyDictionary()
_given: set[Identity] = set()
_giving = threading.RLock()


def identity_of(cls: Any) -> Identity:
    """The identity of a class, or of a type parameter, that other processes can't import."""
    with _giving:
        if cls not in _identities:
            place = _place_of(cls)
            _identities[cls] = _named(cls, *place) if place else cloudpickle._get_or_create_tracker_id(cls)
        return _identities[cls]


def tracked(identity: Identity, cls: Any) -> Any:
    """The class of that identity, from now on: the given one, unless there is one already."""
    with _giving:
        known = cloudpickle._lookup_class_or_track(identity, cls)
        _identities.setdefault(known, identity)
        return known


def known_as(identity: Identity) -> Any:
    """This process's own class of that identity; `None` where it has none."""
    found = _classes.get(identity)
    return _of_the_program(identity) if found is None else found


def forget(identity: Identity) -> None:
    """Take away a class that was never completed."""
    _classes.pop(identity, None)


def _named(cls: type, module: str, name: str) -> Identity:
    stem = f"{module}:{name}:{_hash_of(cls)}"
    numbered = (f"{stem}:{number}" if number else stem for number in count())
    identity = next(one for one in numbered if one not in _given and one not in _classes)
    _given.add(identity)
    tracked(identity, cls)
    return identity


def _of_the_program(identity: Identity) -> type | None:
    """The class that stands under the name, if it has that definition."""
    match identity.split(":"):
        case [module, name, definition, *_]:
            cls = _standing_at(module, name)
        case _:
            return None
    if not isinstance(cls, type) or by_reference(cls) or _hash_of(cls) != definition:
        return None
    _given.add(identity)
    tracked(identity, cls)
    return cls


def _place_of(cls: Any) -> tuple[str, str] | None:
    """The module and the name under which a class stands."""
    if not isinstance(cls, type) or ":" in cls.__qualname__ + cls.__module__:
        return None
    module = _module_of(cls)
    return (module, cls.__qualname__) if _standing_at(module, cls.__qualname__) is cls else None


def _standing_at(module: str, name: str) -> object:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        if not isinstance(found, ModuleType | type):
            return None
        found = vars(found).get(part)
    return found


# ---- the definition ------------------------------------------------------------------------------------------------


def _hash_of(cls: type) -> str:
    from hashlib import blake2b  # loads OpenSSL's library

    return blake2b(repr(_Portrait().class_(cls)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class _Portrait:
    """What stands in a class, as texts and lists of them. A function that was met before is told by a number."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}

    def class_(self, cls: type) -> Any:
        members = [(name, member) for name, member in vars(cls).items() if name not in _ON_DEMAND]
        return (
            _qualified(cls),
            _qualified(type(cls)),
            [_qualified(base) if by_reference(base) else self.class_(base) for base in cls.__bases__],
            [(name, _meaning(annotation)) for name, annotation in unresolved(cls).items()],
            [self.value(getattr(cls, name, None)) for name in _STATED],
            [(name, _qualified(type(one)), code) for name, one in members if (code := [*self.code_in(one)])],
            [(name, self.value(one._value_)) for name, one in cls.__members__.items()] if issubclass(cls, Enum) else [],
        )

    def code_in(self, value: object) -> Iterator[Any]:
        """The code of a function or method, however it is wrapped."""
        for function in _functions_of(value):
            if by_reference(function):
                yield _qualified(function)
            elif id(function) in self._met:
                yield self._met[id(function)]
            else:
                self._met[id(function)] = len(self._met)
                yield [self.value(function.__code__), self.value(function.__defaults__)]
                yield sorted([(name, self.value(one)) for name, one in (function.__kwdefaults__ or {}).items()])
                yield [[*self.code_in(content)] for content in _contents(function)]

    def value(self, value: object) -> Any:
        """A constant by itself, code by what it consists of, and of other values the type."""
        match value:
            case CodeType():
                return [self.value(part) for part in code_parts(value)]
            case tuple() if type(value) is tuple:
                return tuple([self.value(part) for part in value])
            case frozenset():
                return sorted([repr(self.value(part)) for part in value])
            case _ if type(value) in _ATOMS:
                return _qualified(type(value)), repr(value)
            case _:
                return _qualified(type(value)), [*self.code_in(value)]


def _functions_of(value: object) -> Iterator[FunctionType]:
    match value:
        case FunctionType():
            yield value
        case staticmethod() | classmethod() | MethodType():
            yield from _functions_of(value.__func__)
        case property():
            for accessor in (value.fget, value.fset, value.fdel):
                yield from _functions_of(accessor)
        case cached_property() | partial() | partialmethod() | singledispatchmethod():
            yield from _functions_of(value.func)
        case _lru_cache_wrapper():
            yield from _functions_of(value.__wrapped__)
        case _:
            return


def _contents(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # its variable has no value yet
            yield None


def _meaning(annotation: Any) -> Any:
    match annotation:
        case str():
            return annotation
        case ForwardRef():
            return annotation.__forward_arg__
        case list() | tuple():
            return [_meaning(part) for part in annotation]
        case _ if get_origin(annotation) is not None:
            return [_meaning(get_origin(annotation)), *map(_meaning, get_args(annotation))]
        case type():
            return _qualified(annotation)
        case _:
            name = getattr(annotation, "__name__", None)
            return name if isinstance(name, str) else _Portrait().value(annotation)


def _qualified(thing: Any) -> str:
    return f"{_module_of(thing)}.{thing.__qualname__}"


def _module_of(thing: Any) -> str:
    return "__main__" if thing.__module__ in SCRIPTS else thing.__module__
