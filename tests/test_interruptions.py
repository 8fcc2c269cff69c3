"""What signal handlers, finalizers and forked children may do with a runner, whatever they come in the middle of.

Each such moment is made, not waited for: the handler runs where a function that is called there sends the signal.
"""

import gc
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import cloudpickle
import pytest
from tests.support import PATIENCE

import cloaca
from cloaca import DefaultRunner, RunnerClosedError
from cloaca.border.waker import Waker
from cloaca.running import coordinator, loop
from cloaca.running.latch import Latch
from cloaca.running.results import results_of
from cloaca.values.storage import Storage

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@contextmanager
def handled(handler: Callable[[], object]) -> Iterator[None]:
    """SIGUSR1 calls that."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        handler()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupting(function: Callable[..., Any], times: Iterable[int] = (0,)) -> Callable[..., Any]:
    """The function, in the middle of which SIGUSR1 comes, at those of its calls on the main thread.

    It comes as long as it is handled: unhandled, it would be the end of the tests.
    """
    calls, chosen = count(), frozenset(times)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        is_handled = signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
        if is_handled and threading.current_thread() is threading.main_thread() and next(calls) in chosen:
            signal.raise_signal(signal.SIGUSR1)
        return function(*arguments, **named)

    return interrupted


def hang(context: cloaca.Context) -> None:
    signal.pause()


def small() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("small") as builder:
        cloaca.task(id="a")(lambda context: context.set("a", 1))
    return builder


def hanging() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("hanging") as builder:
        cloaca.task(id="hang")(hang)
    return builder


# ---- signal handlers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [(Waker, "ring"), (coordinator.Coordinator, "post")])
def test_an_execution_is_cancelled_in_the_middle_of_starting_another(
    at: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with DefaultRunner(workers=2, grace_seconds=0.1) as runner:
        execution = runner.start(hanging())
        with handled(execution.cancel):
            monkeypatch.setattr(*at, interrupting(getattr(*at)))
            assert runner.execute(small()).status == "Completed"
        assert execution.result(PATIENCE).status == "Cancelled"


def test_an_execution_is_cancelled_in_the_middle_of_map(monkeypatch: pytest.MonkeyPatch) -> None:
    with DefaultRunner(workers=2, grace_seconds=0.1) as runner:
        execution = runner.start(hanging())
        with handled(execution.cancel):
            monkeypatch.setattr(Waker, "ring", interrupting(Waker.ring, range(100)))
            assert sum(runner.map(abs, range(50), chunksize=1)) == sum(range(50))
        assert execution.result(PATIENCE).status == "Cancelled"


@pytest.mark.parametrize(
    "at",
    [
        (Storage, "__init__"),
        (loop.Loop, "__init__"),
        (coordinator.Coordinator, "post"),
        (Waker, "ring"),
        (Latch, "wait"),
    ],
)
def test_shutdown_in_the_middle_of_anything_ends_the_workers(
    at: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = DefaultRunner(workers=1)
    with handled(runner.shutdown):
        monkeypatch.setattr(*at, interrupting(getattr(*at)))
        if at[0] is Latch:
            runner.execute(small())
            runner.shutdown()
        else:
            with pytest.raises(RunnerClosedError):
                runner.execute(hanging())
    with pytest.raises(RunnerClosedError):
        runner.start(small())


def test_shutdown_while_functions_are_pickled_ends_the_execution() -> None:
    class Interrupting:
        def __reduce__(self) -> tuple[type, tuple[()]]:
            signal.raise_signal(signal.SIGUSR1)
            return object, ()

    runner, captured = DefaultRunner(workers=1), Interrupting()
    with cloaca.WorkflowBuilder("capturing") as builder:
        cloaca.task(id="a")(lambda _context: repr(captured) and None)
    with handled(runner.shutdown), pytest.raises(RunnerClosedError):
        runner.execute(builder)


def test_shutdown_while_a_result_is_waited_for_raises_there() -> None:
    runner = DefaultRunner(workers=1)
    execution = runner.start(hanging())
    timer = threading.Thread(target=signal.pthread_kill, args=(threading.main_thread().ident, signal.SIGUSR1))
    with handled(runner.shutdown):
        timer.start()
        with pytest.raises(RunnerClosedError, match="shut down"):
            execution.result()
    timer.join()


def test_what_comes_just_too_late_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner is shut down between the look whether it goes on and the post."""
    runner = DefaultRunner(workers=1)
    post = coordinator.Coordinator.post

    def posting(self: coordinator.Coordinator, *letter: Any) -> None:
        runner.shutdown()
        post(self, *letter)

    monkeypatch.setattr(coordinator.Coordinator, "post", posting)
    with pytest.raises(RunnerClosedError):
        runner.start(hanging()).result(PATIENCE)
    with pytest.raises(RunnerClosedError):
        list(runner.map(abs, [1]))


# ---- finalizers ----------------------------------------------------------------------------------------------------


class Dropping(logging.Handler):
    """Lets go of what it has at a record: so that is collected on the thread that shows output."""

    def __init__(self, *held: object) -> None:
        super().__init__()
        self.held = list(held)
        self.threads: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.threads.append(threading.current_thread().name)
        self.held.clear()
        gc.collect()


