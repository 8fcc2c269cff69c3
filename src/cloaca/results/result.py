"""What a run leaves: WorkflowResult, with a TaskResult for every task.

Everything here is plain data taken from the run when it ended; values and exceptions are rebuilt when asked for.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import islice
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cloaca.dataflow.finding import Finding
from cloaca.engine.ends import End, cost_of
from cloaca.engine.ledger import Ledger
from cloaca.engine.run import Run
from cloaca.engine.state import State, Stop
from cloaca.errors import MergeConflict, WorkflowFailedError
from cloaca.failure import error_of, raised
from cloaca.history.pedigree import Pedigrees
from cloaca.history.plan import Plan
from cloaca.merge.rules import Rules
from cloaca.merge.settled import Conflict
from cloaca.nearest import nearest
from cloaca.results.absences import Absences
from cloaca.tasks.context import contents_of, of_versions, over
from cloaca.tasks.place import working_directory
from cloaca.values.blobs import blob_of, preserve, references_in
from cloaca.values.storage import Leases
from cloaca.wire.messages import Failed, Lost, Outcome, Usage, Version
from cloaca.wording import add_note, counted
from cloaca.workflows.workflow import Workflow, shapes_of

if TYPE_CHECKING:
    from os import PathLike

    from cloaca.account.account import Account
    from cloaca.account.spans import Span
    from cloaca.account.summary import Summary
    from cloaca.report.page import Failure
    from cloaca.results.explanation import Explanation
    from cloaca.workflows.diagram import Direction

Status = Literal["Completed", "Failed", "Cancelled"]
_LISTED = 10
_REPORTED = 100  # failures in a report
_EXPLAINED = 50  # keys in a report
_LONGEST = 200  # of a text in a repr
_ROWS = 50
_HEAD = ("task", "status", "attempts", "seconds", "why")
_COMPARED = 10_000  # names that an unknown one is compared with


class TaskResult:
    """How one task ended.

    `status` is "Completed", "Failed", "Skipped" or "Cancelled"; `attempts` counts the tries that have begun.
    `error_message` says how it failed, `reason` why it was skipped. (A rule that looks at values is asked in a worker:
    that counts as a try.) `reused`: it wasn't run, as an attempt stands for it that was recorded before, in the
    execution `reused_from`; `ran_because` tells, where an execution was asked to reuse, why this one ran all the same.

    Each instance of a mapped task has a result, too (`result.tasks["process[3]"]`). The task itself has the error of
    its first instance that failed; its times run from the first begin to the last end, and its costs are summed.
    """

    def __init__(
        self,
        id: str,
        outcome: Outcome,
        attempts: int,
        end: End,
        clock: float,
        failed: tuple[str, int] | None = None,
        findings: tuple[Finding, ...] = (),
        reused_from: str | None = None,
        ran_because: str | None = None,
    ) -> None:
        self.id = id
        self.reused = reused_from is not None
        self.reused_from = reused_from
        self.ran_because = ran_because
        self.status = outcome.status
        self.error_message = outcome.error
        self.reason = outcome.reason
        self.attempts = attempts
        self._end = end
        self._clock = clock
        self._failed = failed or (id, attempts)
        self._findings = findings

    @cached_property
    def error(self) -> BaseException | None:
        """The exception that the task raised, with the worker's traceback as its cause; `None` where it didn't fail."""
        match self._end:
            case Failed() as failed:
                error = raised(failed)
                for finding in self._findings:
                    add_note(error, finding.message)
                return error
            case Lost() as lost if self.status == "Failed":
                return error_of(lost, *self._failed)
            case _:
                return None

    @property
    def usage(self) -> Usage | None:
        """Times on the monotonic clock, CPU seconds and peak memory; `None` where no attempt reported."""
        return cost_of(self._end)

    @property
    def start_time(self) -> str | None:
        """When the attempt began, as an RFC 3339 string; `None` where none reported."""
        return None if self.usage is None else rfc3339(self._clock + self.usage.started)

    @property
    def end_time(self) -> str | None:
        """When the attempt ended, as an RFC 3339 string; `None` where none reported."""
        return None if self.usage is None else rfc3339(self._clock + self.usage.ended)

    @property
    def duration(self) -> float | None:
        """Seconds that the attempt took; `None` where none reported."""
        return None if self.usage is None else self.usage.ended - self.usage.started

    @property
    def cpu_seconds(self) -> float | None:
        """CPU seconds of the attempt, over all threads; `None` where none reported."""
        return None if self.usage is None else self.usage.cpu

    @property
    def keys_read(self) -> tuple[str, ...]:
        """The keys whose values the attempt looked at, in that order; none where no attempt reported."""
        return () if self.usage is None else self.usage.read

    @property
    def bytes_read(self) -> int | None:
        """How many bytes those values took, encoded; `None` where none reported."""
        return None if self.usage is None else self.usage.bytes_read

    @property
    def bytes_mapped(self) -> int | None:
        """How many of the bytes read were mapped from shared memory, not sent; `None` where none reported."""
        return None if self.usage is None else self.usage.bytes_mapped

    @property
    def bytes_written(self) -> int | None:
        """How many bytes the values take that the attempt set; `None` where none reported."""
        return None if self.usage is None else self.usage.bytes_written

    @property
    def peak_memory(self) -> int | None:
        """The highest memory, in bytes, that the worker had ever used when the attempt ended; `None` as above."""
        return None if self.usage is None else self.usage.peak_memory

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the rebuilt exception, which pickle may not be able to take: what was sent is kept."""
        return {name: value for name, value in vars(self).items() if name != "error"}

    def __repr__(self) -> str:
        why = "".join(
            f", {name}={shortened(text)!r}"
            for name, text in (("error", self.error_message), ("reason", self.reason))
            if text
        )
        return f"TaskResult({self.id!r}, {self.status!r}, attempts={self.attempts}{why})"


