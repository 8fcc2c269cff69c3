"""Watched: the context of a task under `CLOACA_DEBUG=1`. It tells of changes that are lost.

A fetched value is a copy: whoever changes it in place has to set it again. Here each value is remembered as it was
handed out, until the task has ended or has set the key anew, and then compared with what it was made of.
"""

import os
import warnings
from typing import Any, NamedTuple, Self

from cloaca.errors import EncodeError
from cloaca.merge.equality import equal
from cloaca.tasks.context import Context, payload_of
from cloaca.warning import LostChangeWarning, users_line
from cloaca.wire.codec import SCALARS, decode, encode, inlined

_OFF = frozenset({"", "0"})


def context_kind() -> type[Context]:
    """The class of the contexts that tasks of this process get, by its environment as it is now."""
    return Context if os.environ.get("CLOACA_DEBUG", "") in _OFF else Watched


class _HandedOut(NamedTuple):
    """A value, what it was decoded from, and the line that fetched it."""

    value: Any
    payload: bytes
    file: str
    line: int

    def has_changed(self) -> bool:
        """Whether it is no more what it was. Bytes may differ where values agree: those of a set, say."""
        try:
            is_same = encode(self.value) == inlined(self.payload)
        except EncodeError:  # it could be encoded before
            return True
        return not is_same and not equal(self.value, decode(self.payload))


class Watched(Context):
    """Remembers what it hands out. That keeps alive what a task has read, and takes the time of encoding it again."""

    __slots__ = ("_handed_out",)
    _handed_out: dict[str, list[_HandedOut]]

    def __new__(cls, data: dict[str, Any] | None = None) -> Self:  # noqa: ARG004 - as `__init__`
        """One that has handed out nothing."""
        context = super().__new__(cls)
        context._handed_out = {}
        return context

    def get(self, key: str, default: Any = None) -> Any:
        """As in `Context`."""
        value = super().get(key, default)
        payload = payload_of(self, key)
        if payload is not None and type(value) not in SCALARS:
            self._handed_out.setdefault(key, []).append(_HandedOut(value, payload, *users_line()))
        return value

    def set(self, key: str, value: Any) -> None:
        """As in `Context`."""
        super().set(key, value)
        self._handed_out.pop(key, None)

    def tell_lost_changes(self, task: str) -> None:
        """Warn of each key that was changed after it was fetched, and neither set nor removed since."""
        for key, handed_out in self._handed_out.items():
            lost = next(filter(_HandedOut.has_changed, handed_out), None)
            if lost is not None and payload_of(self, key) is not None:
                warnings.warn_explicit(_told(task, key), LostChangeWarning, lost.file, lost.line)


def _told(task: str, key: str) -> str:
    return (
        f"Task {task!r} fetched the value of key {key!r} here and changed it, but never set it: the change is lost, as "
        f"what is fetched is a copy. Write context.set({key!r}, value) after the change, or change a copy of your own."
    )
