"""Connection: one connection to a store's database, of which threads take turns."""

import os
import sqlite3
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from threading import RLock
from urllib.parse import quote

from cloaca.errors import StoreError
from cloaca.store.faults import PRIMARY, fault

_FOR_WRITING = ("mode=rw",)
_FOR_READING = ("mode=ro", "mode=ro&immutable=1")
"""The second is for a folder in which nothing can be made, not even what processes tell each other by."""

_open: "weakref.WeakSet[Connection]" = weakref.WeakSet()
_paused: list["Connection"] = []
_NOT_SO = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


class Connection:
    """One to an existing file, for writing or for reading alone; it waits for other processes for `patience` seconds.

    Raises `StoreError` where the file can't be opened, or is no database.
    """

    def __init__(self, path: str, patience: float, *, is_writable: bool) -> None:
        self._path = path
        self._lock = RLock()  # a signal handler may come in the middle of a turn
        with self._told():
            self._database = _connected(path, _FOR_WRITING if is_writable else _FOR_READING, patience)
        _open.add(self)

    @contextmanager
    def turn(self) -> Generator[sqlite3.Connection, None, None]:
        """The database, for this thread alone until it is done."""
        with self._lock, self._told():
            yield self._database

    @contextmanager
    def change(self) -> Generator[sqlite3.Connection, None, None]:
        """The same for a change: all of it is done, or none where something is raised."""
        with self.turn() as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite has taken it back by itself where the disk is full
                    database.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self._lock, self._told():
            self._database.close()

    def pause(self) -> None:
        """Let nobody begin a turn until `go_on`."""
        self._lock.acquire()

    def go_on(self) -> None:
        """Whoever waits has the next turn."""
        self._lock.release()

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise StoreError(f"The store {self._path!r} was closed.", path=self._path) from error
        except sqlite3.Error as error:
            raise fault(self._path, error) from error


def _connected(path: str, ways: tuple[str, ...], patience: float) -> sqlite3.Connection:
    """A connection by the first way on which there is one. Its file has been read, so it is a database."""
    way, *others = ways
    address = f"file:{quote(os.fsencode(path))}?{way}"
    made = sqlite3.connect(address, timeout=patience, isolation_level=None, check_same_thread=False, uri=True)
    try:
        made.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        made.close()
        if others and error.sqlite_errorcode & PRIMARY in _NOT_SO:
            return _connected(path, tuple(others), patience)
        raise
    return made


# A forked child has copies of all connections. It closes them when it ends, and would take back what its parent is in
# the middle of writing: so the program is forked between two turns.


def _pause_all() -> None:
    for connection in list(_open):
        connection.pause()
        _paused.append(connection)


def _go_on() -> None:
    while _paused:
        _paused.pop().go_on()


os.register_at_fork(before=_pause_all, after_in_parent=_go_on, after_in_child=_go_on)
