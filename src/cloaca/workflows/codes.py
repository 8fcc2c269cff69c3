"""Codes: the digest of all code that a task runs, by which it is the same code as that of an earlier execution.

What counts is the task's function and all that it can reach in the user's own modules: functions, classes and plain
variables, each as its portrait has it (`pickling/portrait`); installed distributions by name and version; Python's
minor version; and what the task says that changes what runs. What is reached is looked at once, however many tasks
reach it: as long as a `Codes` is there, it takes everything for what it was when it was first met.

Roads not taken: one hash over all that a function leads to, as `workflows/version` makes it. It can't tell what has
changed, and goes through everything again for each task. Nor what files of modules were like: they change with
every comment, and tell nothing of what the program has put in a variable.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from itertools import chain
from types import CellType, FunctionType, MethodType
from typing import Any, Protocol

from msgspec import Struct

from cloaca.pickling.description import module_of
from cloaca.pickling.hints import is_plain
from cloaca.pickling.modules import SCRIPTS
from cloaca.pickling.normal import digest_of
from cloaca.pickling.portrait import Drawing, Portrait, portrait
from cloaca.pickling.spots import ALL, Spot
from cloaca.pickling.watch import ATOMS
from cloaca.store.records import Code
from cloaca.workflows.packages import packages

CODE_VERSION = 1
"""Part of each digest. Another one where tasks of the same code are run otherwise than before."""

PYTHON = f"Python {sys.version_info[0]}.{sys.version_info[1]}"


class Coded(Protocol):
    """What of a task counts: see `workflows/workflow.Task`."""

    @property
    def function(self) -> Callable[..., Any]:
        """The user's own."""
        ...

    @property
    def fingerprint(self) -> Callable[..., object] | None:
        """What is called before it."""
        ...

    @property
    def cache_version(self) -> str:
        """What the user says of its version."""
        ...

    @property
    def ways(self) -> tuple[object, ...]:
        """What it says that changes what runs."""
        ...


class _Own(Struct, frozen=True, gc=False):
    """What stands in a function itself: its parts by what they are called, and what these lead to.

    `spots` are those of the `edges`; `tops` the top-level names of installed modules.
    """

    parts: Mapping[str, bytes]
    edges: Mapping[Spot, object] = {}
    spots: frozenset[Spot] = frozenset()
    tops: frozenset[str] = frozenset()

    def __or__(self, other: "_Own") -> "_Own":
        parts = {**self.parts, **other.parts}
        if not other.edges and not other.tops:
            return _Own(parts, self.edges, self.spots, self.tops)
        return _Own(
            parts,
            {**self.edges, **other.edges},
            self.spots | other.spots,
            self.tops | other.tops,
        )


class _Reached(Struct, frozen=True, gc=False):
    """All that is led to: its digest, and its parts by what they are called."""

    digest: bytes
    parts: Mapping[str, bytes]


class Codes:
    """The codes of tasks, and of merge rules."""

    def __init__(self) -> None:
        self._portraits: dict[Spot, Portrait] = {}
        self._reached: dict[tuple[frozenset[Spot], frozenset[str]], _Reached] = {}
        self._bodies: dict[tuple[int, int], _Own] = {}
        self._known: dict[tuple[object, ...], Code] = {}
        self._kept: list[object] = []  # so that an address means one thing

    def of(self, task: Coded) -> Code:
        """The code of a task."""
        settings = task.ways
        key = id(task.function), id(task.fingerprint), task.cache_version
        if not settings and key in self._known:
            return self._known[key]
        own = self._own(task.function)
        if settings:
            own |= _drawn("its settings", settings)
        if task.fingerprint is not None:
            own |= _renamed("its fingerprint", self._own(task.fingerprint))
        if task.cache_version:
            own |= _drawn("its cache_version", task.cache_version)
        code = self._code(own)
        if not settings:
            self._known[key] = code
        self._kept.append(task)
        return code

    def code_of_rule(self, function: Callable[..., Any]) -> bytes:
        """The digest of a merge rule's code, 16 bytes."""
        self._kept.append(function)
        return self._code(self._own(function)).digest

    def _code(self, own: _Own) -> Code:
        reached = self._all_of(own)
        found = b"".join([reached.digest, *own.parts.values()])
        return Code(blake2b(found, digest_size=16).digest(), {**own.parts, **reached.parts, **own.parts})

    # ---- what stands in a function itself

    def _own(self, function: Any) -> _Own:
        match function:
            case FunctionType():
                return self._of_function(function)
            case partial():
                given = len(function.args), *function.args, *chain.from_iterable(sorted(function.keywords.items()))
                return self._own(function.func) | _drawn("what it is given beforehand", given)
            case MethodType():
                return self._own(function.__func__) | _drawn("the object that it is called on", function.__self__)
            case _:
                return _drawn(_called(function), function)

    def _of_function(self, function: FunctionType) -> _Own:
        own = self._body(function)
        if function.__defaults__ or function.__kwdefaults__:
            own |= _drawn("its default arguments", _defaults(function))
        for place, cell in enumerate(function.__closure__ or ()):
            own |= _closed_over(function, place, cell)
        return own

    def _body(self, function: FunctionType) -> _Own:
        """A function without its defaults and what it closes over: many may share it."""
        key = id(function.__code__), id(function.__globals__)
        if not is_plain(function) and vars(function):
            return _body(function)
        if key not in self._bodies:
            self._bodies[key] = _body(function)
        return self._bodies[key]

    # ---- what that leads to

    def _all_of(self, own: _Own) -> _Reached:
        key = own.spots, own.tops
        if key not in self._reached:
            self._reached[key] = self._followed(own)
        return self._reached[key]

    def _followed(self, own: _Own) -> _Reached:
        waiting, tops = dict(own.edges), set(own.tops)
        found: dict[Spot, tuple[str, bytes]] = {}
        while waiting:
            spot, value = waiting.popitem()
            if spot in found:
                continue
            drawn = self._portrait(spot, value)
            found[spot] = _name_at(spot, value), drawn.digest
            waiting.update(drawn.edges)
            tops |= drawn.tops
        used = [PYTHON, *[f"package {package}" for package in packages(tops)]]
        parts = dict([found[spot] for spot in sorted(found)])
        form = [(*spot, digest) for spot, (_, digest) in sorted(found.items())]
        return _Reached(digest_of((CODE_VERSION, form, used)), {**parts, **{name: digest_of(name) for name in used}})

    def _portrait(self, spot: Spot, value: object) -> Portrait:
        if spot not in self._portraits:
            self._portraits[spot] = portrait(value, spot)
        return self._portraits[spot]


