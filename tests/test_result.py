"""What a run leaves, from runs that were told event by event how they went."""

import pickle
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from tests.support import without_places

import cloaca
from cloaca import MergeConflict, Task, TaskError, WorkerDied, Workflow, WorkflowFailedError, WorkflowResult
from cloaca.engine.events import Begin, Cancel, Room
from cloaca.engine.run import Run
from cloaca.engine.work import Work
from cloaca.errors import INPUT, RemoteTraceback
from cloaca.history.plan import plan
from cloaca.merge.rules import Rules
from cloaca.values.codec import encode
from cloaca.wire.messages import Assignment, Done, Failed, Lost, Started, Unstarted, Usage, Version

DIAMOND = [("root", []), ("left", ["root"]), ("right", ["root"]), ("join", ["left", "right"])]
CHAIN = [("a", []), ("b", ["a"]), ("c", ["b"])]

USAGE = Usage(started=100.0, ended=102.5, cpu=2.0, peak_memory=10**6)
CLOCK = 1_767_225_600.0  # 2026-01-01T00:00:00Z, when the monotonic clock stood at zero

End = Mapping[str, Any] | BaseException | str | None


class Stubborn(Exception):  # noqa: N818 - a made-up one
    """Can be sent, and not rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise OSError("no licence")


def failed(attempt: int, error: BaseException) -> Failed:
    return Failed(attempt, type(error).__name__, str(error), "Traceback: line 7", encode(error), USAGE)


def report(assignment: Assignment, end: End) -> Done | Failed | Lost:
    """The report of an attempt that wrote a mapping (`...`: removed), raised, or was killed by a signal."""
    number = assignment.attempt
    match end:
        case BaseException():
            return failed(number, end)
        case str():
            return Lost(number, None, end)
        case _:
            diff = {key: None if value is ... else encode(value) for key, value in (end or {}).items()}
            return Done(number, diff, USAGE)


def a_run(graph: Sequence[tuple[str, list[str]]], inputs: Mapping[str, Any] | None = None) -> Run:
    compiled = plan("sales", graph)
    given = {key: Version(INPUT, encode(value)) for key, value in (inputs or {}).items()}
    work = [Work(rank, ()) for rank in range(len(graph))]
    run = Run(compiled, work, given, numbers=count(), answers=True)
    run.handle(Begin(), 0.0)
    return run


def assignments(run: Run) -> list[Assignment]:
    return [command for command in run.handle(Room(99), 0.0) if isinstance(command, Assignment)]


def finish(run: Run, ends: Mapping[str, End]) -> Run:
    while submitted := assignments(run):
        for assignment in submitted:
            run.handle(Started(assignment.attempt), 0.0)
            run.handle(report(assignment, ends.get(assignment.task)), 0.0)
    return run


def result_of(run: Run) -> WorkflowResult:
    tasks = tuple(Task(name, lambda context: None) for name in run.plan.names)
    workflow = Workflow("sales", "", {}, tasks, run.plan)
    return WorkflowResult(workflow, "0123abcd", run, Rules(), CLOCK + 99.0, CLOCK + 103.0, CLOCK)


def result(
    graph: Sequence[tuple[str, list[str]]], ends: Mapping[str, End], inputs: Mapping[str, Any] | None = None
) -> WorkflowResult:
    return result_of(finish(a_run(graph, inputs), ends))


# ---- a run that completed ------------------------------------------------------------------------------------------


@pytest.fixture
def completed() -> WorkflowResult:
    ends: Mapping[str, End] = {"root": {"rows": [1, 2]}, "left": {"total": 3}, "join": {"mean": 1.5, "rows": ...}}
    return result(DIAMOND, ends, {"year": 2026})


def test_a_completed_run(completed: WorkflowResult) -> None:
    assert completed.status == "Completed"
    assert completed.error_message is None
    assert completed.execution_id == "0123abcd"
    assert completed.final_context.to_dict() == {"year": 2026, "total": 3, "mean": 1.5}
    assert completed.conflicts == {}
    completed.raise_for_status()


def test_times_are_rfc_3339(completed: WorkflowResult) -> None:
    assert completed.start_time == "2026-01-01T00:01:39+00:00"
    assert completed.end_time == "2026-01-01T00:01:43+00:00"
    assert completed.duration == 4.0


def test_every_task_has_a_result_in_the_order_of_the_workflow(completed: WorkflowResult) -> None:
    assert list(completed.tasks) == ["root", "left", "right", "join"]
    assert len(completed.tasks) == 4
    assert [(task.status, task.attempts) for task in completed.tasks.values()] == [("Completed", 1)] * 4


def test_an_unknown_task_is_told_with_the_nearest_ids(completed: WorkflowResult) -> None:
    with pytest.raises(KeyError, match=r"No task of this workflow has the id 'lft'\. The nearest ids are 'left'\."):
        completed.tasks["lft"]
    with pytest.raises(KeyError, match=r"has the id 5\.'$"):
        completed.tasks[5]  # type: ignore[index]
    assert "left" in completed.tasks
    assert "lft" not in completed.tasks
    assert completed.tasks.get("lft") is None


def test_what_a_task_cost(completed: WorkflowResult) -> None:
    task = completed.tasks["left"]
    assert (task.id, task.error, task.error_message) == ("left", None, None)
    assert (task.duration, task.cpu_seconds, task.peak_memory) == (2.5, 2.0, 10**6)
    assert task.start_time == "2026-01-01T00:01:40+00:00"
    assert task.end_time is not None
    assert datetime.fromisoformat(task.end_time) - datetime.fromisoformat(task.start_time) == timedelta(seconds=2.5)


def test_repr(completed: WorkflowResult) -> None:
    assert repr(completed) == "WorkflowResult('sales', 'Completed', 4 tasks, 4.000 s, speed-up 2.50)"
    assert repr(completed.tasks) == "<results of 4 tasks>"
    assert repr(completed.tasks["left"]) == "TaskResult('left', 'Completed', attempts=1)"


def test_a_repr_tells_the_speed_up_where_something_ran_and_makes_little_of_it() -> None:
    with cloaca.WorkflowBuilder("each") as builder:
        cloaca.task(id="each", for_each="items")(lambda _context, _item: None)
        cloaca.task(id="bad", dependencies=["each"], retry_attempts=2, retry_delay_ms=1)(lambda _context: 1 / 0)
    with cloaca.DefaultRunner(workers=2) as runner:
        result = runner.execute(builder, {"items": list(range(1000))})
    assert re.search(r"1002 tasks, [\d.]+ s, speed-up [\d.]+ on 2 workers, \"Task 'bad' failed", repr(result))
    account = result._account
    assert "spans" not in vars(account), "nothing is made of each instance"
    assert account.work == pytest.approx(sum(span.seconds for span in (*account.spans, *account.failed_spans)))
    assert len(account.failed_spans) == 1
    assert "speed-up" not in repr(result_of(a_run(CHAIN)))


def test_a_repr_tells_why() -> None:
    ended = result(CHAIN, {"a": ValueError("no rows")})
    assert without_places(repr(ended)) == (
        "WorkflowResult('sales', 'Failed', 3 tasks, 4.000 s, speed-up 0.62, "
        "\"Task 'a' failed: ValueError: no rows...\")"
    )
    assert repr(ended.tasks) == "<results of 3 tasks: 1 failed, 2 skipped>"
    assert repr(ended.tasks["a"]) == "TaskResult('a', 'Failed', attempts=1, error='ValueError: no rows')"
    why = "none of its dependencies ended well: 'a' failed"
    assert repr(ended.tasks["b"]) == f"TaskResult('b', 'Skipped', attempts=0, reason=\"{why}\")"


def test_a_result_can_be_kept(completed: WorkflowResult) -> None:
    kept = pickle.loads(pickle.dumps(completed))
    assert kept.final_context == completed.final_context
    assert kept.tasks["left"].duration == 2.5
    assert repr(kept) == repr(completed)


# ---- conflicts -----------------------------------------------------------------------------------------------------


def test_an_unread_conflict_leaves_the_run_completed() -> None:
    ended = result(DIAMOND, {"left": {"total": 1}, "right": {"total": 2}})
    assert ended.status == "Completed"
    assert list(ended.conflicts) == ["total"]
    assert ended.conflicts["total"].writers == ("left", "right")
    with pytest.raises(MergeConflict):
        ended.final_context["total"]


def test_settling_a_conflict_afterwards_does_not_change_what_the_run_left() -> None:
    ended = result(DIAMOND, {"left": {"total": 1}, "right": {"total": 2}})
    ended.final_context.set("total", 3)
    assert ended.final_context.to_dict() == {"total": 3}
    assert list(ended.conflicts) == ["total"]


# ---- a run that failed ---------------------------------------------------------------------------------------------


def test_a_failed_task_fails_the_run_handled_or_not() -> None:
    ended = result(DIAMOND, {"left": ValueError("no rows"), "right": {"total": 2}, "join": {"seen": True}})
    assert ended.status == "Failed"
    assert [task.status for task in ended.tasks.values()] == ["Completed", "Failed", "Completed", "Completed"]
    assert without_places(ended.error_message) == "Task 'left' failed: ValueError: no rows"
    assert "test_result.py:" in (ended.error_message or "")
    assert ended.final_context.to_dict() == {"total": 2, "seen": True}


def test_an_error_without_a_text_is_told_by_its_name() -> None:
    ended = result(CHAIN, {"b": KeyboardInterrupt()})
    assert without_places(ended.error_message).splitlines()[0] == "Task 'b' failed: KeyboardInterrupt"
    assert ended.tasks["b"].error_message == "KeyboardInterrupt"


def test_the_error_is_the_original_one_with_the_workers_traceback() -> None:
    task = result(CHAIN, {"b": ValueError("no rows")}).tasks["b"]
    assert isinstance(task.error, ValueError)
    assert task.error.args == ("no rows",)
    assert isinstance(task.error.__cause__, RemoteTraceback)
    assert "Traceback: line 7" in str(task.error.__cause__)
    assert task.error_message == "ValueError: no rows"
    assert task.duration == 2.5


def test_a_task_has_one_result_and_one_error() -> None:
    ended = result(CHAIN, {"b": ValueError("no rows"), "c": "SIGKILL"})
    assert ended.tasks["b"] is ended.tasks["b"]
    assert ended.tasks["b"].error is ended.tasks["b"].error
    with pytest.raises(WorkflowFailedError) as caught:
        ended.raise_for_status()
    assert caught.value.__cause__ is ended.tasks["b"].error


def test_a_result_can_be_kept_after_its_errors_were_read() -> None:
    class Local(Exception):  # noqa: N818 - a made-up one, which plain pickle can't take
        pass

    ended = result(CHAIN, {"b": Local("no rows")})
    assert isinstance(ended.tasks["b"].error, Local)
    kept = pickle.loads(pickle.dumps(ended))
    assert isinstance(kept.tasks["b"].error, Local)
    assert "Traceback: line 7" in str(kept.tasks["b"].error.__cause__)


def not_an_exception(attempt: int) -> Failed:
    return Failed(attempt, "Odd", "its text", "Traceback: line 7", encode("no exception"), USAGE)


def not_sent(attempt: int) -> Failed:
    return Failed(attempt, "Odd", "its text", "Traceback: line 7", None, USAGE)


def not_rebuilt(attempt: int) -> Failed:
    return Failed(attempt, "Odd", "its text", "Traceback: line 7", encode(Stubborn()), USAGE)


@pytest.mark.parametrize("told", [not_an_exception, not_sent, not_rebuilt])
def test_an_error_that_cannot_be_rebuilt_has_a_stand_in(told: Any) -> None:
    run = a_run(CHAIN)
    (first,) = assignments(run)
    run.handle(Started(first.attempt), 0.0)
    run.handle(told(first.attempt), 0.0)
    error = result_of(run).tasks["a"].error
    assert isinstance(error, TaskError)
    assert (error.type_name, str(error)) == ("Odd", "Odd: its text")
    assert "line 7" in str(error.__cause__)


def test_a_task_whose_worker_died() -> None:
    ended = result(CHAIN, {"b": "SIGKILL"})
    task = ended.tasks["b"]
    assert isinstance(task.error, WorkerDied)
    assert (task.error.task, task.error.signal) == ("b", "SIGKILL")
    assert None not in (task.start_time, task.end_time, task.duration)
    assert (task.usage, task.cpu_seconds, task.peak_memory) == (None,) * 3
    assert ended.error_message is not None
    assert ended.error_message.startswith("Task 'b' failed: WorkerDied: The worker that ran task 'b' (try 1) died: ")


def test_skipped_tasks_are_told_and_cost_nothing() -> None:
    ended = result(CHAIN, {"a": ValueError("no rows")})
    assert without_places(ended.error_message) == (
        "Task 'a' failed: ValueError: no rows\n"
        "Task 'b' was skipped: none of its dependencies ended well: 'a' failed\n"
        "Task 'c' was skipped: none of its dependencies ended well: 'b' was skipped"
    )
    skipped = ended.tasks["c"]
    assert (skipped.status, skipped.attempts, skipped.error, skipped.usage) == ("Skipped", 0, None, None)
    assert skipped.reason == "none of its dependencies ended well: 'b' was skipped"
    assert (skipped.error_message, ended.tasks["a"].reason) == (None, None)


def test_root_causes_come_first() -> None:
    """`late` fails because of nothing else; `after` follows a failure, though not directly."""
    graph = [
        ("first", []),
        ("fine", []),
        ("join", ["first", "fine"]),
        ("after", ["join"]),
        ("late", ["fine"]),
    ]
    errors = {"first": ValueError("1"), "after": KeyError("2"), "late": OSError("3")}
    message = result(graph, errors).error_message
    assert message is not None
    assert [line.split("'")[1] for line in message.splitlines()] == ["first", "late", "after"]


def test_many_failures_are_counted_rather_than_listed() -> None:
    graph: list[tuple[str, list[str]]] = [(f"t{n}", []) for n in range(12)]
    message = without_places(result(graph, {name: ValueError("no") for name, _ in graph}).error_message)
    assert message is not None
    assert message.splitlines()[9:] == ["Task 't9' failed: ValueError: no", "... and 2 more failed"]


def test_many_skipped_tasks_are_counted_rather_than_listed() -> None:
    graph: list[tuple[str, list[str]]] = [("root", []), *((f"t{n}", ["root"]) for n in range(12))]
    message = result(graph, {"root": ValueError("no")}).error_message
    assert message is not None
    assert message.splitlines()[10:] == [
        "Task 't9' was skipped: none of its dependencies ended well: 'root' failed",
        "... and 2 more were skipped",
    ]


def test_raise_for_status_raises_from_the_first_root_cause() -> None:
    ended = result(DIAMOND, {"left": ValueError("no rows"), "join": KeyError("late")})
    with pytest.raises(
        WorkflowFailedError, match="Workflow 'sales': Task 'left' failed: ValueError: no rows"
    ) as caught:
        ended.raise_for_status()
    assert isinstance(caught.value.__cause__, ValueError)
    assert isinstance(caught.value.__cause__.__cause__, RemoteTraceback)


# ---- a run that was cancelled --------------------------------------------------------------------------------------


def test_a_cancelled_run() -> None:
    run = a_run(DIAMOND)
    (root,) = assignments(run)
    run.handle(Started(root.attempt), 0.0)
    run.handle(Done(root.attempt, {"rows": encode(1)}, USAGE), 0.0)
    left, right = assignments(run)
    run.handle(Started(left.attempt), 0.0)
    run.handle(Cancel(), 0.0)
    run.handle(Lost(left.attempt, None, "SIGTERM"), 0.0)
    run.handle(Unstarted(right.attempt), 0.0)
    ended = result_of(run)
    assert ended.status == "Cancelled"
    assert ended.error_message == "3 tasks were cancelled: 'left', 'right', 'join'"
    assert ended.final_context.to_dict() == {"rows": 1}
    with pytest.raises(WorkflowFailedError, match="3 tasks were cancelled") as caught:
        ended.raise_for_status()
    assert caught.value.__cause__ is None


def test_a_cancel_that_came_too_late_changes_nothing() -> None:
    run = a_run([("only", [])])
    (only,) = assignments(run)
    run.handle(Started(only.attempt), 0.0)
    run.handle(Cancel(), 0.0)
    run.handle(Done(only.attempt, {}, USAGE), 0.0)
    assert result_of(run).status == "Completed"


def test_one_cancelled_task_is_told_in_the_singular() -> None:
    run = a_run([("only", [])])
    run.handle(Cancel(), 0.0)
    assert result_of(run).error_message == "1 task was cancelled: 'only'"


def test_the_picture_of_a_result_tells_how_each_task_ended() -> None:
    with cloaca.WorkflowBuilder("drawn") as builder:

        @cloaca.task(for_each="rows")
        def load(context: cloaca.Context, row: int) -> None:
            context.set("loaded", row)

        @cloaca.task(dependencies=[load])
        def bad(context: cloaca.Context) -> None:
            raise ValueError("no")

        cloaca.task(id="after", dependencies=[bad])(lambda context: None)

    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(builder, {"rows": [1, 2]})
    head, load_, bad_, after, *edges = re.sub(r"[\d.]+ (us|ms|s)\b", "T", result.to_mermaid("LR")).splitlines()
    assert (head, load_) == ("flowchart LR", '    t0[["load<br>Completed, 2 instances, T"]]')
    assert (bad_, after) == ('    t1["bad<br>Failed, T"]', '    t2["after<br>Skipped"]')
    assert [line.split() for line in edges[2:]] == [
        ["classDef", "completed", "fill:#dafbe1,stroke:#1a7f37,stroke-width:2px,color:#1f2328"],
        ["class", "t0", "completed"],
        ["classDef", "failed", "fill:#ffebe9,stroke:#cf222e,stroke-width:2px,color:#1f2328"],
        ["class", "t1", "failed"],
        ["classDef", "skipped", "fill:#eaeef2,stroke:#8c959f,stroke-width:2px,color:#1f2328"],
        ["class", "t2", "skipped"],
    ]
    assert '    t1 [label="bad\\nFailed, T" color="#cf222e" fillcolor="#ffebe9" style=filled penwidth=2];' in re.sub(
        r"[\d.]+ (us|ms|s)\b", "T", result.to_dot()
    )
    loaded = pickle.loads(pickle.dumps(result))
    assert loaded.to_mermaid() == result.to_mermaid()


def test_values_are_asked_for_by_name() -> None:
    result = result_of(finish(a_run(CHAIN), {"a": {"total": [1]}}))
    assert result.raise_for_status() is result
    assert (result["total"], "total" in result, "other" in result, [*result]) == ([1], True, False, ["total"])
    with pytest.raises(KeyError, match="Key not found: other"):
        result["other"]
