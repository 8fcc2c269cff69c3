"""Storage: the folders in which one runner's large values live, and when their files go.

    /dev/shm/cloaca-<process id>-<random>/     shared memory, as long as it has room
    <temporary folder>/cloaca-.../             where it hasn't
        cloaca.lock                            held by the process that owns the folder, as long as it lives
        <attempt>.<process id>.<number>        one value

A file goes with the last `Lease` on it. If the owner ends without a word, the kernel lets go of its locks, and the next
storage that any process of this user opens removes what was left. Only what was surely made here is ever removed: a
folder of this user, closed to all others, with a name and a lock as above.
"""

import fcntl
import os
import re
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from cloaca.wire.blobs import Blob, blob_of, is_reference, reference, write
from cloaca.wire.frames import is_encodable

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it are made for this user alone, under random names
PREFIX = "cloaca-"
PRIVATE = 0o700
LOCK = "cloaca.lock"
_MADE_HERE = re.compile(rf"{PREFIX}\d+-")


class Lease:
    """Keeps the file of a reference. When the last one goes, so does the file."""

    __slots__ = ("_owner", "_path")

    def __init__(self, payload: bytes) -> None:
        self._path = blob_of(payload).path
        self._owner = os.getpid()

    def __del__(self) -> None:
        if self._owner == os.getpid():  # a forked child has copies of all leases, and owns nothing
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - at the interpreter's end, pathlib may be gone


Leases = dict[bytes, Lease]
"""By reference."""


_storages: "weakref.WeakSet[Storage]" = weakref.WeakSet()


class Storage:
    """The folders of one runner. Whoever ends without closing it is swept up after."""

    def __init__(self) -> None:
        sweep()
        found = (SHARED_MEMORY, Path(tempfile.gettempdir()))
        places = [place for place in found if place.is_dir() and is_encodable(str(place))]
        self._owner = os.getpid()
        self._numbers = count()
        self._folders = [Path(tempfile.mkdtemp(prefix=f"{PREFIX}{self._owner}-", dir=place)) for place in places]
        self._locks = [_locked(folder) for folder in self._folders]
        _storages.add(self)

    @property
    def folders(self) -> tuple[str, ...]:
        """Where values are written, the first one with room first."""
        return tuple(map(str, self._folders))

    def has(self, payload: bytes) -> bool:
        """Whether a reference is to a file that is here."""
        if not is_reference(payload):
            return False
        path = Path(blob_of(payload).path)
        return path.parent in self._folders and path.exists()

    def put(self, payload: bytes, what: str = "program") -> tuple[bytes, Lease]:
        """Store a payload that the program has; returns its reference, and the lease on it. `what` names the file.

        It is taken to be one that merging may look into: the bytes alone don't tell.
        """
        path, size = write(self.folders, f"{what}.{next(self._numbers)}", [payload])
        stored = reference(Blob(path, size, is_structure=True))
        return stored, Lease(stored)

    def discard(self, attempt: int) -> None:
        """Remove what an attempt wrote that can't tell any more: its worker died."""
        for folder in self._folders:
            for path in folder.glob(f"{attempt}.*"):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folders, with all that is in them. What was preserved stays readable. Idempotent."""
        if self._owner == os.getpid():
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the locks. In a forked child of the program: it must not hold them when the program has gone."""
        for lock in self._locks:
            os.close(lock)
        self._folders, self._locks = [], []


def wrote(attempt: int, payload: bytes) -> bool:
    """Whether it is a reference to what that attempt stored, rather than to something that was there before."""
    return is_reference(payload) and Path(blob_of(payload).path).name.startswith(f"{attempt}.")


def sweep() -> None:
    """Remove the folders whose owners are gone."""
    for place in {SHARED_MEMORY, Path(tempfile.gettempdir())}:
        for folder in _abandoned(place):
            shutil.rmtree(folder, ignore_errors=True)


def _abandoned(place: Path) -> Iterator[Path]:
    """This user's folders whose lock nobody holds. One without a lock is just being made, or being removed."""
    for folder in filter(_is_made_here, place.glob(f"{PREFIX}*")):
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        finally:
            os.close(lock)
        yield folder


def _is_made_here(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == PRIVATE
    return is_private and found.st_uid == os.geteuid() and _MADE_HERE.match(folder.name) is not None


def _locked(folder: Path) -> int:
    """A descriptor that holds the folder's lock. The lock appears locked: under its name it is never free."""
    draft = folder / f"{LOCK}.draft"
    lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    draft.rename(folder / LOCK)
    return lock


def _abandon_all() -> None:
    for storage in list(_storages):
        storage.abandon()


os.register_at_fork(after_in_child=_abandon_all)
