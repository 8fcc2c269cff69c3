"""Task handles: waiting in a worker for what has no end of its own."""

import asyncio
import sys
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from tests.support import PATIENCE, pipe

import cloaca
from cloaca import Context, DefaultRunner, TaskHandle, TaskTimeout, WorkflowResult

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


def define(function: Callable[..., Any], **options: Any) -> str:
    with cloaca.WorkflowBuilder("handles"):
        cloaca.task(id="task", **options)(function)
    return "handles"


def run(runner: DefaultRunner, function: Callable[..., Any], **options: Any) -> WorkflowResult:
    return runner.execute(define(function, **options))


def counting(calls: list[int], until: int) -> Callable[[], bool]:
    def condition() -> bool:
        calls.append(len(calls))
        return len(calls) >= until

    return condition


# ---- waiting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [{"poll_interval_ms": 1}, {"poll_interval_ms": 0.5}], ids=str)
def test_a_task_waits_until_its_condition_is_true(runner: DefaultRunner, interval: dict[str, float]) -> None:
    def wait(context: Context, handle: TaskHandle) -> None:
        calls: list[int] = []
        handle.defer_until(counting(calls, 3), **interval)
        context.set("calls", len(calls))
        context.set("held", handle.is_slot_held())

    assert run(runner, wait).final_context.to_dict() == {"calls": 3, "held": True}


def test_the_condition_is_first_checked_after_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    course: list[Any] = []

    def asked() -> bool:
        course.append("asked")
        return course.count("asked") > 1

    monkeypatch.setattr("cloaca.tasks.handle.time.sleep", course.append)
    TaskHandle().defer_until(asked, 250)
    TaskHandle().defer_until(asked)
    assert course == [0.25, "asked", 0.25, "asked", 1.0, "asked"]


def test_anything_true_will_do(runner: DefaultRunner) -> None:
    def wait(context: Context, task_handle: TaskHandle) -> None:
        task_handle.defer_until(lambda: [0], 1)

    assert run(runner, wait).status == "Completed"


def test_a_handle_by_either_name_and_with_a_default(runner: DefaultRunner) -> None:
    def by_one(context: Context, handle: Any = None) -> None:
        context.set("by one", type(handle).__name__)

    def by_other(context: Context, task_handle: Any) -> None:
        context.set("by other", type(task_handle).__name__)

    with cloaca.WorkflowBuilder("names"):
        cloaca.task(by_one)
        cloaca.task(by_other)
    assert set(runner.execute("names").final_context.values()) == {"TaskHandle"}


def test_functions_of_one_kind_with_handles(runner: DefaultRunner) -> None:
    """They travel as a template and small values."""

    def waiting(number: int) -> Callable[..., None]:
        def wait(context: Context, handle: TaskHandle) -> None:
            context.set(f"n{number}", (number, handle.is_slot_held()))

        return wait

    with cloaca.WorkflowBuilder("kind"):
        for number in range(5):
            cloaca.task(id=str(number))(waiting(number))
    for _ in range(2):
        found = runner.execute("kind").final_context.to_dict()
        assert found == {f"n{number}": (number, True) for number in range(5)}


def test_an_exception_in_the_condition_fails_the_task(runner: DefaultRunner) -> None:
    def wait(context: Context, handle: TaskHandle) -> None:
        handle.defer_until(lambda: context["missing"], 1)

    result = run(runner, wait)
    assert isinstance(result.tasks["task"].error, KeyError)


@pytest.mark.parametrize("interval", [0, -1, nan, inf, True, "10", None])
def test_an_interval_that_makes_no_sense(interval: Any) -> None:
    with pytest.raises(
        ValueError, match=r"poll_interval_ms=\.\.\.\), in milliseconds, is a finite number above 0, not"
    ):
        TaskHandle().defer_until(lambda: True, interval)


@pytest.mark.parametrize("condition", [None, True, lambda context: True])
def test_a_condition_that_makes_no_sense(condition: Any) -> None:
    with pytest.raises(ValueError, match=r"condition=\.\.\.\) is a function that can be called with \(\)"):
        TaskHandle().defer_until(condition)


# ---- in async tasks ------------------------------------------------------------------------------------------------


