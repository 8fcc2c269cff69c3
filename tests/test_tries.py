"""Each try of a task is told of, with what it failed with."""

import os
import pickle
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import cloaca
from cloaca.engine.ledger import MOST_TRIES
from cloaca.retry import RetryPolicy

Body = Callable[[cloaca.Context], Any]


def tried(times: int) -> RetryPolicy:
    return RetryPolicy(max_attempts=times, initial_delay=0.01, max_delay=0.01, with_jitter=False)


def nth_in(file: Path) -> int:
    """How often this was asked, in whatever process."""
    with file.open("a", encoding="utf-8") as counted:
        counted.write(".")
    return file.stat().st_size


def one_task(body: Body, retry: RetryPolicy) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("tried") as builder:
        cloaca.task(id="load", retry=retry)(body)
    return builder


def failing_until(last: int, file: Path) -> Body:
    def load(context: cloaca.Context) -> None:
        if (nth := nth_in(file)) < last:
            raise ConnectionError(f"no answer, {nth}")
        context["rows"] = nth

    return load


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_what_failed_before_is_told_of_what_ended_well(executor: Any, tmp_path: Path) -> None:
    with cloaca.DefaultRunner(executor=executor, workers=1) as runner:
        result = runner.execute(one_task(failing_until(3, tmp_path / "tries"), tried(5)))
    task = result.tasks["load"]
    assert (task.status, task.attempts, [one.nth for one in task.tries]) == ("Completed", 3, [1, 2, 3])
    assert [one.error_message for one in task.tries] == [
        "ConnectionError: no answer, 1",
        "ConnectionError: no answer, 2",
        None,
    ]
    assert [type(one.error) for one in task.tries] == [ConnectionError, ConnectionError, type(None)]
    assert [one.delay for one in task.tries] == [0.01, 0.01, None]
    (worker,) = {one.worker for one in task.tries}
    assert worker is not None
    assert (worker > 0) is (executor == "processes")
    assert task.tries[-1].usage == task.usage


def test_the_tries_of_a_task_come_one_after_the_other(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(one_task(failing_until(3, tmp_path / "tries"), tried(5)))
    times = [time for one in result.tasks["load"].tries for time in (one.start_time, one.end_time)]
    told = [datetime.fromisoformat(time) for time in times if time is not None]
    assert len(told) == 6
    assert told == sorted(told)
    assert all((then - before).total_seconds() >= 0.009 for before, then in ((told[1], told[2]), (told[3], told[4])))


def test_the_last_try_has_the_error_of_its_task(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(one_task(failing_until(9, tmp_path / "tries"), tried(2)))
    task = pickle.loads(pickle.dumps(result)).tasks["load"]
    assert [str(one.error) for one in task.tries] == ["no answer, 1", "no answer, 2"]
    assert task.tries[-1].error is task.error
    assert repr(task.tries[0]) == "Try('load', 1, error='ConnectionError: no answer, 1')"


def test_the_latest_tries_are_kept(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(one_task(failing_until(99, tmp_path / "tries"), tried(MOST_TRIES + 5)))
    task = result.tasks["load"]
    assert task.attempts == MOST_TRIES + 5
    assert [one.nth for one in task.tries] == list(range(5, MOST_TRIES + 6))


def test_a_worker_that_died_is_a_try_with_times(tmp_path: Path) -> None:
    def load(_context: cloaca.Context) -> None:
        if nth_in(tmp_path / "tries") == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with cloaca.DefaultRunner(workers=1) as runner:
        result = runner.execute(one_task(load, tried(3)))
    died, well = result.tasks["load"].tries
    assert (type(died.error), well.error) == (cloaca.WorkerDied, None)
    assert died.usage is None
    assert died.worker
    assert died.end_time is not None
    assert well.start_time is not None
    assert died.end_time < well.start_time
    assert "killed by SIGKILL" in (died.error_message or "")


def test_an_instance_has_tries_of_its_own(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("mapped") as builder:

        @cloaca.task(for_each="rows", retry=tried(3))
        def process(context: cloaca.Context, row: int) -> None:
            if row and nth_in(tmp_path / "tries") < 3:
                raise ConnectionError(f"row {row}")
            context["double"] = 2 * row

    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(builder, {"rows": [0, 1]})
    tries: Mapping[str, int] = {id: len(task.tries) for id, task in result.tasks.items()}
    assert tries == {"process": 1, "process[0]": 1, "process[1]": 3}


def test_what_never_began_has_none() -> None:
    with cloaca.WorkflowBuilder("broken") as builder:

        @cloaca.task()
        def load(_context: cloaca.Context) -> None:
            raise ValueError("no rows")

        @cloaca.task(dependencies=[load])
        def report(_context: cloaca.Context) -> None:
            """Never begins."""

    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(builder)
    assert [len(result.tasks[id].tries) for id in ("load", "report")] == [1, 0]


def test_tries_of_an_execution_that_was_gone_on_with_stand_beside_its_own(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'runs.db'}"
    with cloaca.DefaultRunner(database, executor="serial") as runner:
        left = runner.execute(one_task(failing_until(9, tmp_path / "tries"), tried(3)))
        result = runner.resume(left.execution_id, one_task(failing_until(4, tmp_path / "tries"), tried(3)))
        assert result.status == "Completed"
        tries = result.tasks["load"].tries
    assert [(one.nth, one.error_message) for one in tries] == [
        (1, "ConnectionError: no answer, 1"),
        (2, "ConnectionError: no answer, 2"),
        (3, None),
    ]
    assert [one.delay for one in tries] == [None, None, None]
    ended = [one.end_time for one in tries]
    assert all(ended)
    assert ended == sorted(map(str, ended))


def test_what_was_taken_over_has_no_tries(tmp_path: Path) -> None:
    workflow = one_task(failing_until(2, tmp_path / "tries"), tried(3)).build()
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path / 'runs.db'}", executor="serial") as runner:
        runner.execute(workflow)
        result = runner.execute(workflow, reuse=True)
    assert result.tasks["load"].reused
    assert (result.tasks["load"].attempts, result.tasks["load"].tries) == (2, ())


def test_of_a_try_that_was_cut_off_it_is_known_when_it_ran() -> None:
    with cloaca.WorkflowBuilder("cut") as builder:
        cloaca.task(id="slow", timeout=0.05)(lambda context: signal.pause())
        cloaca.task(id="dies")(lambda context: os.kill(os.getpid(), signal.SIGKILL))

    with cloaca.DefaultRunner(workers=1, grace_seconds=0) as runner:
        result = runner.execute(builder)
    slow, dies = result.tasks["slow"], result.tasks["dies"]
    assert slow.duration is not None
    assert slow.duration >= 0.05
    assert dies.start_time is not None
    assert dies.end_time is not None
    assert dies.start_time < dies.end_time
    assert (slow.usage, slow.cpu_seconds, slow.tries[-1].duration) == (None, None, slow.duration)
