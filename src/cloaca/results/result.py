"""What a run leaves: WorkflowResult, with a TaskResult for every task.

Everything here is plain data taken from the run when it ended; values and exceptions are rebuilt when asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, Self

from cloaca.dataflow.finding import Finding
from cloaca.engine.run import Run
from cloaca.engine.state import State, Stop
from cloaca.errors import MergeConflict, WorkflowFailedError
from cloaca.history.pedigree import Pedigrees
from cloaca.merge.rules import Rules
from cloaca.profiling.profiles import NOTHING_PROFILED, Profiles
from cloaca.results.absences import Absences
from cloaca.results.held import held
from cloaca.results.message import failures, message_of, root_causes
from cloaca.results.returned import returned_by, value_of
from cloaca.results.starts import Starts
from cloaca.results.task import TaskResult
from cloaca.results.tasks import NOTHING_REUSED, Reused, TaskResults
from cloaca.results.tries import rfc3339
from cloaca.tasks.context import contents_of, of_versions, over
from cloaca.tasks.place import working_directory
from cloaca.values.storage import Leases
from cloaca.wire.messages import Outcome
from cloaca.wording import counted, shortened
from cloaca.workflows.workflow import Workflow, by_rank, copies_of, mapped_in

if TYPE_CHECKING:
    from os import PathLike

    from cloaca.account.account import Account
    from cloaca.account.spans import Span
    from cloaca.account.summary import Summary
    from cloaca.profiling.profile import Profile
    from cloaca.results.explanation import Explanation
    from cloaca.results.task_explanation import TaskExplanation
    from cloaca.workflows.diagram import Direction
    from cloaca.workflows.picture import Picture

Status = Literal["Completed", "Failed", "Cancelled"]
_REPORTED = 100  # failures in a report
_EXPLAINED = 50  # keys in a report


class WorkflowResult:
    """How a run ended.

    Attributes:
        status: "Completed", "Failed" (a task failed that may not, whether or not others went on after it) or
            "Cancelled".
        handled: the ids of the tasks that failed, and may (`task(allow_failure=True)`).
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
        profiles: Profiles = NOTHING_PROFILED,
        memory: Sequence[tuple[float, int]] = (),
    ) -> None:
        self.workflow = workflow.name
        self.execution_id = execution_id
        self.seed = run.seed
        self.start_time = rfc3339(started)
        self.end_time = rfc3339(ended)
        self.duration = ended - started
        self._plan = run.plan
        self._copies = copies_of(workflow)
        self._mapped = mapped_in(by_rank(workflow))
        self._ledger = run.ledger
        self._began = started - clock
        self._workers = workers
        self._seats = run.seats
        self._profiles = profiles
        self._memory = memory
        self._reuse = reused = reused._replace(reasons={**reused.reasons})  # asks the store, which may be closed later
        self._reused = sum(run.ledger.unit(*place) not in run.ledger.fans for place in reused.origins)
        outcomes = run.ledger.outcomes_in_full()
        self._absences = Absences(workflow, run, outcomes, working_directory())
        if any(outcome.status == "Failed" for outcome in outcomes):
            findings = (*findings, *self._absences.findings(run, findings))
        self._tasks = TaskResults(run.ledger, outcomes, clock, findings, reused)
        failed, handled = failures(run.ledger, outcomes)
        self.handled = tuple(handled)
        self.status: Status = _status(run, outcomes, failed)
        self._roots = root_causes(run.plan, failed)
        self.error_message = message_of(self.status, run, outcomes, self._roots, failed, findings, self._absences.at)
        self._outputs = workflow.outputs
        final = run.history.final()
        if self._outputs is not None:
            final = {key: told for key, told in final.items() if key in self._outputs}
        kept = None if self._outputs is None else frozenset(self._outputs)
        self._pedigrees = Pedigrees(run.plan, run.history, self._absences.place, kept)
        self._starts = Starts(workflow)
        self._returns = returned_by(workflow)
        self.final_context = of_versions(final, rules, held(final, *leases))
        contents_of(self.final_context).why = partial(_why_absent, self._absences, self._outputs)

    @property
    def tasks(self) -> Mapping[str, TaskResult]:
        """How each task ended, and each instance of a mapped one, by id."""
        return self._tasks

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

    def profile(self, *tasks: str) -> "Profile":
        """What a profiler has recorded of a task, of several, or without an id of all that were profiled.

        Recordings of a mapped task's items, and of all tries, are put together. Print it, or save it for a viewer.

        Raises:
            KeyError: there is no task with such an id.
            NoProfileError: nothing was recorded; the message tells why. Or tasks were profiled by several profilers.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("greeting") as builder:
        ...
        ...     @cloaca.task()
        ...     def greet(context):
        ...         context.set("greeting", "Hello")
        >>> with cloaca.DefaultRunner(executor="serial") as runner:
        ...     result = runner.execute(builder, profile="cprofile")
        >>> result.profile("greet")
        <Profile of 'greet' by cprofile: 1 call>
        """
        from cloaca.results.profiled import profile_of

        return profile_of(self._profiles, self.tasks, self._plan.names, tasks)

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
        from cloaca.results.explanation import explanation_of

        contents = contents_of(self.final_context).unchanged()
        is_asked_for = self._outputs is None or key in self._outputs
        pedigree = self._pedigrees.of(key) if is_asked_for else ()
        why_absent = partial(_why_absent, self._absences, self._outputs)
        return explanation_of(key, contents, pedigree, why_absent, lambda: self.merges.get(key, ""))

    def explain_task(self, id: str) -> "TaskExplanation":
        """Why a task ran, or didn't: what it waited for, its rule, what it read and from whom, what it set, its tries.

        Print it, or look at its attributes. An instance of a mapped task is asked for as in `tasks`.

        Raises `KeyError` where there is no such task.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("sum") as builder:
        ...
        ...     @cloaca.task()
        ...     def load(context):
        ...         context["rows"] = [1, 2]
        ...
        ...     @cloaca.task(dependencies=[load])
        ...     def total(context):
        ...         context["total"] = sum(context["rows"]) + context["more"]
        >>> with cloaca.DefaultRunner(executor="serial") as runner:
        ...     explanation = runner.execute(builder, {"more": 3}).explain_task("total")
        >>> explanation.status, explanation.waited_for, explanation.read, [*explanation.wrote]
        ('Completed', {'load': 'Completed'}, {'rows': ('load',), 'more': ('the input',)}, ['total'])
        """
        from cloaca.results.task_explanation import Inquiry

        final = contents_of(self.final_context).unchanged().given.versions
        known = Inquiry(self._plan, self._ledger, self.tasks, self._starts, self._pedigrees, final)
        return known.explained(self.tasks[id])

    def to_mermaid(self, direction: "Direction" = "TB", most: int | None = 100) -> str:
        """Return the graph as the text of a Mermaid flowchart, with how each task ended, and how long it took.

        Takes what `Workflow.to_mermaid` takes. Of tasks that stand as one node it tells how many ended how.
        """
        return self._picture.to_mermaid(direction, most)

    def to_dot(self, direction: "Direction" = "TB", most: int | None = 100) -> str:
        """Return the graph as the text of a Graphviz file. Takes what `to_mermaid` takes."""
        return self._picture.to_dot(direction, most)

    def to_svg(self, direction: "Direction" = "TB", most: int | None = 100) -> str:
        """Return the graph as an SVG picture, drawn by Graphviz. Takes what `to_mermaid` takes.

        Raises `RuntimeError` where there is no Graphviz; the message says how to install it.
        """
        return self._picture.to_svg(direction, most)

    @property
    def _picture(self) -> "Picture":
        from cloaca.results.picture import noting
        from cloaca.workflows.picture import Picture

        note_of = noting(self._ledger, self._mapped, self._tasks.is_reused)
        return Picture(self.workflow, self._plan, self._copies, note_of)

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
        from cloaca.report.page import save
        from cloaca.report.story import Story
        from cloaca.results import reported

        ledger, failed = self._ledger, [*reported.failed(self._ledger)]
        conflicts = dict.fromkeys(self.conflicts, "in conflict")
        explained = [*{**conflicts, **self.merges}.items()][:_EXPLAINED]
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
            reported.groups(self._plan, self._copies),
            [reported.failure_of(self.tasks[name], self.explain_task(name)) for name in failed[:_REPORTED]],
            max(len(failed) - _REPORTED, 0),
            reported.skipped(ledger),
            {f"{key}: {conflicts.get(key) or f'by {rule}'}": str(self.explain(key)) for key, rule in explained},
            [*reported.traffic(self._pedigrees, contents_of(self.final_context).unchanged().given.versions)],
            reported.named(ledger, self._reuse.origins),
            reported.named(ledger, self._reuse.reasons),
        )
        save(path, story)

    def _error_of(self, span: "Span") -> str | None:
        return self.tasks[span.name].error_message if span.status == "Failed" else None

    @cached_property
    def _account(self) -> "Account":
        from cloaca.account.account import Account  # few ask

        return Account(self._ledger, self._plan, self._began, self.duration, self._workers, self._seats, self._memory)

    def __getstate__(self) -> dict[str, Any]:
        """A pickle takes along what merging came to, not the rules, which may be closures."""
        kept = {name: value for name, value in vars(self).items() if name != "_account"}
        return {**kept, "merges": self.merges}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        contents_of(self.final_context).why = partial(_why_absent, self._absences, self._outputs)

    def __getitem__(self, key: str) -> Any:
        """A copy of the value of a key in the end: that of `final_context`, which raises what it raises.

        >>> import cloaca
        >>> with cloaca.WorkflowBuilder("greeting") as builder:
        ...
        ...     @cloaca.task()
        ...     def greet(context):
        ...         context["greeting"] = f"Hello {context['name']}"
        >>> with cloaca.DefaultRunner(executor="serial") as runner:
        ...     runner.execute(builder, {"name": "Ada"}).raise_for_status()["greeting"]
        'Hello Ada'
        """
        return self.final_context[key]

    def __contains__(self, key: object) -> bool:
        return key in self.final_context

    def __iter__(self) -> Iterator[str]:
        return iter(self.final_context)

    def value(self, task: str) -> Any:
        """What a task has returned that is a plain function (`task(returns=...)`): a tuple, where it sets several keys.

        Raises `KeyError` for a task that there isn't, and `ValueError` where the task has not returned, where others
        have set its keys after it, and where it isn't known under which keys it returns: of a task without `returns`,
        and of an execution on record.

        >>> import cloaca
        >>> def add(a: int, b: int) -> int:
        ...     return a + b
        >>> with cloaca.WorkflowBuilder("sums") as builder:
        ...     _ = cloaca.task(add, returns="total")
        >>> with cloaca.DefaultRunner(executor="serial") as runner:
        ...     runner.execute(builder, {"a": 1, "b": 2}).value("add")
        3
        """
        return value_of(self.tasks[task], self._returns.get(task), self.final_context)

    def raise_for_status(self) -> Self:
        """Return the result. Raise `WorkflowFailedError` unless it completed; its cause is the first root cause."""
        if self.status == "Completed":
            return self
        error = WorkflowFailedError(f"Workflow {self.workflow!r}: {self.error_message}")
        error.result = self
        raise error from (self.tasks[self._roots[0]].error if self._roots else None)

    def __repr__(self) -> str:
        why = f", {shortened(self.error_message)!r}" if self.error_message else ""
        size, seconds = counted(len(self.tasks), "task"), f"{self.duration:.3f} s"
        size += f", {counted(len(self.handled), 'handled failure')}" if self.handled else ""
        return f"WorkflowResult({self.workflow!r}, {self.status!r}, {size}, {seconds}{self._sped_up()}{why})"

    def _sped_up(self) -> str:
        """The speed-up, where tasks have run in this execution; and on how many workers, where that is known."""
        if not self._account.work:
            return ""
        workers = f" on {counted(self._workers, 'worker')}" if self._workers else ""
        return f", speed-up {self._account.speed_up:.2f}{workers}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What notebooks show: the summary, what went wrong, the picture, and the first of its tasks."""
        from cloaca.results.notebook import in_short, is_much, shown  # only notebooks ask

        summary = in_short(repr(self)) if is_much(self.tasks) else self.summary().to_html()
        picture = self._picture.for_notebooks()
        return {"text/plain": repr(self), **shown(summary, self.error_message, picture, self.tasks)}


def _why_absent(absences: Absences, outputs: tuple[str, ...] | None, key: str) -> str:
    """Why the final context lacks a key."""
    if outputs is None or key in outputs:
        return absences.why(key)
    return f"It is not among the outputs: {[*outputs]}. Name it there: WorkflowBuilder(..., outputs=[...])."


def _status(run: Run, outcomes: Sequence[Outcome], failed: Sequence[str]) -> Status:
    statuses = {outcome.status for outcome in outcomes}
    if "Cancelled" in statuses or any(fan.counted(State.CANCELLED) for fan in run.ledger.fans.values()):
        return "Cancelled" if run.stopped is Stop.CANCELLED else "Failed"
    return "Failed" if failed else "Completed"
