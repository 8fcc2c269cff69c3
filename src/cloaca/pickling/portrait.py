"""Portraits: what a function, a class or a value of the program is, in 8 bytes, the same in every process.

Whatever the hash seed, the addresses of objects, the lines and the file where code stands, and whether that was
compiled or loaded from a file of bytecode.

A portrait is of what stands at one `Spot` of the user's own modules: code, what it holds (defaults, closures,
attributes), and all that has no spot of its own: local functions, objects, collections. What has one, it refers to by
that, and tells where (`edges`). Of what is installed it has the name, and tells from which top-level modules (`tops`).
So a change in a helper shows in the portrait of that helper alone, and what many functions use is looked at once.

How: what has parts gets a number when it is met, and is described later, from a queue, by the numbers of its parts. So
cycles end, and long chains don't recurse. A tuple gets a number of its own each time: whether equal constants are one
object depends on how their module was loaded. Plain data counts by its content, dicts in their order. Other objects
count as what pickle would make them of. What can't be pickled (a lock, an open file) has no content that would mean the
same elsewhere: of these, only the type counts.
"""

import builtins
import copyreg
import marshal
import os
import re
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache, partialmethod, singledispatchmethod
from hashlib import blake2b
from importlib.util import resolve_name
from inspect import formatannotation
from itertools import islice
from operator import attrgetter
from pickle import PickleBuffer
from struct import Struct
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple, TypeGuard, TypeVar

from cloaca.pickling.code import wrapped_in
from cloaca.pickling.description import STATED, UNSAID, cell_parts
from cloaca.pickling.hints import is_plain, unresolved
from cloaca.pickling.lazy import settle
from cloaca.pickling.mentions import texts
from cloaca.pickling.modules import SCRIPTS, is_installed, module_called
from cloaca.pickling.normal import PLAIN, AskedFor, Import, Normal, digest_of, normal
from cloaca.pickling.reductions import OF_DISPATCHER
from cloaca.pickling.referents import referents
from cloaca.pickling.spots import ALL, Spot, generators, home_of_variables, imported_from, spot_of, title_of
from cloaca.pickling.watch import ATOMS

_T = TypeVar("_T")

_CONTAINERS = frozenset({dict, frozenset, list, set, tuple})
_SHARED = frozenset({dict, list, set})
_PLAIN = ATOMS | _CONTAINERS
_DEEPEST = 100
_LONG = 256
_NEAR = 30

_BY_NAME = (
    BuiltinFunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
)
_DOCUMENTED = (FunctionType, ModuleType, type)
_WITHOUT_CONTENT = (weakref.ref, weakref.WeakKeyDictionary, weakref.WeakSet, weakref.WeakValueDictionary)
_MADE = 1 << 9
"""The flag of classes that were made when the program ran: `Py_TPFLAGS_HEAPTYPE`."""

_OF_PROCESSES = frozenset({"itertools", "unittest.mock"})
"""Modules whose objects have no content: they stand in for others, or change as they are used."""
_OF_PROCESS = {
    id(value): name
    for name, value in {"environ": os.environ, "argv": sys.argv, "modules": sys.modules, "path": sys.path}.items()
}
"""What isn't taken for data, also where it was imported from its module under another name."""

_ASKS_FOR_SUBCLASSES = "__subclasses__"
_ADDRESS = re.compile(" at 0x[0-9a-f]+")

OF_THE_PLACE = frozenset(
    {"__builtins__", "__cached__", "__file__", "__loader__", "__package__", "__path__", "__spec__"}
)  # fmt: skip
"""Variables of a module that say where it stands."""

_UNSAID = UNSAID | {
    "__abstractmethods__",
    "__non_callable_proto_members__",
    "__pydantic_core_schema__",
    "__pydantic_serializer__",
    "__pydantic_setattr_handlers__",
    "__pydantic_validator__",
    "__signature__",
    "__slotnames__",
    "_abc_impl",
}
"""What else Python and pydantic add when they like. It follows from the rest."""

_SAID = {"pydantic._internal._decorators.Decorator": ("cls_var_name", "info", "shim")}
"""What counts of objects that also hold addresses, by their class."""

_OF_ATTRS = "<attrs generated "
"""How the file is called of methods that attrs makes. The hash of that name is part of a `__hash__`."""


