"""Records of the logger "cloaca": of the end of each execution, and, for those who ask, of what happens in it."""

import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.support import run

import cloaca
from cloaca import Context
from cloaca.running import log


def steps() -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("steps") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["rows"] = ["secret", "values"]

        @cloaca.task(dependencies=[load], for_each="rows", retry_attempts=2, retry_delay_ms=1)
        def clean(context: Context, row: str) -> None:
            if row == "values":
                raise ValueError("bad row")

        cloaca.task(id="behind", dependencies=[clean], trigger_rule="all_success")(lambda context: None)

    return builder


def told(caplog: pytest.LogCaptureFixture, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(record, field, None) for field in fields) for record in caplog.records]


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_one_record_tells_of_each_try_that_failed_and_one_of_the_end(
    caplog: pytest.LogCaptureFixture, executor: Literal["processes", "serial"]
) -> None:
    with caplog.at_level(logging.INFO, "cloaca"), cloaca.DefaultRunner(workers=1, executor=executor) as runner:
        result = runner.execute(steps())
    assert told(caplog, "levelname", "status", "task", "item", "attempt", "error") == [
        ("INFO", "Retried", "clean", 1, 1, "ValueError: bad row"),
        ("INFO", "Failed", "clean", 1, 2, "ValueError: bad row"),
        ("INFO", "Failed", "clean", None, 1, result.tasks["clean"].error_message),
        ("ERROR", "Failed", None, None, None, None),
    ]
    assert {*told(caplog, "execution", "workflow")} == {(result.execution_id, "steps")}
    assert caplog.records[-1].seconds == result.duration  # type: ignore[attr-defined]


def test_what_completes_is_told_in_one_record(caplog: pytest.LogCaptureFixture) -> None:
    with cloaca.WorkflowBuilder("one") as builder:
        cloaca.task(id="one")(lambda context: None)
    with caplog.at_level(logging.INFO, "cloaca"), cloaca.DefaultRunner(workers=1) as runner:
        result = runner.execute(builder)
    assert [record.getMessage() for record in caplog.records] == [
        f"Workflow 'one': Completed, 1 tasks in {result.duration:.3f} s."
    ]


def test_a_failure_that_is_raised_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "cloaca"),
        cloaca.DefaultRunner(workers=1) as runner,
        pytest.raises(cloaca.WorkflowFailedError),
    ):
        runner.execute(steps(), raise_on_failure=True)
    assert told(caplog, "levelname", "status")[-1] == ("INFO", "Failed")


def test_at_debug_each_step_is_told_and_no_value(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "cloaca"), cloaca.DefaultRunner(workers=1) as runner:
        runner.execute(steps())
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0] == "It begins."
    assert "Task 'clean' has 2 instances." in texts
    assert any(re.fullmatch(r"Task 'load': Completed on worker \d+ after 0\.\d{6} s\.", text) for text in texts)
    assert any(text.startswith("Task 'behind' was skipped: ") for text in texts)
    assert any(re.fullmatch(r"Task 'clean' \(item 1\) runs on worker \d+, try 1\.", text) for text in texts)
    assert not any("secret" in text for text in texts)


def debugged(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if part in record.getMessage()]


def test_at_debug_a_worker_that_was_lost_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with cloaca.WorkflowBuilder("deadly") as builder:
        cloaca.task(id="dies", retry_attempts=2, retry_delay_ms=1)(lambda context: os.kill(os.getpid(), signal.SIGKILL))
        cloaca.task(id="leaves")(lambda context: os._exit(3))
    with caplog.at_level(logging.DEBUG, "cloaca"), cloaca.DefaultRunner(workers=1) as runner:
        runner.execute(builder)
    told = [re.sub(r"^Worker \d+", "Worker", text) for text in debugged(caplog, "takes its place")]
    killed = "Worker was killed by SIGKILL while it ran task 'dies'. Another one takes its place."
    left = "Worker exited with code 3 while it ran task 'leaves'. Another one takes its place."
    assert sorted(told) == sorted([left, killed, killed])
    assert {record.levelname for record in caplog.records if "takes its place" in record.getMessage()} == {"DEBUG"}


def test_at_debug_what_was_merged_is_told_by_its_keys(caplog: pytest.LogCaptureFixture) -> None:
    with cloaca.WorkflowBuilder("sums", merge={"sum": cloaca.merge.sum}) as builder:
        one = cloaca.task(id="one")(lambda context: context.set("sum", 1))
        two = cloaca.task(id="two")(lambda context: context.set("sum", 2))
        cloaca.task(id="both", dependencies=[one, two])(lambda context: context.set("found", context["sum"]))
    with caplog.at_level(logging.DEBUG, "cloaca"), cloaca.DefaultRunner(workers=1) as runner:
        runner.execute(builder)
    assert debugged(caplog, "merged") == ["Task 'both' found several versions of 'sum', and has merged them."]


def test_at_debug_the_store_tells_what_was_found_why_not_and_what_is_kept(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with cloaca.WorkflowBuilder("again") as builder:

        @cloaca.task()
        def load(context: Context) -> None:
            context["rows"] = [1, 2]

        @cloaca.task(dependencies=[load])
        def count(context: Context) -> None:
            context["count"] = len(context["rows"]) + context["more"]

    with cloaca.DefaultRunner(f"{tmp_path}/runs.db", workers=1) as runner:
        first = runner.execute(builder, {"more": 1})
        with caplog.at_level(logging.DEBUG, "cloaca"):
            execution = runner.start(builder, {"more": 2}, reuse=True)
            for _ in range(2):
                result = execution.result()
    assert debugged(caplog, "taken over") == [
        f"Task 'load' is taken over from {first.execution_id}.",
        f"Task 'count' was not taken over: {result.tasks['count'].ran_because}.",
    ]
    assert debugged(caplog, "on record") == ["It is on record, with 2 tries of tasks and instances."]


def test_where_nobody_asks_nothing_is_made_of_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_remarks_on", lambda _: pytest.fail("asked"))
    with cloaca.DefaultRunner(workers=1) as runner:
        execution = runner.start(steps())
        assert execution._job is None or execution._job.on_facts is None
        execution.result()


@pytest.fixture
def unconfigured() -> Iterator[None]:
    """The logger as it is, afterwards as before."""
    logger = logging.getLogger("cloaca")
    before, level = [*logger.handlers], logger.level
    yield
    logger.handlers[:], logger.level = before, level
    logger.setLevel(level)


@pytest.mark.usefixtures("unconfigured")
def test_a_level_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CLOACA_LOG", "loud")
    with pytest.raises(ValueError, match="CLOACA_LOG"):
        cloaca.DefaultRunner()


def test_the_environment_has_records_written_to_standard_error(tmp_path: Path) -> None:
    script = """
import cloaca
with cloaca.WorkflowBuilder("one") as builder:
    cloaca.task(id="one")(lambda context: None)
for _ in range(2):
    with cloaca.DefaultRunner(workers=1) as runner:
        runner.execute(builder)
"""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    info = run("script.py", cwd=tmp_path, CLOACA_LOG="INFO").stderr.splitlines()
    assert [line.partition("cloaca ")[2].partition(" in ")[0] for line in info] == [
        "INFO one: Workflow 'one': Completed, 1 tasks",
    ] * 2
    debug = run("script.py", cwd=tmp_path, CLOACA_LOG="debug").stderr
    assert debug.count("cloaca DEBUG one: It begins.") == 2
    assert run("script.py", cwd=tmp_path, CLOACA_LOG="").stderr == ""
