"""A failed run is heard, a dropped one too, and what lacks a key says why: in the log, by exceptions, in the result."""

import logging
import pickle
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import run

import cloaca
from cloaca import DefaultRunner, WorkflowBuilder, WorkflowFailedError

HERE = Path(__file__).name
PATIENCE = 20.0
PROGRAM = """
import sys, time
import cloaca

with cloaca.WorkflowBuilder("job") as job:
    @cloaca.task()
    def load(context):
        {body}

    @cloaca.task(dependencies=[load])
    def report(context):
        context["report"] = len(context["rows"])

{rest}
"""


def line_of(function: Any, offset: int = 1) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno + offset}"


def load(context):
    context["rows"] = int("many")


def report(context):
    context["report"] = len(context["rows"])


def workflow(*tasks: Any, **options: Any) -> WorkflowBuilder:
    """A chain of these functions."""
    before: list[Any] = []
    with WorkflowBuilder("job", check="off", **options) as builder:
        for function in tasks:
            cloaca.task(dependencies=before)(function)
            before = [function]
    return builder


@dataclass(frozen=True)
class RefusedError(Exception):
    code: int


def refuse(context):
    raise RefusedError(3)


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_an_exception_that_cannot_be_changed_is_told_as_it_is(executor: Any) -> None:
    with DefaultRunner(workers=1, executor=executor) as runner:
        result = runner.execute(workflow(refuse))
    error = result.tasks["refuse"].error
    assert error == RefusedError(3)
    assert "raise RefusedError(3)" in str(error.__cause__)
    with pytest.raises(WorkflowFailedError) as caught:
        result.raise_for_status()
    assert caught.value.__cause__ is error


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the logger "cloaca" is given."""
    records = Records()
    logging.getLogger("cloaca").addHandler(records)
    yield records.texts
    logging.getLogger("cloaca").removeHandler(records)


def program(where: Path, rest: str, body: str = "raise ValueError('no rows')") -> Any:
    script = where / "job.py"
    script.write_text(PROGRAM.format(body=body, rest=rest))
    return run(str(script), cwd=where)


# ---- the log -------------------------------------------------------------------------------------------------------


def test_a_failed_run_is_logged_once_with_its_cause_and_the_line(runner: DefaultRunner, logged: list[str]) -> None:
    result = runner.execute(workflow(load, report))
    (told,) = logged
    cause = "ValueError: invalid literal for int() with base 10: 'many'"
    place = line_of(load).removeprefix(f"{Path.cwd()}/")
    assert told.startswith(
        f"ERROR Workflow 'job' failed. Task 'load' failed: {cause} ({place})\nTask 'report' was skipped"
    )
    assert result.error_message == told.removeprefix("ERROR Workflow 'job' failed. ")


def test_the_line_is_the_users_where_a_library_raises(runner: DefaultRunner, logged: list[str]) -> None:
    def parse(context):
        import json

        json.loads("{")

    runner.execute(workflow(parse))
    assert f"{HERE}:{parse.__code__.co_firstlineno + 3})" in logged[0]


def test_a_task_without_code_of_its_own_is_told_without_a_line(runner: DefaultRunner, logged: list[str]) -> None:
    with WorkflowBuilder("job") as builder:
        cloaca.task(id="builtin")(abs)
    runner.execute(builder)
    assert re.search(r"Task 'builtin' failed: TypeError: [^\n]+'(cloaca\.tasks\.context\.)?Context'$", logged[0])


def test_what_completes_or_is_cancelled_is_not_logged(logged: list[str], tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def hang(context):
        begun.touch()
        time.sleep(1000)

    with DefaultRunner(workers=1) as runner:
        runner.execute(workflow(lambda_named("fine")))
        execution = runner.start(workflow(hang))
        until(begun.exists)
        execution.cancel()
        assert execution.result().status == "Cancelled"
    assert logged == []


def test_a_run_that_nobody_waits_for_is_logged(logged: list[str]) -> None:
    with DefaultRunner(workers=1) as runner:
        runner.start(workflow(load))
    assert [text[:40] for text in logged] == ["ERROR Workflow 'job' failed. Task 'load'"]


def test_without_any_configuration_it_appears_on_standard_error(tmp_path: Path) -> None:
    ended = program(tmp_path, "with cloaca.DefaultRunner(workers=1) as runner:\n    runner.execute(job)")
    assert ended.returncode == 0
    assert re.match(r"Workflow 'job' failed\. Task 'load' failed: ValueError: no rows \(.*:8\)\n", ended.stderr)


# ---- raising -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [({}, True), ({"raise_on_failure": True}, None)], ids=["execute", "runner"])
def test_execute_raises_and_logs_nothing(settings: tuple[dict[str, bool], bool | None], logged: list[str]) -> None:
    of_runner, given = settings
    with DefaultRunner(executor="serial", **of_runner) as runner:  # type: ignore[arg-type]
        with pytest.raises(WorkflowFailedError, match="'job': Task 'load' failed: ValueError") as caught:
            runner.execute(workflow(load, report), raise_on_failure=given)
        assert runner.execute(workflow(load), raise_on_failure=False).status == "Failed"
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.result.tasks["report"].status == "Skipped"
    assert pickle.loads(pickle.dumps(caught.value)).result.status == "Failed"
    assert len(logged) == 1  # of the execution that didn't raise


def test_the_result_of_an_execution_raises(runner: DefaultRunner, logged: list[str]) -> None:
    execution = runner.start(workflow(load), raise_on_failure=True)
    for _ in range(2):
        with pytest.raises(WorkflowFailedError, match="'load' failed"):
            execution.result()
    assert execution.status == "Failed"
    assert len(logged) == 1  # nobody need ask for the result


def test_what_completes_does_not_raise(runner: DefaultRunner) -> None:
    assert runner.execute(workflow(lambda_named("fine")), raise_on_failure=True).status == "Completed"


@pytest.mark.parametrize("given", [1, "yes"])
def test_whether_to_raise_is_true_or_false(runner: DefaultRunner, given: Any) -> None:
    with pytest.raises(ValueError, match="raise_on_failure is True or False"):
        runner.execute(workflow(load), raise_on_failure=given)
    with pytest.raises(ValueError, match="raise_on_failure is True or False"):
        DefaultRunner(raise_on_failure=given)


# ---- keys that a result lacks --------------------------------------------------------------------------------------


def copied(result: cloaca.WorkflowResult) -> Iterator[cloaca.WorkflowResult]:
    yield result
    yield pickle.loads(pickle.dumps(result))


def test_a_key_that_a_failed_task_sets(runner: DefaultRunner) -> None:
    for result in copied(runner.execute(workflow(load, report))):
        expected = (
            r"Key not found: rows\. Task 'load', which sets it, failed: ValueError: inv.* \(.*test_failures.py:\d+\)\."
        )
        with pytest.raises(KeyError, match=expected):
            result.final_context["rows"]
        assert result.final_context.get("rows", 7) == 7


def test_a_key_that_a_skipped_task_sets(runner: DefaultRunner) -> None:
    for result in copied(runner.execute(workflow(load, report))):
        expected = (
            r"'report', which sets it, was skipped: .*\. Before it, task 'load' failed: ValueError: .*test_failures.py"
        )
        with pytest.raises(KeyError, match=expected):
            result.final_context["report"]


def test_a_key_that_a_task_declares_to_set(runner: DefaultRunner) -> None:
    with WorkflowBuilder("job", check="off") as builder:

        @cloaca.task(writes=["total"])
        def fill(context):
            raise OSError("gone")

    with pytest.raises(KeyError, match="Task 'fill', which sets it, failed: OSError: gone"):
        runner.execute(builder).final_context["total"]


def test_a_key_of_a_branch_that_was_not_taken(runner: DefaultRunner) -> None:
    with WorkflowBuilder("job") as builder:

        @cloaca.task(trigger_rules=cloaca.context_value("score", ">", 5))
        def deploy(context):
            context["address"] = "here"

    with pytest.raises(KeyError, match=r"'deploy', which sets it, was skipped: .*score"):
        runner.execute(builder, {"score": 3}).final_context["address"]


def test_a_key_that_a_failed_task_may_set(runner: DefaultRunner) -> None:
    def fill(context):
        context[context["name"]] = int("many")

    for result in copied(runner.execute(workflow(fill), {"name": "table", "tables": 1})):
        with pytest.raises(
            KeyError, match=r"names are 'tables'\. Task 'fill', which may set it, failed: ValueError: inv"
        ):
            result.final_context["table"]


def test_a_key_that_no_task_sets_is_told_with_the_nearest_names(runner: DefaultRunner) -> None:
    result = runner.execute(workflow(load, report), {"year": 2026})
    with pytest.raises(KeyError, match=r"Key not found: yaer\. The nearest names are 'year'"):
        result.final_context["yaer"]


# ---- keys that a task found absent ---------------------------------------------------------------------------------


def need(context, key):
    """Looks a key up where nobody can tell from the task's code which one."""
    return context[key]