@contextmanager
def attached(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("task")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def logging_one() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("logging") as builder:
        cloaca.task(id="log")(lambda _context: logging.getLogger("task").warning("hello"))
    return builder


def test_results_that_are_collected_where_output_is_shown() -> None:
    with DefaultRunner(workers=2) as runner:
        results = runner.map(abs, range(1000), chunksize=1)
        assert next(results) == 0
        handler = Dropping(results)
        del results
        with attached(handler):
            assert runner.execute(logging_one()).status == "Completed"
        assert handler.threads == ["cloaca console"]
        assert runner.execute(small()).status == "Completed"


def test_a_runner_that_is_collected_where_its_output_is_shown() -> None:
    runner = DefaultRunner(workers=1)
    execution = runner.start(logging_one())
    handler = Dropping(runner)
    del runner
    with attached(handler):
        assert execution.result(PATIENCE).status == "Completed"
        del execution


def test_a_runner_that_is_collected_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []
    runner = DefaultRunner(workers=1)
    runner.execute(small())
    folders, wait = runner._runs.running_loop().holder.folders, Latch.wait

    def noting(self: Latch, timeout: float | None = None) -> bool:
        waited.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr(Latch, "wait", noting)
    del runner
    gc.collect()
    assert waited == []
    loop._outlast()  # as at the program's end
    assert waited == [loop.STOP_SECONDS] * len(waited)
    assert not any(map(os.path.exists, folders))


# ---- results of map ------------------------------------------------------------------------------------------------


def lists(number: int, size: int) -> Iterator[list[int]]:
    for first in range(0, number, size):
        yield list(range(first, first + size))


def test_threads_that_share_results_get_each_once_and_in_order() -> None:
    results = results_of(lists(3000, 3))  # type: ignore[arg-type]  # a generator
    got: list[list[int]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=own.extend, args=(results,)) for own in got]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(number for own in got for number in own) == list(range(3000))
    assert all(own == sorted(own) for own in got)
    assert next(results, None) is None


def test_a_few_results_are_let_go_of_one_by_one() -> None:
    class Large:
        pass

    with DefaultRunner(executor="threads", workers=1) as threads:
        results = threads.map(lambda _: Large(), range(6), chunksize=3)
        kept = []
        for result in results:
            kept.append(weakref.ref(result))
            del result
        assert [large() for large in kept[:-1]] == [None] * 5
        results = threads.map(lambda _: Large(), range(3), chunksize=3)
        first, second = weakref.ref(next(results)), weakref.ref(next(results))
        assert first() is None
        assert next(results) is not None
        assert second() is None


def test_threads_share_the_results_of_a_runner(runner: DefaultRunner) -> None:
    results = runner.map(abs, range(300), chunksize=2)
    got: list[list[int]] = [[] for _ in range(3)]
    threads = [threading.Thread(target=own.extend, args=(results,)) for own in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for own in got for number in own) == list(range(300))


def test_an_error_reaches_one_thread_and_ends_the_others() -> None:
    def failing() -> Iterator[list[int]]:
        yield [1, 2]
        raise KeyError("broken")

    results, seen = results_of(failing()), list[object]()  # type: ignore[arg-type]  # a generator

    def pull() -> None:
        try:
            seen.extend(results)
        except KeyError as error:
            seen.extend([KeyError, error.__context__])

    threads = [threading.Thread(target=pull) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, seen)) == sorted(map(str, [1, 2, KeyError, None]))


def test_an_item_that_is_made_of_a_result_of_the_same_call_is_refused(runner: DefaultRunner) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield next(results)

    results = runner.map(abs, items(), chunksize=1)
    with pytest.raises(ValueError, match="in the middle of getting it"):
        list(results)
    assert list(results) == []


def test_a_handler_that_asks_while_results_are_got_is_refused(runner: DefaultRunner) -> None:
    refused: list[str] = []

    def pull() -> None:
        with pytest.raises(ValueError, match="signal handler") as caught:
            next(results)
        refused.append(str(caught.value))

    def items() -> Iterator[int]:
        yield 1
        signal.raise_signal(signal.SIGUSR1)
        yield 2

    results = runner.map(abs, items(), chunksize=1)
    with handled(pull):
        assert list(results) == [1, 2]
    assert len(refused) == 1


def test_a_forked_child_has_no_results_and_harms_nobody(runner: DefaultRunner) -> None:
    """It asks, lets go and ends like a program; what the program gets is complete all the same."""
    got = []
    results = runner.map(abs, range(60), chunksize=4)
    for value in results:
        got.append(value)
        if value == 5:
            child = os.fork()
            if not child:
                code = 1
                try:
                    next(results)
                except RunnerClosedError:
                    code = 5
                finally:
                    del results
                    gc.collect()
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert got == list(range(60))


# ---- the parts -----------------------------------------------------------------------------------------------------


def test_a_waker_that_was_closed_rings_nothing_and_keeps_no_descriptor() -> None:
    waker = Waker()
    descriptor = waker.descriptor
    waker.close()
    waker.ring()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_waker_that_is_closed_while_it_rings_writes_to_its_own_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    waker, written = Waker(), list[str]()
    write = os.write

    def writing(descriptor: int, data: bytes) -> int:
        waker.close()
        written.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", writing)
    waker.ring()
    assert written[0].startswith("pipe:")


def test_a_latch_lets_through_whoever_waits_and_whoever_comes_later() -> None:
    latch = Latch()
    threads = [threading.Thread(target=latch.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not latch.wait(0)
    latch.open()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert latch.wait()
