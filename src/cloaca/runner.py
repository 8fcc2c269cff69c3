"""DefaultRunner: runs workflows. What users call; how it is done stands in `cloaca.runs`."""

import os
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

from cloaca import argument
from cloaca.authoring.builder import WorkflowBuilder
from cloaca.engine.timers import GRACE_SECONDS
from cloaca.execution import choice
from cloaca.retry import RetryPolicy
from cloaca.running.settings import (
    Settings,
    check_interpreter,
    check_platform,
    checked_initializer,
    checked_limits,
    checked_memory,
    checked_seconds,
    checked_tracer,
    shows_progress,
)
from cloaca.values.codec import undisturbed
from cloaca.wire.shortage import patiently
from cloaca.workflows.workflow import Workflow

if TYPE_CHECKING:
    from datetime import timedelta

    from opentelemetry.trace import Tracer

    from cloaca.compat.config import DefaultRunnerConfig
    from cloaca.execution.choice import Chosen
    from cloaca.past import PastExecution
    from cloaca.planned import RunPlan
    from cloaca.profiling.tool import ProfilerName
    from cloaca.results.result import WorkflowResult
    from cloaca.running.future import Execution
    from cloaca.runs import Runs
    from cloaca.tasks.context import Context
    from cloaca.workflows.workflow import Target

Item = TypeVar("Item")
Value = TypeVar("Value")
Coro: TypeAlias = Coroutine[Any, Any, Value]
Some: TypeAlias = Iterable[Any]

_IN_MEMORY = "sqlite://:memory:"


class _Options(TypedDict, total=False):
    """The keyword arguments of `map`, but for `on_error`."""

    chunksize: int | None
    seed: int | None
    retry: RetryPolicy | None
    retry_attempts: int | None
    timeout: float | None
    ordered: bool
    limit: str | None
    progress: bool | None


class Raises(_Options, total=False):
    """Where what the function raises is raised."""

    on_error: Literal["raise"]


class Yields(_Options):
    """Where it comes in the place of the result."""

    on_error: Literal["return"]


class SharingRaises(Raises):
    """The same, with what all calls share."""

    shared: Mapping[str, Any]


class SharingYields(Yields):
    """The same, with what all calls share."""

    shared: Mapping[str, Any]


