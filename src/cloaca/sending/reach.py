"""Reach: what of the user's own modules the code of functions leads to, across modules.

Followed are the globals that a function names and what it holds for itself, the attributes that it names of modules,
the members of classes, and what is in objects and short collections.
"""

import sys
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from cloaca.pickling.code import attribute_names, codes_in, global_names, wrapped_in
from cloaca.pickling.hints import is_plain
from cloaca.pickling.mentions import held
from cloaca.pickling.modules import by_reference, is_given, is_importable
from cloaca.pickling.watch import ABSENT, ATOMS, Watch

SHORT = 100
"""How many members of a collection are followed at most."""

MANY = 10_000
"""How much is met until objects aren't followed any more: they are data then."""

_MOCKS = "unittest.mock"
_ASKS = frozenset({"__dict__", "getattr", "vars"})
"""Code that has one of these may ask a module for any attribute."""

_COLLECTIONS = frozenset({dict, list, set, tuple})
_IMPORTS = frozenset({"__import__", "import_module"})
"""Code that has one of these may name modules in its texts."""


class Reach:
    """What functions lead to as it is now: `found` are the variables of modules, each with its value."""

    def __init__(self, functions: Iterable[object]) -> None:
        self.found: dict[tuple[str, str], Any] = {}
        self._waiting: deque[tuple[object, frozenset[str]]] = deque()
        self._met: dict[Any, object] = {}  # keeps what it has met alive, so that an `id` means one thing
        self._watch = Watch()
        self.stands = self._watch.unchanged
        for function in functions:
            self._follow(function, frozenset())
            while self._waiting:
                self._follow(*self._waiting.popleft())

    def _meet(self, values: Iterable[object], names: frozenset[str] = frozenset()) -> None:
        """Follow what wasn't met before. `names` are those that a module may be asked for."""
        for value in values:
            key = (id(value), names) if isinstance(value, ModuleType) else id(value)
            if type(value) not in ATOMS and self._is_new(key, value):
                self._waiting.append((value, names))

    def _is_new(self, key: Any, value: object) -> bool:
        if key in self._met:
            return False
        self._met[key] = value
        return True

    def _follow(self, value: object, names: frozenset[str]) -> None:
        match value:
            case FunctionType():
                self._function(value)
            case type():
                self._class(value)
            case ModuleType():
                self._module(value, names)
            case list() | tuple() | dict() if len(value) > SHORT:
                return
            case list() | dict():
                self._watch.size(value)
                self._meet(_parts(value))
            case _:
                self._meet(_parts(value) if len(self._met) < MANY else ())

    def _function(self, function: FunctionType) -> None:
        code, variables = function.__code__, function.__globals__
        names = _names(code)
        self._meet(held(function) if is_plain(function) else (*held(function), *vars(function).values()), names)
        if not self._is_new((id(code), id(variables)), function) or not _is_followed(function):
            return
        self._watch.attribute(function, "__code__")
        home = sys.modules.get(variables.get("__name__", ""))
        is_home = home is not None and vars(home) is variables and is_given(home)
        for name in global_names(code):
            self._variable(home if is_home else None, name, self._watch.entry(variables, name), names)
        self._meet([sys.modules[name] for name in names & sys.modules.keys()], names)

    def _variable(self, home: ModuleType | None, name: str, value: object, names: frozenset[str]) -> None:
        self._meet((value,), names)
        if home is not None and value is not ABSENT and not isinstance(value, ModuleType):
            self.found[home.__name__, name] = value

    def _module(self, module: ModuleType, names: frozenset[str]) -> None:
        variables = vars(module)
        if is_given(module):
            self._watch.size(variables)
            for name in _asked(variables, names):
                self._variable(module, name, self._watch.entry(variables, name), names)
        elif is_importable(module):
            asked = {name: self._watch.entry(variables, name) for name in names & variables.keys()}
            self.found |= {(module.__name__, name): value for name, value in asked.items() if _is_stand_in(value)}

    def _class(self, cls: type) -> None:
        if not is_of_the_program(cls):
            return
        members, is_at_home = vars(cls), by_reference(cls) and not issubclass(cls, Enum)
        self._watch.size(members)
        for name in [*members]:
            value = self._watch.entry(members, name)
            self._meet((value,))
            if is_at_home and not _is_special(name):
                self.found[cls.__module__, f"{cls.__qualname__}.{name}"] = value
        self._meet(cls.__bases__)


def _asked(variables: Mapping[str, object], names: frozenset[str]) -> list[str]:
    """Which variables of a module code may ask for that has these names."""
    may_be_any = not names.isdisjoint(_ASKS)
    named = [
        name
        for name, value in [*variables.items()]
        if name in names or (may_be_any and (type(value) in ATOMS or type(value) in _COLLECTIONS))
    ]
    return [name for name in named if not _is_special(name)]


def is_of_the_program(cls: type) -> bool:
    """Whether a class is of the user's own code."""
    module = sys.modules.get(cls.__module__)
    return is_of_the_script(cls) or (module is not None and is_given(module))


def is_of_the_script(cls: type) -> bool:
    """Whether a class is of code that workers can't import, so that none of their modules has an instance by itself."""
    module = sys.modules.get(cls.__module__)
    return module is None or not is_importable(module)


def is_mock(value: object) -> bool:
    """Whether it is of `unittest.mock`, or a function with such a mock behind it."""
    behind = vars(value).get("mock") if isinstance(value, FunctionType) else None
    return _MOCKS in (type(value).__module__, type(behind).__module__)


def _is_stand_in(value: object) -> bool:
    """Whether no installed module has such a thing by itself: a mock, or a local function of the user's own code."""
    return is_mock(value) or (isinstance(value, FunctionType) and _is_followed(value) and not by_reference(value))


def _parts(value: object) -> Iterable[object]:
    """What leads on from a value."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    own = (type(value), *getattr(value, "__dict__", {}).values()) if is_of_the_program(type(value)) else ()
    return *wrapped_in(value), *own


def _is_followed(function: FunctionType) -> bool:
    """Whether it is of the user's own code: installed functions name nothing of that."""
    home = sys.modules.get(function.__globals__.get("__name__", ""))
    return home is None or is_given(home) or not is_importable(home)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


@lru_cache(maxsize=4096)
def _names(code: CodeType) -> frozenset[str]:
    """All names in the code, and in code inside it; texts too where they may be those of modules."""
    names = attribute_names(code)
    texts = [constant for one in codes_in(code) for constant in one.co_consts if isinstance(constant, str)]
    return names if names.isdisjoint(_IMPORTS) else names.union(texts)
