"""SQLite: a store in a file, by the sqlite3 of the standard library, with large values in files beside it.

Purpose
    What is recorded outlives the program, and a crash of it at any moment; several programs may use one file.

Guarantees
    - What a method has written is there for every process when it returns, and after `kill -9` of any. After a loss of
      power, the last moments may be missing, and nothing is corrupt; with `durability="full"` nothing is missing:
      each commit waits until the disk has it, the values that it refers to included.
    - A value's file has its name only once it is whole; a record never refers to a value that isn't held.
    - An execution has one owner. Each write asks whether the claim holds, in the transaction that it is part of.
    - A file that is no store, or one of a later version, is left as it is. So is what was there when the disk is full.

Roads not taken
    - A row for each record: see `cloaca.store.schema`.
    - A hold once the value is there: who removes executions could then not tell a value that is just being put from one
      that nobody needs. So the hold comes first, and every file without one may go.
"""

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from time import time
from typing import Any, TypeVar

from msgspec import MsgspecError

from cloaca.errors import ClaimLostError, ExecutionClaimedError, StoreError, UnknownExecutionError, ValueLostError
from cloaca.nearest import nearest
from cloaca.store import owner, schema
from cloaca.store.claimed import Claimed
from cloaca.store.connection import Connection
from cloaca.store.faults import damage, fault
from cloaca.store.files import ValueFiles
from cloaca.store.opening import Durability, demand_folder, made_writable, set_up
from cloaca.store.packing import (
    codes_in,
    header_in,
    listed,
    packed,
    packed_batches,
    place_of,
    place_of_code,
    records_in,
    times_in,
)
from cloaca.store.records import Code, Header, Record
from cloaca.store.statements import LATER, add_codes, add_found, bytes_in, forget, give_back, latest, newest
from cloaca.store.store import FINDABLE, Claim, Listed
from cloaca.store.took import Took, took_in
from cloaca.values.blobs import Part

MOST_TOLD = 1 << 24
"""Of how many bytes of records is told what tasks took."""

_Unpacked = TypeVar("_Unpacked")

PATIENCE = 30.0
"""For how many seconds a store waits for other processes that have its file locked."""


