"""Several processes on one store, and processes that are killed while they write to it."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import IO

import pytest
from tests.support import environment

from cloaca import ExecutionClaimedError
from cloaca.errors import ClaimLostError
from cloaca.store.connection import Connection
from cloaca.store.sqlite import SqliteStore
from cloaca.testing.stores import TASKS, header, record

START = """
import os, signal, sys
from itertools import count
from cloaca import StoreError
from cloaca.store.records import Code
from cloaca.store.connection import Connection
from cloaca.store.sqlite import SqliteStore
from cloaca.testing.stores import header, record

def tell(*words):
    print(*words, flush=True)

store = SqliteStore("runs.db")
"""

WRITE = """
claim = store.create(header(sys.argv[1])) if sys.argv[2] == "create" else store.claim(sys.argv[1])
tell("begun")
for n in count(sum(1 for _ in store.records(sys.argv[1]))):
    value = n.to_bytes(8) * 10_000
    store.put(claim, [value], value[:16])
    store.append(claim, [record("load", b"1", item=n)], [Code(n.to_bytes(16))])
    tell(n)
"""


class Writer:
    """A program that works on the store in a folder, and tells what it has done."""

    def __init__(self, folder: Path, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START + script, *arguments],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def _told(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def line(self) -> str:
        return self._told.readline().rstrip("\n")

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> list[str]:
        """Kill it, as soon as can be; returns what it has told meanwhile."""
        self.process.kill()
        return [line.rstrip("\n") for line in self._told if line.endswith("\n")]

    def rest(self) -> list[str]:
        """Wait for its end; returns what it has told until then."""
        lines = self._told.read().splitlines()
        assert self.process.wait() == 0
        return lines


@contextmanager
def writers(folder: Path, script: str, *each: tuple[str, ...]) -> Iterator[list[Writer]]:
    """Programs that run at the same time. None outlives the test."""
    with ExitStack() as stack:
        made = [Writer(folder, script, *arguments) for arguments in each]
        for one in made:
            stack.callback(one.process.communicate)
            stack.callback(one.process.kill)
        yield made


def is_sound(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def test_programs_that_open_a_new_store_at_once_share_it(tmp_path: Path) -> None:
    script = """
store.close()
tell("ready")
for n in range(20):
    input()
    store = SqliteStore(f"{n}.db")
    store.end(store.create(header(sys.argv[1])), "Completed", 2.0)
    store.close()
    tell("made")
"""
    with writers(tmp_path, script, *[(name,) for name in "abcd"]) as programs:
        assert {program.line() for program in programs} == {"ready"}
        for n in range(20):
            for program in programs:
                program.go()
            assert [program.line() for program in programs] == ["made"] * 4
            with closing(SqliteStore(str(tmp_path / f"{n}.db"))) as store:
                assert sorted(one.id for one in store.entries()) == [*"abcd"]


def test_programs_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    script = """
claim = store.create(header(sys.argv[1]))
for n in range(100):
    value = n.to_bytes(8) * 10_000
    store.put(claim, [value], value[:16])
    store.append(claim, [record("load", b"1", item=n)], [Code(n.to_bytes(16))])
store.end(claim, "Completed", 2.0)
"""
    with writers(tmp_path, script, *[(name,) for name in "abc"]) as programs:
        for program in programs:
            program.rest()
    assert is_sound(tmp_path / "runs.db")
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
        for name in "abc":
            assert [*store.records(name)] == [record("load", b"1", item=n) for n in range(100)]
        assert len([*(tmp_path / "runs.db.values").glob("*/*")]) == 100
        assert len(store.codes(n.to_bytes(16) for n in range(100))) == 100


def test_an_interrupted_execution_is_gone_on_with_by_one_alone(tmp_path: Path) -> None:
    script = """
tell("ready")
for n in range(15):
    input()
    try:
        store.claim(str(n))
    except StoreError as error:
        tell(type(error).__name__)
    else:
        tell("mine")
