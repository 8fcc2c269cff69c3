"""A task that has nothing to do skips itself, and one that may fail doesn't fail its execution."""

import pickle
from pathlib import Path
from typing import Any, Literal

import pytest

import cloaca
from cloaca.retry import RetryPolicy

Executor = Literal["processes", "threads", "serial"]
EXECUTORS: tuple[Executor, ...] = ("processes", "threads", "serial")


def run(builder: cloaca.WorkflowBuilder, executor: Executor = "serial", **given: Any) -> cloaca.WorkflowResult:
    with cloaca.DefaultRunner(executor=executor, workers=2) as runner:
        return runner.execute(builder, given)


def ends(result: cloaca.WorkflowResult) -> dict[str, str]:
    return {id: task.status for id, task in result.tasks.items()}


def skipping(reason: str | None = "no new files") -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("nightly") as builder:

        @cloaca.task(retry=RetryPolicy(max_attempts=5))
        def load(context: cloaca.Context) -> None:
            context["rows"] = [1]
            raise cloaca.Skip() if reason is None else cloaca.Skip(reason)

        @cloaca.task(dependencies=[load])
        def clean(context: cloaca.Context) -> None:
            context["clean"] = context["rows"]

        @cloaca.task(dependencies=[load], trigger_rule="all_done")
        def report(context: cloaca.Context) -> None:
            told = context.outcome("load")
            context["told"] = [told.status, told.reason, context.get("rows")]

    return builder


# ---- tasks that skip themselves ------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_task_skips_itself_for_a_reason(executor: Executor) -> None:
    result = run(skipping(), executor)
    assert (result.status, result.error_message) == ("Completed", None)
    assert ends(result) == {"load": "Skipped", "clean": "Skipped", "report": "Completed"}
    task = result.tasks["load"]
    assert (task.reason, task.attempts, task.error, task.error_message) == ("no new files", 1, None, None)
    assert result.final_context["told"] == ["Skipped", "no new files", None]
    assert "'load' was skipped" in (result.tasks["clean"].reason or "")


def test_without_a_reason_it_says_that_it_did() -> None:
    assert run(skipping(None)).tasks["load"].reason == "it skipped itself"


def test_the_skip_of_pytest_does_the_same() -> None:
    with cloaca.WorkflowBuilder("tested") as builder:

        @cloaca.task()
        def load(_context: cloaca.Context) -> None:
            pytest.skip("no database here")

    result = run(builder)
    assert (result.status, result.tasks["load"].status) == ("Completed", "Skipped")
    assert result.tasks["load"].reason == "no database here"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_item_skips_itself_and_those_beside_it_go_on(executor: Executor) -> None:
    with cloaca.WorkflowBuilder("mapped") as builder:

        @cloaca.task(for_each="files")
        def parse(context: cloaca.Context, file: int) -> None:
            if file % 3 == 1:
                raise cloaca.Skip(f"{file} is empty")
            context["size"] = file

        @cloaca.task(dependencies=[parse], for_each="files")
        def store(context: cloaca.Context, file: int) -> None:
            context["stored"] = context["size"] + file

        @cloaca.task(dependencies=[store])
        def total(context: cloaca.Context) -> None:
            context["total"] = sum(one for one in context["stored"] if one is not None)

    result = run(builder, executor, files=list(range(100)))
    assert result.status == "Completed"
    assert result.tasks["parse[4]"].reason == "4 is empty"
    assert result.tasks["store[4]"].reason == "'parse[4]' was skipped"
    assert result.final_context["size"] == [None if n % 3 == 1 else n for n in range(100)]
    assert result.final_context["total"] == sum(2 * n for n in range(100) if n % 3 != 1)


def test_a_mapped_task_all_of_whose_items_skip_themselves_is_skipped() -> None:
    with cloaca.WorkflowBuilder("mapped") as builder:

        @cloaca.task(for_each="files")
        def parse(_context: cloaca.Context, file: int) -> None:
            raise cloaca.Skip(f"{file} is empty")

        @cloaca.task(dependencies=[parse])
        def total(_context: cloaca.Context) -> None:
            """Isn't reached."""

    result = run(builder, files=[7, 8])
    assert ends(result) == {"parse": "Skipped", "parse[0]": "Skipped", "parse[1]": "Skipped", "total": "Skipped"}
    assert result.tasks["parse"].reason == "all of its instances were skipped, the first as 7 is empty"


def test_a_coroutine_may_skip_itself() -> None:
    with cloaca.WorkflowBuilder("async") as builder:

        @cloaca.task()
        async def load(_context: cloaca.Context) -> None:
            raise cloaca.Skip("nothing to wait for")

    assert run(builder, "processes").tasks["load"].reason == "nothing to wait for"


