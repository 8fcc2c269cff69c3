"""Functions by value: made of their code and globals, and then told what they hold, which may lead to themselves.

Those that code of an importable module has made (closures, lambdas, what a decorator returns) have no name by which
they could be imported, but their globals have: they are the variables of that module. So in a worker such a function
sees and changes them, as the module's other functions do. Where it uses nothing that could differ (modules, and what
other modules define), it gets names of its own, and the module needn't be imported for it.
"""

import builtins
import sys
from collections.abc import Iterator
from operator import attrgetter
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

from cloaca.pickling.code import attribute_names, global_names
from cloaca.pickling.hints import is_plain, readable
from cloaca.pickling.lazy import settle
from cloaca.pickling.loading import OF_MODULE, Empty, Held, make_function, make_variables, tell_function
from cloaca.pickling.modules import by_reference, is_importable

Namespaces = dict[int, dict[str, Any]]
"""The globals that functions of one pickle are made with, by the `id` of those that they stand for."""

_OWN = ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__")
if sys.version_info >= (3, 12):
    _OWN = (*_OWN, "__type_params__")
_values_of = attrgetter(*_OWN)


def reduce_function(function: FunctionType, namespaces: Namespaces) -> Any:
    """As what makes it."""
    code, variables = function.__code__, function.__globals__
    names, namespace = global_names(code), namespace_of(function, namespaces)
    settle(variables, names)
    taken = () if isinstance(namespace, _ModuleVariables) else names
    used = {name: variables[name] for name in taken if name in variables}
    contents = tuple(map(_content, function.__closure__ or ()))
    values, bare = _values_of(function), _values_of(make_function(code, namespace, len(contents)))
    own: dict[str, Any] = {}
    if values != bare:
        own = {name: value for name, value, usual in zip(_OWN, values, bare, strict=True) if value != usual}
    attributes: dict[str, Any] = {}
    if not is_plain(function):
        attributes = function.__dict__
        if annotations := readable(function):
            own["__annotations__"] = annotations
    loaded = tuple(_submodules(code, (*used.values(), *contents)))
    held: Held = used, contents, own, attributes, loaded
    return make_function, (code, namespace, len(contents)), held, None, None, tell_function


def namespace_of(function: FunctionType, namespaces: Namespaces) -> dict[str, Any]:
    """The globals that it is made with. Functions of one pickle share them, as they do here."""
    module, variables = home(function), function.__globals__
    place = id(variables if module is None else module)
    if place not in namespaces:
        own = _NewVariables({name: variables[name] for name in OF_MODULE if name in variables})
        namespaces[place] = own if module is None else _ModuleVariables(module)
    return namespaces[place]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return Empty


def _submodules(code: CodeType, values: tuple[Any, ...]) -> Iterator[ModuleType]:
    """The modules that the code reaches through a package, as `concurrent.futures`: they have to be loaded, too."""
    for package in values:
        if isinstance(package, ModuleType) and hasattr(package, "__path__"):
            start = package.__name__ + "."
            for name in [name for name in sys.modules.copy() if name.startswith(start)]:
                if attribute_names(code).issuperset(name.removeprefix(start).split(".")):
                    yield sys.modules[name]


def home(function: FunctionType) -> ModuleType | None:
    """The module whose variables a function that travels by value is to have for its globals; `None`: it needs none."""
    variables = function.__globals__
    module = sys.modules.get(variables.get("__name__", ""))
    if not isinstance(module, ModuleType) or vars(module) is not variables or not is_importable(module):
        return None
    return None if all(_is_fixed(name, variables) for name in global_names(function.__code__)) else module


class _NewVariables(dict[str, Any]):
    """Stands for variables that functions are to have by themselves."""

    def __reduce__(self) -> tuple[Any, ...]:
        values = [self.get(name, Empty) for name in OF_MODULE]
        while values and values[-1] is Empty:
            values.pop()
        return make_variables, tuple(values)


class _ModuleVariables(dict[str, Any]):
    """Stands for the variables of a module, and is pickled as these."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__()
        self._module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return vars, (self._module,)


def _is_fixed(name: str, variables: dict[str, Any]) -> bool:
    """Whether a name means the same everywhere: a module, or what another importable module defines."""
    if name not in variables:
        return hasattr(builtins, name)
    value: object = variables[name]
    match value:
        case ModuleType():
            return by_reference(value)
        case FunctionType() | BuiltinFunctionType() | type():
            return value.__module__ != variables["__name__"] and by_reference(value)
        case _:
            return False
