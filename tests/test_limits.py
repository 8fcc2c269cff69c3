"""What a program asks for with retries, time limits, a memory limit and fail_fast, and what it gets."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from tests.support import PATIENCE, pipe, without_places

import cloaca
from cloaca import Context, DefaultRunner, DefaultRunnerConfig, MemoryLimitExceeded, TaskTimeout, WorkerDied
from cloaca.pool.memory import Machine

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

MB = 1_000_000


def workflow(**tasks: tuple[Callable[[Context], Any], dict[str, Any]]) -> str:
    with cloaca.WorkflowBuilder("limits"):
        for name, (function, options) in tasks.items():
            cloaca.task(id=name, **options)(function)
    return "limits"


def hang(_: Context) -> None:
    signal.pause()


def quick(context: Context) -> None:
    context.set("done", True)


# ---- retries -------------------------------------------------------------------------------------------------------


def failing(times: int, folder: Path) -> Callable[[Context], None]:
    """A task that fails so often, and then sets how many tries there were, in files that outlive its worker."""

    def fail(context: Context) -> None:
        tries = len(list(folder.iterdir())) + 1
        (folder / str(tries)).touch()
        context.set("junk of a try", tries)
        if tries <= times:
            raise ConnectionError(f"try {tries}")
        context.remove("junk of a try")
        context.set("tries", tries)

    return fail


def test_a_task_is_tried_until_it_succeeds(runner: DefaultRunner, tmp_path: Path) -> None:
    name = workflow(fetch=(failing(2, tmp_path), {"retry_attempts": 5, "retry_delay_ms": 1}))
    result = runner.execute(name)
    assert (result.status, result.tasks["fetch"].attempts, result.tasks["fetch"].error) == ("Completed", 3, None)
    assert result.final_context.to_dict() == {"tries": 3}, "only the accepted try's writes count"


def test_the_last_error_is_the_task_s(runner: DefaultRunner, tmp_path: Path) -> None:
    name = workflow(fetch=(failing(9, tmp_path), {"retry_attempts": 3, "retry_delay_ms": 0}))
    result = runner.execute(name)
    assert (result.status, result.tasks["fetch"].attempts) == ("Failed", 3)
    assert str(result.tasks["fetch"].error) == "try 3"
    assert result.final_context.to_dict() == {}


def test_an_error_that_the_condition_excludes_is_not_retried(runner: DefaultRunner, tmp_path: Path) -> None:
    never = {"retry_attempts": 3, "retry_delay_ms": 0, "retry_condition": "never"}
    result = runner.execute(workflow(fetch=(failing(9, tmp_path), never)))
    assert result.tasks["fetch"].attempts == 1


def test_a_class_of_the_script_can_be_named_in_a_condition(runner: DefaultRunner) -> None:
    class RateLimitError(Exception):
        pass

    class BurstError(RateLimitError):
        pass

    def fetch(_: Context) -> None:
        raise BurstError

    builder = cloaca.RetryPolicy.builder().max_attempts(2).initial_delay(0)
    named = builder.retry_condition(cloaca.RetryCondition.error_types(RateLimitError)).build()
    other = builder.retry_condition(cloaca.RetryCondition.error_types(ValueError)).build()
    result = runner.execute(workflow(named=(fetch, {"retry": named}), other=(fetch, {"retry": other})))
    assert (result.tasks["named"].attempts, result.tasks["other"].attempts) == (2, 1)


def test_a_try_that_died_is_tried_again_in_another_worker(tmp_path: Path) -> None:
    def die_once(context: Context) -> None:
        mark = tmp_path / "mark"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        context.set("survived", True)

    with DefaultRunner(workers=1) as runner:
        result = runner.execute(
            workflow(task=(die_once, {"retry_attempts": 2, "retry_delay_ms": 0, "retry_condition": "transient"}))
        )
    assert (result.status, result.tasks["task"].attempts) == ("Completed", 2)


# ---- time limits of tasks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_task", "of_runner"), [({"timeout": 0.1}, None), ({}, 0.1), ({"timeout": 0.1}, 1000.0)], ids=str
)
def test_a_task_that_takes_too_long_is_stopped(of_task: dict[str, float], of_runner: float | None) -> None:
    with DefaultRunner(workers=2, task_timeout_seconds=of_runner) as runner:
        result = runner.execute(workflow(slow=(hang, of_task), quick=(quick, {"timeout": 1000})))
    error = result.tasks["slow"].error
    assert isinstance(error, TaskTimeout)
    assert (error.task, error.timeout, error.attempt) == ("slow", 0.1, 1)
    assert error.seconds is not None
    assert error.seconds >= 0.1
    assert result.tasks["quick"].status == "Completed"


def test_a_task_s_own_limit_may_be_longer_than_the_runner_s(tmp_path: Path) -> None:
    """The other one is stopped only after its time; this one ends after that."""
    gate = pipe(tmp_path / "gate")

    def wait(context: Context) -> None:
        context.set("heard", gate.read_text())

    def release(_: Context) -> None:
        gate.write_text("go")

    with DefaultRunner(workers=2, task_timeout_seconds=0.1) as runner:
        result = runner.execute(
            workflow(
                patient=(wait, {"timeout": 1000}),
                slow=(hang, {}),
                quick=(quick, {"timeout": 1000}),
                release=(release, {"dependencies": ["slow", "quick"], "timeout": 1000}),
            )
        )
    assert [task.status for task in result.tasks.values()] == ["Completed", "Failed", "Completed", "Completed"]


def test_what_a_task_started_is_stopped_with_it(tmp_path: Path) -> None:
    told = tmp_path / "told"

    def start(_: Context) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        told.write_text(str(child.pid))
        child.wait()

    with DefaultRunner(workers=1, grace_seconds=PATIENCE) as runner:
        result = runner.execute(workflow(start=(start, {"timeout": 0.5})))
    assert isinstance(result.tasks["start"].error, TaskTimeout)
    assert has_ended(int(told.read_text()))


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to take note."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_task_that_is_stopped_may_clean_up(capsys: pytest.CaptureFixture[str]) -> None:
    def tidy(_: Context) -> None:
        try:
            signal.pause()
        finally:
            print("tidied up")

    with DefaultRunner(workers=1, grace_seconds=PATIENCE) as runner:
        result = runner.execute(workflow(tidy=(tidy, {"timeout": 0.1})))
    assert isinstance(result.tasks["tidy"].error, TaskTimeout)
    assert capsys.readouterr().out == "tidied up\n"


@pytest.mark.parametrize("stubborn", ["ignore", "swallow", "clean up for ever"])
def test_a_task_that_does_not_want_to_end_is_killed(stubborn: str) -> None:
    def stay(_: Context) -> None:
        if stubborn == "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                signal.pause()
            except BaseException:  # noqa: BLE001 - it doesn't want to end
                if stubborn == "clean up for ever":
                    signal.pause()

    with DefaultRunner(workers=1, grace_seconds=0.1) as runner:
        result = runner.execute(workflow(stay=(stay, {"timeout": 0.1}), quick=(quick, {})))
    assert isinstance(result.tasks["stay"].error, TaskTimeout)
    assert result.tasks["quick"].status == "Completed"


def test_a_handler_of_the_task_s_own_is_what_is_told() -> None:
    def listen(context: Context) -> None:
        heard: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        signal.pause()
        context.set("heard", heard)

    with DefaultRunner(workers=1, grace_seconds=PATIENCE) as runner:
        result = runner.execute(workflow(listen=(listen, {"timeout": 0.1})))
    assert result.final_context.to_dict() == {"heard": [signal.SIGTERM]}, (
        "it was done before it was killed: that counts"
    )


def test_a_timeout_is_retried_as_transient(tmp_path: Path) -> None:
    def slow_once(context: Context) -> None:
        mark = tmp_path / "mark"
        if not mark.exists():
            mark.touch()
            signal.pause()
        context.set("done", True)

    options = {"timeout": 0.2, "retry_attempts": 2, "retry_delay_ms": 0, "retry_condition": "transient"}
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(workflow(slow=(slow_once, options)))
    assert (result.status, result.tasks["slow"].attempts) == ("Completed", 2)


# ---- time limits of executions -------------------------------------------------------------------------------------


def test_an_execution_that_takes_too_long_is_stopped_and_has_failed() -> None:
    tasks = {
        "first": (quick, {}),
        "slow": (hang, {"dependencies": ["first"]}),
        "after": (quick, {"dependencies": ["slow"]}),
    }
    with DefaultRunner(workers=1, workflow_timeout_seconds=1.5) as runner:
        result = runner.execute(workflow(**tasks))
        assert (result.status, result.final_context["done"]) == ("Failed", True)
        assert [task.status for task in result.tasks.values()] == ["Completed", "Cancelled", "Cancelled"]
        assert [task.error for task in result.tasks.values()] == [None, None, None]
        first, *_ = (result.error_message or "").splitlines()
        assert first == "It was stopped after its time limit of 1.5 s."
        with pytest.raises(cloaca.WorkflowFailedError, match="time limit"):
            result.raise_for_status()
        assert runner.execute(workflow(quick=(quick, {}))).status == "Completed"


def test_limits_of_a_configuration_act_where_they_were_set() -> None:
    config = DefaultRunnerConfig(max_concurrent_tasks=1, task_timeout_seconds=1)
    with DefaultRunner.with_config(":memory:", config) as runner:
        result = runner.execute(workflow(slow=(hang, {})))
    error = result.tasks["slow"].error
    assert isinstance(error, TaskTimeout)
    assert error.timeout == 1.0


# ---- fail_fast -----------------------------------------------------------------------------------------------------


def test_fail_fast_cancels_what_runs_and_what_waits(tmp_path: Path) -> None:
    started = pipe(tmp_path / "started")

    def fail(_: Context) -> None:
        started.read_text()
        raise ValueError("enough")

    def run_on(_: Context) -> None:
        started.write_text("I run")
        signal.pause()

    tasks = {"fail": (fail, {}), "run_on": (run_on, {}), "last": (quick, {"dependencies": ["run_on"]})}
    with DefaultRunner(workers=2) as runner:
        result = runner.execute(workflow(**tasks), fail_fast=True)
        assert result.status == "Failed"
        assert [task.status for task in result.tasks.values()] == ["Failed", "Cancelled", "Cancelled"]
        assert without_places(result.error_message).splitlines() == [
            "Task 'fail' failed: ValueError: enough",
            "2 tasks were cancelled: 'run_on', 'last'",
        ]


def test_fail_fast_in_serial_starts_nothing_more() -> None:
    def fail(_: Context) -> None:
        raise ValueError("enough")

    with DefaultRunner(executor="serial") as runner:
        result = runner.start(workflow(fail=(fail, {}), other=(quick, {})), fail_fast=True).result()
    assert [task.status for task in result.tasks.values()] == ["Failed", "Cancelled"]


# ---- memory --------------------------------------------------------------------------------------------------------


def test_a_task_that_takes_too_much_memory_is_stopped() -> None:
    def grow(_: Context) -> None:
        hoard = bytearray(b"x") * (200 * MB)
        signal.pause()
        assert hoard

    with DefaultRunner(workers=2, memory_limit=120 * MB) as runner:
        result = runner.execute(workflow(grow=(grow, {}), quick=(quick, {})))
    error = result.tasks["grow"].error
    assert isinstance(error, MemoryLimitExceeded)
    assert (error.task, error.limit) == ("grow", 120 * MB)
    assert result.tasks["quick"].status == "Completed"


@pytest.mark.parametrize("kills", [0, 1])
def test_a_kill_by_the_kernel_is_told(kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's counter has grown between the start of the workers and the death of one."""
    counts = iter([5, 5 + kills])
    monkeypatch.setattr(Machine, "kills", lambda _: next(counts))

    def die(_: Context) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with DefaultRunner(workers=1) as runner:
        error = runner.execute(workflow(die=(die, {}))).tasks["die"].error
    assert isinstance(error, WorkerDied)
    assert error.is_oom is bool(kills)
    assert ("out-of-memory killer" in str(error)) is bool(kills)


# ---- arguments that make no sense ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *[
            ({"memory_limit": size}, "memory_limit, a number of bytes, is a whole number, 67108864 or more")
            for size in (0, 1.5, True)
        ],
        *[({"task_timeout_seconds": n}, "task_timeout_seconds, in seconds, is a") for n in (0, -1, float("nan"), "1")],
        ({"workflow_timeout_seconds": 0}, "workflow_timeout_seconds, in seconds, is a"),
        *[({"grace_seconds": seconds}, "grace_seconds is a finite number") for seconds in (-1, float("inf"), None)],
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DefaultRunner(**arguments)
