"""What a program is told of the tasks of a run, and of its end: when, in which order, with which context."""

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from tests.support import PATIENCE, pipe

import cloaca
from cloaca import Context, DefaultRunner, Execution, MergeConflict, WorkflowResult
from cloaca.history.history import History

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as if all this stood in the user's script

LARGE = 200_000


@pytest.fixture
def pool() -> Iterator[DefaultRunner]:
    with DefaultRunner(workers=2, executor="processes") as runner:
        yield runner


@pytest.fixture
def runner(request: pytest.FixtureRequest, pool: DefaultRunner) -> DefaultRunner:
    return pool if request.param == "processes" else DefaultRunner(executor="serial")


on_both = pytest.mark.parametrize("runner", ["processes", "serial"], indirect=True)


class Told:
    """Notes what callbacks are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.contexts: list[Context] = []
        self.threads: set[int] = set()

    def success(self, task: str, context: Context) -> None:
        self._note(context, "success", task)

    def failure(self, task: str, error: str, context: Context) -> None:
        self._note(context, "failure", task, error)

    def complete(self, result: WorkflowResult) -> None:
        self.calls.append(("complete", result.status))
        self.threads.add(threading.get_ident())

    def _note(self, context: Context, *call: str) -> None:
        self.calls.append(call)
        self.contexts.append(context)
        self.threads.add(threading.get_ident())

    @property
    def callbacks(self) -> dict[str, Any]:
        return {"on_success": self.success, "on_failure": self.failure}


def wait_for_the_end(execution: Execution) -> None:
    """Without waiting for the result, which would call callbacks."""
    deadline = time.monotonic() + PATIENCE
    while execution.status == "Running":
        assert time.monotonic() < deadline
        os.sched_yield()


def chain(*functions: Callable[[Context], Any], name: str = "chain", **options: Any) -> str:
    """A workflow of tasks `0`, `1` and so on, one after the other, all with these options."""
    with cloaca.WorkflowBuilder(name):
        for number, function in enumerate(functions):
            before = [str(number - 1)] if number else []
            cloaca.task(id=str(number), dependencies=before, **options)(function)
    return name


def setting(**values: Any) -> Callable[[Context], None]:
    return lambda context: context.update_from_dict(values)


def failing(context: Context) -> None:
    context.set("junk", 1)
    raise ConnectionError("no line")


# ---- what is told --------------------------------------------------------------------------------------------------


@on_both
def test_ends_are_told_in_their_order_on_the_thread_that_waits(runner: DefaultRunner) -> None:
    told = Told()
    with cloaca.WorkflowBuilder("ends", on_complete=told.complete):
        cloaca.task(id="a", **told.callbacks)(setting(x=1))
        cloaca.task(id="b", dependencies=["a"])(setting(y=1))
        cloaca.task(id="c", dependencies=["b"], **told.callbacks)(failing)
        cloaca.task(id="d", dependencies=["c"], **told.callbacks)(setting(z=1))
    result = runner.execute("ends")
    assert told.calls == [
        ("success", "a"),
        ("failure", "c", "ConnectionError: no line"),
        ("complete", "Failed"),
    ], "a task that was skipped has no end"
    assert told.threads == {threading.get_ident()}
    assert result.tasks["c"].error_message == told.calls[1][2]


@on_both
def test_every_failed_try_is_told(runner: DefaultRunner, tmp_path: Path) -> None:
    def third_time(context: Context) -> None:
        (tmp_path / str(len(list(tmp_path.iterdir())))).touch()
        if len(list(tmp_path.iterdir())) < 3:
            raise ConnectionError("no line")
        context.set("tries", 3)

    told = Told()
    runner.execute(chain(third_time, retry_attempts=5, retry_delay_ms=1, **told.callbacks))
    failure = ("failure", "0", "ConnectionError: no line")
    assert told.calls == [failure, failure, ("success", "0")]
    assert told.contexts[-1].to_dict() == {"tries": 3}
    assert len({context.seed for context in told.contexts}) == 3, "each try has its own"


@on_both
def test_a_context_is_what_the_task_saw_and_after_success_what_it_wrote(runner: DefaultRunner) -> None:
    def tidy(context: Context) -> None:
        context.remove("junk")

    told = Told()
    steps = [setting(x=1, junk="a"), tidy, failing]
    runner.execute(chain(*steps, **told.callbacks), Context({"given": (1, 2)}))
    first, second, third = told.contexts
    assert first.to_dict() == {"given": (1, 2), "x": 1, "junk": "a"}
    assert second.to_dict() == {"given": (1, 2), "x": 1}
    assert third.to_dict() == {"given": (1, 2), "x": 1}, "what a failed try has set doesn't count"
    assert third.outcome("0").status == "Completed"
    with pytest.raises(KeyError, match="No task before this one has the id '2'"):
        third.outcome("2")


@on_both
def test_a_task_sees_its_ancestors_in_a_callback_too(runner: DefaultRunner) -> None:
    told = Told()
    with cloaca.WorkflowBuilder("branches"):
        cloaca.task(id="left")(setting(k=1, left=1))
        cloaca.task(id="right")(setting(k=2, right=1))
        cloaca.task(id="join", dependencies=["left", "right"], on_success=told.success)(setting(joined=1))
        cloaca.task(id="beneath", dependencies=["left"], on_success=told.success)(setting(beneath=1))
    runner.execute("branches")
    seen = {call[1]: context for call, context in zip(told.calls, told.contexts, strict=True)}
    assert seen["beneath"].to_dict() == {"k": 1, "left": 1, "beneath": 1}
    assert seen["join"].to_dict("skip") == {"left": 1, "right": 1, "joined": 1}
    with pytest.raises(MergeConflict, match="left"):
        seen["join"]["k"]


@on_both
def test_what_a_callback_does_with_its_context_changes_nothing(runner: DefaultRunner) -> None:
    def meddle(_: str, context: Context) -> None:
        context.set("x", "changed")
        context.remove("y")

    result = runner.execute(chain(setting(x=1, y=1), lambda context: context.set("z", context["x"]), on_success=meddle))
    assert result.final_context.to_dict() == {"x": 1, "y": 1, "z": 1}


@on_both
def test_a_context_may_go_to_another_thread(runner: DefaultRunner) -> None:
    with ThreadPoolExecutor(4) as threads:
        looks = []
        steps = [setting(**{f"k{number}": number}) for number in range(50)]
        runner.execute(chain(*steps, on_success=lambda _, context: looks.append(threads.submit(context.to_dict))))
        assert [len(look.result(PATIENCE)) for look in looks] == [*range(1, 51)]


def test_a_death_and_a_time_limit_are_failures(pool: DefaultRunner) -> None:
    told = Told()
    with cloaca.WorkflowBuilder("ends"):
        cloaca.task(id="dead", **told.callbacks)(lambda context: os._exit(3))
        cloaca.task(id="slow", timeout=0.1, **told.callbacks)(lambda context: threading.Event().wait())
    pool.execute("ends")
    assert sorted(call[1] for call in told.calls) == ["dead", "slow"]
    assert sorted(call[2].partition(":")[0] for call in told.calls) == ["TaskTimeout", "WorkerDied"]


def test_what_is_cancelled_has_neither_succeeded_nor_failed(pool: DefaultRunner, tmp_path: Path) -> None:
    told, started = Told(), pipe(tmp_path / "started")

    def hang(_: Context) -> None:
        started.write_text("")
        threading.Event().wait()

    execution = pool.start(chain(hang, setting(x=1), **told.callbacks))
    started.read_text()
    execution.cancel()
    assert execution.result(PATIENCE).status == "Cancelled"
    assert told.calls == []


def test_replicas_take_every_task_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking into the context at each of n ends costs n steps, not n * n."""
    taken = []
    take_over = History.take_over

    def counting(self: History, rank: int, original: History) -> None:
        taken.append(rank)
        take_over(self, rank, original)

    monkeypatch.setattr(History, "take_over", counting)
    seen = []
    steps = [setting(x=number) for number in range(100)]
    DefaultRunner(executor="serial").execute(chain(*steps, on_success=lambda _, context: seen.append(context["x"])))
    assert seen == [*range(100)], "its own write needs no history"
    assert taken == []
    DefaultRunner(executor="serial").execute(chain(*steps, on_success=lambda _, context: seen.append(context["y"])))
    DefaultRunner(executor="serial").execute(chain(*steps, on_success=lambda _, context: context.get("y")))
    assert sorted(taken) == sorted([*range(99)] * 2)


