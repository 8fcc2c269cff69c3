"""Workflows and calls of map whose tasks run in processes that others have started."""

import multiprocessing
import os
import pickle
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor as Futures
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any, ClassVar

import pytest
from tests.support import PATIENCE, pipe

from cloaca import (
    Context,
    DefaultRunner,
    InitializerError,
    NestedExecutionError,
    TaskTimeout,
    WorkerDied,
    WorkersUnavailableError,
    WorkflowBuilder,
    context_value,
    merge,
    task,
)
from cloaca import worker_state as state
from cloaca.execution import provider
from cloaca.testing.conformance import Conformance

new_pool = partial(ProcessPoolExecutor, 2, multiprocessing.get_context("spawn"))
shared: list[ProcessPoolExecutor] = []


@pytest.fixture(scope="module", autouse=True)
def pool() -> Iterator[Futures]:
    """Two processes, which no test may end."""
    with new_pool() as made:
        shared[:] = [made]
        list(made.map(time.sleep, [0.1, 0.1]))  # both are there before the first test looks at what there is
        yield made
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # a process that multiprocessing leaves


@pytest.fixture
def runner(pool: Futures) -> Iterator[DefaultRunner]:
    with DefaultRunner(executor=pool) as made:
        yield made


class TestElsewhere(Conformance):
    def executor(self, functions: Mapping[int, Any]) -> Futures:
        return shared[0]


def one_task(function: Any, **options: Any) -> WorkflowBuilder:
    """A workflow of that task."""
    with WorkflowBuilder("elsewhere") as builder:
        task(id="only", **options)(function)
    return builder


def test_what_is_large_of_a_function_travels_with_it(runner: DefaultRunner) -> None:
    data = bytearray(range(256)) * 1000
    assert list(runner.map(lambda place: data[place], [7, 300])) == [7, 44]


def test_tasks_run_in_those_processes(runner: DefaultRunner) -> None:
    assert "workers=2" in repr(runner)
    result = runner.execute(one_task(lambda context: context.set("pid", os.getpid())))
    assert result.final_context["pid"] not in (os.getpid(), None)


def test_the_answer_is_that_of_workers_of_ones_own(pool: Futures) -> None:
    with WorkflowBuilder("elsewhere", merge={"total": merge.sum}) as builder:

        @task()
        def split(context: Context) -> None:
            context.set("rows", list(range(20)))
            context.set("name", "x")

        @task(dependencies=[split], for_each="rows")
        def square(context: Context, row: int) -> None:
            context.set("square", row * row + (context.seed or 0) % 1000 + random.randrange(10))

        for n in range(3):

            @task(id=f"add {n}", dependencies=[square])
            def add(context: Context, n: int = n) -> None:
                context.set("total", context.get("total", 0) + sum(context["square"]) + n)
                context.set("name", "x")

        @task(dependencies=["add 0", "add 1", "add 2"])
        def tell(context: Context) -> None:
            context.set("told", (context["total"], sorted(context), context.outcome("add 1").status))

    def answer(executor: Any) -> object:
        with DefaultRunner(executor=executor, workers=2) as one:
            result = one.execute(builder, seed=7, raise_on_failure=True)
            return result.final_context.to_dict(), result.merges

    assert answer(pool) == answer("processes")


