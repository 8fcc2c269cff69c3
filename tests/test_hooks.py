"""Hooks: what a program is told of all its executions and their tasks, whichever workflow and runner."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from tests.support import PATIENCE

import cloaca
from cloaca import Context, DefaultRunner, ExecutionEvent, Hook, InitializerError, TaskEvent, WorkflowBuilder
from cloaca.engine.run import Run

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script


@pytest.fixture(params=["processes", "threads", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=2, executor=request.param) as runner:
        yield runner


@pytest.fixture
def serial() -> DefaultRunner:
    return DefaultRunner(executor="serial")


def greeting(name: str = "greeting") -> WorkflowBuilder:
    with WorkflowBuilder(name) as builder:
        cloaca.task(id="greet")(partial(_set, greeting="Hello"))
    return builder


def _set(context: Context, **values: Any) -> None:
    context.update_from_dict(values)


def failing(context: Context) -> None:
    raise ConnectionError("no line")


def endings() -> WorkflowBuilder:
    """A task for each way to end, and a mapped one."""
    with WorkflowBuilder("endings") as builder:
        cloaca.task(id="load")(partial(_set, rows=[1, 2, 3]))
        cloaca.task(id="each", for_each="rows", dependencies=["load"])(lambda context, item: None)
        cloaca.task(id="fail", dependencies=["load"], retry_attempts=2, retry_delay_ms=1)(failing)
        cloaca.task(id="after", dependencies=["fail"])(failing)
    return builder


def told_of(event: TaskEvent) -> tuple[Any, ...]:
    return event.task, event.item, event.status, event.attempts, event.error, event.instances


# ---- what is told --------------------------------------------------------------------------------------------------


def test_a_program_is_told_of_the_beginning_and_the_end_of_each_execution(runner: DefaultRunner) -> None:
    told: list[ExecutionEvent] = []
    with cloaca.on_run(told.append):
        one, other = runner.execute(greeting()), runner.execute(endings())
    assert [(event.workflow, event.status) for event in told] == [
        ("greeting", "Running"),
        ("greeting", "Completed"),
        ("endings", "Running"),
        ("endings", "Failed"),
    ]
    assert [event.execution for event in told] == [one.execution_id] * 2 + [other.execution_id] * 2
    assert [event.result for event in told] == [None, one, None, other]
    assert [event.seconds for event in told] == [None, one.duration, None, other.duration]
    assert [event.error for event in told] == [None, None, None, other.error_message]
    assert [event.time for event in told] == sorted(event.time for event in told)


def test_a_program_is_told_of_the_end_of_each_task_and_instance(runner: DefaultRunner) -> None:
    told: list[TaskEvent] = []
    with cloaca.on_task(told.append):
        result = runner.execute(endings())
    error = "ConnectionError: no line"
    ends = [told_of(event) for event in told]
    assert ends[0] == ("load", None, "Completed", 1, None, None)
    assert sorted(ends[1:], key=repr) == sorted(
        [
            *[("each", item, "Completed", 1, None, None) for item in range(3)],
            ("each", None, "Completed", 1, None, 3),
            ("fail", None, "Failed", 2, error, None),
            ("after", None, "Skipped", 0, None, None),
        ],
        key=repr,
    )
    of = {event.task: event for event in told if event.item is None}
    assert [event.item for event in told if event.task == "each"][-1] is None, "its end comes after its instances'"
    assert of["load"].seconds == result.tasks["load"].duration
    assert (of["after"].seconds, of["after"].reason) == (None, result.tasks["after"].reason)
    assert {(event.execution, event.workflow) for event in told} == {(result.execution_id, "endings")}


def test_hooks_are_called_on_the_thread_that_waits_and_after_the_callbacks_of_the_workflow(
    runner: DefaultRunner,
) -> None:
    told: list[Any] = []
    threads: set[int] = set()

    def note(event: ExecutionEvent | TaskEvent) -> None:
        told.append(event.status if isinstance(event, ExecutionEvent) else event.task)
        threads.add(threading.get_ident())

    with WorkflowBuilder("order", on_complete=lambda _: told.append("on_complete")) as builder:
        cloaca.task(id="a", on_success=lambda *_: told.append("on_success"))(partial(_set, x=1))
    with cloaca.on_run(note), cloaca.on_task(note):
        runner.execute(builder)
    assert told == ["Running", "on_success", "a", "on_complete", "Completed"]
    assert threads == {threading.get_ident()}


def test_several_hooks_are_told_of_the_same_in_the_order_in_which_they_were_added(serial: DefaultRunner) -> None:
    told: list[tuple[str, str]] = []
    with (
        cloaca.on_task(lambda event: told.append(("first", event.task))),
        cloaca.on_task(lambda event: told.append(("second", event.task))),
    ):
        serial.execute(greeting())
    assert told == [("first", "greet"), ("second", "greet")]


def test_the_beginning_is_told_before_any_task_has_run(serial: DefaultRunner, tmp_path: Path) -> None:
    seen: list[bool] = []
    mark = tmp_path / "mark"
    with WorkflowBuilder("w") as builder:
        cloaca.task(id="a")(lambda context: mark.touch())
    with cloaca.on_run(lambda _: seen.append(mark.exists())):
        serial.execute(builder)
    assert seen == [False, True]


def test_where_nobody_waits_nobody_is_told() -> None:
    told: list[str] = []
    with cloaca.on_run(lambda event: told.append(event.status)), DefaultRunner(workers=1) as runner:
        execution = runner.start(greeting())
        assert told == []
        execution.result(PATIENCE)
        assert told == ["Running", "Completed"]


def _fail_at_first() -> None:
    raise OSError("no model")


def test_an_execution_that_an_error_ends_is_told_to_have_failed_without_a_result() -> None:
    told: list[ExecutionEvent] = []
    with (
        cloaca.on_run(told.append),
        DefaultRunner(workers=1, initializer=_fail_at_first) as runner,
        pytest.raises(InitializerError),
    ):
        runner.execute(greeting())
    begun, ended = told
    assert (begun.status, ended.status, ended.result) == ("Running", "Failed", None)
    assert "no model" in str(ended.error)


def test_what_is_taken_over_was_told_when_it_ran(tmp_path: Path) -> None:
    tasks: list[str] = []
    runs: list[str] = []
    with (
        DefaultRunner(str(tmp_path / "store.db"), executor="serial") as recorded,
        cloaca.on_task(lambda event: tasks.append(event.task)),
        cloaca.on_run(lambda event: runs.append(event.status)),
    ):
        recorded.execute(greeting())
        again = recorded.execute(greeting(), reuse=True)
    assert again.tasks["greet"].reused
    assert (tasks, runs) == (["greet"], ["Running", "Completed"] * 2)


def _fail_unless(context: Context, mark: Path) -> None:
    if not mark.exists():
        raise ConnectionError("no line")


def test_an_execution_that_is_gone_on_with_begins_once_more(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    told: list[tuple[str, str]] = []
    with WorkflowBuilder("two") as builder:
        cloaca.task(id="a")(partial(_set, x=1))
        cloaca.task(id="b", dependencies=["a"], retry_attempts=1)(partial(_fail_unless, mark=mark))
    with (
        DefaultRunner(str(tmp_path / "store.db"), executor="serial") as recorded,
        cloaca.on_task(lambda event: told.append((event.task, event.status))),
        cloaca.on_run(lambda event: told.append((event.execution, event.status))),
    ):
        id = recorded.execute(builder).execution_id
        mark.touch()
        recorded.resume(id)
    first = [(id, "Running"), ("a", "Completed"), ("b", "Failed"), (id, "Failed")]
    assert told == [*first, (id, "Running"), ("b", "Completed"), (id, "Completed")]


# ---- how long it is told -------------------------------------------------------------------------------------------


def test_a_decorated_function_is_called_until_it_is_removed(serial: DefaultRunner) -> None:
    told: list[str] = []

    @cloaca.on_task
    def note(event: TaskEvent) -> None:
        told.append(event.workflow)

    assert isinstance(note, Hook)
    assert note.is_on
    serial.execute(greeting("one"))
    note.remove()
    note.remove()
    assert not note.is_on
    assert repr(note).endswith("note, removed)")
    serial.execute(greeting("two"))
    assert told == ["one"]
    note(TaskEvent("id", "by hand", "task", None, "Completed", 1, 0.0))
    assert told == ["one", "by hand"]


def test_a_hook_that_is_removed_is_not_told_of_what_is_under_way() -> None:
    told: list[str] = []
    hook = cloaca.on_run(lambda event: told.append(event.status))
    with DefaultRunner(workers=1) as runner:
        execution = runner.start(greeting())
        hook.remove()
        execution.result(PATIENCE)
    assert told == []


def test_what_a_hook_raises_is_logged_and_changes_nothing(
    serial: DefaultRunner, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(event: object) -> None:
        raise ValueError("the server of metrics is down")

    told: list[str] = []
    with cloaca.on_task(breaks), cloaca.on_run(breaks), cloaca.on_task(lambda event: told.append(event.task)):
        result = serial.execute(greeting())
    assert (result.status, told) == ("Completed", ["greet"])
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [text.partition("(")[0] for text in texts] == [f"The callback on_{kind}" for kind in ("run", "task", "run")]
    assert all("breaks) raised. That changes nothing for the run." in text for text in texts)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_programs_passes_from_a_hook_and_the_end_is_told(
    runner: DefaultRunner, kind: type[BaseException]
) -> None:
    told: list[str] = []

    def stop(event: ExecutionEvent) -> None:
        told.append(event.status)
        if event.result is None:
            raise kind

    with cloaca.on_run(stop), pytest.raises(kind):
        runner.execute(greeting())
    assert told[0] == "Running"
    assert told[1:] in (["Cancelled"], ["Completed"]), "it may have ended before"


# ---- what is not told ----------------------------------------------------------------------------------------------


def _told_inside(context: Context) -> None:
    told: list[str] = []
    with (
        cloaca.on_run(lambda event: told.append(event.workflow)),
        cloaca.on_task(lambda event: told.append(event.task)),
    ):
        DefaultRunner(executor="serial").execute(greeting("inner"))
    context.set("told", told)


def test_executions_inside_of_tasks_are_told_to_nobody(runner: DefaultRunner) -> None:
    told: list[str] = []
    with WorkflowBuilder("outer") as builder:
        cloaca.task(id="a")(_told_inside)
    with (
        cloaca.on_run(lambda event: told.append(event.workflow)),
        cloaca.on_task(lambda event: told.append(event.task)),
    ):
        result = runner.execute(builder, raise_on_failure=True)
    assert told == ["outer", "a", "outer"]
    assert result["told"] == []


def test_a_hook_may_execute_workflows_of_which_none_is_told(runner: DefaultRunner) -> None:
    told: list[str] = []

    def write_down(event: ExecutionEvent) -> None:
        told.append(event.workflow)
        assert runner.execute(greeting("write down")).status == "Completed"

    with cloaca.on_run(write_down):
        runner.execute(greeting())
        runner.execute(greeting())
    assert told == ["greeting"] * 4


def test_calls_of_map_are_told_to_nobody(runner: DefaultRunner) -> None:
    told: list[object] = []
    with cloaca.on_run(told.append), cloaca.on_task(told.append):
        assert [*runner.map(abs, [-1, -2])] == [1, 2]
    assert told == []


def test_a_forked_child_has_the_hooks_of_its_parent_and_removes_its_own(serial: DefaultRunner) -> None:
    told: list[str] = []
    with cloaca.on_run(lambda event: told.append(event.status)) as hook:
        child = os.fork()
        if child == 0:
            hook.remove()
            os._exit(0 if not hook.is_on else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        serial.execute(greeting())
    assert told == ["Running", "Completed"]


@pytest.mark.parametrize("has_run_hook", [False, True])
def test_without_a_hook_of_tasks_no_fact_is_made(
    serial: DefaultRunner, monkeypatch: pytest.MonkeyPatch, *, has_run_hook: bool
) -> None:
    monkeypatch.setattr(logging.getLogger("cloaca"), "level", logging.WARNING)
    listening: list[Run] = []
    monkeypatch.setattr(Run, "listen", listening.append)
    removed = cloaca.on_task(lambda _: None)
    removed.remove()
    if has_run_hook:
        with cloaca.on_run(lambda _: None):
            serial.execute(greeting())
    else:
        serial.execute(greeting())
    assert listening == []


async def waits(event: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("print", "not 'print'"),
        (lambda: None, r"takes \(\)"),
        (lambda a, b: None, r"takes \(a, b\)"),
        (waits, "make it a plain `def`"),
    ],
)
def test_a_hook_that_makes_no_sense_is_refused(function: Any, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^on_run\(\.\.\.\) is .*{said}"):
        cloaca.on_run(function)
    with pytest.raises(ValueError, match=rf"^on_task\(\.\.\.\) is .*{said}"):
        cloaca.on_task(function)
