"""Value files: large values beside a store, each in a file that is named by its content.

    <folder>/ab/abcdef...                                   the value with the digest abcdef..., just as it is mapped
    <folder>/cloaca-<process id>-<system>-<number>.draft    one that is being written

A draft is renamed once it is whole, so nobody ever sees half a value under its name. What a process has left that is
gone is swept by the next one that opens the store. Nothing is compressed: values are mapped as they lie.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from time import time

from cloaca.errors import ValueLostError
from cloaca.values.blobs import Part, write_file
from cloaca.values.folder import PREFIX, PRIVATE, is_of_the_dead, remove_file, system

_DRAFT = ".draft"
_STALE_SECONDS = 3600.0
"""How long nothing was written to a draft that nobody will go on with."""

_numbers = count()
_NAMED = re.compile("[0-9a-f]{2,}")


class ValueFiles:
    """Those of one store. `is_durable`: a value is on the disk, not only on its way, when it has been put."""

    def __init__(self, folder: str, *, is_durable: bool) -> None:
        self.folder = folder
        self._is_durable = is_durable
        self._system = system()

    def path(self, digest: bytes) -> str:
        """Where a value lies, or would lie."""
        name = digest.hex()
        return f"{self.folder}/{name[:2]}/{name}"

    def checked(self, digest: bytes, size: int) -> str:
        """Where it lies. Raises `ValueLostError` where it is gone, or hasn't that many bytes."""
        path = self.path(digest)
        found = _size(path)
        if found is None:
            raise ValueLostError(path, "is gone")
        if found != size:
            raise ValueLostError(path, f"has {found:,} bytes, of {size:,} that were written")
        return path

    def put(self, digest: bytes, parts: Sequence[Part]) -> str:
        """Write a value, unless it is there; returns its path. Raises `OSError`, and leaves nothing then."""
        size = sum(map(len, parts))
        return self._put(digest, size, lambda draft: write_file(draft, parts))

    def copy(self, digest: bytes, source: str) -> str:
        """The same for the content of a file."""
        return self._put(digest, os.stat(source).st_size, lambda draft: _copy(source, draft))

    def _put(self, digest: bytes, size: int, write: Callable[[str], None]) -> str:
        path = self.path(digest)
        if _size(path) == size:
            return path
        draft = f"{self.folder}/{PREFIX}{os.getpid()}-{self._system}-{next(_numbers)}{_DRAFT}"
        self._make(self.folder)
        self._make(os.path.dirname(path))
        try:
            write(draft)
            if self._is_durable:
                _flush(draft)
            os.rename(draft, path)
        except BaseException:
            remove_file(draft)
            raise
        if self._is_durable:
            _flush(os.path.dirname(path))
        return path

    def _make(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        os.makedirs(folder, PRIVATE, exist_ok=True)
        if self._is_durable:
            _flush(os.path.dirname(folder))

    def sweep(self) -> None:
        """Remove drafts that nobody will go on with."""
        for name in _listed(self.folder):
            path = f"{self.folder}/{name}"
            if name.endswith(_DRAFT) and _is_stale(path):
                with suppress(OSError):
                    remove_file(path)

    def keep_only(self, digests: set[bytes]) -> int:
        """Remove all values but these; returns how many bytes that has freed."""
        freed = 0
        for part in _listed(self.folder):
            for name in _listed(f"{self.folder}/{part}"):
                path = f"{self.folder}/{part}/{name}"
                if name[:2] == part and _NAMED.fullmatch(name) and bytes.fromhex(name) not in digests:
                    freed += _size(path) or 0
                    remove_file(path)
        return freed


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _copy(source: str, target: str) -> None:
    from shutil import copyfile  # in the kernel, where it can do that

    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    copyfile(source, target)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_stale(draft: str) -> bool:
    try:
        silent = time() - os.stat(draft).st_mtime
    except OSError:
        return False
    return silent > _STALE_SECONDS or is_of_the_dead(os.path.basename(draft))
