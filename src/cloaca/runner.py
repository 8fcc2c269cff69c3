"""DefaultRunner: runs workflows. It puts the parts together, and is the only module that knows all of them."""

import os
import pickle
import sys
import weakref
from array import array
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from itertools import count
from threading import BoundedSemaphore, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

from msgspec import Struct
from msgspec.structs import replace

from cloaca import argument
from cloaca.attempts.batch import Awaited, BatchFunction, Spread, UnbrokenBatch
from cloaca.attempts.expansion import Expansion
from cloaca.attempts.initializer import Equipment, equipment
from cloaca.attempts.nesting import runs_task
from cloaca.attempts.seeding import unseeded
from cloaca.attempts.workroom import Workroom
from cloaca.authoring.builder import WorkflowBuilder, workflow_of
from cloaca.border.surroundings import here
from cloaca.dataflow.demand import demand_of, looked_at
from cloaca.engine.batches import BatchRun
from cloaca.engine.events import Deliver
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats
from cloaca.engine.work import GRACE_SECONDS, Limits, Merging
from cloaca.errors import NestedExecutionError, RunnerClosedError
from cloaca.execution import choice, serial
from cloaca.execution.choice import Chosen
from cloaca.merge.rules import Rules
from cloaca.pickling.functions import OfMap, Sharing, capture, next_number
from cloaca.pool.launch import check_interpreter
from cloaca.results.result import WorkflowResult
from cloaca.retry import RetryPolicy
from cloaca.running import interrupts
from cloaca.running.batches import Sizes
from cloaca.running.coordinator import Job
from cloaca.running.future import Execution, OnEnd, Reporting, begun, executed, finish, outlast
from cloaca.running.loop import Inline, Loop
from cloaca.running.mapping import mapped, results_here
from cloaca.running.settings import (
    Settings,
    check_limit,
    check_limits_of,
    check_platform,
    checked_initializer,
    checked_limits,
    checked_memory,
    checked_order,
    checked_retry,
    checked_seconds,
    checked_size,
    chosen_seed,
)
from cloaca.sending.attached import Attached
from cloaca.sending.captures import Captures
from cloaca.sending.makings import Makings
from cloaca.sending.modules import Modules
from cloaca.sending.objects import objects_of
from cloaca.sending.values import kept, stored
from cloaca.sending.variables import Variables
from cloaca.tasks.context import Context, contents_of
from cloaca.tasks.place import place_of, working_directory
from cloaca.tasks.watched import context_kind
from cloaca.terms import Terms
from cloaca.values.holder import Holder
from cloaca.wire.messages import ITEMS, Publish, Surroundings
from cloaca.wire.shortage import patiently
from cloaca.wording import a
from cloaca.workflows.copies import homes, passing
from cloaca.workflows.workflow import Task, Workflow

if TYPE_CHECKING:
    from cloaca.compat.config import DefaultRunnerConfig
    from cloaca.values.storage import Leases

Item = TypeVar("Item")
Value = TypeVar("Value")
Coro: TypeAlias = Coroutine[Any, Any, Value]
Some: TypeAlias = Iterable[Any]

_IN_MEMORY = "sqlite://:memory:"

STARTUP_SECONDS = 60.0
"""How long workers may take to start before the time of an execution counts all the same."""


