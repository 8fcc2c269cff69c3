"""Reading the definitions of classes that this process can't import: see `pickling/classes`, which writes them.

A process that knows a class keeps its own. A definition that can't be loaded leaves no half-built class behind.
"""

import os
import pickle
import threading
import weakref
from io import BytesIO
from types import MethodType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cloaca.lasting import lasting
from cloaca.pickling.enums import OF_MEMBERS
from cloaca.pickling.identity import Identity, forget, known_as

if TYPE_CHECKING:
    from collections.abc import Callable

Definition = bytes


class MadeFrom(Struct, frozen=True):
    """What a class that was loaded here was made from. `names`: the attributes that the definition set."""

    definition: Definition
    names: frozenset[str]


copies: "weakref.WeakKeyDictionary[type, MadeFrom]" = weakref.WeakKeyDictionary()
"""The classes that were loaded here."""

_loading = threading.RLock()
os.register_at_fork(after_in_child=_loading._at_fork_reinit)  # type: ignore[attr-defined]


@lasting
def known_class(identity: Identity, definition: Definition) -> type:
    """The class of that identity: this process's own, or else one made from the definition."""
    with _loading:
        if known_as(identity) is None:
            Loader(definition).finish()
        known: type = known_as(identity)
        return known


@lasting
def fresh_class(identity: Identity, definition: Definition) -> type:
    """Like `known_class`, but a copy that was made from another definition is brought up to date."""
    with _loading:
        known = known_class(identity, definition)
        if known in copies and copies[known].definition != definition:
            _Refresher(definition).finish()
        return known


class Loader(pickle.Unpickler):
    """Opens one definition: makes the classes in it that are unknown here, and leaves the others alone."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(BytesIO(definition))
        self._definition = definition
        self._made: dict[Identity, type | None] = {}
        self._names: dict[type, set[str]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        found = super().find_class(module, name)
        return MethodType(found, self) if found is Loader.make or found is Loader.assign else found

    @lasting
    def make(self, identity: Identity, maker: "Callable[..., type]", arguments: tuple[Any, ...]) -> type:
        known: type | None = known_as(identity)
        if known is not None:
            return known
        self._made[identity] = None  # known before it is made: what is half made is taken away again
        made = self._made[identity] = maker(*arguments)
        return made

    @lasting
    def assign(self, cls: Any, attributes: dict[str, Any]) -> None:
        if not self.may_define(cls):
            return
        for name, own in attributes.pop(OF_MEMBERS, {}).items():
            vars(cls.__members__[name]).update(own)
        from cloudpickle import cloudpickle  # a process that only calls functions does without

        cloudpickle._class_setstate(cls, (attributes, {}))
        self._names.setdefault(cls, set()).update(attributes)

    def may_define(self, cls: type) -> bool:
        return any(cls is made for made in self._made.values())

    def finish(self) -> None:
        try:
            self.load()  # all code
            self.load()  # and what stands on it
            for cls, names in self._names.items():
                self.record(cls, frozenset(names))
        except BaseException:
            try:
                self._undo()
            except BaseException:  # noqa: BLE001 - an alarm went off in the middle of it: what was raised before counts
                self._undo()
            raise

    def _undo(self) -> None:
        for identity in self._made:
            forget(identity)

    def record(self, cls: type, names: frozenset[str]) -> None:
        copies[cls] = MadeFrom(self._definition, names)


class _Refresher(Loader):
    """Opens one definition and applies it to the copies that are known here too."""

    def may_define(self, cls: type) -> bool:
        return cls in copies or super().may_define(cls)

    def record(self, cls: type, names: frozenset[str]) -> None:
        before = copies[cls].names if cls in copies else frozenset()
        for name in (before - names) & vars(cls).keys():
            delattr(cls, name)
        super().record(cls, names)