class Reused(NamedTuple):
    """What was taken over in a run, and why the rest ran: by id of the task and number of the item.

    `origins` are the executions from which it was, and `reasons` why all else ran, where that was asked.
    """

    origins: Mapping[tuple[str, int | None], str] = {}
    reasons: Mapping[tuple[str, int | None], str] = {}


NOTHING_REUSED = Reused()


class _Tasks(Mapping[str, TaskResult]):
    """The results by name: tasks in the order of the workflow, each followed by its instances.

    Each is made when it is first asked for, and kept.
    """

    def __init__(
        self, ledger: Ledger, outcomes: Sequence[Outcome], clock: float, findings: tuple[Finding, ...], reuse: Reused
    ) -> None:
        self._ledger = ledger
        self._reuse = reuse
        self._findings = findings
        self._outcomes = outcomes
        self._clock = clock
        self._made: dict[str, TaskResult] = {}

    def __getitem__(self, id: str) -> TaskResult:
        try:
            return self._made[id]
        except KeyError:
            return self._made.setdefault(id, self._make(id))  # one for all threads

    def __contains__(self, id: object) -> bool:
        return self._ledger.find(id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._ledger)

    def __len__(self) -> int:
        return len(self._ledger)

    def __repr__(self) -> str:
        counts = Counter(outcome.status for outcome in self._outcomes)
        others = [f"{count} {status.lower()}" for status, count in counts.items() if status != "Completed"]
        return f"<results of {counted(len(self), 'task')}{': ' if others else ''}{', '.join(others)}>"

    def _make(self, id: str) -> TaskResult:
        ledger, unit = self._ledger, self._ledger.find(id)
        if unit is None:
            raise KeyError(_unknown(id, list(islice(ledger, _COMPARED)))) from None
        outcome = self._outcomes[unit] if unit < len(self._outcomes) else ledger.outcome_in_full(unit)
        failed = ledger.error_name(unit)
        explained = tuple([found for found in self._findings if found.explains(id, outcome.error or "")])
        place = ledger.place(unit)
        reused_from, because = self._reuse.origins.get(place), self._reuse.reasons.get(place)
        attempts, end = ledger.attempts[unit], ledger.ends[unit]
        return TaskResult(id, outcome, attempts, end, self._clock, failed, explained, reused_from, because)


