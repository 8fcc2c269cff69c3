"""Objects that are told apart by identity alone: `dataclasses.MISSING`, `MISSING = object()`, `sentinel("MISSING")`.

A marker that an importable module keeps is that of the process where it arrives. One that only the program's own module
keeps, such as `__main__`, travels as an identity: a process that knows it keeps its own object, another one makes one.

Only sentinels and plain objects that stand under a name in a module have an identity. So at most one is remembered for
each name, and what a program makes and drops leaves nothing behind: they can't be referred to weakly.
"""

import builtins
import copyreg
import sys
import threading
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any
from uuid import uuid4

from cloaca.pickling.modules import is_importable
from cloaca.wire.messages import Place

MarkIdentity = str
_marks: dict[MarkIdentity, object] = {}
_identities: dict[int, MarkIdentity] = {}
"""By the `id` of the object, which `_marks` keeps alive."""
_latest: dict[Place, MarkIdentity] = {}
_changing = threading.RLock()


# ---- what a class of its own tells apart ----------------------------------------------------------------------------


def name_at_home(value: object) -> str | None:
    """Under which name the module of its class keeps a value that has no state; `None` where it doesn't."""
    kind = type(value)
    if getattr(kind, "__slots__", ()) or getattr(value, "__dict__", None):
        return None
    module = sys.modules.get(kind.__module__)
    if module is None or not is_importable(module) or not _is_bare(value):
        return None
    return _name_in(module, value)


def _is_bare(value: object) -> bool:
    """Whether nothing but its class is pickled of it."""
    reduced: Any = value.__reduce_ex__(5)
    make, arguments, *state = reduced
    return make is vars(copyreg)["__newobj__"] and len(arguments) == 1 and not any(state)


def _name_in(module: ModuleType, value: object) -> str | None:
    return next((name for name, one in vars(module).copy().items() if one is value), None)


# ---- plain objects --------------------------------------------------------------------------------------------------


def known_mark(identity: MarkIdentity) -> object:
    """The plain object of that identity: this process's own, or else a new one."""
    with _changing:
        return _marks[identity] if identity in _marks else _remembered(object(), identity)


def reduce_plain_object(value: object) -> Any:
    """As its place or its identity; `NotImplemented` for an object that no module has a name for."""
    identity = _identities.get(id(value))
    if identity is not None:
        return known_mark, (identity,)
    place = _importable.of(value)
    if place is not None:
        return getattr, (sys.modules[place[0]], place[1])
    place = next(_places_in(_modules_of_the_program(), value), None)
    return NotImplemented if place is None else (known_mark, (_identity_at(place, value),))


def known_sentinel(identity: MarkIdentity, place: Place) -> object:
    """The sentinel (Python 3.15) of that identity: this process's own, or else a new one."""
    with _changing:
        if identity in _marks:
            return _marks[identity]
        made = vars(builtins)["sentinel"](place[1])
        made.__module__ = place[0]
        return _remembered(made, identity)


def reduce_sentinel(value: Any) -> Any:
    place = value.__module__, value.__name__
    return known_sentinel, (_identity_at(place, value), place)


def _identity_at(place: Place, value: object) -> MarkIdentity:
    """The identity of what stands at a place; what stood there before has none any more."""
    with _changing:
        if id(value) in _identities:
            return _identities[id(value)]
        before = _latest.get(place)
        if before is not None:
            del _identities[id(_marks.pop(before))]
        identity = _latest[place] = uuid4().hex
        _remembered(value, identity)
        return identity


def _remembered(value: object, identity: MarkIdentity) -> object:
    _marks[identity] = value
    _identities[id(value)] = identity
    return value


def _modules_of_the_program() -> list[ModuleType]:
    return [one for one in sys.modules.copy().values() if type(one) is ModuleType and not is_importable(one)]


def _places_in(modules: Iterable[ModuleType], value: object) -> Iterator[Place]:
    named = ((module.__name__, _name_in(module, value)) for module in modules)
    return ((title, name) for title, name in named if name is not None)


class _Places:
    """Where importable modules keep plain objects, as far as they did when they were looked through."""

    def __init__(self) -> None:
        self._modules = 0
        self._found: dict[int, Place] = {}

    def of(self, value: object) -> Place | None:
        if self._modules != len(sys.modules):
            self._modules = len(sys.modules)
            self._found = dict(_plain_objects())
        place = self._found.get(id(value))
        return place if place is not None and _stands_at(place, value) else None


def _plain_objects() -> Iterator[tuple[int, Place]]:
    for title, module in sys.modules.copy().items():
        if type(module) is ModuleType and is_importable(module):
            yield from ((id(one), (title, name)) for name, one in vars(module).copy().items() if type(one) is object)


def _stands_at(place: Place, value: object) -> bool:
    module = sys.modules.get(place[0])
    return module is not None and vars(module).get(place[1]) is value


_importable = _Places()