input()
"""
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
        for n in range(15):
            store.create(header(str(n)))
    with writers(tmp_path, script, *[()] * 3) as programs:
        assert {program.line() for program in programs} == {"ready"}
        for _ in range(15):
            for program in programs:
                program.go()
            told = sorted(program.line() for program in programs)
            assert told == ["ExecutionClaimedError", "ExecutionClaimedError", "mine"]


def test_a_process_that_was_killed_has_no_execution_any_more(tmp_path: Path) -> None:
    with writers(tmp_path, WRITE, ("a", "create")) as (writer,):
        assert writer.line() == "begun"
        with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
            assert [one.status for one in store.entries()] == ["Running"]
            with pytest.raises(ExecutionClaimedError, match=rf"process {writer.process.pid} on .* Wait for it, or end"):
                store.claim("a")
            with pytest.raises(ExecutionClaimedError):
                store.remove(["a"])
            writer.kill()
            os.waitid(os.P_PID, writer.process.pid, os.WEXITED | os.WNOWAIT)
            assert [one.status for one in store.entries()] == ["Interrupted"]
            assert [one.id for one in store.entries(status="Interrupted")] == ["a"]
            store.append(store.claim("a"), [record("clean")])
            assert [one.status for one in store.entries()] == ["Running"]


def test_a_slow_process_keeps_its_execution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writers(tmp_path, WRITE.replace("    tell(n)", "    tell(n); input()"), ("a", "create")) as (writer,):
        assert [writer.line(), writer.line()] == ["begun", "0"]
        writer.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, writer.process.pid, os.WSTOPPED | os.WNOWAIT)
        with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
            monkeypatch.setattr("cloaca.store.sqlite.time", lambda: 1e12)
            assert [one.status for one in store.entries()] == ["Running"]
            with pytest.raises(ExecutionClaimedError):
                store.claim("a")


def test_who_was_taken_for_dead_writes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine: here, the kernel tells."""
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as first:
        monkeypatch.setattr("cloaca.store.owner.system", lambda: "another")
        claim = first.create(header("a"))
        first.append(claim, [record("load")])
        monkeypatch.undo()
        with closing(SqliteStore(str(tmp_path / "runs.db"))) as second:
            with pytest.raises(ExecutionClaimedError, match="nothing was heard of it for 60 s"):
                second.claim("a")
            monkeypatch.setattr("cloaca.store.sqlite.time", lambda: 1e12)
            assert [one.status for one in second.entries()] == ["Interrupted"]
            again = second.claim("a")
            for write in (
                lambda: first.append(claim, [record("clean")]),
                lambda: first.beat(claim),
                lambda: first.put(claim, [b"v"], b"v" * 16),
                lambda: first.end(claim, "Completed", 3.0),
            ):
                with pytest.raises(ClaimLostError, match="another one has taken it over"):
                    write()
            second.append(again, [record("report")])
            assert [TASKS[one.task] for one in second.records("a")] == ["load", "report"]


def test_a_store_that_is_closed_lets_go_of_what_it_has_begun(tmp_path: Path) -> None:
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as first:
        first.create(header("a"))
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as second:
        assert [one.status for one in second.entries()] == ["Interrupted"]
        second.claim("a")


def test_an_execution_of_this_program_says_so(tmp_path: Path) -> None:
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
        store.create(header("a"))
        with pytest.raises(ExecutionClaimedError, match="in this very program: wait for it, or cancel it"):
            store.claim("a")


def test_the_program_forks_between_two_changes(tmp_path: Path) -> None:
    """A child closes its copies of all connections at its end, and would take back what is half written."""
    SqliteStore(str(tmp_path / "runs.db")).close()
    happened: list[str] = []
    is_under_way, is_to_fork = Event(), Event()
    with closing(Connection(str(tmp_path / "runs.db"), 5.0, is_writable=True)) as connection:

        def write() -> None:
            with connection.change() as database:
                is_under_way.set()
                is_to_fork.wait()
                database.execute(
                    "INSERT INTO batches (execution, data) WITH RECURSIVE n(i) AS "
                    "(SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT i, zeroblob(100) FROM n"
                )
                happened.append("written")

        thread = Thread(target=write)
        thread.start()
        is_under_way.wait()
        is_to_fork.set()
        child = os.fork()
        if not child:
            connection.close()
            os._exit(0)
        happened.append("forked")
        os.waitpid(child, 0)
        thread.join()
    assert happened == ["written", "forked"]
    assert is_sound(tmp_path / "runs.db")


@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_outlives_a_kill_at_any_moment(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    written = 0
    for n in range(8):
        with writers(tmp_path, WRITE, ("a", "create" if n == 0 else "resume")) as (writer,):
            told = [writer.line() for _ in range(chance.randrange(1, 12))] + writer.kill()
        acknowledged = int(told[-1]) + 1 if len(told) > 1 else written
        assert is_sound(tmp_path / "runs.db")
        with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
            found = [*store.records("a")]
            written = len(found)
            assert written - acknowledged in (0, 1)
            assert found == [record("load", b"1", item=item) for item in range(written)]
            for item in range(written):
                content = item.to_bytes(8) * 10_000
                assert Path(store.path(content[:16])).read_bytes() == content
            held = [len(by_task["load"]) for _, by_task in store.holding("sales", {"load": b"1"})]
            assert held == [written][:written]
            assert [one.status for one in store.entries()] == ["Interrupted"]
            assert [*(tmp_path / "runs.db.values").glob("*.draft")] == []


def test_what_is_put_while_others_remove_is_never_lost(tmp_path: Path) -> None:
    """All programs put the same values, and each removes its execution again."""
    script = """
for n in range(40):
    claim = store.create(header(f"{sys.argv[1]} {n}"))
    for value in (b"1" * 70_000, b"2" * 70_000):
        store.put(claim, [value], value[:16])
        assert os.stat(store.path(value[:16])).st_size == 70_000
    store.append(claim, [record("load")])
    for value in (b"1" * 16, b"2" * 16):
        assert os.stat(store.path(value)).st_size == 70_000
    store.end(claim, "Completed", 2.0)
    store.remove([f"{sys.argv[1]} {n}"])
"""
    with writers(tmp_path, script, *[(name,) for name in "abc"]) as programs:
        for program in programs:
            program.rest()
    assert is_sound(tmp_path / "runs.db")
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
        assert store.entries() == []
    assert [path for path in (tmp_path / "runs.db.values").rglob("*") if path.is_file()] == []