class WorkflowResult:
    """How a run ended.

    Attributes:
        status: "Completed", "Failed" (a task failed, handled or not) or "Cancelled".
        execution_id: the run's own id.
        seed: what the random numbers of all its tasks follow from; given to `execute`, it repeats them.
        start_time, end_time: RFC 3339 strings. duration: seconds.
        tasks: a mapping of task id to `TaskResult`, in the order of the workflow.
        final_context: the merge of everything that completed tasks wrote, on top of the input; of a workflow with
            `outputs`, these keys alone.
        error_message: what went wrong and where, root causes first; `None` on success.
    """

    def __init__(
        self,
        workflow: Workflow,
        execution_id: str,
        run: Run,
        rules: Rules,
        started: float,
        ended: float,
        clock: float,
        leases: tuple[Leases, object] = ({}, None),
        findings: tuple[Finding, ...] = (),
        reused: Reused = NOTHING_REUSED,
        workers: int = 0,
    ) -> None:
        self.workflow = workflow.name
        self.execution_id = execution_id
        self.seed = run.seed
        self.start_time = rfc3339(started)
        self.end_time = rfc3339(ended)
        self.duration = ended - started
        self._plan = run.plan
        self._shapes = shapes_of(workflow)
        self._ledger = run.ledger
        self._began = started - clock
        self._workers = workers
        self._reasons = tuple(reused.reasons.values())
        self._reused = sum(run.ledger.unit(*place) not in run.ledger.fans for place in reused.origins)
        outcomes = run.ledger.outcomes_in_full()
        self._absences = Absences(workflow, run, outcomes, working_directory())
        if any(outcome.status == "Failed" for outcome in outcomes):
            findings = (*findings, *self._absences.findings(run, findings))
        self.tasks: Mapping[str, TaskResult] = _Tasks(run.ledger, outcomes, clock, findings, reused)
        self.status: Status = _status(run, outcomes)
        self._roots = root_causes(run.plan, outcomes)
        self.error_message = _message(self.status, run, outcomes, self._roots, findings, self._absences.at)
        self._outputs = workflow.outputs
        final = run.history.final()
        if self._outputs is not None:
            final = {key: told for key, told in final.items() if key in self._outputs}
        self._pedigrees = Pedigrees(run.plan, run.history, self._absences.place)
        self.final_context = of_versions(final, rules, _held(final, *leases))
        contents_of(self.final_context).why = partial(_why_absent, self._absences, self._outputs)

    @property
    def conflicts(self) -> dict[str, MergeConflict]:
        """The keys that the run left in conflict, each with what reading it raises."""
        return over(contents_of(self.final_context).unchanged()).conflicts()

    @cached_property
    def merges(self) -> dict[str, str]:
        """The keys whose value was made of several tasks' writes, each with the rule that made it.

        That is the name of the merge rule, or the type ("list", "dict") where values were merged by their structure.
        """
        return contents_of(self.final_context).unchanged().merges()

    def summary(self) -> "Summary":
        """Where the time went: speed-up, the critical path, idle workers, slowest tasks, and advice. Print it.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("greeting") as builder:
        ...
        ...     @cloaca.task()
        ...     def greet(context):
        ...         context.set("greeting", "Hello")
        >>> with cloaca.DefaultRunner(executor="serial") as runner:
        ...     summary = runner.execute(builder).summary()
        >>> summary.workers, summary.critical_path, summary.counts
        (1, ('greet',), {'Completed': 1})
        """
        from cloaca.account.summary import Summary

        return Summary(self.workflow, self.status, self._account, self._reused)

    def explain(self, key: str) -> "Explanation":
        """How the value of a key in the end came to be: which tasks wrote it, having seen what, merged by which rule.

        Print it, or look at its attributes. Of an absent key it tells why it is, as far as that is known. Of values
        that the run or a pickle has let go of, their sizes are told.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("log") as builder:
        ...     for name in ("north", "south"):
        ...         _ = cloaca.task(id=name)(lambda context, name=name: context.set("log", [*context["log"], name]))
        >>> with cloaca.DefaultRunner(executor="serial") as runner:
        ...     explanation = runner.execute(builder, {"log": ["start"]}).explain("log")
        >>> explanation.how, explanation.rule, [written.task for written in explanation.writes]
        ('merged', 'list', ['the input', 'north', 'south'])
        """
        from cloaca.results.explanation import Explanation, explained, removal, writes_of

        contents = contents_of(self.final_context).unchanged()
        told = contents.given.versions.get(key, ())
        is_asked_for = self._outputs is None or key in self._outputs
        writes = tuple(writes_of(told, self._pedigrees.of(key) if is_asked_for else ()))
        held = contents.held(key)
        if held is None:
            why = (
                removal(writes)
                or _why_absent(self._absences, self._outputs, key)
                or "No task of this execution has set it."
            )
            near = nearest(key, list(contents.present()), 1)
            why += f" Did you mean {near[0]!r}?" if near and not told else ""
            return Explanation(key, "absent", "", writes, why=why)
        if isinstance(held, Conflict):
            return Explanation(key, "conflict", "", writes, why=str(held.error))
        return explained(key, writes, held, self.merges.get(key, ""))

    def to_mermaid(self, direction: "Direction" = "TB") -> str:
        """Return the graph as the text of a Mermaid flowchart, with how each task ended, and how long it took.

        It goes from top to bottom ("TB"), or from left to right ("LR").
        """
        from cloaca.workflows import diagram

        return diagram.to_mermaid(self._plan, self._notes(), *self._shapes, direction, self._statuses())

    def to_dot(self, direction: "Direction" = "TB") -> str:
        """Return the graph as the text of a Graphviz file. Takes what `to_mermaid` takes."""
        from cloaca.workflows import diagram

        return diagram.to_dot(self.workflow, self._plan, self._notes(), *self._shapes, direction, self._statuses())

    def to_svg(self, direction: "Direction" = "TB") -> str:
        """Return the graph as an SVG picture, drawn by Graphviz. Takes what `to_mermaid` takes.

        Raises `RuntimeError` where there is no Graphviz; the message says how to install it.
        """
        from cloaca.workflows import svg

        return svg.drawn(self.to_dot(direction))

    def _statuses(self) -> dict[str, str]:
        return {name: self.tasks[name].status for name in self._plan.names}

    def _notes(self) -> dict[str, str]:
        from cloaca.account.told import duration

        notes = {}
        for rank, name in enumerate(self._plan.names):
            task, fan = self.tasks[name], self._ledger.fans.get(rank)
            parts = [task.status, *([] if fan is None else [counted(fan.size, "instance")])]
            parts += [] if task.duration is None else [duration(task.duration)]
            notes[name] = ", ".join(parts)
        return notes

    def save_trace(self, path: "str | PathLike[str]") -> None:
        """Write a trace of what ran when and where to a file, in the trace event format of Chrome.

        https://ui.perfetto.dev opens it, and so does chrome://tracing. Each worker is a track.

        Raises `OSError` where the file can't be written, and `ValueError` where no task ran: each was taken over, or
        none began.
        """
        from cloaca.tracing.chrome import save

        if not self._account.spans:
            raise ValueError(f"There is nothing to trace: no task of this execution of {self.workflow!r} ran in it.")
        save(path, f"{self.workflow} ({self.execution_id})", self._account, self._error_of)

    def save_report(self, path: "str | PathLike[str]") -> None:
        """Write a report to a file, as one HTML page that opens offline: what ran when, what failed, what was merged.

        Raises `OSError` where the file can't be written.
        """
        from cloaca.report.page import Story, save

        failed = [name for rank in range(len(self._plan.names)) for name in self._failed_of(rank)]
        told = (*self.merges, *(key for key in self.conflicts if key not in self.merges))[:_EXPLAINED]
        facts = {
            "execution": self.execution_id,
            "began": self.start_time,
            "ended": self.end_time,
            "seed": str(self.seed),
            "workers": str(self._account.workers),
        }
        story = Story(
            self.workflow,
            self.status,
            facts,
            self.error_message,
            str(self.summary()),
            self._account,
            [self._failure_of(name) for name in failed[:_REPORTED]],
            max(len(failed) - _REPORTED, 0),
            {key: str(self.explain(key)) for key in told},
            Counter(self._reasons),
        )
        save(path, story)

    def _failed_of(self, rank: int) -> Iterator[str]:
        """The names of a task, or of its instances, that failed."""
        if self._ledger.states[rank] is not State.FAILED:
            return iter(())
        return map(self._ledger.name, self._ledger.failed(rank, len(self._ledger.states)))

    def _failure_of(self, name: str) -> "Failure":
        from cloaca.report.page import Failure

        task = self.tasks[name]
        traced = "" if task.error is None else "".join(format_exception(task.error))
        return Failure(name, shortened(task.error_message or ""), traced, task.keys_read)

    def _error_of(self, span: "Span") -> str | None:
        return self.tasks[span.name].error_message if span.status == "Failed" else None

    @cached_property
    def _account(self) -> "Account":
        from cloaca.account.account import Account  # few ask

        return Account(self._ledger, self._plan, self._began, self.duration, self._workers)

    def __getstate__(self) -> dict[str, Any]:
        """A pickle takes along what merging came to, not the rules, which may be closures."""
        kept = {name: value for name, value in vars(self).items() if name != "_account"}
        return {**kept, "merges": self.merges}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        contents_of(self.final_context).why = partial(_why_absent, self._absences, self._outputs)

    def raise_for_status(self) -> None:
        """Raise `WorkflowFailedError` unless the run completed; its cause is the first root cause."""
        if self.status == "Completed":
            return
        error = WorkflowFailedError(f"Workflow {self.workflow!r}: {self.error_message}")
        error.result = self
        raise error from (self.tasks[self._roots[0]].error if self._roots else None)

    def __repr__(self) -> str:
        why = f", {shortened(self.error_message)!r}" if self.error_message else ""
        size, seconds = counted(len(self.tasks), "task"), f"{self.duration:.3f} s"
        return f"WorkflowResult({self.workflow!r}, {self.status!r}, {size}, {seconds}{why})"

    def _repr_html_(self) -> str:
        from cloaca.results.table import table_of  # only notebooks ask

        shown = [self.tasks[id] for id in islice(self.tasks, _ROWS)]
        size = counted(len(self.tasks), "task") + (
            f", of which the first {_ROWS} stand here" if len(self.tasks) > _ROWS else ""
        )
        said = f"{self.status}, {size}, {self.duration:.3f} s"
        return table_of(self.workflow, said, self.error_message, _HEAD, map(_row_of, shown))