class Portrait(NamedTuple):
    """The digest of what stands in a spot, what else it leads to, and which installed modules it uses."""

    digest: bytes
    edges: Mapping[Spot, object]
    tops: frozenset[str]


def portrait(value: object, spot: Spot | None = None) -> Portrait:
    """The portrait of a value. `spot`: where it stands."""
    drawn = Drawing(spot)
    digest = drawn.all_of(value) if spot is not None and spot.path == ALL else drawn.digest(value)
    return Portrait(digest, drawn.edges, frozenset(drawn.tops))


_normal = lru_cache(maxsize=4096)(normal)


def _plain_form(value: Any) -> bytes | None:
    """The bytes of plain data, or their digest if they are many; `None` where it is none, or has a cycle."""
    level: list[Any] = [value]
    seen: set[int] = set()
    for _ in range(_DEEPEST):
        kinds = {*map(type, level)}
        if not kinds <= _PLAIN:
            return None
        if kinds.isdisjoint(_CONTAINERS):
            form = marshal.dumps(value, PLAIN)
            return form if len(form) <= _LONG else digest_of(form)
        holders = [one for one in level if type(one) in _CONTAINERS]
        shared = [id(one) for one in holders if type(one) in _SHARED]
        if len({*shared}) < len(shared) or not seen.isdisjoint(shared):
            return None
        seen.update(shared)
        level = referents(*holders)
    return None


