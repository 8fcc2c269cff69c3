"""Objects that are told apart by identity alone: `MISSING = object()`, `sentinel("MISSING")` (Python 3.15).

They travel as the place where they stand. In each process it is what stands there, or else the one object that this
process has made for the place.
"""

import sys
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from itertools import chain
from types import ModuleType
from typing import Any

from cloaca.lasting import lasting
from cloaca.pickling.modules import is_importable
from cloaca.wire.messages import Place

_made: dict[Place, Any] = {}


@lasting
def marker(kind: Any, module: str, name: str) -> Any:
    """The plain object or sentinel of that place."""
    with suppress(ImportError):  # that of a library is the library's own
        import_module(module)
    found = _variables(module).get(name)
    if type(found) is kind:
        return found
    made = kind() if kind is object else kind(name)
    if kind is not object:
        made.__module__ = module
    return _made.setdefault((module, name), made)


def reduce_plain_object(value: object) -> Any:
    """As its place; `NotImplemented` for an object that no module has a name for."""
    own, places = _modules(len(sys.modules))
    known = [place for place in (places.get(id(value)),) if place and _variables(place[0]).get(place[1]) is value]
    standing = ((title, name) for title in own for name, one in _variables(title).items() if one is value)
    made = (place for place, one in _made.items() if one is value)
    place = next(chain(known, standing, made), None)
    return NotImplemented if place is None else (marker, (object, *place))


def reduce_sentinel(value: Any) -> Any:
    """As the place that it tells itself."""
    place = value.__module__, value.__name__
    if _variables(place[0]).get(place[1]) is not value:
        _made.setdefault(place, value)
    return marker, (type(value), *place)


def _variables(module: str) -> dict[str, Any]:
    found = sys.modules.get(module)
    return vars(found).copy() if type(found) is ModuleType else {}


@lru_cache(maxsize=1)
def _modules(_: int) -> tuple[list[str], dict[int, Place]]:
    """The names of the program's own modules, and where others keep plain objects: looked up when more are loaded."""
    loaded = {name: is_importable(one) for name, one in sys.modules.copy().items() if type(one) is ModuleType}
    variables = {name: _variables(name) for name, is_by_name in loaded.items() if is_by_name}
    named = ((home, name, one) for home, its in variables.items() for name, one in its.items())
    places = {id(one): (home, name) for home, name, one in named if type(one) is object}
    return [name for name in loaded if name not in variables], places
