"""DefaultRunner and Execution: what a program asks for, and what it gets."""

import contextlib
import gc
import io
import os
import pickle
import signal
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

import pytest
from tests.support import PATIENCE, pipe, ready, watched, without_places

import cloaca
from cloaca import (
    CaptureError,
    Context,
    DefaultRunner,
    DefaultRunnerConfig,
    MergeConflict,
    NestedExecutionError,
    RunnerClosedError,
    UnknownWorkflowError,
    WorkflowFailedError,
)
from cloaca.running.console import Console
from cloaca.running.coordinator import Job
from cloaca.running.loop import Loop
from cloaca.wire.messages import Said

EXECUTORS = ("processes", "serial")


def define(name: str, *tasks: Any, **dependencies: list[str]) -> str:
    """A workflow of these functions; `dependencies` by the name of a function."""
    with cloaca.WorkflowBuilder(name, check="off"):
        for task in tasks:
            cloaca.task(dependencies=dependencies.get(task.__name__, []))(task)
    return name


def writing_its_name(name: str) -> Any:
    """A function of that name, which sets a key of that name."""

    def function(context):
        context.set(name, 1)

    function.__name__ = name
    return function


def processes(workers: int = 2) -> DefaultRunner:
    return DefaultRunner(workers=workers, executor="processes")


@pytest.fixture(scope="module")
def runner() -> Iterator[DefaultRunner]:
    """A runner whose two workers are there. No test that uses it kills one of them."""
    with ready(workers=2) as runner:
        yield runner


@pytest.fixture
def on(request: pytest.FixtureRequest, runner: DefaultRunner) -> DefaultRunner:
    return runner if request.param == "processes" else DefaultRunner(executor="serial")


on_both = pytest.mark.parametrize("on", EXECUTORS, indirect=True)


@pytest.fixture
def hanging(tmp_path: Path) -> tuple[str, Path]:
    """A workflow that says through a pipe when it hangs, and that pipe."""
    started = pipe(tmp_path / "started")

    def first(context):
        context.set("first", os.getpid())

    def hang(context):
        started.write_text("I hang")
        signal.pause()

    def last(context):
        context.set("last", 1)

    return define("hanging", first, hang, last, hang=["first"], last=["hang"]), started


# ---- execute, start, Execution -------------------------------------------------------------------------------------


@on_both
def test_the_caller_s_context_goes_in_and_stays_as_it_was(on: DefaultRunner) -> None:
    def change(context):
        context["list"].append("unseen")
        context.set("list", [*context["list"], 2])
        context.remove("old")

    given = Context({"list": [1], "old": 1})
    result = on.execute(define("changes", change), given)
    assert result.final_context.to_dict() == {"list": [1, 2]}
    assert given.to_dict() == {"list": [1], "old": 1}


@on_both
def test_without_a_context_a_run_starts_empty(on: DefaultRunner) -> None:
    def look(context):
        context.set("seen", len(context))

    assert on.execute(define("empty", look)).final_context.to_dict() == {"seen": 0}