def _drawn(name: str, value: object) -> _Own:
    """A value as a part of a function."""
    if _is_simple(value):
        return _Own({name: digest_of(value)})
    drawing = Drawing()
    return _of(drawing, {name: drawing.digest(value)})


def _closed_over(function: FunctionType, place: int, cell: CellType) -> _Own:
    name = f"what it closes over: {function.__code__.co_freevars[place]}"
    with suppress(ValueError):  # its variable has no value yet
        if _is_simple(cell.cell_contents):
            return _Own({name: digest_of(cell.cell_contents)})
    drawing = Drawing()
    return _of(drawing, {name: drawing.cell(function, place)})


def _is_simple(value: Any) -> bool:
    """Whether it leads to nothing. To draw it would take longer than all else."""
    return type(value) in ATOMS or (type(value) is tuple and ATOMS.issuperset(map(type, value)))


def _defaults(function: FunctionType) -> object:
    named = function.__kwdefaults__
    return (function.__defaults__, sorted(named.items())) if named else function.__defaults__


def _body(function: FunctionType) -> _Own:
    drawing = Drawing()
    return _of(drawing, {_called(function): drawing.code(function)})


def _of(drawing: Drawing, parts: Mapping[str, bytes]) -> _Own:
    return _Own(parts, drawing.edges, frozenset(drawing.edges), frozenset(drawing.tops))


def _renamed(name: str, own: _Own) -> _Own:
    """What stands in a function, as one part."""
    return _Own({name: digest_of([*own.parts.values()])}, own.edges, own.spots, own.tops)


# ---- what parts are called -------------------------------------------------------------------------------------------


def _called(value: Any) -> str:
    """What a function or an object is called that a task calls."""
    kind = "function" if hasattr(value, "__qualname__") else "object"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind} {named.__qualname__.rpartition('<locals>.')[2]} in {_file(module_of(named))}"


def _name_at(spot: Spot, value: object) -> str:
    file, name = _file(spot.module), spot.path
    if name == ALL:
        return f"module {file}"
    if issubclass(type(value), FunctionType | type):
        return f"{'function' if type(value) is FunctionType else 'class'} {name} in {file}"
    return f"{'constant' if name.isupper() else 'variable'} {name} in {file}"


def _file(name: str) -> str:
    """Where a module stands, as people say it: "steps.py", "pkg/steps.py"."""
    module = sys.modules.get(name)
    file: str | None = getattr(module, "__file__", None)
    if file is None:
        return name
    stem = file.rpartition("/")[2]
    if name in SCRIPTS:
        return stem
    folders = name.split(".") if stem.startswith("__init__.") else name.split(".")[:-1]
    return "/".join([*folders, stem])


# ---- what has changed ------------------------------------------------------------------------------------------------


def changed(old: Code, new: Code) -> str:
    """What differs between two codes of a task, in words.

    >>> changed(Code(b"1", {"function clean in steps.py": b"1"}), Code(b"2", {"function clean in steps.py": b"2"}))
    'its code changed: function `clean` in steps.py'
    """
    told = [*_told(old.parts, new.parts)]
    if not told:
        return "its code changed"
    more = f" and {len(told) - MOST} more" if len(told) > MOST else ""
    return f"its code changed: {', '.join(told[:MOST])}{more}"


MOST = 3
"""How many changes are told of one by one."""


def _told(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Iterator[str]:
    """The parts that differ: first those that are another, then those that are new, or gone."""
    gone = {name: _marked(name) for name in old if name not in new}
    yield from [_marked(name) for name in new if name in old and new[name] != old[name]]
    for name in new:
        if name not in old:
            before = next((one for one in gone if _unversioned(one) == _unversioned(name)), None)
            yield f"{name} (was {before.rpartition(' ')[2]})" if before else f"{_marked(name)} (new)"
            gone.pop(before or "", None)
    yield from [f"{name} (gone)" for name in gone.values()]


def _unversioned(name: str) -> str:
    """The name of what has a version behind it."""
    return name.rpartition(" ")[0] if name.startswith(("package ", "Python ")) else name


def _marked(name: str) -> str:
    """The name with what the program calls it between backticks."""
    kind, _, rest = name.partition(" ")
    thing, of, file = rest.partition(" in ")
    return f"{kind} `{thing}`{of}{file}" if of else name