class Drawing:
    """A portrait in the making. What is told of `edges` and `tops` grows with each digest."""

    def __init__(self, spot: Spot | None = None) -> None:
        self.edges: dict[Spot, object] = {}
        self.tops: set[str] = set()
        self._spot = spot
        self._queue: list[object] = []  # keeps temporary objects alive, so that an address means one thing
        self._numbers: dict[int, int] = {}

    def digest(self, *values: object) -> bytes:
        """The digest of values."""
        return self._digest(lambda: self._forms(values))

    def code(self, function: FunctionType) -> bytes:
        """The digest of a function without its defaults and what it closes over."""
        return self._digest(lambda: (self._attributes(function), self._code(function)))

    def cell(self, function: FunctionType, place: int) -> bytes:
        """The digest of one of the variables that it closes over."""
        return self._digest(lambda: self._cell(function, place))

    def all_of(self, module: Any) -> bytes:
        """The digest of all variables of a module."""
        variables = {name: one for name, one in vars(module).items() if name not in OF_THE_PLACE}
        return self._digest(lambda: [self._variable(module, name, variables[name]) for name in sorted(variables)])

    def _digest(self, draw: Callable[[], Any]) -> bytes:
        """The digest of what is drawn, and of all that leads to without a spot of its own."""
        self._queue, self._numbers = [], {}
        forms = [draw()]
        forms += map(self._described, self._followed())
        return digest_of(forms)

    def _followed(self) -> Iterable[object]:
        """What is described: all of what waits for that, which grows meanwhile."""
        return self._queue

    # Each form below is what `marshal` can write: an atom, or a tuple that begins with what it is.

    def _form(self, value: object) -> Any:
        """A value by itself, by its name, or by the number under which it is described later."""
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind in _CONTAINERS and id(value) not in _OF_PROCESS:
            plain = _plain_form(value)
            if plain is not None:
                return "plain", plain
        else:
            name = self._name(value)
            if name is not None:
                return name
        number = len(self._queue) if kind is tuple else self._numbers.setdefault(id(value), len(self._queue))
        if number == len(self._queue):
            self._queue.append(value)
        return "#", number

    def _forms(self, values: Iterable[object]) -> tuple[Any, ...]:
        return tuple(map(self._form, values))

    def _entries(self, entries: Mapping[str, object]) -> tuple[Any, ...]:
        """Entries whose order says nothing."""
        return tuple([(name, self._form(entries[name])) for name in sorted(entries)])

    # ---- what has a name

    def _name(self, value: Any) -> Any:
        """The form of what is known by its name: installed, or to be looked at where it stands."""
        kind = type(value)
        if kind.__module__ in _OF_PROCESSES:
            return None
        if issubclass(kind, ModuleType):
            return self._module(value)
        if issubclass(kind, FunctionType | type):
            return self._name_of_definition(value)
        if issubclass(kind, _BY_NAME):
            return self._name_of_builtin(value)
        if id(value) in _OF_PROCESS:
            return "@", _OF_PROCESS[id(value)]
        if any(value is one for one in generators()):
            return "@", kind.__qualname__
        return None

    def _module(self, module: ModuleType) -> Any:
        name = title_of(module)
        if is_installed(module):
            return self._installed(name, "")
        if self._spot != (name, ALL):
            self.edges[Spot(name, ALL)] = module
        return "@", name, ALL

    def _name_of_definition(self, value: Any) -> Any:
        home = sys.modules.get(value.__module__) if isinstance(value.__module__, str) else None
        spot = spot_of(value)
        if home is not None and is_installed(home) and (spot is not None or _is_of_library(value)):
            return self._installed(home.__name__, value.__qualname__)
        if spot is None or self._is_inside(spot):
            return None
        self.edges[spot] = value
        return "@", *spot

    def _name_of_builtin(self, value: Any) -> Any:
        owner = getattr(value, "__self__", None)
        if owner is not None and not _is_a(owner, ModuleType):
            return "of", value.__qualname__, self._form(owner)
        cls = getattr(value, "__objclass__", None)
        if cls is not None:
            return "member", value.__qualname__, type(value).__name__
        return self._installed(owner.__name__ if owner is not None else "builtins", value.__qualname__)

    def _installed(self, module: str, path: str) -> Any:
        self.tops.add(module.partition(".")[0])
        return "@", module, path

    def _is_inside(self, spot: Spot) -> bool:
        """Whether it stands in what the portrait is of, as methods do."""
        own = self._spot
        return own is not None and own.module == spot.module and f"{spot.path}.".startswith(f"{own.path}.")

    # ---- what has parts

    def _described(self, value: Any) -> Any:
        kind = type(value)
        if issubclass(kind, type):
            return "class", self._class(value)
        if kind is tuple or kind is list:
            return kind.__name__, self._forms(value)
        if kind is dict or kind is MappingProxyType:
            return "dict", [(self._form(key), self._form(one)) for key, one in [*value.items()]]
        if kind is set or kind is frozenset:
            return kind.__name__, self._elements(value)
        if kind is FunctionType and not is_plain(value) and vars(value).keys() >= OF_DISPATCHER:
            return "dispatcher", _registered(self, value)
        describe = _DESCRIBED.get(kind)
        if describe is not None:
            return kind.__name__, describe(self, value)
        wrapped = tuple(wrapped_in(value))
        return ("wrapper", kind.__name__, self._forms(wrapped)) if wrapped else self._object(value)

    def _elements(self, values: Collection[object]) -> Any:
        """The elements of a set, in an order that doesn't depend on the process."""
        return self._forms(sorted(values, key=lambda one: _Glance(self._spot).digest(one)))

    def _object(self, value: Any) -> Any:
        """Anything else, as what pickle would make it of."""
        cls = type(value)
        if issubclass(cls, _WITHOUT_CONTENT) or cls.__module__ in _OF_PROCESSES:
            return "some", cls.__qualname__
        if said := _SAID.get(f"{cls.__module__}.{cls.__qualname__}"):
            return "object", self._form(cls), self._forms([getattr(value, name) for name in said])
        try:
            reduce = copyreg.dispatch_table.get(cls)
            made = reduce(value) if reduce else value.__reduce_ex__(5)
            if isinstance(made, str):
                return self._installed(getattr(value, "__module__", None) or cls.__module__, made)
            given: tuple[Any, ...] = (*made, None, None, None)
            maker, arguments, state = given[:3]
            elements, items = list(given[3] or ()), list(given[4] or ())
        except Exception:  # noqa: BLE001 - whatever it raises: it says that it is nothing that could be sent
            return "some", self._form(cls)
        return "object", *self._forms((cls, maker, arguments, state, elements, items))

    def _class(self, cls: type) -> Any:
        members = {name: member for name, member in [*vars(cls).items()] if name not in _UNSAID}
        if _is_hash_of_attrs(members.get("__hash__")):
            del members["__hash__"]
        annotations = [(name, _ADDRESS.sub("", formatannotation(one))) for name, one in unresolved(cls).items()]
        lead = cls.__qualname__, self._form(type(cls)), self._forms(cls.__bases__)
        stated = self._forms([getattr(cls, name, None) for name in STATED])
        mentioned = {name for member in members.values() for name in _mentioned(member)}
        inherited = self._subclasses([cls], mentioned)
        return lead, annotations, stated, inherited, self._entries(_options(cls)), self._entries(members)

    # ---- functions

    def _function(self, function: FunctionType) -> Any:
        defaults = self._form(function.__defaults__), self._entries(function.__kwdefaults__ or {})
        cells = [self._cell(function, place) for place in range(len(function.__closure__ or ()))]
        return defaults, cells, self._attributes(function), self._code(function)

    def _attributes(self, function: FunctionType) -> Any:
        return () if is_plain(function) else self._entries(vars(function))

    def _cell(self, function: FunctionType, place: int) -> Any:
        try:
            content = (function.__closure__ or ())[place].cell_contents
        except ValueError:
            return ("empty",)  # its variable has no value yet
        if not _is_a(content, ModuleType):
            return self._form(content)
        return self._used(content, _normal(function.__code__).inner.get(function.__code__.co_freevars[place], ()))

    def _code(self, function: FunctionType) -> Any:
        code, variables = function.__code__, function.__globals__
        home = home_of_variables(variables)
        if home is not None and is_installed(home):
            return self._installed(home.__name__, code.co_qualname)
        form = _normal(code)
        settle(variables, form.uses)
        found = [self._global(home, variables, name, ways) for name, ways in form.uses.items()]
        every = self._every(home, variables) if form.asks_for_globals else ()
        named = [variables.get(name) for name in form.uses]
        asked = self._called(code, form), self._subclasses(named, form.mentioned), _docstrings(function, named, form)
        return form.digest, found, every, [self._import(variables, one, form) for one in form.imports], asked

    def _global(
        self, home: ModuleType | None, variables: Mapping[str, object], name: str, ways: tuple[AskedFor, ...]
    ) -> Any:
        """What a global name stands for."""
        if name in OF_THE_PLACE:
            return None
        if name in variables:
            return self._variable(home, name, variables[name], ways)
        return None if hasattr(builtins, name) else ("absent", name)

    def _variable(self, home: ModuleType | None, name: str, value: object, ways: tuple[AskedFor, ...] = ((),)) -> Any:
        """A variable, by the spot where it stands if that is in a module, and what it is asked for where it is one."""
        if _is_a(value, ModuleType):
            return self._used(value, ways)
        if name == "__name__" and value in SCRIPTS:
            return "__main__"
        known = None if type(value) in ATOMS else self._name(value)
        if known is not None or home is None:
            return self._form(value) if known is None else known
        origin = imported_from(home, name, value)
        if origin is not None and vars(origin[0]).get(origin[1]) is value:
            module, item = origin
            return self._installed(module.__name__, item) if is_installed(module) else self._variable(*origin, value)
        spot = Spot(title_of(home), name)
        self.edges[spot] = value
        return "@", *spot

    def _every(self, home: ModuleType | None, variables: Mapping[str, object]) -> Any:
        return self._entries({**variables, "__builtins__": None}) if home is None else self._module(home)

    def _used(self, module: ModuleType, ways: tuple[AskedFor, ...]) -> Any:
        return [self._asked(module, way) for way in ways]

    def _asked(self, module: ModuleType, way: AskedFor) -> Any:
        """What a module is asked for."""
        if not way:
            return self._module(module)
        name, *rest = way
        if name not in vars(module) and "__path__" in vars(module):
            module_called(f"{module.__name__}.{name}")  # which makes it an attribute
        value = vars(module).get(name)
        if is_installed(module):
            is_own = _is_a(value, FunctionType) and not _is_of_installed(value)  # something else stands in for it
            return self._installed(module.__name__, name), self._form(value) if is_own else None
        if _is_a(value, ModuleType):
            return self._asked(value, tuple(rest))
        if name in vars(module):
            return self._variable(module, name, value)
        return "absent", module.__name__, name, self._form(vars(module).get("__getattr__"))

    # ---- what code imports itself

    def _import(self, variables: Mapping[str, Any], one: Import, form: Normal) -> Any:
        name = "." * one.dots + one.module
        with suppress(ImportError, TypeError, ValueError):  # not in a package, or beyond it
            name = resolve_name(name, variables.get("__package__")) if one.dots else name
        module = module_called(name)
        ways = form.inner.get(one.variable or "", ()) if one.variable else ((),)
        if module is None or is_installed(module):
            return self._installed(name, one.item or "")
        if one.item is None:
            top = sys.modules[name.partition(".")[0]]
            return self._used(module, ways), self._used(top, ways)
        return [self._asked(module, (one.item, *way)) for way in ways or ((),)]

    def _called(self, code: CodeType, form: Normal) -> Any:
        """The modules that code may import by texts."""
        if not form.asks_for_modules:
            return ()
        named = [text for text in texts(code) if all(map(str.isidentifier, text.split(".")))]
        return self._forms([module for module in map(module_called, named) if module is not None])

    def _subclasses(self, classes: Iterable[object], mentioned: Collection[str]) -> Any:
        """The classes that inherit from these, where code asks for them."""
        if _ASKS_FOR_SUBCLASSES not in mentioned:
            return ()
        kinds: list[Any] = [cls for cls in classes if _is_a(cls, type)]
        found: list[Any] = [one for cls in kinds for one in type.__subclasses__(cls)]
        return self._forms(sorted(found, key=attrgetter("__module__", "__qualname__")))


