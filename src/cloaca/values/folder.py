"""Folder: where the large values of one process live in one place, and which folders nobody owns any more.

    <place>/cloaca-<process id>-<system>-<random>/
        cloaca.lock                     held by the process that owns the folder, as long as it lives
        <attempt>.<process id>.<number> one value

If the owner ends without a word, the kernel lets go of its lock. The lock is the last that goes from a folder: one that
was removed half-way has it still. Where there is none (the owner ended in the middle of making or removing it, or the
file system has no locks) the owner's process id tells, if it is one of this very system: of the same boot, and the same
container. Only what was surely made here is ever removed: a folder of this user, closed to all others, of such a name.
"""

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from os.path import basename, isdir, join
from zlib import crc32

PREFIX = "cloaca-"
PRIVATE = 0o700
LOCK = "cloaca.lock"
_OTHERS = 0o077
_TRIES = 100
_MADE_HERE = re.compile(rf"{PREFIX}(\d+)-(?:([0-9a-f]{{8}})-)?")
UNKNOWN = "00000000"
_BOOT = "/proc/sys/kernel/random/boot_id"
_PROCESSES = "/proc/self/ns/pid"


class Folder:
    """One that was just made, in `place`. Raises `OSError` where that can't be done; nothing is left then."""

    def __init__(self, place: str) -> None:
        from tempfile import mkdtemp  # loads much that a program which runs nothing does without

        self.path = mkdtemp(prefix=f"{PREFIX}{os.getpid()}-{system()}-", dir=place)
        self._lock: int | None = None
        try:
            os.chmod(self.path, PRIVATE)  # the place may have given it more than it was made with
            self._lock = _locked(self.path)
        except BaseException:
            self.remove()
            raise

    @property
    def is_there(self) -> bool:
        """Whether nobody has removed it."""
        return isdir(self.path)

    def remove(self) -> None:
        """Remove it with all that is in it. Its lock is let go first: that leaves a descriptor to do it with."""
        self.abandon()
        remove(self.path)

    def abandon(self) -> None:
        """Let go of the lock. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def remove(folder: str) -> None:
    """Remove a folder with all that is in it, as far as that can be done. The lock goes last.

    A thread that was about to write there may do so in between: then all is done once more.
    """
    for _ in range(_TRIES):
        with suppress(OSError):
            for name in os.listdir(folder):
                if name != LOCK:
                    _remove(join(folder, name))
            remove_file(join(folder, LOCK))
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                continue
        return


def remove_file(path: str) -> None:
    """Remove a file. Somebody else may have done so."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _remove(path: str) -> None:
    try:
        remove_file(path)
    except IsADirectoryError:
        from shutil import rmtree

        rmtree(path, ignore_errors=True)


def sweep(place: str) -> None:
    """Remove the folders there whose owners are gone."""
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(place)
    for folder in (join(place, name) for name in names if _MADE_HERE.match(name)):
        if _is_private(folder) and _is_ownerless(folder):
            remove(folder)


def _is_private(folder: str) -> bool:
    """Whether it is a folder of this user, closed to all others."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


def _is_ownerless(folder: str) -> bool:
    try:
        lock = os.open(join(folder, LOCK), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return is_of_the_dead(basename(folder))
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # there are no locks here
        return is_of_the_dead(basename(folder))
    finally:
        os.close(lock)
    return True


def is_of_the_dead(name: str) -> bool:
    """Whether the owner's process is surely gone: it was one of this system, and there is none of its number."""
    made = _MADE_HERE.match(name)
    if made is None or made[2] is None or made[2] != system() or made[2] == UNKNOWN:
        return False
    try:
        os.kill(int(made[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def system() -> str:
    """What stands for this boot of this machine, and for the container in which process ids mean the same."""
    try:
        with open(_BOOT, encoding="ascii") as boot:
            told = f"{boot.read()}{os.stat(_PROCESSES).st_ino}"
    except OSError:
        return UNKNOWN
    return f"{crc32(told.encode()):08x}"


def _locked(folder: str) -> int | None:
    """A descriptor that holds the folder's lock; `None` where there are no locks.

    The lock appears locked: under its name it is never free.
    """
    draft = join(folder, f"{LOCK}.draft")
    lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        os.close(lock)
        os.unlink(draft)
        return None
    os.rename(draft, join(folder, LOCK))
    return lock
