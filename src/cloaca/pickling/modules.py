"""Modules of the program: which ones workers can import, and as which code.

What is installed (Python's own library, site-packages) a worker finds by itself. All other modules are the user's own:
files that are edited, deployed anew, or loaded from a path that no finder knows. A worker is given the code of those
that the program has loaded, and runs that. So it never meets another version, and needs no finder for them.

The code is asked of each module's own loader when a module is first met, and kept from then on. That it is the code
that the program runs shows in the functions that the module holds. A reload shows in a new spec, or (as `%autoreload`
may change functions in place) in a file that is another one and functions that have other code.

What can't be had by importing travels by value: what is defined in the script itself, in a module without code
(`types.ModuleType(name)`) or whose file was changed before it was met, and where
`cloudpickle.register_pickle_by_value` says so.
"""

import marshal
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from operator import attrgetter
from types import CodeType, FunctionType, ModuleType
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cloaca.pickling.code import codes_in, wrapped_in
from cloaca.wire.shortage import patiently

SCRIPTS = frozenset({"__main__", "__mp_main__"})
"""The second is what a script is called in a process that `multiprocessing` has spawned."""

_OF_THE_IMPORT = frozenset({"__builtins__", "__cached__", "__loader__", "__spec__"})
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_OF_PYTHON = os.path.dirname(os.__file__) + os.sep


class LoadedModule(Struct, frozen=True, array_like=True, gc=False):
    """A module as the program has loaded it: its file, where a package's modules are looked for, and its code.

    `path` is `None` where it is no package. `code` is marshalled; empty where the module is nothing but a place for
    others, and `None` where what the program runs can't be had any more.
    """

    file: str | None
    path: tuple[str, ...] | None
    code: bytes | None


class _Known(Struct, frozen=True):
    """What was found out about a module. `given`: what workers are given of it; installed ones they find themselves."""

    identity: int
    spec: object
    is_importable: bool
    given: LoadedModule | None = None
    stamp: tuple[int, int] | None = None
    codes: tuple[CodeType, ...] = ()

    def is_of(self, module: ModuleType | None) -> bool:
        """Whether that still is the module, and it wasn't loaded anew: that makes a new spec. A path may grow."""
        if module is None or id(module) != self.identity or vars(module).get("__spec__") is not self.spec:
            return False
        return self.given is None or self.given.path is None or self.given.path == tuple(module.__path__)


_known: dict[str, _Known] = {}


# ---- what travels by name ------------------------------------------------------------------------------------------


def home_of(value: Any, name: str | None = None) -> tuple[ModuleType, str] | None:
    """The importable module that has the value under its name, and that name; `None` where there is none.

    A submodule that its package loads when it is first asked for is loaded, as pickle would.
    """
    module: object = getattr(value, "__module__", None)
    if module in SCRIPTS:
        return None
    if isinstance(module, str) and module not in sys.modules and module.partition(".")[0] in sys.modules:
        with suppress(Exception):  # whatever its code raises, it can't be imported
            import_module(module)
    path = name or value.__qualname__
    for title in [module] if isinstance(module, str) else [one for one in sys.modules.copy() if one not in SCRIPTS]:
        home = sys.modules.get(title)
        if home is not None and _has(home, path, value):
            return (home, path) if is_importable(home) else None
    return None


def _has(module: ModuleType, path: str, value: object) -> bool:
    try:
        return attrgetter(path)(module) is value
    except Exception:  # noqa: BLE001 - whatever looking for it raises, it isn't there
        return False


def by_reference(value: object) -> bool:
    """Whether a function, class or module travels by its name."""
    if isinstance(value, ModuleType):
        return value.__name__ in sys.modules and is_importable(value)
    return home_of(value) is not None


def is_importable(module: ModuleType) -> bool:
    """Whether workers get the module that the program has by importing it."""
    name = module.__name__
    if name in SCRIPTS:
        return False
    cloudpickle = sys.modules.get("cloudpickle")  # who registers a module has loaded it
    by_value = cloudpickle.list_registry_pickle_by_value() if cloudpickle else ()
    if by_value and not by_value.isdisjoint((name, *_parents(name))):
        return False
    return _about(name, module).is_importable


def reduce_module(module: ModuleType) -> Any:
    """As its name; with all that is in it where it can't be imported."""
    if by_reference(module):
        return import_module, (module.__name__,)
    from cloudpickle.cloudpickle import dynamic_subimport

    return dynamic_subimport, (
        module.__name__,
        {name: value for name, value in vars(module).items() if name not in _OF_THE_IMPORT},
    )


