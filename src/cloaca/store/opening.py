"""Opening: what is done with a store's file before anything is read or written."""

import errno
import os
import sqlite3
from typing import Literal

from cloaca.errors import StoreError
from cloaca.store import schema
from cloaca.store.faults import PRIMARY, fault
from cloaca.store.network import is_on_network

Durability = Literal["normal", "full"]


def demand_folder(path: str) -> None:
    """Raise `StoreError` where there is no folder for a store with that path."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.lexists(folder):
        return
    is_meant = not os.path.isabs(path) and os.path.isdir(os.path.dirname(f"/{path}"))
    absolute = f" Where {'/' + path!r} is meant, the URL is 'sqlite:////{path}', with four slashes." if is_meant else ""
    raise StoreError(
        f"The store {os.path.abspath(path)!r} can't be made: there is no folder {folder!r}. Make it, or name another "
        f"file.{absolute}",
        path=os.path.abspath(path),
    )


def made_writable(path: str) -> bool:
    """Whether a store can be written to. It is made where it isn't there, for this user alone.

    A file that is there isn't opened: closing it would take away the locks that other stores of this process have.

    Raises `StoreError` where it can't be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if os.path.isdir(path):
            raise fault(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)) from error
        if not os.path.exists(path):
            raise fault(path, error) from error
    by_rights = os.access in os.supports_effective_ids
    return all(os.access(one, os.W_OK, effective_ids=by_rights) for one in (path, os.path.dirname(path)))


def set_up(database: sqlite3.Connection, path: str, durability: Durability) -> None:
    """Make it a store of this version, and one that withstands what it should."""
    schema.prepare(database, path)
    _set_journal(database, "DELETE" if is_on_network(path) else "WAL")
    database.execute(f"PRAGMA synchronous = {durability}")


def _set_journal(database: sqlite3.Connection, kind: str) -> None:
    """Where the file system can't have it, it stays what it was; also where another process is at that just now."""
    try:
        database.execute(f"PRAGMA journal_mode = {kind}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & PRIMARY != sqlite3.SQLITE_BUSY:
            raise
