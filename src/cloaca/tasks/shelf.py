"""What one attempt does with values: where it puts large ones, what it has looked at, and what it didn't find."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count

from msgspec import Struct, field

from cloaca.errors import StorageFullError
from cloaca.values.blobs import MARK, Blob, NoFolderError, Part, blob_of, reference, references_in, size_of, write

_MISSED = 100  # absent keys that an attempt's failure tells of


_REFERS = MARK[:1]
_numbers = count()  # of files of this process: threads of a task may set values at once


class Shelf(Struct, eq=False):
    """Where an attempt puts its large values: files in the folders of the runner, under the attempt's number.

    Where it is at an item, its place comes after that. `lacked`: how many bytes the last value takes for which there
    was no room.
    """

    folders: Sequence[str]
    attempt: int
    item: int | None = None
    written: set[bytes] | None = None
    is_shared: bool = False
    lacked: int = 0

    def put(self, parts: Sequence[Part], is_structure: bool) -> bytes:  # noqa: FBT001 - a fact about the value
        """Write a value; returns its reference. Raises `StorageFullError` where there is no room.

        Where no folder can be used at all, it is the value itself.
        """
        name = self.attempt if self.item is None else f"{self.attempt}-{self.item}"
        try:
            path, size = write(self.folders, f"{name}.{os.getpid()}.{next(_numbers)}", parts)
        except NoFolderError:
            return b"".join(parts)
        except StorageFullError as error:
            self.lacked = error.size
            raise
        payload = reference(Blob(path, size, is_structure))
        if self.written is None:
            self.written = set()
        self.written.add(payload)
        return payload

    def drop(self, payload: bytes) -> None:
        """Remove what this attempt wrote: it has set something else since."""
        if self.written and payload in self.written and not self.is_shared:
            self._remove(self.written, payload)

    def share(self) -> None:
        """A copy of the context has the same values from here on: nothing is removed before the attempt's end."""
        self.is_shared = True

    def keep(self, payloads: Iterable[bytes | None]) -> None:
        """The attempt has ended with these: remove all else that it wrote."""
        if self.written:
            for payload in self.written.difference(payloads):
                self._remove(self.written, payload)

    def _remove(self, written: set[bytes], payload: bytes) -> None:
        written.discard(payload)
        with suppress(FileNotFoundError):
            os.unlink(blob_of(payload).path)


class Traffic(Struct, eq=False):
    """What an attempt has read: which keys, and how many bytes, here and in files.

    So many seconds, large values were rebuilt (`loading`), others were waited for, and what was set was made bytes.
    """

    keys: dict[str, None] = field(default_factory=dict)
    absent: dict[str, None] = field(default_factory=dict)
    read: int = 0
    mapped: int = 0
    loading: float = 0.0
    waiting: float = 0.0
    encoding: float = 0.0

    def note(self, key: str, payload: Part) -> None:
        """A value is read, or a part of one."""
        self.keys[key] = None
        if payload[:1] != _REFERS:  # it refers to nothing
            self.read += len(payload)
            return
        self.read += size_of(payload)
        self.mapped += sum(map(size_of, references_in(payload)))

    def miss(self, key: str) -> None:
        """A key was looked up that isn't there."""
        if len(self.absent) < _MISSED:
            self.absent[key] = None
