"""Task functions as blobs that workers load.

Code of importable modules travels by reference, the rest by value with the globals, closure cells and defaults that it
names, as they are when it is captured.
"""

import inspect
import pickle
from collections.abc import Callable
from functools import _lru_cache_wrapper, partial
from io import BytesIO
from itertools import count
from types import FunctionType, MethodType
from typing import Any

from msgspec import Struct

from cloaca.errors import CaptureError
from cloaca.pickling import culprit
from cloaca.pickling.classes import Pickler
from cloaca.pickling.definitions import fresh_class
from cloaca.pickling.mentions import strings_in
from cloaca.pickling.reductions import FOR_FUNCTIONS
from cloaca.pickling.stack import with_room
from cloaca.warning import warn

LARGE = 1_000_000

_FUNCTIONS = (FunctionType, MethodType, partial, _lru_cache_wrapper)

_numbers = count(1)


class Captured(Struct, frozen=True, gc=False):
    """A function ready to be sent, or a head. `reads`: string constants of its code, which may be keys that it reads.

    `head`: the number of what the blob goes on from; 0 where it is the whole function.
    """

    number: int
    blob: bytes
    reads: tuple[str, ...]
    head: int = 0


NOTHING = Captured(0, b"", ())


class RuleOf(str):
    """The key of a merge rule, where otherwise the id of a task tells whose function something is."""

    __slots__ = ()


class InitializerOf(str):
    """The name of a runner's initializer, in place of a task's id."""

    __slots__ = ()


class OfMap(str):
    """Says `map`, in place of a task's id."""

    __slots__ = ()


def next_number() -> int:
    """A number under which nothing was published so far."""
    return next(_numbers)


def capture(task_id: str, function: Callable[..., Any], given: Callable[..., Any] | None = None) -> Captured:
    """A task's function, a merge rule (of a key that `RuleOf` names), or an `InitializerOf` a runner, as it stands now.

    Warns if a variable that it takes along is over 1 MB. `given` is the user's own function, where this is made of it.

    Raises:
        CaptureError: it can't be pickled; `variable` names what is at fault.
    """
    given = given or function
    blob = pickled(task_id, given, function, FunctionPickler())
    warn_of_size(task_id, given, blob, set())
    return Captured(next_number(), blob, reads(function))


def load(blob: bytes, head: bytes = b"") -> Callable[..., Any]:
    """The function of a blob that goes on from that head. Raises whatever importing what it refers to raises."""
    unpickler = pickle.Unpickler(BytesIO(head + blob))
    if head:
        unpickler.load()
    function: Callable[..., Any] = unpickler.load()
    return function


# ---- pickling ------------------------------------------------------------------------------------------------------


class FunctionPickler(Pickler):
    """Pickles functions, one after the other, with definitions of classes as they stand now."""

    resolve = staticmethod(fresh_class)
    by_type = FOR_FUNCTIONS

    def __init__(self, head: "FunctionPickler | None" = None) -> None:
        self._written = BytesIO()
        super().__init__(self._written)
        self._head = head
        self.namespaces = self.namespaces if head is None else head.namespaces

    def pickled(self, value: object) -> bytes:
        """The value by itself, or as it goes on from what the `head` has pickled."""
        self.memo: Any = {} if self._head is None else self._head.memo
        self._written.seek(0)
        self._written.truncate()
        self.dump(value)
        return self._written.getvalue()


def pickled(task_id: str, function: object, part: object, pickler: FunctionPickler) -> bytes:
    """A part of a task's function, or all of it.

    Raises:
        CaptureError: it can't be pickled.
    """
    try:
        return with_room(pickler.pickled, part)
    except Exception as error:
        name = _name_of(function)
        found = culprit.find(function, name, error)
        variable = found.path.removeprefix(f"{name} uses ")
        if isinstance(task_id, RuleOf):
            raise CaptureError(None, variable, found.type_name, found.reason, key=str(task_id)) from error
        if isinstance(task_id, InitializerOf):
            raise CaptureError(None, variable, found.type_name, found.reason, initializer=str(task_id)) from error
        task = None if isinstance(task_id, OfMap) else task_id
        raise CaptureError(task, variable, found.type_name, found.reason) from error


def _name_of(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def warn_of_size(task_id: str, function: Callable[..., Any], blob: bytes, warned: set[str]) -> None:
    """Warn of a variable that makes a blob so large, if it wasn't `warned` of."""
    if len(blob) <= LARGE:
        return
    variables = culprit.captured(function) if isinstance(function, FunctionType) else {_name_of(function): function}
    sizes = {name: len(pickled(task_id, function, value, FunctionPickler())) for name, value in variables.items()}
    name = max(sizes, key=sizes.__getitem__)
    if sizes[name] > LARGE and name not in warned:
        warned.add(name)
        owner = "The merge rule of key" if isinstance(task_id, RuleOf) else "The function of task"
        advice = "Put it into the context, and let the task read it there."
        if isinstance(task_id, InitializerOf):
            owner, advice = "The runner's initializer", "Let it be loaded or made there."
        warn(
            f"{owner} {task_id!r} captures {name}, {sizes[name] / 1e6:,.1f} MB, which is sent to every worker that "
            f"runs it. {advice}",
        )


# ---- the keys that a function may read -----------------------------------------------------------------------------


def reads(function: object) -> tuple[str, ...]:
    """The strings that a function's own code may pass to its context, in order of appearance, each once."""
    code: object = (
        function if isinstance(function, _FUNCTIONS) else inspect.getattr_static(type(function), "__call__", None)
    )
    return tuple(dict.fromkeys(strings_in(code)))
