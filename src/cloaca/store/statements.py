"""Statements: what a store's database is told, or asked, of many rows at once (see `cloaca.store.schema`)."""

import sqlite3
from collections.abc import Iterable, Mapping

from cloaca.store.packing import listed, packed
from cloaca.store.records import Code

LATER = 2**62
"""A number after those of all executions."""

_FORGET = (
    "DELETE FROM found WHERE execution IN (SELECT value FROM json_each(?))",
    "DELETE FROM holds WHERE execution IN (SELECT value FROM json_each(?))",
    "DELETE FROM batches WHERE execution IN (SELECT value FROM json_each(?))",
    "DELETE FROM executions WHERE number IN (SELECT value FROM json_each(?))",
)
_TIDY = (
    "DELETE FROM codes WHERE used < (SELECT coalesce(min(number), 9e18) FROM executions)",
    "DELETE FROM packs WHERE number NOT IN (SELECT pack FROM codes)",
)


def add_found(database: sqlite3.Connection, number: int, places: Iterable[int]) -> None:
    """Attempts completed at these places in that execution."""
    database.execute("INSERT OR IGNORE INTO found SELECT value, ? FROM json_each(?)", (number, listed(places)))


def newest(database: sqlite3.Connection, places: Iterable[int], before: int) -> list[tuple[int, int]]:
    """The places that executions before that one have, each with the last of these executions."""
    return database.execute(
        "SELECT value, (SELECT max(execution) FROM found WHERE place = value AND execution < ?) AS newest "
        "FROM json_each(?) WHERE newest IS NOT NULL",
        (before, listed(places)),
    ).fetchall()


def latest(database: sqlite3.Connection, workflow: str, most: int) -> tuple[bytes | None, list[bytes]]:
    """The header of the newest execution of the workflow that completed, or else that has ended; and its batches.

    Of these, the first ones, which together have so many bytes at most.
    """
    row = database.execute(
        "SELECT number, header FROM executions WHERE workflow = ? AND ended IS NOT NULL "
        "ORDER BY status = 'Completed' DESC, number DESC LIMIT 1",
        (workflow,),
    ).fetchone()
    if row is None:
        return None, []
    number, header = row
    found = database.execute(
        "SELECT data FROM (SELECT number, data, sum(length(data)) OVER (ORDER BY number) AS so_far "
        "FROM batches WHERE execution = ?) WHERE so_far <= ? ORDER BY number",
        (number, most),
    )
    return header, [data for (data,) in found]


def add_codes(database: sqlite3.Connection, number: int, codes: Mapping[int, Code]) -> None:
    """These were used by that execution. Those that are new go into one pack."""
    if not codes:
        return
    places = listed(codes)
    new = database.execute(
        "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT place FROM codes)", (places,)
    ).fetchall()
    pack = None
    if new:
        pack = database.execute(
            "INSERT INTO packs (data) VALUES (?)", (packed([codes[place] for (place,) in new]),)
        ).lastrowid
    database.execute(
        "INSERT INTO codes (place, pack, used) SELECT value, ?, ? FROM json_each(?) WHERE true "
        "ON CONFLICT (place) DO UPDATE SET used = max(used, excluded.used)",
        (pack or 0, number, places),
    )


def forget(database: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Remove these executions, and codes that none of those after them has used."""
    gone = listed(numbers)
    for statement in _FORGET:
        database.execute(statement, (gone,))
    for statement in _TIDY:
        database.execute(statement)


def give_back(database: sqlite3.Connection) -> None:
    """Let the file take no more room than it needs."""
    database.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the log, too


def bytes_in(database: sqlite3.Connection) -> int:
    """How much room the database takes, but for its log."""
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)
