"""What a trivial task costs where time doesn't matter: frames, bytes and system calls, counted, in a warm pool.

Each bound stands a little above what was counted when it was written, or is what the protocol allows at most. Nothing
here depends on the machine's speed: every task counts as tiny, and nobody spins (see `unhurried`).
"""

import gc
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from selectors import DefaultSelector
from types import FrameType
from typing import Any

import psutil
import pytest
from tests.support import PATIENCE

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.border import spin
from cloaca.pickling.kin import FunctionCache
from cloaca.pool import batching, pool
from cloaca.pool.peer import Peer
from cloaca.pool.pool import Pool
from cloaca.testing.desk import Desk, published, written
from cloaca.wire.messages import Started

TASKS = 1000


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a task takes here, it counts as tiny; and the coordinator never looks more than twice."""
    monkeypatch.setattr(batching, "BATCH_SECONDS", 3600.0)
    monkeypatch.setattr(spin, "SPIN_SECONDS", 0.0)


@pytest.fixture
def runner() -> Iterator[DefaultRunner]:
    """With one worker, so that there is one way only for every message."""
    with DefaultRunner(workers=1) as runner:
        yield runner


@pytest.fixture
def calls(runner: DefaultRunner, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What the coordinator's process asks of the kernel in the third execution of many trivial tasks, and the bytes."""
    define_trivial()
    for _ in range(2):
        runner.execute("trivial")
    counted: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        count(patch.setattr, counted)
        assert runner.execute("trivial").status == "Completed"
    return counted


def define_trivial() -> None:
    with cloaca.WorkflowBuilder("trivial"):
        for number in range(TASKS):
            cloaca.task(id=f"task {number}")(setter(number))


def setter(number: int) -> Callable[[Context], None]:
    return lambda context: context.set(f"value {number}", number)


def count(patch: Callable[[Any, str, Any], None], counted: Counter[str]) -> None:
    """Count the calls of sockets, pipes and selectors, and the bytes that sockets take and give."""

    def counting(place: Any, name: str, call: Callable[..., Any], *, is_transfer: bool = False) -> None:
        def counted_call(*arguments: Any) -> Any:
            counted[name] += 1
            returned = call(*arguments)
            if is_transfer:
                counted[f"bytes of {name}"] += returned
            return returned

        patch(place, name, counted_call)

    counting(socket.socket, "send", socket.socket.send, is_transfer=True)
    counting(socket.socket, "recv_into", socket.socket.recv_into, is_transfer=True)
    counting(DefaultSelector, "select", DefaultSelector.select)
    counting(os, "read", os.read)
    counting(os, "write", os.write)


# ---- the first execution -------------------------------------------------------------------------------------------


def test_few_calls_capture_a_function_that_shares_its_code_with_others() -> None:
    """Now 138, of Python's functions and of C's, where a workflow's functions are captured for the first time."""
    assert calls_to_capture([setter(number) for number in range(TASKS)]) < 145


