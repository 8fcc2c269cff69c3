"""Executions: a workflow is run once, on the workers of a runner or in its own process."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple

from cloaca import argument
from cloaca.authoring.builder import WorkflowBuilder, workflow_of
from cloaca.dataflow import check
from cloaca.dataflow.demand import demand_of, looked_at
from cloaca.dataflow.inputs import check_types
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats
from cloaca.engine.work import Limits, Merging
from cloaca.merge.rules import Rules
from cloaca.prepared import known_of, makings_of
from cloaca.profiling.profiles import NOTHING_PROFILED, Profiles
from cloaca.profiling.tool import ProfilerName, checked_profiler
from cloaca.progress.left import Before, TimeLeft
from cloaca.results.result import WorkflowResult
from cloaca.running import interrupts
from cloaca.running.coordinator import Job, OnEnd
from cloaca.running.future import Execution, Reporting, begun, executed, new_id
from cloaca.running.loop import Inline
from cloaca.running.settings import (
    check_limits_of,
    chosen_seed,
)
from cloaca.runs import KnownWorkflow, Runs, at_hand
from cloaca.sending.makings import Makings
from cloaca.sending.values import kept, stored
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import Context, contents_of
from cloaca.tasks.place import working_directory
from cloaca.wording import a
from cloaca.workflows.passed import homes, passing
from cloaca.workflows.workflow import Target, Workflow

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from cloaca.planned import RunPlan
    from cloaca.recorded import Left, OnRecord
    from cloaca.tracing.spans import ExecutionSpans

import_module("cloaca.merge.settle")  # where it is needed, there may be no descriptor left to read it with

_PROFILED = ("processes", "serial")

STARTUP_SECONDS = 60.0
"""How long workers may take to start before the time of an execution counts all the same."""


class Asked(NamedTuple):
    """What an execution is asked for beside its workflow and its input."""

    fail_fast: bool = False
    seed: int | None = None
    raise_on_failure: bool | None = None
    reuse: bool | None = None
    targets: Sequence[Target] | None = None
    progress: bool | None = None
    profile: ProfilerName | None = None


def execute(
    runs: Runs,
    workflow_name: Workflow | WorkflowBuilder | str,
    context: Context | dict[str, Any] | None,
    asked: Asked,
) -> WorkflowResult:
    """Run a workflow, and wait for its end."""
    with interrupts.raised():
        return executed(_shown(runs, asked, _of_new(runs, workflow_name, context, asked, _waiting(runs, asked))))


def start(
    runs: Runs,
    workflow_name: Workflow | WorkflowBuilder | str,
    context: Context | dict[str, Any] | None,
    asked: Asked,
) -> Execution:
    """Start a workflow, and return at once."""
    told = _waiting(runs, asked)._replace(logs_failure=True, logs_error=True)
    return begun(_shown(runs, asked, _of_new(runs, workflow_name, context, asked, told)))


def plan(
    runs: Runs,
    workflow_name: Workflow | WorkflowBuilder | str,
    context: Context | dict[str, Any] | None,
    seed: int | None,
    targets: Sequence[Target] | None,
) -> "RunPlan":
    """What an execution would run that takes over what it can."""
    recorder = runs.recorder("plan")
    from cloaca.planned import planned

    given = contents_of(_checked_context(context))
    workflow = _wanted(workflow_of(workflow_name), targets)
    return planned(recorder, workflow, given.versions(), None if seed is None else chosen_seed(seed))


def resume(
    runs: Runs, execution: str, workflow_name: Workflow | WorkflowBuilder | str | None, asked: Asked
) -> WorkflowResult:
    """Go on with an execution that was recorded, and wait for its end."""
    with interrupts.raised():
        return executed(_shown(runs, asked, _of_left(runs, execution, workflow_name, asked)))


def _waiting(runs: Runs, asked: Asked) -> Reporting:
    """How somebody is told who waits for the end."""
    said = asked.raise_on_failure
    raises = runs.settings.raise_on_failure if said is None else argument.switch("raise_on_failure", said)
    return Reporting(raises, not raises, logs_error=False, raises_fault=runs.settings.durability == "full")


def _shown(runs: Runs, asked: Asked, execution: Execution) -> Execution:
    """The execution, with a display of how far it is, if that is asked for."""
    if runs.settings.progress if asked.progress is None else asked.progress:
        from cloaca.progress.board import board  # what draws it takes a while to load

        execution.show(board().show(execution.progress))
    return execution


def _of_new(
    runs: Runs,
    workflow_name: Workflow | WorkflowBuilder | str,
    context: Context | dict[str, Any] | None,
    asked: Asked,
    told: Reporting,
) -> Execution:
    runs.check_usable()
    if asked.reuse is not None:
        argument.switch("reuse", asked.reuse)
    _check(asked)
    given = contents_of(_checked_context(context))
    workflow = _wanted(workflow_of(workflow_name), asked.targets)
    return _made(runs, workflow, given, chosen_seed(asked.seed), asked, told)


def _check(asked: Asked) -> None:
    if asked.progress is not None:
        argument.switch("progress", asked.progress)
    if asked.profile is not None:
        checked_profiler(f"profile={asked.profile!r}", asked.profile)


def _wanted(workflow: Workflow, targets: Sequence[Target] | None) -> Workflow:
    """What of the workflow is to run."""
    if targets is None:
        return workflow
    from cloaca.workflows.targets import restricted  # few ask for a part

    return restricted(workflow, targets)


def _of_left(
    runs: Runs, execution: str, workflow_name: Workflow | WorkflowBuilder | str | None, asked: Asked
) -> Execution:
    runs.check_usable()
    _check(asked)
    recorder = runs.recorder("resume")
    from cloaca import recorded

    header = recorder.store.header(execution)
    whole = workflow_of(header.workflow if workflow_name is None else workflow_name)
    workflow = recorded.wanted_of(header, whole)
    left = recorded.left_by(recorder, execution)
    try:
        given = recorded.given_to(header, recorder.store)
        return _made(runs, workflow, given, header.seed, asked, _waiting(runs, asked), left)
    except BaseException:
        recorder.store.end(left.claim, "Interrupted", time())
        raise


def _made(
    runs: Runs,
    workflow: Workflow,
    given: Contents,
    seed: int,
    asked: Asked,
    told: Reporting,
    left: "Left | None" = None,
) -> Execution:
    check_limits_of(workflow, runs.settings.limits)
    limited = next((task for task in workflow.tasks if task.limits), None)
    if limited is not None:
        runs.gates.demand_none(f"Task {limited.id!r} of workflow {workflow.name!r}")
    inputs = given.versions()
    found = check.told(workflow, inputs)
    check_types(workflow, given)
    rules = Rules(workflow.merge, workflow.on_conflict, homes(workflow))
    settings = runs.settings
    startup = STARTUP_SECONDS if runs.initializer is None else 0.0
    limits = Limits(settings.workflow_timeout, asked.fail_fast, settings.grace, settings.warn_above, startup)
    known = known_of(runs, workflow)
    profilers = _profilers(runs, workflow, asked)
    loop = None if settings.executor == "serial" else runs.running_loop()
    makings = makings_of(runs, workflow, known, rules, None if loop is None or loop.calls_objects else loop.holder)
    unprofiled = makings
    if profilers:
        from cloaca.sending.profiling import under_profilers

        makings = under_profilers(makings, workflow, profilers)
    host = _inline(runs, makings) if loop is None else loop
    leases = {**makings.leases, **stored(inputs, host.holder)}
    surroundings = runs.surroundings(host.holder)
    if asked.reuse:
        runs.recorder("reuse=True")
    sent = () if makings.objects else (unprofiled.functions, makings.variables, surroundings.modules)
    record = None if settings.store is None else _record(runs, workflow, known, sent, asked, left)
    if record is not None and asked.seed is None and record.seed is not None:
        seed = record.seed
    id = new_id() if left is None else left.header.id
    workers = 1 if loop is None else settings.workers
    spans = None if settings.tracer is None else _spans(settings.tracer, workflow, id)
    run = Run(
        workflow.plan,
        makings.work,
        inputs,
        numbers=runs.numbers,
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
        earlier=() if left is None else left.facts,
        content=None if record is None else record.digests.of,
        combining=None if record is None else record.combining,
        reuse=None if record is None else record.reuse,
        trace=None if spans is None else spans.trace,
    )
    called = runs.objects  # not the runner itself: whoever lets go of it ends it

    def job(on_end: OnEnd) -> Job[Run]:
        ending = at_hand(called, makings.objects, on_end)
        return Job(workflow.name, run, makings.functions, ending, surroundings, makings.sent, leases)

    under_way = runs.under_way
    return Execution(
        runs,
        runs.warned,
        workflow,
        makings.rules,
        job,
        host,
        under_way,
        told,
        TimeLeft(workflow.plan, known.durations, known.sizes, workers, _before(runs, workflow)),
        given.leases,
        found,
        id,
        None if record is None else record.begin(id, run.seed, inputs, leases),
        workers,
        None if spans is None or spans.trace is None else spans,
        Profiles(profilers) if profilers else NOTHING_PROFILED,
    )


def _before(runs: Runs, workflow: Workflow) -> Callable[[], Before]:
    """What asks for what is on record of earlier executions, if anything is."""
    if runs.settings.store is None:
        return dict
    from cloaca.recorded import took_before  # most runners have no store

    return partial(took_before, runs.recorder().store, workflow.name)


def _spans(tracer: "Tracer", workflow: Workflow, execution: str) -> "ExecutionSpans":
    """What makes spans of an execution."""
    from cloaca.tracing.spans import ExecutionSpans  # few are traced

    return ExecutionSpans(tracer, workflow, execution, time() - monotonic())


def _profilers(runs: Runs, workflow: Workflow, asked: Asked) -> dict[str, ProfilerName]:
    """The profilers of those tasks that are profiled, by id."""
    if asked.profile is None and not any(task.profile for task in workflow.tasks):
        return {}
    if runs.settings.executor not in _PROFILED:
        raise ValueError(
            "Tasks are profiled with executor='processes' or 'serial': on threads, a profiler would take the work of "
            "all for that of each, and processes of others tell only what a task has come to. Leave out profile=."
        )
    from cloaca.sending.profiling import profilers_of

    return profilers_of(workflow, asked.profile)


def _record(
    runs: Runs, workflow: Workflow, known: KnownWorkflow, sent: tuple[object, ...], asked: Asked, left: "Left | None"
) -> "OnRecord":
    """What records an execution, and takes over what is on record. `sent` is what workers are sent to run it."""
    from cloaca import recorded  # most runners have no store

    if known.codes is None or not known.codes.are_of(sent):
        known.codes = recorded.WorkflowCodes(workflow, sent)
    targets = None if asked.targets is None else tuple([task.id for task in workflow.tasks])
    record = recorded.OnRecord(runs.recorder(), workflow, known.codes, left, targets)
    if left is None:
        record.take_over(asked.reuse)
    return record


def _inline(runs: Runs, makings: Makings) -> Inline:
    """What runs one execution on the thread that calls."""
    from cloaca.execution import serial  # workers do without

    executor = serial.SerialExecutor(makings.objects, runs.workroom, runs.gates.passed, runs.kind, makings.profilers)
    return Inline(executor, Seats(runs.settings.limits))


def _merging(workflow: Workflow, rules: Rules, number: int) -> Merging:
    directory = working_directory()

    def place(rank: int) -> str:
        return workflow.tasks[workflow.plan.defined[rank]].place(directory)

    return Merging(
        number, frozenset(workflow.merge), rules.collected, rules.on_conflict == "fail", place, passing(workflow)
    )


def _checked_context(given: Context | dict[str, Any] | None) -> Context:
    if isinstance(given, Context):
        return given
    if given is not None and not isinstance(given, dict):
        raise TypeError(f"execute takes a dict or a cloaca.Context of first values, not {a(type(given).__name__)}.")
    return Context(given)
