"""Worker processes: when they start, what they are sent, how they die, what they find around them."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from tests.support import killer_of, pipe, watched

import cloaca
from cloaca import Context, WorkersUnavailableError
from cloaca.attempts.attempt import TaskFunction
from cloaca.pickling.kin import FunctionCache
from cloaca.pool import batching
from cloaca.pool.batching import LARGEST_BATCH, Batching
from cloaca.pool.peer import Peer
from cloaca.pool.pool import Pool
from cloaca.testing import NO_USAGE
from cloaca.testing.desk import Desk, published, written
from cloaca.wire.messages import (
    FIGURES,
    Answer,
    Assignment,
    Done,
    Down,
    Failed,
    Lost,
    Publish,
    Recall,
    Retire,
    Started,
    Unstarted,
)

PoolDesk = Callable[..., Desk]


@pytest.fixture
def desk_of() -> Iterator[PoolDesk]:
    """Makes a desk at a pool that knows the functions given, by their place."""
    with ExitStack() as stack:

        def make(size: int, *functions: TaskFunction, environment: dict[str, str] | None = None, **facts: Any) -> Desk:
            pool = Pool(size, environment or {})
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool, **facts)

        yield make


@pytest.fixture
def large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task counts as tiny, however long it takes here."""
    monkeypatch.setattr(batching, "BATCH_SECONDS", 3600.0)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Down]]:
    """Everything that is sent to workers, frame by frame."""
    sent: list[Sequence[Down]] = []
    send = Peer.send

    def note(self: Peer, messages: Sequence[Down]) -> None:
        sent.append(messages)
        send(self, messages)

    monkeypatch.setattr(Peer, "send", note)
    return sent


def pids(desk: Desk) -> list[int]:
    assert isinstance(desk.executor, Pool)
    return desk.executor.pids


def assigned(frame: Sequence[Down]) -> list[int]:
    return [message.attempt for message in frame if isinstance(message, Assignment)]


def nothing(_: Context) -> None:
    pass


def warm(desk: Desk, function: int) -> None:
    """Let the pool learn that tasks are tiny."""
    desk.run([function] * 40)


def appending(path: Path) -> TaskFunction:
    """A task that leaves one line each time that it runs."""

    def append(context: Context) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{context['name']}\n".encode())
        os.close(descriptor)

    return append


# ---- starting ------------------------------------------------------------------------------------------------------


def test_no_worker_starts_before_there_is_work(desk_of: PoolDesk) -> None:
    desk = desk_of(2, lambda _: None)
    desk.step(0)
    assert pids(desk) == []
    assert psutil.Process().children() == []


def test_one_task_starts_one_worker_and_the_next_one_uses_it_again(desk_of: PoolDesk) -> None:
    desk = desk_of(4, lambda context: context.set("pid", os.getpid()))
    (first,) = pids_of(desk.run([0]))
    assert pids(desk) == [first]
    assert pids_of(desk.run([0])) == [first]
    assert pids(desk) == [first]


def test_no_more_workers_start_than_the_pool_may_have(desk_of: PoolDesk) -> None:
    desk = desk_of(2, lambda context: context.set("pid", os.getpid()))
    used = set(pids_of(desk.run([0] * 50)))
    assert used <= set(pids(desk))
    assert len(pids(desk)) == 2


def test_two_workers_run_at_the_same_time(desk_of: PoolDesk, tmp_path: Path) -> None:
    meeting = pipe(tmp_path / "meeting")
    desk = desk_of(2, lambda _: meeting.write_text("here"), lambda context: context.set("heard", meeting.read_text()))
    assert written(desk.run([0, 1])[1]) == {"heard": "here"}


def pids_of(ends: Sequence[Any]) -> list[int]:
    return [written(end)["pid"] for end in ends]


# ---- what is sent --------------------------------------------------------------------------------------------------


def test_a_function_is_sent_once_to_each_worker_that_needs_it(desk_of: PoolDesk, frames: list[Sequence[Down]]) -> None:
    desk = desk_of(1, lambda _: None, lambda _: None)
    desk.run([0] * 30)
    assert sent_functions(frames) == [0]


def test_a_function_goes_out_again_to_the_worker_that_replaces_a_dead_one(
    desk_of: PoolDesk, frames: list[Sequence[Down]]
) -> None:
    desk = desk_of(1, lambda _: None, lambda _: os._exit(0))
    desk.run([0])
    desk.run([1])
    assert isinstance(desk.run([0])[0], Done)
    assert sent_functions(frames) == [0, 1, 0]