# ---- when they are called ------------------------------------------------------------------------------------------


def test_callbacks_are_called_while_the_run_goes_on(pool: DefaultRunner, tmp_path: Path) -> None:
    """The second task ends only when the callback of the first one has been called."""
    word = pipe(tmp_path / "word")
    with cloaca.WorkflowBuilder("going on"):
        cloaca.task(id="first", on_success=lambda task, _: word.write_text(task))(setting(x=1))
        cloaca.task(id="second")(lambda context: context.set("heard", word.read_text()))
    assert pool.execute("going on").final_context["heard"] == "first"


def test_callbacks_are_called_between_tasks_in_serial(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("going on"):
        cloaca.task(id="first", on_success=lambda task, _: (tmp_path / "word").write_text(task))(setting(x=1))
        cloaca.task(id="second", dependencies=["first"])(
            lambda context: context.set("heard", (tmp_path / "word").read_text())
        )
    assert DefaultRunner(executor="serial").execute("going on").final_context["heard"] == "first"


def test_what_a_task_printed_comes_before_what_its_callback_prints(
    pool: DefaultRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    def talk(_: Context) -> None:
        print("task")

    pool.execute(chain(talk, on_success=lambda *_: print("callback")))
    assert capsys.readouterr().out == "task\ncallback\n"


def test_nobody_is_told_until_somebody_waits(pool: DefaultRunner, tmp_path: Path) -> None:
    told, meeting = Told(), pipe(tmp_path / "meeting")

    def meet(_: Context) -> None:
        meeting.write_text(meeting.read_text())

    execution = pool.start(chain(setting(x=1), meet, **told.callbacks))
    meeting.write_text("the first task has ended")
    assert told.calls == []
    with pytest.raises(TimeoutError):
        execution.result(0)
    assert told.calls == [("success", "0")]
    meeting.read_text()
    execution.result(PATIENCE)
    assert told.calls == [("success", "0"), ("success", "1")]


def test_without_anybody_who_waits_none_is_called(pool: DefaultRunner) -> None:
    told = Told()
    execution = pool.start(chain(setting(x=1), **told.callbacks))
    pool.execute(chain(setting(x=1), name="another"))
    wait_for_the_end(execution)
    assert told.calls == []
    execution.result(PATIENCE)
    execution.result(PATIENCE)
    assert told.calls == [("success", "0")], "once, however often the result is asked for"


def test_several_threads_that_wait_call_one_at_a_time_and_each_once(pool: DefaultRunner) -> None:
    running, told = threading.Lock(), []

    def note(task: str, _: Context) -> None:
        assert running.acquire(blocking=False), "two callbacks at a time"
        told.append(task)
        running.release()

    with cloaca.WorkflowBuilder("many"):
        for number in range(200):
            cloaca.task(id=str(number), on_success=note)(setting(**{f"x{number}": 1}))
    execution = pool.start("many")
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: (execution.result(PATIENCE), len(told)), range(4)))
    assert sorted(told) == sorted(map(str, range(200)))
    assert {(id(result), called) for result, called in results} == {(id(results[0][0]), 200)}


