"""Schema: how a store's database is laid out, and how one of an earlier version becomes one of this.

    executions  one row each; the header is packed (`cloaca.store.packing`); no `owner`: nobody has it in hand
    batches     the records of one commit, packed
    found       by a number that stands for workflow, task and code: the executions in which such an attempt completed
    packs       codes that became known with one commit, packed
    codes       by a number that stands for a code: the pack that has it, and the last execution that used it
    holds       which executions refer to which values

One row for many records: what SQLite does for a row, it does while it holds Python's lock, and a busy program makes it
wait for that each time.
"""

import sqlite3

from cloaca.errors import StoreError

APPLICATION = 0x636C6F61
"""What stands in the file to say that it is a store of cloaca's ("cloa")."""

_VERSION_1 = """
CREATE TABLE executions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    workflow TEXT NOT NULL,
    status TEXT NOT NULL,
    began REAL NOT NULL,
    ended REAL,
    token INTEGER NOT NULL,
    owner TEXT,
    beat REAL NOT NULL,
    header BLOB NOT NULL
);
CREATE TABLE batches (number INTEGER PRIMARY KEY, execution INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX batches_of ON batches (execution);
CREATE TABLE found (place INTEGER, execution INTEGER, PRIMARY KEY (place, execution)) WITHOUT ROWID;
CREATE TABLE packs (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE codes (place INTEGER PRIMARY KEY, pack INTEGER NOT NULL, used INTEGER NOT NULL);
CREATE TABLE holds (
    digest BLOB, execution INTEGER, size INTEGER NOT NULL, PRIMARY KEY (digest, execution)
) WITHOUT ROWID;
"""

_STEPS = (_VERSION_1,)
"""What leads from each version to the next, beginning with an empty database. What stands here is never changed."""

VERSION = len(_STEPS)


def prepare(database: sqlite3.Connection, path: str) -> None:
    """Make an empty database a store, or one of an earlier version one of this. Others are refused.

    Raises `StoreError`, and has changed nothing then.
    """
    found = _found(database, path)
    if found == VERSION:
        return
    if found == 0:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that what is removed gives its room back
    database.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[_version(database, path) :]:  # another process may have been quicker
            for statement in filter(None, map(str.strip, step.split(";"))):
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def check(database: sqlite3.Connection, path: str) -> None:
    """For who only reads: raises `StoreError` where it is no store of this version."""
    found = _found(database, path)
    if found < VERSION:
        raise StoreError(
            f"The store {path!r} is one of an earlier version of cloaca ({found}, not {VERSION}), or empty, and "
            "can't be written to. Give this user the right to write to it, once, or copy it.",
            path=path,
        )


def _found(database: sqlite3.Connection, path: str) -> int:
    """The version, as it is at one moment."""
    database.execute("BEGIN")
    try:
        return _version(database, path)
    finally:
        database.execute("COMMIT")


def _version(database: sqlite3.Connection, path: str) -> int:
    """The version of a store; 0 of an empty database."""
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        if application or version or tables:
            raise StoreError(
                f"{path!r} is the database of another program. Name another file; this one stays as it is.", path=path
            )
        return 0
    if version > VERSION:
        raise StoreError(
            f"The store {path!r} was written by a later version of cloaca (its layout is {version}, known here is "
            f"{VERSION}). Install that version or a later one, or name another file; this one stays as it is.",
            path=path,
        )
    return int(version)
