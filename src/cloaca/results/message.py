"""What went wrong in a run, in words: root causes first."""

from collections.abc import Callable, Iterator, Sequence

from cloaca.dataflow.finding import Finding
from cloaca.engine.ledger import Ledger
from cloaca.engine.run import Run
from cloaca.engine.state import State, Stop
from cloaca.history.plan import Plan
from cloaca.wire.messages import Outcome
from cloaca.wording import counted

_LISTED = 10


def failures(ledger: Ledger, outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """The tasks that failed, in the order of the workflow: those for which the run has, and those that may."""
    failed = [rank for rank, outcome in enumerate(outcomes) if outcome.status == "Failed"]
    counted_ones = [ledger.names[rank] for rank in failed if not ledger.allows_failure(rank)]
    return counted_ones, [ledger.names[rank] for rank in failed if ledger.allows_failure(rank)]


def root_causes(plan: Plan, failures: Sequence[str]) -> list[str]:
    """Those of the tasks that none of them precedes, in the order of the workflow."""
    failed = [plan.rank[name] for name in failures]
    follows_failure = plan.beneath({*failed}.__contains__) if failed else []
    return [plan.names[rank] for rank in failed if not follows_failure[rank]]


def message_of(
    status: str,
    run: Run,
    outcomes: Sequence[Outcome],
    roots: Sequence[str],
    failures: Sequence[str],
    findings: Sequence[Finding],
    at: Callable[[int], str],
) -> str | None:
    """What went wrong and where; `None` where nothing did. `at` tells where a task, or an instance, failed."""
    if status == "Completed":
        return None
    plan = run.plan
    by_status: dict[str, list[str]] = {"Skipped": [], "Cancelled": []}
    for name, outcome in zip(plan.names, outcomes, strict=True):
        if outcome.status in by_status:
            by_status[outcome.status].append(name)
    failed = list(dict.fromkeys([*roots, *failures]))
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