def test_a_head_is_sent_once_before_the_first_function_that_goes_on_from_it(
    desk_of: PoolDesk, frames: list[Sequence[Down]]
) -> None:
    desk = desk_of(1)
    cache = FunctionCache()
    captured = cache.capture_all(list(map(str, range(4))), list(map(writes, range(4))))
    (head,) = [Publish(9, one.blob, ()) for one in cache.heads]
    functions = [Publish(place, one.blob, (), 9) for place, one in enumerate(captured)]
    desk.executor.publish([head, *functions])
    assert [written(end) for end in desk.run([1, 0, 2, 1])] == [{"n": 1}, {"n": 0}, {"n": 2}, {"n": 1}]
    assert sent_functions(frames) == [9, 1, 0, 2]
    desk.executor.retire([9, 1, 2, 3])
    assert frames[-1] == [Retire([9, 1, 2])]
    desk.executor.publish([head, *functions])
    assert written(desk.run([3])[0]) == {"n": 3}
    assert sent_functions(frames)[4:] == [9, 3]


def writes(number: int) -> TaskFunction:
    return lambda context: context.set("n", number)


def sent_functions(frames: list[Sequence[Down]]) -> list[int]:
    return [message.function for frame in frames for message in frame if isinstance(message, Publish)]


def test_a_retired_function_is_retired_where_it_is_known(desk_of: PoolDesk, frames: list[Sequence[Down]]) -> None:
    desk = desk_of(1, lambda _: None, lambda _: None)
    desk.run([0])
    desk.executor.retire([0, 1])
    assert frames[-1] == [Retire([0])]


@pytest.mark.usefixtures("large_batches")
def test_tiny_tasks_travel_many_to_a_frame(desk_of: PoolDesk, frames: list[Sequence[Down]]) -> None:
    desk = desk_of(1, lambda _: None)
    warm(desk, 0)
    frames.clear()
    desk.run([0] * 128)
    sizes = [len(assigned(frame)) for frame in frames]
    assert sum(sizes) == 128
    assert sizes[0] == 64
    assert len(sizes) < 20