def test_an_execution_runs_while_the_program_goes_on(runner: DefaultRunner, tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")

    def wait(context):
        context.set("heard", gate.read_text())

    execution = runner.start(define("waits", wait))
    assert execution.status == "Running"
    with pytest.raises(TimeoutError, match=r"'waits' hasn't ended within 0\.01 s\. It goes on"):
        execution.result(timeout=0.01)
    gate.write_text("go on")
    assert execution.result(PATIENCE).final_context["heard"] == "go on"
    assert execution.status == "Completed"
    assert execution.result(0) is execution.result()


def test_executions_have_ids_of_their_own(runner: DefaultRunner) -> None:
    define("nothing", writing_its_name("nothing"))
    one, other = runner.start("nothing"), runner.start("nothing")
    assert one.id != other.id
    assert one.result().execution_id == one.id


def test_cancelling_stops_what_runs_and_starts_nothing_more(hanging: tuple[str, Path]) -> None:
    name, started = hanging
    with processes() as runner:
        execution = runner.start(name)
        started.read_text()
        execution.cancel()
        result = execution.result(PATIENCE)
        assert [task.status for task in result.tasks.values()] == ["Completed", "Cancelled", "Cancelled"]
        assert (result.status, execution.status) == ("Cancelled", "Cancelled")
        assert list(result.final_context) == ["first"]
        assert "2 tasks were cancelled: 'hang', 'last'" in (result.error_message or "")
        with pytest.raises(WorkflowFailedError, match="cancelled"):
            result.raise_for_status()
        assert runner.execute(define("nothing", writing_its_name("nothing"))).status == "Completed"


def test_cancelling_what_has_ended_changes_nothing(runner: DefaultRunner) -> None:
    execution = runner.start(define("nothing", writing_its_name("nothing")))
    result = execution.result()
    execution.cancel()
    execution.cancel()
    assert execution.result() is result
    assert result.status == "Completed"


def test_cancelling_one_execution_leaves_the_others_alone(hanging: tuple[str, Path]) -> None:
    name, started = hanging

    def sibling(context):
        context.set("n", context["n"] + 1)

    define("sibling", sibling)
    with processes() as runner:
        execution = runner.start(name)
        started.read_text()
        others = [runner.start("sibling", Context({"n": n})) for n in range(20)]
        execution.cancel()
        others += [runner.start("sibling", Context({"n": n})) for n in range(20, 40)]
        assert [other.result(PATIENCE).final_context["n"] for other in others] == list(range(1, 41))
        assert execution.result(PATIENCE).status == "Cancelled"


def test_an_execution_keeps_its_runner_going(tmp_path: Path) -> None:
    gate = pipe(tmp_path / "gate")

    def wait(context):
        with gate.open("rb", buffering=0) as opened:
            context.set("heard", opened.read(2))

    execution = processes(1).start(define("waits", wait))
    with gate.open("r+b", buffering=0) as opened:
        opened.write(b"go")
        assert execution.result(PATIENCE).final_context["heard"] == b"go"


# ---- several at once -----------------------------------------------------------------------------------------------


def test_several_executions_on_one_runner_keep_apart(runner: DefaultRunner) -> None:
    def double(context):
        context.set("n", 2 * context["n"])

    def increment(context):
        context.set("n", context["n"] + 1)

    define("arithmetic", double, increment, increment=["double"])
    executions = [runner.start("arithmetic", Context({"n": n})) for n in range(50)]
    assert [execution.result().final_context["n"] for execution in executions] == [2 * n + 1 for n in range(50)]


@on_both
def test_several_threads_use_one_runner(on: DefaultRunner) -> None:
    def double(context):
        context.set("n", 2 * context["n"])

    name = define("doubling", double)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: on.execute(name, Context({"n": n})), range(50)))
    assert [result.final_context["n"] for result in results] == [2 * n for n in range(50)]


def test_the_first_executions_of_a_runner_may_come_from_several_threads() -> None:
    name = define("nothing", writing_its_name("nothing"))
    with processes() as runner, ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: runner.execute(name), range(8)))
    assert {result.status for result in results} == {"Completed"}


def test_two_runners_work_at_the_same_time(tmp_path: Path) -> None:
    meeting = pipe(tmp_path / "meeting")

    def tell(context):
        meeting.write_text("hello")

    def listen(context):
        context.set("heard", meeting.read_text())

    define("tell", tell)
    define("listen", listen)
    with processes(1) as one, processes(1) as other:
        listening, telling = one.start("listen"), other.start("tell")
        assert listening.result(PATIENCE).final_context["heard"] == "hello"
        assert telling.result(PATIENCE).status == "Completed"


def test_shutting_down_in_another_thread_never_leaves_anybody_waiting() -> None:
    name = define("nothing", writing_its_name("nothing"))

    def ends(runner: DefaultRunner) -> str:
        try:
            return runner.start(name).result(PATIENCE).status
        except RunnerClosedError:
            return "Closed"

    for _ in range(5):
        runner = processes(1)
        runner.execute(name)
        with ThreadPoolExecutor(8) as threads:
            endings = [threads.submit(ends, runner) for _ in range(40)]
            runner.shutdown()
            assert {ending.result() for ending in endings} <= {"Completed", "Closed"}