# ---- what they may do ----------------------------------------------------------------------------------------------


@on_both
def test_an_exception_is_logged_and_changes_nothing(runner: DefaultRunner, caplog: pytest.LogCaptureFixture) -> None:
    def success(task: str, _: Context) -> None:
        raise RuntimeError(f"broken at {task}")

    def complete(_: WorkflowResult) -> None:
        raise ValueError("broken at the end")

    with cloaca.WorkflowBuilder("broken", on_complete=complete):
        cloaca.task(id="a", on_success=success)(setting(x=1))
        cloaca.task(id="b", dependencies=["a"], on_success=success)(setting(y=1))
    result = runner.execute("broken")
    assert (result.status, result.final_context.to_dict()) == ("Completed", {"x": 1, "y": 1})
    assert [record.name for record in caplog.records] == ["cloaca"] * 3
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "broken at a",
        "broken at b",
        "broken at the end",
    ]
    assert "The callback on_success of task 'a' raised" in caplog.text
    assert "The callback on_complete of workflow 'broken' raised" in caplog.text


@on_both
def test_a_callback_may_execute_another_workflow(runner: DefaultRunner) -> None:
    found = []

    def another(_: str, context: Context) -> None:
        found.append(runner.execute("another", context).final_context["doubled"])

    with cloaca.WorkflowBuilder("another"):
        cloaca.task(id="double")(lambda context: context.set("doubled", 2 * context["x"]))
    runner.execute(chain(setting(x=1), setting(x=5), on_success=another))
    assert found == [2, 10]


