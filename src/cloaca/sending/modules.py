"""Modules: the code of the user's own ones, as it goes to the workers of one runner."""

import pickle
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from msgspec import Struct

from cloaca.errors import StorageFullError
from cloaca.pickling.modules import LoadedModule, LoadedModules
from cloaca.values.blobs import LARGE, is_reference
from cloaca.values.holder import Holder

if TYPE_CHECKING:
    from cloaca.values.storage import Lease


class Sent(Struct, frozen=True):
    """What workers are sent: a payload, and how many times before it modules were loaded anew.

    A worker that was given an earlier `generation` may have imported another version.
    """

    payload: bytes = b""
    generation: int = 0


class Modules:
    """What the workers of one runner are sent, from time to time."""

    def __init__(self) -> None:
        self._loaded = LoadedModules()
        self._loaded.now()  # what their files say from here on makes no difference
        self._given: Mapping[str, LoadedModule] = {}
        self._sent = Sent()
        self._leases: list[Lease] = []  # a worker may read what it was sent late
        self._lock = Lock()

    def now(self, holder: Holder) -> Sent:
        """The modules as they are loaded now, in `holder` where they take much."""
        with self._lock:
            given = self._loaded.now()
            if given is not self._given or self._is_lost(holder):
                self._sent = self._of(given, holder)
                self._given = given
            return self._sent

    def _is_lost(self, holder: Holder) -> bool:
        """Whether somebody has removed the file."""
        return is_reference(self._sent.payload) and not holder.has(self._sent.payload)

    def _of(self, given: Mapping[str, LoadedModule], holder: Holder) -> Sent:
        before = self._given
        is_reloaded = any(_is_another(before[name], given[name]) for name in before.keys() & given.keys())
        payload = pickle.dumps(given)  # names of files needn't be text that msgpack can carry
        if len(payload) >= LARGE:
            with suppress(StorageFullError):  # then it is sent
                payload, lease = holder.put(payload, "modules")
                self._leases += [] if lease is None else [lease]
        return Sent(payload, self._sent.generation + is_reloaded)


def _is_another(before: LoadedModule, given: LoadedModule) -> bool:
    """Whether it was loaded anew. Where a package is looked for may follow from `sys.path`, which changes."""
    return (before.file, before.code) != (given.file, given.code)
