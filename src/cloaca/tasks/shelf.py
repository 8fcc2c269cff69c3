"""What one attempt does with values: where it puts large ones, what it has looked at, and what it didn't find."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count

from cloaca.errors import StorageFullError
from cloaca.values.blobs import (
    Blob,
    NoFolderError,
    Part,
    blob_of,
    is_reference,
    reference,
    references_in,
    size_of,
    write,
)
from cloaca.values.composite import is_composite

_MISSED = 100  # absent keys that an attempt's failure tells of


class Shelf:
    """Where an attempt puts its large values: files in the folders of the runner, under the attempt's number."""

    def __init__(self, folders: Sequence[str], attempt: int) -> None:
        self._folders = folders
        self._attempt = attempt
        self._numbers = count()  # threads of a task may set values at once
        self._written: set[bytes] = set()
        self._is_shared = False
        self.lacked = 0
        """How many bytes the last value takes for which there was no room."""

    def put(self, parts: Sequence[Part], is_structure: bool) -> bytes:  # noqa: FBT001 - a fact about the value
        """Write a value; returns its reference. Raises `StorageFullError` where there is no room.

        Where no folder can be used at all, it is the value itself.
        """
        try:
            path, size = write(self._folders, f"{self._attempt}.{os.getpid()}.{next(self._numbers)}", parts)
        except NoFolderError:
            return b"".join(parts)
        except StorageFullError as error:
            self.lacked = error.size
            raise
        payload = reference(Blob(path, size, is_structure))
        self._written.add(payload)
        return payload

    def drop(self, payload: bytes) -> None:
        """Remove what this attempt wrote: it has set something else since."""
        if payload in self._written and not self._is_shared:
            self._remove(payload)

    def share(self) -> None:
        """A copy of the context has the same values from here on: nothing is removed before the attempt's end."""
        self._is_shared = True

    def keep(self, payloads: Iterable[bytes | None]) -> None:
        """The attempt has ended with these: remove all else that it wrote."""
        if self._written:
            for payload in self._written.difference(payloads):
                self._remove(payload)

    def _remove(self, payload: bytes) -> None:
        self._written.discard(payload)
        with suppress(FileNotFoundError):
            os.unlink(blob_of(payload).path)


class Traffic:
    """What an attempt has read: which keys, and how many bytes, here and in files."""

    __slots__ = ("absent", "keys", "mapped", "read")

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.absent: dict[str, None] = {}
        self.read = 0
        self.mapped = 0

    def within(self, prefix: str) -> "Traffic":
        """The same, for a task that names keys without their `prefix`."""
        traffic = _Within(prefix)
        traffic.keys, traffic.read, traffic.mapped = self.keys, self.read, self.mapped
        traffic.absent = self.absent
        return traffic

    def note(self, key: str, payload: Part) -> None:
        """A value is read, or a part of one."""
        self.keys[key] = None
        if is_reference(payload):
            size = size_of(payload)
            self.mapped += size
            self.read += size
        elif is_composite(payload):
            self.mapped += sum(map(size_of, references_in(payload)))
            self.read += size_of(payload)
        else:
            self.read += len(payload)

    def miss(self, key: str) -> None:
        """A key was looked up that isn't there."""
        if len(self.absent) < _MISSED:
            self.absent[key] = None


class _Within(Traffic):
    """Counts keys that are named without their prefix."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def note(self, key: str, payload: Part) -> None:
        super().note(self._prefix + key, payload)

    def miss(self, key: str) -> None:
        super().miss(self._prefix + key)