def _identity_of(path: str) -> tuple[int, int] | None:
    """What tells a file from others that had its name; `None` where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class SqliteStore:
    """The store in a file, which is made if it isn't there. Where it can't be written to, it can be read.

    Raises:
        StoreError: it can't be opened; the message says why, and what to do.
    """

    def __init__(
        self, path: str, *, durability: Durability = "normal", allows_pickles: bool = True, patience: float = PATIENCE
    ) -> None:
        self.allows_pickles = allows_pickles
        self.file = os.path.abspath(path)
        self._files = ValueFiles(f"{self.file}.values", is_durable=durability == "full")
        self._claimed: dict[Claim, Claimed] = {}
        self._lock = Lock()
        demand_folder(path)
        is_writable = made_writable(self.file)
        self._writer = Connection(self.file, patience, is_writable=is_writable)
        self._reader = self._writer
        try:
            with self._writer.turn() as database:
                if is_writable:
                    set_up(database, self.file, durability)
                else:
                    schema.check(database, self.file)
            self._reader = Connection(self.file, patience, is_writable=is_writable)
        except BaseException:
            self._writer.close()
            raise
        self._identity = _identity_of(self.file)
        if is_writable:
            self._files.sweep()

    # ---- writing ---------------------------------------------------------------------------------------------------

    def create(self, header: Header) -> Claim:
        """Begin an execution, and claim it."""
        self._demand_there()
        with self._writer.change() as database:
            found = database.execute("SELECT 1 FROM executions WHERE id = ?", (header.id,)).fetchone()
            if found:
                raise StoreError(f"The store {self.file!r} holds an execution {header.id!r} already.", path=self.file)
            row = (
                header.id,
                header.workflow,
                "Running",
                header.began,
                1,
                owner.written(owner.this_process()),
                time(),
                packed(header),
            )
            number = database.execute(
                "INSERT INTO executions (id, workflow, status, began, token, owner, beat, header) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
        claim = Claim(header.id, 1)
        with self._lock:
            self._claimed[claim] = Claimed(number or 0, header)
        return claim

    def claim(self, execution: str) -> Claim:
        """Claim an execution in order to go on with it. Raises `ExecutionClaimedError` where somebody is at it."""
        self._demand_there()
        with self._writer.change() as database:
            number, token, holder, beat, header = self._row(database, execution, "number, token, owner, beat, header")
            self._demand_free(execution, holder, beat)
            mine = owner.written(owner.this_process())
            database.execute(
                "UPDATE executions SET token = ?, owner = ?, beat = ?, status = 'Running', ended = NULL "
                "WHERE number = ?",
                (token + 1, mine, time(), number),
            )
        claim = Claim(execution, token + 1)
        with self._lock:
            self._claimed[claim] = Claimed(number, self._unpacked(header_in, header))
        return claim

    def append(self, claim: Claim, records: Sequence[Record], codes: Iterable[Code] = ()) -> None:
        """Add records, in one commit. Raises `ClaimLostError` where another process has taken over."""
        claimed = self._claim_of(claim)
        places = claimed.new_places(records)
        given = {place_of_code(code.digest): code for code in codes}
        batches = [*packed_batches(records)]
        with self._writer.change() as database:
            self._renew(database, claim)
            number = claimed.number
            for data in batches:
                database.execute("INSERT INTO batches (execution, data) VALUES (?, ?)", (number, data))
            add_found(database, number, places)
            add_codes(database, number, given)
        claimed.told |= places

    def beat(self, claim: Claim) -> None:
        """Tell that the execution is still under way here."""
        self._demand_there()
        with self._writer.change() as database:
            self._renew(database, claim)

    def end(self, claim: Claim, status: str, at: float) -> None:
        """The execution has ended so, and the claim with it."""
        self._demand_there()
        with self._writer.change() as database:
            self._renew(database, claim)
            database.execute(
                "UPDATE executions SET status = ?, ended = ?, owner = NULL WHERE id = ?", (status, at, claim.execution)
            )
        with self._lock:
            self._claimed.pop(claim, None)

    def _demand_there(self) -> None:
        """Raise `StoreError` where what was opened has lost its name: nobody could find what is written to it."""
        if _identity_of(self.file) != self._identity:
            raise StoreError(
                f"The store {self.file!r} was removed or replaced while it was open: what is recorded now would be "
                "lost. Put it back, or make a new runner, which begins a new one.",
                path=self.file,
            )

    def _renew(self, database: sqlite3.Connection, claim: Claim) -> None:
        """Whatever is written to an execution is written with this."""
        renewed = database.execute(
            "UPDATE executions SET beat = ? WHERE id = ? AND token = ? AND owner IS NOT NULL",
            (time(), claim.execution, claim.token),
        )
        if renewed.rowcount != 1:
            raise ClaimLostError(claim.execution, path=self.file)

    def _claim_of(self, claim: Claim) -> Claimed:
        with self._lock:
            claimed = self._claimed.get(claim)
        if claimed is None:
            raise ClaimLostError(claim.execution, path=self.file)
        return claimed

    def _demand_free(self, execution: str, holder: str | None, beat: float) -> None:
        if holder is None:
            return
        silent = max(0.0, time() - beat)
        other = owner.read(holder)
        if not other.is_gone(silent):
            raise ExecutionClaimedError(execution, str(other), silent, path=self.file, way=other.way)

    # ---- values ----------------------------------------------------------------------------------------------------

    def put(self, claim: Claim, parts: Sequence[Part], digest: bytes) -> str:
        """Keep a large value for the execution, unless it is there already; returns the path of its file."""
        return self._put(claim, digest, sum(map(len, parts)), lambda: self._files.put(digest, parts))

    def put_file(self, claim: Claim, path: str, digest: bytes) -> str:
        """The same for the content of a file."""
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise fault(self.file, error) from error
        return self._put(claim, digest, size, lambda: self._files.copy(digest, path))

    def _put(self, claim: Claim, digest: bytes, size: int, write: Callable[[], str]) -> str:
        claimed = self._claim_of(claim)
        if digest not in claimed.held:
            with self._writer.change() as database:
                self._renew(database, claim)
                database.execute("INSERT OR IGNORE INTO holds VALUES (?, ?, ?)", (digest, claimed.number, size))
            claimed.held.add(digest)
        try:
            return write()
        except OSError as error:
            raise fault(self.file, error) from error

    def hold(self, claim: Claim, digests: Iterable[bytes]) -> None:
        """The execution, too, refers to these values, which others have put. Raises `ValueLostError`."""
        number = self._claim_of(claim).number
        with self._writer.change() as database:
            self._renew(database, claim)
            for digest in digests:
                size = self._size(database, digest)
                self._files.checked(digest, size)
                database.execute("INSERT OR IGNORE INTO holds VALUES (?, ?, ?)", (digest, number, size))

    def path(self, digest: bytes) -> str:
        """Where the value with that digest lies. Raises `ValueLostError` where it is gone, or was cut short."""
        with self._reader.turn() as database:
            size = self._size(database, digest)
        return self._files.checked(digest, size)

    def _size(self, database: sqlite3.Connection, digest: bytes) -> int:
        found = database.execute("SELECT size FROM holds WHERE digest = ? LIMIT 1", (digest,)).fetchone()
        if found is None:
            raise ValueLostError(self._files.path(digest), "belongs to no execution any more", path=self.file)
        return int(found[0])

    # ---- reading ---------------------------------------------------------------------------------------------------

    def entries(self, workflow: str | None = None, status: str | None = None) -> list[Listed]:
        """The executions, the newest first."""
        with self._reader.turn() as database:
            rows = database.execute(
                "SELECT id, workflow, status, began, ended, owner, beat FROM executions "
                "WHERE ?1 IS NULL OR workflow = ?1 ORDER BY began DESC, number DESC",
                (None if workflow is None else _told(workflow),),
            ).fetchall()
        now = time()
        found = [
            Listed(id, name, _status_of(told, holder, now - beat), began, ended)
            for id, name, told, began, ended, holder, beat in rows
        ]
        return [one for one in found if status is None or one.status == status]

    def header(self, execution: str) -> Header:
        """How it began. Raises `UnknownExecutionError`, which lists near ids."""
        with self._reader.turn() as database:
            (header,) = self._row(database, execution, "header")
        return self._unpacked(header_in, header)

    def records(self, execution: str) -> Iterator[Record]:
        """All that was recorded, in order."""
        with self._reader.turn() as database:
            (number,) = self._row(database, execution, "number")
        return self._records_of(number)

    def _records_of(self, number: int) -> Iterator[Record]:
        last: int | None = 0
        while last is not None:
            with self._reader.turn() as database:
                found = database.execute(
                    "SELECT number, data FROM batches WHERE execution = ? AND number > ? ORDER BY number LIMIT 1",
                    (number, last),
                ).fetchone()
            last, data = found or (None, b"")
            if last is not None:
                yield from self._unpacked(records_in, data)

    def codes(self, digests: Iterable[bytes]) -> dict[bytes, Code]:
        """The codes with these digests, as far as they are known."""
        wanted = set(digests)
        with self._reader.turn() as database:
            rows = database.execute(
                "SELECT data FROM packs WHERE number IN "
                "(SELECT pack FROM codes WHERE place IN (SELECT value FROM json_each(?)))",
                (listed(map(place_of_code, wanted)),),
            ).fetchall()
        found = (code for (data,) in rows for code in self._unpacked(codes_in, data))
        return {code.digest: code for code in found if code.digest in wanted}

    def holding(self, workflow: str, codes: Mapping[str, bytes]) -> Iterator[tuple[Header, dict[str, list[Record]]]]:
        """Where attempts that completed stand, of tasks with such code, the newest execution of each task first."""
        tasks = {place_of(workflow, task, code): task for task, code in codes.items()}
        before = {LATER: [*tasks]}
        while before:
            found: dict[int, list[int]] = {}
            with self._reader.turn() as database:
                for later, places in before.items():
                    for place, number in newest(database, places, later):
                        found.setdefault(number, []).append(place)
            before = {}
            for number in sorted(found, reverse=True):
                wanted = {task: codes[task] for place in found[number] if (task := tasks[place]) in codes}
                if wanted and (finding := self._finding(number, wanted)):
                    yield finding
                before[number] = [place for place in found[number] if tasks[place] in codes]

    def took(self, workflow: str) -> dict[str, Took]:
        """What tasks of the workflow took, by id, in the newest execution that completed, or else that has ended."""
        with self._reader.turn() as database:
            header, batches = latest(database, _told(workflow), MOST_TOLD)
        if header is None:
            return {}
        records = (timed for data in batches for timed in self._unpacked(times_in, data))
        return took_in(self._unpacked(header_in, header), records)

    def _finding(self, number: int, wanted: Mapping[str, bytes]) -> tuple[Header, dict[str, list[Record]]] | None:
        with self._reader.turn() as database:
            row = database.execute("SELECT header FROM executions WHERE number = ?", (number,)).fetchone()
        if row is None:  # it was removed meanwhile
            return None
        header = self._unpacked(header_in, row[0])
        ids = [task.id for task in header.tasks]
        found: dict[str, list[Record]] = {}
        for record in self._records_of(number):
            task = ids[record.task]
            if record.state in FINDABLE and record.code == wanted.get(task):
                found.setdefault(task, []).append(record)
        return header, found

    def _unpacked(self, unpack: Callable[[bytes], _Unpacked], data: bytes) -> _Unpacked:
        try:
            return unpack(data)
        except (zlib.error, MsgspecError) as error:
            raise damage(self.file, error) from error

    def _row(self, database: sqlite3.Connection, execution: str, columns: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = database.execute(
            f"SELECT {columns} FROM executions WHERE id = ?",  # noqa: S608
            (_told(execution),),
        ).fetchone()
        if row is None:
            ids = [id for (id,) in database.execute("SELECT id FROM executions")]
            raise UnknownExecutionError(execution, tuple(nearest(str(execution), ids)), path=self.file)
        return row

    # ---- forgetting ------------------------------------------------------------------------------------------------

    def remove(self, executions: Iterable[str]) -> int:
        """Forget executions, and the values that no other one holds; returns how many bytes that has freed."""
        with self._writer.change() as database:
            before = bytes_in(database)
            forget(database, [self._removable(database, execution) for execution in executions])
        with self._writer.change() as database:  # nobody begins to hold a value meanwhile
            held = {digest for (digest,) in database.execute("SELECT DISTINCT digest FROM holds")}
            try:
                freed = self._files.keep_only(held)
            except OSError as error:
                raise fault(self.file, error) from error
        with self._writer.turn() as database:
            give_back(database)
            return freed + before - bytes_in(database)

    def _removable(self, database: sqlite3.Connection, execution: str) -> int:
        number, holder, beat = self._row(database, execution, "number, owner, beat")
        self._demand_free(execution, holder, beat)
        return int(number)

    def close(self) -> None:
        """Let go of the files, and of all claims that are left. Idempotent."""
        with self._lock:
            left, self._claimed = [*self._claimed], {}
        try:
            for claim in left:
                self._let_go(claim)
        finally:
            self._reader.close()
            self._writer.close()

    def _let_go(self, claim: Claim) -> None:
        with suppress(StoreError), self._writer.change() as database:  # when this process ends, others see that
            database.execute(
                "UPDATE executions SET owner = NULL WHERE id = ? AND token = ?", (claim.execution, claim.token)
            )


def _status_of(told: str, holder: str | None, silent: float) -> str:
    if told != "Running":
        return told
    return "Interrupted" if holder is None or owner.read(holder).is_gone(silent) else told


def _told(name: object) -> str:
    """A name as SQLite can take it: what is no text in Unicode names nothing that is there."""
    return str(name).encode("utf-8", "backslashreplace").decode()
