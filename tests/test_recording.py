"""Executions that are recorded: what a store has of them, how they are gone on with, and what can be looked at."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import PATIENCE, without_places

import cloaca
from cloaca import Context, DefaultRunner, StoreError, WorkflowResult
from cloaca.recording import recorder
from cloaca.store.sqlite import SqliteStore
from cloaca.workflows.workflow import Workflow

EXECUTORS = ["serial", "threads", "processes"]


@pytest.fixture(params=EXECUTORS)
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DefaultRunner]:
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=2, executor=request.param) as runner:
        yield runner


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DefaultRunner]:
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as runner:
        yield runner


class Marks:
    """What has run, as files tell it: processes that run tasks can't tell otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def leave(self, name: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write("x")

    def times(self, name: str) -> int:
        file = self.folder / name
        return len(file.read_text()) if file.exists() else 0

    def clear(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()

    def all(self) -> dict[str, int]:
        return {file.name: len(file.read_text()) for file in sorted(self.folder.iterdir())}


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks")


def yearly(marks: Marks, mended: Path) -> Workflow:
    """Tasks of each kind; one of them fails until there is that file."""
    with cloaca.WorkflowBuilder("yearly", merge={"log": cloaca.merge.concat}) as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            marks.leave("load")
            context.set("rows", [1, 2, 3, 4])
            context.set("large", bytes(range(256)) * 1000)

        @cloaca.task(dependencies=["load"], for_each="rows")
        def square(context: Context, row: int) -> None:
            marks.leave(f"square {row}")
            context.set("squares", row**2)

        @cloaca.task(dependencies=["load"])
        def draw(context: Context) -> None:
            marks.leave("draw")
            context.set("drawn", context.seed)
            context.set("log", ["draw"])

        @cloaca.task(dependencies=["load"])
        def clean(context: Context) -> None:
            marks.leave("clean")
            if not mended.exists():
                raise ValueError("no such column")
            context.set("log", ["clean"])

        @cloaca.task(dependencies=["square", "draw", "clean"], trigger_rule="all_success")
        def report(context: Context) -> None:
            marks.leave("report")
            context.set("report", [sum(context["squares"]), context["drawn"], context["log"], len(context["large"])])

    return builder.build()


# ---- resuming ------------------------------------------------------------------------------------------------------


def test_what_failed_and_all_behind_it_runs_again_and_nothing_else(
    runner: DefaultRunner, marks: Marks, tmp_path: Path
) -> None:
    workflow = yearly(marks, tmp_path / "mended")
    failed = runner.execute(workflow, {"year": 2026}, seed=5)
    assert (failed.status, failed.tasks["report"].status) == ("Failed", "Skipped")
    (tmp_path / "mended").touch()
    marks.clear()
    result = runner.resume(failed.execution_id)
    assert marks.all() == {"clean": 1, "report": 1}
    assert (result.status, result.execution_id, result.seed) == ("Completed", failed.execution_id, 5)
    undisturbed = runner.execute(workflow, {"year": 2026}, seed=5)
    assert result.final_context == undisturbed.final_context
    assert [*result.final_context] == [*undisturbed.final_context]
    assert {id: task.status for id, task in result.tasks.items()} == dict.fromkeys(undisturbed.tasks, "Completed")


def test_who_hears_of_a_failure_hears_how_to_go_on(
    own: DefaultRunner, marks: Marks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "cloaca"):
        id = own.execute(yearly(marks, tmp_path / "no")).execution_id
    assert caplog.messages[0].endswith(f"It is on record. Mend it, and go on by runner.resume({id!r})")


def test_what_completed_is_not_run_again_at_all(runner: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    (tmp_path / "mended").touch()
    done = runner.execute(yearly(marks, tmp_path / "mended"))
    marks.clear()
    again = runner.resume(done.execution_id)
    assert marks.all() == {}
    assert again.final_context == done.final_context


def test_another_program_resumes_it(marks: Marks, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with DefaultRunner(url, executor="serial") as first:
        failed = first.execute(yearly(marks, tmp_path / "mended"))
    (tmp_path / "mended").touch()
    with DefaultRunner(url, workers=2) as second:
        result = second.resume(failed.execution_id, yearly(marks, tmp_path / "mended"))
    assert result.status == "Completed"
    assert marks.times("load") == 1


def test_a_task_that_completed_behind_a_failure_sees_how_that_ends_now(own: DefaultRunner, tmp_path: Path) -> None:
    def shaky(context: Context) -> None:
        if not (tmp_path / "mended").exists():
            raise ValueError("no")

    with cloaca.WorkflowBuilder("tolerant") as builder:
        cloaca.task(shaky)
        cloaca.task(id="told", dependencies=["shaky"], trigger_rule="all_done")(
            lambda context: context.set("how", context.outcome("shaky").status)
        )
    failed = own.execute(builder)
    assert failed.final_context["how"] == "Failed"
    (tmp_path / "mended").touch()
    assert own.resume(failed.execution_id).final_context["how"] == "Completed"


def test_tries_that_failed_count_when_it_is_gone_on_with(own: DefaultRunner, tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("tries") as builder:

        @cloaca.task(retry_attempts=3, retry_delay_ms=0)
        def third_time_lucky(context: Context) -> None:
            with (tmp_path / "tries").open("a") as file:
                file.write("x")
            if len((tmp_path / "tries").read_text()) < 3:
                raise ValueError("no")
            context.set("seed", context.seed)

    done = own.execute(builder, seed=1)
    past = own.execution(done.execution_id)
    assert past.tasks["third_time_lucky"].attempts == 3
    assert own.resume(done.execution_id).tasks["third_time_lucky"].attempts == 3


def test_an_id_that_is_not_there_tells_the_near_ones(own: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    id = own.execute(yearly(marks, tmp_path / "no")).execution_id
    with pytest.raises(cloaca.UnknownExecutionError, match=id):
        own.resume(id[:-1] + "x")


@pytest.mark.parametrize("id", ["\udc80", "", 5, None])
def test_what_is_no_id_is_unknown(own: DefaultRunner, id: Any) -> None:
    with pytest.raises(cloaca.UnknownExecutionError, match="holds no execution"):
        own.resume(id)
    assert own.executions(workflow=id or "none") == []


def test_a_workflow_of_another_shape_is_refused_and_it_is_said_what_differs(own: DefaultRunner) -> None:
    def workflow(*tasks: tuple[str, list[str]]) -> Workflow:
        with cloaca.WorkflowBuilder("shapes") as builder:
            for id, dependencies in tasks:
                cloaca.task(id=id, dependencies=dependencies)(lambda context: None)
        return builder.build()

    id = own.execute(workflow(("a", []), ("b", []), ("c", ["a"]))).execution_id
    with pytest.raises(cloaca.ExecutionChangedError) as caught:
        own.resume(id, workflow(("a", []), ("c", ["d"]), ("d", [])))
    assert caught.value.findings == (
        "task 'd' is new",
        "task 'b' is gone",
        "task 'c' depends on ['d'], and depended on ['a']",
    )
    assert own.executions()[0].status == "Completed"


def test_a_workflow_that_is_gone_is_said_to_be(own: DefaultRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    with cloaca.WorkflowBuilder("here for now") as builder:
        cloaca.task(id="only")(lambda context: None)
    id = own.execute(builder).execution_id
    monkeypatch.setattr("cloaca.authoring.registry._entries", {})
    with pytest.raises(cloaca.UnknownWorkflowError, match="here for now"):
        own.resume(id)


def test_what_is_under_way_is_not_resumed(tmp_path: Path) -> None:
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=1) as runner:
        with cloaca.WorkflowBuilder("long") as builder:

            @cloaca.task()
            def waits(context: Context) -> None:
                while not (tmp_path / "go").exists():
                    pass

        execution = runner.start(builder)
        assert [past.status for past in runner.executions()] == ["Running"]
        with pytest.raises(cloaca.ExecutionClaimedError, match="is under way"):
            runner.resume(execution.id)
        (tmp_path / "go").touch()
        assert execution.result(PATIENCE).status == "Completed"


def test_what_was_cancelled_can_be_resumed(tmp_path: Path) -> None:
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=1) as runner:
        with cloaca.WorkflowBuilder("stopped") as builder:
            cloaca.task(id="first")(lambda context: context.set("first", 1))

            @cloaca.task(dependencies=["first"])
            def waits(context: Context) -> None:
                (tmp_path / "begun").touch()
                while not (tmp_path / "go").exists():
                    pass
                context.set("waited", context["first"] + 1)

        execution = runner.start(builder)
        while not (tmp_path / "begun").exists():
            pass
        execution.cancel()
        assert execution.result(PATIENCE).status == "Cancelled"
        (tmp_path / "go").touch()
        assert runner.resume(execution.id).final_context["waited"] == 2


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_what_is_interrupted_can_be_resumed_at_once(
    executor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LINGER_SECONDS", PATIENCE)  # it is waited for
    mended = tmp_path / "mended"

    with cloaca.WorkflowBuilder("interrupted") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context.set("rows", [1, 2])

        @cloaca.task(dependencies=[load])
        def report(context: Context) -> None:
            if not mended.exists():
                os.kill(program, signal.SIGINT)
                threading.Event().wait()
            context.set("total", sum(context["rows"]))

    program = os.getpid()
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor=executor) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.execute(builder)
        (past,) = runner.executions()
        assert (past.status, past.tasks["load"].status) == ("Cancelled", "Completed")
        mended.touch()
        result = runner.resume(past.id)
    assert (result.status, result.final_context["total"]) == ("Completed", 3)
    assert result.tasks["load"].reused


def test_a_runner_that_records_nothing_says_how_to_record(marks: Marks, tmp_path: Path) -> None:
    with DefaultRunner(executor="serial") as runner:
        id = runner.execute(yearly(marks, tmp_path / "no")).execution_id
        for asked in (lambda: runner.resume(id), runner.executions, lambda: runner.execution(id)):
            with pytest.raises(cloaca.StoreError, match=r"DefaultRunner\('sqlite:///runs.db'\)"):
                asked()


def test_a_task_whose_value_is_lost_is_run_again(runner: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    id = runner.execute(yearly(marks, tmp_path / "mended")).execution_id
    for file in (tmp_path / "runs.db.values").glob("*/*"):
        file.unlink()
    (tmp_path / "mended").touch()
    marks.clear()
    result = runner.resume(id, yearly(marks, tmp_path / "mended"))
    assert result.status == "Completed"
    assert marks.times("load") == 1
    assert result.final_context["report"][3] == 256_000


# ---- looking back --------------------------------------------------------------------------------------------------


def test_an_execution_is_looked_at_as_it_ended(runner: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    failed = runner.execute(yearly(marks, tmp_path / "no"), {"year": 2026})
    past = runner.execution(failed.execution_id)
    assert (past.workflow, past.status, past.seed) == ("yearly", "Failed", failed.seed)
    assert past.input == Context({"year": 2026})
    assert past.final_context == failed.final_context
    assert [*past.tasks] == [*failed.tasks]
    for id, task in failed.tasks.items():
        found = past.tasks[id]
        told = (task.status, task.attempts, task.error_message, task.reason, task.keys_read)
        assert (found.status, found.attempts, found.error_message, found.reason, found.keys_read) == told
        assert found.duration == pytest.approx(task.duration, abs=1e-5)
        if task.start_time is not None and found.start_time is not None:
            later = datetime.fromisoformat(found.start_time) - datetime.fromisoformat(task.start_time)
            assert abs(later) < timedelta(seconds=1)
    assert str(past.tasks["clean"].error) == "no such column"
    assert past.error_message == failed.error_message


def test_what_a_task_saw_and_left_can_be_looked_at(runner: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    (tmp_path / "mended").touch()
    past = runner.execution(runner.execute(yearly(marks, tmp_path / "mended"), {"year": 2026}).execution_id)
    assert past.before("load") == Context({"year": 2026})
    assert "report" not in past.before("report")
    assert past.before("report")["log"] == ["draw", "clean"]
    assert past.after("report")["report"][0] == 30
    assert past.after("square", 2)["squares"] == 9
    with pytest.raises(KeyError, match="has no task 'nobody'"):
        past.before("nobody")


def test_a_task_is_called_again_here_with_what_it_saw(runner: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    (tmp_path / "mended").touch()
    done = runner.execute(yearly(marks, tmp_path / "mended"))
    marks.clear()
    assert runner.replay(done.execution_id, "draw")["drawn"] == done.final_context["drawn"]
    assert runner.replay(done.execution_id, "square", 3)["squares"] == 16
    assert marks.all() == {"draw": 1, "square 4": 1}
    with pytest.raises(KeyError, match="no task 'drew'"):
        runner.replay(done.execution_id, "drew")


def test_the_error_of_a_dead_worker_names_no_place_later_as_none_is_on_record(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("dies") as builder:
        cloaca.task(id="dies")(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=1) as runner:
        result = runner.execute(builder)
        told = runner.execution(result.execution_id).error_message
    assert told == without_places(result.error_message)


def test_a_task_that_was_not_there_has_near_names(own: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    past = own.execution(own.execute(yearly(marks, tmp_path)).execution_id)
    with pytest.raises(KeyError, match=r"has no task 'laod'\. The nearest names are 'load'"):
        past.before("laod")


@pytest.mark.parametrize("put", [None, b"", b"another"])
def test_a_store_that_was_taken_away_is_missed(
    put: bytes | None, own: DefaultRunner, marks: Marks, tmp_path: Path
) -> None:
    store = tmp_path / "runs.db"
    own.execute(yearly(marks, tmp_path))
    store.rename(tmp_path / "aside.db")
    if put is not None:
        store.write_bytes(put)
    with pytest.raises(StoreError, match="was removed or replaced while it was open"):
        own.execute(yearly(marks, tmp_path))
    (tmp_path / "aside.db").rename(store)
    assert own.execute(yearly(marks, tmp_path)).status == "Completed"
    assert len(own.executions()) == 2


def test_nothing_is_forgotten_of_a_workflow_that_is_under_way(tmp_path: Path) -> None:
    pruned: list[int] = []

    def prunes(_: str, __: Context) -> None:
        with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as other:
            pruned.append(other.prune(keep=0))

    with cloaca.WorkflowBuilder("large") as builder:

        @cloaca.task()
        def make(context: Context) -> None:
            context.set("large", bytes(200_000))

        @cloaca.task(reuse=False, on_success=prunes)
        def first(context: Context) -> None:
            context.set("first", True)

        @cloaca.task(dependencies=[make, first], reuse=False)
        def reads(context: Context) -> None:
            context.set("size", len(context["large"]))

    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=1) as runner:
        for _ in range(2):
            result = runner.execute(builder, reuse=True)
        assert result.tasks["make"].reused
        assert pruned == [0, 0]
        assert [past.status for past in runner.executions()] == ["Completed", "Completed"]
        assert runner.prune(keep=0) > 200_000


def test_a_store_that_is_taken_away_while_tasks_run_is_missed_in_the_end(
    own: DefaultRunner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with cloaca.WorkflowBuilder("takes it away") as builder:
        cloaca.task(id="take")(lambda _: os.rename(tmp_path / "runs.db", tmp_path / "aside.db"))
    assert own.execute(builder).status == "Completed"
    assert "removed or replaced while it was open" in caplog.text


@pytest.mark.parametrize("value", ["yes", 1])
def test_reuse_is_said_by_true_or_false(value: Any, own: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reuse"):
        own.execute(yearly(marks, tmp_path), reuse=value)


def test_what_cannot_be_called_again_is_said(own: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    id = own.execute(yearly(marks, tmp_path)).execution_id
    with pytest.raises(ValueError, match=r"runs once for each item of 'rows'.*item=0"):
        own.replay(id, "square")
    with pytest.raises(KeyError, match=r"no task 'laod'\. The nearest names are 'load'"):
        own.replay(id, "laod")
    with pytest.raises(KeyError, match=r"no task 'zzz'\.\"$"):
        own.replay(id, "zzz")
    with pytest.raises(KeyError, match="no attempt of the instance of 'square' for item 9"):
        own.replay(id, "square", item=9)


def test_executions_are_listed_by_workflow_and_status(own: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("other") as builder:
        cloaca.task(id="only")(lambda context: None)
    failed, other = own.execute(yearly(marks, tmp_path / "no")), own.execute(builder)
    assert [past.id for past in own.executions()] == [other.execution_id, failed.execution_id]
    assert [past.id for past in own.executions(workflow="yearly")] == [failed.execution_id]
    assert [past.id for past in own.executions(status="Completed")] == [other.execution_id]
    with pytest.raises(ValueError, match="status"):
        own.executions(status="completed")


def test_results_outlive_what_was_recorded(runner: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    (tmp_path / "mended").touch()
    id = runner.execute(yearly(marks, tmp_path / "mended")).execution_id
    results = [runner.resume(id), runner.execute(yearly(marks, tmp_path / "mended"), reuse=True)]
    results.append(runner.execution(id).result)
    runner.prune(keep=0)
    assert [len(result.final_context["large"]) for result in results] == [256_000] * 3


def test_what_is_not_kept_is_forgotten(own: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    (tmp_path / "mended").touch()
    ids = [own.execute(yearly(marks, tmp_path / "mended")).execution_id for _ in range(3)]
    assert own.prune(older_than=timedelta(days=1)) == 0
    own.prune(keep=1)
    assert [past.id for past in own.executions()] == [ids[-1]]
    assert own.execution(ids[-1]).final_context["large"] == bytes(range(256)) * 1000
    assert own.prune(keep=0) > 256_000
    assert own.executions() == []
    with pytest.raises(ValueError, match="keep="):
        own.prune()


# ---- a store that can't be written to ------------------------------------------------------------------------------


class Full(SqliteStore):
    """Its disk is full."""

    def append(self, *_: Any) -> None:
        raise cloaca.StoreError("The disk is full.")


def small() -> Workflow:
    with cloaca.WorkflowBuilder("one") as builder:
        cloaca.task(id="only")(lambda context: context.set("x", 1))
    return builder.build()


def result_on_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any) -> WorkflowResult:
    monkeypatch.setattr("cloaca.store.sqlite.SqliteStore", Full)
    monkeypatch.setattr(recorder, "LINGER_SECONDS", 0.0)
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=1, durability=durability) as runner:
        return runner.execute(small())


def test_a_run_goes_on_without_its_store_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "cloaca"):
        result = result_on_full_disk(tmp_path, monkeypatch, "normal")
    assert result.status == "Completed"
    assert [record.getMessage() for record in caplog.records] == [
        "Workflow 'one': The disk is full. It goes on, and is not recorded from here on."
    ]


def test_what_could_not_be_recorded_to_its_end_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_on_full_disk(tmp_path, monkeypatch, "normal")
    monkeypatch.undo()
    with DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as runner:
        assert runner.execution(result.execution_id).status == "Interrupted"
        assert runner.resume(result.execution_id, small()).final_context == result.final_context


def test_where_all_has_to_be_recorded_a_store_that_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(cloaca.StoreError, match="The disk is full") as caught:
        result_on_full_disk(tmp_path, monkeypatch, "full")
    assert isinstance(caught.value.result, WorkflowResult)  # type: ignore[attr-defined]


# ---- reusing what other executions have left -----------------------------------------------------------------------


def analysis(marks: Marks, scale: int = 1, note: str = "") -> Workflow:
    with cloaca.WorkflowBuilder("analysis") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            marks.leave("load")
            context.set("rows", list(range(context["size"])))

        @cloaca.task(dependencies=["load"])
        def clean(context: Context) -> None:
            marks.leave("clean")
            context.set("clean", [row for row in context["rows"] if row % 2 == 0])

        @cloaca.task(dependencies=["clean"], for_each="clean")
        def square(context: Context, row: int) -> None:
            marks.leave(f"square {row}")
            context.set("squares", scale * row**2)

        @cloaca.task(dependencies=["square"])
        def report(context: Context) -> None:
            marks.leave("report")
            context.set("report", [sum(context["squares"]), note, context.seed])

    return builder.build()


def test_nothing_runs_again_of_what_has_not_changed(runner: DefaultRunner, marks: Marks) -> None:
    first = runner.execute(analysis(marks), {"size": 7}, reuse=True)
    assert {task.ran_because for task in first.tasks.values()} == {"never ran"}
    marks.clear()
    again = runner.execute(analysis(marks), {"size": 7}, reuse=True)
    assert marks.all() == {}
    assert again.final_context == first.final_context
    assert {(task.reused, task.reused_from, task.ran_because) for task in again.tasks.values()} == {
        (True, first.execution_id, None)
    }


def test_a_change_runs_what_it_reaches_and_stops_where_it_stops_mattering(runner: DefaultRunner, marks: Marks) -> None:
    runner.execute(analysis(marks), {"size": 7}, seed=3)
    marks.clear()
    result = runner.execute(analysis(marks), {"size": 8}, reuse=True)
    assert marks.all() == {"clean": 1, "load": 1}
    assert result.tasks["load"].ran_because == "key 'size' differs (given to the run)"
    assert result.tasks["clean"].ran_because == "key 'rows' differs (set by load)"
    fresh = runner.execute(analysis(marks), {"size": 8}, seed=3)
    assert result.final_context == fresh.final_context


def test_callbacks_tell_of_what_is_run_and_not_of_what_is_taken_over(runner: DefaultRunner) -> None:
    told: list[str] = []

    def note(name: str, _: Context) -> None:
        told.append(name)

    with cloaca.WorkflowBuilder("told", on_complete=lambda result: told.append(result.status)) as builder:

        @cloaca.task(on_success=note)
        def load(context: Context) -> None:
            context.set("total", sum(context["rows"]))

        @cloaca.task(for_each="rows", on_success=note)
        def square(context: Context, row: int) -> None:
            context.set("squares", row**2)

    runner.execute(builder, {"rows": [1]})
    assert sorted(told) == ["Completed", "load", "square[0]"]
    told.clear()
    runner.execute(builder, {"rows": [1, 2]}, reuse=True)
    assert sorted(told) == ["Completed", "load", "square[1]"]
    told.clear()
    runner.execute(builder, {"rows": [1, 2]}, reuse=True)
    assert told == ["Completed"]


def test_of_a_mapped_task_only_new_items_run(runner: DefaultRunner, marks: Marks) -> None:
    runner.execute(analysis(marks), {"size": 7})
    marks.clear()
    result = runner.execute(analysis(marks), {"size": 11}, reuse=True)
    assert marks.all() == {"clean": 1, "load": 1, "report": 1, "square 10": 1, "square 8": 1}
    assert result.tasks["square[4]"].ran_because == "its item is new"
    assert result.tasks["square[3]"].reused


def test_a_task_that_goes_item_by_item_is_taken_over_with_all_its_items(runner: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("follows") as builder:

        @cloaca.task(for_each="rows")
        def square(context: Context, row: int) -> None:
            context.set("squares", row**2)

        @cloaca.task(dependencies=[square], for_each="rows")
        def double(context: Context, _: int) -> None:
            context.set("doubles", 2 * context["squares"])

    def taken_over(rows: list[int]) -> list[str]:
        result = runner.execute(builder, {"rows": rows}, reuse=True)
        return [id for id in ("square", "double", "double[0]") if id in result.tasks and result.tasks[id].reused]

    first = runner.execute(builder, {"rows": [1, 2]}, reuse=True)
    assert [first.tasks[id].reused for id in ("square", "double", "double[0]")] == [False, False, False]
    assert taken_over([1, 2]) == ["square", "double", "double[0]"]
    assert taken_over([1, 2, 3]) == ["double[0]"]
    assert runner.execute(builder, {"rows": [1, 2]}, reuse=True).tasks["double"].reused_from is not None
    assert taken_over([]) == []


def test_what_has_failed_runs_again_and_it_is_said(own: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    workflow = yearly(marks, tmp_path / "mended")
    own.execute(workflow, reuse=True)
    tasks = own.execute(workflow, reuse=True).tasks
    assert tasks["load"].reused
    assert tasks["clean"].ran_because == "it hadn't completed"


def test_an_item_that_has_moved_has_another_seed_and_it_is_said(own: DefaultRunner, marks: Marks) -> None:
    def mapped() -> Workflow:
        with cloaca.WorkflowBuilder("moved") as builder:

            @cloaca.task(for_each="rows")
            def square(context: Context, row: int) -> None:
                marks.leave(f"square {row}")
                context.set("squares", (row, context.seed))

        return builder.build()

    own.execute(mapped(), {"rows": [1, 2]})
    moved = own.execute(mapped(), {"rows": [1, 3, 2]}, reuse=True)
    assert marks.all() == {"square 1": 1, "square 2": 2, "square 3": 1}
    assert moved.tasks["square[1]"].ran_because == "its item is new"
    why = "its seed differs, which follows from the run's and the number of its item"
    assert moved.tasks["square[2]"].ran_because == why


def test_an_item_that_comes_before_others_runs_alone(runner: DefaultRunner, marks: Marks) -> None:
    with cloaca.WorkflowBuilder("shifted") as builder:

        @cloaca.task(for_each="names")
        def measure(context: Context, name: str) -> None:
            marks.leave(name)
            context.set("sizes", int(np.array([len(name)]).sum()))  # what could be drawn from is loaded

    runner.execute(builder, {"names": ["b", "c"]})
    result = runner.execute(builder, {"names": ["a", "b", "c"]}, reuse=True)
    assert marks.all() == {"a": 1, "b": 1, "c": 1}
    assert result.final_context["sizes"] == [1, 1, 1]


def test_changed_code_runs_and_it_is_said_which(runner: DefaultRunner, marks: Marks) -> None:
    runner.execute(analysis(marks), {"size": 5})
    marks.clear()
    result = runner.execute(analysis(marks, note="yearly"), {"size": 5}, reuse=True)
    assert marks.all() == {"report": 1}
    assert result.tasks["report"].ran_because == "its code changed: what it closes over: note"


def test_results_of_code_that_the_user_vouches_for_are_as_good(own: DefaultRunner, marks: Marks) -> None:
    def summed(by: Any, *accept: str) -> Workflow:
        with cloaca.WorkflowBuilder("refactored") as builder:

            @cloaca.task(accept=accept)
            def total(context: Context) -> None:
                marks.leave("total")
                context.set("total", by(context["rows"]))

        return builder.build()

    before, other = summed(sum), summed(max)
    first = own.execute(before, {"rows": [1, 2]})
    after = summed(lambda rows: sum(rows), other.code_of("total"), before.code_of("total"))  # noqa: PLW0108 - other code
    result = own.execute(after, {"rows": [1, 2]}, reuse=True)
    assert (marks.times("total"), result.tasks["total"].reused_from) == (1, first.execution_id)
    own.execute(summed(min, other.code_of("total")), {"rows": [1, 2]}, reuse=True)
    assert marks.times("total") == 2


def test_what_an_older_execution_has_is_found_too(runner: DefaultRunner, marks: Marks) -> None:
    first = runner.execute(analysis(marks), {"size": 5}, seed=1)
    runner.execute(analysis(marks), {"size": 9}, seed=1)
    marks.clear()
    result = runner.execute(analysis(marks), {"size": 5}, reuse=True)
    assert marks.all() == {}
    assert result.final_context == first.final_context


def test_another_program_takes_over_what_the_first_one_left(marks: Marks, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with DefaultRunner(url, executor="serial") as first:
        done = first.execute(analysis(marks), {"size": 5})
    marks.clear()
    with DefaultRunner(url, workers=2) as second:
        assert second.execute(analysis(marks), {"size": 5}, reuse=True).final_context == done.final_context
    assert marks.all() == {}


@pytest.mark.parametrize(
    ("of_workflow", "of_task", "asked", "runs"),
    [
        (False, None, None, 2),
        (True, None, None, 1),
        (True, False, None, 2),
        (False, True, None, 1),
        (False, None, True, 1),
        (True, True, False, 2),
        (False, False, True, 2),
    ],
)
def test_the_task_goes_before_the_workflow_and_no_before_all(
    own: DefaultRunner, marks: Marks, of_workflow: Any, of_task: Any, asked: Any, runs: int
) -> None:
    with cloaca.WorkflowBuilder("who says", reuse=of_workflow) as builder:

        @cloaca.task(reuse=of_task)
        def only(context: Context) -> None:
            marks.leave("only")

    own.execute(builder)
    result = own.execute(builder, reuse=asked)
    assert marks.times("only") == runs
    if asked:
        assert result.tasks["only"].ran_because == (None if runs == 1 else "reuse=False")


def test_a_fingerprint_is_part_of_what_a_task_looks_at(runner: DefaultRunner, marks: Marks, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("1")
    with cloaca.WorkflowBuilder("prices") as builder:

        @cloaca.task(fingerprint=lambda context: prices.read_text())
        def load(context: Context) -> None:
            marks.leave("load")
            context.set("price", prices.read_text())

    runner.execute(builder)
    runner.execute(builder, reuse=True)
    assert marks.times("load") == 1
    prices.write_text("2")
    result = runner.execute(builder, reuse=True)
    assert result.final_context["price"] == "2"
    assert result.tasks["load"].ran_because == "its fingerprint differs"


def test_a_merge_rule_is_changed_after_the_fact(runner: DefaultRunner, marks: Marks) -> None:
    def workflow(rule: Any) -> Workflow:
        with cloaca.WorkflowBuilder("ruled", merge={"best": rule}) as builder:
            for name in ("a", "b"):

                @cloaca.task(id=name)
                def branch(context: Context, name: str = name) -> None:
                    marks.leave(name)
                    context.set("best", ord(name))

            @cloaca.task(dependencies=["a", "b"])
            def reads(context: Context) -> None:
                marks.leave("reads")
                context.set("read", context["best"])

            @cloaca.task(dependencies=["a", "b"])
            def other(context: Context) -> None:
                marks.leave("other")

        return builder.build()

    assert runner.execute(workflow(cloaca.merge.max)).final_context["read"] == ord("b")
    marks.clear()
    assert runner.execute(workflow(cloaca.merge.min), reuse=True).final_context["read"] == ord("a")
    assert marks.all() == {"reads": 1}


def test_who_asks_to_reuse_on_a_runner_that_records_nothing_is_told(marks: Marks) -> None:
    with (
        DefaultRunner(executor="serial") as runner,
        pytest.raises(cloaca.StoreError, match="reuse=True needs a runner"),
    ):
        runner.execute(analysis(marks), {"size": 1}, reuse=True)


# ---- what would run, and what is wanted ----------------------------------------------------------------------------


def test_a_plan_tells_what_would_run_and_runs_nothing(runner: DefaultRunner, marks: Marks) -> None:
    runner.execute(analysis(marks), {"size": 5})
    marks.clear()
    assert {task.runs for task in runner.plan(analysis(marks), {"size": 5}).values()} == {"no"}
    assert repr(runner.plan(analysis(marks), {"size": 6})).splitlines() == [
        "load    runs: key 'size' differs (given to the run)",
        "clean   may run: what 'load' leaves isn't known yet",
        "square  may run: what 'clean' leaves isn't known yet",
        "report  may run: what 'square' leaves isn't known yet",
    ]
    changed = runner.plan(analysis(marks, scale=2), {"size": 5})
    assert [task.runs for task in changed.values()] == ["no", "no", "yes", "maybe"]
    assert changed["square"].because == "its code changed: what it closes over: scale"
    assert marks.all() == {}
    assert len(runner.executions()) == 1


def test_what_a_fingerprint_comes_to_is_not_known_before(own: DefaultRunner) -> None:
    with cloaca.WorkflowBuilder("prices") as builder:
        cloaca.task(id="load", fingerprint=lambda context: 1)(lambda context: None)
    own.execute(builder)
    assert str(own.plan(builder)["load"]) == "may run: what its fingerprint comes to isn't known yet"


def test_only_what_a_target_needs_is_run_and_the_rest_can_follow(runner: DefaultRunner, marks: Marks) -> None:
    part = runner.execute(analysis(marks), {"size": 5}, targets=["clean"])
    assert marks.all() == {"clean": 1, "load": 1}
    assert [*part.tasks] == ["load", "clean"]
    marks.clear()
    assert runner.resume(part.execution_id, analysis(marks)).status == "Completed"
    assert marks.all() == {}
    whole = runner.execute(analysis(marks), {"size": 5}, reuse=True)
    assert marks.all() == {"report": 1, "square 0": 1, "square 2": 1, "square 4": 1}
    assert whole.tasks["clean"].reused_from == part.execution_id
    with pytest.raises(ValueError, match="did you mean 'clean'"):
        runner.execute(analysis(marks), {"size": 5}, targets=["claen"])


# ---- trust ---------------------------------------------------------------------------------------------------------


def test_pickles_are_neither_stored_nor_loaded_where_that_is_said(
    own: DefaultRunner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with cloaca.WorkflowBuilder("odd") as builder:
        cloaca.task(id="sets")(lambda context: context.set("odd", {1, 2}))
    id = own.execute(builder).execution_id
    with DefaultRunner(f"{tmp_path}/runs.db", executor="serial", allow_pickle=False) as plain:
        with pytest.raises(cloaca.StoreError, match=r"the value of key 'odd', which allow_pickle=False forbids"):
            plain.resume(id)
        with pytest.raises(cloaca.StoreError, match=r"key 'given' of the input"):
            plain.execute(builder, {"given": {1}})
        with caplog.at_level(logging.ERROR, "cloaca"):
            assert plain.execute(builder).status == "Completed"
    assert "the value of key 'odd'" in caplog.text
