"""What lacks for a moment, or for good: descriptors, processes, threads, memory files, places. It costs one thing each.

Nothing here waits for time to pass: what is waited for in the program is over once it has been waited for.
"""

import errno
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import PATIENCE, no_descriptors, pipe

import cloaca
from cloaca import Context, DecodeError, DefaultRunner, MergeConflict, WorkersUnavailableError
from cloaca.border import mark
from cloaca.pool import memory, peer, workforce
from cloaca.pool.pool import Pool
from cloaca.tasks.context import contents_of
from cloaca.testing.desk import Desk, published, written
from cloaca.values import blobs, mappings, storage
from cloaca.wire import shortage
from cloaca.wire.shortage import patiently

BIG = 300_000


def refusing(number: int) -> Callable[..., Any]:
    """A call of the system that is refused."""

    def refuse(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


# ---- patience ------------------------------------------------------------------------------------------------------


def test_what_lacks_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[OSError | int] = iter([OSError(errno.EMFILE, ""), OSError(errno.EAGAIN, ""), 7])
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def call() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert patiently(call) == 7
    assert waits == [shortage.AGAIN_SECONDS] * 2


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EROFS, errno.EIO])
def test_what_will_not_pass_is_told_at_once(number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)):
        patiently(refusing(number))


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortage, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(OSError, match="Too many open files"):
        patiently(refusing(errno.EMFILE))


def test_who_has_waited_in_vain_does_not_wait_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1000))
    sleeps: list[float] = []
    monkeypatch.setattr(shortage, "_gave_up", -10.0)
    monkeypatch.setattr(shortage, "PATIENCE_SECONDS", 10.0)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(moments)))
    monkeypatch.setattr(time, "sleep", sleeps.append)
    for _ in range(3):
        with pytest.raises(OSError, match="Too many open files"):
            patiently(refusing(errno.EMFILE))
    assert len(sleeps) == 9


# ---- workers -------------------------------------------------------------------------------------------------------


def tell_pid(context: Context) -> None:
    context.set("pid", os.getpid())


@pytest.fixture
def desk() -> Iterator[Desk]:
    pool = Pool(2, {})
    pool.publish(published(tell_pid))
    yield Desk(pool)
    pool.close()


