"""Task functions as blobs that workers load.

Code of importable modules travels by reference, the rest by value with the globals, closure cells and defaults that it
names, as they are when it is captured. What is large among these goes `Apart`, where a runner has a place for it.
"""

import inspect
import pickle
from collections.abc import Callable, Sequence
from functools import _lru_cache_wrapper, lru_cache, partial
from io import BytesIO
from itertools import count
from types import FunctionType, MethodType
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from cloaca.errors import CaptureError
from cloaca.pickling import culprit
from cloaca.pickling.classes import Pickler
from cloaca.pickling.definitions import fresh_class
from cloaca.pickling.loading import Sharing
from cloaca.pickling.mentions import held, may_lead_to_strings, strings_in, texts
from cloaca.pickling.reductions import FOR_FUNCTIONS
from cloaca.pickling.stack import with_room
from cloaca.warning import warn

LARGE = 1_000_000

_FUNCTIONS = (FunctionType, MethodType, partial, _lru_cache_wrapper)

_numbers = count(1)


class Captured(Struct, frozen=True, gc=False):
    """A function ready to be sent, or a head. `reads`: string constants of its code, which may be keys that it reads.

    `head`: the number of what the blob goes on from; 0 where it is the whole function. `attached`: what refers to the
    buffers that went apart, in their order; where the blob itself did, it is what refers to that.
    """

    number: int
    blob: bytes
    reads: tuple[str, ...]
    head: int = 0
    attached: tuple[bytes, ...] = ()


NOTHING = Captured(0, b"", ())


class Apart(Protocol):
    """Where large parts of functions go. What stood in a part's place `before` stays, if it is the same."""

    def buffer(self, content: memoryview, before: bytes) -> bytes | None:
        """What refers to a buffer, of which several functions may have hold; `None`: it stays in the blob."""
        ...

    def blob(self, content: bytes, before: bytes) -> bytes:
        """What is sent in the place of a blob: what refers to it, or the blob itself."""
        ...


class Nothing:
    """Nothing goes apart."""

    def buffer(self, content: memoryview, before: bytes) -> None:
        """It stays in the blob."""

    def blob(self, content: bytes, before: bytes) -> bytes:  # noqa: ARG002 - whatever it was
        """The blob itself."""
        return content


IN_BAND = Nothing()


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


def capture(
    task_id: str, function: Callable[..., Any], given: Callable[..., Any] | None = None, apart: Apart = IN_BAND
) -> Captured:
    """A task's function, a merge rule (of a key that `RuleOf` names), or an `InitializerOf` a runner, as it stands now.

    Warns if a variable that it takes along makes the blob larger than 1 MB. `given` is the user's own function, where
    this is made of it.

    Raises:
        CaptureError: it can't be pickled; `variable` names what is at fault.
    """
    given = given or function
    made = pickled(task_id, given, function, FunctionPickler(apart))
    warn_of_size(task_id, given, made.blob, set(), apart)
    return Captured(next_number(), apart.blob(made.blob, b""), reads(function), attached=made.attached)


# ---- pickling ------------------------------------------------------------------------------------------------------


class Pickled(NamedTuple):
    """A blob, and what refers to the buffers that went apart, in their order."""

    blob: bytes
    attached: tuple[bytes, ...]


class FunctionPickler(Pickler):
    """Pickles functions, one after the other, with definitions of classes as they stand now."""

    resolve = staticmethod(fresh_class)
    by_type = FOR_FUNCTIONS

    def __init__(self, apart: Apart, head: "FunctionPickler | None" = None) -> None:
        self._written = BytesIO()
        self._buffers = _Buffers(apart)
        super().__init__(self._written, self._buffers.stays)
        self._head = head
        self.namespaces = self.namespaces if head is None else head.namespaces

    def pickled(self, value: object, before: Sequence[bytes]) -> Pickled:
        """The value by itself, or as it goes on from what the `head` has pickled. `before`: what was attached then."""
        self.memo: Any = {} if self._head is None else self._head.memo
        self._written.seek(0)
        self._written.truncate()
        self._buffers.before, self._buffers.attached = before, []
        self.dump(value)
        return Pickled(self._written.getvalue(), (*self._buffers.attached,))


class _Buffers:
    """What becomes of the buffers of what is pickled. It doesn't lead to the pickler, which leads to it."""

    def __init__(self, apart: Apart) -> None:
        self._apart = apart
        self.before: Sequence[bytes] = ()
        self.attached: list[bytes] = []

    def stays(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer is pickled with the rest."""
        place = len(self.attached)
        attached = self._apart.buffer(buffer.raw(), self.before[place] if place < len(self.before) else b"")
        if attached is not None:
            self.attached.append(attached)
        return attached is None


def pickled(
    task_id: str, function: object, part: object, pickler: FunctionPickler, before: Sequence[bytes] = ()
) -> Pickled:
    """A part of a task's function, or all of it. `before`: what was attached to that when it was pickled last.

    Raises:
        CaptureError: it can't be pickled.
    """
    try:
        return with_room(pickler.pickled, part, before)
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
    if isinstance(function, Sharing):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def warn_of_size(
    task_id: str, function: Callable[..., Any], blob: bytes, warned: set[str], apart: Apart = IN_BAND
) -> None:
    """Warn of a variable that makes a blob so large, if it wasn't `warned` of."""
    if len(blob) <= LARGE:
        return
    function = function.func if isinstance(function, Sharing) else function
    variables = culprit.captured(function) if isinstance(function, FunctionType) else {_name_of(function): function}
    pickler = FunctionPickler(apart)
    sizes = {name: len(pickled(task_id, function, value, pickler).blob) for name, value in variables.items()}
    name = max(sizes, key=sizes.__getitem__, default="")
    if sizes.get(name, 0) > LARGE and name not in warned:
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
    if isinstance(function, FunctionType) and not any(map(may_lead_to_strings, held(function))):
        return texts(function.__code__)
    code: object = (
        function if isinstance(function, _FUNCTIONS) else inspect.getattr_static(type(function), "__call__", None)
    )
    return _once(tuple(dict.fromkeys(strings_in(code))))


@lru_cache(maxsize=1024)
def _once(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The same ones that others were given: functions of one code mostly read the same."""
    return keys
