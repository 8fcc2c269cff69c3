"""Task functions as blobs that workers load, pickled again only where something that they capture may have changed.

Code of importable modules travels by reference, the rest by value with the globals, closure cells and defaults that it
names, as they are when it is captured.
"""

import gc
import inspect
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import _lru_cache_wrapper, partial
from io import BytesIO
from itertools import count
from types import CodeType, FunctionType, MethodType
from typing import Any, ClassVar

from cloaca.errors import CaptureError
from cloaca.warning import warn
from cloaca.wire import culprit
from cloaca.wire.classes import Pickler, fresh_class
from cloaca.wire.reductions import BY_TYPE
from cloaca.wire.watch import Watch, watch

LARGE = 1_000_000

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Captured:
    """A function ready to be sent. `reads`: string constants of its code, which may be keys that it reads."""

    number: int
    blob: bytes
    reads: tuple[str, ...]


class RuleOf(str):
    """The key of a merge rule, where otherwise the id of a task tells whose function something is."""

    __slots__ = ()


def next_number() -> int:
    """A number under which nothing was published so far."""
    return next(_numbers)


def capture(task_id: str, function: Callable[..., Any]) -> Captured:
    """A task's function, or a merge rule (of a key that `RuleOf` names), as it stands now.

    Warns if a variable that it takes along is over 1 MB.

    Raises:
        CaptureError: it can't be pickled; `variable` names what is at fault.
    """
    blob = _blob(task_id, function)
    if len(blob) > LARGE:
        _warn_of_size(task_id, function)
    return Captured(next(_numbers), blob, reads(function))


def load(blob: bytes) -> Callable[..., Any]:
    """The function of a blob. Raises whatever importing what it refers to raises."""
    function: Callable[..., Any] = pickle.loads(blob)
    return function


class FunctionCache:
    """The captured functions of one workflow.

    Within it, each function warns of large variables once.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def capture(self, task_id: str, function: Callable[..., Any]) -> Captured:
        """What `capture` gives; the very same object as before if nothing that it was made of has changed."""
        entry = self._entries.get(task_id)
        if entry is None or entry.function is not function:
            return self._keep(task_id, _Entry(function, watch(function), capture(task_id, function)))
        if entry.watch is not None and entry.watch.unchanged():
            return entry.captured
        now = watch(function)
        blob = _blob(task_id, function)
        same = blob == entry.captured.blob
        captured = entry.captured if same else Captured(next(_numbers), blob, reads(function))
        return self._keep(task_id, _Entry(function, now, captured))

    def _keep(self, task_id: str, entry: "_Entry") -> Captured:
        self._entries[task_id] = entry
        return entry.captured


@dataclass(frozen=True, slots=True)
class _Entry:
    function: Callable[..., Any]
    watch: Watch | None
    captured: Captured


# ---- pickling ------------------------------------------------------------------------------------------------------


def _reduce_environment(variables: Any) -> Any:
    """A function that captured `os.environ` means that of the process that it runs in; as a value it is a snapshot."""
    return (getattr, (os, "environ")) if variables is os.environ else variables.__reduce_ex__(5)


class _FunctionPickler(Pickler):
    resolve = staticmethod(fresh_class)
    by_type: ClassVar = {**BY_TYPE, type(os.environ): _reduce_environment}


def _blob(task_id: str, function: object) -> bytes:
    with BytesIO() as file:
        try:
            _FunctionPickler(file).dump(function)
        except Exception as error:
            name = _name_of(function)
            found = culprit.find(function, name, error)
            variable = found.path.removeprefix(f"{name} uses ")
            if isinstance(task_id, RuleOf):
                raise CaptureError(None, variable, found.type_name, found.reason, key=str(task_id)) from error
            raise CaptureError(task_id, variable, found.type_name, found.reason) from error
        return file.getvalue()


def _name_of(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _warn_of_size(task_id: str, function: Callable[..., Any]) -> None:
    variables = culprit.captured(function) if isinstance(function, FunctionType) else {_name_of(function): function}
    sizes = {name: len(_blob(task_id, value)) for name, value in variables.items()}
    name = max(sizes, key=sizes.__getitem__)
    if sizes[name] > LARGE:
        owner = "The merge rule of key" if isinstance(task_id, RuleOf) else "The function of task"
        warn(
            f"{owner} {task_id!r} captures {name}, {sizes[name] / 1e6:,.1f} MB, which is sent to every worker that "
            f"runs it. Put it into the context, and let the task read it there.",
        )


# ---- the keys that a function may read -----------------------------------------------------------------------------


def reads(function: object) -> tuple[str, ...]:
    """The strings that a function's own code may pass to its context, in order of appearance, each once."""
    own = isinstance(function, FunctionType | MethodType | partial | _lru_cache_wrapper)
    code: object = function if own else inspect.getattr_static(type(function), "__call__", None)
    return tuple(dict.fromkeys(filter(_may_be_key, _strings_in(code, set()))))


def _may_be_key(text: str) -> bool:
    """Whether UTF-8 can carry the text: no key has lone surrogates, nor does any message."""
    return text.isascii() or text == text.encode(errors="replace").decode()


def _strings_in(value: object, seen: set[int]) -> Iterator[str]:
    """The strings of a function, through partials, methods and the functions that a decorator closed over."""
    match value:
        case str():
            yield value
        case _ if id(value) in seen:
            pass
        case _:
            seen.add(id(value))
            for part in _parts(value):
                yield from _strings_in(part, seen)


def _parts(value: object) -> Iterable[object]:
    match value:
        case FunctionType():
            return value.__code__, value.__defaults__, *(value.__kwdefaults__ or {}).values(), *_contents(value)
        case CodeType():
            return value.co_consts[_documented(value) :]
        case partial():
            return value.func, value.args, *value.keywords.values()
        case MethodType():
            return (value.__func__,)
        case _lru_cache_wrapper():
            return (value.__wrapped__,)
        case tuple():
            return value
        case _:
            return ()


def _contents(function: FunctionType) -> Iterator[object]:
    return (cell.cell_contents for cell in function.__closure__ or () if gc.get_referents(cell))


def _documented(code: CodeType) -> bool:
    """Whether the first constant is a docstring."""
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & inspect.CO_HAS_DOCSTRING)
    of_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")
    return bool(of_function and code.co_consts and isinstance(code.co_consts[0], str))