def failing(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: Exception, times: int) -> list[None]:
    """Let a call fail so often, before it does what it does. Returns what grows with each failure."""
    original, failed = getattr(owner, name), list[None]()

    def call(*given: Any, **named: Any) -> Any:
        if len(failed) < times:
            failed.append(None)
            raise error
        return original(*given, **named)

    monkeypatch.setattr(owner, name, call, raising=False)
    return failed


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM], ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("owner", "name"),
    [(os, "pidfd_open"), (workforce, "Peer"), (os, "pipe")],
    ids=["after the process", "at all", "before the process"],
)
def test_a_worker_that_cannot_be_started_for_a_moment_is_started_then(
    owner: object, name: str, number: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing(monkeypatch, owner, name, OSError(number, os.strerror(number)), 3)
    assert written(desk.run([0])[0])["pid"] != os.getpid()
    assert len(failed) == 3


def test_no_worker_for_long_is_told_and_the_next_run_tries_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(workforce, "PATIENCE_SECONDS", 0.0)
        patch.setattr(workforce, "Peer", refusing(errno.EMFILE))
        desk.submit([0])
        with pytest.raises(WorkersUnavailableError, match="Too many open files"):
            desk.collect()
    desk.collect()


def test_what_will_not_pass_is_told_without_another_try(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = failing(monkeypatch, workforce, "Peer", PermissionError(errno.EACCES, "Permission denied"), 2)
    desk.submit([0])
    with pytest.raises(WorkersUnavailableError, match="Permission denied"):
        desk.collect()
    assert len(failed) == 1


def test_one_worker_does_the_work_where_there_is_no_room_for_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run([0])
    monkeypatch.setattr(workforce, "Peer", refusing(errno.EAGAIN))
    pids = {written(end)["pid"] for end in desk.run([0] * 50)}
    assert len(pids) == 1


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_without_a_thread_that_could_wait_a_worker_is_not_kept(
    number: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no pidfd, and at first no thread to stand in for it."""
    if number != errno.EMFILE:
        monkeypatch.setattr(os, "pidfd_open", refusing(number), raising=False)
        failing(monkeypatch, threading.Thread, "start", RuntimeError("can't start new thread"), 1)
    desk.run([0])


def test_a_worker_that_the_selector_refuses_is_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = desk.executor
    assert isinstance(pool, Pool)
    selector = vars(pool)["_selector"]
    failed = failing(monkeypatch, selector, "register", OSError(errno.ENOMEM, "no room"), 2)
    desk.run([0])
    assert len(failed) == 2


@pytest.mark.parametrize("name", ["send", "recv_into"])
def test_a_socket_for_which_the_system_has_no_memory_is_tried_again(
    name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scarce(socket.socket):
        pass

    error = OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    failed: list[None] = []

    def call(self: socket.socket, *given: Any) -> Any:
        if len(failed) < 3:
            failed.append(None)
            raise error
        return getattr(socket.socket, name)(self, *given)

    setattr(Scarce, name, call)

    def pair() -> tuple[socket.socket, socket.socket]:
        one, other = socket.socketpair()
        return Scarce(fileno=one.detach()), other

    monkeypatch.setattr(peer, "socketpair", pair)
    desk.run([0, 0])
    assert len(failed) == 3


@pytest.mark.parametrize("places", [("/nowhere", None), (None, "/nowhere")])
def test_a_mark_needs_no_more_than_one_place(
    places: tuple[str | None, str | None], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, temporary = places
    monkeypatch.setattr(os, "memfd_create", refusing(errno.ENOSYS), raising=False)
    monkeypatch.setattr(mark, "_SHARED_MEMORY", shared or mark._SHARED_MEMORY)
    monkeypatch.setattr(tempfile, "tempdir", temporary)
    desk.run([0])


# ---- runners -------------------------------------------------------------------------------------------------------


def define(**tasks: Callable[[Context], object]) -> cloaca.WorkflowBuilder:
    """A workflow of tasks one after the other."""
    with cloaca.WorkflowBuilder("shortage") as builder:
        before: list[str] = []
        for name, function in tasks.items():
            cloaca.task(id=name, dependencies=before)(function)
            before = [name]
    return builder


def make(context: Context) -> None:
    context["big"] = b"x" * BIG
    context["answer"] = 42


def test_a_runner_that_is_set_up_without_descriptors_waits_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = define(make=make)
    with DefaultRunner(workers=1) as runner, no_descriptors() as release:
        monkeypatch.setattr(time, "sleep", lambda _: release())
        assert runner.execute(workflow).status == "Completed"


def test_a_runner_that_cannot_be_set_up_leaves_nothing_and_may_be_used_later(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = define(make=make)
    threads, descriptors = threading.active_count(), len(list(Path("/dev/fd").iterdir()))
    with DefaultRunner(workers=1) as runner:
        with monkeypatch.context() as patch, no_descriptors():
            patch.setattr(shortage, "PATIENCE_SECONDS", 0.0)
            with pytest.raises(OSError, match="Too many open files"):
                runner.execute(workflow)
        for failure in (1, 2):
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", starting(failure))
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    runner.execute(workflow)
        assert (threading.active_count(), len(list(Path("/dev/fd").iterdir()))) == (threads, descriptors)
        assert list(Path(tempfile.gettempdir()).glob(f"cloaca-{os.getpid()}-*")) == []
        assert runner.execute(workflow).status == "Completed"


def starting(failing: int) -> Callable[[threading.Thread], None]:
    """How threads start, but for that one."""
    start, started = threading.Thread.start, iter(range(1, 100))

    def begin(thread: threading.Thread) -> None:
        if next(started) == failing:
            raise RuntimeError("can't start new thread")
        start(thread)

    return begin


def test_a_run_goes_on_while_the_program_has_no_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory would be read meanwhile; the run ends meanwhile, and its result is made."""
    readings, read = threading.Semaphore(0), memory.private

    def note(pid: int) -> int | None:
        try:
            return read(pid)
        finally:
            readings.release()

    monkeypatch.setattr(memory, "private", note)
    gate = pipe(tmp_path / "gate")

    def wait(context: Context) -> None:
        gate.read_text()
        make(context)

    with DefaultRunner(workers=1) as runner:
        runner.execute(define(make=make))
        execution = runner.start(define(make=wait))
        opened = os.open(gate, os.O_WRONLY)  # the task is there
        with no_descriptors():
            assert [readings.acquire(timeout=PATIENCE) for _ in range(3)] == [True] * 3
            os.write(opened, b"go")
            os.close(opened)
            spare = os.open(os.devnull, os.O_RDONLY)
            result = execution.result(PATIENCE)
            assert (result.status, result.final_context["answer"]) == ("Completed", 42)
            os.close(spare)
        assert len(result.final_context["big"]) == BIG
        assert runner.execute(define(make=make)).status == "Completed"
    assert len(result.final_context["big"]) == BIG


# ---- values --------------------------------------------------------------------------------------------------------


def file_of(key: str, result: cloaca.WorkflowResult) -> Path:
    """The file of a large value."""
    payload = contents_of(result.final_context).payload(key)
    assert payload is not None
    return Path(blobs.blob_of(payload).path)


def test_a_value_that_is_lost_costs_its_key_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_two(context: Context) -> None:
        make(context)
        context["other"] = b"y" * BIG

    monkeypatch.setattr(mappings, "MOST_MAPPINGS", 0)
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(define(make=make_two))
        os.truncate(file_of("big", result), 10)
        with pytest.raises(DecodeError, match="10 bytes, of 300,005 that were written"):
            result.final_context["big"]
        assert (result.final_context["answer"], len(result.final_context["other"])) == (42, BIG)
        assert result.final_context.remove("big") is None
        assert sorted(result.final_context.to_dict()) == ["answer", "other"]


def remove_all(context: Context) -> None:
    for place in context["places"]:
        for folder in Path(place).glob(context["pattern"]):
            shutil.rmtree(folder)


def test_a_folder_that_is_removed_costs_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(storage, "SHARED_MEMORY", shared)
    with cloaca.WorkflowBuilder("removed") as builder:
        cloaca.task(id="make")(make)
        cloaca.task(id="remove", dependencies=["make"])(remove_all)
        cloaca.task(id="read", dependencies=["remove"])(lambda context: context.set("length", len(context["big"])))
        cloaca.task(id="again", dependencies=["remove"])(lambda context: context.set("more", b"z" * BIG))
        cloaca.task(id="same", dependencies=["remove"])(lambda context: context.set("big", b"x" * BIG))
    given = {"places": [str(shared)], "pattern": "cloaca-*"}
    with DefaultRunner(workers=2) as runner:
        for _ in range(2):
            result = runner.execute(builder, given)
            error = result.tasks["read"].error
            assert isinstance(error, DecodeError)
            assert (error.key, error.writer, error.is_lost) == ("big", "make", True)
            assert "Nothing else may remove or change" in str(error)
            assert [task.id for task in result.tasks.values() if task.status != "Completed"] == ["read"]
            assert len(result.final_context["more"]) == len(result.final_context["big"]) == BIG
            assert result.final_context["answer"] == 42
        assert runner.execute(define(make=make)).final_context["big"] == b"x" * BIG


def test_of_values_that_are_merged_one_that_is_lost_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key can't be read then; setting it settles that."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(storage, "SHARED_MEMORY", shared)
    with cloaca.WorkflowBuilder("removed") as builder:
        for n in range(2):
            cloaca.task(id=f"make {n}")(lambda context, n=n: context.set("rows", {n: "x" * BIG}))
        cloaca.task(id="remove", dependencies=["make 0", "make 1"])(remove_all)
        cloaca.task(id="read", dependencies=["remove"])(lambda context: context["rows"])
        cloaca.task(id="set", dependencies=["remove"])(lambda context: context.set("rows", {}))
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder, {"places": [str(shared)], "pattern": "cloaca-*"})
        error = result.tasks["read"].error
        assert isinstance(error, MergeConflict)
        assert "can't be read here: FileNotFoundError" in str(error)
        assert (result.tasks["set"].status, result.final_context["rows"]) == ("Completed", {})


def test_what_could_not_be_merged_for_want_of_a_descriptor_is_merged_once_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with cloaca.WorkflowBuilder("merged") as builder:
        for n in range(2):
            cloaca.task(id=f"make {n}")(lambda context, n=n: context.set("rows", {n: "x" * BIG}))
    monkeypatch.setattr(mappings, "MOST_MAPPINGS", 0)
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder)
        with monkeypatch.context() as patch, no_descriptors():
            patch.setattr(shortage, "PATIENCE_SECONDS", 0.0)
            with pytest.raises(MergeConflict, match="Too many open files"):
                result.final_context["rows"]
            assert list(result.conflicts) == ["rows"]
        assert sorted(result.final_context["rows"]) == [0, 1]
        assert (result.conflicts, result.merges) == ({}, {"rows": "dict"})


def test_more_values_than_there_are_mappings_outlive_their_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    with cloaca.WorkflowBuilder("many") as builder:
        cloaca.task(id="items")(lambda context: context.set("n", list(range(8))))

        @cloaca.task(id="each", dependencies=["items"], for_each="n", writes=["v"])
        def each(context: Context, n: int) -> None:
            context["v"] = bytes([n]) * BIG

    monkeypatch.setattr(mappings, "MOST_MAPPINGS", len(mappings._all) + 3)
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder)
        assert [value[:1] for value in result.final_context["v"]] == [bytes([n]) for n in range(8)]
    assert [value[:1] for value in result.final_context["v"]] == [bytes([n]) for n in range(8)]
    assert len(mappings._all) <= mappings.MOST_MAPPINGS