def is_given(module: ModuleType) -> bool:
    """Whether it is one of the user's own, which workers import as the code that they are given."""
    return is_importable(module) and _about(module.__name__, module).given is not None


def is_installed(module: ModuleType) -> bool:
    """Whether it is one that workers find by themselves."""
    return is_importable(module) and _about(module.__name__, module).given is None


def module_called(name: str) -> ModuleType | None:
    """The module of that name, loaded if it is one of the user's own; `None` where there is none, or it can't be."""
    if name not in sys.modules and _may_be_own(name.partition(".")[0]):
        with suppress(Exception):  # whatever its code raises, it can't be imported
            import_module(name)
    return sys.modules.get(name)


def _may_be_own(top: str) -> bool:
    """Whether a module that may not be loaded yet would be the user's own."""
    if top in sys.modules:
        return _is_own(top, sys.modules[top])
    from importlib.util import find_spec  # asked rarely, and workers do without it

    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [spec.origin] if spec and spec.has_location else [*((spec and spec.submodule_search_locations) or ())]
    return any(not _is_installed(str(place), top) for place in places)


def code_given(name: str) -> bytes | None:
    """The code of such a module, marshalled."""
    given = _known[name].given
    return None if given is None else given.code


# ---- what workers are given ----------------------------------------------------------------------------------------


class LoadedModules:
    """The user's own modules, as they are loaded from time to time."""

    def __init__(self) -> None:
        self._newest: tuple[int, str] = (0, "")
        self._met: list[tuple[str, _Known]] = []
        self._given: dict[str, LoadedModule] = {}

    def now(self) -> Mapping[str, LoadedModule]:
        """What workers are to be given, by name. The very same object as before if nothing was loaded or reloaded."""
        newest = len(sys.modules), next(reversed(sys.modules))
        if newest != self._newest or not all(_is_as_it_was(name, known) for name, known in self._met):
            self._newest = newest
            loaded = [(name, one) for name, one in sys.modules.copy().items() if _is_module(name, one)]
            self._met = [(name, known) for name, one in loaded if (known := _renewed(name, one)).given is not None]
            given = _with_places({name: known.given for name, known in self._met if known.given is not None})
            self._given = self._given if given == self._given else given
        return self._given


def _is_as_it_was(name: str, known: _Known) -> bool:
    module = sys.modules.get(name)
    return module is not None and known.is_of(module) and known.stamp == _stamp(module)


def _renewed(name: str, module: ModuleType) -> _Known:
    """What is known of a module, after a look at its file: functions may have been changed in place to be like that."""
    known = _about(name, module)
    if known.given is not None and known.stamp != (stamp := _stamp(module)):
        is_same = known.codes == _codes_of(module)
        known = _known[name] = replace(known, stamp=stamp) if is_same else _looked_at(name, module)
    return known


def _is_module(name: str, value: object) -> bool:
    """Whether it is a module, and not one that stands under a second name, or would only be loaded by looking at it."""
    if not isinstance(value, ModuleType) or type(value).__getattribute__ is not ModuleType.__getattribute__:
        return False
    return name not in SCRIPTS and getattr(vars(value).get("__spec__"), "name", name) == name


def _with_places(given: dict[str, LoadedModule]) -> dict[str, LoadedModule]:
    """With the packages in which they stand, where these are empty modules made by hand, as by pytest."""
    parents = {parent for name in given for parent in _parents(name) if _is_own(parent, sys.modules[parent])}
    return {**dict.fromkeys(parents, LoadedModule(None, (), b"")), **given}


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


# ---- finding out ---------------------------------------------------------------------------------------------------


def _about(name: str, module: ModuleType) -> _Known:
    known = _known.get(name)
    if known is None or not known.is_of(module):
        left = known.codes if known is not None and known.identity == id(module) else ()
        known = _known[name] = _looked_at(name, module, left)
    return known


def _looked_at(name: str, module: ModuleType, left: Collection[CodeType] = ()) -> _Known:
    """A look at a module. What is `left` of an earlier loading, which a reload doesn't remove, says nothing."""
    stamp = _stamp(module)
    is_importable, given = _found_out(name, module, left)
    codes = () if given is None else _codes_of(module)
    return _Known(
        id(module), vars(module).get("__spec__"), is_importable, given, None if given is None else stamp, codes
    )