def test_map_runs_in_those_processes(runner: DefaultRunner) -> None:
    assert list(runner.map(lambda item: item**2, range(500))) == [n**2 for n in range(500)]
    got = list(runner.map(lambda item: 1 // item, [1, 0, 2], on_error="return"))
    assert [type(one) for one in got] == [int, ZeroDivisionError, int]


def test_large_values_travel_with_the_tasks(runner: DefaultRunner) -> None:
    result = runner.execute(
        one_task(lambda context: context.set("back", context["big"] + b"x")), {"big": b"y" * 3_000_000}
    )
    assert result.final_context["back"] == b"y" * 3_000_000 + b"x"


def test_a_failure_is_the_exception_itself(runner: DefaultRunner) -> None:
    def fail(_: Context) -> None:
        raise LookupError("not here")

    result = runner.execute(one_task(fail, retry_attempts=2))
    assert repr(result.tasks["only"].error) == "LookupError('not here')"
    assert result.tasks["only"].attempts == 2


def test_a_task_runs_no_workflow_on_workers(runner: DefaultRunner) -> None:
    def run(_: Context) -> None:
        with DefaultRunner(executor="processes") as inner:
            inner.execute("elsewhere")

    assert isinstance(runner.execute(one_task(run)).tasks["only"].error, NestedExecutionError)


def test_an_initializer_is_called_once_in_each_process(pool: Futures) -> None:
    def load() -> None:
        state.calls = getattr(state, "calls", 0) + 1

    with DefaultRunner(executor=pool, initializer=load) as runner:
        assert set(runner.map(lambda _: state.calls, range(100), chunksize=1)) == {1}


def test_what_the_program_has_set_in_its_modules_is_found(make_module: Callable[[str, str], ModuleType]) -> None:
    source = "RATE = 1\nPATH = None\ndef load(): assert PATH == 'here'\ndef f(x): return RATE * x"
    module: Any = make_module("cloaca_set", source)
    module.RATE, module.PATH = 3, "here"
    with DefaultRunner(workers=1, executor=new_pool, initializer=module.load) as runner:
        assert list(runner.map(module.f, [2])) == [6]
        assert list(runner.map(lambda name: vars(sys.modules[name])["RATE"], ["cloaca_set"])) == [1]


def test_an_initializer_that_raises_ends_the_run(pool: Futures) -> None:
    def load() -> None:
        raise LookupError("no model")

    with DefaultRunner(executor=pool, initializer=load) as runner:
        for _ in range(2):
            with pytest.raises(InitializerError, match=r"'test_an_initializer_that_raises.*load' raised LookupError"):
                runner.execute(one_task(lambda _: None))


def test_a_task_that_takes_too_long_is_told_as_that_while_its_process_goes_on(
    runner: DefaultRunner, tmp_path: Path
) -> None:
    goes_on = pipe(tmp_path / "goes on")
    result = runner.execute(one_task(lambda _: goes_on.read_text(), timeout=0.05))
    assert isinstance(result.tasks["only"].error, TaskTimeout)
    assert list(runner.map(abs, [-1])) == [1], "the other process runs"
    goes_on.write_text("")


def test_a_runner_that_ends_says_which_processes_go_on(pool: Futures, tmp_path: Path) -> None:
    started, goes_on = pipe(tmp_path / "started"), pipe(tmp_path / "goes on")

    def wait(_: Context) -> None:
        started.write_text("")
        goes_on.read_text()

    runner = DefaultRunner(executor=pool)
    runner.start(one_task(wait))
    started.read_text()
    with pytest.warns(UserWarning, match="processes still run 'only'"):
        runner.shutdown()
    goes_on.write_text("")


# ---- executors that break ------------------------------------------------------------------------------------------


def dying_once(path: Path) -> WorkflowBuilder:
    """A task whose process dies the first time, and one after it."""

    def die(context: Context) -> None:
        if not path.exists():
            path.touch()
            os._exit(3)
        context.set("n", 1)

    with WorkflowBuilder("dying") as builder:
        task(id="die", retry_attempts=2, retry_condition="transient", retry_delay_ms=0)(die)
        task(id="after", dependencies=["die"])(lambda context: context.set("m", context["n"] + 1))
    return builder


def test_one_that_a_function_makes_is_made_anew_when_a_process_has_died(tmp_path: Path) -> None:
    with DefaultRunner(executor=new_pool, workers=2) as runner:
        result = runner.execute(dying_once(tmp_path / "was here"), raise_on_failure=True)
    assert (result.final_context["m"], result.tasks["die"].attempts) == (2, 2)


def test_one_that_was_given_and_is_broken_ends_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    found = pytest.raises(WorkersUnavailableError, match=r"takes no more tasks: A .*process.* executor=lambda: ")
    with new_pool() as pool, DefaultRunner(executor=pool) as runner, found:
        runner.execute(dying_once(tmp_path / "was here"))


def test_a_death_costs_what_ran(tmp_path: Path) -> None:
    with DefaultRunner(executor=new_pool, workers=1) as runner:
        result = runner.execute(one_task(lambda _: os._exit(3)))
        assert isinstance(result.tasks["only"].error, WorkerDied)
        assert runner.execute(one_task(lambda context: context.set("n", 1))).final_context["n"] == 1


def test_what_is_made_ends_with_the_runner() -> None:
    """All of it, before the runner's end has come: a program that ends meanwhile would be told of it."""
    with DefaultRunner(executor=new_pool, workers=2) as runner:
        (pid,) = runner.map(lambda _: os.getpid(), [0])
    assert not Path(f"/proc/{pid}").exists()


class Ending(ThreadPoolExecutor):
    """Says how it was told to end."""

    told: ClassVar[list[bool]] = []
    may_end: ClassVar[Event]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as there
        self.told.append(wait)
        if wait:
            self.may_end.wait(PATIENCE)
        super().shutdown(wait=wait, cancel_futures=cancel_futures)


def test_the_end_of_what_is_made_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "ENDING_SECONDS", 0.01)
    Ending.told.clear()
    Ending.may_end = Event()
    with DefaultRunner(executor=Ending, workers=1) as runner:
        assert list(runner.map(abs, [-1])) == [1]
    assert Ending.told == [True]
    Ending.may_end.set()


class Unable(Futures):
    """Calls nothing."""

    def submit(self, function: Any, /, *args: Any, **more: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_exception(ModuleNotFoundError("No module named 'cloaca'"))
        return future


def test_one_that_can_not_call_functions_of_cloaca_is_named() -> None:
    with DefaultRunner(executor=Unable()) as runner:
        for run in (lambda: runner.execute(one_task(lambda _: None)), lambda: list(runner.map(abs, [-1]))):
            with pytest.raises(WorkersUnavailableError, match=r"an Unable, calls no functions .* named 'cloaca'"):
                run()


def test_a_function_that_makes_no_executor_is_named() -> None:
    with DefaultRunner(executor=dict) as runner, pytest.raises(TypeError, match="makes a dict, which has no `submit`"):  # type: ignore[arg-type]
        runner.execute(one_task(lambda _: None))


def test_one_that_can_not_be_made_anew_ends_the_run() -> None:
    made: list[Futures] = []

    def make() -> Futures:
        if made:
            raise OSError("no room")
        made.append(new_pool())
        return made[0]

    with DefaultRunner(executor=make, workers=1) as runner:
        runner.execute(one_task(lambda _: os._exit(3)))
        with pytest.raises(WorkersUnavailableError, match="and no new one does: OSError: no room"):
            runner.execute(one_task(lambda _: None))


def test_what_processes_of_others_can_not_promise_is_refused(pool: Futures) -> None:
    with pytest.raises(ValueError, match="memory_limit"):
        DefaultRunner(executor=pool, memory_limit=1 << 30)
    with pytest.raises(ValueError, match="whatever has `submit`"):
        DefaultRunner(executor=object())  # type: ignore[arg-type]


# ---- what is sent ----------------------------------------------------------------------------------------------------


class Recording(Futures):
    """Calls at once, with copies, as processes would; and keeps what it was handed."""

    def __init__(self) -> None:
        self.errands: list[Any] = []

    def submit(self, function: Any, /, *args: Any, **more: Any) -> Future[Any]:
        (errand,) = args
        self.errands.append(errand)
        future = Future[Any]()
        future.set_result(pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(errand))))))
        return future

    def sent(self) -> dict[str, set[str]]:
        """The keys that each task was sent."""
        return {errand.assignment.task: set(errand.assignment.slice.versions) for errand in self.errands[1:]}