def _row_of(task: TaskResult) -> tuple[str, ...]:
    seconds = "" if task.duration is None else f"{task.duration:.3f}"
    return task.id, task.status, str(task.attempts), seconds, task.error_message or task.reason or ""


def _why_absent(absences: Absences, outputs: tuple[str, ...] | None, key: str) -> str:
    """Why the final context lacks a key."""
    if outputs is None or key in outputs:
        return absences.why(key)
    return f"It is not among the outputs: {[*outputs]}. Name it there: WorkflowBuilder(..., outputs=[...])."


def shortened(text: str) -> str:
    """The first line of a text, if it isn't too long."""
    line = text.partition("\n")[0]
    return line if line == text and len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _held(final: Mapping[str, tuple[Version, ...]], leases: Leases, others: object) -> object:
    """What keeps the large values of a final context, also where their files are removed meanwhile."""
    if not leases and others is None:
        return None
    payloads = (payload for versions in final.values() for version in versions for payload in _payloads(version))
    stored = {held for payload in payloads for held in references_in(payload)}
    if not stored:
        return None
    return (
        [leases[payload] for payload in stored if payload in leases],
        list(map(preserve, map(blob_of, stored))),
        others,
    )


def _payloads(version: Version) -> Iterator[bytes]:
    """The payload of a version, and those of the versions from which it follows."""
    if version.payload is not None:
        yield version.payload
    for rival in version.rivals:
        yield from _payloads(rival)


