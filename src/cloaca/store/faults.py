"""Faults: what went wrong with a store's files, in words that name the way out."""

import errno
import sqlite3

from cloaca.errors import StoreError
from cloaca.wording import summary_of

_FULL = "there is no room for it on the disk. Make some: runner.prune() gives back what old executions take"
_READ_ONLY = "it can't be written to. Give this user the right to write to it and to its folder, or name another file"
_NO_DATABASE = "it is no database. Name another file; this one stays as it is"
_NO_LOCKS = (
    "its file system has no locks that can be relied on, as network drives often haven't. Name a file on a disk of "
    "this machine"
)

_OF_SQLITE = {
    sqlite3.SQLITE_IOERR_LOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_RDLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_UNLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK: _NO_LOCKS,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_NOTADB: _NO_DATABASE,
    sqlite3.SQLITE_PROTOCOL: _NO_LOCKS,
    sqlite3.SQLITE_NOLFS: _NO_LOCKS,
    sqlite3.SQLITE_BUSY: (
        "another process has kept it locked for too long. Look for a program that has it open, as a database browser "
        "in the middle of a change, and try again"
    ),
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged. Put it back from a copy, or name another file; `sqlite3 FILE .recover` saves what can be read"
    ),
    sqlite3.SQLITE_CANTOPEN: "it can't be opened. See that its folder is there, and that it may be read and written",
    sqlite3.SQLITE_TOOBIG: "a task's record takes more than a billion bytes. Let it set fewer values, or larger ones",
    sqlite3.SQLITE_IOERR: "reading or writing it failed. See whether its disk is full, over a limit, or failing",
}

_OF_SYSTEM = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.ENOENT: "a file of it is gone, or can't be made there. Put it back, or name another file",
    errno.ENOTDIR: "what should be its folder is a file. Name another file",
    errno.EISDIR: "it is a folder. Name a file in it",
}

PRIMARY = 0xFF
"""The part of SQLite's codes that says what kind of fault it is; the rest says which of that kind."""


def fault(path: str, error: sqlite3.Error | OSError) -> StoreError:
    """What tells of an error that came from a store's database, or from a file of its values."""
    if isinstance(error, OSError):
        why = _OF_SYSTEM.get(error.errno or 0, "")
        named = error.filename2 or error.filename  # the copy, where it is one
        file = named if isinstance(named, str) else path
        about = "" if file == path else f" ({file})"
        return StoreError(_told(path, why, f"{error.strerror or error}{about}"), path=path)
    code = getattr(error, "sqlite_errorcode", 0)
    why = _OF_SQLITE.get(code) or _OF_SQLITE.get(code & PRIMARY, "")
    return StoreError(_told(path, why, str(error)), path=path)


def damage(path: str, error: Exception) -> StoreError:
    """What tells that something in a store's database can't be made sense of."""
    return StoreError(_told(path, _OF_SQLITE[sqlite3.SQLITE_CORRUPT], summary_of(error)), path=path)


def _told(path: str, why: str, text: str) -> str:
    return f"The store {path!r} can't be used: {why} ({text})." if why else f"The store {path!r} can't be used: {text}."
