"""Spots: where in the modules of the program a function, class or variable stands."""

import sys
from importlib.util import resolve_name
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple

from cloaca.pickling.description import module_of
from cloaca.pickling.modules import SCRIPTS, code_given, is_given, is_installed
from cloaca.pickling.normal import imports_of
from cloaca.pickling.watch import ATOMS

ALL = "*"
"""Stands for all variables of a module, where code may use any."""

_SPAWNED = "__mp_main__"


class Spot(NamedTuple):
    """A place in a module of the program: the names that lead there, with dots."""

    module: str
    path: str


def spot_of(value: Any) -> Spot | None:
    """Where a function or class stands under its own name, if it does."""
    name, path = value.__module__, value.__qualname__
    found: Any = sys.modules.get(name) if isinstance(name, str) else None
    if found is None or "<" in path:
        return None
    for part in path.split("."):
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    return Spot(module_of(value), path) if found is value else None


def title_of(module: ModuleType) -> str:
    """The name of a module. What `multiprocessing` has spawned of a script is the script."""
    return "__main__" if module.__name__ in SCRIPTS else module.__name__


def home_of_variables(variables: dict[str, Any]) -> ModuleType | None:
    """The module with these variables. What `multiprocessing` has spawned of a script has a copy of them."""
    name = variables.get("__name__", "")
    module = sys.modules.get(name)
    return module if module is not None and (vars(module) is variables or name == _SPAWNED) else None


def imported_from(home: ModuleType, name: str, value: object) -> tuple[ModuleType, str] | None:
    """The module, and the variable in it, from which a module has imported a variable, if it says so.

    A script doesn't: it is taken to have what an installed module has under the same name.
    """
    code = code_given(home.__name__) if is_given(home) else None
    if code is None:
        return _installed_with(name, value)
    one = imports_of(code).get(name)
    if one is None or one.item is None:
        return None
    try:
        title = resolve_name("." * one.dots + one.module, vars(home).get("__package__")) if one.dots else one.module
    except (ImportError, TypeError, ValueError):
        return None
    module = sys.modules.get(title)
    return None if module is None or module is home else (module, one.item)


def _installed_with(name: str, value: object) -> tuple[ModuleType, str] | None:
    """The first installed module by name that has a variable with that very object. Of numbers and texts many have."""
    if type(value) in ATOMS:
        return None
    modules = [one for one in [*sys.modules.values()] if issubclass(type(one), ModuleType)]
    found = [one for one in modules if vars(one).get(name) is value and is_installed(one)]
    return (min(found, key=attrgetter("__name__")), name) if found else None


def generators() -> list[object]:
    """The generators behind the functions of `random` and `numpy.random`, which are seeded for each attempt."""
    places = ("random", "_inst"), ("numpy.random.mtrand", "_rand")
    return [vars(sys.modules[module]).get(name) for module, name in places if module in sys.modules]