def test_a_callback_may_cancel_its_execution(pool: DefaultRunner) -> None:
    executions: list[Execution] = []
    with cloaca.WorkflowBuilder("cancelled"):
        cloaca.task(id="quick", on_success=lambda *_: executions[0].cancel())(setting(x=1))
        cloaca.task(id="hang")(lambda context: threading.Event().wait())
    executions.append(pool.start("cancelled"))
    assert executions[0].result(PATIENCE).status == "Cancelled"


def test_a_callback_that_waits_for_its_own_execution_is_told_so(
    pool: DefaultRunner, caplog: pytest.LogCaptureFixture
) -> None:
    executions: list[Execution] = []
    executions.append(pool.start(chain(setting(x=1), on_success=lambda *_: executions[0].result())))
    assert executions[0].result(PATIENCE).status == "Completed"
    assert "waits for the result of the execution that it was called in" in caplog.text


@on_both
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_what_ends_programs_passes_and_cancels(runner: DefaultRunner, interrupt: type[BaseException]) -> None:
    told = Told()

    def leave(*_: Any) -> None:
        raise interrupt

    with cloaca.WorkflowBuilder("left", on_complete=told.complete):
        cloaca.task(id="a", on_success=leave)(setting(x=1))
        cloaca.task(id="b", dependencies=["a"])(lambda context: threading.Event().wait(PATIENCE))
        cloaca.task(id="c", dependencies=["b"])(setting(z=1))
    with pytest.raises(interrupt) as caught:
        runner.execute("left")
    assert caught.value.result.status == "Cancelled"  # type: ignore[attr-defined]
    assert caught.value.result.tasks["a"].status == "Completed"  # type: ignore[attr-defined]
    assert told.calls == [("complete", "Cancelled")]


def test_a_second_interrupt_calls_no_more(pool: DefaultRunner) -> None:
    called = []

    def interrupt(task: str, _: Context) -> None:
        called.append(task)
        raise KeyboardInterrupt

    with cloaca.WorkflowBuilder("twice"):
        for number in range(4):
            cloaca.task(id=str(number), on_success=interrupt)(setting(**{f"x{number}": 1}))
    execution = pool.start("twice")
    wait_for_the_end(execution)
    with pytest.raises(KeyboardInterrupt):
        execution.result(PATIENCE)
    assert len(called) == 2
    execution.result(PATIENCE)
    assert len(called) == 2


# ---- on_complete ---------------------------------------------------------------------------------------------------


@on_both
def test_the_end_is_told_once_with_the_very_result(runner: DefaultRunner) -> None:
    results: list[WorkflowResult] = []
    with cloaca.WorkflowBuilder("complete", on_complete=results.append):
        cloaca.task(id="a")(setting(x=1))
    result = runner.execute("complete")
    assert results == [result]
    assert runner.start("complete").result(PATIENCE) is results[1]


def test_the_end_is_told_whatever_it_is(pool: DefaultRunner) -> None:
    told = Told()
    with cloaca.WorkflowBuilder("complete", on_complete=told.complete):
        cloaca.task(id="a")(lambda context: threading.Event().wait())
    execution = pool.start("complete")
    execution.cancel()
    execution.result(PATIENCE)
    with DefaultRunner(workers=1, workflow_timeout_seconds=0.1) as impatient:
        impatient.execute("complete")
    assert told.calls == [("complete", "Cancelled"), ("complete", "Failed")]


# ---- large values --------------------------------------------------------------------------------------------------


