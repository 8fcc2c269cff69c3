"""A process that a function forks ends as a program would: a traceback and 1, `sys.exit`'s code, or 0."""

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.support import PATIENCE

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.errors import CloacaError
from cloaca.pickling import definitions, identity, stack
from cloaca.worker.output import _TextSink

Way = Callable[[], Any]


def fail() -> None:
    raise ValueError("the child failed")


def interrupt() -> None:
    raise KeyboardInterrupt


WAYS: dict[Way, int] = {
    fail: 1,
    interrupt: -2,
    lambda: None: 0,
    sys.exit: 0,
    lambda: sys.exit(3): 3,
    lambda: sys.exit(-1): 255,
    lambda: sys.exit("the child said why"): 1,
    lambda: os._exit(7): 7,
}
CODES = list(WAYS.values())


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def codes() -> list[int] | None:
    """The exit codes of children that end in these ways. In one of them that goes on, it is `None`."""
    found = []
    for way in WAYS:
        child = os.fork()
        if child == 0:
            way()
            return None
        found.append(code_of(child))
    return found


def keep_codes(context: Context) -> None:
    context.set("codes", codes())


async def keep_codes_in_a_loop(context: Context) -> None:
    context.set("codes", codes())


def codes_of_the_second(number: int, trace: Path) -> list[int] | None:
    with trace.open("a") as file:
        file.write(f"{number} ")
    return codes() if number == 1 else None


def executed(runner: DefaultRunner, function: Callable[[Context], Any], given: Context | None = None) -> Context:
    with cloaca.WorkflowBuilder("forking", check="off"):
        cloaca.task(id="forks")(function)
    result = runner.execute("forking", given or Context())
    result.raise_for_status()
    return result.final_context


@pytest.mark.parametrize("function", [keep_codes, keep_codes_in_a_loop])
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_a_child_of_a_task_ends_as_a_program(function: Any, executor: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with DefaultRunner(workers=1, executor=executor) as runner:
        assert executed(runner, function)["codes"] == CODES
    told = capfd.readouterr().err
    assert told.count("the child said why\n") == 1
    traceback, _ = told.split("ValueError: the child failed\n")
    assert "in fail" in traceback
    assert "cloaca/attempts" not in traceback


@pytest.mark.parametrize("executor", ["processes", "serial"])
@pytest.mark.parametrize("is_seeded", [False, True])
def test_a_child_of_map_ends_where_its_item_does(executor: Any, *, is_seeded: bool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def function(number: int) -> Any:
        if is_seeded:
            random.random()
        return codes_of_the_second(number, trace)

    with DefaultRunner(workers=1, executor=executor) as runner:
        assert list(runner.map(function, range(4))) == [None, CODES, None, None]
    assert trace.read_text() == "0 1 2 3 "


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_a_child_of_the_initializer_ends_as_a_program(executor: Any) -> None:
    def prepare() -> None:
        cloaca.worker_state.codes = codes()

    with DefaultRunner(workers=1, executor=executor, initializer=prepare) as runner:
        assert executed(runner, lambda context: context.set("codes", cloaca.worker_state.codes))["codes"] == CODES


def test_a_child_in_which_reading_fails_is_heard() -> None:
    def read_in_the_child(context: Context) -> None:
        child = os.fork()
        if child == 0:
            context.get(f"key-{os.getppid() and 7}")
            return
        context.set("code", code_of(child))

    with DefaultRunner(workers=1) as runner:
        assert executed(runner, read_in_the_child, Context({f"key-{n}": n for n in range(500)}))["code"] == 1


def test_a_child_that_has_set_keys_returns_well() -> None:
    """Nothing is worked out for a report that nobody gets."""

    def set_in_the_child(context: Context) -> None:
        child = os.fork()
        context.set("a" + "b", child)
        if child:
            context.set("code", code_of(child))

    with DefaultRunner(workers=1) as runner:
        assert executed(runner, set_in_the_child)["code"] == 0


def code_of_a_child_of_a_thread(way: Way) -> int:
    found: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            way()
            return
        found.append(code_of(child))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    return found[0]


def test_a_child_of_a_thread_ends_as_it_does_without_workers(capfd: pytest.CaptureFixture[str]) -> None:
    with DefaultRunner(workers=1) as runner:
        seen = executed(runner, lambda context: context.set("code", code_of_a_child_of_a_thread(fail)))
    assert seen["code"] == 0  # Python ends a process of its own accord when the last thread has gone
    assert "ValueError: the child failed" in capfd.readouterr().err


def end_in_time() -> None:
    """A child that waits for ever fails its test, and is gone then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(PATIENCE))


def test_a_child_writes_where_a_thread_of_its_parent_was_writing() -> None:
    def fork_while_a_thread_writes(context: Context) -> None:
        writes, goes_on = threading.Event(), threading.Event()

        def stop(frame: FrameType, *_: object) -> None:
            if frame.f_code is _TextSink._taken.__code__:
                writes.set()
                goes_on.wait()

        def write() -> None:
            sys.settrace(stop)
            print("the parent", file=errors)

        errors = sys.stderr
        thread = threading.Thread(target=write)
        thread.start()
        writes.wait()
        child = os.fork()
        if child == 0:
            end_in_time()
            print("the child", file=errors)  # a logging handler keeps the stream, too
            os._exit(0)
        context.set("code", code_of(child))
        goes_on.set()
        thread.join()

    with DefaultRunner(workers=1) as runner:
        assert executed(runner, fork_while_a_thread_writes)["code"] == 0


def test_what_a_child_prints_goes_where_its_task_has_led_it() -> None:
    def fork_where_output_is_kept(context: Context) -> None:
        with redirect_stdout(StringIO()) as kept:
            child = os.fork()
            print("kept")
            if child == 0:
                os._exit(kept.getvalue() != "kept\n")
        context.set("code", code_of(child))

    with DefaultRunner(workers=1) as runner:
        assert executed(runner, fork_where_output_is_kept)["code"] == 0


@pytest.mark.parametrize("lock", [definitions._loading, identity._giving, stack._changing], ids=type)
def test_a_child_waits_for_no_thread_of_its_parent(lock: Any) -> None:
    """It sends and is sent classes of the script, whatever the others were doing with theirs."""
    held, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            goes_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        end_in_time()
        with lock:
            os._exit(0)
    code = code_of(child)
    goes_on.set()
    thread.join()
    assert code == 0


def test_the_parent_is_told_as_ever() -> None:
    def fork_and_fail(_: Context) -> None:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        raise LookupError("parent" if child else "child")

    with DefaultRunner(workers=1) as runner, pytest.raises(CloacaError, match="LookupError: parent"):
        executed(runner, fork_and_fail)
