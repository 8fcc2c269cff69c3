"""Variables: what the program has set in its own modules, as far as tasks use it.

    settings.RATE = arguments.rate

A worker imports `settings` itself, and would find the rate that stands in the file. So what the code of tasks leads to
(`reach`) is looked at when an execution starts. Plain data travels, and functions and classes that stand in for others;
not what the module's own code shows to be there anyway. Of anything else (a logger, a pool, a model) it is taken that
importing the module makes one. Where the program has surely put something in its place, that is sent too, or there is a
warning that it can't be.

Roads not taken: to send what has changed since a module was imported. Most is set before a runner exists, and nobody
keeps what was there before.
"""

import copyreg
import dis
import marshal
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from types import FunctionType, SimpleNamespace
from typing import Any

from cloaca.errors import EncodeError
from cloaca.pickling.functions import next_number
from cloaca.pickling.mentions import held
from cloaca.pickling.modules import code_given, home_of, is_given
from cloaca.pickling.watch import ATOMS
from cloaca.sending.reach import Reach, is_mock, is_of_the_program, is_of_the_script
from cloaca.values.codec import encode
from cloaca.warning import warn
from cloaca.wire.messages import Place, Publish
from cloaca.wording import a

MANY = 10_000
"""How much a collection that its module computes may hold. With more, it is taken that importing gives the same."""

_COLLECTIONS = frozenset({list, tuple, set, frozenset, dict, deque, OrderedDict, defaultdict, Counter})
_OF_VALUES = frozenset({"datetime", "decimal", "fractions", "pathlib", "re", "uuid", "zoneinfo"})
"""Modules of Python whose instances are plain data, too."""

_STORES = frozenset({"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME"})
_CONSTANTS = frozenset({"LOAD_COMMON_CONSTANT", "LOAD_CONST", "LOAD_SMALL_INT"})
_EMPTY: Mapping[str, Callable[[], object]] = {"BUILD_LIST": list, "BUILD_MAP": dict}
_UNKNOWN = object()


class Variables:
    """What functions find in the user's own modules, to be published. `name` tells which one that is, in words."""

    def __init__(self, functions: Sequence[object], name: Callable[[int], str]) -> None:
        self._functions = functions
        self._name = name
        self._reach: Reach | None = None
        self._fixed: dict[Place, bytes | None] = {}
        self._changeable: dict[Place, Any] = {}
        self._warned: set[Place] = set()
        self._contents: dict[str, dict[str, bytes]] = {}
        self._published: Publish | None = None

    def look_again(self) -> None:
        """The functions themselves may have changed."""
        self._reach = None

    def now(self) -> Publish | None:
        """What they find now; `None` where that is what importing the modules gives. Nothing new is the same object."""
        contents = self.contents()
        if contents != self._contents:
            self._contents = contents
            self._published = Publish(next_number(), pickle.dumps(contents), ()) if contents else None
        return self._published

    def contents(self) -> dict[str, dict[str, bytes]]:
        """The payloads, by module and by the way to the variable in it."""
        if self._reach is None or not self._reach.stands():
            self._reach = Reach(self._functions)
            self._look_through(self._reach.found)
        changeable = {place: _encoded(value) for place, value in self._changeable.items()}
        contents: dict[str, dict[str, bytes]] = {}
        for (module, path), payload in (self._fixed | changeable).items():
            if payload is not None:
                contents.setdefault(module, {})[path] = payload
        return contents

    def _look_through(self, found: Mapping[Place, Any]) -> None:
        self._fixed, self._changeable = {}, {}
        for place, value in found.items():
            if is_mock(value) or not is_given(sys.modules[place[0]]):
                self._warn(place, value)
            elif isinstance(value, FunctionType | type):
                self._fixed[place] = None if _is_at_home(place, value) else _encoded(value)
            elif (is_surely_set := _is_surely_set(place, value)) or (is_surely_set is None and _is_data(value)):
                payload = _encoded(value)
                if payload is None and is_surely_set:
                    self._warn(place, value)
                elif type(value) in ATOMS:
                    self._fixed[place] = payload
                else:
                    self._changeable[place] = value

    def _warn(self, place: Place, value: object) -> None:
        if place in self._warned:
            return
        self._warned.add(place)
        numbers = (number for number, function in enumerate(self._functions) if place in Reach([function]).found)
        user = self._name(next(numbers))
        warn(
            f"{user} uses {'.'.join(place)}, which the program has set to {a(type(value).__name__)}. That isn't sent: "
            f"in workers it is what importing {place[0]!r} gives. Set it in the runner's initializer, pass what is "
            'needed through the context, or use executor="serial", as in tests.'
        )