def overwriting(number: int) -> Callable[[Context], None]:
    return lambda context: context.set("large", bytes([number]) * LARGE)


def test_large_values_are_kept_for_callbacks_and_no_longer() -> None:
    """A chain that overwrites one value again and again: each context still has its own."""
    with DefaultRunner(workers=1, executor="processes") as runner:
        runner.execute(chain(setting(x=1)))
        kept = stored(runner)  # what workers are told of the program's modules
        told = Told()
        steps = [overwriting(number) for number in range(8)]
        execution = runner.start(chain(*steps, **told.callbacks))
        wait_for_the_end(execution)
        result = execution.result(PATIENCE)
        assert [context["large"][0] for context in told.contexts] == [*range(8)]
        del told.contexts[:6]
        assert [context["large"][0] for context in told.contexts] == [6, 7]
        del told.contexts[:]
        assert result.final_context["large"][0] == 7
        del result, execution
        assert stored(runner) == kept


def stored(runner: DefaultRunner) -> set[Path]:
    loop = runner._runs._loop
    assert loop is not None
    return {path for folder in loop.holder.folders for path in Path(folder).iterdir()}


def test_a_task_that_failed_saw_a_large_value_that_is_gone_since() -> None:
    sizes = []

    def look(context: Context) -> None:
        raise ValueError(len(context["large"]))

    with DefaultRunner(workers=1, executor="processes") as runner:
        with cloaca.WorkflowBuilder("gone"):
            cloaca.task(id="a")(overwriting(1))
            cloaca.task(id="b", dependencies=["a"], on_failure=lambda *given: sizes.append(len(given[2]["large"])))(
                look
            )
            cloaca.task(id="c", dependencies=["a"])(overwriting(2))
            cloaca.task(id="d", dependencies=["c"])(lambda context: context.set("large", None))
        execution = runner.start("gone")
        wait_for_the_end(execution)
        execution.result(PATIENCE)
    assert sizes == [LARGE]


def test_what_a_run_held_goes_with_its_last_callback() -> None:
    with DefaultRunner(workers=1, executor="processes") as runner:
        execution = runner.start(chain(setting(x=1), on_success=lambda _, context: context.to_dict()))
        job = execution._job
        run = None if job is None else weakref.ref(job.run.history)
        del job
        execution.result(PATIENCE)
        runner.shutdown()
        assert run is None or run() is None


# ---- what makes no sense -------------------------------------------------------------------------------------------


def test_a_callback_is_no_part_of_what_a_workflow_does() -> None:
    versions = set()
    for options in ({}, {"on_success": print}, {"on_failure": lambda *_: None}):
        with cloaca.WorkflowBuilder("version", on_complete=print if options else None) as builder:
            cloaca.task(id="a", **options)(failing)
        versions.add(builder.build().version)
    assert len(versions) == 1


async def waits(*_: Any) -> None: ...


class Waits:
    async def __call__(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        ("print", "not 'print'"),
        (0, "not 0"),
        (lambda: None, r"takes \(\)"),
        (lambda a, b, c, d: None, r"takes \(a, b, c, d\)"),
        (lambda *_, key: None, "key"),
        (waits, "make it a plain `def`"),
        (Waits(), "make it a plain `def`"),
    ],
)
def test_a_callback_that_makes_no_sense_is_refused(callback: Any, said: str) -> None:
    for name, form in [("on_success", "task_id, context"), ("on_failure", "task_id, error, context")]:
        with pytest.raises(ValueError, match=rf"task\({name}=\.\.\.\) is (called|a .* with \({form}\)),.*{said}"):
            cloaca.task(**{name: callback})
    with pytest.raises(ValueError, match=rf"Builder\(on_complete=\.\.\.\) is (called|a .* with \(result\)),.*{said}"):
        cloaca.WorkflowBuilder("w", on_complete=callback)


@pytest.mark.parametrize("callback", [print, Told().success, lambda *_: None, lambda task_id, context, more=1: None])
def test_whatever_can_be_called_is_a_callback(callback: Any) -> None:
    with cloaca.WorkflowBuilder("w") as builder:
        cloaca.task(id="a", on_success=callback)(setting(x=1))
    assert builder.build().tasks[0].on_success is callback