def notes_of(result: cloaca.WorkflowResult, task: str) -> str:
    error = result.tasks[task].error
    assert error is not None
    notes = "\n".join(getattr(error, "__notes__", ()))
    assert not notes or notes in (result.error_message or "")
    return notes


def beside(read: Any, **options: Any) -> WorkflowBuilder:
    """`load`, after which come `make`, which sets "total", and a task that doesn't wait for it."""
    with WorkflowBuilder("job", check="off") as builder:

        @cloaca.task(id="load")
        def load_rows(context):
            context["rows"] = [1]

        @cloaca.task(dependencies=["load"])
        def make(context):
            context["total"] = 5

        cloaca.task(id="read", dependencies=["load"], **options)(read)
    return builder


def test_a_key_of_a_task_that_does_not_come_before(runner: DefaultRunner) -> None:
    expected = "key 'total', which task 'make' sets without coming before it: add 'make' to the dependencies of 'read'"
    reads = [
        lambda context: need(context, "total"),
        lambda context: sorted([context.get("total"), 1]),
        lambda context: context.get("total").bit_length(),
        lambda context: context.update("total", 1),
        lambda context: context.__delitem__("total"),
    ]
    for read in reads:
        assert expected in notes_of(runner.execute(beside(read)), "read")


def test_a_key_that_a_task_takes(runner: DefaultRunner) -> None:
    def read(context, *, total: int):
        pass

    assert "which task 'make' sets without coming before it" in notes_of(runner.execute(beside(read)), "read")


