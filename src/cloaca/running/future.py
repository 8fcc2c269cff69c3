"""Execution: a run that was started, and the result that is to come of it."""

import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from cloaca.dataflow.finding import Finding
from cloaca.engine.facts import Fact, TaskExpanded, TaskFinished
from cloaca.engine.run import Run
from cloaca.errors import InternalError, RunnerClosedError
from cloaca.merge.rules import Rules
from cloaca.profiling.profiles import NOTHING_PROFILED, Profiles
from cloaca.progress.left import TimeLeft
from cloaca.progress.progress import Progress, progress_of
from cloaca.results.result import WorkflowResult
from cloaca.results.tasks import Reused
from cloaca.running import interrupts
from cloaca.running.callbacks import Callbacks
from cloaca.running.console import PATIENCE_SECONDS
from cloaca.running.coordinator import Job, OnEnd
from cloaca.running.hooks import hooked
from cloaca.running.log import Log
from cloaca.running.loop import Inline, Loop
from cloaca.running.readings import Readings
from cloaca.values.storage import Leases
from cloaca.warning import warn
from cloaca.wire.messages import SpanNote
from cloaca.wording import attach, shortened, summary_of
from cloaca.workflows.workflow import Workflow

if TYPE_CHECKING:
    from cloaca.running.bell import Bell

RECORDED_SECONDS = 10.0
"""How long an interrupted execution waits at most until it is recorded."""

_FAILED = "Workflow %r failed. %s"
_ENDED = "Workflow %r: %s, %d tasks in %.3f s."

_AS_ITS_INSTANCES = ""
"""In place of an execution: where a task was taken over from will be known with its first instance."""

_logger = logging.getLogger("cloaca")

MakeRun = Callable[[OnEnd], Job[Run]]


class Follower(Protocol):
    """What records an execution (see `cloaca.recording`)."""

    fault: Exception | None
    """What the store has failed with, where it has."""
    kept: int
    """How many tries of tasks and instances it has recorded so far."""

    def call_on_fault(self, call: Callable[[Exception], None]) -> None:
        """Call this with what the store has failed with, the first time, on another thread."""
        ...

    def follow(self, facts: Sequence[Fact], leases: Leases) -> None:
        """These have happened."""
        ...

    def end(self, status: str, at: float) -> None:
        """It has ended so."""
        ...

    def settle(self, until: float | None = None) -> bool:
        """Wait until all is recorded, or that moment has come; returns whether it is."""
        ...


class Spans(Protocol):
    """What makes spans of an execution (see `cloaca.tracing.spans`)."""

    def follow(self, facts: Sequence[Fact]) -> None:
        """These have happened."""
        ...

    def note(self, noted: SpanNote) -> None:
        """A task has told that of its span."""
        ...

    def end(self, status: str, error: str | None, at: float) -> None:
        """It has ended so."""
        ...


class Shown(Protocol):
    """What shows how far an execution is (see `cloaca.progress`)."""

    def settle(self) -> None:
        """It has ended: wait, a moment at most, until that is shown."""
        ...

    def drop(self) -> None:
        """It never began: show it no more."""
        ...


class Reporting(NamedTuple):
    """How an execution is told of that fails, or is ended by an error: `result` raises, or it is logged, or both.

    `raises_fault`: `result` raises, too, where it could not be recorded.
    """

    raises_failure: bool
    logs_failure: bool
    logs_error: bool
    raises_fault: bool = False


def new_id() -> str:
    """An id that no other execution has: 32 hex digits."""
    return os.urandom(16).hex()


