"""`task(limit=...)` and `DefaultRunner(limits=...)`, as programs use them, with both executors."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import cloaca
from cloaca import Context, DefaultRunner
from cloaca.engine.seats import Seats
from cloaca.running.gates import Gates
from cloaca.tasks.place import place_of

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@pytest.fixture(params=["processes", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=3, executor=request.param, limits={"db": 1, "two": 2}) as runner:
        yield runner


def alone(folder: Path) -> Callable[[Context], None]:
    """A task that counts who is in the folder with it, for as long as it takes to look a few times."""

    def look(context: Context) -> None:
        mine = folder / f"{os.getpid()}.{threading.get_ident()}"
        mine.touch()
        most = max(len(list(folder.iterdir())) for _ in range(50))
        mine.unlink()
        context.set("most", context.get("most", 0))
        if most > 1:
            raise RuntimeError(f"{most} were here at once")

    return look


def workflow(name: str, functions: dict[str, Callable[[Context], Any]], **options: Any) -> str:
    with cloaca.WorkflowBuilder(name, check="off"):
        for known_as, function in functions.items():
            cloaca.task(id=known_as, **options)(function)
    return name


def test_no_two_run_at_once_across_executions_and_threads(runner: DefaultRunner, tmp_path: Path) -> None:
    name = workflow("limited", {f"t{n}": alone(tmp_path) for n in range(8)}, limit="db")
    results: list[cloaca.WorkflowResult] = []
    threads = [threading.Thread(target=lambda: results.append(runner.execute(name))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(result.status, result.error_message) for result in results] == [("Completed", None)] * 3


def test_without_the_limit_that_would_be_seen(tmp_path: Path) -> None:
    """The measure itself: two tasks that wait for each other are in the folder at once."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    folder = tmp_path / "folder"
    folder.mkdir()

    def meet(mode: str) -> Callable[[Context], None]:
        def task(context: Context) -> None:
            (folder / mode).touch()
            gate.open(mode).close()
            context.set(mode, len(list(folder.iterdir())))

        return task

    name = workflow("meeting", {"one": meet("r"), "other": meet("w")}, limit="two")
    with DefaultRunner(workers=2, limits={"two": 2}) as runner:
        assert runner.execute(name).final_context.to_dict() == {"r": 2, "w": 2}


def test_a_limited_task_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The first holds the only seat until one without a limit, defined last, has run beside it."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def hold(_: Context) -> None:
        gate.read_text()

    def free(_: Context) -> None:
        gate.write_text("go")

    functions: dict[str, Callable[[Context], Any]] = {"hold": hold}
    functions |= {f"wait {n}": lambda _: None for n in range(5)}
    with cloaca.WorkflowBuilder("line"):
        for known_as, function in functions.items():
            cloaca.task(id=known_as, limit="db")(function)
        cloaca.task(id="free")(free)
    with DefaultRunner(workers=2, limits={"db": 1}) as runner:
        assert runner.execute("line").status == "Completed"


@pytest.mark.slow
def test_a_failed_lost_or_timed_out_attempt_frees_its_place(tmp_path: Path) -> None:
    def die(_: Context) -> None:
        os.abort()

    def hang(_: Context) -> None:
        threading.Event().wait()

    def fail(_: Context) -> None:
        raise ConnectionError("once more")

    with cloaca.WorkflowBuilder("falling"):
        cloaca.task(id="die", limit="db", retry_attempts=2, retry_delay_ms=1)(die)
        cloaca.task(id="hang", limit="db", timeout=0.05)(hang)
        cloaca.task(id="fail", limit="db", retry_attempts=3, retry_delay_ms=1)(fail)
        cloaca.task(id="last", limit="db")(alone(tmp_path))
    with DefaultRunner(workers=2, limits={"db": 1}, grace_seconds=0) as runner:
        for _ in range(2):
            tasks = runner.execute("falling").tasks
            assert [(task.status, task.attempts) for task in tasks.values()] == [
                ("Failed", 2),
                ("Failed", 1),
                ("Failed", 3),
                ("Completed", 1),
            ]


