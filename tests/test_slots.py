"""`context.slots`: which units a try has, told to the task; no other one has them meanwhile."""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import cloaca
from cloaca import Context, DefaultRunner

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

LIMITS = {"gpu": 2, "memory_gb": 5}


@pytest.fixture(params=["processes", "threads", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=3, executor=request.param, limits=LIMITS) as runner:
        yield runner


def use(folder: Path, context: Context) -> None:
    """Mark the units as used for a while. That fails where another one does."""
    for name, units in context.slots.items():
        for unit in units:
            (folder / f"{name}{unit}").touch(exist_ok=False)
    for _ in range(20):
        os.listdir(folder)
    for name, units in context.slots.items():
        for unit in units:
            (folder / f"{name}{unit}").unlink()


def test_no_two_have_the_same_units_at_once_across_tasks_instances_tries_and_executions(
    runner: DefaultRunner, tmp_path: Path
) -> None:
    folder, flags = tmp_path / "used", tmp_path / "flags"
    folder.mkdir()
    flags.mkdir()

    def train(context: Context) -> None:
        use(folder, context)
        context.set("units", {name: len(units) for name, units in context.slots.items()})

    def each(context: Context, item: int) -> None:
        use(folder, context)
        flag = flags / f"{context['run']}.{item}"
        if item % 3 == 0 and not flag.exists():
            flag.touch()
            raise ConnectionError("once more")
        context.set("held", {name: len(units) for name, units in context.slots.items()})

    with cloaca.WorkflowBuilder("slots", check="off") as builder:
        for number in range(6):
            cloaca.task(id=f"t{number}", limits={"gpu": 1, "memory_gb": 1 + number % 4})(train)
        cloaca.task(id="each", for_each="items", limits={"memory_gb": 2}, retry_attempts=2, retry_delay_ms=0)(each)
    results: list[cloaca.WorkflowResult] = []

    def execute(run: int) -> None:
        results.append(runner.execute(builder.build(), {"items": list(range(10)), "run": run}))

    threads = [threading.Thread(target=execute, args=(run,)) for run in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(result.status, result.error_message) for result in results] == [("Completed", None)] * 3
    assert results[0].final_context["held"] == [{"memory_gb": 2}] * 10


@pytest.mark.parametrize("executor", ["processes", "threads", "serial"])
def test_alone_a_task_has_the_first_units(executor: Any) -> None:
    with cloaca.WorkflowBuilder("alone") as builder:
        cloaca.task(id="train", limits={"gpu": 1, "memory_gb": 3})(lambda context: {"slots": dict(context.slots)})
        cloaca.task(id="other", dependencies=["train"])(lambda context: {"none": dict(context.slots)})
    with DefaultRunner(workers=2, executor=executor, limits=LIMITS) as runner:
        context = runner.execute(builder).final_context
    assert context["slots"] == {"gpu": (0,), "memory_gb": (0, 1, 2)}
    assert context["none"] == {}


def test_executors_of_others_tell_them_too() -> None:
    with cloaca.WorkflowBuilder("others") as builder:
        cloaca.task(id="train", limits={"gpu": 2})(lambda context: {"slots": dict(context.slots)})
    with ThreadPoolExecutor(2) as threads, DefaultRunner(executor=threads, limits=LIMITS) as runner:
        assert runner.execute(builder).final_context["slots"] == {"gpu": (0, 1)}


def test_outside_a_task_there_are_none() -> None:
    assert dict(Context({"a": 1}).slots) == {}
    with pytest.raises(KeyError, match=r"has nothing of 'gpu': it takes some by task\(limits=\{'gpu': 1\}\)"):
        Context().slots["gpu"]
    assert Context().slots.get("gpu", (0,)) == (0,)


def test_an_attempt_on_record_stands_for_one_with_other_units(tmp_path: Path) -> None:
    def train(context: Context) -> None:
        context.set("model", len(context.slots["gpu"]))

    with cloaca.WorkflowBuilder("recorded") as builder:
        cloaca.task(id="train", limits={"gpu": 1})(train)
    runs = []
    for limits in ({"gpu": 1}, {"gpu": 9}):
        with DefaultRunner(f"sqlite:///{tmp_path}/store.db", workers=1, limits=limits) as runner:
            runs.append(runner.execute(builder, reuse=True))
    assert [run.tasks["train"].reused for run in runs] == [False, True]
    assert [run.final_context["model"] for run in runs] == [1, 1]


def test_the_check_knows_them() -> None:
    def train(context: Context) -> None:
        context.set("device", f"cuda:{context.slots['gpu'][0]}")

    with cloaca.WorkflowBuilder("checked", check="error") as builder:
        cloaca.task(id="train", limits={"gpu": 1})(train)
    assert builder.build().tasks[0].id == "train"