class _Options(TypedDict, total=False):
    """The keyword arguments of `map`, but for `on_error`."""

    chunksize: int | None
    seed: int | None
    retry: RetryPolicy | None
    retry_attempts: int | None
    timeout: float | None
    ordered: bool
    limit: str | None


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
        database_url: where runs would be recorded; nothing is recorded yet. A URL of a file is accepted with a warning.
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
        limits: how many attempts of tasks with `task(limit="db")` may run at once on this runner, by name: `{"db": 2}`.
        raise_on_failure: whether `execute` raises where a task fails, unless it is told otherwise.

    With `CLOACA_DEBUG=1` in the environment, tasks warn of changes that they make to a fetched value and never set.

    Raises:
        ValueError: an argument makes no sense; the message says which.
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
        database_url: str = _IN_MEMORY,
        *,
        workers: int | None = None,
        executor: Chosen | None = None,
        warn_above: int = 1 << 30,
        memory_limit: int | None = None,
        task_timeout_seconds: float | None = None,
        workflow_timeout_seconds: float | None = None,
        grace_seconds: float = GRACE_SECONDS,
        initializer: Callable[[], object] | None = None,
        limits: Mapping[str, int] | None = None,
        raise_on_failure: bool = False,
    ) -> None:
        check_platform()
        if database_url != _IN_MEMORY:
            from cloaca.compat.database import check_url  # only where a script names a database

            check_url(database_url)
        chosen = choice.checked(executor or os.environ.get("CLOACA_EXECUTOR") or "processes")
        self._settings = Settings(
            workers=argument.whole("workers", choice.workers_of(chosen) if workers is None else workers, least=1),
            executor=chosen,
            warn_above=argument.whole("warn_above, a number of bytes,", warn_above, least=1),
            memory_limit=checked_memory(memory_limit, chosen),
            task_timeout=checked_seconds("task_timeout_seconds", task_timeout_seconds),
            workflow_timeout=checked_seconds("workflow_timeout_seconds", workflow_timeout_seconds),
            grace=argument.not_negative("grace_seconds", grace_seconds),
            limits=checked_limits(limits),
            raise_on_failure=argument.switch("raise_on_failure", raise_on_failure),
        )
        if self._settings.executor == "processes":
            check_interpreter()
        self._initializer = checked_initializer(initializer)
        self._workroom = Workroom(self._initializer)
        self._gates = {name: BoundedSemaphore(size) for name, size in self._settings.limits.items()}
        self._seats = Seats(self._settings.limits)
        self._kind = context_kind()
        self._warned: set[str] = set()
        self._lock = Lock()
        self._loop: Loop | None = None
        self._closed = False
        self._process = os.getpid()
        self._under_way: set[Execution] = set()
        self._numbers = count()
        self._blocks = count(1 << 32, 1 << 32)  # of numbers for the objects that threads call
        self._objects: dict[int, object] = {}
        self._modules = Modules()
        self._known: weakref.WeakKeyDictionary[Workflow, _KnownWorkflow] = weakref.WeakKeyDictionary()

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
        context: Context | dict[str, Any] | None = None,
        *,
        fail_fast: bool = False,
        seed: int | None = None,
        raise_on_failure: bool | None = None,
    ) -> WorkflowResult:
        """Run a workflow on `context`, a `Context` or a dict, which doesn't change; and wait for its end.

        `workflow_name` is the workflow itself, its builder once the block has ended, or a name: that means the workflow
        that was defined last under it, anywhere in the process. A function that defines workflows executes the builder.

        A task that fails doesn't raise here: the logger "cloaca" tells what failed and where, and so does the result;
        `result.raise_for_status()` raises. With `raise_on_failure` (by default what the runner was given) this raises
        what that would, and nothing is logged. With `fail_fast`, the first failure (after its last try) cancels all
        that hasn't ended. Random numbers follow from `seed`, from 0 to below 2**63; by default one is drawn, and
        `result.seed` tells it.

        Raises:
            ValueError: `seed` is no such number, a task has a `limit` that this runner has not, or a builder's block
                hasn't ended.
            TypeError: `workflow_name` is no workflow, or `context` no context.
            UnknownWorkflowError: no workflow of that name is registered.
            WorkflowFailedError: a task failed, or the execution was cancelled, with `raise_on_failure`.
            WorkflowError: the workflow was made with `check="error"`, and the input lacks keys that it takes.
            CaptureError: the function of a task, a merge rule or the initializer can't be sent to a worker; nothing has
                run.
            InitializerError: the initializer raised.
            RunnerClosedError: the runner was shut down.
            NestedExecutionError: this was called in a worker.
            KeyboardInterrupt: Ctrl-C was pressed; the exception's `result` tells how far it got.
            SystemExit: the program was told to end (SIGTERM, SIGHUP); the same applies.

        Whatever a signal handler of the program raises meanwhile, as an alarm's, is raised here once the execution is
        cancelled.
        """
        raises = self._raises(said=raise_on_failure)
        told = Reporting(raises_failure=raises, logs_failure=not raises, logs_error=False)
        with interrupts.raised():
            return executed(self._made(workflow_name, context, told, fail_fast=fail_fast, seed=seed))

    def start(
        self,
        workflow_name: Workflow | WorkflowBuilder | str,
        context: Context | dict[str, Any] | None = None,
        *,
        fail_fast: bool = False,
        seed: int | None = None,
        raise_on_failure: bool | None = None,
    ) -> Execution:
        """Start a workflow on `context`; returns at once, with an `Execution`. Takes what `execute` takes.

        With the serial executor it returns when the run has ended. Raises what `execute` raises, but for failures: with
        `raise_on_failure`, `Execution.result` raises those. They are logged in any case, as nobody need ask for it.
        """
        told = Reporting(self._raises(said=raise_on_failure), logs_failure=True, logs_error=True)
        return begun(self._made(workflow_name, context, told, fail_fast=fail_fast, seed=seed))

    def _raises(self, *, said: bool | None) -> bool:
        return self._settings.raise_on_failure if said is None else argument.switch("raise_on_failure", said)

    def _made(
        self,
        workflow_name: Workflow | WorkflowBuilder | str,
        context: Context | dict[str, Any] | None,
        told: Reporting,
        *,
        fail_fast: bool,
        seed: int | None,
    ) -> Execution:
        from cloaca.dataflow import check

        self._check_usable()
        workflow = workflow_of(workflow_name)
        check_limits_of(workflow, self._settings.limits)
        given = contents_of(_checked_context(context))
        inputs = given.versions()
        found = check.told(workflow, inputs)
        seed = chosen_seed(seed)
        rules = Rules(workflow.merge, workflow.on_conflict, homes(workflow))
        settings = self._settings
        startup = STARTUP_SECONDS if self._initializer is None else 0.0
        limits = Limits(settings.workflow_timeout, fail_fast, settings.grace, settings.warn_above, startup)
        known = self._known_of(workflow)
        loop = None if settings.executor == "serial" else self._running_loop()
        makings = self._makings(workflow, known, rules, None if loop is None or loop.calls_objects else loop.holder)
        host = self._inline(makings) if loop is None else loop
        leases = {**makings.leases, **stored(inputs, host.holder)}
        surroundings = self._surroundings(host.holder)
        run = Run(
            workflow.plan,
            makings.work,
            inputs,
            numbers=self._numbers,
            answers=host.answers,
            limits=limits,
            merging=_merging(workflow, makings.rules, makings.number),
            demand=demand_of(workflow),
            seed=seed,
            variables=makings.variables,
            durations=known.durations,
            habits=known.habits,
            store=partial(kept, host.holder, leases),
            seats=host.seats,
            looks=() if host.answers or makings.objects else looked_at(workflow),
        )
        called = self._objects  # not the runner itself: whoever lets go of it ends it

        def job(on_end: OnEnd) -> Job[Run]:
            ending = _at_hand(called, makings.objects, on_end)
            return Job(workflow.name, run, makings.functions, ending, surroundings, makings.sent, leases)

        under_way = self._under_way
        return Execution(self, self._warned, workflow, makings.rules, job, host, under_way, told, given.leases, found)

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
        `limit` is the name of one of the runner's limits: no more batches run at once than that says, nor tasks.

        Raises:
            ValueError: an option makes no sense, the function can't be called with an item, or the runner was shut
                down.
            CaptureError: the function, or the initializer, can't be sent to a worker.
            InitializerError: the initializer raised; raised while iterating.
            NestedExecutionError: this was called in a worker.
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
        self._check_usable()
        terms = Terms(checked_retry(retry, retry_attempts), chosen_seed(seed), *checked_order(on_error, ordered))
        timeout = checked_seconds("timeout", timeout)
        sizes = Sizes(checked_size(chunksize, timeout))
        check_limit(limit, self._settings.limits)
        shared = argument.shared(shared)
        place = place_of(function, working_directory()) if shared else ""
        called = argument.of_items(function, 1 + len(more_iterables), shared, place)
        called = Sharing(called, **shared) if shared else called
        given = Spread(called) if more_iterables else called
        given = Awaited(given) if argument.is_awaited(called) else given
        items = zip(items, *more_iterables, strict=False) if more_iterables else items
        if self._settings.executor == "serial":
            gate = self._gates[limit] if limit else nullcontext()
            single = BatchFunction(given, terms.seed, sizes.longest)
            return results_here(serial.each(single, items, self._workroom, terms, gate))
        kind = UnbrokenBatch if terms.goes_on else BatchFunction
        sent, own, variables, objects = None, list[Publish](), 0, dict[int, object]()
        leases: Leases = {}
        loop = self._running_loop()
        if loop.calls_objects:
            number = next(self._blocks)
            objects = {number: kind(given, terms.seed, sizes.longest, unseeded)}
        else:
            apart = Attached(loop.holder, leases)
            captured = capture(OfMap("map"), kind(given, terms.seed, sizes.longest), called, apart)
            number = captured.number
            sent = Publish(number, captured.blob, (ITEMS,), attached=captured.attached)
            wanted = Variables([called], lambda _: "The function of map").now()
            own, variables = ([], 0) if wanted is None else ([wanted], wanted.function)
        surroundings = self._surroundings(loop.holder)
        run = BatchRun(
            number,
            numbers=self._numbers,
            grace=self._settings.grace,
            variables=variables,
            timeout=timeout,
            limit=limit,
            seats=self._seats,
        )

        called_here = self._objects  # not the runner itself: whoever lets go of it ends it

        def job(on_delivery: Callable[[Deliver], None], on_end: OnEnd) -> Job[BatchRun]:
            ending = _at_hand(called_here, objects, on_end)
            return Job("", run, own, ending, surroundings, sent, leases, on_delivery)

        return mapped(self, loop, job, items, sizes, self._settings.workers, terms)

    def shutdown(self) -> None:
        """End the workers, and wait for that: a few seconds at most. Idempotent.

        Executions that are under way end with a `RunnerClosedError`: `execute` and `Execution.result` raise it, as do
        the results of `map`. A signal handler may call this, whatever it has interrupted.
        """
        self._closed = True  # without a lock: what a signal handler has interrupted may hold it
        if self._loop is not None:
            self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what `start` has begun, where the block has ended well, and shut down."""
        self._closed = True
        try:
            if error is None:
                finish(self._under_way)
        finally:
            self.shutdown()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A runner stays in the program, as a task can't run a workflow of its own. Take it out of what is sent: "
            "where a task is a method, keep the runner elsewhere than in its object, or leave it out in __getstate__."
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"DefaultRunner(workers={self._settings.workers}, executor={self._settings.executor!r}, {state})"

    def _known_of(self, workflow: Workflow) -> "_KnownWorkflow":
        """What is known of the workflow. Where tasks run one after the other, nothing is learnt: their order stays."""
        with self._lock:
            known = self._known.get(workflow)
            if known is None:
                known = _KnownWorkflow(array("d", bytes(8 * len(workflow.tasks))), {})
                if self._settings.executor != "serial":
                    self._known[workflow] = known
            return known

    def _makings(self, workflow: Workflow, known: "_KnownWorkflow", rules: Rules, holder: Holder | None) -> Makings:
        """What is called here; or what workers are sent, as it stands now, in `holder` what of it is large."""
        if holder is None:
            return objects_of(workflow, rules, _expansion, self._time_limit, next(self._blocks))
        with self._lock:
            if known.captures is None:
                known.captures = Captures(workflow, rules.collected, self._settings.task_timeout, _expansion)
            captured = known.captures.now(holder)
        rules = rules.packed(captured.rules)  # what they use is read now, also for what is merged here later
        sent = Publish(next_number(), pickle.dumps(rules), ())
        return Makings(
            captured.work, rules, sent.function, captured.functions, sent, captured.variables, leases=captured.leases
        )

    def _time_limit(self, task: Task) -> float | None:
        """How long a try may take. On the thread that calls, nothing can be ended before its time."""
        return None if self._settings.executor == "serial" else task.timeout or self._settings.task_timeout

    def _inline(self, makings: Makings) -> Inline:
        """What runs one execution on the thread that calls."""
        gates = {work.function: self._gates[work.limit] for work in makings.work if work.limit is not None}
        executor = serial.SerialExecutor(makings.objects, self._workroom, gates, self._kind)
        return Inline(executor, Seats(self._settings.limits))

    def _running_loop(self) -> Loop:
        with self._lock:
            self._check_usable()
            if self._loop is None:
                self._loop = patiently(self._made_loop)
            loop = self._loop
        if self._closed:  # meanwhile, by another thread or a signal handler, who saw no loop to stop
            loop.stop()
            self._check_usable()
        return loop

    def _made_loop(self) -> Loop:
        """What runs tasks. Where something lacks for it, nothing is left."""
        settings = self._settings
        with ExitStack() as undo:
            if settings.executor == "processes":
                executor, holder = choice.on_processes(settings.workers, settings.memory_limit, self._equipment())
            else:
                executor, holder = choice.on_provider(
                    settings.executor, settings.workers, self._objects, self._workroom, self._kind, self._equipment
                )
            undo.callback(executor.close)
            undo.callback(holder.close)
            loop = Loop(executor, holder, self._seats)
            undo.pop_all()
        weakref.finalize(self, _end, weakref.ref(self), self._under_way, loop)
        return loop

    def _surroundings(self, holder: Holder) -> Surroundings:
        """Where tasks run that are started now."""
        if self._settings.executor != "processes":
            return here()
        folders = holder.renew()
        modules = self._modules.now(holder)
        return replace(here(), folders=folders, modules=modules.payload, generation=modules.generation)

    def _equipment(self) -> Equipment | None:
        """The initializer, as workers get it."""
        if self._initializer is None:
            return None
        return equipment(
            self._initializer, Variables([self._initializer], lambda _: "The runner's initializer").contents()
        )

    def _check_usable(self) -> None:
        if runs_task():
            raise NestedExecutionError(
                "execute was called inside a task or its worker. Where a module starts a run when it is imported, put "
                "the call under `if __name__ == '__main__':`. A task can't run a workflow of its own."
            )
        if self._closed:
            raise RunnerClosedError("This runner was shut down. Create a new DefaultRunner.")
        if self._process != os.getpid():
            raise RunnerClosedError("This runner belongs to the process that forked this one. Create a new one here.")


class _KnownWorkflow(Struct):
    """What a runner knows of a workflow that it has run: what runs are given and bring up to date, and its captures."""

    durations: MutableSequence[float]
    habits: MutableMapping[int, tuple[str, ...]]
    captures: Captures | None = None


def _end(runner: "weakref.ref[DefaultRunner]", under_way: set[Execution], loop: Loop) -> None:
    """Nobody has the runner any more, or the program ends: it waits for what it has begun, unless Ctrl-C ends it.

    A runner is collected on any thread, in the middle of anything: there nothing is waited for.
    """
    if runner() is None:
        loop.let_go()
        return
    try:
        if not isinstance(getattr(sys, "last_value", None), KeyboardInterrupt):
            with suppress(KeyboardInterrupt, SystemExit):  # it has ended the execution, and the program ends anyway
                outlast(under_way)
    finally:
        loop.stop()


def _at_hand(objects: dict[int, object], called: Mapping[int, object], on_end: OnEnd) -> OnEnd:
    """A run begins that calls these: they are there until it has ended. Returns what is to be told of that."""
    objects.update(called)

    def ending(error: Exception | None) -> None:
        for number in called:
            objects.pop(number, None)
        on_end(error)

    return ending


def _expansion(task: Task) -> Expansion:
    """What expands a mapped task."""
    return Expansion(task.id, task.for_each or "")


def _merging(workflow: Workflow, rules: Rules, number: int) -> Merging:
    directory = working_directory()

    def place(rank: int) -> str:
        return place_of(workflow.tasks[workflow.plan.defined[rank]].function, directory)

    return Merging(
        number, frozenset(workflow.merge), rules.collected, rules.on_conflict == "fail", place, passing(workflow)
    )


def _checked_context(given: Context | dict[str, Any] | None) -> Context:
    if isinstance(given, Context):
        return given
    if given is not None and not isinstance(given, dict):
        raise TypeError(f"execute takes a dict or a cloaca.Context of first values, not {a(type(given).__name__)}.")
    return Context(given)