def test_an_execution_that_comes_when_the_runner_has_just_been_shut_down_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the check, and before the start, another thread may have done it."""
    runner, begin = processes(1), Loop.begin

    def begin_late(self: Loop, job: Job[Any]) -> None:
        runner.shutdown()
        begin(self, job)

    monkeypatch.setattr(Loop, "begin", begin_late)
    define("nothing", writing_its_name("nothing"))
    with pytest.raises(RunnerClosedError):
        runner.start("nothing").result(PATIENCE)


# ---- what a result tells -------------------------------------------------------------------------------------------


@on_both
def test_times_are_rfc_3339_and_in_order(on: DefaultRunner) -> None:
    def one(context):
        sum(range(100_000))

    result = on.execute(define("timed", one, writing_its_name("two"), two=["one"]))
    stamps = [
        result.start_time,
        result.tasks["one"].start_time,
        result.tasks["one"].end_time,
        result.tasks["two"].start_time,
        result.tasks["two"].end_time,
        result.end_time,
    ]
    moments = [datetime.fromisoformat(stamp) for stamp in stamps if stamp]
    assert len(moments) == 6
    assert {str(moment.tzinfo) for moment in moments} == {"UTC"}
    assert moments == sorted(moments)
    assert result.duration >= (result.tasks["one"].duration or 0) > 0


@on_both
def test_a_task_s_result_tells_attempts_and_what_it_cost(on: DefaultRunner) -> None:
    def work(context):
        sum(range(1_000_000))

    task = on.execute(define("costly", work)).tasks["work"]
    assert (task.id, task.status, task.attempts, task.error, task.error_message) == ("work", "Completed", 1, None, None)
    assert task.cpu_seconds is not None
    assert task.cpu_seconds > 0
    assert task.peak_memory is not None
    assert task.peak_memory > 1_000_000  # bytes, not kilobytes


@on_both
def test_a_skipped_task_has_no_attempts_times_or_costs(on: DefaultRunner) -> None:
    def fail(context):
        raise ValueError("no")

    result = on.execute(define("skipping", fail, writing_its_name("after"), after=["fail"]))
    task = result.tasks["after"]
    assert (task.status, task.attempts, task.error, task.usage) == ("Skipped", 0, None, None)
    assert (task.start_time, task.end_time, task.duration, task.cpu_seconds, task.peak_memory) == (None,) * 5


@on_both
def test_tasks_are_listed_in_the_order_of_the_workflow(on: DefaultRunner) -> None:
    names = ["d", "b", "c", "a"]
    result = on.execute(define("ordered", *map(writing_its_name, names), b=["d"], c=["d"], a=["b", "c"]))
    assert list(result.tasks) == names
    assert list(result.final_context) == names
    with pytest.raises(KeyError):
        result.tasks["nothing"]


@on_both
def test_the_error_message_leads_with_root_causes(on: DefaultRunner) -> None:
    def early(context):
        raise ValueError("early cause")

    def consequence(context):
        raise KeyError("no input")

    def late(context):
        raise ValueError("late cause")

    tasks = [early, writing_its_name("fine"), consequence, late, writing_its_name("idle")]
    result = on.execute(define("roots", *tasks, consequence=["early", "fine"], idle=["late"]))
    assert without_places(result.error_message) == (
        "Task 'early' failed: ValueError: early cause\n"
        "Task 'late' failed: ValueError: late cause\n"
        "Task 'consequence' failed: KeyError: 'no input'\n"
        "Task 'idle' was skipped: none of its dependencies ended well: 'late' failed"
    )


@on_both
def test_raise_for_status_raises_with_the_first_root_cause(on: DefaultRunner) -> None:
    def fail(context):
        raise LookupError("the cause")

    result = on.execute(define("failing", fail))
    with pytest.raises(
        WorkflowFailedError, match="Workflow 'failing': Task 'fail' failed: LookupError: the cause"
    ) as raised:
        result.raise_for_status()
    assert repr(raised.value.__cause__) == "LookupError('the cause')"


@on_both
def test_raise_for_status_of_a_completed_run_does_nothing(on: DefaultRunner) -> None:
    on.execute(define("nothing", writing_its_name("nothing"))).raise_for_status()


@on_both
def test_an_error_s_cause_shows_the_line_in_the_user_s_code(on: DefaultRunner) -> None:
    def fail(context):
        def deeper():
            return 1 / 0  # the line

        deeper()

    error = on.execute(define("failing", fail)).tasks["fail"].error
    assert isinstance(error, ZeroDivisionError)
    told = str(error.__cause__)
    assert "return 1 / 0  # the line" in told
    assert __file__ in told
    assert "in deeper" in told
    assert "cloaca" not in told.replace(str(Path(__file__).parents[1]), ""), "frames of cloaca are left out"


@on_both
def test_attributes_of_an_error_come_along(on: DefaultRunner) -> None:
    def fail(context):
        error = FileNotFoundError(2, "No such file", "data.csv")
        error.add_note("look elsewhere")
        raise error

    error = on.execute(define("failing", fail)).tasks["fail"].error
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename, error.__notes__) == (2, "data.csv", ["look elsewhere"])


@on_both
def test_a_task_learns_how_its_ancestors_ended(on: DefaultRunner) -> None:
    def fail(context):
        raise ValueError("boom")

    def judge(context):
        outcomes = {name: context.outcome(name) for name in ("fail", "skipped", "fine")}
        context.set("outcomes", {name: (one.status, one.error, one.reason) for name, one in outcomes.items()})
        try:
            context.outcome("judge")
        except KeyError as error:
            context.set("unknown", str(error))

    tasks = [fail, writing_its_name("skipped"), writing_its_name("fine"), judge]
    dependencies = {"skipped": ["fail"], "judge": ["skipped", "fine"]}
    final = on.execute(define("judging", *tasks, **dependencies)).final_context
    assert final["outcomes"] == {
        "fail": ("Failed", "ValueError: boom", None),
        "skipped": ("Skipped", None, "none of its dependencies ended well: 'fail' failed"),
        "fine": ("Completed", None, None),
    }
    assert "'judge'" in final["unknown"]


@on_both
def test_a_conflict_that_nobody_reads_leaves_the_run_completed(on: DefaultRunner) -> None:
    def left(context):
        context.set("winner", "left")

    def right(context):
        context.set("winner", "right")

    def join(context):
        context.set("present", "winner" in context)

    result = on.execute(define("unread", left, right, join, join=["left", "right"]))
    assert result.status == "Completed"
    assert list(result.conflicts) == ["winner"]
    conflict = result.conflicts["winner"]
    assert (conflict.writers, conflict.values) == (("left", "right"), ("'left'", "'right'"))
    assert result.final_context.to_dict("skip") == {"present": True}
    with pytest.raises(MergeConflict, match="'winner'"):
        result.final_context["winner"]


@on_both
def test_reading_a_conflict_fails_the_task_and_settling_it_does_not(on: DefaultRunner) -> None:
    def left(context):
        context.set("winner", "left")

    def right(context):
        context.set("winner", "right")

    def read(context):
        context["winner"]

    def settle(context):
        context.set("winner", sorted(context.conflicts()["winner"].writers))

    both = ["left", "right"]
    result = on.execute(define("settled", left, right, read, settle, read=both, settle=both))
    assert isinstance(result.tasks["read"].error, MergeConflict)
    assert result.tasks["settle"].status == "Completed"
    assert result.final_context["winner"] == ["left", "right"]
    assert result.conflicts == {}


def test_a_result_outlives_its_runner_and_a_pickle() -> None:
    def fill(context):
        context.set("values", {"tuple": (1, {2}), "text": "x" * 2_000_000})

    with processes(1) as runner:
        result = runner.execute(define("filling", fill), Context({"given": 1}))
    gc.collect()
    again = pickle.loads(pickle.dumps(result.final_context))
    expected = {"given": 1, "values": {"tuple": (1, {2}), "text": "x" * 2_000_000}}
    assert result.final_context.to_dict() == again.to_dict() == expected


# ---- what may go wrong before a task runs --------------------------------------------------------------------------


@on_both
def test_an_unknown_workflow_is_refused_with_the_nearest_names(on: DefaultRunner) -> None:
    define("monthly_report", writing_its_name("task"))
    with pytest.raises(UnknownWorkflowError, match=r"registry: monthly_reprot\. Did you mean 'monthly_report'"):
        on.execute("monthly_reprot")
    assert issubclass(UnknownWorkflowError, ValueError)


def test_what_cannot_be_captured_is_told_before_any_task_runs(runner: DefaultRunner, tmp_path: Path) -> None:
    lock, trace = Lock(), tmp_path / "trace"

    def first(context):
        trace.touch()

    def second(context):
        with lock:
            pass

    define("uncapturable", first, second)
    with pytest.raises(CaptureError, match=r"task 'second'.*uses lock.*_thread\.lock") as raised:
        runner.execute("uncapturable")
    assert (raised.value.task, raised.value.variable) == ("second", "lock")
    assert not trace.exists()
    assert runner.execute(define("nothing", writing_its_name("nothing"))).status == "Completed"
    assert DefaultRunner(executor="serial").execute("uncapturable").status == "Completed"


def test_a_key_that_is_not_unicode_is_refused_where_it_is_set() -> None:
    with pytest.raises(ValueError, match="A context key is valid text"):
        Context({os.fsdecode(b"\xff"): 1})


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: Any) -> None:
    with pytest.raises(ValueError, match="workers is a whole number, 1 or more"):
        DefaultRunner(workers=workers)


@pytest.mark.parametrize("url", ["", "postgres://server/db", "nonsense", 1.5])
def test_a_database_that_makes_no_sense_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match="database"):
        DefaultRunner(url)


def test_an_executor_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'fibres'"):
        DefaultRunner(executor="fibres")  # type: ignore[arg-type]
    monkeypatch.setenv("CLOACA_EXECUTOR", "ray")
    with pytest.raises(ValueError, match=r"CLOACA_EXECUTOR.*'ray'"):
        DefaultRunner()


def test_the_environment_chooses_the_executor_and_an_argument_overrules_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(context):
        context.set("pid", os.getpid())

    define("telling", tell)
    monkeypatch.setenv("CLOACA_EXECUTOR", "serial")
    assert DefaultRunner().execute("telling").final_context["pid"] == os.getpid()
    with processes(1) as runner:
        assert runner.execute("telling").final_context["pid"] != os.getpid()


def test_a_configuration_says_how_many_workers_there_are() -> None:
    config = DefaultRunnerConfig(max_concurrent_tasks=3)
    assert "workers=3" in repr(DefaultRunner.with_config("sqlite://:memory:", config))


# ---- the end of a runner -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_after_shutdown_nothing_runs(executor: Any) -> None:
    runner = DefaultRunner(executor=executor)
    define("nothing", writing_its_name("nothing"))
    runner.execute("nothing")
    for _ in range(3):
        runner.shutdown()
    with pytest.raises(RunnerClosedError, match="shut down"):
        runner.execute("nothing")
    assert issubclass(RunnerClosedError, ValueError)


def test_a_runner_that_never_ran_anything_shuts_down() -> None:
    with DefaultRunner():
        pass


def test_shutdown_ends_an_execution_that_is_under_way(hanging: tuple[str, Path]) -> None:
    name, started = hanging
    runner = processes()
    execution = runner.start(name)
    started.read_text()
    runner.shutdown()
    with pytest.raises(RunnerClosedError, match="while the workflow was running"):
        execution.result(PATIENCE)
    execution.cancel()


def test_an_error_in_the_block_shuts_the_runner_down() -> None:
    define("nothing", writing_its_name("nothing"))
    with contextlib.suppress(KeyError), processes() as runner:
        runner.execute("nothing")
        raise KeyError
    with pytest.raises(RunnerClosedError):
        runner.execute("nothing")


def test_a_runner_that_is_collected_ends_its_workers() -> None:
    def tell(context):
        context.set("pid", os.getpid())

    runner = processes(1)
    pid = runner.execute(define("telling", tell)).final_context["pid"]
    with watched([pid]):
        del runner


# ---- in a worker ---------------------------------------------------------------------------------------------------


def test_a_task_cannot_run_a_workflow(runner: DefaultRunner) -> None:
    def nested(context):
        cloaca.DefaultRunner().execute("nothing")

    error = runner.execute(define("nesting", nested)).tasks["nested"].error
    assert isinstance(error, NestedExecutionError)
    assert "A task that runs a workflow of its own does so in its own process" in str(error)


def test_a_module_that_starts_a_run_when_it_is_imported_is_told_how_to_guard_it(
    runner: DefaultRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self_starting.py").write_text(
        "import cloaca\n"
        "def task(context): context.set('ran', 1)\n"
        "with cloaca.WorkflowBuilder('started by an import'):\n"
        "    cloaca.task()(task)\n"
        "with cloaca.DefaultRunner(workers=1, executor='processes') as runner:\n"
        "    RESULT = runner.execute('started by an import')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = __import__("self_starting")
    monkeypatch.delitem(sys.modules, "self_starting")
    error = module.RESULT.tasks["task"].error
    assert isinstance(error, NestedExecutionError)
    assert "if __name__ == '__main__':" in str(error)


# ---- code as it is when execute is called --------------------------------------------------------------------------


@on_both
def test_a_workflow_defined_again_runs_the_new_code(on: DefaultRunner) -> None:
    for n in range(3):

        def version(context, n=n):
            context.set("n", n)

        define("redefined", version)
        assert on.execute("redefined").final_context["n"] == n


@on_both
def test_a_variable_changed_between_executions_is_seen(on: DefaultRunner) -> None:
    factor, table = 2, [2]

    def scale(context):
        context.set("scaled", (factor * 10, table[-1] * 10))

    define("scaling", scale)
    assert on.execute("scaling").final_context["scaled"] == (20, 20)
    factor = 3
    assert on.execute("scaling").final_context["scaled"] == (30, 20)
    table.append(4)
    assert on.execute("scaling").final_context["scaled"] == (30, 40)


def test_a_function_that_changes_its_variable_in_a_worker_changes_nothing_here(runner: DefaultRunner) -> None:
    seen: list[int] = []

    def note(context):
        seen.append(1)

    runner.execute(define("noting", note))
    assert seen == []


def test_a_class_made_inside_a_task_sees_the_program_s_variables(runner: DefaultRunner) -> None:
    program: dict[str, Any] = {"DEFAULT": 7}
    exec("def make(context):\n    class Made:\n        value = DEFAULT\n    context.set('value', Made.value)", program)
    result = runner.execute(define("making", program["make"]))
    assert (result.error_message, result.final_context.get("value")) == (None, 7)


# ---- output --------------------------------------------------------------------------------------------------------


@on_both
def test_what_tasks_print_reaches_the_program_s_streams(on: DefaultRunner, capsys: pytest.CaptureFixture[str]) -> None:
    def say(context):
        print("to the left", end=" ")
        print("and", "right", sep="\n")
        sys.stderr.write("aside\n")
        sys.stdout.writelines(["one\n", "two\n"])

    on.execute(define("saying", say)).raise_for_status()
    assert capsys.readouterr() == ("to the left and\nright\none\ntwo\n", "aside\n")


@on_both
def test_redirected_streams_are_followed(on: DefaultRunner) -> None:
    def say(context):
        print("hello")

    define("saying", say)
    with contextlib.redirect_stdout(io.StringIO()) as first:
        on.execute("saying")
    with contextlib.redirect_stdout(io.StringIO()) as second:
        on.execute("saying")
    assert (first.getvalue(), second.getvalue()) == ("hello\n", "hello\n")


def test_an_unfinished_line_is_finished_for_the_task(runner: DefaultRunner, capsys: pytest.CaptureFixture[str]) -> None:
    def say(context):
        print("no newline", end="")

    runner.execute(define("saying", say, writing_its_name("after")))
    assert capsys.readouterr().out == "no newline\n"


def test_lines_of_concurrent_tasks_stay_whole(runner: DefaultRunner, capsys: pytest.CaptureFixture[str]) -> None:
    def say(context):
        for n in range(200):
            print(*[f"{name}{n}" for name in "abcdefgh"])

    with cloaca.WorkflowBuilder("chorus"):
        for n in range(8):
            cloaca.task(id=f"voice {n}")(say)
    runner.execute("chorus")
    lines = capsys.readouterr().out.splitlines()
    expected = [" ".join(f"{name}{n}" for name in "abcdefgh") for n in range(200)] * 8
    assert sorted(lines) == sorted(expected)


def test_output_of_a_task_that_dies_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    def say(context):
        print("last words")
        os._exit(1)

    with processes(1) as runner:
        runner.execute(define("dying", say))
    assert capsys.readouterr().out == "last words\n"


def test_output_is_shown_before_execute_returns(runner: DefaultRunner) -> None:
    def say(context):
        print("x" * 1_000_000)

    with contextlib.redirect_stdout(io.StringIO()) as out:
        runner.execute(define("saying", say))
    assert len(out.getvalue()) == 1_000_001


def test_what_libraries_do_to_standard_output_works_in_a_task(runner: DefaultRunner) -> None:
    def use(context):
        sys.stdout.flush()
        sys.stdout.buffer.write(b"bytes\n")
        context.set("facts", (sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.closed, sys.stdout.errors))

    with contextlib.redirect_stdout(io.StringIO()) as out:
        runner.execute(define("using", use)).raise_for_status()
    assert out.getvalue() == "bytes\n"


def test_a_stream_that_was_closed_does_not_silence_the_ones_after_it() -> None:
    """Not even one that takes its place in memory."""
    console = Console()
    for n in range(20):
        closed = io.StringIO()
        closed.close()
        with contextlib.redirect_stdout(closed):
            console.show(Said(0, "stdout", "lost\n"))
        del closed
        with contextlib.redirect_stdout(io.StringIO()) as fresh:
            console.show(Said(0, "stdout", "kept\n"))
        assert fresh.getvalue() == "kept\n", f"stream {n}"
        del fresh


def test_a_character_that_the_stream_cannot_show_does_not_silence_it(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console = Console()
    console.show(Said(0, "stdout", "déjà vu\n"))
    console.show(Said(0, "stdout", "plain\n"))
    assert raw.getvalue().endswith(b"plain\n")


# ---- the same answer on every executor -----------------------------------------------------------------------------


def shapes() -> None:
    """Workflows of the shapes that users write, with values that tell every mistake in order and number."""

    def writing(name: str, reads: list[str]) -> Any:
        def write(context):
            inherited = [context.get(key) for key in reads]
            context.set(name, (len(context), inherited, float(len(reads)) / 3))
            context.set("all write this", {"same"})
            context.set("each writes this", name)

        return write

    def shape(name: str, graph: dict[str, list[str]]) -> None:
        with cloaca.WorkflowBuilder(name, check="off"):
            for task, dependencies in graph.items():
                cloaca.task(id=task, dependencies=dependencies)(writing(task, dependencies))

    wide = [f"leaf {n}" for n in range(20)]
    chance = Random(1)
    shape("chain", {f"t{n}": [f"t{n - 1}"] if n else [] for n in range(30)})
    shape("diamond", {"top": [], "left": ["top"], "right": ["top"], "bottom": ["right", "left"]})
    shape("fan-out", {"root": [], **{leaf: ["root"] for leaf in wide}})
    shape("fan-in", {**{leaf: [] for leaf in wide}, "sink": wide[::-1]})
    shape("tangle", {f"t{n}": [f"t{m}" for m in range(n) if chance.random() < 0.2] for n in range(40)})


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, str]]:
    """For each executor, what every shape came to."""
    shapes()
    runners = [("serial", DefaultRunner(executor="serial")), *((f"{n} workers", processes(n)) for n in (1, 2, 3))]
    told = {}
    for name, runner in runners:
        with runner:
            told[name] = {shape: tell(runner.execute(shape, Context({"given": 0}))) for shape in SHAPES}
    return told


SHAPES = ("chain", "diamond", "fan-out", "fan-in", "tangle")


def tell(result: cloaca.WorkflowResult) -> str:
    """Everything that should be the same: values, their order, conflicts, how tasks ended."""
    conflicts = {key: str(conflict) for key, conflict in result.conflicts.items()}
    endings = [(task.id, task.status, task.error_message) for task in result.tasks.values()]
    final = result.final_context
    return repr((result.status, list(final), final.to_dict("skip"), conflicts, endings))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("executor", ["1 workers", "2 workers", "3 workers"])
def test_every_executor_gives_the_same_answer(shape: str, executor: str, told: dict[str, dict[str, str]]) -> None:
    assert "Completed" in told["serial"][shape]
    assert told[executor][shape] == told["serial"][shape]


# ---- where tasks run -----------------------------------------------------------------------------------------------


def where(context):
    context.set("directory", str(Path.cwd()))


def test_tasks_run_where_the_program_is_when_it_executes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = define("where", where)
    with processes(1) as runner:
        assert runner.execute(name).final_context["directory"] == str(Path.cwd())
        monkeypatch.chdir(tmp_path)
        assert runner.execute(name).final_context["directory"] == str(tmp_path)


def test_a_module_on_a_path_that_was_added_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "added_later.py").write_text("def task(context):\n    context.set('found', __name__)\n")
    with processes(1) as runner:
        runner.execute(define("before", where))
        monkeypatch.syspath_prepend(str(tmp_path))
        import added_later  # type: ignore[import-not-found]

        name = define("later", added_later.task)
        assert runner.execute(name).final_context["found"] == "added_later"


def test_a_task_that_moves_takes_no_other_along(tmp_path: Path) -> None:
    def move(context):
        os.chdir(str(tmp_path))
        sys.path.clear()

    with processes(1) as runner:
        runner.execute(define("moving", move))
        assert runner.execute(define("staying", where)).final_context["directory"] == str(Path.cwd())


def test_the_coordinator_opens_no_payload(runner: DefaultRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def source(context):
        context.set("rows", [(1, 2), (3, 4)])

    def left(context):
        context.set("left", context["rows"])

    def right(context):
        context.set("left", {"other": context["rows"]})

    def join(context):
        context.set("conflicts", list(context.conflicts()))

    name = define("opening", source, left, right, join, left=["source"], right=["source"], join=["left", "right"])
    opened: list[bytes] = []
    context = cloaca.Context({"rows": [(0, 0)]})
    with monkeypatch.context() as patch:
        for module in (
            "tasks.contents",
            "tasks.context",
            "merge.shown",
            "merge.settle",
            "failure",
            "values.codec",
            "values.suffix",
        ):
            patch.setattr(f"cloaca.{module}.decode", opened.append)
        result = runner.execute(name, context)
        assert (result.status, opened) == ("Completed", [])
    assert result.final_context["conflicts"] == ["left"]


def test_what_a_run_held_goes_with_its_execution() -> None:
    """Without the garbage collector's help: a run holds every value that its tasks wrote."""
    with processes(1) as runner:
        execution = runner.start(define("holding", writing_its_name("one")))
        job = execution._job
        assert job is not None
        run = weakref.ref(job.run.history)
        del job
        execution.result(PATIENCE)
        runner.shutdown()
        assert run() is None