def test_an_async_task_awaits_it_and_its_coroutines_go_on(runner: DefaultRunner) -> None:
    async def wait(context: Context, handle: TaskHandle) -> None:
        ready = asyncio.Event()

        async def make_ready() -> None:
            ready.set()

        await asyncio.gather(handle.defer_until(ready.is_set, 1), make_ready())
        context.set("ready", ready.is_set())

    assert run(runner, wait).final_context["ready"]


def test_an_async_task_may_await_the_condition(runner: DefaultRunner) -> None:
    async def wait(context: Context, handle: TaskHandle) -> None:
        calls: list[int] = []

        async def condition() -> bool:
            await asyncio.sleep(0)
            return counting(calls, 3)()

        await handle.defer_until(condition, 1)
        context.set("calls", len(calls))

    assert run(runner, wait).final_context["calls"] == 3


def test_forgetting_to_await_fails_the_task(runner: DefaultRunner) -> None:
    async def wait(context: Context, handle: TaskHandle) -> None:
        handle.defer_until(lambda: True)

    assert "write `await handle.defer_until(...)`" in (run(runner, wait).error_message or "")


def test_a_thread_of_an_async_task_waits_by_itself(runner: DefaultRunner) -> None:
    async def wait(context: Context, handle: TaskHandle) -> None:
        calls: list[int] = []
        await asyncio.to_thread(handle.defer_until, counting(calls, 2), 1)
        context.set("calls", len(calls))

    assert run(runner, wait).final_context["calls"] == 2


def test_a_plain_task_cannot_await_a_condition(runner: DefaultRunner) -> None:
    def wait(context: Context, handle: TaskHandle) -> None:
        async def condition() -> bool:
            return True

        handle.defer_until(condition, 1)

    assert "make the task an `async def`" in (run(runner, wait).error_message or "")


def test_a_plain_task_waits_also_where_its_program_is_in_a_loop(runner: DefaultRunner) -> None:
    def wait(context: Context, handle: TaskHandle) -> None:
        calls: list[int] = []
        handle.defer_until(counting(calls, 2), 1)
        context.set("calls", len(calls))

    async def program() -> WorkflowResult:
        return run(runner, wait)

    assert asyncio.run(program()).final_context["calls"] == 2


# ---- ends ----------------------------------------------------------------------------------------------------------

HOUR = 3_600_000


def waiting(context: Context, handle: TaskHandle) -> None:
    handle.defer_until(lambda: True, poll_interval_ms=HOUR)


async def awaiting(context: Context, handle: TaskHandle) -> None:
    await handle.defer_until(lambda: True, poll_interval_ms=HOUR)


both = pytest.mark.parametrize("function", [waiting, awaiting])


@both
def test_a_time_limit_ends_the_waiting(function: Callable[..., Any]) -> None:
    with DefaultRunner(workers=1, executor="processes", grace_seconds=PATIENCE) as runner:
        error = run(runner, function, timeout=0.2).tasks["task"].error
    assert isinstance(error, TaskTimeout)
    assert (error.seconds or HOUR) < PATIENCE, "it didn't take the grace to end it"


@both
def test_a_cancel_ends_the_waiting(function: Callable[..., Any], tmp_path: Path) -> None:
    started = pipe(tmp_path / "started")

    def begin(context: Context) -> None:
        started.write_text("")

    with DefaultRunner(workers=2, executor="processes", grace_seconds=10 * PATIENCE) as runner:
        with cloaca.WorkflowBuilder("handles"):
            cloaca.task(id="task")(function)
            cloaca.task(begin)
        execution = runner.start("handles")
        started.read_text()
        execution.cancel()
        assert execution.result(PATIENCE).status == "Cancelled"


def test_another_task_may_end_the_waiting(tmp_path: Path) -> None:
    """In another worker: its own is held meanwhile."""
    gate = tmp_path / "gate"

    def wait(context: Context, handle: TaskHandle) -> None:
        handle.defer_until(gate.exists, 1)

    with DefaultRunner(workers=2, executor="processes") as runner:
        with cloaca.WorkflowBuilder("two"):
            cloaca.task(id="wait")(wait)
            cloaca.task(id="open")(lambda context: gate.touch())
        assert runner.execute("two").status == "Completed"
