"""Executions at hand: whether they have ended, what they look like, and how an event loop waits for them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import pipe, ready

import cloaca
from cloaca import Context, DefaultRunner, RunnerClosedError, WorkflowBuilder, WorkflowFailedError


@pytest.fixture(scope="module")
def runner() -> Iterator[DefaultRunner]:
    with ready(workers=1, executor="processes") as runner:
        yield runner


def workflow(function: Callable[[Context], Any], **options: Any) -> WorkflowBuilder:
    with WorkflowBuilder("one") as builder:
        cloaca.task(id="only", **options)(function)
    return builder


def behind(gate: Path) -> Callable[[Context], Any]:
    """A task that ends once the gate is written to."""
    return lambda context: context.set("word", gate.read_text())


def test_an_execution_tells_whether_it_has_ended(runner: DefaultRunner, tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")
    execution = runner.start(workflow(behind(gate)))
    assert (execution.done(), execution.status) == (False, "Running")
    assert repr(execution).startswith("Execution('one', 'Running', ")
    gate.write_text("go")
    result = execution.result()
    assert (execution.done(), execution.status) == (True, "Completed")
    assert repr(execution) == f"Execution('one', 'Completed', {result.duration:.3f} s)"


def test_an_execution_that_an_error_has_ended_says_so(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")
    with DefaultRunner(workers=1, executor="processes") as runner:
        execution = runner.start(workflow(behind(gate)))
        runner.shutdown()
        with pytest.raises(RunnerClosedError):
            execution.result()
    assert (execution.done(), execution.status) == (True, "Failed")
    assert "'RunnerClosedError: The runner was shut down" in repr(execution)


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_an_event_loop_waits_for_it_and_goes_on(executor: Any) -> None:
    threads: list[object] = []

    async def main() -> None:
        with DefaultRunner(workers=1, executor=executor) as runner:
            note = workflow(
                lambda context: context.set("x", 1), on_success=lambda *_: threads.append(asyncio.current_task())
            )
            first = runner.start(note)
            second = runner.start(workflow(lambda context: context.set("y", 2)))
            one, two, again = await asyncio.gather(first, second, first)
            assert one is again is first.result()
            assert (one.final_context["x"], two.final_context["y"]) == (1, 2)

    asyncio.run(main())
    assert len(threads) == 1, "callbacks are called, each once, in the loop's thread"


def test_what_awaits_raises_what_the_result_does(runner: DefaultRunner) -> None:
    async def main() -> None:
        await runner.start(workflow(lambda context: context["absent"]), raise_on_failure=True)

    with pytest.raises(WorkflowFailedError, match="absent"):
        asyncio.run(main())


def test_who_stops_waiting_leaves_it_running(runner: DefaultRunner, tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")
    execution = runner.start(workflow(behind(gate)))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(execution, 0.01)
        waiting = asyncio.ensure_future(execution)
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(main())
    assert not execution.done()
    gate.write_text("go")
    assert execution.result().final_context["word"] == "go"


def test_a_bell_of_a_loop_that_is_closed_is_silent() -> None:
    from cloaca.running.bell import Bell

    async def made() -> Bell:
        return Bell()

    asyncio.run(made()).put(None)