def _encoded(value: object) -> bytes | None:
    """The payload of a value, as far as it can be sent."""
    try:
        return encode(value)
    except EncodeError:
        return None


# ---- what importing a module doesn't give ----------------------------------------------------------------------------


def _is_at_home(place: Place, value: FunctionType | type) -> bool:
    """Whether a function or class is what its module has there by itself: its own, an imported or a decorated one."""
    home = home_of(value)
    if home is not None:
        return (home[0].__name__, home[1]) == place or not is_given(home[0])
    if value.__module__ == place[0]:
        return True
    inner = [one for one in held(value) if isinstance(one, FunctionType)] if isinstance(value, FunctionType) else []
    return any((one.__module__, one.__qualname__) == place for one in inner)


def _is_surely_set(place: Place, value: object) -> bool | None:
    """Whether the program has set a variable to that value; `None` where it can't be told."""
    module, path = place
    given = _given_by(code_given(module)).get(path, _UNKNOWN)
    if given is not _UNKNOWN:
        return type(value) is not type(given) or value != given
    return True if is_of_the_script(type(value)) else None


def _is_data(value: object) -> bool:
    """Whether it is plain data, and not too much of it."""
    waiting: list[object] = [value]
    seen: dict[int, object] = {}
    while waiting:
        one = waiting.pop()
        if type(one) in ATOMS or id(one) in seen:
            continue
        seen[id(one)] = one
        parts = _parts(one)
        if parts is None or len(waiting) + len(seen) + len(parts) > MANY:
            return False
        waiting += parts
    return True


def _parts(value: Any) -> Collection[object] | None:
    """What a value consists of; `None` where it isn't plain data."""
    kind = type(value)
    if kind in _COLLECTIONS or isinstance(value, tuple):
        return (*value, *value.values()) if isinstance(value, dict) else tuple(value)
    if isinstance(value, FunctionType | type | Enum | range) or kind.__module__.partition(".")[0] in _OF_VALUES:
        return ()
    if kind is SimpleNamespace or kind.__module__ == "argparse" or is_of_the_program(kind):
        return _attributes(value)
    return None


def _attributes(value: Any) -> tuple[object, ...]:
    """The values of an object's attributes, those in slots as well."""
    slots: list[str] = vars(copyreg)["_slotnames"](type(value))
    named = [*slots, *getattr(value, "__struct_fields__", ())]
    return (*getattr(value, "__dict__", {}).values(), *[getattr(value, name) for name in named if hasattr(value, name)])


@lru_cache(maxsize=256)
def _given_by(code: bytes | None) -> dict[str, object]:
    """What a module's code sets its variables to: constants and empty collections, as far as each is set once."""
    if not code:
        return {}
    steps = list(dis.get_instructions(marshal.loads(code)))  # noqa: S302 - it was made here
    stores = Counter(step.argval for step in steps if step.opname in _STORES)
    given = {
        after.argval: _EMPTY[step.opname]() if step.opname in _EMPTY else step.argval
        for step, after in pairwise(steps)
        if after.opname == "STORE_NAME"
        and not after.is_jump_target
        and (step.opname in _CONSTANTS or (step.opname in _EMPTY and not step.arg))
    }
    return {name: value for name, value in given.items() if stores[name] == 1}
