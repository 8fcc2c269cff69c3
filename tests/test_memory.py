"""Memory: readings of processes and of the machine, limits of workers, recycling, holding back."""

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from selectors import DefaultSelector
from time import monotonic
from typing import Any

import psutil
import pytest
from tests.support import pipe, watched

import cloaca
from cloaca import Context, MemoryLimitExceeded
from cloaca.attempts.attempt import TaskFunction
from cloaca.failure import error_of
from cloaca.machine.cgroup import fields
from cloaca.pool import footprint, memory
from cloaca.pool.memory import Machine, private
from cloaca.pool.pool import Pool
from cloaca.testing.desk import Desk, published, written
from cloaca.values.records import decode_record
from cloaca.wire.messages import Logged, Lost

MB = 1_000_000
PLENTY = 1 << 62

# ---- readings ------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(folder: Path, membership: str = "0::/job\n") -> Machine:
    write(folder / "membership", membership)
    return Machine(folder / "mount", folder / "membership", folder / "vmstat")


def test_what_a_process_has_for_itself_grows_with_what_it_takes() -> None:
    before = private(os.getpid())
    with mmap.mmap(-1, 50 * MB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as taken:  # an allocator may have room left
        taken.write(b"x" * len(taken))
        after = private(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before >= 40 * MB


def test_what_is_mapped_from_a_file_counts_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.write_bytes(b"x" * (50 * MB))
    before = private(os.getpid())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) > 0
        after = private(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before < 25 * MB


def test_a_process_that_has_gone_has_nothing() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert private(child) is None


def test_without_limits_the_machine_is_what_counts(tmp_path: Path) -> None:
    alone = machine(tmp_path)
    assert alone.total == psutil.virtual_memory().total
    assert 0 < (alone.available() or 0) <= (alone.total or 0)
    assert alone.kills() == 0


def test_a_group_of_the_second_version_bounds_it(tmp_path: Path) -> None:
    group = tmp_path / "mount" / "job"
    write(group / "memory.max", f"{100 * MB}\n")
    write(group / "memory.current", f"{90 * MB}\n")
    write(group / "memory.stat", f"anon {50 * MB}\ninactive_file {20 * MB}\n")
    write(group / "memory.events", "low 0\noom 4\noom_kill 3\n")
    bounded = machine(tmp_path)
    assert (bounded.total, bounded.available(), bounded.kills()) == (100 * MB, 30 * MB, 3)


def test_a_group_of_the_first_version_bounds_it(tmp_path: Path) -> None:
    group = tmp_path / "mount" / "memory" / "job"
    write(group / "memory.limit_in_bytes", f"{100 * MB}\n")
    write(group / "memory.usage_in_bytes", f"{95 * MB}\n")
    write(group / "memory.stat", f"total_inactive_file {1 * MB}\n")
    write(group / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    bounded = machine(tmp_path, "4:memory:/job\n")
    assert (bounded.total, bounded.available(), bounded.kills()) == (100 * MB, 6 * MB, 2)


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    write(tmp_path / "mount" / "memory.max", f"{80 * MB}\n")
    write(tmp_path / "mount" / "job" / "memory.max", "max\n")
    assert machine(tmp_path).total == 80 * MB


def test_the_kernel_counts_too(tmp_path: Path) -> None:
    write(tmp_path / "vmstat", "pgpgin 5\noom_kill 7\n")
    assert machine(tmp_path).kills() == 7


def test_a_file_of_fields_that_makes_no_sense(tmp_path: Path) -> None:
    write(tmp_path / "stat", "one 1\ntwo\nthree 3 3\nfour x\n")
    assert fields(tmp_path / "stat") == {"one": 1}
    assert fields(tmp_path / "nowhere") == {}


# ---- limits --------------------------------------------------------------------------------------------------------

PoolDesk = Callable[..., Desk]


@pytest.fixture
def desk_of() -> Iterator[PoolDesk]:
    with ExitStack() as stack:

        def make(size: int, *functions: TaskFunction, limit: int | None = None) -> Desk:
            pool = Pool(size, {}, memory_limit=limit)
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool)

        yield make


def grow(_: Context) -> None:
    import signal

    hoard = bytearray(b"x") * (150 * MB)
    signal.pause()
    assert hoard


def tell_pid(context: Context) -> None:
    context.set("pid", os.getpid())


def test_a_task_over_the_limit_is_stopped_and_nothing_else(desk_of: PoolDesk) -> None:
    desk = desk_of(2, grow, tell_pid, limit=100 * MB)
    lost, *others = desk.run([0, 1, 1, 1])
    assert isinstance(lost, Lost)
    error = error_of(lost, "greedy", 1)
    assert isinstance(error, MemoryLimitExceeded)
    assert error.limit == 100 * MB < error.memory
    assert all("pid" in written(end) for end in others)


def test_memory_within_the_limit_is_left_alone(
    desk_of: PoolDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends only after it has been read, twice."""
    gate = pipe(tmp_path / "gate")
    desk = desk_of(1, lambda _: gate.read_text(), limit=100 * MB)
    readings = counted(monkeypatch)
    desk.submit([0])
    while len(readings) < 2:
        desk.step()
    at, much = desk.executor.memory or (0.0, 0)
    assert much in readings
    assert 0 < at <= monotonic()
    gate.write_text("go")
    desk.collect()
    assert not any(isinstance(end, Lost) for end in desk.ends.values())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Every reading of a worker's memory from here on."""
    readings: list[int | None] = []

    def read(pid: int) -> int | None:
        readings.append(private(pid))
        return readings[-1]

    monkeypatch.setattr(memory, "private", read)
    return readings


def test_a_worker_that_does_not_give_memory_back_is_replaced_between_tasks(desk_of: PoolDesk, tmp_path: Path) -> None:
    """It has more than half of what it may have, and still has it when its task is done."""
    gate = pipe(tmp_path / "gate")

    def hoard(context: Context) -> None:
        import builtins

        builtins.hoard = bytearray(b"x") * (80 * MB)  # type: ignore[attr-defined]
        gate.read_text()
        context.set("pid", os.getpid())

    desk = desk_of(1, hoard, tell_pid, limit=120 * MB)
    (hoarding,) = desk.submit([0])
    (after,) = desk.submit([1])
    pool = desk.executor
    assert isinstance(pool, Pool)
    while not any(peer.is_swollen for peer in vars(pool)["_peers"]):
        desk.step()
    with watched(pool.pids):
        gate.write_text("go")
        desk.collect()
    assert written(desk.ends[hoarding])["pid"] != written(desk.ends[after])["pid"]


def test_a_worker_that_gives_memory_back_stays(desk_of: PoolDesk, tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")

    def borrow(context: Context) -> None:
        borrowed = bytearray(b"x") * (80 * MB)
        gate.read_text()
        context.set("pid", os.getpid())
        assert borrowed

    desk = desk_of(1, borrow, tell_pid, limit=120 * MB)
    (borrowing,) = desk.submit([0])
    (after,) = desk.submit([1])
    pool = desk.executor
    assert isinstance(pool, Pool)
    while not any(peer.is_swollen for peer in vars(pool)["_peers"]):
        desk.step()
    gate.write_text("go")
    desk.collect()
    assert written(desk.ends[borrowing]) == written(desk.ends[after])


# ---- a machine that is short of memory -----------------------------------------------------------------------------


def test_a_machine_short_of_memory_begins_no_task_beside_one_that_runs_and_says_so(
    desk_of: PoolDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "available", lambda _: 0)
    gate = pipe(tmp_path / "gate")
    desk = desk_of(2, lambda _: gate.read_text(), tell_pid)
    (running,) = desk.submit([0])
    while not any(isinstance(event, Logged) for event in desk.events):
        desk.step()
    (logged,) = [event for event in desk.events if isinstance(event, Logged)]
    assert "has 0 MB of memory left" in decode_record(logged.record).getMessage()
    waiting = desk.submit([1, 1])
    for _ in range(5):
        desk.step(0)
    assert desk.ends == {}
    pool = desk.executor
    assert isinstance(pool, Pool)
    assert len(pool.pids) == 1
    gate.write_text("go")
    desk.collect()
    assert set(desk.ends) == {running, *waiting}, "one by one they still run"


def test_when_there_is_memory_again_the_others_begin(
    desk_of: PoolDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [0]
    monkeypatch.setattr(Machine, "available", lambda _: left[0])
    gate = pipe(tmp_path / "gate")
    desk = desk_of(2, lambda _: gate.read_text(), tell_pid)
    desk.submit([0])
    while not any(isinstance(event, Logged) for event in desk.events):
        desk.step()
    (waiting,) = desk.submit([1])
    left[0] = PLENTY
    while waiting not in desk.ends:
        desk.step()
    gate.write_text("go")
    desk.collect()


def test_an_idle_pool_reads_nothing_and_sleeps(desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desk_of(1, tell_pid)
    desk.run([0])
    readings = counted(monkeypatch)
    slept: list[float | None] = []
    select = DefaultSelector.select

    def noting(selector: DefaultSelector, timeout: float | None = None) -> Any:
        slept.append(timeout)
        return select(selector, timeout)

    monkeypatch.setattr(DefaultSelector, "select", noting)
    desk.executor.wake()
    assert desk.step(3600) == []
    assert (slept, readings) == ([3600], [])


# ---- what can't be read --------------------------------------------------------------------------------------------


def unreadable(*_: object) -> None:
    raise FileNotFoundError(2, "No such file or directory", "/proc/meminfo")


def malformed(*_: object) -> None:
    raise ValueError("invalid literal for int() with base 10: 'kB'")


@pytest.fixture(params=[unreadable, malformed])
def blind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be read, by psutil or without it."""
    monkeypatch.setattr(memory, "_STATM", False)
    monkeypatch.setattr(psutil, "virtual_memory", request.param)
    monkeypatch.setattr(psutil.Process, "memory_info", request.param)


@pytest.mark.usefixtures("blind")
def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    alone = machine(tmp_path)
    assert (alone.total, alone.available(), private(os.getpid())) == (None, None, None)


@pytest.mark.usefixtures("blind")
def test_groups_tell_where_the_machine_does_not(tmp_path: Path) -> None:
    write(tmp_path / "mount" / "job" / "memory.max", f"{100 * MB}\n")
    write(tmp_path / "mount" / "job" / "memory.current", f"{90 * MB}\n")
    bounded = machine(tmp_path)
    assert (bounded.total, bounded.available()) == (100 * MB, 10 * MB)


def test_a_group_whose_files_make_no_sense_bounds_nothing(tmp_path: Path) -> None:
    (tmp_path / "mount" / "job").mkdir(parents=True)
    (tmp_path / "mount" / "job" / "memory.max").write_bytes(b"\xff\xfe")
    (tmp_path / "mount" / "job" / "memory.events").mkdir()
    assert machine(tmp_path).total == psutil.virtual_memory().total


def test_a_reading_that_fails_is_no_sign_of_a_kill(tmp_path: Path) -> None:
    """The counter can't be read for a moment, and says then what it said before."""
    write(tmp_path / "vmstat", "oom_kill 7\n")
    watch = memory.MemoryWatch(1, None)
    vars(watch)["_machine"] = machine(tmp_path)
    assert watch.has_kernel_killed()
    (tmp_path / "vmstat").rename(tmp_path / "elsewhere")
    assert not watch.has_kernel_killed()
    (tmp_path / "elsewhere").rename(tmp_path / "vmstat")
    assert not watch.has_kernel_killed()


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("limit", [None, 100 * MB])
def test_tasks_end_well_where_no_memory_can_be_read_and_a_limit_is_told_of(
    limit: int | None, desk_of: PoolDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs until memory has been read, or would have been, three times; the warning comes once."""
    gate = pipe(tmp_path / "gate")
    readings = counted(monkeypatch)
    desk = desk_of(1, lambda _: gate.read_text(), limit=limit)
    desk.submit([0])
    while len(readings) < 3:
        desk.step()
    gate.write_text("go")
    desk.collect()
    assert not any(isinstance(end, Lost) for end in desk.ends.values())
    told = [decode_record(event.record).getMessage() for event in desk.events if isinstance(event, Logged)]
    assert ["memory_limit stops no task" in text for text in told] == [True] * (limit is not None)


# ---- what counts beside a worker's own pages -----------------------------------------------------------------------

SIZE = 300_000_000


def share_a_mapping() -> None:
    from mmap import mmap

    memory = mmap(-1, SIZE)
    for place in range(0, SIZE, 4096):
        memory[place] = 1
    signal.pause()


def share_a_name() -> None:
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=SIZE)
    memory.unlink()  # its name is all that goes
    assert memory.buf is not None
    memory.buf[:SIZE] = bytes(SIZE)
    signal.pause()


def start_a_process() -> None:
    subprocess.run(
        [sys.executable, "-c", f"b = bytearray({SIZE}); b[::4096] = b[::4096]; input()"], stdin=endless(), check=False
    )


def start_processes_by_processes() -> None:
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'b = bytearray({SIZE}); input()'])"
    subprocess.run([sys.executable, "-c", script], stdin=endless(), check=False)


def endless() -> int:
    """Who reads from here waits for ever."""
    reader, _ = os.pipe()
    return reader


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
@pytest.mark.parametrize(
    "way", [share_a_mapping, share_a_name, start_a_process, start_processes_by_processes], ids=lambda way: way.__name__
)
def test_shared_mappings_and_child_processes_count(way: Callable[[], None]) -> None:
    with cloaca.WorkflowBuilder("w"):

        @cloaca.task(id="t")
        def task(_: Context) -> None:
            way()

    with cloaca.DefaultRunner(workers=1, memory_limit=150_000_000, executor="processes") as runner:
        error = runner.execute("w").tasks["t"].error
    assert isinstance(error, MemoryLimitExceeded)
    assert error.memory > 150_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_what_forked_children_and_workers_share_counts_once_or_not_at_all() -> None:
    """Four children of a worker with 80 MB are no 400 MB, and a mapped value is nobody's own."""

    def fork_a_family(context: Context) -> None:
        context["value"].sum()
        mine = bytearray(80_000_000)
        gate, opener = os.pipe()
        for _ in range(4):
            if os.fork() == 0:
                os.close(opener)
                os.read(gate, 1)
                os._exit(len(mine) == 0)
        kinship = footprint.Kinship()
        kinship.look()
        family = kinship.of(os.getpid())
        context["rough"] = footprint.exceeding(family, 0)
        os.close(opener)
        context["codes"] = [os.wait()[1] for _ in range(4)]
        context["family"] = len(family)

    import numpy as np

    with cloaca.WorkflowBuilder("w"):
        cloaca.task(id="t")(fork_a_family)
    with cloaca.DefaultRunner(workers=1, memory_limit=150_000_000, executor="processes") as runner:
        found = runner.execute("w", {"value": np.zeros(40_000_000)}).final_context
    assert found["codes"] == [0] * 4
    assert found["family"] == 5
    assert 80_000_000 < found["rough"] < 150_000_000


def test_nothing_is_read_as_soon_as_the_first_worker_has_started(
    desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer to start than memory is left unread; what reads it takes long to load."""
    monkeypatch.setattr(memory, "READ_SECONDS", 0.0)
    readings = counted(monkeypatch)
    desk = desk_of(1, lambda _: None)
    monkeypatch.setattr(memory, "READ_SECONDS", 3600.0)
    desk.submit([0])
    desk.collect()
    assert not readings