class Execution:
    """One execution of a workflow, running or ended. `id` is its own; `status` is "Running" until it ends.

    Made by a runner, which it keeps going: a runner that nobody holds ends, and its executions with it.
    """

    def __init__(
        self,
        owner: object,
        warned: set[str],
        workflow: Workflow,
        rules: Rules,
        make_job: MakeRun,
        host: Inline | Loop,
        under_way: set["Execution"],
        telling: Reporting,
        time_left: TimeLeft,
        input_leases: object = None,
        findings: tuple[Finding, ...] = (),
        id: str = "",
        recorded: Follower | None = None,
        workers: int = 0,
        spans: Spans | None = None,
        profiles: Profiles = NOTHING_PROFILED,
    ) -> None:
        self._owner: object = owner
        self.id = id or new_id()
        self._recorded = recorded
        if recorded is not None:
            recorded.call_on_fault(self._tell_fault)
        self._origins: dict[tuple[str, int | None], str] = {}  # of what was taken over
        self._workflow = workflow
        self._rules = rules
        self._findings = findings
        job = make_job(self._end)
        self._callbacks = Callbacks(workflow, rules, job.run, hooked(self.id, workflow.name))
        job.on_release, job.catch_up = self._callbacks.release, self._catch_up
        self._profiles = profiles
        if profiles:
            job.on_profile = profiles.add
        self._readings = Readings()
        job.on_memory = self._readings.note
        self._variables = copy_context()  # handlers of loggers may look at those of the caller
        self._log = Log(self.id, workflow.name, partial(_logged, host, self._variables), job.run.reasons)
        self._is_logged = Log.is_wanted()
        self._has_told_kept = False
        self._spans = spans
        if spans is not None:
            job.on_note = partial(_noted, host, spans)
        if self._callbacks.is_wanted or recorded is not None or self._is_logged or spans is not None:
            job.on_facts = self._follow
            job.run.listen()
        self._job: Job[Run] | None = job
        self._input_leases = input_leases
        self._workers = workers
        self._ledger = job.run.ledger
        self._time_left = time_left
        self._shown: Shown | None = None
        self._oversized: list[str] = []
        self._warned = warned
        self._under_way = under_way
        self._telling = telling
        self._host = host
        self._has_begun = self._has_ended = False
        self._bells: list[SimpleQueue[None] | Bell] = []
        self._process = os.getpid()
        self._error: Exception | None = None
        self._result: WorkflowResult | None = None
        self._started = time.time()
        self._clock = self._started - time.monotonic()

    def __reduce__(self) -> NoReturn:
        raise TypeError("An execution stays in the program: take its result(), or what you need of that, out there.")

    def __repr__(self) -> str:
        seconds = (time.time() if self._result is None else self._started + self._result.duration) - self._started
        why = "" if self._error is None else f", {shortened(summary_of(self._error))!r}"
        return f"Execution({self._workflow.name!r}, {self.status!r}, {seconds:.3f} s{why})"

    def __await__(self) -> Generator[Any, None, WorkflowResult]:
        """Wait for the result in an event loop: `await execution` gives and raises what `result()` does.

        Callbacks of the workflow are called in the loop's thread. Who stops waiting doesn't cancel the run.
        """
        return self._awaited().__await__()

    async def _awaited(self) -> WorkflowResult:
        from cloaca.running.bell import Bell  # asyncio takes longer to load than a worker to start

        bell = Bell()
        self._bells.append(bell)
        try:
            self._catch_up()
            while not self._has_ended:
                await bell.heard()
                self._catch_up()
        finally:
            self._bells.remove(bell)
        return self.result()

    @property
    def status(self) -> str:
        """What the result says, or "Running" while there is none; "Failed" where an error has ended it."""
        if self._result is None:
            return "Running" if self._error is None else "Failed"
        return self._result.status

    def progress(self) -> Progress:
        """How far it is: how many tasks have ended and how, what runs where, and how long the rest will take.

        It is looked up when it is asked for; any thread may ask, as often as it likes.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("greeting") as builder:
        ...
        ...     @cloaca.task()
        ...     def greet(context):
        ...         context.set("greeting", "Hello")
        >>> with cloaca.DefaultRunner(workers=1) as runner:
        ...     execution = runner.start(builder)
        ...     result = execution.result()
        >>> execution.progress().fraction, execution.progress().status
        (1.0, 'Completed')
        """
        job, now = self._job, time.monotonic()
        attempts = () if job is None else [*job.run.open_attempts.values()]
        seconds = now + self._clock - self._started if self._result is None else self._result.duration
        where = self._workflow.name, self.status, self._ledger, attempts, self._time_left
        return progress_of(*where, seconds, now, self._origins)

    def show(self, shown: "Shown") -> None:
        """Let this show how far it is, until it has ended."""
        self._shown = shown

    def done(self) -> bool:
        """Whether it has ended, one way or another: `result()` won't wait for tasks any more."""
        return self._has_ended

    def cancel(self) -> None:
        """Start nothing more, and stop the tasks that run; the result then says "Cancelled".

        A task that runs gets SIGTERM, which raises `SystemExit` in it, and is killed after the runner's
        `grace_seconds`. Any thread and any signal handler may call this: it waits for nothing.
        """
        self._cancel(grace=None)

    def _cancel(self, grace: float | None) -> None:
        job = self._job
        if job is not None:
            self._host.cancel(job, grace)

    def result(self, timeout: float | None = None) -> WorkflowResult:
        """Wait for the end, for at most `timeout` seconds, and return the result.

        By then what tasks have printed and logged is shown: without a `timeout` that is waited for, too, however long
        nobody reads it. Callbacks of the workflow are called meanwhile, here: one that runs is waited for, whatever the
        time. Where nobody waits, none is called.

        Raises:
            WorkflowFailedError: it didn't complete, and was started with `raise_on_failure`.
            OSError: what tasks print can't be written, as the disk is full; or whatever else the program's `sys.stdout`
                raises. The run has ended, and the exception has its `result`.
            TimeoutError: it hasn't ended in time; it goes on.
            KeyboardInterrupt: Ctrl-C was pressed; the execution was cancelled, and the exception's `result` tells how
                far it got. Pressed again meanwhile, tasks get no time to end in order, and no callback is called.
            SystemExit: the program was told to end (SIGTERM, SIGHUP) while its main thread waited here, and has no
                handler of its own for that; the same applies.
        """
        if not self._finish(timeout):
            raise TimeoutError(f"Workflow {self._workflow.name!r} hasn't ended within {timeout} s. It goes on.")
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise InternalError("An execution ended with neither a result nor an error.")
        while self._oversized:
            warn(self._oversized.pop())
        unwritten = self._host.unwritten()
        if unwritten is not None:
            attach(unwritten, "result", self._result)
            raise unwritten
        if self._recorded is not None and self._recorded.fault is not None and self._telling.raises_fault:
            attach(self._recorded.fault, "result", self._result)
            raise self._recorded.fault
        if self._telling.raises_failure:
            self._result.raise_for_status()
        return self._result

    def _finish(self, timeout: float | None = None) -> bool:
        """Wait for the end, and for what tasks have printed until then; returns whether it has come in time."""
        until = None if timeout is None else time.monotonic() + timeout
        with interrupts.raised():
            try:
                ended = self._wait(until, until)
                if ended:
                    self._host.settle(until)
                    ended = self._settle(until)
                    if ended:
                        self._tell_kept()
                    self._show_end()
                    self._under_way.discard(self)
            except (KeyboardInterrupt, SystemExit) as interrupt:
                told = self._stop(interrupt)
                attach(told, "result", self._result)
                raise told from (None if told is interrupt else interrupt)
            return ended

    def _show_end(self) -> None:
        shown, self._shown = self._shown, None  # it leads back here
        if shown is not None:
            shown.settle()

    def _settle(self, until: float | None) -> bool:
        """Wait until it is recorded how it ended; returns whether that is so."""
        return self._recorded is None or self._recorded.settle(until)

    def _wait(self, until: float | None, shown_by: float | None) -> bool:
        """Wait for the end until a moment; returns whether it has come.

        Not by a `threading.Event`: Ctrl-C at the wrong moment would leave its lock taken. What tasks have printed is
        waited for until `shown_by`.
        """
        if self._process != os.getpid():
            raise RunnerClosedError("This execution belongs to the process that forked this one: wait for it there.")
        bell: SimpleQueue[None] = SimpleQueue()
        self._bells.append(bell)
        try:
            self._catch_up(shown_by)
            while not self._has_ended and _rings(bell, until):
                self._catch_up(shown_by)
        finally:
            self._bells.remove(bell)  # a program may ask with short time limits, again and again
        if self._has_ended:
            self._catch_up(shown_by)
        return self._has_ended

    def _catch_up(self, shown_by: float | None = None) -> None:
        """Call the callbacks that are due, after all that tasks have printed until then, if it is shown in time."""
        if self._callbacks.is_due:
            self._host.settle(shown_by)
        self._callbacks.call()

    def _follow(self, facts: Sequence[Fact]) -> None:
        if self._recorded is not None and self._job is not None:
            self._recorded.follow(facts, self._job.leases)
            self._note_origins(facts)
        if self._is_logged:
            self._log.follow(facts)
        if self._spans is not None and facts:
            self._host.do(partial(self._spans.follow, facts))
        if self._callbacks.is_wanted:
            self._callbacks.follow(facts)
        if self._callbacks.is_due:
            self._ring()

    def _note_origins(self, facts: Sequence[Fact]) -> None:
        """Note what was taken over, and from where. A mapped task was if all its instances were.

        One that follows another item by item has no attempt of its own: it is as its instances are.
        """
        origins = self._origins
        for fact in facts:
            match fact:
                case TaskExpanded(reused=True) | TaskFinished(reused=True):
                    origins[fact.task, fact.item] = origin = fact.origin or self.id
                    if origins.get((fact.task, None)) == _AS_ITS_INSTANCES:
                        origins[fact.task, None] = origin
                case TaskExpanded(usage=None):
                    origins[fact.task, None] = _AS_ITS_INSTANCES
                case TaskFinished(item=int()):
                    origins.pop((fact.task, None), None)
                case TaskFinished() if origins.get((fact.task, None)) == _AS_ITS_INSTANCES:
                    del origins[fact.task, None]
                case _:
                    pass

    def _ring(self) -> None:
        for bell in list(self._bells):
            bell.put(None)

    def _stop(self, interrupt: BaseException) -> BaseException:
        """Cancel, and wait for the end; told so again, hurry. Returns what the program is to be told: to end, if so.

        Output that nobody reads is waited for a moment only.
        """
        shown_by = time.monotonic() + PATIENCE_SECONDS
        try:
            if not self._has_ended:
                interrupts.tell(interrupt, self._workflow.name, self._way_on("; it is on record, "))
            self.cancel()
            self._wait(None, shown_by)
            self._settle(time.monotonic() + RECORDED_SECONDS)
            self._show_end()
        except BaseException as second:  # noqa: BLE001 - an alarm of the program may go off anywhere, as often as it likes
            self._callbacks.give_up()
            self._cancel(grace=0)
            self._wait(None, shown_by)
            self._show_end()
            return second if isinstance(second, SystemExit) else interrupt
        return interrupt

    def _told_once(self, run: Run) -> list[str]:
        """What is to be said of large values, the first at the end; of each key once in a runner's life."""
        news = {key: found for key, found in run.oversized.items() if key not in self._warned}
        self._warned.update(news)
        return [
            f"Task {task!r} set key {key!r} to a value of {size / 1e6:,.1f} MB. That is fine if it is meant to be; the "
            "runner's argument warn_above says from which size on to warn."
            for key, (task, size) in reversed(news.items())
        ]

    def _end(self, error: Exception | None) -> None:
        job, self._job = self._job, None  # it leads back here, and its run to every value: no circle keeps them
        try:
            if error is None and job is not None:
                self._oversized = self._told_once(job.run)
                self._result = WorkflowResult(
                    self._workflow,
                    self.id,
                    job.run,
                    self._rules,
                    self._started,
                    time.time(),
                    self._clock,
                    (job.leases, self._held_beside()),
                    self._findings,
                    Reused(self._origins, job.run.reasons),
                    self._workers,
                    self._profiles,
                    self._readings.kept,
                )
        except Exception as fault:  # noqa: BLE001 - raised where the result is waited for, not on the coordinator's thread
            error = fault
        self._error = error
        self._time_left.end(self._ledger)
        if self._recorded is not None:
            self._recorded.end("Interrupted" if self._result is None else self._result.status, time.time())
        self._tell_end()
        self._end_spans()
        self._callbacks.end(self._result, None if job is None else job.leases, *self._ended())
        if not self._callbacks.is_due:
            self._under_way.discard(self)
        self._has_ended = True
        self._ring()
        self._owner = None  # perhaps nobody else had the runner: it ends here

    def _held_beside(self) -> object:
        """What keeps large values beside the leases of the run. Those that were on record lie in files of the store."""
        return self._input_leases if self._recorded is None else (self._input_leases,)

    def _tell_end(self) -> None:
        """Have it logged how the run ended, or that it ended with an error that nobody waits for."""
        telling, name, result = self._telling, self._workflow.name, self._result
        if result is None:
            if self._error is not None and telling.logs_error and not self._bells:
                text = f"{summary_of(self._error)} Nobody waits for its result."
                self._log.end(logging.ERROR, _FAILED, name, text, status="Failed", seconds=time.time() - self._started)
        elif result.status == "Failed" and telling.logs_failure:
            text = (result.error_message or "") + self._way_on("\nIt is on record. Mend it, and ")
            self._log.end(logging.ERROR, _FAILED, name, text, status="Failed", seconds=result.duration)
        elif self._is_logged:
            how, count = result.status, len(result.tasks)
            self._log.end(logging.INFO, _ENDED, name, how, count, result.duration, status=how, seconds=result.duration)

    def _end_spans(self) -> None:
        if self._spans is None:
            return
        at, _, error = self._ended()
        status = "Failed" if self._result is None else self._result.status
        self._host.do(partial(self._spans.end, status, error, at))

    def _ended(self) -> tuple[float, float, str | None]:
        """Now, as it has ended; how many seconds it has taken; and why it hasn't completed, if so."""
        result, error, now = self._result, self._error, time.time()
        if result is not None:
            return now, result.duration, result.error_message
        return now, now - self._started, None if error is None else summary_of(error)

    def _tell_kept(self) -> None:
        """Have it logged, once, how much of it is on record."""
        if self._recorded is not None and self._is_logged and self._recorded.fault is None and not self._has_told_kept:
            self._has_told_kept = True
            self._log.keep(self._recorded.kept)

    def _tell_fault(self, fault: Exception) -> None:
        """Say that nothing is recorded of it any more. Where the result is to tell, it is cancelled."""
        if self._telling.raises_fault:
            self.cancel()
            return
        text = f"{fault} It goes on, and is not recorded from here on."
        told = partial(_logger.error, "Workflow %r: %s", self._workflow.name, text)
        _logged(self._host, self._variables, logging.ERROR, told)

    def _way_on(self, lead: str) -> str:
        """How to go on with the execution, behind a `lead`; nothing where it isn't on record."""
        is_recorded = self._recorded is not None and self._recorded.fault is None
        return f"{lead}go on by runner.resume({self.id!r})" if is_recorded else ""


