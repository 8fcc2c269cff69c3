"""DefaultRunner: runs workflows. It puts the parts together, and is the only module that knows all of them."""

import os
import pickle
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Literal, Self

from msgspec.structs import replace

from cloaca import argument, cores, interrupts, registry
from cloaca.config import DefaultRunnerConfig
from cloaca.context import Context, inlined_version, leases_of, versions_of
from cloaca.coordinator import Job
from cloaca.database import check_url
from cloaca.engine.run import GRACE_SECONDS, Limits, Merging, Run, Work
from cloaca.errors import InternalError, NestedExecutionError, RunnerClosedError
from cloaca.execution import serial, worker
from cloaca.execution.pool import Pool
from cloaca.execution.surroundings import here
from cloaca.loop import Inline, Loop
from cloaca.merge.rules import Rules
from cloaca.place import place_of
from cloaca.result import WorkflowResult
from cloaca.seed import LIMIT
from cloaca.storage import Leases, Storage
from cloaca.warning import warn
from cloaca.wire.blobs import LARGE, size_of
from cloaca.wire.codec import inlined
from cloaca.wire.functions import Captured, FunctionCache, RuleOf, next_number
from cloaca.wire.messages import Publish, Version
from cloaca.workflow import Task, Workflow

ExecutorName = Literal["processes", "serial"]

OnEnd = Callable[[Exception | None], None]
MakeJob = Callable[[OnEnd], Job]

LEAST_MEMORY = 1 << 26
"""What a worker's limit is at least, in bytes: it takes a fifth of that before it has done anything."""

HASH_SEED = "0"
"""All workers hash alike, so that the order of a set of strings can't depend on which of them ran a task."""


class Execution:
    """One execution of a workflow, running or ended. `id` is its own; `status` is "Running" until it ends."""

    def __init__(
        self,
        runner: "DefaultRunner",
        workflow: Workflow,
        rules: Rules,
        make_job: MakeJob,
        host: Inline | Loop,
        input_leases: object = None,
    ) -> None:
        self._runner: DefaultRunner | None = runner  # one that nobody holds ends, and its executions with it
        self.id = os.urandom(16).hex()
        self._job: Job | None = make_job(self._end)
        self._workflow = workflow
        self._rules = rules
        self._input_leases = input_leases
        self._oversized: list[str] = []
        self._warned = runner._warned
        self._host = host
        self._has_ended = False
        self._bells: list[SimpleQueue[None]] = []
        self._process = os.getpid()
        self._error: Exception | None = None
        self._result: WorkflowResult | None = None
        self._started = time.time()
        self._clock = self._started - time.monotonic()

    @property
    def status(self) -> str:
        """What the result says, or "Running" while there is none."""
        return "Running" if self._result is None else self._result.status

    def cancel(self) -> None:
        """Start nothing more, and stop the tasks that run; the result then says "Cancelled".

        A task that runs gets SIGTERM, which raises `SystemExit` in it, and is killed after the runner's
        `grace_seconds`.
        """
        self._cancel(grace=None)

    def _cancel(self, grace: float | None) -> None:
        job = self._job
        if job is not None:
            self._host.cancel(job, grace)

    def result(self, timeout: float | None = None) -> WorkflowResult:
        """Wait for the end, for at most `timeout` seconds, and return the result.

        Raises:
            TimeoutError: it hasn't ended in time; it goes on.
            KeyboardInterrupt: Ctrl-C was pressed; the execution was cancelled, and the exception's `result` tells how
                far it got. Pressed again meanwhile, tasks get no time to end in order.
            SystemExit: the program was told to end (SIGTERM, SIGHUP) while its main thread waited here, and has no
                handler of its own for that; the same applies.
        """
        try:
            with interrupts.raised():
                ended = self._wait(timeout)
                if ended:
                    self._host.settle()
        except (KeyboardInterrupt, SystemExit) as interrupt:
            self._stop(interrupt)
            self._attach(interrupt)
            raise
        if not ended:
            raise TimeoutError(f"Workflow {self._workflow.name!r} hasn't ended within {timeout} s. It goes on.")
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise InternalError("An execution ended with neither a result nor an error.")
        while self._oversized:
            warn(self._oversized.pop())
        return self._result

    def _wait(self, timeout: float | None) -> bool:
        """Wait for the end. Not by a `threading.Event`: Ctrl-C at the wrong moment would leave its lock taken."""
        if self._process != os.getpid():
            raise RunnerClosedError("This execution belongs to the process that forked this one: wait for it there.")
        bell: SimpleQueue[None] = SimpleQueue()
        self._bells.append(bell)
        if not self._has_ended:
            with suppress(Empty):
                bell.get(timeout=timeout)
        self._bells.remove(bell)  # a program may ask with short time limits, again and again
        return self._has_ended

    def _stop(self, interrupt: BaseException) -> None:
        """Cancel, and wait for the end; told so again, hurry."""
        try:
            if not self._has_ended:
                interrupts.tell(interrupt, self._workflow.name)
            self.cancel()
            self._wait(None)
        except KeyboardInterrupt:
            self._cancel(grace=0)
            self._wait(None)

    def _told_once(self, run: Run) -> list[str]:
        """What is to be said of large values, the first at the end; of each key once in a runner's life."""
        news = {key: found for key, found in run.oversized.items() if key not in self._warned}
        self._warned.update(news)
        return [
            f"Task {task!r} set key {key!r} to a value of {size / 1e6:,.1f} MB. That is fine if it is meant to be; the "
            "runner's argument warn_above says from which size on to warn."
            for key, (task, size) in reversed(news.items())
        ]

    def _begin(self) -> "Execution":
        try:
            if self._job is not None:
                self._host.begin(self._job)
        except KeyboardInterrupt as interrupt:
            self._attach(interrupt)
            raise
        return self

    def _attach(self, interrupt: BaseException) -> None:
        interrupt.result = self._result  # type: ignore[attr-defined]

    def _end(self, error: Exception | None) -> None:
        job, self._job = self._job, None  # it leads back here, and its run to every value: no circle keeps them
        try:
            if error is None and job is not None:
                self._oversized = self._told_once(job.run)
                self._result = WorkflowResult(
                    self._workflow.name,
                    self.id,
                    job.run,
                    self._rules,
                    self._started,
                    time.time(),
                    self._clock,
                    (job.leases, self._input_leases),
                )
        except Exception as fault:  # noqa: BLE001 - raised where the result is waited for, not on the coordinator's thread
            error = fault
        self._error = error
        self._runner = None
        self._has_ended = True
        for bell in list(self._bells):
            bell.put(None)


