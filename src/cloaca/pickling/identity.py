"""Which class a class is, for classes that other processes can't import.

One that stands under its own name in such a module, as the classes of a script do, is known by that name and a hash of
its definition: another process of the same script takes it for its own. The hash is over what stands in the class: its
bases, annotations, code, and the members of an enum; not over files, lines, other data, or what its code calls. So it
is the same in every process of one Python minor version, whatever the hash seed, and however often a counter in the
class has counted. All other classes, such as those that a function makes, are known by an identity of this process.

A process gives an identity once: a cell of a notebook that runs again makes another class.
"""

import os
import re
import sys
import threading
from collections.abc import Iterator
from enum import Enum
from functools import cached_property, partialmethod, singledispatchmethod
from inspect import formatannotation
from itertools import count
from types import CellType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from cloaca.pickling.code import PartsByType
from cloaca.pickling.description import STATED, WRAPPED, cell_parts, dict_parts, digest, module_of, qualified
from cloaca.pickling.hints import unresolved
from cloaca.pickling.modules import by_reference

Identity = str

_ADDRESS = re.compile(" at 0x[0-9a-f]+")
_ON_DEMAND = frozenset({"__annotate__", "__annotate_func__"})

_classes: WeakValueDictionary[Identity, Any] = WeakValueDictionary()
_identities: WeakKeyDictionary[Any, Identity] = WeakKeyDictionary()
_given: set[Identity] = set()
_giving = threading.RLock()
os.register_at_fork(after_in_child=_giving._at_fork_reinit)  # type: ignore[attr-defined]


def identity_of(cls: Any) -> Identity:
    """The identity of a class, or of a type parameter, that other processes can't import."""
    with _giving:
        if cls not in _identities:
            place = _place_of(cls)
            tracked(_name_for(cls, *place) if place else os.urandom(16).hex(), cls)
        return _identities[cls]


def tracked(identity: Identity, cls: Any) -> Any:
    """The class of that identity, from now on: the given one, unless there is one already."""
    with _giving:
        known = _classes.setdefault(identity, cls)
        _identities.setdefault(known, identity)
        return known


def known_as(identity: Identity) -> Any:
    """This process's own class of that identity; `None` where it has none."""
    found = _classes.get(identity)
    return _of_the_program(identity) if found is None else found


def forget(identity: Identity) -> None:
    """Take away a class that was never completed."""
    _classes.pop(identity, None)


def _name_for(cls: type, module: str, name: str) -> Identity:
    stem = f"{module}:{name}:{_hash_of(cls)}"
    numbered = (f"{stem}:{number}" if number else stem for number in count())
    identity = next(one for one in numbered if one not in _given and one not in _classes)
    _given.add(identity)
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


def is_at_home(cls: Any) -> bool:
    """Whether a class stands under its own name in its module."""
    return _place_of(cls) is not None


def _place_of(cls: Any) -> tuple[str, str] | None:
    """The module and the name under which a class stands."""
    if not isinstance(cls, type) or ":" in cls.__qualname__ + cls.__module__:
        return None
    module = module_of(cls)
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
    def is_own(thing: Any) -> bool:
        return not by_reference(thing) if isinstance(thing, FunctionType) else any(thing is one for one in own)

    own = [one for one in cls.__mro__ if not by_reference(one)]
    return digest(cls, _PARTS, is_own)


def _class_parts(cls: type) -> Iterator[object]:
    yield from (cls.__qualname__, qualified(type(cls)), *cls.__bases__)
    for name, annotation in unresolved(cls).items():
        yield name
        yield _ADDRESS.sub("", formatannotation(annotation)).replace("__mp_main__.", "__main__.")
    for name in STATED:
        yield getattr(cls, name, None)
    for name, member in vars(cls).items():
        if isinstance(member, _CODE) and name not in _ON_DEMAND:
            yield name
            yield member
    for member in cls.__members__.values() if issubclass(cls, Enum) else ():
        yield member.name
        yield member._value_


def _function_parts(function: FunctionType) -> Iterator[object]:
    yield function.__code__
    yield function.__defaults__
    yield from dict_parts(function.__kwdefaults__ or {})
    yield from function.__closure__ or ()


_PARTS: PartsByType = {
    **WRAPPED,
    FunctionType: _function_parts,
    CellType: lambda cell: filter(callable, cell_parts(cell)),
    type: _class_parts,
    **dict.fromkeys((cached_property, partialmethod, singledispatchmethod), lambda wrapper: (wrapper.func,)),
}
_CODE = tuple(kind for kind in _PARTS if kind not in {CellType, type, tuple})
