"""Storage: where one runner's large values live, and when their files go.

    /dev/shm/cloaca-.../             shared memory, as long as it has room
    <temporary folder>/cloaca-.../   where it hasn't

A file goes with the last `Lease` on it, and a folder with its owner (see `cloaca.values.folder`). A place that can't
be used is left out: where there is none, all values are sent. Each execution has another look: a folder that was
removed is made anew, and a place that couldn't be used before may do now.
"""

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from threading import RLock

from cloaca.values import folder
from cloaca.values.blobs import Blob, Content, NoFolderError, blob_of, is_reference, reference, secure, write
from cloaca.values.folder import Folder
from cloaca.wire.text import is_encodable

SHARED_MEMORY: str | os.PathLike[str] = "/dev/shm"  # noqa: S108 - folders in it are made for this user alone, under random names


class Lease:
    """Keeps the file of a reference. When the last one goes, so does the file."""

    __slots__ = ("_owner", "_path")

    def __init__(self, payload: bytes) -> None:
        self._path = blob_of(payload).path
        self._owner = os.getpid()

    def __del__(  # at the interpreter's end, the names of this module may be gone
        self,
        getpid: Callable[[], int] = os.getpid,
        unlink: Callable[[str], None] = os.unlink,
        suppressed: type[suppress] = suppress,
    ) -> None:
        if self._owner == getpid():  # a forked child has copies of all leases, and owns nothing
            with suppressed(OSError):
                unlink(self._path)


Leases = dict[bytes, Lease]
"""By reference."""


_storages: "weakref.WeakSet[Storage]" = weakref.WeakSet()


class Storage:
    """The folders of one runner. Whoever ends without closing it is swept up after."""

    def __init__(self) -> None:
        sweep()
        self._places = [place for place in _places() if is_encodable(place)]
        self._owner = os.getpid()
        self._numbers = count()
        self._lock = RLock()
        self._made: dict[str, Folder] = {}
        self._is_closed = False
        self.folders: tuple[str, ...] = ()
        self.renew()
        _storages.add(self)

    def renew(self) -> tuple[str, ...]:
        """Make the folders that are missing, where that can be done; returns `folders`: the first one with room first.

        Those that are there stay.
        """
        with self._lock:
            for place in () if self._is_closed else self._places:
                made = self._made.get(place)
                if made is None or not made.is_there:
                    self._make_in(place, made)
            self.folders = tuple([self._made[place].path for place in self._places if place in self._made])
            return self.folders

    def _make_in(self, place: str, gone: Folder | None) -> None:
        if gone is not None:
            del self._made[place]
            gone.abandon()
        with suppress(OSError):
            self._made[place] = Folder(place)

    def has(self, payload: bytes) -> bool:
        """Whether a reference is to a file that is here."""
        return is_reference(payload) and self._is_here(blob_of(payload).path) and os.path.exists(blob_of(payload).path)

    def _is_here(self, path: str) -> bool:
        return os.path.dirname(path) in self.folders

    def put(self, payload: Content, what: str = "program") -> tuple[bytes | Content, Lease | None]:
        """Store a payload that the program has; returns its reference, and the lease on it. `what` names the file.

        It is taken to be one that merging may look into: the bytes alone don't tell. Where no folder can be used it
        stays what it is. Raises `StorageFullError` where there is no room.
        """
        try:
            path, size = write(self.folders, f"{what}.{next(self._numbers)}", [payload])
        except NoFolderError:
            return payload, None
        stored = reference(Blob(path, size, is_structure=True))
        return stored, Lease(stored)

    def take_over(self, attempt: int, payload: bytes) -> Lease | None:
        """The lease on what that attempt stored here; `None` where it was there before, or is no reference."""
        if not is_reference(payload):
            return None
        path = blob_of(payload).path
        is_its_own = self._is_here(path) and os.path.basename(path).startswith((f"{attempt}.", f"{attempt}-"))
        return Lease(payload) if is_its_own else None

    def discard(self, attempt: int, item: int | None = None) -> None:
        """Remove what an attempt wrote that can't tell any more: its worker died. Items before that one did tell."""
        begins = (f"{attempt}.", f"{attempt}-{item}.")
        for place in self.folders:
            with suppress(OSError):  # it goes with its folder then
                for name in os.listdir(place):
                    if name.startswith(begins):
                        folder.remove_file(os.path.join(place, name))

    def close(self) -> None:
        """Remove the folders, with all that is in them. What was preserved stays readable. Idempotent."""
        if self._owner == os.getpid():
            with self._lock:
                self._is_closed, self.folders = True, ()  # nobody begins to write there any more
                for made in self._made.values():
                    secure(made.path)
                    made.remove()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the locks. In a forked child of the program: it must not hold them when the program has gone."""
        for made in self._made.values():
            made.abandon()
        self._made, self.folders = {}, ()


def sweep() -> None:
    """Remove the folders whose owners are gone."""
    for place in _places():
        folder.sweep(place)


def _places() -> list[str]:
    """Where there may be folders, the best place first."""
    from tempfile import gettempdir

    places = [os.fspath(SHARED_MEMORY)]
    with suppress(OSError):  # there is no temporary folder that can be used
        places.append(gettempdir())
    return list(dict.fromkeys(places))


def _abandon_all() -> None:
    for storage in list(_storages):
        storage.abandon()


os.register_at_fork(after_in_child=_abandon_all)
