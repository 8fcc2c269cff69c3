"""Functions that code of an importable module has made: closures, lambdas, what a decorator returns.

They have no name by which they could be imported, but their globals have: they are the variables of that module. So in
a worker such a function sees and changes them, as the module's other functions do. Where it uses nothing that could
differ (modules, and what other modules define), it gets names of its own, and the module needn't be imported for it.
"""

import builtins
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from cloaca.pickling.code import global_names
from cloaca.pickling.modules import by_reference, is_importable


def home(function: FunctionType) -> ModuleType | None:
    """The module whose variables a function that travels by value is to have for its globals; `None`: it needs none."""
    variables = function.__globals__
    module = sys.modules.get(variables.get("__name__", ""))
    if not isinstance(module, ModuleType) or vars(module) is not variables or not is_importable(module):
        return None
    return None if all(_is_fixed(name, variables) for name in global_names(function.__code__)) else module


def at_home(function: FunctionType, reduced: Any) -> Any:
    """What cloudpickle makes of a function, with the variables of its home in the place of copies."""
    module = home(function)
    if module is None:
        return reduced
    make, (code, _, *rest), (attributes, slots), *others = reduced
    bare = slots | {"__globals__": {}, "_cloudpickle_submodules": []}
    return make, (code, _ModuleVariables(module), *rest), (attributes, bare), *others


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