class _Glance(Drawing):
    """A quick look at an element of a set, which may lead to that set again: not into others, and not far."""

    def _followed(self) -> Iterable[object]:
        return islice(self._queue, _NEAR)

    def _elements(self, values: Collection[object]) -> Any:
        return len(values)


def _is_a(value: object, kind: type[_T]) -> TypeGuard[_T]:
    """Whether it really is one: a proxy may only say so, or fail when it is asked."""
    return issubclass(type(value), kind)


def _is_hash_of_attrs(method: object) -> bool:
    return isinstance(method, FunctionType) and method.__code__.co_filename.startswith(_OF_ATTRS)


def _mentioned(member: object) -> Collection[str]:
    """The names that the code of a method mentions."""
    inner = next(iter(wrapped_in(member)), member)
    return _normal(inner.__code__).mentioned if isinstance(inner, FunctionType) else ()


def _options(cls: Any) -> dict[str, object]:
    """How a msgspec Struct was defined."""
    options = getattr(cls, "__struct_config__", None)
    return {name: getattr(options, name) for name in dir(options) if options is not None and not name.startswith("_")}


def _is_of_library(value: Any) -> bool:
    """Whether a local class is of the installed module that it names. Code without a module says it is a builtin."""
    return isinstance(value, type) and not (value.__module__ == "builtins" and value.__flags__ & _MADE)


