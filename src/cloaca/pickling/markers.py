"""Objects that are told apart by identity alone: `MISSING = object()`, `sentinel("MISSING")` (Python 3.15).

One that stands under a name in an importable module is that of the process where it arrives. One that stands in another
module, such as `__main__`, travels as that place: in each process it is what stands there, or else the one object that
this process has made for the place.
"""

import builtins
import sys
from functools import lru_cache
from types import ModuleType
from typing import Any

from cloaca.pickling.modules import is_importable
from cloaca.wire.messages import Place

_made: dict[Place, Any] = {}


def plain_object(module: str, name: str) -> object:
    """The plain object of that place."""
    found = _standing_at(module, name)
    return found if type(found) is object else _made.setdefault((module, name), object())


def reduce_plain_object(value: object) -> Any:
    """As its place; `NotImplemented` for an object that no module has a name for."""
    names, places = _modules(len(sys.modules))
    module, name = places.get(id(value), ("", ""))
    if name and _standing_at(module, name) is value:
        return getattr, (sys.modules[module], name)
    standing = ((title, name) for title in names for name, one in _variables(title).items() if one is value)
    made = (place for place, one in _made.items() if one is value)
    place = next(standing, None) or next(made, None)
    return NotImplemented if place is None else (plain_object, place)


def known_sentinel(module: str, name: str) -> object:
    """The sentinel of that place."""
    kind, found = vars(builtins)["sentinel"], _standing_at(module, name)
    if type(found) is kind:
        return found
    made = kind(name)
    made.__module__ = module
    return _made.setdefault((module, name), made)


def reduce_sentinel(value: Any) -> Any:
    """As the place that it tells itself."""
    place = value.__module__, value.__name__
    if _standing_at(*place) is not value:
        _made.setdefault(place, value)
    return known_sentinel, place


def _standing_at(module: str, name: str) -> object:
    return _variables(module).get(name)


def _variables(module: str) -> dict[str, Any]:
    found = sys.modules.get(module)
    return vars(found).copy() if type(found) is ModuleType else {}


@lru_cache(maxsize=1)
def _modules(_: int) -> tuple[list[str], dict[int, Place]]:
    """The names of the program's own modules, and where others keep plain objects: looked up when more are loaded."""
    loaded = [(name, one) for name, one in sys.modules.copy().items() if type(one) is ModuleType]
    importable = [name for name, one in loaded if is_importable(one)]
    places = [(title, name, one) for title in importable for name, one in _variables(title).items()]
    own = [name for name, _ in loaded if name not in set(importable)]
    return own, {id(one): (title, name) for title, name, one in places if type(one) is object}
