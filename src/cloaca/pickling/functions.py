"""Task functions as blobs that workers load, pickled again only where something that they capture may have changed.

Code of importable modules travels by reference, the rest by value with the globals, closure cells and defaults that it
names, as they are when it is captured.
"""

import inspect
import pickle
from collections.abc import Callable, Sequence
from functools import _lru_cache_wrapper, partial
from io import BytesIO
from itertools import count
from operator import is_
from types import FunctionType, MethodType
from typing import Any

from msgspec import Struct

from cloaca.errors import CaptureError
from cloaca.pickling import culprit
from cloaca.pickling.classes import Pickler
from cloaca.pickling.definitions import fresh_class
from cloaca.pickling.kinds import Kin, Kinds, are_same, seen
from cloaca.pickling.mentions import held, strings_in
from cloaca.pickling.modules import by_reference
from cloaca.pickling.reductions import FOR_FUNCTIONS
from cloaca.pickling.roll import Roll
from cloaca.pickling.stack import with_room
from cloaca.pickling.watch import Watch, watch
from cloaca.warning import warn

LARGE = 1_000_000

_numbers = count(1)


class Captured(Struct, frozen=True, gc=False):
    """A function ready to be sent. `reads`: string constants of its code, which may be keys that it reads.

    `template`: the number of the template that the blob fills in; 0 where it is the whole function.
    """

    number: int
    blob: bytes
    reads: tuple[str, ...]
    template: int = 0


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
    blob = _blob(task_id, function, given)
    if len(blob) > LARGE:
        _warn_of_size(task_id, given or function)
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
        self._kinds = Kinds(_numbers)
        self._roll: Roll | None = None
        self._called: Sequence[Callable[..., Any]] = ()
        self._last: list[Captured] = []

    def capture_all(self, ids: Sequence[str], functions: Sequence[Callable[..., Any]]) -> list[Captured]:
        """What `capture` gives for each task, but for functions that have a template in common (see `kinds`).

        The very same list as before if nothing has changed.
        """
        is_known = len(functions) == len(self._called) and all(map(is_, functions, self._called))
        if is_known and self._roll is not None and self._roll.unchanged():
            return self._last
        roll = self._as_they_are()
        self._kinds.begin()
        captured = [
            self._of_a_kind(task_id, function) or self.capture(task_id, function)
            for task_id, function in zip(ids, functions, strict=True)
        ]
        is_settled = is_known and all(map(is_, captured, self._last))
        self._roll = roll if is_settled else None
        self._called, self._last = functions, captured
        return captured

    @property
    def templates(self) -> list[tuple[int, bytes]]:
        """The templates that functions were captured with last time, each with its number."""
        return [(kind.number, kind.blob) for kind in self._kinds.current]

    def capture(self, task_id: str, function: Callable[..., Any]) -> Captured:
        """What `capture` gives; the very same object as before if nothing that it was made of has changed."""
        entry = self._entries.get(task_id)
        if entry is None or entry.function is not function:
            return self._keep(task_id, _Entry(function, watch(function), capture(task_id, function)))
        if entry.watch is not None and entry.watch.unchanged():
            return entry.captured
        now = watch(function)
        blob = _blob(task_id, function)
        same = blob == entry.captured.blob and not entry.captured.template
        captured = entry.captured if same else Captured(next(_numbers), blob, reads(function))
        return self._keep(task_id, _Entry(function, now, captured))

    def _as_they_are(self) -> Roll | None:
        """The roll of all functions, where none has to be pickled to know whether it has changed."""
        watches = [entry.watch for entry in self._entries.values() if entry.kin is None]
        watches += [kind.watch for kind in self._kinds.current]
        known = [watch for watch in watches if watch is not None]
        if len(known) < len(watches):
            return None
        functions = [entry.function for entry in self._entries.values() if entry.kin is not None]
        return Roll([function for function in functions if isinstance(function, FunctionType)], known)

    def _of_a_kind(self, task_id: str, function: Callable[..., Any]) -> Captured | None:
        """A function that has a template; `None` for one that travels whole, or did so before."""
        if type(function) is not FunctionType:
            return None
        before = self._entries.get(task_id)
        if before is not None and before.function is function:
            return None if before.kin is None else self._filled(task_id, function, before.kin, before)
        kin = None if by_reference(function) else self._kinds.kin_of(function)
        return None if kin is None else self._filled(task_id, function, kin)

    def _filled(
        self, task_id: str, function: FunctionType, kin: Kin, before: "_Entry | None" = None
    ) -> Captured | None:
        kind, mine = self._kinds.kind_of(kin, function), held(function)
        if kind is None:
            return None
        now = seen(mine)
        if before is not None and kind.number == before.captured.template and are_same(now, before.held):
            return before.captured
        if not kind.may_hold(mine):
            return None
        captured = Captured(next(_numbers), kind.contents(mine), kind.reads_of(mine), kind.number)
        return self._keep(task_id, _Entry(function, None, captured, now, kin))

    def _keep(self, task_id: str, entry: "_Entry") -> Captured:
        self._entries[task_id] = entry
        return entry.captured


class _Entry(Struct, frozen=True):
    """A function as it was captured. `held`: what it held, as in `kinds.seen`, where it has kin."""

    function: Callable[..., Any]
    watch: Watch | None
    captured: Captured
    held: tuple[object, ...] = ()
    kin: Kin | None = None


# ---- pickling ------------------------------------------------------------------------------------------------------


class _FunctionPickler(Pickler):
    resolve = staticmethod(fresh_class)
    by_type = FOR_FUNCTIONS
    is_for_code = True


def _blob(task_id: str, function: object, given: object = None) -> bytes:
    try:
        return with_room(_pickled, function)
    except Exception as error:
        given = given or function
        name = _name_of(given)
        found = culprit.find(given, name, error)
        variable = found.path.removeprefix(f"{name} uses ")
        if isinstance(task_id, RuleOf):
            raise CaptureError(None, variable, found.type_name, found.reason, key=str(task_id)) from error
        if isinstance(task_id, InitializerOf):
            raise CaptureError(None, variable, found.type_name, found.reason, initializer=str(task_id)) from error
        task = None if isinstance(task_id, OfMap) else task_id
        raise CaptureError(task, variable, found.type_name, found.reason) from error


def _pickled(function: object) -> bytes:
    with BytesIO() as file:
        _FunctionPickler(file).dump(function)
        return file.getvalue()


def _name_of(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _warn_of_size(task_id: str, function: Callable[..., Any]) -> None:
    variables = culprit.captured(function) if isinstance(function, FunctionType) else {_name_of(function): function}
    sizes = {name: len(_blob(task_id, value)) for name, value in variables.items()}
    name = max(sizes, key=sizes.__getitem__)
    if sizes[name] > LARGE:
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
    own = isinstance(function, FunctionType | MethodType | partial | _lru_cache_wrapper)
    code: object = function if own else inspect.getattr_static(type(function), "__call__", None)
    return tuple(dict.fromkeys(strings_in(code)))