def test_a_misspelt_key(runner: DefaultRunner) -> None:
    read = lambda context: need(context, "totl")  # noqa: E731
    expected = "which no task sets and the input lacks: did it mean 'total', which task 'make' sets without"
    assert expected in notes_of(runner.execute(beside(read)), "read")


def test_a_key_that_nobody_sets_and_that_became_none(runner: DefaultRunner) -> None:
    read = lambda context: len(context.get("whatever"))  # noqa: E731
    expected = "Task 'read' looked up key 'whatever', which no task of this run set and the input lacks"
    assert expected in notes_of(runner.execute(beside(read)), "read")


def test_errors_that_have_nothing_to_do_with_absent_keys(runner: DefaultRunner) -> None:
    def divide(context):
        context.get("total")
        return 1 / 0

    def other(context):
        context.get("total")
        return dict[str, int]()["x"]

    def default(context):
        context.get("total", 0) + "x"

    for read in (divide, other, default):
        assert notes_of(runner.execute(beside(read)), "read") == ""


def test_a_key_that_is_set_later(runner: DefaultRunner) -> None:
    def early(context):
        need(context, "late")

    def late(context):
        context["late"] = 1

    with WorkflowBuilder("job", check="off") as builder:
        cloaca.task(early)
        cloaca.task(dependencies=[early], trigger_rule="all_done")(late)
    assert "which task 'late' sets after it: give 'late' in the input" in notes_of(runner.execute(builder), "early")


def test_a_key_that_a_failed_task_would_have_set(runner: DefaultRunner) -> None:
    with WorkflowBuilder("job", check="off") as builder:
        cloaca.task(load)
        cloaca.task(dependencies=[load], trigger_rule="all_done")(report)
    told = notes_of(runner.execute(builder), "report")
    assert "'rows', which task 'load' sets, and that one failed: ValueError" in told


def test_a_key_that_was_removed(runner: DefaultRunner) -> None:
    def clean(context):
        context.remove("rows")

    told = notes_of(runner.execute(workflow(clean, report), {"rows": []}), "report")
    assert "'rows', which task 'clean' has removed before it" in told


def test_an_instance_of_a_mapped_task(runner: DefaultRunner) -> None:
    result = runner.execute(beside(lambda context, row: need(context, "total"), for_each="rows"))
    assert "add 'make' to the dependencies of 'read'" in notes_of(result, "read[0]")


