"""Variables: what the program has set in its own modules, in a worker that imports them.

They are those of a run: before an attempt of another run begins, what was set for the one before is put back. What has
been set stays as it is as long as the same is wanted, whatever tasks make of it: it is scratch of the worker.
"""

import sys
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from cloaca.errors import EncodeError
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import Place

Wanted = Mapping[str, Mapping[str, bytes]]
"""By module, and by the way in it: the payload of the value."""

_ABSENT = object()


class OwnVariables:
    """Keeps what modules have by themselves, where something else was set.

    Whatever strikes in between, what was begun is finished when the same is wanted again, and can be put back.
    """

    def __init__(self) -> None:
        self._wanted: Wanted = {}
        self._set: dict[Place, bytes] = {}
        self._replaced: dict[Place, Any] = {}

    def want(self, wanted: Wanted) -> None:
        """From here on modules are to have these."""
        self._wanted = wanted
        for place in [*{**self._set, **self._replaced}]:
            if place not in self._set or self._wants(place) != self._set[place]:
                self._put_back(place)
        self.complete()

    def complete(self) -> None:
        """Modules have been imported: give them what they are to have."""
        for name in self._wanted.keys() & sys.modules.keys():
            self._complete(sys.modules[name])

    def _complete(self, module: ModuleType) -> None:
        for path, payload in self._wanted[module.__name__].items():
            place = module.__name__, path
            if self._set.get(place) == payload:
                continue
            present = _looked_up(module, path)
            if not _is_encoded(present, payload):
                self._replaced.setdefault(place, present)
                _assign(module, path, decode(payload))
            self._set[place] = payload

    def _put_back(self, place: Place) -> None:
        module, path = place
        if place in self._replaced and module in sys.modules:
            _assign(sys.modules[module], path, self._replaced[place])
        self._replaced.pop(place, None)
        self._set.pop(place, None)

    def _wants(self, place: Place) -> bytes | None:
        return self._wanted.get(place[0], {}).get(place[1])


_here = OwnVariables()


def of_process() -> OwnVariables:
    """Those of this process."""
    return _here


def _is_encoded(value: object, payload: bytes) -> bool:
    with suppress(EncodeError):
        return value is not _ABSENT and encode(value) == payload
    return False


def _looked_up(module: ModuleType, path: str) -> Any:
    owner, name = _owner(module, path)
    return vars(owner).get(name, _ABSENT)


def _assign(module: ModuleType, path: str, value: object) -> None:
    owner, name = _owner(module, path)
    if value is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


def _owner(module: ModuleType, path: str) -> tuple[Any, str]:
    """The module, or a class in it, and the name of the variable there."""
    owner: Any = module
    *classes, name = path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    return owner, name