def test_after_a_cancel_the_places_are_free(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def hang(_: Context) -> None:
        gate.write_text("started")
        threading.Event().wait()

    hanging = workflow("hanging", {f"t{n}": hang for n in range(3)}, limit="db")
    quick = workflow("quick", {f"t{n}": alone(tmp_path) for n in range(3)}, limit="db")
    with DefaultRunner(workers=2, limits={"db": 1}, grace_seconds=0) as runner:
        execution = runner.start(hanging)
        gate.read_text()
        execution.cancel()
        assert execution.result().status == "Cancelled"
        (tmp_path / "gate").unlink()
        assert runner.execute(quick).status == "Completed"


def test_who_is_interrupted_while_it_waits_for_a_limit_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the thread that calls does, with the serial executor, where Ctrl-C is pressed."""

    def strike(_: threading.Condition, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt(timeout)

    seats, share = Seats({"db": 2, "gpu": 1}), (("db", 2), ("gpu", 1))
    gates = Gates(seats)
    with gates.passed((("gpu", 1),)):
        monkeypatch.setattr(threading.Condition, "wait", strike)
        with pytest.raises(KeyboardInterrupt), gates.passed(share):
            pytest.fail("another one has it")
        assert not seats.line
        assert len(seats.taken) == 1
    with gates.passed(share) as slots:
        assert slots == {"db": ((0, 2),), "gpu": ((0, 1),)}
    assert not seats.taken


def test_what_would_wait_for_the_task_around_it_is_told_at_once() -> None:
    with cloaca.WorkflowBuilder("inner") as inner:
        cloaca.task(id="plain")(nothing)
        cloaca.task(id="one", limits={"db": 1})(nothing)
    with (
        DefaultRunner(executor="serial", limits={"db": 1, "gpu": 1}) as runner,
        DefaultRunner(executor="serial", limits={"db": 1}) as another,
    ):

        def told(call: Callable[[], object]) -> str:
            with pytest.raises(ValueError, match="inside a task that does so, too") as caught:
                call()
            return str(caught.value).partition(" takes of")[0]

        def around(context: Context) -> None:
            context.set(
                "told", [told(lambda: runner.execute(inner)), told(lambda: [*runner.map(len, "a", limit="db")])]
            )
            context.set("other", another.execute(inner).status)
            context.set("without", [*runner.map(len, ["a"])])

        with cloaca.WorkflowBuilder("outer", check="off") as outer:
            cloaca.task(id="around", limits={"gpu": 1})(around)
            cloaca.task(id="free")(lambda _: {"free": runner.execute(inner).status})
        context = runner.execute(outer, raise_on_failure=True).final_context
    assert context.to_dict() == {
        "told": ["Task 'one' of workflow 'inner'", "map(limit='db')"],
        "other": "Completed",
        "without": [1],
        "free": "Completed",
    }


def test_a_limit_that_the_runner_has_not_is_told_before_anything_runs(runner: DefaultRunner) -> None:
    name = workflow("unknown", {f"t{n}": lambda _: None for n in range(7)}, limit="gpu")
    with pytest.raises(
        ValueError,
        match=r"'t0' \(limit='gpu', .*test_named_limits\.py:\d+\), .* and 2 more\. It has 1 of 'db', 2 of 'two'\.",
    ) as caught:
        runner.execute(name)
    assert "DefaultRunner(limits={'db': 1, 'two': 2, 'gpu': 1})" in str(caught.value)
    with pytest.raises(ValueError, match="'gpu'"):
        runner.start(name)


def test_a_runner_without_limits_says_that_it_has_none() -> None:
    name = workflow("unknown", {"t": lambda _: None}, limit="gpu")
    with DefaultRunner(executor="serial") as runner, pytest.raises(ValueError, match="It has no limits"):
        runner.execute(name)


@pytest.mark.parametrize(
    "limits",
    [{"db": 0}, {"db": -1}, {"db": True}, {"db": 1.5}, {"db": None}, {"": 1}, {1: 1}, ["db"], "db", 3],
)
def test_limits_that_make_no_sense_are_refused_at_once(limits: Any) -> None:
    with pytest.raises(ValueError, match="limits"):
        DefaultRunner(limits=limits)


@pytest.mark.parametrize("limit", ["", 1, 2.5, ["db"], True])
def test_a_limit_of_a_task_is_a_name(limit: Any) -> None:
    with pytest.raises(ValueError, match=r"task\(limit="):
        cloaca.task(limit=limit)


@pytest.mark.parametrize(
    "limits", [{"gpu": 0}, {"gpu": -1}, {"gpu": True}, {"gpu": None}, {"": 1}, {1: 1}, ["gpu"], "db"]
)
def test_what_a_task_takes_of_limits_is_told_by_name(limits: Any) -> None:
    with pytest.raises(ValueError, match=r"task\(limits="):
        cloaca.task(limits=limits)


def test_parts_of_a_unit_are_counted_in_smaller_ones() -> None:
    said = "is a whole number, 1 or more, not 0.5: count in a smaller unit, as in memory_mb"
    with pytest.raises(ValueError, match=r"task\(limits=\{'memory_gb': \.\.\.\}\) " + said):
        cloaca.task(limits={"memory_gb": 0.5})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"limits\['memory_gb'\] " + said):
        DefaultRunner(limits={"memory_gb": 0.5})  # type: ignore[dict-item]


def test_either_the_short_form_or_the_long_one() -> None:
    with pytest.raises(ValueError, match=r"either limit= or limits=, not both: limit='db' is short for"):
        cloaca.task(limit="db", limits={"gpu": 1})


def nothing(_: Context) -> None:
    """Do nothing."""


def test_a_task_that_takes_more_than_there_is_is_told_before_anything_runs(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("greedy"):
        cloaca.task(id="fits", limits={"two": 2, "db": 1})(lambda _: None)
        cloaca.task(id="train", limits={"two": 3, "db": 1})(nothing)
    with pytest.raises(ValueError, match="it has too little for 'train'") as caught:
        runner.execute("greedy")
    place = place_of(nothing, os.getcwd())
    assert str(caught.value) == (
        "Workflow 'greedy' can't run on this runner: it has too little for 'train' "
        f"(limits={{'db': 1, 'two': 3}}, {place}). "
        "It has 1 of 'db', 2 of 'two'. Say how much there is: DefaultRunner(limits={'db': 1, 'two': 3})."
    )


def test_what_a_workflow_is_does_not_depend_on_limits() -> None:
    def versions(**options: Any) -> str:
        with cloaca.WorkflowBuilder("same") as builder:
            cloaca.task(id="t", **options)(len)
        workflow = builder.build()
        said = options.get("limits", dict.fromkeys(filter(None, [options.get("limit")]), 1))
        assert dict(workflow.tasks[0].limits) == said
        return workflow.version

    assert versions() == versions(limit="db") == versions(limits={"db": 1, "gpu": 2})