class DefaultRunner:
    """Runs workflows on worker processes that use every core.

    A runner is cheap to keep, may be reused for many executions and from several threads, and starts workers only when
    the first task needs one. Use it in a `with` block, whose end waits for the executions that were started, or call
    `shutdown`, which doesn't; a program's end waits, too.

    Args:
        database_url: where executions are recorded: "sqlite:///runs.db" (or a path that ends in .db), so that they can
            be resumed, looked at and reused. By default what the environment variable `CLOACA_STORE` says, or else
            nothing is recorded: "sqlite://:memory:".
        workers: how many worker processes or threads; by default as many as the executor that is given has, or as the
            cores that this process may use.
        executor: "processes"; "threads", for tasks that wait for others rather than compute; or "serial" to run every
            task in the calling thread, for debuggers, profilers and coverage. Or an executor of `concurrent.futures`
            whose threads or processes are to run the tasks, which stays the caller's to shut down; or a function that
            makes one, and makes it anew when a process has died. By default what the environment variable
            `CLOACA_EXECUTOR` says, or else "processes".
        warn_above: how many bytes a value may take, encoded, before there is a warning, once for each key.
        memory_limit: how many bytes of memory a worker may have for itself, at least 64 MiB. A task that makes it
            exceed that is stopped with `MemoryLimitExceeded`. What workers share doesn't count; on Linux, processes
            that the task has started do.
        task_timeout_seconds: how long one try of a task may take that has no `timeout` of its own.
        workflow_timeout_seconds: how long an execution may take, from when its first task starts (or an initializer);
            its tasks are cancelled then, and it has failed.
        grace_seconds: how long a task that is stopped (it took too long, or was cancelled) gets to put its things in
            order, before it is killed.
        initializer: a function without arguments that every worker calls once, before its first task, to load what
            tasks share: it sets attributes of `cloaca.worker_state`. With the serial executor it is called once.
        limits: how much there is on this runner of what tasks take by `task(limit="db")`, or
            `task(limits={"gpu": 1, "memory_gb": 4})`, by name: `{"db": 2, "gpu": 2, "memory_gb": 20}`.
        raise_on_failure: whether `execute` raises where a task fails, unless it is told otherwise.
        durability: what was recorded survives the end of the program, however it comes. With "full", it survives a
            power failure, too; and an execution that can't be recorded any more is cancelled, and raises `StoreError`.
            With "normal" it goes on then, and an error is logged.
        allow_pickle: whether values may be recorded, and loaded from records, that are no plain data: to load these is
            to run code that whoever wrote them has chosen.
        progress: whether a display shows how far executions and calls of `map` are, unless they are told otherwise. By
            default what the environment variable `CLOACA_PROGRESS` says.
        tracer: a tracer of OpenTelemetry, which is to have spans of executions, of each try of their tasks, and of
            calls of `map`. Tasks see the span of their try as the current one.

    With `CLOACA_DEBUG=1` in the environment, tasks warn of changes that they make to a fetched value and never set.
    With `CLOACA_LOG=debug` (or `info`), what happens in executions is written to standard error.

    Raises:
        ValueError: an argument makes no sense; the message says which.
        ImportError: there is a `tracer`, and opentelemetry-api isn't installed.
        WorkersUnavailableError: this program is frozen (PyInstaller and others), or has no Python interpreter to start
            workers with.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("greeting") as builder:
    ...
    ...     @cloaca.task()
    ...     def greet(context):
    ...         context.set("greeting", "Hello " + context["name"])
    >>> with cloaca.DefaultRunner(workers=1) as runner:
    ...     result = runner.execute(builder, {"name": "Ada"})
    >>> result.status, result.final_context["greeting"]
    ('Completed', 'Hello Ada')
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        workers: int | None = None,
        executor: "Chosen | None" = None,
        warn_above: int = 1 << 30,
        memory_limit: int | None = None,
        task_timeout_seconds: float | None = None,
        workflow_timeout_seconds: float | None = None,
        grace_seconds: float = GRACE_SECONDS,
        initializer: Callable[[], object] | None = None,
        limits: Mapping[str, int] | None = None,
        raise_on_failure: bool = False,
        durability: Literal["normal", "full"] = "normal",
        allow_pickle: bool = True,
        progress: bool | None = None,
        tracer: "Tracer | None" = None,
    ) -> None:
        check_platform()
        if os.environ.get("CLOACA_LOG"):
            from cloaca.running.log import configure  # few ask

            configure()
        chosen = choice.checked(executor or os.environ.get("CLOACA_EXECUTOR") or "processes")
        settings = Settings(
            workers=argument.whole("workers", choice.workers_of(chosen) if workers is None else workers, least=1),
            executor=chosen,
            warn_above=argument.whole("warn_above, a number of bytes,", warn_above, least=1),
            memory_limit=checked_memory(memory_limit, chosen),
            task_timeout=checked_seconds("task_timeout_seconds", task_timeout_seconds),
            workflow_timeout=checked_seconds("workflow_timeout_seconds", workflow_timeout_seconds),
            grace=argument.not_negative("grace_seconds", grace_seconds),
            limits=checked_limits(limits),
            raise_on_failure=argument.switch("raise_on_failure", raise_on_failure),
            store=_store(database_url),
            durability=argument.choice("durability", durability, {"normal": "normal", "full": "full"}),
            allows_pickles=argument.switch("allow_pickle", allow_pickle),
            progress=shows_progress(progress, os.environ.get("CLOACA_PROGRESS")),
            tracer=checked_tracer(tracer),
        )
        initializer = checked_initializer(initializer)
        spare = self._nursery(settings.workers) if settings.executor == "processes" else choice.Spare()
        with undisturbed():
            from cloaca.runs import Runs  # half of cloaca: it is loaded while the nursery loads

        self._settings = settings
        self._runs = Runs(settings, initializer, spare)

    @classmethod
    def with_config(cls, database_url: str, config: "DefaultRunnerConfig") -> Self:
        """A runner with what was set in `config`: its time limits, and `max_concurrent_tasks` workers."""
        return cls(
            database_url,
            workers=config.given("max_concurrent_tasks"),
            task_timeout_seconds=config.given("task_timeout_seconds"),
            workflow_timeout_seconds=config.given("workflow_timeout_seconds"),
        )

    def execute(
        self,
        workflow_name: Workflow | WorkflowBuilder | str,
        context: "Context | dict[str, Any] | None" = None,
        *,
        fail_fast: bool = False,
        seed: int | None = None,
        raise_on_failure: bool | None = None,
        reuse: bool | None = None,
        targets: "Sequence[Target] | None" = None,
        progress: bool | None = None,
        profile: "ProfilerName | None" = None,
    ) -> "WorkflowResult":
        """Run a workflow on `context`, a `Context` or a dict, which doesn't change; and wait for its end.

        `workflow_name` is the workflow itself, its builder once the block has ended, or a name: that means the workflow
        that was defined last under it, anywhere in the process. A function that defines workflows executes the builder.

        A task that fails doesn't raise here: the logger "cloaca" tells what failed and where, and so does the result;
        `result.raise_for_status()` raises. With `raise_on_failure` (by default what the runner was given) this raises
        what that would, and nothing is logged. With `fail_fast`, the first failure (after its last try) cancels all
        that hasn't ended, but for that of a task that may fail. Random numbers follow from `seed`, from 0 to below
        2**63; by default one is drawn, and `result.seed` tells it.

        With `reuse`, on a runner that records, a task isn't run where an attempt of the same code is on record that
        looked at the same things; `result.tasks[id].ran_because` says why the others ran. The seed is that of the
        execution that is taken over, if none is given. By default the workflow and its tasks say whether; `False`
        takes over nothing. With `targets`, ids or functions of tasks, only these run, and those before them. With
        `progress` (by default what the runner was given) a display shows how far it is.

        With `profile`, tasks run under a profiler: "cprofile" tells which functions were called and for how long,
        "pyinstrument" where the time went, "memray" what the memory was made of. `result.profile` has what came of it.

        Raises:
            ValueError: `seed` is no such number, a task takes more of a limit than there is, or a builder's block
                hasn't ended; `profile` isn't the name of a profiler, or the executor is one whose tasks can't be
                profiled.
            ModuleNotFoundError: the profiler isn't installed; the message has the command.
            TypeError: `workflow_name` is no workflow, or `context` no context.
            UnknownWorkflowError: no workflow of that name is registered.
            WorkflowFailedError: a task failed, or the execution was cancelled, with `raise_on_failure`.
            WorkflowError: the workflow was made with `check="error"`, and the input lacks keys that it takes.
            CaptureError: the function of a task, a merge rule or the initializer can't be sent to a worker; nothing has
                run.
            InitializerError: the initializer raised.
            StoreError: the runner's store can't be opened; or `reuse` is asked for, and it has none.
            RunnerClosedError: the runner was shut down.
            NestedExecutionError: this was called in a task or its worker, of a runner with workers.
            KeyboardInterrupt: Ctrl-C was pressed; the exception's `result` tells how far it got.
            SystemExit: the program was told to end (SIGTERM, SIGHUP); the same applies.

        Whatever a signal handler of the program raises meanwhile, as an alarm's, is raised here once the execution is
        cancelled.
        """
        _load("cloaca.executions")  # who only calls `map` does without
        from cloaca.executions import Asked, execute

        asked = Asked(fail_fast, seed, raise_on_failure, reuse, targets, progress, profile)
        return execute(self._runs, workflow_name, context, asked)

    def start(
        self,
        workflow_name: Workflow | WorkflowBuilder | str,
        context: "Context | dict[str, Any] | None" = None,
        *,
        fail_fast: bool = False,
        seed: int | None = None,
        raise_on_failure: bool | None = None,
        reuse: bool | None = None,
        targets: "Sequence[Target] | None" = None,
        progress: bool | None = None,
        profile: "ProfilerName | None" = None,
    ) -> "Execution":
        """Start a workflow on `context`; returns at once, with an `Execution`. Takes what `execute` takes.

        With the serial executor it returns when the run has ended. Raises what `execute` raises, but for failures: with
        `raise_on_failure`, `Execution.result` raises those. They are logged in any case, as nobody need ask for it.
        """
        _load("cloaca.executions")
        from cloaca.executions import Asked, start

        asked = Asked(fail_fast, seed, raise_on_failure, reuse, targets, progress, profile)
        return start(self._runs, workflow_name, context, asked)

    def resume(
        self,
        execution_id: str,
        workflow: Workflow | WorkflowBuilder | str | None = None,
        *,
        fail_fast: bool = False,
        raise_on_failure: bool | None = None,
        progress: bool | None = None,
        profile: "ProfilerName | None" = None,
    ) -> "WorkflowResult":
        """Go on with an execution that was interrupted, has failed or was cancelled; and wait for its end.

        It has the input and the seed that it had. What completed isn't run again, all else is, with the code that the
        tasks have now: so mend what failed, and resume. A task that completed although one before it had failed runs
        again, as that may end well this time. The result is that of the whole execution. One that completed is not run
        at all. `progress` and `profile` are as for `execute`.

        `workflow` is looked up by its name, if it isn't given. It has to have the tasks and dependencies that it had.

        Raises what `execute` raises, and:
            UnknownExecutionError: the runner's store has no execution with that id.
            ExecutionClaimedError: another process (or thread) is at it.
            ExecutionChangedError: the workflow has other tasks or dependencies by now.
            ValueLostError: a file is gone that holds a value.
            StoreError: the runner records nothing, or its store can't be read.
        """
        _load("cloaca.executions")
        from cloaca.executions import Asked, resume

        asked = Asked(fail_fast, None, raise_on_failure, progress=progress, profile=profile)
        return resume(self._runs, execution_id, workflow, asked)

    def plan(
        self,
        workflow_name: Workflow | WorkflowBuilder | str,
        context: "Context | dict[str, Any] | None" = None,
        *,
        seed: int | None = None,
        targets: "Sequence[Target] | None" = None,
    ) -> "RunPlan":
        """What `execute(..., reuse=True)` would run, and why, without running anything. Takes what that takes.

        Returns a mapping from the ids of tasks to `PlannedTask`: `runs` is "yes", "no" or "maybe", where it depends on
        what a task before it leaves; `because` says why. Printed, it is a table.

        Raises what `execute` raises before anything runs.
        """
        _load("cloaca.executions")
        from cloaca.executions import plan

        return plan(self._runs, workflow_name, context, seed, targets)

    def executions(self, workflow: str | None = None, status: str | None = None) -> "list[PastExecution]":
        """The executions that are recorded, the newest first: of a workflow, by its name, or with a status.

        `status` is "Running", "Completed", "Failed", "Cancelled" or "Interrupted".

        Raises `StoreError` where the runner records nothing, or its store can't be read.
        """
        from cloaca.past import executions

        return executions(self._runs, workflow, status)

    def execution(self, id: str) -> "PastExecution":
        """An execution that is recorded: how its tasks ended, and what each of them saw.

        Raises `UnknownExecutionError` where there is none with that id, which lists near ones; and as above.
        """
        from cloaca.past import execution

        return execution(self._runs, id)

    def replay(self, execution_id: str, task: str, item: int | None = None) -> "Context":
        """Call a task of a recorded execution once more, here, with exactly what it saw; returns what it left.

        For a debugger: it is called in this process and this thread, with the code that it has now and the seed that
        it had, and what it raises is raised. Of a mapped task, the instance for the item of that number is called.
        Nothing is recorded.

        Raises:
            KeyError: no attempt of the task is recorded, or it isn't a task of the workflow any more.
            ValueError: the task is a mapped one, and no item is said.
            UnknownWorkflowError: no workflow of that name is registered.
            UnknownExecutionError: as above.
        """
        from cloaca.past import replay

        return replay(self._runs, execution_id, task, item)

    def prune(self, *, keep: int | None = None, older_than: "timedelta | float | None" = None) -> int:
        """Forget executions, and the values that no other one holds; returns how many bytes that has freed.

        Of each workflow, the latest `keep` stay; so do those that began less than `older_than` ago (seconds, or a
        `timedelta`). While a workflow is under way, all its executions stay: it may take over from any.

        Raises `ValueError` where neither is said, and `StoreError` as above.
        """
        from cloaca.past import prune

        return prune(self._runs, keep, older_than)

    @overload
    def map(
        self, function: Callable[..., Coro[Value]], items: Some, /, *more: Some, **options: Unpack[SharingRaises]
    ) -> Iterator[Value]: ...

    @overload
    def map(
        self, function: Callable[..., Value], items: Some, /, *more: Some, **options: Unpack[SharingRaises]
    ) -> Iterator[Value]: ...

    @overload
    def map(
        self, function: Callable[..., Coro[Value]], items: Some, /, *more: Some, **options: Unpack[SharingYields]
    ) -> Iterator[Value | BaseException]: ...

    @overload
    def map(
        self, function: Callable[..., Value], items: Some, /, *more: Some, **options: Unpack[SharingYields]
    ) -> Iterator[Value | BaseException]: ...

    @overload
    def map(
        self, function: Callable[[Item], Coro[Value]], items: Iterable[Item], **options: Unpack[Raises]
    ) -> Iterator[Value]: ...

    @overload
    def map(
        self, function: Callable[[Item], Value], items: Iterable[Item], **options: Unpack[Raises]
    ) -> Iterator[Value]: ...

    @overload
    def map(
        self, function: Callable[..., Coro[Value]], one: Some, other: Some, /, *more: Some, **options: Unpack[Raises]
    ) -> Iterator[Value]: ...

    @overload
    def map(
        self, function: Callable[..., Value], one: Some, other: Some, /, *more: Some, **options: Unpack[Raises]
    ) -> Iterator[Value]: ...

    @overload
    def map(
        self, function: Callable[[Item], Coro[Value]], items: Iterable[Item], **options: Unpack[Yields]
    ) -> Iterator[Value | BaseException]: ...

    @overload
    def map(
        self, function: Callable[[Item], Value], items: Iterable[Item], **options: Unpack[Yields]
    ) -> Iterator[Value | BaseException]: ...

    @overload
    def map(
        self, function: Callable[..., Coro[Value]], one: Some, other: Some, /, *more: Some, **options: Unpack[Yields]
    ) -> Iterator[Value | BaseException]: ...

    @overload
    def map(
        self, function: Callable[..., Value], one: Some, other: Some, /, *more: Some, **options: Unpack[Yields]
    ) -> Iterator[Value | BaseException]: ...

    def map(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *more_iterables: Iterable[Any],
        chunksize: int | None = None,
        seed: int | None = None,
        retry: RetryPolicy | None = None,
        retry_attempts: int | None = None,
        timeout: float | None = None,
        ordered: bool = True,
        on_error: Literal["raise", "return"] = "raise",
        limit: str | None = None,
        shared: Mapping[str, Any] | None = None,
        progress: bool | None = None,
        profile: None = None,
    ) -> Iterator[Any]:
        """Call the function with each of the items, on the workers; yield what it returns, in the order of the items.

        Items are taken as results are asked for, three batches a worker ahead: where nobody asks, nothing is called,
        and a `RuntimeWarning` says so. While the result that comes next is waited for, later items are taken as well:
        no worker stands still behind a long one, until 100,000 results, or 64 MiB of them, wait behind it. `chunksize`
        is how many items make up a batch, which is encoded, sent and run as one; by default that follows from how long
        they take, and a batch that takes too long gives back what it hasn't begun. Random numbers that the function
        draws follow from `seed` and the item's number, wherever it runs. Calls of an `async def` are awaited in the
        worker, one after the other. With `more_iterables` the function is called with an item of each, until the
        shortest one ends. What all calls take is `shared`, by the names of the function's parameters: large arrays,
        frames and bytes are put into shared memory once, and each worker has them for all its calls.

        What the function raises is raised where its result would come, with a note that names the item: all results of
        items before it have come then, and nothing more comes, whatever the number of workers and the batches' sizes.
        The same goes for an item or a result that can't be sent or rebuilt, and for what `items` raises. The function
        may have been called with items after that one by then; in its own batch not, if it was the function that
        raised. What a worker's death costs is its batch: the error names the batch's items, and comes after the results
        of all items before the first of them, while those of the batch itself are lost. Who stops iterating ends the
        call: what runs is stopped. Threads may share the results: each goes to one of them.

        With `retry_attempts`, or a policy for `retry`, an item that fails is tried again, as a task is, while others go
        on. `timeout` is how many seconds a call may take; items travel one by one then. With `on_error="return"` an
        exception comes in the place of the result, and others after it. With either, a worker's death is the end of the
        item that ran; the others of its batch begin once more. With `ordered=False` results come as they are there.
        `limit` is the name of one of the runner's limits, of which each batch takes one, as tasks do. With
        `progress` (by default what the runner was given) a display shows how many results have come.

        Raises:
            ValueError: an option makes no sense, the function can't be called with an item, or the runner was shut
                down.
            CaptureError: the function, or the initializer, can't be sent to a worker.
            InitializerError: the initializer raised; raised while iterating.
            NestedExecutionError: this was called in a task or its worker, of a runner with workers.
            EncodeError: an item or a result can't be sent; raised while iterating, as all that follows.
            DecodeError: an item can't be rebuilt in the worker, or a result in the program.
            TaskError: stands for what the function raised, if that can't be sent.
            WorkerDied: a worker died.
            TaskTimeout: a call took longer than `timeout`.
            MemoryLimitExceeded: a worker had more memory for itself than the runner's `memory_limit`.

        >>> import cloaca
        >>> with cloaca.DefaultRunner(workers=1) as runner:
        ...     list(runner.map(lambda number: number**2, range(5)))
        [0, 1, 4, 9, 16]
        """
        if profile is not None:
            raise ValueError(
                "map hands out results, and has no place for a profile: make the function a task with for_each, and "
                f"profile that, by execute(..., profile={profile!r})."
            )
        _load("cloaca.calls")  # who only runs workflows does without
        from cloaca.calls import call_each

        return call_each(
            self._runs,
            function,
            items,
            *more_iterables,
            chunksize=chunksize,
            seed=seed,
            retry=retry,
            retry_attempts=retry_attempts,
            timeout=timeout,
            ordered=ordered,
            on_error=on_error,
            limit=limit,
            shared=shared,
            progress=progress,
        )

    def shutdown(self) -> None:
        """End the workers, and wait for that: a few seconds at most. Idempotent.

        Executions that are under way end with a `RunnerClosedError`: `execute` and `Execution.result` raise it, as do
        the results of `map`. A signal handler may call this, whatever it has interrupted.
        """
        self._runs.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what `start` has begun, where the block has ended well, and shut down."""
        try:
            self._runs.close(waits=error is None)
        finally:
            self.shutdown()

    def _nursery(self, workers: int) -> choice.Spare:
        """What workers will be forked from, started now: until there is a task, it will have loaded what they need."""
        from cloaca.attempts.nesting import runs_task

        check_interpreter()
        spare = choice.Spare() if runs_task() else choice.nursery_for(workers)
        weakref.finalize(self, spare.close)
        return spare

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A runner stays in the program: a task that runs a workflow of its own makes one there, "
            "DefaultRunner(executor='serial'). Take it out of what is sent: where a task is a method, keep the runner "
            "elsewhere than in its object, or leave it out in __getstate__."
        )

    def __repr__(self) -> str:
        state = "closed" if self._runs.is_closed else "open"
        return f"DefaultRunner(workers={self._settings.workers}, executor={self._settings.executor!r}, {state})"


def runs_of(runner: DefaultRunner) -> "Runs":
    """What a runner has run, for those parts of cloaca that go on from there."""
    return runner._runs


def _store(url: str | None) -> str | None:
    """The URL of what records, if anything does."""
    named = os.environ.get("CLOACA_STORE") if url is None else url
    if named is None or named == _IN_MEMORY:
        return None
    from cloaca.store.url import path_of  # only where a script names a database

    return path_of(named)


def _load(name: str) -> None:
    """Load a part of what runs. Where there is no descriptor to read it with, that waits for one."""
    if name not in sys.modules:
        with undisturbed():
            patiently(partial(import_module, name))