def test_a_program_that_may_map_nothing_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappings.libc(), "mmap", lambda *_: mappings._FAILED)
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(define(make=make), {"given": b"g" * BIG})
        assert len(result.final_context["big"]) == BIG
    assert len(result.final_context["big"]) == len(result.final_context["given"]) == BIG


def test_where_no_place_can_be_used_values_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SHARED_MEMORY", tmp_path / "missing")
    monkeypatch.setattr(tempfile, "gettempdir", refusing(errno.ENOENT))
    with DefaultRunner(workers=2) as runner:
        result = runner.execute(
            define(make=make, read=lambda context: context.set("sizes", [len(context["big"]), len(context["given"])])),
            {"given": b"g" * BIG},
        )
        assert result.final_context["sizes"] == [BIG, BIG]
        assert list(runner.map(len, [b"i" * BIG] * 3)) == [BIG] * 3


def test_an_input_that_is_lost_is_told_where_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(storage, "SHARED_MEMORY", shared)
    monkeypatch.setattr(mappings, "MOST_MAPPINGS", 0)
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(define(make=make))
        file_of("big", result).unlink()
        with pytest.raises(DecodeError, match="'big', written by task 'make', can't be read"):
            result.final_context["big"]
        assert result.final_context["answer"] == 42
        assert "big" in result.final_context
        with DefaultRunner(workers=1) as other, pytest.raises(DecodeError, match="'big', written by task 'make'"):
            other.execute(define(make=make), result.final_context)