def _stamp(module: ModuleType) -> tuple[int, int] | None:
    """What tells whether the module's file is another one."""
    try:
        found = os.stat(vars(module).get("__file__") or "")
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _found_out(name: str, module: ModuleType, left: Collection[CodeType]) -> tuple[bool, LoadedModule | None]:
    """Whether the module is importable, and what workers are given of it."""
    file: str | None = vars(module).get("__file__")
    loader: Any = getattr(vars(module).get("__spec__"), "loader", None)
    if not _is_own(name, module) or hasattr(loader, "archive"):  # a zip file on `sys.path`
        return True, None
    if not all(parent in sys.modules for parent in _parents(name)):
        return False, None  # pickle itself imports them, here
    path = tuple(module.__path__) if "__path__" in vars(module) else None
    if file is None and path is not None:
        return True, LoadedModule(None, path, b"")
    is_compared = hasattr(loader, "get_code")
    if not is_compared and file is not None and file.endswith(".py"):
        loader = SourceFileLoader(name, file)  # as pytest loads a test, to rewrite what it asserts
    if not hasattr(loader, "get_code"):
        return False, None
    try:
        code = patiently(partial(loader.get_code, name))
    except Exception:  # noqa: BLE001 - the file is gone, or what stands in it now isn't Python: any loader, any error
        return False, LoadedModule(file, path, None)
    if code is None:
        return True, None  # native code
    if is_compared and not _runs(module, code, left) and _may_be_changed(file):
        return False, LoadedModule(file, path, None)
    return True, LoadedModule(file, path, marshal.dumps(code))


def _is_own(name: str, module: ModuleType) -> bool:
    """Whether it is the user's own, rather than installed."""
    top = name.partition(".")[0]
    if top == __name__.partition(".")[0]:
        return False
    file = vars(module).get("__file__")
    places = [file] if file else [*vars(module).get("__path__", ())]
    if places:
        return not all(_is_installed(str(place), name) for place in places)
    if getattr(vars(module).get("__spec__"), "origin", None) in ("built-in", "frozen"):
        return False
    package = sys.modules.get(top)
    return package is None or package is module or _is_own(top, package)


def _is_installed(place: str, name: str) -> bool:
    if place.startswith(_OF_PYTHON) or any(folder in place for folder in _INSTALLED):
        return True
    top = name.partition(".")[0]
    folder = place.rpartition(f"{os.sep}{top}")[0]
    try:
        return top in _distributed(folder)
    except OSError:
        return False


@lru_cache
def _distributed(folder: str) -> frozenset[str]:
    """What `pip install --target` and the like have put into a folder, by what is recorded there."""
    from pathlib import Path  # asked rarely, and workers do without it

    records = Path(folder).glob("*.dist-info/RECORD") if folder else ()
    lines = [line for record in records for line in record.read_text(encoding="utf-8", errors="replace").splitlines()]
    return frozenset(line.partition(",")[0].partition("/")[0].removesuffix(".py") for line in lines)


def _runs(module: ModuleType, code: CodeType, left: Collection[CodeType]) -> bool:
    """Whether the module's functions are those of the code. What was made by code of other files says nothing."""
    own = {one for one in _codes_of(module) if one.co_filename == code.co_filename}
    return own.difference(left).issubset(codes_in(code))


def _may_be_changed(file: str | None) -> bool:
    """Whether a file may have been changed in this program's time. Functions alone may be, as by a profiler."""
    import psutil  # as above

    try:
        return file is None or os.stat(file).st_ctime >= psutil.Process().create_time()
    except Exception:  # noqa: BLE001 - the file is gone, or nothing tells since when this program runs (there is no /proc)
        return True


def _codes_of(module: ModuleType) -> tuple[CodeType, ...]:
    """Those of its functions."""
    return tuple([function.__code__ for function in _functions_of(module)])


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    """Those that stand in a module and its classes, also where a decorator has wrapped them."""
    for value in vars(module).copy().values():
        yield from _unwrapped(value)
        if isinstance(value, type):
            for member in vars(value).copy().values():
                yield from _unwrapped(member)


def _unwrapped(value: object) -> Iterator[FunctionType]:
    if isinstance(value, FunctionType):
        yield value
    for inner in (vars(value).get("__wrapped__"),) if isinstance(value, FunctionType) else wrapped_in(value):
        yield from _unwrapped(inner)
