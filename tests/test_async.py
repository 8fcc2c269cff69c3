"""Tasks that are `async def`: their loop, what they leave in it, and how they are ended."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from decimal import Decimal, getcontext
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from tests.support import PATIENCE, pipe, ready

import cloaca
from cloaca import Context, DefaultRunner, TaskTimeout, WorkflowResult
from cloaca.attempts.coroutines import _Beside, finish

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@pytest.fixture(scope="module", params=["processes", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with ready(workers=1, executor=request.param) as runner:
        yield runner


@pytest.fixture
def pool() -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=1, executor="processes") as runner:
        yield runner


def run(runner: DefaultRunner, *functions: Callable[..., Any], **options: Any) -> WorkflowResult:
    """Run these tasks one after the other, called by their names."""
    define(*functions, **options)
    return runner.execute("waiting", Context({"x": 3}))


def define(*functions: Callable[..., Any], **options: Any) -> None:
    with cloaca.WorkflowBuilder("waiting"):
        before: list[Callable[..., Any]] = []
        for function in functions:
            cloaca.task(dependencies=before, **options)(function)
            before = [function]


def noted_tries(folder: Path) -> int:
    """Note one more, and count them."""
    (folder / str(len(list(folder.iterdir())))).touch()
    return len(list(folder.iterdir()))


async def square(number: int) -> int:
    await asyncio.sleep(0)
    return number**2


# ---- what they do --------------------------------------------------------------------------------------------------


def test_coroutines_of_a_task_run_beside_each_other(runner: DefaultRunner) -> None:
    async def meet(context: Context) -> dict[str, Any]:
        gate = asyncio.Event()

        async def wait() -> str:
            await gate.wait()
            return "waited"

        async def open_it() -> str:
            gate.set()
            return "opened"

        return {"met": await asyncio.gather(wait(), open_it()), "squares": [await square(n) for n in range(4)]}

    found = run(runner, meet).final_context
    assert found.to_dict() == {"x": 3, "met": ["waited", "opened"], "squares": [0, 1, 4, 9]}


def test_they_may_start_processes_and_threads(runner: DefaultRunner) -> None:
    async def start(context: Context) -> None:
        process = await asyncio.create_subprocess_exec("echo", "hello", stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        context.set("said", said)
        context.set("worked", await asyncio.to_thread(sum, [1, 2]))

    async def program() -> WorkflowResult:
        return run(runner, start)

    for result in (run(runner, start), asyncio.run(program())):
        assert (result.error_message, result.final_context.get("said")) == (None, b"hello\n")
        assert result.final_context["worked"] == 3


def test_what_they_return_counts_as_of_any_task(runner: DefaultRunner) -> None:
    async def the_context(context: Context) -> Context:
        context.set("a", 1)
        return context

    async def nothing(context: Context) -> None:
        context.set("b", context["x"] + await square(2))

    async def number(context: Context) -> int:
        return 5

    result = run(runner, the_context, nothing, number)
    assert result.final_context.to_dict() == {"x": 3, "a": 1, "b": 7}
    assert "A task returns None, its context, or a mapping of updates, not int" in (result.error_message or "")


def test_keys_that_were_not_sent_are_found(runner: DefaultRunner) -> None:
    async def look(context: Context) -> None:
        context.set("found", [context["X".lower()], await asyncio.to_thread(context.get, "Z".lower(), "nothing")])

    assert run(runner, look).final_context["found"] == [3, "nothing"]


def test_errors_begin_in_the_program_s_code(runner: DefaultRunner) -> None:
    async def inner() -> None:
        raise ConnectionError("no line")

    async def fail(context: Context) -> None:
        await inner()

    error = run(runner, fail).tasks["fail"].error
    assert isinstance(error, ConnectionError)
    lines = str(error.__cause__).strip().splitlines()
    assert [line.rpartition(" in ")[2] for line in lines if line.startswith("  File")] == ["fail", "inner"]


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, KeyError])
def test_whatever_they_raise_fails_the_task(error: type[BaseException], runner: DefaultRunner) -> None:
    async def leave(context: Context) -> None:
        raise error("why")

    result = run(runner, leave)
    assert isinstance(result.tasks["leave"].error, error)


def test_ctrl_c_in_serial_is_meant_for_the_program() -> None:
    async def interrupt(context: Context) -> None:
        await square(2)
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt) as caught:
        run(DefaultRunner(executor="serial"), interrupt)
    assert caught.value.result.status == "Cancelled"  # type: ignore[attr-defined]


# ---- what they leave -----------------------------------------------------------------------------------------------


def test_what_is_left_in_the_loop_is_ended_in_order(runner: DefaultRunner, tmp_path: Path) -> None:
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            (tmp_path / "task").touch()

    async def numbers() -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            (tmp_path / "generator").touch()

    async def leave(context: Context) -> None:
        context.set("first", await anext(generator := numbers()))
        _forgotten.extend([generator, asyncio.create_task(hang())])
        await asyncio.sleep(0)

    def look(context: Context) -> None:
        context.set("ended", sorted(path.name for path in tmp_path.iterdir()))

    assert run(runner, leave, look).final_context["ended"] == ["generator", "task"]


_forgotten: list[Any] = []


def test_context_variables_end_with_the_attempt(runner: DefaultRunner) -> None:
    async def change(context: Context) -> None:
        variable = ContextVar("mine", default="as it was")
        variable.set("changed")
        getcontext().prec = 3
        context.set("inside", await asyncio.create_task(tell(variable)))

    async def tell(variable: "ContextVar[str]") -> tuple[str, str]:
        return variable.get(), str(Decimal(1) / 3)

    async def look(context: Context) -> None:
        context.set("after", str(Decimal(1) / 4096))

    found = run(runner, change, look).final_context
    assert found["inside"] == ("changed", "0.333")
    assert found["after"] == "0.000244140625"


def test_each_try_has_a_loop_of_its_own(runner: DefaultRunner, tmp_path: Path) -> None:
    async def third_time(context: Context) -> None:
        _forgotten.append(asyncio.get_running_loop())
        if noted_tries(tmp_path) < 3:
            raise ConnectionError
        loops = [loop for loop in _forgotten if isinstance(loop, asyncio.AbstractEventLoop)]
        context.set("closed", [loop.is_closed() for loop in loops])

    _forgotten.clear()
    result = run(runner, third_time, retry_attempts=3, retry_delay_ms=0)
    assert result.final_context["closed"] == [True, True, False]


def test_the_program_s_own_loop_is_left_alone() -> None:
    async def wait(context: Context) -> None:
        context.set("y", await square(2))

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert run(DefaultRunner(executor="serial"), wait).final_context["y"] == 4
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# ---- a program that is inside a loop -------------------------------------------------------------------------------


def test_a_program_may_be_inside_a_loop(runner: DefaultRunner) -> None:
    async def wait(context: Context) -> None:
        context.set("y", await square(context["x"]))

    def plain(context: Context) -> None:
        context.set("z", context["y"] + 1)

    async def fail(context: Context) -> None:
        raise ConnectionError("no line")

    async def program() -> WorkflowResult:
        return run(runner, wait, plain, fail)

    result = asyncio.run(program())
    assert result.final_context.to_dict() == {"x": 3, "y": 9, "z": 10}
    assert isinstance(result.tasks["fail"].error, ConnectionError)


def test_what_interrupts_a_program_inside_a_loop_cancels_the_task() -> None:
    """Where the task runs in a thread beside it. (`asyncio.run` handles the first Ctrl-C itself; other loops don't.)"""
    ended = []

    async def hang() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.append(threading.current_thread() is not threading.main_thread())

    async def program() -> None:
        finish(hang())

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(program())
    loop.close()
    assert ended == [True]


def test_a_cancel_counts_also_before_the_task_has_begun_and_after_its_end() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    beside = _Beside(hang())
    beside.cancel()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(beside.main())
    beside.cancel()


def test_they_cannot_run_a_workflow_of_their_own_on_workers(runner: DefaultRunner) -> None:
    async def nested(context: Context) -> None:
        DefaultRunner(executor="processes").execute("waiting")

    async def program() -> WorkflowResult:
        return run(runner, nested)

    for result in (run(runner, nested), asyncio.run(program())):
        assert (result.error_message or "").startswith("Task 'nested' failed: NestedExecutionError")


# ---- ends ----------------------------------------------------------------------------------------------------------


def test_a_time_limit_lets_them_clean_up(pool: DefaultRunner, tmp_path: Path) -> None:
    async def hang(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            (tmp_path / "clean").touch()

    result = run(pool, hang, timeout=0.2)
    assert isinstance(result.tasks["hang"].error, TaskTimeout)
    assert (tmp_path / "clean").exists()


@pytest.mark.slow
def test_those_that_do_not_want_to_end_are_killed(tmp_path: Path) -> None:
    async def stubborn(context: Context) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                (tmp_path / "asked").touch()

    with DefaultRunner(workers=1, executor="processes", grace_seconds=0.3) as runner:
        result = run(runner, stubborn, timeout=0.2)
    assert isinstance(result.tasks["stubborn"].error, TaskTimeout)
    assert (tmp_path / "asked").exists()


@pytest.mark.slow
def test_a_cancel_ends_them(pool: DefaultRunner, tmp_path: Path) -> None:
    started = pipe(tmp_path / "started")

    async def hang(context: Context) -> None:
        try:
            started.write_text("")
            await asyncio.Event().wait()
        finally:
            (tmp_path / "clean").touch()

    define(hang)
    execution = pool.start("waiting")
    started.read_text()
    execution.cancel()
    assert execution.result(PATIENCE).status == "Cancelled"
    assert (tmp_path / "clean").exists()


def test_a_worker_does_other_tasks_afterwards(pool: DefaultRunner) -> None:
    async def wait(context: Context) -> None:
        await square(1)

    def plain(context: Context) -> None:
        context.set("handler", signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    found = run(pool, plain, wait).final_context["handler"]
    assert run(pool, wait, plain).final_context["handler"] is found