def test_a_task_is_sent_what_it_may_look_at_as_far_as_its_code_tells() -> None:
    with WorkflowBuilder("slices") as builder:
        task(id="reads")(lambda context: context.set("x", context["a"]))
        task(id="sets", dependencies=["reads"])(lambda context: context.set("b", 2))
        task(id="asks", dependencies=["reads"], trigger_rules=context_value("c", "exists"))(lambda _: None)
        task(id="named", dependencies=["sets"])(lambda context: context.set("y", context[["a", "b"][0]]))
        task(id="counts", dependencies=["sets"])(lambda context: context.set("z", len(context)))
        task(id="split", dependencies=["sets"])(lambda context: context.set("rows", [context["x"], 2]))
        task(id="each", dependencies=["split"], for_each="rows")(
            lambda context, row: context.set("r", row + context["b"])
        )
    pool = Recording()
    with DefaultRunner(executor=pool, workers=1) as runner:
        result = runner.execute(builder, {"a": 1, "b": 2, "c": 3}, raise_on_failure=True)
    expected = {"y": 1, "z": 4, "r": [3, 4]}
    assert {key: result.final_context[key] for key in expected} == expected
    assert pool.sent() == {
        "reads": {"a"},
        "sets": {"b"},
        "asks": {"c"},
        "named": {"a", "b", "c", "x"},
        "counts": {"a", "b", "c", "x"},
        "split": {"x"},
        "each": {"b", "rows"},
        "each[0]": {"b"},
        "each[1]": {"b"},
    }