def test_what_skips_itself_is_recorded_and_asked_again(tmp_path: Path) -> None:
    workflow = skipping().build()
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path / 'runs.db'}", executor="serial") as runner:
        first = runner.execute(workflow)
        again = runner.execute(workflow, reuse=True)
        past = runner.execution(first.execution_id).result
    assert (again.tasks["load"].reused, again.tasks["load"].reason) == (False, "no new files")
    assert ends(past) == ends(first) == ends(again)
    assert past.tasks["load"].reason == "no new files"


def test_it_is_a_plain_error_elsewhere() -> None:
    def call(_item: int) -> None:
        raise cloaca.Skip("no task")

    with cloaca.DefaultRunner(executor="serial") as runner, pytest.raises(cloaca.Skip, match="no task"):
        list(runner.map(call, [1]))
    assert pickle.loads(pickle.dumps(cloaca.Skip("why"))).reason == "why"


# ---- tasks that may fail -------------------------------------------------------------------------------------------


def failing(*, allow_failure: bool, **more: Any) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("sales") as builder:

        @cloaca.task(allow_failure=allow_failure)
        def notify(_context: cloaca.Context) -> None:
            raise ConnectionError("no mail server")

        @cloaca.task(**more)
        def load(context: cloaca.Context) -> None:
            context["rows"] = [1]

        @cloaca.task(dependencies=[notify])
        def log(_context: cloaca.Context) -> None:
            """Isn't reached."""

    return builder


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_may_fail_fails_alone(executor: Executor) -> None:
    result = run(failing(allow_failure=True), executor)
    assert (result.status, result.error_message, result.handled) == ("Completed", None, ("notify",))
    assert ends(result) == {"notify": "Failed", "load": "Completed", "log": "Skipped"}
    assert isinstance(result.tasks["notify"].error, ConnectionError)
    result.raise_for_status()
    assert ", 3 tasks, 1 handled failure, " in repr(result)
    assert pickle.loads(pickle.dumps(result)).handled == ("notify",)


def test_what_may_not_fail_is_told_of_alone() -> None:
    def broken(_context: cloaca.Context) -> None:
        raise ValueError("no rows")

    builder = failing(allow_failure=True)
    with builder:
        cloaca.task(id="broken")(broken)
    result = run(builder)
    assert (result.status, result.handled) == ("Failed", ("notify",))
    assert result.error_message is not None
    assert "no rows" in result.error_message
    assert "no mail server" not in result.error_message
    with pytest.raises(cloaca.WorkflowFailedError) as caught:
        result.raise_for_status()
    assert isinstance(caught.value.__cause__, ValueError)


def test_fail_fast_goes_on_after_it() -> None:
    with cloaca.DefaultRunner(executor="serial") as runner:
        allowed = runner.execute(failing(allow_failure=True), fail_fast=True)
        other = runner.execute(failing(allow_failure=False), fail_fast=True)
    assert (allowed.status, allowed.tasks["load"].status) == ("Completed", "Completed")
    assert (other.status, other.handled) == ("Failed", ())
    assert other.tasks["load"].status == "Cancelled"


def test_instances_of_a_mapped_task_may_fail() -> None:
    with cloaca.WorkflowBuilder("mapped") as builder:

        @cloaca.task(for_each="files", allow_failure=True)
        def parse(context: cloaca.Context, file: int) -> None:
            context["size"] = 10 // file

        @cloaca.task(dependencies=[parse])
        def total(context: cloaca.Context) -> None:
            context["total"] = context["size"]

    result = run(builder, "processes", files=[0, 1, 2])
    assert (result.status, result.handled) == ("Completed", ("parse",))
    assert result.final_context["total"] == [None, 10, 5]


def test_an_execution_on_record_tells_the_same(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path / 'runs.db'}", executor="serial") as runner:
        first = runner.execute(failing(allow_failure=True))
        past = runner.execution(first.execution_id)
        assert (past.status, past.result.status, past.result.handled) == ("Completed", "Completed", ("notify",))


def test_copies_keep_what_their_tasks_may() -> None:
    inner = failing(allow_failure=True)
    with cloaca.WorkflowBuilder("outer") as builder:
        builder.add_workflow(inner, prefix="north")
    assert run(builder).handled == ("north.notify",)


def test_anything_but_a_switch_is_refused() -> None:
    with cloaca.WorkflowBuilder("w"):
        cloaca.task(id="a")(print)
        with pytest.raises(ValueError, match=r"task\(allow_failure=...\)"):
            cloaca.task(id="b", allow_failure="yes")  # type: ignore[call-overload]