def _logged(host: Inline | Loop, variables: Context, level: int, call: Callable[[], None]) -> None:
    """Have a record of that level logged, after what tasks have printed so far."""
    host.log(level, partial(variables.run, call))


def _noted(host: Inline | Loop, spans: Spans, noted: SpanNote) -> None:
    host.do(partial(spans.note, noted))


def _rings(bell: "SimpleQueue[None]", until: float | None) -> bool:
    """Whether a bell rings before a moment has come."""
    try:
        bell.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
    except Empty:
        return False
    return True


def begun(execution: Execution) -> Execution:
    """The execution, with its run handed to its host."""
    with interrupts.raised():
        try:
            if execution._job is not None:
                execution._under_way.add(execution)
                execution._callbacks.begin(execution._started)
                execution._host.begin(execution._job)
                execution._has_begun = True
        except BaseException as error:
            execution._cancel(grace=None)
            execution._under_way.discard(execution)
            if execution._shown is not None and not execution._has_ended:
                execution._shown.drop()
            if execution._recorded is not None:
                if not (execution._has_begun or execution._has_ended):
                    execution._recorded.end("Interrupted", time.time())
                execution._settle(time.monotonic() + RECORDED_SECONDS)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                attach(error, "result", execution._result)
            raise
    return execution


def executed(execution: Execution) -> WorkflowResult:
    """Its result, waited for from its beginning on. Nobody else has it: what interrupts the waiting ends it, too."""
    try:
        return begun(execution).result()
    except BaseException as error:
        if execution._has_begun and not execution._has_ended:  # an alarm of the program has gone off
            execution._stop(error)
        raise


def finish(under_way: set[Execution]) -> None:
    """Wait for the executions that are under way, and call the callbacks that are due, also of those that ended."""
    while under_way:
        next(iter(list(under_way)))._finish()


def outlast(under_way: set[Execution]) -> None:
    """Wait for the executions that are under way as the program ends, saying so. Those of a forked program's go on."""
    for execution in list(under_way):
        if not execution._has_ended and execution._process == os.getpid():
            why = "The program has come to its end, and waits for it: wait for the result before."
            _logger.warning("Workflow %r still runs. %s", execution._workflow.name, why)
            execution._finish()