def test_a_task_of_a_copy(runner: DefaultRunner) -> None:
    with WorkflowBuilder("part", check="off") as part:
        cloaca.task(id="read")(lambda context: need(context, "rows"))
    with WorkflowBuilder("job", check="off") as builder:
        cloaca.task(id="make")(lambda context: context.set("rows", [1]))
        builder.add_workflow(part, prefix="in", inputs={"rows": "rows"})
    expected = r"key 'rows' \(passed in as 'rows'\), which task 'make' sets without .* add 'make' to add_workflow"
    assert re.search(expected, notes_of(runner.execute(builder), "in.read"))


# ---- runs that are dropped -----------------------------------------------------------------------------------------


def lambda_named(name: str) -> Any:
    def function(context):
        context[name] = True

    function.__name__ = name
    return function


def until(there: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_end_of_a_block_waits_and_calls_callbacks() -> None:
    called: list[str] = []
    with DefaultRunner(workers=1) as runner:
        executions = [
            runner.start(workflow(lambda_named("fine"), on_complete=lambda result: called.append(result.status)))
            for _ in range(3)
        ]
        until(lambda: executions[0].status != "Running")
    assert [one.status for one in executions] == ["Completed"] * 3 == called
    assert executions[2].result().final_context["fine"] is True


def test_a_block_that_raises_does_not_wait(logged: list[str], tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def hang(context):
        begun.touch()
        time.sleep(1000)

    runner = DefaultRunner(workers=1, grace_seconds=0)
    execution = runner.start(workflow(hang))
    until(begun.exists)
    with pytest.raises(ZeroDivisionError), runner:
        1 / 0  # noqa: B018
    with pytest.raises(cloaca.RunnerClosedError):
        execution.result()
    (told,) = logged
    assert told.startswith("ERROR Workflow 'job' failed. RunnerClosedError: The runner was shut down")


def test_the_end_of_the_program_waits_and_says_so(tmp_path: Path) -> None:
    rest = "runner = cloaca.DefaultRunner(workers=1)\nexecution = runner.start(job)"
    ended = program(tmp_path, rest, "time.sleep(0.5); context['rows'] = print('done')")
    assert (ended.returncode, ended.stdout) == (0, "done\n")
    assert "Workflow 'job' still runs. The program has come to its end, and waits for it" in ended.stderr
    assert "Workflow 'job' failed. " in ended.stderr


def test_ctrl_c_ends_a_program_without_waiting(tmp_path: Path) -> None:
    rest = "runner = cloaca.DefaultRunner(workers=1)\nexecution = runner.start(job)\nraise KeyboardInterrupt"
    ended = program(tmp_path, rest, "time.sleep(1000)")
    assert ended.returncode == -signal.SIGINT
    assert "still runs" not in ended.stderr


# ---- results of map that nobody asks for ---------------------------------------------------------------------------


def test_results_of_map_that_nobody_asks_for(runner: DefaultRunner) -> None:
    with pytest.warns(RuntimeWarning, match="Nobody has asked for the results of runner.map, so it has called nothing"):
        runner.map(len, ["a"])
    assert list(runner.map(len, ["a", "bc"])) == [1, 2]
    assert next(runner.map(len, ["a", "bc"])) == 1
    assert list(runner.map(len, [])) == []


# ---- output that can't be written ----------------------------------------------------------------------------------

PRINTING = "print('a row'); sys.stdout.flush(); context['rows'] = []"


def test_output_that_cannot_be_written_fails_as_print_does(tmp_path: Path) -> None:
    rest = """
sys.stdout = open("/dev/full", "w")
with cloaca.DefaultRunner(workers=1) as runner:
    for _ in range(2):
        try:
            runner.execute(job)
        except OSError as error:
            print(error.errno, error.result.status, *error.__notes__, file=sys.stderr)
    try:
        list(runner.map(print, [1]))
    except OSError as error:
        print(error.errno, file=sys.stderr)
"""
    ended = program(tmp_path, rest, PRINTING)
    told = "28 Completed That is what writing to sys.stdout raised: what tasks print there is lost from there on."
    assert ended.stderr.splitlines()[:3] == [told, told, "28"]


def test_output_that_cannot_be_written_and_that_nobody_waits_for(tmp_path: Path) -> None:
    rest = """
sys.stdout = open("/dev/full", "w")
with cloaca.DefaultRunner(workers=1) as runner:
    runner.start(job)
"""
    ended = program(tmp_path, rest, PRINTING)
    assert "What tasks printed is lost in part: OSError: [Errno 28]" in ended.stderr