def test_few_calls_capture_a_function_of_its_own_code() -> None:
    """Now 196. Its instructions are gone through once or twice, and not one by one in calls."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("\n".join(f"def task_{n}(context): context.set('key {n}', {n})" for n in range(TASKS)), names)
    assert calls_to_capture([names[f"task_{number}"] for number in range(TASKS)]) < 205


def calls_to_capture(functions: Sequence[Callable[[Context], None]]) -> float:
    """How many calls it takes for each."""
    calls = [0]

    def count_call(_: FrameType, event: str, __: Any) -> None:
        calls[0] += event in ("call", "c_call")

    ids = [f"task {number}" for number in range(len(functions))]
    cache = FunctionCache()
    gc.disable()  # others may have it call them
    sys.setprofile(count_call)
    try:
        captured = cache.capture_all(ids, functions)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert len(captured) == len(functions)
    return calls[0] / len(functions)


# ---- the coordinator -----------------------------------------------------------------------------------------------


def test_a_tasks_assignment_is_of_few_bytes(calls: Counter[str]) -> None:
    """Now 55: the attempt, the task's name, the function's number, an empty slice, and nine for the run's seed.

    Eleven are fields that say nothing, as most do. On a busy machine there are more frames, each with a length, and
    with a word to a worker that has nothing to do.
    """
    assert (calls["bytes of send"] - 32 * calls["send"]) / TASKS < 57


def test_a_tasks_report_is_of_few_bytes(calls: Counter[str]) -> None:
    """Now 70, of which 37 tell what the attempt cost, and 13 what it wrote, with the key."""
    assert calls["bytes of recv_into"] / TASKS < 80


def test_many_assignments_go_out_at_once(calls: Counter[str]) -> None:
    """Now mostly 24. A worker is given more when half of its 64 have been reported: at most 1,000 / 32 frames.

    Some 20 come on top of that for the end, where batches shrink.
    """
    assert calls["send"] <= TASKS / 32 + 20


def test_the_coordinator_reads_no_more_often_than_there_are_reports(calls: Counter[str]) -> None:
    """Now mostly 26 times: what has come meanwhile is read at once. Where each report is waited for, it is 1,000 times.

    One look that doesn't wait may come before each that does, and one more to see that a task has begun.
    """
    assert calls["recv_into"] <= TASKS
    assert calls["select"] <= 3 * calls["recv_into"] + 10


def test_few_calls_stand_between_a_report_and_the_assignment_that_follows_from_it(
    runner: DefaultRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now 158, of Python's functions and of C's: what else there is to do waits until the worker has its assignment."""
    with cloaca.WorkflowBuilder("chain"):
        for number in range(TASKS):
            cloaca.task(id=str(number), dependencies=[str(number - 1)] if number else [])(add_one)
        cloaca.task(id="end", dependencies=[str(number) for number in range(TASKS)])(add_one)  # so nothing goes along
    for _ in range(2):
        runner.execute("chain")
    calls, counted = [0], Counter[int]()

    def count_call(_: FrameType, event: str, __: Any) -> None:
        calls[0] += event in ("call", "c_call")

    def counting_from(look_out: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def look_out_and_count(*arguments: Any) -> list[Any]:
            found = look_out(*arguments)
            calls[0] = 0
            sys.setprofile(count_call if found else None)
            return found

        return look_out_and_count

    def counting_up_to(send: Callable[..., None]) -> Callable[..., None]:
        def count_and_send(*arguments: Any) -> None:
            sys.setprofile(None)
            counted[calls[0]] += 1
            send(*arguments)

        return count_and_send

    monkeypatch.setattr(Pool, "_look_out", counting_from(Pool._look_out))
    monkeypatch.setattr(Peer, "send", counting_up_to(Peer.send))
    assert runner.execute("chain").status == "Completed"
    ((usual, times),) = counted.most_common(1)
    assert usual <= 165
    assert times > TASKS / 2


def add_one(context: Context) -> None:
    context.set("sum", context.get("sum", 0) + 1)


def test_what_a_report_costs_does_not_depend_on_how_many_workers_are_busy() -> None:
    """Of each of these less than one call: the pool asks no worker for anything that has nothing to tell."""
    assert least_calls_for_a_report(beside=6) < least_calls_for_a_report(beside=0) + 6


def least_calls_for_a_report(beside: int) -> int:
    """How many calls a pool makes at least for an attempt while so many other workers are busy."""
    pool = Pool(beside + 1, {})
    pool.publish(published(lambda context: context.set("value", 1), wait_for_ever))
    calls, counted = [0], list[int]()

    def count_call(_: FrameType, event: str, __: Any) -> None:
        calls[0] += event in ("call", "c_call")

    with Desk(pool) as desk:
        others = desk.submit([1] * beside)
        while sum(isinstance(event, Started) for event in desk.events) < len(others):
            desk.step()
        for _ in range(50):
            (attempt,) = desk.submit([0])
            calls[0] = 0
            while attempt not in desk.ends:
                sys.setprofile(count_call)
                desk.step()
                sys.setprofile(None)
            counted.append(calls[0])
    return min(counted)


def wait_for_ever(_: Context) -> None:
    threading.Event().wait()


def test_permits_are_issued_for_a_batch_at_once_and_the_coordinator_is_woken_once(calls: Counter[str]) -> None:
    """Each frame with several assignments has its permits; the last frame only retires the execution's merge rules."""
    frames_with_assignments, wake_ups = calls["send"] - 1, 1
    assert calls["write"] <= frames_with_assignments + wake_ups
    assert calls["read"] <= 1


# ---- the worker ----------------------------------------------------------------------------------------------------


def test_a_worker_makes_three_calls_for_a_task_and_reads_whole_batches(desk: Desk) -> None:
    """One takes the permit, one asks for the working directory, one sends the report, now of 64 bytes, at once.

    What a worker is given while it has nothing to do needs no permit.
    """
    start, work, tell = range(3)
    desk.run([start])
    desk.run([work] * TASKS)
    (counted,) = (written(end)["counted"] for end in desk.run([tell]))
    assert counted["send"] == TASKS + 1  # with the report of what started to count
    assert counted["getcwdb"] == TASKS + 1  # with that of what tells
    assert counted["read"] <= TASKS
    assert counted["recv"] <= TASKS / 32 + 20
    assert counted["bytes"] / TASKS < 75


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """At a pool of one worker, which counts its own calls."""
    (tmp_path / "sitecustomize.py").write_text(COUNTING)
    executor = Pool(1, {"PYTHONPATH": str(tmp_path)})
    executor.publish(published(start_to_count, lambda context: context.set("value", 1), tell_what_was_counted))
    yield Desk(executor)
    executor.close()


COUNTING = """
import os, socket
from collections import Counter
from functools import wraps

os.counted = Counter()

def count(owner, name):
    call = getattr(owner, name)

    @wraps(call)
    def counting(*arguments):
        result = call(*arguments)  # what finds nothing isn't counted: a worker looks out for a moment before it waits
        os.counted[name] += 1
        if name == "send":
            os.counted["bytes"] += result
        return result

    setattr(owner, name, counting)

count(socket.socket, "send")
count(socket.socket, "recv")
count(os, "read")
count(os, "getcwdb")
"""
"""Run by the worker's interpreter as it starts, before anything of cloaca has looked these functions up."""


def start_to_count(_: Context) -> None:
    os.counted.clear()  # type: ignore[attr-defined]


def tell_what_was_counted(context: Context) -> None:
    context.set("counted", dict(os.counted))  # type: ignore[attr-defined]


# ---- idle ----------------------------------------------------------------------------------------------------------


def test_an_idle_coordinator_waits_without_a_limit(runner: DefaultRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is woken once more, finds nothing, and what it then does is to wait for ever."""
    define_trivial()
    runner.execute("trivial")
    waits: list[float | None] = []
    asleep = threading.Event()
    select = DefaultSelector.select

    def noting(selector: DefaultSelector, timeout: float | None = None) -> Any:
        waits.append(timeout)
        if timeout is None:
            asleep.set()
        return select(selector, timeout)

    monkeypatch.setattr(DefaultSelector, "select", noting)
    (executor,) = pool._pools
    executor.wake()
    assert asleep.wait(PATIENCE)
    assert set(waits) == {None}


def test_nothing_of_an_idle_runner_wakes_up(runner: DefaultRunner) -> None:
    """While another runner works, the kernel never switches to a thread of the idle one, nor to its workers."""
    define_trivial()
    runner.execute("trivial")
    idle = [
        Path("/proc/self/task", str(thread.native_id)) for thread in threading.enumerate() if "cloaca" in thread.name
    ]
    idle += [path for child in psutil.Process().children() for path in Path("/proc", str(child.pid), "task").iterdir()]
    assert len(idle) >= 2
    with DefaultRunner(workers=1) as other:
        other.execute("trivial")
        before = [_switches(path) for path in idle]
        other.execute("trivial")
        assert [_switches(path) for path in idle] == before


def _switches(thread: Path) -> list[str]:
    """How often it gave up a core by itself, and how often it was made to."""
    lines = (thread / "status").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "ctxt_switches" in line]
