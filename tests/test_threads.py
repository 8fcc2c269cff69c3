"""Workflows and calls of map whose tasks run on threads of the program."""

import gc
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from threading import Barrier, Event
from typing import Any

import pytest

from cloaca import (
    Context,
    DefaultRunner,
    InitializerError,
    NestedExecutionError,
    WorkflowBuilder,
    merge,
    task,
)
from cloaca import worker_state as state
from cloaca.execution.provider import Provider
from cloaca.execution.threads import ThreadsExecutor
from cloaca.wire.messages import Assignment, Lost, Slice, Started

PATIENCE = 30.0


@pytest.fixture
def runner() -> Iterator[DefaultRunner]:
    with DefaultRunner(executor="threads", workers=4) as made:
        yield made


def one_task(function: Any, **options: Any) -> WorkflowBuilder:
    """A workflow of that task."""
    with WorkflowBuilder("threads") as builder:
        task(id="only", **options)(function)
    return builder


def test_tasks_run_at_once_and_call_the_functions_themselves(runner: DefaultRunner) -> None:
    meet, names = Barrier(4), set[str]()
    with WorkflowBuilder("threads", merge={"n": merge.sum}) as builder:
        for n in range(4):

            @task(id=f"branch {n}")
            def branch(context: Context, n: int = n) -> None:
                meet.wait(PATIENCE)
                names.add(threading.current_thread().name)
                context.set("n", context.get("n", 0) + n)

        @task(dependencies=[f"branch {n}" for n in range(4)])
        def join(context: Context) -> None:
            context.set("total", context["n"])

    result = runner.execute(builder, {"n": 10})
    assert result.final_context["total"] == 16
    assert len(names) == 4


def test_what_a_task_reads_that_its_code_does_not_name_is_there(runner: DefaultRunner) -> None:
    def read(context: Context) -> None:
        context.set("seen", [context["key " + str(n)] for n in range(300)] + sorted(context.keys())[:2])

    result = runner.execute(one_task(read), {f"key {n}": n for n in range(300)})
    assert result.final_context["seen"] == [*range(300), "key 0", "key 1"]


def test_the_answer_is_that_of_processes_and_of_one_thread() -> None:
    with WorkflowBuilder("threads") as builder:

        @task()
        def split(context: Context) -> None:
            context.set("rows", list(range(20)))

        @task(dependencies=[split], for_each="rows")
        def square(context: Context, row: int) -> None:
            context.set("square", row * row + (context.seed or 0) % 1000)

        @task(dependencies=[square])
        def add(context: Context) -> None:
            context.set("total", sum(context["square"]))

    def answer(executor: Any) -> str:
        with DefaultRunner(executor=executor, workers=2) as one:
            return one.execute(builder, seed=7, raise_on_failure=True).final_context.to_json()

    with ThreadPoolExecutor(2) as pool:
        assert answer(pool) == answer("threads") == answer("serial") == answer("processes")


def test_random_numbers_of_the_program_are_left_alone(runner: DefaultRunner) -> None:
    def draw(context: Context) -> None:
        context.set("drawn", random.random())

    random.seed(1)
    expected = [random.random() for _ in range(2)]
    random.seed(1)
    drawn = runner.execute(one_task(draw), seed=5).final_context["drawn"]
    assert [drawn, random.random()] == expected


def test_a_task_that_takes_too_long_is_told_as_that_while_its_thread_goes_on(runner: DefaultRunner) -> None:
    release, left = Event(), Event()

    def wait(context: Context) -> None:
        release.wait(PATIENCE)
        try:
            context["other" + "wise"]
        finally:
            left.set()

    result = runner.execute(one_task(wait, timeout=0.05))
    assert result.status == "Failed"
    assert type(result.tasks["only"].error).__name__ == "TaskTimeout"
    release.set()
    assert left.wait(PATIENCE)
    assert runner.execute(one_task(lambda context: context.set("n", 1))).final_context["n"] == 1


def test_who_cancels_waits_for_no_thread(runner: DefaultRunner) -> None:
    release, started = Event(), Event()

    def wait(_: Context) -> None:
        started.set()
        release.wait(PATIENCE)

    execution = runner.start(one_task(wait))
    assert started.wait(PATIENCE)
    execution.cancel()
    assert execution.result(PATIENCE).status == "Cancelled"
    release.set()