def test_long_tasks_travel_alone(
    desk_of: PoolDesk, frames: list[Sequence[Down]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BATCH_SECONDS", 1e-9)
    desk_of(1, lambda _: None).run([0] * 100)
    assert [len(assigned(frame)) for frame in frames] == [1] * 100


@pytest.mark.usefixtures("large_batches")
def test_each_attempt_of_a_batch_is_reported_at_once(
    desk_of: PoolDesk, frames: list[Sequence[Down]], tmp_path: Path
) -> None:
    gate = pipe(tmp_path / "gate")
    desk = desk_of(1, lambda context: context.set("n", 1), lambda _: gate.read_text())
    warm(desk, 0)
    frames.clear()
    quick, waiting, *_ = desk.submit([0, 1, 0, 0])
    assert desk.until(Done).attempt == quick
    assert assigned(frames[0]) == [quick, waiting]
    gate.write_text("go on")
    desk.collect()


@pytest.mark.usefixtures("large_batches")
def test_an_answer_overtakes_the_assignments_that_wait(desk_of: PoolDesk, frames: list[Sequence[Down]]) -> None:
    desk = desk_of(
        1, nothing, lambda context: context.set("seen", [context["a"], context["b"]]), world={"a": 1, "b": 2}
    )
    warm(desk, 0)
    frames.clear()
    ends = desk.run([1] * 16)
    assert [written(end)["seen"] for end in ends] == [[1, 2]] * 16
    kinds = [{type(message) for message in frame} for frame in frames]
    assert len(assigned(frames[0])) == 8
    assert kinds[1] == {Answer}


def test_what_a_function_is_known_to_read_is_not_asked_for(desk_of: PoolDesk) -> None:
    desk = desk_of(1)
    (function,) = published(lambda context: context.set("seen", 2 * context["here"] + context.get("absent", 0)))
    desk.executor.publish([Publish(0, function.blob, ("here", "absent"))])
    assert written(desk.run([0], here=1)[0])["seen"] == 2
    assert desk.answered == []


@pytest.mark.usefixtures("large_batches")
def test_a_worker_that_does_not_read_holds_up_nobody(desk_of: PoolDesk) -> None:
    desk = desk_of(2, lambda context: context.set("size", len(context["data"])))
    desk.run([0, 0], data=b"")
    stopped = pids(desk)[0]
    os.kill(stopped, signal.SIGSTOP)
    attempts = [desk.submit([0], data=bytes(5_000_000))[0] for _ in range(2)]
    served = desk.until(Done).attempt
    assert served in attempts
    os.kill(stopped, signal.SIGCONT)
    desk.collect()
    assert {written(desk.ends[attempt])["size"] for attempt in attempts} == {5_000_000}


# ---- dying ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("large_batches")
def test_work_queued_behind_a_death_moves_and_runs_once(
    desk_of: PoolDesk, frames: list[Sequence[Down]], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    desk = desk_of(1, appending(trace), lambda _: os.kill(os.getpid(), signal.SIGKILL))
    desk.run([0] * 40, name="warming up")
    frames.clear()
    before = desk.submit([0] * 5, name="before")
    (killer,) = desk.submit([1])
    after = desk.submit([0] * 30, name="after")
    desk.collect()
    assert set(before) | {killer, after[0]} <= set(assigned(frames[0]))
    assert killer_of(desk.ends[killer]) == "SIGKILL"
    assert {type(desk.ends[attempt]) for attempt in before + after} == {Done}
    lines = trace.read_text().splitlines()
    assert (lines.count("before"), lines.count("after")) == (5, 30)


@pytest.mark.usefixtures("large_batches")
def test_several_deaths_in_one_batch_cost_one_attempt_each(desk_of: PoolDesk, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    desk = desk_of(2, appending(trace), lambda _: os._exit(7))
    desk.run([0] * 40, name="warming up")
    ends = desk.run([0, 1] * 12, name="sibling")
    assert [type(end) for end in ends] == [Done, Lost] * 12
    assert {(end.exit_code, end.signal) for end in ends if isinstance(end, Lost)} == {(7, None)}
    assert trace.read_text().splitlines().count("sibling") == 12


def test_a_dead_worker_is_replaced_when_there_is_work_again(desk_of: PoolDesk) -> None:
    desk = desk_of(1, lambda context: context.set("pid", os.getpid()))
    (first,) = pids_of(desk.run([0]))
    with watched([first]):
        os.kill(first, signal.SIGKILL)
    while pids(desk):
        desk.step()
    (second,) = pids_of(desk.run([0]))
    assert pids(desk) == [second] != [first]


def test_what_a_task_started_dies_with_its_worker(desk_of: PoolDesk) -> None:
    def leave_a_child(context: Context) -> None:
        import subprocess

        context.set("child", subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid)

    desk = desk_of(1, leave_a_child)
    with watched([written(desk.run([0])[0])["child"]]):
        desk.executor.close()


@pytest.mark.usefixtures("large_batches")
def test_a_cancelled_attempt_that_was_done_already_does_not_cost_the_next_one(
    desk_of: PoolDesk, tmp_path: Path
) -> None:
    """Its report is on the way, and the worker runs something else by now."""
    started = pipe(tmp_path / "started")

    def innocent(context: Context) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        started.write_text("")
        signal.sigwait([signal.SIGUSR1])
        context.set("n", 1)

    desk = desk_of(1, nothing, innocent)
    warm(desk, 0)
    cancelled, other, *_ = desk.submit([0, 1, 0, 0])
    desk.until(Started)
    started.read_text()
    desk.executor.cancel([cancelled], 0)
    os.kill(pids(desk)[0], signal.SIGUSR1)
    desk.collect()
    assert isinstance(desk.ends[cancelled], Done)
    assert isinstance(desk.ends[other], Done), desk.ends[other]


def test_work_that_comes_while_a_cancelled_attempt_is_stopped_is_not_lost(desk_of: PoolDesk, tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")

    def wait(context: Context) -> None:
        with gate.open("rb", buffering=0) as opened:
            context.set("heard", opened.read(2))

    desk = desk_of(1, nothing, wait)
    desk.run([0])
    (cancelled,) = desk.submit([1])
    desk.until(Started)
    desk.executor.cancel([cancelled], 0)
    innocent = desk.submit([0, 0, 0])
    desk.collect()
    assert isinstance(desk.ends[cancelled], Lost)
    assert all(isinstance(desk.ends[attempt], Done) for attempt in innocent)


@pytest.mark.usefixtures("large_batches")
def test_a_cancelled_attempt_that_waits_at_a_worker_never_completes_its_work(desk_of: PoolDesk, tmp_path: Path) -> None:
    trace, started, gate = tmp_path / "trace", pipe(tmp_path / "started"), pipe(tmp_path / "gate")

    def wait(context: Context) -> None:
        started.write_text("")
        context.set("heard", gate.read_text())

    def leave_a_trace(_: Context) -> None:
        gate.read_text()
        trace.touch()

    desk = desk_of(1, nothing, wait, leave_a_trace)
    warm(desk, 0)
    running, waiting, *others = desk.submit([1, 2, 0, 0])
    desk.until(Started)
    started.read_text()
    desk.executor.cancel([waiting], 0)
    gate.write_text("go on")
    desk.collect()
    assert written(desk.ends[running]) == {"heard": "go on"}
    assert isinstance(desk.ends[waiting], Lost | Unstarted)
    assert {type(desk.ends[attempt]) for attempt in others} == {Done}
    assert not trace.exists()


def test_closing_ends_a_worker_in_the_middle_of_a_c_call(desk_of: PoolDesk, tmp_path: Path) -> None:
    started = pipe(tmp_path / "started")
    desk = desk_of(1, lambda _: (started.write_text(""), sum(range(10**12))))
    desk.submit([0])
    desk.until(Started)
    started.read_text()
    with watched(pids(desk)):
        desk.executor.close()


def test_closing_ends_a_worker_that_does_not_want_to_leave(desk_of: PoolDesk) -> None:
    def stay(_: Context) -> None:
        import atexit
        import threading

        atexit.register(signal.pause)
        threading.Thread(target=threading.Event().wait).start()

    desk = desk_of(1, stay)
    desk.run([0])
    with watched(pids(desk)):
        desk.executor.close()


def test_closing_lets_an_idle_worker_run_its_exit_handlers(desk_of: PoolDesk, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def register(_: Context) -> None:
        import atexit

        atexit.register(trace.touch)

    desk = desk_of(1, register)
    desk.run([0])
    desk.executor.close()
    assert trace.exists()


# ---- workers that can't start --------------------------------------------------------------------------------------


def test_workers_that_die_before_they_are_ready_are_given_up(
    desk_of: PoolDesk, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(2, b'out of order\\n'); os._exit(9)")
    desk = desk_of(1, lambda _: None, environment={"PYTHONPATH": os.fspath(tmp_path)})
    desk.submit([0])
    with pytest.raises(WorkersUnavailableError, match=r"3 worker processes in a row.*exit code 9"):
        desk.collect()
    assert capfd.readouterr().err == "out of order\n" * 3


def test_a_module_that_shadows_one_that_workers_need_is_told(
    desk_of: PoolDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "msgspec.py").write_text("raise ImportError('this is not the real one')")
    monkeypatch.syspath_prepend(tmp_path)
    desk = desk_of(2, lambda _: None)
    desk.submit([0, 0])
    with pytest.raises(WorkersUnavailableError, match=r"sys\.path shadows"):
        desk.collect()
    assert "this is not the real one" in capfd.readouterr().err


def test_a_worker_that_fails_to_start_now_and_then_is_replaced(desk_of: PoolDesk, tmp_path: Path) -> None:
    """Two failures in a row are borne, again and again."""
    starts = tmp_path / "starts"
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nfile = open({os.fspath(starts)!r}, 'ab', 0)\nfile.write(b'.')\n"
        "if file.tell() % 3: os._exit(1)\nfile.close()"
    )
    desk = desk_of(1, lambda _: None, lambda _: os._exit(0), environment={"PYTHONPATH": os.fspath(tmp_path)})
    assert [type(end) for end in desk.run([1, 0, 1, 0])] == [Lost, Done, Lost, Done]
    assert starts.read_text() == "." * 9


# ---- what a task finds around it -----------------------------------------------------------------------------------


def test_a_worker_has_the_program_s_sys_path_and_directory(
    desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is there as the program is in that directory comes behind Python's own library, which is loaded already."""
    library = str(Path(os.__file__).parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/first", "", *sys.path])
    desk = desk_of(1, lambda context: context.update_from_dict({"path": sys.path, "directory": str(Path.cwd())}))
    here = str(Path.cwd())
    found = written(desk.run([0])[0])
    assert (found["path"][0], found["directory"]) == ("/first", here)
    assert found["path"].index(here) > found["path"].index(library)
    assert found["path"][-1] == sys.path[-1] != ""


def test_tasks_find_the_program_s_arguments(desk_of: PoolDesk) -> None:
    desk = desk_of(1, lambda context: context.set("arguments", sys.argv))
    assert written(desk.run([0])[0]) == {"arguments": sys.argv}


def test_standard_input_of_a_worker_is_empty(desk_of: PoolDesk) -> None:
    desk = desk_of(1, lambda context: context.set("read", sys.stdin.read()))
    assert written(desk.run([0])[0]) == {"read": ""}


def test_interpreter_flags_reach_the_workers(desk_of: PoolDesk) -> None:
    desk = desk_of(1, lambda context: context.set("flags", (sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions)))
    assert written(desk.run([0])[0])["flags"] == (sys.flags.optimize, sys.flags.dev_mode, sys.warnoptions)


def test_the_environment_is_the_program_s_and_what_the_pool_adds(
    desk_of: PoolDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_THE_PROGRAM", "1")
    desk = desk_of(1, lambda context: context.set("found", dict(os.environ)), environment={"FROM_THE_POOL": "2"})
    found = written(desk.run([0])[0])["found"]
    assert (found["FROM_THE_PROGRAM"], found["FROM_THE_POOL"]) == ("1", "2")


def test_a_worker_is_a_process_group_of_its_own(desk_of: PoolDesk) -> None:
    """Ctrl-C in a terminal goes to the program's group alone."""
    desk = desk_of(1, lambda context: context.set("group", (os.getpgid(0), os.getpid())))
    group, pid = written(desk.run([0])[0])["group"]
    assert group == pid != os.getpgid(0)


@pytest.fixture
def meeting_workflow(tmp_path: Path) -> str:
    """Two tasks that run at the same time, hence in two workers, and tell what they find."""
    meeting = pipe(tmp_path / "meeting")
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    def tell(context: Context, name: str) -> None:
        context.set(name, (os.getpid(), hash("cloaca"), {name: os.environ.get(name) for name in threads}))

    with cloaca.WorkflowBuilder("meeting"):

        @cloaca.task()
        def left(context):
            meeting.write_text("here")
            tell(context, "left")

        @cloaca.task()
        def right(context):
            meeting.read_text()
            tell(context, "right")

    return "meeting"


def test_all_workers_hash_alike(meeting_workflow: str) -> None:
    with cloaca.DefaultRunner(workers=2, executor="processes") as runner:
        final = runner.execute(meeting_workflow).final_context
    (pid, hashed, _), (other_pid, other_hashed, _) = final["left"], final["right"]
    assert pid != other_pid
    assert hashed == other_hashed


def test_native_thread_pools_share_the_cores(meeting_workflow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr("cloaca.machine.cores.usable", lambda: 8)
    with cloaca.DefaultRunner(workers=2, executor="processes") as runner:
        *_, threads = runner.execute(meeting_workflow).final_context["left"]
    assert threads == {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}


# ---- how many at a time: arithmetic --------------------------------------------------------------------------------


def learned(*durations: float) -> Batching:
    batching = Batching()
    for seconds in durations:
        batching.measured(seconds)
    return batching


def test_before_anything_was_measured_tasks_travel_alone() -> None:
    assert Batching().size(10_000) == 1


def test_at_least_one_travels_whatever_the_share() -> None:
    assert learned(*[1e-6] * 50).size(0) == 1
    assert learned(1e6).size(10_000) == 1


def test_a_batch_is_never_more_than_the_share_nor_the_largest_batch() -> None:
    tiny = learned(*[1e-6] * 50)
    assert [tiny.size(share) for share in (1, 7, 64, 10_000)] == [1, 7, 64, LARGEST_BATCH]


def test_a_batch_is_a_millisecond_of_work() -> None:
    assert learned(*[1e-4] * 100).size(1000) in (9, 10)


def test_more_may_wait_of_items_than_of_tasks() -> None:
    batching = learned(*[1e-4] * 100)
    batching.tallied(FIGURES.pack(1.0, 1.0001, 0.0001, 0, 0, 0, 0, 1) * 100)
    assert batching.size(1000) in (79, 80)
    batching.measured(1e-4)
    assert batching.size(1000) in (9, 10)


def test_where_room_is_short_no_more_is_begun_than_there_are_workers() -> None:
    """Those that find none end soon: taken for short ones, they would draw others after them that find none either."""
    batching = learned(*[1e-6] * 50)
    lacking = Failed(1, "StorageFullError", "no room", "", None, NO_USAGE, lacking=1 << 20)
    for _ in range(10):
        batching.broken_off(lacking)
    assert (batching.window, batching.size(1000)) == (1, 1)


def test_one_long_task_shrinks_batches_at_once_and_is_forgotten_slowly() -> None:
    batching = learned(*[1e-6] * 50, 1.0)
    assert batching.size(1000) == 1
    for _ in range(10):
        batching.measured(1e-6)
    assert batching.size(1000) == 1
    for _ in range(50):
        batching.measured(1e-6)
    assert batching.size(1000) == LARGEST_BATCH


def test_a_worker_that_dies_while_it_has_nothing_to_do_costs_nothing(desk_of: PoolDesk) -> None:
    """Whoever is given the next assignment first: it was not begun, so it goes to another worker."""
    desk = desk_of(1, nothing)
    desk.run([0])
    for _ in range(8):
        os.kill(pids(desk)[0], signal.SIGKILL)
        assert [type(end) for end in desk.run([0, 0])] == [Done, Done]


def test_what_a_worker_has_not_begun_is_given_back_and_leaves_no_trace(desk_of: PoolDesk) -> None:
    """A worker that stands still has been given a task: neither is its start told, nor its loss."""
    desk = desk_of(1, nothing)
    desk.run([0])
    (pid,) = pids(desk)
    os.kill(pid, signal.SIGSTOP)
    (attempt,) = desk.submit([0])
    for _ in range(5):
        assert desk.step(0) == []
    desk.executor.cancel([attempt], 0)
    desk.collect()
    assert isinstance(desk.ends[attempt], Unstarted)
    assert isinstance(desk.executor, Pool)
    assert not desk.executor._line._idle_deaths


def test_a_start_is_told_with_the_moment_at_which_the_worker_began(desk_of: PoolDesk, tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")
    desk = desk_of(1, lambda context: context.set("text", gate.read_text()))
    before = monotonic()
    (attempt,) = desk.submit([0])
    started = desk.until(Started)
    gate.write_text("go")
    desk.collect()
    end = desk.ends[attempt]
    assert isinstance(end, Done)
    assert started.moment is not None
    assert before < started.moment <= end.usage.started


# ---- work behind a task that turned out long -----------------------------------------------------------------------


@pytest.mark.usefixtures("large_batches")
def test_what_waits_behind_a_long_task_goes_to_an_idle_worker_and_runs_once(desk_of: PoolDesk, tmp_path: Path) -> None:
    """The gate opens when all others have ended: that they do shows that none was left behind."""
    gate, trace = pipe(tmp_path / "gate"), tmp_path / "trace"
    desk = desk_of(2, nothing, lambda _: gate.read_text(), appending(trace))
    desk.run([0, 0])
    warm(desk, 0)
    (long,) = desk.submit([1], name="long")
    others = [attempt for number in range(40) for attempt in desk.submit([2], name=number)]
    while not set(others) <= desk.ends.keys():
        desk.step()
    assert long not in desk.ends
    gate.write_text("go")
    desk.collect()
    assert sorted(map(int, trace.read_text().split())) == list(range(40))


@pytest.mark.usefixtures("large_batches")
def test_recalling_again_and_again_runs_each_attempt_once(
    desk_of: PoolDesk, frames: list[Sequence[Down]], tmp_path: Path
) -> None:
    """A long task with others behind it, five times on the same workers."""
    trace = tmp_path / "trace"
    gates = [pipe(tmp_path / f"gate {n}") for n in range(5)]
    desk = desk_of(2, nothing, appending(trace), *(lambda _, gate=gate: gate.read_text() for gate in gates))
    desk.run([0, 0])
    warm(desk, 0)
    frames.clear()
    for number, gate in enumerate(gates):
        desk.submit([2 + number])
        others = [attempt for n in range(30) for attempt in desk.submit([1], name=f"{number}.{n}")]
        while not set(others) <= desk.ends.keys():
            desk.step()
        gate.write_text("go")
    desk.collect()
    lines = trace.read_text().split()
    assert len(lines) == len(set(lines)) == 150
    recalls = sum(isinstance(message, Recall) for frame in frames for message in frame)
    assert recalls >= len(gates)


def test_the_most_urgent_goes_first_whenever_it_was_submitted(
    desk_of: PoolDesk, frames: list[Sequence[Down]], tmp_path: Path
) -> None:
    gate = pipe(tmp_path / "gate")
    desk = desk_of(1, lambda _: gate.read_text(), nothing)
    desk.submit([0])
    desk.step(0)
    places = [5, 6, 1, 7, 0]
    attempts = dict(zip(places, [desk.submit([1], place=place)[0] for place in places], strict=True))
    while not any(assigned(frame) for frame in frames):
        desk.step()
    gate.write_text("go")
    desk.collect()
    order = [attempt for frame in frames for attempt in assigned(frame)]
    assert order[1:] == [attempts[place] for place in sorted(places)]