def _is_of_installed(function: FunctionType) -> bool:
    home = home_of_variables(function.__globals__)
    return home is not None and is_installed(home)


def _docstrings(function: FunctionType, named: Iterable[object], form: Normal) -> Any:
    """Docstrings, where the code reads any: its own, and those of what it names."""
    if not form.docstrings:
        return ()
    known = [one.__doc__ for one in (function, *named) if issubclass(type(one), _DOCUMENTED)]
    return form.docstrings, [doc if isinstance(doc, str) else None for doc in known]


def _registered(drawing: Drawing, function: Any) -> Any:
    """A dispatcher of functools keeps what it has found for types that it was called with."""
    known = {f"{cls.__module__}.{cls.__qualname__}": (cls, called) for cls, called in function.registry.items()}
    return drawing._entries(known)


_DESCRIBED: dict[type, Callable[[Drawing, Any], Any]] = {
    FunctionType: Drawing._function,
    CodeType: lambda _, code: _normal(code).digest,
    PickleBuffer: lambda _, buffer: blake2b(buffer.raw(), digest_size=8).digest(),
    Struct: lambda _, layout: layout.format,
    CellType: lambda drawing, cell: drawing._forms(cell_parts(cell)),
    cached_property: lambda drawing, value: drawing._forms((value.func, value.attrname)),
    partialmethod: lambda drawing, value: drawing._forms((value.func, value.args, value.keywords)),
    singledispatchmethod: lambda drawing, value: drawing._forms((value.func, value.dispatcher)),
}
"""What values consist of that pickle can't make, or not everywhere alike."""
