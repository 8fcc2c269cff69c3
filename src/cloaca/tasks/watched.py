"""Watched: the context of a task under `CLOACA_DEBUG=1`. It tells of changes that are lost.

A fetched value is a copy: whoever changes it in place has to set it again. Here each value is remembered as it was
handed out, until the task has ended or has set the key anew, and then compared with what it was made of.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from cloaca.errors import EncodeError
from cloaca.merge.equality import equal
from cloaca.tasks.context import Context, contents_of, over
from cloaca.values.codec import decode, encode, inlined
from cloaca.values.kinds import SCALARS
from cloaca.warning import LostChangeWarning, users_line

_OFF = frozenset({"", "0"})


def context_kind() -> type[Context]:
    """The class of the contexts that tasks of this process get, by its environment as it is now."""
    return Context if os.environ.get("CLOACA_DEBUG", "") in _OFF else Watched


class _HandedOut(NamedTuple):
    """A value, its bytes as it was handed out, and the line that fetched it: none where the task is called with it."""

    value: Any
    payload: bytes
    line: tuple[str, int] | None = None

    def has_changed(self) -> bool:
        """Whether it is no more what it was. Bytes may differ where values agree: those of a set, say."""
        try:
            is_same = encode(self.value) == inlined(self.payload)
        except EncodeError:  # it could be encoded before
            return True
        return not is_same and not equal(self.value, decode(self.payload))


class Watched(Context):
    """Remembers what it hands out. That keeps alive what a task has read, and takes the time of encoding it again."""

    __slots__ = ("_handed_out", "_item")
    _handed_out: dict[str, list[_HandedOut]]
    _item: _HandedOut | None

    def __new__(cls, data: dict[str, Any] | None = None) -> Self:  # noqa: ARG004 - as `__init__`
        """One that has handed out nothing."""
        context = super().__new__(cls)
        context._handed_out = {}
        context._item = None
        return context

    def copy(self) -> Context:
        """As in `Context`. What is fetched from one of the two may be set in the other."""
        twin = over(contents_of(self).twin(), Watched)
        if isinstance(twin, Watched):
            twin._handed_out = self._handed_out
        return twin

    def get(self, key: str, default: Any = None) -> Any:
        """As in `Context`."""
        value = super().get(key, default)
        payload = contents_of(self).payload(key)
        if payload is not None and type(value) not in SCALARS:
            self._handed_out.setdefault(key, []).append(_HandedOut(value, payload, users_line()))
        return value

    def set(self, key: str, value: Any) -> None:
        """As in `Context`."""
        super().set(key, value)
        self._handed_out.pop(key, None)

    def call_with(self, values: Mapping[str, Any]) -> None:
        """The task is called with these values of keys, which were fetched for it, and converted maybe."""
        for key, value in values.items():
            for fetched in self._handed_out.pop(key, ()):
                payload = fetched.payload if value is fetched.value else encode(value)
                self._handed_out[key] = [_HandedOut(value, payload)]

    def hand_over(self) -> None:
        """What was fetched belongs to a function that sets nothing itself: to change it is no mistake."""
        self._handed_out.clear()
        self._item = None

    def call_with_item(self, item: Any, payload: bytes) -> None:
        """The task is called with this item."""
        self._item = _HandedOut(item, payload)

    def tell_lost_changes(self, task: str, function: Callable[..., object]) -> None:
        """Warn of what `function` has changed after it was handed out, and neither set nor removed since.

        An item may be set under any key: changes of it are lost for sure only where nothing was set.
        """
        for key, handed_out in self._handed_out.items():
            lost = next(filter(_HandedOut.has_changed, handed_out), None)
            if lost is not None and contents_of(self).payload(key) is not None:
                told = _told_of_parameter if lost.line is None else _told
                _warn(told(task, key), lost, function)
        if self._item is not None and not contents_of(self).changes and self._item.has_changed():
            _warn(_told_of_item(task), self._item, function)


def _warn(message: str, lost: _HandedOut, function: Callable[..., object]) -> None:
    from cloaca.tasks.place import file_and_line_of

    warnings.warn_explicit(message, LostChangeWarning, *(lost.line or file_and_line_of(function)))


def _told(task: str, key: str) -> str:
    return (
        f"Task {task!r} fetched the value of key {key!r} here and changed it, but never set it: the change is lost, as "
        f"what is fetched is a copy. Write context.set({key!r}, value) after the change, or change a copy of your own."
    )


def _told_of_parameter(task: str, key: str) -> str:
    return (
        f"Task {task!r} changed the value of key {key!r}, with which it is called, but never set it: the change is "
        f"lost, as it is called with a copy. Write context.set({key!r}, {key}) after the change, or change a copy of "
        "your own."
    )


def _told_of_item(task: str) -> str:
    return (
        f"Task {task!r} changed its item, and set nothing: the change is lost, as the item is a copy. Set it under a "
        "key after the change, or change a copy of your own."
    )
