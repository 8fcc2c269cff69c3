"""The functions of a workflow, pickled again only where something that they capture may have changed.

Functions that a program makes of one piece of code, as in a loop, are *kin*. What the first two have in common (code,
modules, a table that all of them capture) is pickled once, as their *head*. Each is pickled as going on from there, and
loaded by one unpickler, first its head and then itself. So it arrives as if it had been pickled alone, whatever leads
to what; but what they share is pickled and sent once.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from operator import is_
from types import FunctionType, MethodType
from typing import Any

from cloaca.pickling import culprit
from cloaca.pickling.code import global_names
from cloaca.pickling.functions import (
    IN_BAND,
    NOTHING,
    Apart,
    Captured,
    FunctionPickler,
    next_number,
    pickled,
    reads,
    warn_of_size,
)
from cloaca.pickling.homes import Namespaces, namespace_of
from cloaca.pickling.loading import MAKERS
from cloaca.pickling.modules import by_reference
from cloaca.pickling.watch import Watch, is_watched


class FunctionCache:
    """The captured functions of one workflow. Within it, a large variable is warned of once."""

    def __init__(self) -> None:
        self._functions: Sequence[Callable[..., Any]] = ()
        self._captured: list[Captured] = []
        self._kin: list[_Kin] = []
        self._unsettled: list[_Kin] = []
        self._watch = Watch()
        self._warned: set[str] = set()

    def capture_all(
        self, ids: Sequence[str], functions: Sequence[Callable[..., Any]], apart: Apart = IN_BAND
    ) -> list[Captured]:
        """What `capture` gives for each task, with `heads`; the very same object as before where nothing has changed.

        Also the very same list, if nothing has changed at all.
        """
        if not (len(functions) == len(self._functions) and all(map(is_, functions, self._functions))):
            self._functions, self._captured, self._kin = (), [NOTHING] * len(functions), _kin_among(ids, functions)
        kin = self._unsettled
        if not self._functions or not self._watch.unchanged():
            kin, self._watch = self._kin, Watch()
            self._unsettled = [one for one in kin if not one.is_watched(self._watch)]
        self._functions = ()  # as long as one may turn out to be at fault
        captured = self._captured.copy()
        for one in kin:
            one.capture(captured, self._warned, apart)
        self._functions = functions
        if not all(map(is_, captured, self._captured)):
            self._captured = captured
        return self._captured

    @property
    def heads(self) -> list[Captured]:
        """What functions go on from, as they were captured last."""
        return [kin.head for kin in self._kin if kin.head is not NOTHING]


class _Kin:
    """Functions of one piece of code: their places among all. What is by itself has no head."""

    def __init__(self, places: Sequence[int], ids: Sequence[str], functions: Sequence[Callable[..., Any]]) -> None:
        self.head = NOTHING
        self._places = places
        self._ids = ids
        self._functions = functions
        self._due: Sequence[int] = ()
        self._unwatched: list[int] = []

    def is_watched(self, watch: Watch) -> bool:
        """Put under watch what they capture; whether that is all of it. What they share is asked once."""
        self._due = self._places
        shared = self._shared()
        is_seen = all(is_watched(part, watch) for part in shared)
        asked = frozenset(map(id, shared))
        self._unwatched = [place for place in self._places if not is_watched(self._functions[place], watch, asked)]
        return is_seen and not self._unwatched

    def capture(self, captured: list[Captured], warned: set[str], apart: Apart) -> None:
        """Renew those that have changed since they were captured."""
        leader = FunctionPickler(apart)
        self._lead(leader, warned, apart)
        pickler = leader if self.head is NOTHING else FunctionPickler(apart, leader)
        for place in self._due:
            task_id, function, before = self._ids[place], self._functions[place], captured[place]
            made = pickled(task_id, function, function, pickler, before.attached)
            blob = apart.blob(made.blob, before.blob)
            if (blob, made.attached, self.head.number) == (before.blob, before.attached, before.head):
                continue
            if before is NOTHING:
                warn_of_size(task_id, function, made.blob, warned, apart)
            captured[place] = Captured(next_number(), blob, reads(function), self.head.number, made.attached)
        self._due = self._unwatched

    def _lead(self, leader: FunctionPickler, warned: set[str], apart: Apart) -> None:
        """Pickle the head. Where it is another one, all go on from that."""
        if len(self._places) == 1:
            return
        place = self._places[0]
        task_id, first = self._ids[place], self._functions[place]
        parts = [*_making(first, leader.namespaces), *self._shared()]
        if not parts:
            self._go_on_from(NOTHING)
            return
        made = pickled(task_id, first, parts, leader, self.head.attached)
        blob = apart.blob(made.blob, self.head.blob)
        if (blob, made.attached) != (self.head.blob, self.head.attached):
            warn_of_size(task_id, first, made.blob, warned, apart)
            self._go_on_from(Captured(next_number(), blob, (), attached=made.attached))

    def _go_on_from(self, head: Captured) -> None:
        if head is not self.head:
            self.head, self._due = head, self._places

    def _shared(self) -> list[object]:
        """What the first two have in common."""
        if len(self._places) == 1:
            return []
        one, other = (_held(self._functions[place]) for place in self._places[:2])
        own = set(map(id, one))
        return [value for value in other if id(value) in own]


def _kin_among(ids: Sequence[str], functions: Sequence[Callable[..., Any]]) -> list[_Kin]:
    alike: dict[int, array[int]] = defaultdict(partial(array, "I"))
    for place, function in enumerate(functions):
        alike[_origin(function)].append(place)
    return [_Kin(places, ids, functions) for places in alike.values()]


def _origin(function: object) -> int:
    """What tells which functions are kin."""
    match function:
        case FunctionType():
            return id(function.__code__)
        case partial():
            return id(function.func)
        case MethodType():
            return id(function.__func__)
        case _:
            return id(function)


def _held(function: object) -> list[object]:
    """What leads to all that a function captures."""
    match function:
        case FunctionType() if not by_reference(function):
            return list(culprit.captured(function).values())
        case partial():
            return [function.func, *function.args, *function.keywords.values()]
        case MethodType():
            return [function.__func__, function.__self__]
        case _:
            return [function]


def _making(function: object, namespaces: Namespaces) -> list[object]:
    """What makes a function by value."""
    if not isinstance(function, FunctionType) or by_reference(function):
        return []
    code = function.__code__
    return [*MAKERS, code, global_names(code), namespace_of(function, namespaces)]