class DefaultRunner:
    """Runs workflows on worker processes that use every core.

    A runner is cheap to keep, may be reused for many executions and from several threads, and starts workers only when
    the first task needs one. Use it in a `with` block, or call `shutdown`; a program's end does it too.

    Args:
        database_url: where runs would be recorded; nothing is recorded yet. A URL of a file is accepted with a warning.
        workers: how many worker processes; by default as many as the cores that this process may use.
        executor: "processes", or "serial" to run every task in the calling thread, for debuggers, profilers and
            coverage. By default what the environment variable `CLOACA_EXECUTOR` says, or else "processes".
        warn_above: how many bytes a value may take, encoded, before there is a warning, once for each key.
        memory_limit: how many bytes of memory a worker may have for itself, at least 64 MiB. A task that makes it
            exceed that is stopped with `MemoryLimitExceeded`. What workers share doesn't count.
        task_timeout_seconds: how long one try of a task may take that has no `timeout` of its own.
        workflow_timeout_seconds: how long an execution may take; its tasks are cancelled then, and it has failed.
        grace_seconds: how long a task that is stopped (it took too long, or was cancelled) gets to put its things in
            order, before it is killed.

    Raises:
        ValueError: an argument makes no sense; the message says which.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("greeting"):
    ...
    ...     @cloaca.task()
    ...     def greet(context):
    ...         context.set("greeting", "Hello " + context["name"])
    >>> with cloaca.DefaultRunner(workers=1) as runner:
    ...     result = runner.execute("greeting", cloaca.Context({"name": "Ada"}))
    >>> result.status, result.final_context["greeting"]
    ('Completed', 'Hello Ada')
    """

    def __init__(
        self,
        database_url: str = "sqlite://:memory:",
        *,
        workers: int | None = None,
        executor: ExecutorName | None = None,
        warn_above: int = 1 << 30,
        memory_limit: int | None = None,
        task_timeout_seconds: float | None = None,
        workflow_timeout_seconds: float | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        _check_platform()
        check_url(database_url)
        self._workers = _checked_workers(workers)
        self._executor = _checked_executor(executor or os.environ.get("CLOACA_EXECUTOR") or "processes")
        self._warn_above = _checked_size("warn_above", warn_above, 1)
        self._memory_limit = None if memory_limit is None else _checked_size("memory_limit", memory_limit, LEAST_MEMORY)
        self._task_timeout = _checked_seconds("task_timeout_seconds", task_timeout_seconds)
        self._workflow_timeout = _checked_seconds("workflow_timeout_seconds", workflow_timeout_seconds)
        self._grace = _checked_grace(grace_seconds)
        self._warned: set[str] = set()
        self._lock = Lock()
        self._loop: Loop | None = None
        self._closed = False
        self._process = os.getpid()
        self._numbers = count()
        self._captures: weakref.WeakKeyDictionary[Workflow, _Captures] = weakref.WeakKeyDictionary()

    @classmethod
    def with_config(cls, database_url: str, config: DefaultRunnerConfig) -> Self:
        """A runner with what was set in `config`: its time limits, and `max_concurrent_tasks` workers."""
        return cls(
            database_url,
            workers=config.given("max_concurrent_tasks"),
            task_timeout_seconds=config.given("task_timeout_seconds"),
            workflow_timeout_seconds=config.given("workflow_timeout_seconds"),
        )

    def execute(
        self,
        workflow_name: str,
        context: Context | None = None,
        *,
        fail_fast: bool = False,
        seed: int | None = None,
    ) -> WorkflowResult:
        """Run the workflow of that name on `context`, and wait for its end. The caller's context doesn't change.

        A task that fails doesn't raise here: `result.status` tells, and `result.raise_for_status()` raises. With
        `fail_fast`, the first failure (after its last try) cancels all that hasn't ended. Random numbers follow from
        `seed`, from 0 to below 2**63; by default one is drawn, and `result.seed` tells it.

        Raises:
            ValueError: `seed` is no such number.
            UnknownWorkflowError: no workflow of that name is registered.
            CaptureError: the function of a task, or a merge rule, can't be sent to a worker; nothing has run.
            RunnerClosedError: the runner was shut down.
            NestedExecutionError: this was called in a worker.
            KeyboardInterrupt: Ctrl-C was pressed; the exception's `result` tells how far it got.
            SystemExit: the program was told to end (SIGTERM, SIGHUP); the same applies.
        """
        return self.start(workflow_name, context, fail_fast=fail_fast, seed=seed).result()

    def start(
        self,
        workflow_name: str,
        context: Context | None = None,
        *,
        fail_fast: bool = False,
        seed: int | None = None,
    ) -> Execution:
        """Start the workflow of that name on `context`; returns at once, with an `Execution`.

        With the serial executor it returns when the run has ended. Raises what `execute` raises.
        """
        self._check_usable()
        workflow = registry.find(workflow_name)
        given = _checked_context(context)
        inputs = versions_of(given)
        seed = _chosen_seed(seed)
        rules = Rules(workflow.merge, workflow.on_conflict)
        limits = Limits(self._workflow_timeout, fail_fast, self._grace, self._warn_above)
        if self._executor == "serial":
            return self._start_here(workflow, rules, inputs, limits, seed)
        captured, blobs = self._capture(workflow)
        rules = rules.packed(blobs)  # what rules use is read now, also for what is merged in this process later
        loop = self._running_loop()
        leases = _stored(inputs, loop.storage)
        surroundings = replace(here(), folders=loop.storage.folders)
        functions = [
            Publish(function.number, function.blob, _sent_along(task, function, rules.collected))
            for task, function in zip(_by_rank(workflow), captured, strict=True)
        ]
        sent = Publish(next_number(), pickle.dumps(rules), ())
        run = Run(
            workflow.plan,
            [
                Work(function.function, function.reads, task.timeout or self._task_timeout, task.retry)
                for task, function in zip(_by_rank(workflow), functions, strict=True)
            ],
            inputs,
            numbers=self._numbers,
            answers=True,
            limits=limits,
            merging=_merging(workflow, rules, sent.function),
            seed=seed,
        )

        def job(on_end: OnEnd) -> Job:
            return Job(workflow.name, run, functions, on_end, surroundings, sent, leases)

        return Execution(self, workflow, rules, job, loop, leases_of(given))._begin()

    def shutdown(self) -> None:
        """End the workers. Executions that are under way end with an error. Idempotent."""
        with self._lock:
            self._closed = True
            loop = self._loop
        if loop is not None:
            loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"DefaultRunner(workers={self._workers}, executor={self._executor!r}, {state})"

    def _start_here(
        self, workflow: Workflow, rules: Rules, inputs: dict[str, Version], limits: Limits, seed: int
    ) -> Execution:
        inputs = {key: inlined_version(version) for key, version in inputs.items()}
        functions = [task.function for task in _by_rank(workflow)]
        number = len(functions)
        run = Run(
            workflow.plan,
            [Work(rank, (), retry=task.retry) for rank, task in enumerate(_by_rank(workflow))],
            inputs,
            numbers=count(),
            answers=False,
            limits=limits,
            merging=_merging(workflow, rules, number),
            seed=seed,
        )
        host = Inline(serial.SerialExecutor({**dict(enumerate(functions)), number: rules}))

        def job(on_end: OnEnd) -> Job:
            return Job(workflow.name, run, (), on_end, here())

        return Execution(self, workflow, rules, job, host)._begin()

    def _capture(self, workflow: Workflow) -> tuple[list[Captured], dict[str, bytes]]:
        """The functions of the tasks by rank, and the merge rules by key, as they stand now."""
        with self._lock:
            cache = self._captures.setdefault(workflow, _Captures())
            functions = [cache.functions.capture(task.id, task.function) for task in _by_rank(workflow)]
            rules = workflow.merge.items()
            return functions, {key: cache.rules.capture(RuleOf(key), rule).blob for key, rule in rules}

    def _running_loop(self) -> Loop:
        with self._lock:
            self._check_usable()
            if self._loop is None:
                environment = {"PYTHONHASHSEED": HASH_SEED, **cores.thread_bounds(self._workers)}
                pool = Pool(self._workers, environment, cores.usable(), self._memory_limit)
                self._loop = Loop(pool, Storage())
                weakref.finalize(self, self._loop.stop)
            return self._loop

    def _check_usable(self) -> None:
        if worker.is_serving() or serial.runs_task():
            raise NestedExecutionError(
                "execute was called inside a task or its worker. Where a module starts a run when it is imported, put "
                "the call under `if __name__ == '__main__':`. A task can't run a workflow of its own."
            )
        if self._closed:
            raise RunnerClosedError("This runner was shut down. Create a new DefaultRunner.")
        if self._process != os.getpid():
            raise RunnerClosedError("This runner belongs to the process that forked this one. Create a new one here.")


class _Captures:
    """What of one workflow was pickled: its tasks' functions, and its merge rules."""

    def __init__(self) -> None:
        self.functions = FunctionCache()
        self.rules = FunctionCache()


def _by_rank(workflow: Workflow) -> list[Task]:
    return [workflow.tasks[place] for place in workflow.plan.defined]


def _sent_along(task: Task, function: Captured, collected: frozenset[str]) -> tuple[str, ...]:
    """The keys that a slice covers. What is kept by task grows with every task: it is sent where it is asked for."""
    reads = function.reads if task.reads is None else task.reads
    return reads if collected.isdisjoint(reads) else tuple(key for key in reads if key not in collected)


def _merging(workflow: Workflow, rules: Rules, number: int) -> Merging:
    directory = os.getcwd()  # noqa: PTH109 - a prefix of strings, not a path to open

    def place(rank: int) -> str:
        return place_of(workflow.tasks[workflow.plan.defined[rank]].function, directory)

    return Merging(number, frozenset(workflow.merge), rules.collected, rules.on_conflict == "fail", place)


def _stored(inputs: dict[str, Version], storage: Storage) -> Leases:
    """Put what is large among the inputs into the storage, in their place; returns the leases."""
    leases: Leases = {}
    for key, version in inputs.items():
        payload = version.payload
        if version.rivals:
            inputs[key] = inlined_version(version)
        if payload is None or size_of(payload) < LARGE or storage.has(payload):
            continue
        stored, lease = storage.put(inlined(payload))
        leases[stored] = lease
        inputs[key] = Version(version.writer, stored)
    return leases


def _check_platform() -> None:
    if sys.platform == "win32":
        raise RuntimeError("cloaca runs on Linux and macOS. On Windows, run it in WSL 2.")


def _checked_workers(workers: int | None) -> int:
    if workers is None:
        return cores.usable()
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ValueError(f"workers is a whole number of at least 1, or None for one per core; not {workers!r}")
    return workers


def _checked_size(name: str, size: int, least: int) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < least:
        raise ValueError(f"{name} is a number of bytes, at least {least:,}; not {size!r}")
    return size


def _checked_seconds(name: str, seconds: float | None) -> float | None:
    return None if seconds is None else argument.positive(f"{name}, in seconds,", seconds)


def _checked_grace(seconds: float) -> float:
    return argument.not_negative("grace_seconds", seconds)


def _chosen_seed(seed: int | None) -> int:
    """The seed that was given, or one that the system draws."""
    if seed is None:
        return int.from_bytes(os.urandom(8)) % LIMIT
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < LIMIT:
        raise ValueError(f"seed is a whole number from 0 to below 2**63, or None for one by chance; not {seed!r}")
    return seed


def _checked_executor(name: str) -> ExecutorName:
    if name == "processes":
        return "processes"
    if name == "serial":
        return "serial"
    raise ValueError(f'executor (or CLOACA_EXECUTOR) is "processes" or "serial", not {name!r}')


def _checked_context(context: Context | None) -> Context:
    if context is None:
        return Context()
    if not isinstance(context, Context):
        raise TypeError(f"execute takes a cloaca.Context, not {type(context).__name__}: Context({{...}}) makes one.")
    return context
