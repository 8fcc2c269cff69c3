"""What stores promise, on each of them; and what becomes of a store in a file when something is wrong with the file."""

import errno
import os
import resource
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from xxhash import xxh3_128_digest

from cloaca import StoreError
from cloaca.engine.looks import Looks
from cloaca.store import connection, network, owner
from cloaca.store.faults import fault
from cloaca.store.memory import MemoryStore
from cloaca.store.records import Code, Record, TaskRow
from cloaca.store.schema import APPLICATION, VERSION
from cloaca.store.sqlite import SqliteStore
from cloaca.store.store import Claim, Store
from cloaca.testing.stores import StoreConformance, digest_of, header, record


class TestInMemory(StoreConformance):
    def store(self, folder: Path) -> Store:
        return MemoryStore()


class TestInAFile(StoreConformance):
    def store(self, folder: Path) -> Store:
        return SqliteStore(str(folder / "runs.db"))


class TestInAFileThatWaitsForTheDisk(StoreConformance):
    def store(self, folder: Path) -> Store:
        return SqliteStore(str(folder / "runs.db"), durability="full")


class TestInAFileOnANetworkDrive(StoreConformance):
    @pytest.fixture(autouse=True)
    def _all_is_far(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cloaca.store.opening.is_on_network", lambda _: True)

    def store(self, folder: Path) -> Store:
        return SqliteStore(str(folder / "runs.db"))


class TestWhereProcessesHaveNoMemoryInCommon(StoreConformance):
    """SQLite can't keep its log there, and says so by what it keeps instead."""

    @pytest.fixture(autouse=True)
    def _locks_are_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "_FOR_WRITING", ("mode=rw&vfs=unix-dotfile",))

    def store(self, folder: Path) -> Store:
        return SqliteStore(str(folder / "runs.db"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store is to lie."""
    return tmp_path / "runs.db"


@contextmanager
def opened(file: Path, **how: object) -> Iterator[SqliteStore]:
    with closing(SqliteStore(str(file), **how)) as store:  # type: ignore[arg-type]
        yield store


def filled(file: Path) -> None:
    """A store with one execution that has ended, one record, and one value."""
    with opened(file) as store:
        claim = store.create(header("a"))
        store.append(claim, [record("load", b"1")], [Code(b"1" * 16, {"f": b"2"})])
        store.put(claim, [b"v" * 70_000], b"v" * 16)
        store.end(claim, "Completed", 2.0)


def is_intact(file: Path) -> bool:
    with opened(file) as store:
        return [*store.records("a")] == [record("load", b"1")] and Path(store.path(b"v" * 16)).stat().st_size == 70_000


# ---- files -----------------------------------------------------------------------------------------------------------


def test_what_was_written_is_there_when_the_store_is_opened_again(file: Path) -> None:
    filled(file)
    assert is_intact(file)
    with opened(file) as store:
        assert store.header("a") == header("a")
        assert [one.status for one in store.entries()] == ["Completed"]


@pytest.mark.parametrize("name", ["a b?#%20.db", "f%6Fo", "\udcff.db", "'; DROP TABLE--", "file:x?mode=memory"])
def test_a_store_has_any_name(name: str, tmp_path: Path) -> None:
    filled(tmp_path / name)
    assert is_intact(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == sorted([name, f"{name}.values"])


def test_a_store_stays_where_it_is_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with opened(Path("runs.db")) as store:
        claim = store.create(header("a"))
        monkeypatch.chdir("elsewhere")
        assert store.put(claim, [b"v"], b"v" * 16).startswith(f"{tmp_path}/runs.db.values/")
    assert os.listdir(tmp_path / "elsewhere") == []


def test_nobody_else_can_read_it(file: Path) -> None:
    before = os.umask(0)
    try:
        with opened(file) as store:
            store.put(store.create(header("a")), [b"v"], b"v" * 16)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.rglob("*")}
    finally:
        os.umask(before)
    assert modes == {
        "runs.db": 0o600,
        "runs.db-wal": 0o600,
        "runs.db-shm": 0o600,
        "runs.db.values": 0o700,
        "76": 0o700,
        "76" * 16: 0o600,
    }


def test_a_crash_in_the_middle_of_a_value_leaves_a_draft_that_the_next_store_removes(file: Path) -> None:
    filled(file)
    gone = subprocess.Popen(["true"])
    gone.wait()
    folder = file.parent / "runs.db.values"
    mine = owner.this_process()
    drafts = [folder / f"cloaca-{pid}-{mine.system}-0.draft" for pid in (gone.pid, os.getpid())]
    for draft in drafts:
        draft.write_bytes(b"half")
    old = folder / f"cloaca-{os.getpid()}-{mine.system}-1.draft"
    old.touch()
    os.utime(old, (0, 0))
    assert is_intact(file)
    assert [draft.exists() for draft in (*drafts, old)] == [False, True, False]


def test_a_value_that_can_not_be_written_leaves_nothing(file: Path) -> None:
    with opened(file) as store:
        claim = store.create(header("a"))
        with file_limit(50_000), pytest.raises(StoreError, match="there is no room"):
            store.put(claim, [b"v" * 70_000], b"v" * 16)
        assert [path for path in (file.parent / "runs.db.values").rglob("*") if path.is_file()] == []
        store.put(claim, [b"v" * 70_000], b"v" * 16)


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_a_value_is_on_the_disk_before_it_is_referred_to_where_that_is_asked_for(
    durability: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    with opened(file, durability=durability) as store:
        path = store.put(store.create(header("a")), [b"v" * 70_000], b"v" * 16)
    above, folder = str(Path(path).parent), str(Path(path).parents[1])
    expected = [str(file.parent), folder, f"{folder}/a draft", above] if durability == "full" else []
    assert [f"{folder}/a draft" if one.endswith(".draft") else one for one in flushed] == expected


def test_a_value_whose_source_is_gone_is_told(file: Path) -> None:
    with opened(file) as store, pytest.raises(StoreError, match=r"No such file or directory.*/not/there"):
        store.put_file(store.create(header("a")), "/not/there", b"v" * 16)


def test_what_was_removed_gives_its_room_back(file: Path) -> None:
    with opened(file) as store:
        for id in "ab":
            claim = store.create(header(id))
            noise = Code(os.urandom(16), {str(n): os.urandom(16) for n in range(10_000)})
            store.append(claim, [record("load", os.urandom(500_000))], [noise])
            store.end(claim, "Completed", 2.0)
        before = file.stat().st_size + Path(f"{file}-wal").stat().st_size
        freed = store.remove(["a"])
        assert freed > 600_000
        assert file.stat().st_size + Path(f"{file}-wal").stat().st_size <= before - freed
        assert [*store.codes([noise.digest])] == [noise.digest]
        store.remove(["b"])
        assert file.stat().st_size < 100_000
        assert [*store.codes([noise.digest])] == []


@pytest.mark.parametrize("codes", [1, 10_000])
def test_a_trivial_record_takes_some_hundred_bytes(codes: int, file: Path) -> None:
    rows = tuple(TaskRow(f"task_{n}", (n // 2,)) for n in range(10_000))
    with opened(file) as store:
        claim = store.create(replace(header("a"), tasks=rows))
        for start in range(0, 10_000, 1000):
            batch = [trivial(n, codes) for n in range(start, start + 1000)]
            store.append(claim, batch, [Code(one.code, {"function 'f' in steps.py": one.code}) for one in batch])
        store.end(claim, "Completed", 2.0)
    assert file.stat().st_size / 10_000 < (100 if codes == 1 else 200)


def trivial(n: int, codes: int) -> Record:
    """Of a task that has read one key and set another one."""
    began = 1.79e9 + n * 7.7e-5
    figures = (began, 0.00001 * (n % 7), 0.00001 * (n % 11), 12345 + n % 2, 40_000_000 + 4096 * (n % 50), 0, 0, 0)
    looks = Looks({"rows": xxh3_128_digest(b"rows")})
    code = xxh3_128_digest(b"%d" % (n % codes))
    return Record(n, None, "Completed", 1, began, 1, figures, ("rows",), {f"k{n}": b"\x07"}, code, looks)


def test_large_records_are_kept_as_they_are(file: Path) -> None:
    written = [record("load", os.urandom(size), item=size) for size in (10, 100_000, 20_000_000, 10, 3_000_000)]
    with opened(file) as store:
        claim = store.create(header("a"))
        store.append(claim, written)
        assert [*store.records("a")] == written
        store.append(claim, written[:1])
        assert [*store.records("a")] == [*written, written[0]]


def test_a_store_that_was_closed_says_so(file: Path) -> None:
    with opened(file) as store:
        store.create(header("a"))
    with pytest.raises(StoreError, match="was closed"):
        store.entries()
    with pytest.raises(StoreError, match="was closed"):
        store.create(header("b"))


# ---- what is wrong with the file -----------------------------------------------------------------------------------


def refused(file: Path, **how: object) -> str:
    """What is said of a file that is no store, and that stays as it is."""
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(StoreError) as caught:
        SqliteStore(str(file), **how)  # type: ignore[arg-type]
    assert (file.read_bytes() if file.is_file() else None) == before
    assert not Path(f"{file}-wal").exists()
    assert caught.value.path == str(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_a_store_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "/nowhere'. Make it" in refused(tmp_path / "nowhere" / "runs.db")
    assert os.listdir(tmp_path) == []


def test_an_absolute_path_with_too_few_slashes_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"sqlite:////tmp/runs\.db"):
        SqliteStore("tmp/runs.db")


def test_a_store_in_a_file_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "what should be its folder is a file" in refused(tmp_path / "file" / "runs.db")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "it is a folder. Name a file in it" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"year,total\n", b"year,total\n" * 1000, b"\0" * 5000])
def test_a_file_that_is_no_database_is_refused(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    assert "it is no database" in refused(file)


@pytest.mark.parametrize("statement", ["CREATE TABLE t (a)", "PRAGMA application_id = 7", "PRAGMA user_version = 7"])
def test_the_database_of_another_program_is_refused(statement: str, file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute(statement)
    assert "is the database of another program" in refused(file)


def test_a_store_of_a_later_version_is_refused(file: Path) -> None:
    filled(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
        database.execute("PRAGMA journal_mode = DELETE")
    assert "was written by a later version of cloaca" in refused(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {VERSION}")
    assert is_intact(file)


def test_a_store_that_is_damaged_says_so(file: Path) -> None:
    filled(file)
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)
    with opened(file) as store, pytest.raises(StoreError, match="it is damaged"):
        store.header("a")


@pytest.mark.parametrize(("table", "column"), [("executions", "header"), ("batches", "data"), ("packs", "data")])
def test_records_that_are_damaged_say_so(table: str, column: str, file: Path) -> None:
    filled(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"UPDATE {table} SET {column} = x'789c00'")
        database.commit()
    with (
        opened(file) as store,
        pytest.raises(StoreError, match=r"it is damaged. Put it back from a copy.*error: Error"),
    ):
        _ = store.header("a"), [*store.records("a")], store.codes([b"1" * 16])


def test_a_store_that_another_process_keeps_locked_says_so(file: Path) -> None:
    filled(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as browser, opened(file, patience=0.0) as store:
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has kept it locked for too long"):
            store.create(header("b"))
        assert [one.id for one in store.entries()] == ["a"]
        browser.execute("ROLLBACK")
        store.create(header("b"))


@pytest.mark.parametrize("code", [sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_NOLFS])
def test_a_file_system_without_locks_is_told(code: int) -> None:
    error = sqlite3.OperationalError("locking protocol")
    error.sqlite_errorcode = code
    assert "Name a file on a disk of this machine" in str(fault("/net/runs.db", error))


def test_a_network_drive_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "1 0 0:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:2 / /net/my\\040team rw,relatime shared:1 - nfs4 host:/ rw\n"
        "3 2 0:3 / /net/my\\040team/here rw - tmpfs tmpfs rw\n"
    )
    monkeypatch.setattr(network, "_MOUNTS", str(mounts))
    paths = ["/net/my team/runs.db", "/net/my team/here/runs.db", "/net/my teams/runs.db", "/runs.db"]
    assert [network.is_on_network(path) for path in paths] == [True, False, False, False]


# ---- where nothing can be written ----------------------------------------------------------------------------------


@contextmanager
def not_as_root() -> Iterator[None]:
    """As a user to whom rights mean something."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def open_to_all(folder: Path) -> Iterator[None]:
    """Let every user look into a folder of this test's."""
    above = [path for path in (folder, *folder.parents) if path.stat().st_uid == os.geteuid()]
    before = [stat.S_IMODE(path.stat().st_mode) for path in above]
    for path, mode in zip(above, before, strict=True):
        path.chmod(mode | 0o555)
    try:
        yield
    finally:
        for path, mode in zip(above, before, strict=True):
            path.chmod(mode)


def lock_file(file: Path) -> None:
    file.chmod(0o444)


def lock_folder(file: Path) -> None:
    file.chmod(0o666)
    file.parent.chmod(0o555)


@pytest.mark.parametrize("lock", [lock_file, lock_folder])
@pytest.mark.parametrize("other", ["other.db", "runs.db"])
def test_a_store_that_can_not_be_written_to_can_be_read(lock: Callable[[Path], None], other: str, file: Path) -> None:
    filled(file)
    with open_to_all(file.parent), opened(file.parent / other) as used:
        used.create(header("b"))
        for path in file.parent.glob("runs.db-*"):
            path.chmod(0o444)
        for path in file.parent.glob("runs.db.values/**"):
            path.chmod(0o755)
        lock(file)
        with not_as_root(), opened(file) as store:
            assert [*store.records("a")] == [record("load", b"1")]
            assert store.path(b"v" * 16)
            for write in (lambda: store.create(header("c")), lambda: store.claim("a"), lambda: store.remove(["a"])):
                with pytest.raises(StoreError, match="it can't be written to"):
                    write()
        file.parent.chmod(0o755)


def test_a_store_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    with open_to_all(tmp_path):
        tmp_path.chmod(0o555)
        with not_as_root():
            assert "it can't be written to" in refused(tmp_path / "runs.db")


def test_an_empty_file_that_can_only_be_read_is_refused(file: Path) -> None:
    file.touch()
    with open_to_all(file.parent):
        file.chmod(0o444)
        with not_as_root():
            assert "or empty, and can't be written to" in refused(file)


# ---- a disk that is full -------------------------------------------------------------------------------------------


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise(n: int) -> Record:
    """A record that takes a hundred thousand bytes."""
    return record("load", n.to_bytes(8) + os.urandom(100_000))


def test_a_file_that_may_not_grow_costs_what_does_not_fit(file: Path) -> None:
    with opened(file) as store:
        claim = store.create(header("a"))
        written = [record("load", b"1")]
        store.append(claim, written)
        with file_limit(150_000), pytest.raises(StoreError, match="over a limit"):
            store.append(claim, [noise(1), noise(2)])
        assert [*store.records("a")] == written
        store.append(claim, [record("clean")])
    with opened(file) as store:
        assert [*store.records("a")] == [*written, record("clean")]


def fill(store: Store, claim: Claim, written: list[Record]) -> None:
    while True:
        more = noise(len(written))
        store.append(claim, [more])
        written.append(more)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("it takes the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_value_that_cannot_be_copied_to_a_full_disk_names_that_disk(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "large").write_bytes(b"v" * 2_000_000)
    with opened(small_disk / "runs.db") as store:
        claim = store.create(header("a"))
        with pytest.raises(StoreError, match="there is no room") as caught:
            store.put_file(claim, str(tmp_path / "large"), b"v" * 16)
    assert str(tmp_path / "large") not in str(caught.value)


def test_a_file_that_is_gone_is_told_with_what_to_do() -> None:
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/disk/runs.db.values/1e")
    assert "Put it back, or name another file" in str(fault("/disk/runs.db", error))
    assert "/disk/runs.db.values/1e" in str(fault("/disk/runs.db", error))


def test_a_full_disk_costs_what_does_not_fit(small_disk: Path) -> None:
    with opened(small_disk / "runs.db") as store:
        claim = store.create(header("a"))
        written: list[Record] = []
        with pytest.raises(StoreError, match=r"there is no room for it on the disk. Make some: runner.prune\(\)"):
            fill(store, claim, written)
        with pytest.raises(StoreError, match="there is no room"):
            store.put(claim, [b"v" * 2_000_000], b"v" * 16)
        assert written
        assert [*store.records("a")] == written
    with opened(small_disk / "runs.db") as store:
        assert [*store.records("a")] == written


def test_old_executions_make_room_on_a_full_disk(small_disk: Path) -> None:
    with opened(small_disk / "runs.db") as store:
        for n in range(4):
            claim = store.create(header(str(n)))
            store.append(claim, [noise(n)])
            store.put(claim, [bytes([n]) * 70_000], digest_of(bytes([n]) * 16))
            store.end(claim, "Completed", 2.0)
        claim = store.create(header("a"))
        with pytest.raises(StoreError):
            store.put(claim, [b"v" * 1_200_000], b"v" * 16)
        store.remove(["0", "1", "2"])
        store.put(claim, [b"v" * 1_200_000], b"v" * 16)
        store.append(claim, [record("load")])


# ---- owners --------------------------------------------------------------------------------------------------------


def test_this_process_is_not_gone() -> None:
    mine = owner.this_process()
    assert owner.read(owner.written(mine)) == mine
    assert not mine.is_gone(1e9)


def test_a_process_of_the_same_number_is_another_one() -> None:
    mine = owner.this_process()
    assert owner.Owner(mine.pid, "1", mine.system, mine.host).is_gone(0.0)


def test_a_process_that_was_not_waited_for_is_gone() -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        began = Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2].split()[19]
        mine = owner.this_process()
        other = owner.Owner(child.pid, began, mine.system, mine.host)
        assert not other.is_gone(1e9)
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert other.is_gone(0.0)
        child.communicate()


def test_a_process_of_another_machine_is_gone_when_it_was_silent_for_a_minute() -> None:
    other = owner.Owner(os.getpid(), "1", "another", "far")
    assert [other.is_gone(seconds) for seconds in (0.0, 59.0, 61.0)] == [False, False, True]
    assert "60 s" in other.way


def test_an_application_s_mark_says_whose_it_is(file: Path) -> None:
    filled(file)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert APPLICATION.to_bytes(4) == b"cloa"
