"""A worker that neither stops nor ends when it is told to costs what it runs, and nobody waits for it without a limit.

A debugger makes such workers on any machine: what it holds doesn't stop for anybody else, and what has ended under it
is kept until it has seen that. One that even SIGKILL doesn't end, inside the kernel, is acted by one to which no signal
gets through.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import cloudpickle
import psutil
import pytest
from tests.support import PATIENCE, pipe

import cloaca
from cloaca import Context, DefaultRunner, RunnerClosedError, TaskTimeout, WorkerDied
from cloaca.pool import stalls, workforce
from cloaca.pool.peer import Peer
from cloaca.testing.desk import Desk, written
from cloaca.wire.messages import Done, Lost, Started

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

DEBUGGER = """
import ctypes, os, sys

pid = int(sys.argv[1])
if ctypes.CDLL(None, use_errno=True).ptrace(16, pid, None, None):
    sys.exit(f"it can't be attached to: {os.strerror(ctypes.get_errno())}")
os.waitpid(pid, 0x40000000)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(pid: int) -> Iterator[None]:
    """A debugger holds the process, and looks at nothing else."""
    with subprocess.Popen(
        [sys.executable, "-c", DEBUGGER, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as debugger:
        assert debugger.stdout is not None
        if debugger.stdout.readline() != "held\n":
            pytest.skip("no process may be attached to here")
        yield
        debugger.communicate()


@pytest.fixture
def unending(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """The processes to which no signal gets through. They end with the test."""
    chosen: set[int] = set()
    through = Peer.signal_group

    def signal_group(self: Peer, number: signal.Signals) -> None:
        if self.pid not in chosen:
            through(self, number)

    monkeypatch.setattr(Peer, "signal_group", signal_group)
    monkeypatch.setattr(workforce, "KILLED_SECONDS", 0.1)
    yield chosen
    for pid in chosen:
        with suppress(ProcessLookupError):  # its life-line has ended it
            os.killpg(pid, signal.SIGKILL)
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in chosen if psutil.pid_exists(pid)], PATIENCE)
    assert not left, "one that was given up is reaped when it ends after all"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at workers come quickly one after the other."""
    monkeypatch.setattr(stalls, "LOOK_SECONDS", 0.01)


def tell_pid(context: Context) -> None:
    context.set("pid", os.getpid())


def hang(_: Context) -> None:
    while True:
        signal.pause()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("Worker process")]


def workflow(**tasks: Callable[[Context], Any]) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("work", check="off") as builder:
        for name, function in tasks.items():
            cloaca.task(id=name, timeout=0.1 if name == "limited" else None)(function)
    return builder


# ---- a debugger holds it -------------------------------------------------------------------------------------------


def test_a_time_limit_holds_for_a_worker_that_a_debugger_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = pipe(tmp_path / "gate")

    def limited(_: Context) -> None:
        gate.write_text(str(os.getpid()))
        hang(_)

    with cloaca.WorkflowBuilder("held", check="off") as builder:
        cloaca.task(id="limited", timeout=1.0)(limited)
    with DefaultRunner(workers=2, grace_seconds=0.1) as runner:
        execution = runner.start(builder)
        pid = int(gate.read_text())
        with held(pid):
            result = execution.result(PATIENCE)
            assert isinstance(result.tasks["limited"].error, TaskTimeout)
            assert runner.execute(workflow(a=tell_pid)).final_context["pid"] != pid
        runner.execute(workflow(a=tell_pid))
    assert [text for text in told(caplog) if f"Worker process {pid} was killed" in text and "debugger" in text]


def test_a_runner_ends_although_a_debugger_holds_its_worker(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")

    def waiting(_: Context) -> None:
        gate.write_text(str(os.getpid()))
        hang(_)

    runner = DefaultRunner(workers=1)
    execution = runner.start(workflow(a=waiting))
    with held(int(gate.read_text())):
        runner.shutdown()
        with pytest.raises(RunnerClosedError):
            execution.result(PATIENCE)


def test_an_execution_is_cancelled_although_a_debugger_holds_its_worker(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")

    def waiting(_: Context) -> None:
        gate.write_text(str(os.getpid()))
        hang(_)

    with DefaultRunner(workers=1, grace_seconds=0) as runner:
        execution = runner.start(workflow(a=waiting))
        with held(int(gate.read_text())):
            execution.cancel()
            assert execution.result(PATIENCE).status == "Cancelled"
            assert runner.execute(workflow(a=tell_pid)).status == "Completed"


@pytest.mark.usefixtures("quick")
def test_what_an_idle_worker_is_given_goes_to_another_where_a_debugger_holds_it(
    desk_of: Callable[..., Desk],
) -> None:
    desk = desk_of(1, tell_pid)
    (pid,) = (written(end)["pid"] for end in desk.run([0]))
    with held(pid):
        (end,) = desk.run([0])
        assert written(end)["pid"] != pid


# ---- no signal ends it ---------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_and_does_not_end_is_given_up(desk_of: Callable[..., Desk], unending: set[int]) -> None:
    desk = desk_of(1, tell_pid, hang)
    (pid,) = (written(end)["pid"] for end in desk.run([0]))
    (stuck,) = desk.submit([1])
    desk.until(Started)
    unending.add(pid)
    desk.executor.cancel([stuck], 0)
    (end,) = desk.run([0])
    assert isinstance(end, Done)
    assert written(end)["pid"] != pid
    lost = desk.ends[stuck]
    assert isinstance(lost, Lost)
    assert lost.signal == "SIGKILL"


def test_it_costs_one_time_limit_and_is_told(unending: set[int], caplog: pytest.LogCaptureFixture) -> None:
    with DefaultRunner(workers=2, grace_seconds=0.1) as runner:
        runner.execute(workflow(a=tell_pid, b=tell_pid))
        unending.update(process.pid for process in psutil.Process().children())
        result = runner.execute(workflow(limited=hang, other=tell_pid))
        assert isinstance(result.tasks["limited"].error, TaskTimeout)
        assert result.tasks["other"].status == "Completed"
        assert runner.execute(workflow(a=tell_pid)).status == "Completed"
        (text,) = told(caplog)
    (pid,) = (pid for pid in unending if f"Worker process {pid} was killed, and doesn't end" in text)
    assert f"/proc/{pid}/stack" in text


def test_a_runner_ends_although_its_worker_does_not(
    unending: set[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = pipe(tmp_path / "gate")

    def waiting(_: Context) -> None:
        gate.write_text("begun")
        hang(_)

    monkeypatch.setattr(workforce, "GRACE_SECONDS", 0.1)
    caplog.set_level(logging.WARNING)
    runner = DefaultRunner(workers=1)
    pid = runner.execute(workflow(a=tell_pid)).final_context["pid"]
    execution = runner.start(workflow(a=waiting))
    gate.read_text()
    unending.add(pid)
    runner.shutdown()
    with pytest.raises(RunnerClosedError):
        execution.result(PATIENCE)
    assert [text for text in told(caplog) if f"Worker process {pid} was killed, and doesn't end" in text]


def test_a_worker_that_was_killed_from_outside_is_a_death_as_ever(desk_of: Callable[..., Desk]) -> None:
    desk = desk_of(1, tell_pid, hang)
    (pid,) = (written(end)["pid"] for end in desk.run([0]))
    (stuck,) = desk.submit([1])
    desk.until(Started)
    os.kill(pid, signal.SIGKILL)
    desk.collect()
    lost = desk.ends[stuck]
    assert isinstance(lost, Lost)
    assert (lost.signal, lost.reason) == ("SIGKILL", None)


# ---- somebody has stopped it ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_what_a_stopped_worker_has_not_begun_goes_to_another(caplog: pytest.LogCaptureFixture) -> None:
    with DefaultRunner(workers=1) as runner:
        pid = runner.execute(workflow(a=tell_pid)).final_context["pid"]
        os.kill(pid, signal.SIGSTOP)
        assert runner.execute(workflow(a=tell_pid)).final_context["pid"] != pid
    (text,) = told(caplog)
    assert f"Worker process {pid} does nothing: somebody has stopped it" in text


@pytest.mark.usefixtures("quick")
def test_a_task_that_stands_still_with_its_worker_is_told_of_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate, told_of = pipe(tmp_path / "gate"), pipe(tmp_path / "told")

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Worker process"):
                told_of.write_text(record.getMessage())

    def stopping(context: Context) -> None:
        gate.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
        context.set("went on", True)

    handler = Telling()
    logging.getLogger("cloaca").addHandler(handler)
    try:
        with DefaultRunner(workers=1) as runner:
            execution = runner.start(workflow(a=stopping))
            pid = int(gate.read_text())
            assert f"`kill -CONT {pid}`" in told_of.read_text()
            os.kill(pid, signal.SIGCONT)
            assert execution.result(PATIENCE).final_context["went on"]
    finally:
        logging.getLogger("cloaca").removeHandler(handler)
    assert len(told(caplog)) == 1


def test_a_stopped_worker_is_stopped_at_its_time_limit() -> None:
    def limited(_: Context) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    with DefaultRunner(workers=1, grace_seconds=0) as runner:
        assert isinstance(runner.execute(workflow(limited=limited)).tasks["limited"].error, TaskTimeout)


# ---- it is judged, and innocent ------------------------------------------------------------------------------------


def test_nothing_is_given_to_a_worker_that_is_told_to_stand_still(desk_of: Callable[..., Desk]) -> None:
    desk = desk_of(1, tell_pid, hang)
    (pid,) = (written(end)["pid"] for end in desk.run([0]))
    (stuck,) = desk.submit([1])
    desk.until(Started)
    desk.executor.cancel([stuck], 0)
    begin = monotonic()
    ends = desk.run([0, 0, 0])
    assert all(written(end)["pid"] != pid for end in ends)
    assert isinstance(desk.ends[stuck], Lost)
    assert monotonic() - begin < PATIENCE


def test_a_death_is_told_with_the_exit_code_where_a_worker_ends_by_itself() -> None:
    def leave(_: Context) -> None:
        os._exit(3)

    with DefaultRunner(workers=1) as runner:
        error = runner.execute(workflow(a=leave)).tasks["a"].error
    assert isinstance(error, WorkerDied)
    assert error.exit_code == 3