def root_causes(plan: Plan, outcomes: Sequence[Outcome]) -> list[str]:
    """The failed tasks that no failed task precedes, in the order of the workflow."""
    failed = [rank for rank, outcome in enumerate(outcomes) if outcome.status == "Failed"]
    follows_failure = plan.beneath({*failed}.__contains__) if failed else []
    return [plan.names[rank] for rank in failed if not follows_failure[rank]]


def _status(run: Run, outcomes: Sequence[Outcome]) -> Status:
    statuses = {outcome.status for outcome in outcomes}
    if "Cancelled" in statuses or any(fan.counted(State.CANCELLED) for fan in run.ledger.fans.values()):
        return "Cancelled" if run.stopped is Stop.CANCELLED else "Failed"
    return "Failed" if "Failed" in statuses else "Completed"


def _message(
    status: str,
    run: Run,
    outcomes: Sequence[Outcome],
    roots: Sequence[str],
    findings: Sequence[Finding],
    at: Callable[[int], str],
) -> str | None:
    if status == "Completed":
        return None
    plan = run.plan
    by_status: dict[str, list[str]] = {"Failed": [], "Skipped": [], "Cancelled": []}
    for name, outcome in zip(plan.names, outcomes, strict=True):
        if outcome.status in by_status:
            by_status[outcome.status].append(name)
    failed = list(dict.fromkeys([*roots, *by_status["Failed"]]))
    units = [unit for name in failed[:_LISTED] for unit in run.ledger.failed(plan.rank[name], _LISTED)][:_LISTED]
    errors = [(unit, run.ledger.name(unit), run.ledger.outcome_in_full(unit).error or "") for unit in units]
    explained = [finding.message for _, name, error in errors for finding in findings if finding.explains(name, error)]
    lines = list(dict.fromkeys(explained))
    lines += (
        [] if run.stopped is not Stop.OUT_OF_TIME else [f"It was stopped after its time limit of {run.timeout:g} s."]
    )
    lines += [f"Task {name!r} failed: {error}{at(unit)}" for unit, name, error in errors]
    lines.append(_rest(sum(run.ledger.failures(plan.rank[name]) for name in failed), "failed"))
    lines.append(_listing(by_status["Cancelled"], "cancelled"))
    skipped = by_status["Skipped"]
    lines += [f"Task {name!r} was skipped: {outcomes[plan.rank[name]].reason}" for name in skipped[:_LISTED]]
    lines.append(_rest(len(skipped), "were skipped"))
    lines += _partly(run.ledger, State.CANCELLED, by_status["Cancelled"])
    lines += _partly(run.ledger, State.SKIPPED, skipped)
    return "\n".join(filter(None, lines))


def _rest(count: int, what: str) -> str:
    return f"... and {count - _LISTED} more {what}" if count > _LISTED else ""


def _listing(names: Sequence[str], what: str) -> str:
    if not names:
        return ""
    shown = ", ".join(map(repr, names[:_LISTED])) + (", ..." if len(names) > _LISTED else "")
    return f"{counted(len(names), 'task')} {_were(len(names))} {what}: {shown}"


def _partly(ledger: Ledger, state: State, listed: Sequence[str]) -> Iterator[str]:
    """Of mapped tasks that aren't `listed`, how many instances ended so."""
    for fan in ledger.fans.values():
        count = fan.counted(state)
        if count and fan.task not in listed:
            yield f"{counted(count, 'instance')} of {fan.task!r} {_were(count)} {state.name.lower()}"


def _were(count: int) -> str:
    return "were" if count > 1 else "was"


def _unknown(id: object, names: Sequence[str]) -> str:
    close = nearest(id, names) if isinstance(id, str) else ()
    advice = f" The nearest ids are {', '.join(map(repr, close))}." if close else ""
    return f"No task of this workflow has the id {id!r}.{advice}"


def rfc3339(seconds: float) -> str:
    """A moment, in seconds since 1970, as text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
