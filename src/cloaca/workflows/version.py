"""The version of a workflow: a hash over its structure and its code.

Guarantees: 16 hex digits, the same in every process of one Python minor version (and optimisation level), whatever the
hash seed, the addresses of objects, the name of the file and the lines on which things stand. It changes with a task
id, a dependency, the order of definition, a retry policy, a timeout, a trigger rule, the key that a task is mapped
over, a prefix of an added workflow or what is passed in to it, the outputs, the bytecode, a constant, a default, a
captured value, or a helper function or class of the modules in which the tasks are defined (`__main__` always counts as
one).

Functions of other modules count by name. So do values that have no text of their own that is the same everywhere: of
such a value, only the type counts. Globals that hold data don't count: they are read when a run starts, and may differ
from run to run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import CellType, FunctionType, ModuleType
from typing import Any

from cloaca.pickling.code import PartsByType, codes_in
from cloaca.pickling.description import UNSAID, WRAPPED, cell_parts, dict_parts, digest
from cloaca.pickling.lazy import settle


def version(
    tasks: Iterable[tuple[Any, ...]],
    rules: Sequence[tuple[str, Callable[..., Any]]] = (),
    settings: tuple[object, ...] = (),
) -> str:
    """Return the hash, 16 hex digits, over tasks in their order: each an id, dependencies, function and settings.

    `rules` are the merge rules as (key, function), in the order of keys; `settings` is all else that counts.
    """
    rows: list[tuple[Any, ...]] = [(task, tuple(dependencies), *rest) for task, dependencies, *rest in tasks]
    functions = [*(row[2] for row in rows), *(function for _, function in rules)]
    own = {"__main__", *map(_home, functions)} - {"builtins"}
    return digest((tuple(rows), tuple(rules), settings), _PARTS, lambda thing: thing.__module__ in own)


def _home(function: Callable[..., Any]) -> str | None:
    return _home(function.func) if isinstance(function, partial) else getattr(function, "__module__", None)


# ---- what has parts ------------------------------------------------------------------------------------------------


def _function_parts(function: FunctionType) -> Iterator[object]:
    yield function.__code__
    yield function.__defaults__
    yield function.__kwdefaults__
    yield function.__closure__
    known = function.__globals__
    names = dict.fromkeys([name for code in codes_in(function.__code__) for name in code.co_names])
    settle(known, names)
    for name in names:
        if name in known and (callable(known[name]) or isinstance(known[name], ModuleType)):
            yield known[name]


def _class_parts(cls: type) -> Iterator[object]:
    yield cls.__qualname__
    yield from cls.__bases__
    for name, member in vars(cls).items():
        if name not in UNSAID:
            yield name
            yield member


_PARTS: PartsByType = {
    **WRAPPED,
    list: iter,
    dict: dict_parts,
    FunctionType: _function_parts,
    CellType: cell_parts,
    type: _class_parts,
}
