"""A task runs a workflow of its own in its process, as a library may that it calls; it draws the same anywhere."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import cloaca
from cloaca import DefaultRunner, NestedExecutionError

Executor = Literal["processes", "threads", "serial"]
EXECUTORS: tuple[Executor, ...] = ("processes", "threads", "serial")


def inner() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("inner") as builder:

        @cloaca.task()
        def draw(context: cloaca.Context) -> None:
            context["drawn"] = [random.random(), context.seed]

        @cloaca.task(dependencies=[draw], for_each="numbers")
        def double(context: cloaca.Context, number: int) -> None:
            context["doubled"] = [2 * number, random.random()]

    return builder


def values(numbers: list[int]) -> dict[str, Any]:
    with DefaultRunner(executor="serial") as runner:
        result = runner.execute(inner(), {"numbers": numbers})
    result.raise_for_status()
    return result.final_context.to_dict()


def outer(task: Callable[[cloaca.Context], Any]) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("outer") as builder:
        cloaca.task(id="only")(task)
    return builder


def ran(task: Callable[[cloaca.Context], Any], executor: Executor, **more: Any) -> dict[str, Any]:
    with DefaultRunner(executor=executor, workers=1) as runner:
        result = runner.execute(outer(task), seed=7, **more)
    result.raise_for_status()
    return result.final_context.to_dict()


def twice(context: cloaca.Context) -> None:
    before = random.random()
    context["found"] = [values([1, 2]), values([3])]
    context["own"] = [before, random.random()]


def without(context: cloaca.Context) -> None:
    context["own"] = [random.random(), random.random()]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_runs_a_workflow_in_its_own_process(executor: Executor) -> None:
    first, second = ran(twice, executor)["found"]
    assert [number for number, _ in first["doubled"]] == [2, 4]
    assert [number for number, _ in second["doubled"]] == [6]
    assert first["drawn"][1] != second["drawn"][1], "each has a seed of its own"


def test_what_is_drawn_inside_follows_from_the_seed_of_the_task() -> None:
    processes, serial, threads = (ran(twice, executor) for executor in ("processes", "serial", "threads"))
    assert processes == serial == ran(twice, "processes")
    seeds = [[one["drawn"][1] for one in found["found"]] for found in (processes, threads)]
    assert seeds[0] == seeds[1]


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_what_the_task_draws_goes_on_as_if_nothing_had_run_inside(executor: Executor) -> None:
    assert ran(twice, executor)["own"] == ran(without, executor)["own"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_deeper_and_by_map(executor: Executor) -> None:
    def task(context: cloaca.Context) -> None:
        def middle(inside: cloaca.Context) -> None:
            with DefaultRunner(executor="serial") as runner:
                inside["squares"] = list(runner.map(lambda number: number**2, range(4)))

        with DefaultRunner(executor="serial") as runner:
            context["squares"] = runner.execute(outer(middle)).final_context["squares"]

    assert ran(task, executor)["squares"] == [0, 1, 4, 9]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_with_workers_it_is_refused_with_the_way_out(executor: Executor) -> None:
    def task(_context: cloaca.Context) -> None:
        with DefaultRunner(workers=1, executor="processes") as runner:
            runner.execute(inner(), {"numbers": [1]})

    with DefaultRunner(executor=executor, workers=1) as runner:
        error = runner.execute(outer(task)).tasks["only"].error
    assert isinstance(error, NestedExecutionError)
    assert "DefaultRunner(executor='serial')" in str(error)


def again(_context: cloaca.Context) -> None:
    with DefaultRunner(executor="serial", raise_on_failure=True) as runner:
        runner.execute("outer")


async def again_awaited(context: cloaca.Context) -> None:
    again(context)


@pytest.mark.parametrize("task", [again, again_awaited])
def test_a_workflow_that_runs_itself_is_told(task: Callable[[cloaca.Context], Any]) -> None:
    with DefaultRunner(executor="serial") as runner:
        result = runner.execute(outer(task))
    assert "Does a task run the workflow that it belongs to?" in (result.error_message or "")


def test_a_failure_inside_is_one_of_the_task() -> None:
    def task(_context: cloaca.Context) -> None:
        def broken(_inside: cloaca.Context) -> None:
            raise ValueError("no rows")

        with DefaultRunner(executor="serial", raise_on_failure=True) as runner:
            runner.execute(outer(broken))

    with DefaultRunner(workers=1) as runner:
        result = runner.execute(outer(task))
    assert isinstance(result.tasks["only"].error, cloaca.WorkflowFailedError)
    assert "no rows" in (result.error_message or "")


def test_the_time_limit_of_the_task_ends_what_runs_inside(tmp_path: Path) -> None:
    def task(_context: cloaca.Context) -> None:
        def endless(_inside: cloaca.Context) -> None:
            time.sleep(1000)

        def after(_inside: cloaca.Context) -> None:
            (tmp_path / "went_on").touch()

        with cloaca.WorkflowBuilder("inside") as builder:
            cloaca.task(id="endless")(endless)
            cloaca.task(id="after", dependencies=["endless"], trigger_rule="all_done")(after)
        with DefaultRunner(executor="serial") as runner:
            runner.execute(builder)

    with cloaca.WorkflowBuilder("limited") as builder:
        cloaca.task(id="only", timeout=0.5)(task)
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(builder)
    assert isinstance(result.tasks["only"].error, cloaca.TaskTimeout)
    assert not (tmp_path / "went_on").exists()


def test_what_was_drawn_inside_counts_where_the_task_is_looked_for_again(tmp_path: Path) -> None:
    def task(context: cloaca.Context) -> None:
        context["seed"] = values([1])["drawn"][1]

    with DefaultRunner(f"sqlite:///{tmp_path / 'runs.db'}", executor="serial") as runner:
        workflow = outer(task).build()
        first = runner.execute(workflow, seed=1)
        other = runner.execute(workflow, seed=2, reuse=True)
        again = runner.execute(workflow, seed=2, reuse=True)
    assert [result.tasks["only"].reused for result in (first, other, again)] == [False, False, True]
    assert first.final_context["seed"] != other.final_context["seed"]


def test_progress_of_what_runs_inside_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLOACA_PROGRESS", "1")
    with DefaultRunner(workers=1, progress=False) as runner:
        runner.execute(outer(twice)).raise_for_status()
    assert "inner" not in "".join(capfd.readouterr())