def test_a_runner_that_ends_says_which_threads_go_on() -> None:
    release, started = Event(), Event()

    def wait(_: Context) -> None:
        started.set()
        release.wait(PATIENCE)

    runner = DefaultRunner(executor="threads", workers=1)
    runner.start(one_task(wait))
    assert started.wait(PATIENCE)
    with pytest.warns(UserWarning, match="threads still run 'only'"):
        runner.shutdown()
    release.set()


def test_a_failure_is_the_exception_itself_with_its_place(runner: DefaultRunner) -> None:
    def fail(_: Context) -> None:
        raise LookupError("not here")

    result = runner.execute(one_task(fail, retry_attempts=2))
    assert repr(result.tasks["only"].error) == "LookupError('not here')"
    assert result.tasks["only"].attempts == 2


def test_map_runs_on_threads_and_keeps_the_order(runner: DefaultRunner) -> None:
    assert list(runner.map(lambda item: item**2, range(500))) == [n**2 for n in range(500)]
    got = list(runner.map(lambda item: 1 // item, [1, 0, 2], on_error="return"))
    assert [type(one) for one in got] == [int, ZeroDivisionError, int]


def test_each_runner_has_a_state_of_its_own_that_its_initializer_sets() -> None:
    def load() -> None:
        state.rate = 3

    with DefaultRunner(executor="threads", workers=2, initializer=load) as runner:
        assert list(runner.map(lambda item: state.rate * item, range(4))) == [0, 3, 6, 9]


def test_an_initializer_that_raises_ends_the_run() -> None:
    def load() -> None:
        raise LookupError("no model")

    with DefaultRunner(executor="threads", initializer=load) as runner, pytest.raises(InitializerError):
        runner.execute(one_task(lambda _: None))


def test_a_task_runs_no_workflow(runner: DefaultRunner) -> None:
    result = runner.execute(one_task(lambda _: runner.execute("threads")))
    assert isinstance(result.tasks["only"].error, NestedExecutionError)


def test_an_executor_that_is_given_stays_the_callers() -> None:
    with ThreadPoolExecutor(3) as pool:
        with DefaultRunner(executor=pool) as runner:
            runner.execute(one_task(lambda _: None))
        assert pool.submit(len, "abc").result() == 3
        assert "workers=3" in repr(runner)


def test_an_executor_that_was_shut_down_is_named() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with DefaultRunner(executor=pool) as runner, pytest.raises(RuntimeError, match="takes no more tasks"):
        runner.execute(one_task(lambda _: None))


def test_what_threads_can_not_promise_is_refused() -> None:
    with pytest.raises(ValueError, match="memory_limit"):
        DefaultRunner(executor="threads", memory_limit=1 << 30)


def test_named_limits_hold() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def count(context: Context) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        context.set("n", 1)
        with lock:
            inside -= 1

    with WorkflowBuilder("limited") as builder:
        for n in range(20):
            task(id=f"t{n}", limit="db")(count)
    with DefaultRunner(executor="threads", workers=8, limits={"db": 1}) as limited:
        assert limited.execute(builder).status == "Completed"
    assert most == 1


def test_large_values_need_no_files(runner: DefaultRunner) -> None:
    result = runner.execute(
        one_task(lambda context: context.set("back", context["big"] + b"x")), {"big": b"y" * 300_000}
    )
    assert result.final_context["back"] == b"y" * 300_000 + b"x"


class Hesitant(Executor):
    """Says that a call is under way before it is."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_running_or_notify_cancel()

        def call() -> None:
            future.set_result(function(*args, **more))

        self.calls.append(call)
        return future


def test_what_is_cancelled_as_its_thread_comes_to_it_is_not_called() -> None:
    pool = Hesitant()
    called: list[Context] = []
    executor = ThreadsExecutor(Provider(pool), 1, {0: called.append})
    window = executor.window
    executor.submit([Assignment(7, "late", 0, Slice({}, complete=True, outcomes={}))])
    executor.wait(0)
    executor.cancel([7], 0)
    for call in pool.calls:
        call()
    assert [type(event) for event in executor.wait(0)] == [Started, Lost]
    assert (executor.window, called) == (window, [])
    executor.close()  # warns of threads that still run


def test_a_call_of_map_that_nobody_asks_keeps_no_function(runner: DefaultRunner) -> None:
    function = Hesitant()  # anything that can be referred to weakly
    assert list(runner.map(abs, [-1])) == [1]
    with pytest.warns(RuntimeWarning, match="Nobody has asked"):
        runner.map(partial(lambda kept, item: item, function), [0])
    gone = weakref.ref(function)
    del function
    gc.collect()
    assert gone() is None
