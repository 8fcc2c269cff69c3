"""`DefaultRunner(initializer=...)` and `cloaca.worker_state`: once in each worker, before its first task."""

import copy
import functools
import logging
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from tests.support import Program, pipe, run

import cloaca
from cloaca import CaptureError, Context, DefaultRunner, InitializerError, WorkersUnavailableError, worker_state
from cloaca.attempts.initializer import name_of
from cloaca.errors import RemoteTraceback

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

Make = Callable[..., DefaultRunner]
MB = 1_000_000


@pytest.fixture(params=["processes", "serial"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes runners of one executor, which end with the test."""
    made: list[DefaultRunner] = []

    def maker(initializer: Callable[[], object] | None = None, **options: Any) -> DefaultRunner:
        made.append(DefaultRunner(executor=request.param, initializer=initializer, **{"workers": 1, **options}))
        return made[-1]

    yield maker
    for runner in made:
        runner.shutdown()


def workflow(*functions: Callable[[Context], Any]) -> str:
    with cloaca.WorkflowBuilder("equipped", check="off"):
        for number, function in enumerate(functions):
            cloaca.task(id=f"t{number}")(function)
    return "equipped"


def counting(folder: Path) -> Callable[[], None]:
    """An initializer that leaves a file behind at each call."""

    def load() -> None:
        number = len(list(folder.iterdir()))
        (folder / f"{os.getpid()} {number}").touch()
        worker_state.pid = os.getpid()

    return load


def tell_state(context: Context) -> None:
    context.set("is mine", cloaca.worker_state.pid == os.getpid())


# ---- what tasks find -----------------------------------------------------------------------------------------------


def test_it_is_called_once_and_tasks_and_map_find_what_it_set(make: Make, tmp_path: Path) -> None:
    runner = make(counting(tmp_path))
    for _ in range(2):
        result = runner.execute(workflow(tell_state, tell_state))
        assert (result.status, result.final_context.to_dict()) == ("Completed", {"is mine": True})
    assert list(runner.map(lambda _: worker_state.pid == os.getpid(), range(3))) == [True] * 3
    assert len(list(tmp_path.iterdir())) == 1


def test_a_map_alone_is_enough(make: Make, tmp_path: Path) -> None:
    assert list(make(counting(tmp_path)).map(lambda _: worker_state.pid == os.getpid(), range(3))) == [True] * 3


def test_nothing_is_called_before_something_runs(make: Make, tmp_path: Path) -> None:
    make(counting(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_takes_the_place_of_a_dead_one_is_initialized_too(tmp_path: Path) -> None:
    def die_once(context: Context) -> None:
        if worker_state.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        context.set("number", worker_state.number)

    def load() -> None:
        worker_state.number = len(list(tmp_path.iterdir())) + 1
        (tmp_path / str(worker_state.number)).touch()

    with cloaca.WorkflowBuilder("dying"):
        cloaca.task(id="t", retry_attempts=2, retry_delay_ms=0)(die_once)
    with DefaultRunner(workers=1, initializer=load) as runner:
        assert runner.execute("dying").final_context["number"] == 2


def test_workers_are_initialized_side_by_side_and_a_task_waits_for_its_own_alone(tmp_path: Path) -> None:
    """The worker that is second never gets through, until the task has run on the first one."""
    gate = pipe(tmp_path / "gate")

    def load() -> None:
        try:
            (tmp_path / "first").mkdir()
        except FileExistsError:
            gate.read_text()

    def go(context: Context) -> None:
        context.set("ran", True)

    with DefaultRunner(workers=2, initializer=load) as runner:
        assert runner.execute(workflow(go, go)).final_context.to_dict() == {"ran": True}


def test_functions_of_the_program_closures_and_partials_will_do(make: Make) -> None:
    def load(*, of: dict[str, int]) -> None:
        worker_state.table = {**table, **of}

    table = {"a": 1}
    runner = make(functools.partial(load, of={"b": 2}))
    assert list(runner.map(lambda key: worker_state.table[key], "ab")) == [1, 2]


def test_every_worker_draws_the_same_whatever_the_seed(make: Make) -> None:
    def load() -> None:
        import random

        worker_state.drawn = random.random()

    drawn = {
        next(make(load, workers=workers).map(lambda _: worker_state.drawn, [0], seed=seed))
        for workers, seed in [(1, 1), (2, 2)]
    }
    assert len(drawn) == 1


def test_it_runs_where_the_program_is(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        worker_state.seen = (str(Path.cwd()), os.environ["OF_THE_PROGRAM"], sys.path[0])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_PROGRAM", "x")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(make(load).map(lambda _: worker_state.seen, [0])) == [(str(tmp_path), "x", str(tmp_path))]


def test_what_it_prints_logs_and_warns_of_reaches_the_program(
    make: Make, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> None:
        print("loading")
        logging.getLogger("models").warning("is old")
        warnings.warn("is large", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(make(load).map(abs, [-1])) == [1]
    assert capsys.readouterr().out == "loading\n"
    assert caplog.record_tuples == [("models", logging.WARNING, "is old")]
    assert [str(warning.message) for warning in caught] == ["is large"]


def test_what_it_returns_is_of_no_interest(make: Make) -> None:
    assert list(make(threading.Lock).map(abs, [-1])) == [1]


# ---- worker_state --------------------------------------------------------------------------------------------------


def test_an_attribute_that_nobody_set_says_who_should(make: Make) -> None:
    def load() -> None:
        worker_state.tokens = 1

    def read(_: Context) -> None:
        worker_state.model  # noqa: B018 - it raises

    error = make(load).execute(workflow(read)).tasks["t0"].error
    assert isinstance(error, AttributeError)
    assert "no attribute 'model' (it has 'tokens')" in str(error)
    assert "cloaca.worker_state.model = " in str(error)
    error = make().execute(workflow(read)).tasks["t0"].error
    assert isinstance(error, AttributeError)
    assert "(it has none)" in str(error)


def test_it_is_a_plain_namespace_outside_of_workers() -> None:
    worker_state.model = 5
    try:
        assert worker_state.model == 5
        assert "model" in dir(worker_state)
        assert "model" in repr(worker_state)
        assert hasattr(worker_state, "model")
    finally:
        del worker_state.model
    assert not hasattr(worker_state, "model")
    with pytest.raises(AttributeError, match="model"):
        del worker_state.model


def test_wherever_it_travels_it_is_that_of_the_process() -> None:
    for copied in (pickle.loads(pickle.dumps(worker_state)), copy.copy(worker_state), copy.deepcopy(worker_state)):
        assert copied is worker_state


def test_serial_runners_in_one_program_do_not_share_it() -> None:
    def load(name: str) -> None:
        worker_state.name = name

    def name_in_a_thread(_: object) -> str:
        names: list[str] = []
        thread = threading.Thread(target=lambda: names.append(worker_state.name))
        thread.start()
        thread.join()
        return f"{worker_state.name} {names[0]}"

    one, other = (DefaultRunner(executor="serial", initializer=functools.partial(load, name)) for name in "ab")
    for _ in range(2):
        assert list(one.map(name_in_a_thread, [0])) == ["a a"]
        assert list(other.map(name_in_a_thread, [0])) == ["b b"]
    assert not hasattr(worker_state, "name")


def test_threads_that_execute_at_once_on_a_serial_runner_find_it_ready(tmp_path: Path) -> None:
    runner = DefaultRunner(executor="serial", initializer=counting(tmp_path))
    results: list[list[bool]] = []

    def go() -> None:
        results.append(list(runner.map(lambda _: worker_state.pid == os.getpid(), range(20))))

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[True] * 20] * 4
    assert len(list(tmp_path.iterdir())) == 1


# ---- when it fails -------------------------------------------------------------------------------------------------


def fail_to_load() -> None:
    print("about to fail")
    raise FileNotFoundError("no model")


@pytest.mark.parametrize("workers", [1, 3])
def test_one_that_raises_ends_the_execution_and_says_so(
    make: Make, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = make(fail_to_load, workers=workers)
    for _ in range(2):
        execution = runner.start(workflow(tell_state, tell_state, tell_state))
        with pytest.raises(InitializerError, match="'fail_to_load' raised FileNotFoundError: no model") as caught:
            execution.result()
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert 'raise FileNotFoundError("no model")' in str(caught.value.__cause__)
        assert caught.value.initializer == "fail_to_load"
        assert "about to fail\n" in capsys.readouterr().out
    with pytest.raises(InitializerError):
        list(runner.map(abs, [1]))


def test_after_it_failed_the_next_execution_tries_anew(make: Make, tmp_path: Path) -> None:
    def load() -> None:
        worker_state.text = (tmp_path / "model").read_text()

    runner = make(load, workers=2)
    with pytest.raises(InitializerError, match="FileNotFoundError"):
        list(runner.map(abs, [1]))
    (tmp_path / "model").write_text("here")
    assert list(runner.map(lambda _: worker_state.text, range(3))) == ["here"] * 3


def test_sys_exit_is_a_failure_like_any_other(make: Make) -> None:
    with pytest.raises(InitializerError, match="raised SystemExit: 3"):
        list(make(functools.partial(sys.exit, 3)).map(abs, [1]))


def test_it_cannot_run_a_workflow_on_workers(make: Make) -> None:
    def load() -> None:
        DefaultRunner(executor="processes").execute(workflow(tell_state))

    with pytest.raises(InitializerError, match="NestedExecutionError"):
        list(make(load).map(abs, [1]))


@pytest.mark.parametrize(("how", "said"), [(lambda: os._exit(3), "exit code 3"), (os.abort, "killed by SIGABRT")])
def test_one_that_ends_its_process_is_given_up_after_a_few(how: Callable[[], None], said: str) -> None:
    def load() -> None:
        how()

    with DefaultRunner(workers=2, initializer=load) as runner:
        for _ in range(2):
            with pytest.raises(WorkersUnavailableError, match=said) as caught:
                runner.execute(workflow(tell_state))
            assert "the runner's initializer 'test_one_that" in str(caught.value)
            assert not isinstance(caught.value, InitializerError)


def hanging(at: Path) -> Callable[[], None]:
    def load() -> None:
        at.write_text(str(os.getpid()))
        threading.Event().wait()

    return load


def test_one_that_hangs_can_be_cancelled(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")
    with DefaultRunner(workers=1, initializer=hanging(gate)) as runner:
        execution = runner.start(workflow(tell_state))
        pid = int(gate.read_text())
        execution.cancel()
        assert execution.result().status == "Cancelled"
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid), "with the runner it goes"


def test_one_that_hangs_keeps_to_the_time_of_the_workflow(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")
    with DefaultRunner(workers=1, initializer=hanging(gate), workflow_timeout_seconds=0.3) as runner:
        assert runner.start(workflow(tell_state)).result().status == "Failed"


def test_ctrl_c_ends_a_program_whose_initializer_hangs(tmp_path: Path) -> None:
    script = """
import signal, threading
import cloaca

signal.signal(signal.SIGINT, signal.default_int_handler)

def load():
    print("loading", flush=True)
    threading.Event().wait()

with cloaca.WorkflowBuilder("hanging"):
    cloaca.task(id="t")(lambda context: None)
with cloaca.DefaultRunner(workers=2, initializer=load) as runner:
    runner.execute("hanging")
"""
    with Program(script, tmp_path) as program:
        assert program.line() == "loading"
        program.send(signal.SIGINT)
        code, _, errors = program.end()
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in errors


def test_one_that_cannot_be_sent_is_told_before_anything_runs(tmp_path: Path) -> None:
    lock = threading.Lock()

    def load() -> None:
        lock.acquire()

    with DefaultRunner(workers=1, initializer=load) as runner, pytest.raises(CaptureError) as caught:
        runner.execute(workflow(tell_state))
    assert "'test_one_that_cannot_be_sent_is_told_before_anything_runs.<locals>.load'" in str(caught.value)
    assert (caught.value.variable, caught.value.task) == ("lock", None)


async def coroutine() -> None: ...


@pytest.mark.parametrize("wrong", [5, "load", lambda model: model, coroutine, lambda: (yield 1), str.upper])
def test_what_can_not_be_called_without_arguments_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ValueError, match="initializer is a function that can be called without arguments"):
        DefaultRunner(initializer=wrong)


def test_names() -> None:
    assert name_of(functools.partial(functools.partial(fail_to_load))) == "fail_to_load"
    assert name_of(threading.Lock()) == "lock"


# ---- memory --------------------------------------------------------------------------------------------------------


def hold(size: int) -> None:
    worker_state.model = bytearray(b"x") * size


def test_what_an_initializer_holds_makes_no_worker_be_replaced(tmp_path: Path) -> None:
    """It is more than half of the share, and is looked at while a task runs."""

    def stay(context: Context) -> None:
        deadline = time.monotonic() + 0.35
        while time.monotonic() < deadline:
            sum(range(1000))
        context.set("pid", os.getpid())

    with DefaultRunner(workers=1, initializer=functools.partial(hold, 100 * MB), memory_limit=150 * MB) as runner:
        pids = {runner.execute(workflow(stay)).final_context["pid"] for _ in range(3)}
    assert len(pids) == 1


def test_an_initializer_that_leaves_more_than_the_limit_is_an_error_not_a_loop() -> None:
    load = functools.partial(hold, 120 * MB)
    with DefaultRunner(workers=2, initializer=load, memory_limit=100 * MB) as runner:
        for _ in range(2):
            with pytest.raises(InitializerError, match=r"'hold' left a worker with .* over the memory_limit"):
                runner.execute(workflow(tell_state))


def test_a_script_s_own_functions_serve(tmp_path: Path) -> None:
    script = """
import cloaca

FACTOR = 3

def load():
    cloaca.worker_state.factor = FACTOR

with cloaca.DefaultRunner(workers=1, initializer=load) as runner:
    print(list(runner.map(lambda n: n * cloaca.worker_state.factor, range(3))))
"""
    (tmp_path / "script.py").write_text(script)
    ended = run("script.py", cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("[0, 3, 6]\n", "")
