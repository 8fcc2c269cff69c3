"""Several values pickled with one memo, for `values/elements`: what lasts, as a class, is told once."""

from enum import Enum
from functools import partial
from io import BytesIO
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from cloaca.pickling.classes import Pickler
from cloaca.pickling.modules import by_reference
from cloaca.values.blobs import Part
from cloaca.values.kinds import SCALARS, is_constant
from cloaca.wire.strike import is_strike

_BY_NAME = (FunctionType, BuiltinFunctionType, ModuleType)


class _MetAgainError(Exception):
    """A value leads to what one before it leads to, and which may be changed."""


class Pickles(Pickler):
    """Pickles of values, one after the other: one part, and others for their buffers.

    An object keeps its `id` as long as the memo holds it; those that it doesn't hold are no danger.
    """

    def __init__(self, parts: list[Part]) -> None:
        self.place = len(parts)
        self._parts = parts
        self._parts.append(b"")
        self._file = BytesIO()
        self._count = 0
        self._met: dict[int, int] = {}
        super().__init__(self._file, lambda buffer: parts.append(buffer.raw()))  # which doesn't lead back to this

    def takes(self, value: object) -> bool:
        """Append a value; returns whether that could be done. Where it can't, nothing else may be appended."""
        end, parts = self._file.tell(), len(self._parts)
        try:
            self.dump(value)
        except Exception as error:
            if not isinstance(error, _MetAgainError) and is_strike(error, partial(Pickles([]).dump, value)):
                raise
            self._file.seek(end)
            self._file.truncate()
            del self._parts[parts:]
            return False
        self._count += 1
        return True

    def end(self) -> None:
        """All values are here."""
        self._parts[self.place] = self._file.getvalue()

    def persistent_id(self, obj: Any) -> None:
        """Called for whatever is pickled; it stands for itself."""
        if type(obj) in SCALARS:
            return
        met = self._met.setdefault(id(obj), self._count)
        if met in (self._count, _FOR_ALL):
            return
        if not _lasts(obj):
            raise _MetAgainError
        self._met[id(obj)] = _FOR_ALL


_FOR_ALL = -1


def _lasts(value: Any) -> bool:
    """Whether nothing of it can be changed, or it is one for the whole process anyway."""
    if isinstance(value, _BY_NAME):
        return not isinstance(value, FunctionType) or by_reference(value)
    return isinstance(value, (type, Enum)) or is_constant(value)
