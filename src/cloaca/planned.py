"""Planned: what an execution would run, and why, told before anything runs."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from cloaca.engine.run import Run
from cloaca.engine.state import COMPLETED, EXPANDED, READY, SKIPPED
from cloaca.merge.rules import Rules
from cloaca.recorded import OnRecord, WorkflowCodes
from cloaca.recording.recorder import Recorder
from cloaca.recording.rehearsal import rehearsed
from cloaca.wire.messages import Version
from cloaca.workflows.passed import homes
from cloaca.workflows.workflow import Workflow, by_rank

_SAID = {"no": "is taken over", "yes": "runs: {}", "maybe": "may run: {}"}


class PlannedTask(NamedTuple):
    """What is known of a task before an execution: whether it `runs` ("yes", "no", "maybe"), and `because` of what."""

    runs: Literal["yes", "no", "maybe"]
    because: str = ""

    def __str__(self) -> str:
        return _SAID[self.runs].format(self.because)


class RunPlan(Mapping[str, PlannedTask]):
    """What an execution would run: a mapping from the ids of tasks, in order of the workflow. Printed, it is a table.

    A task that comes after one that runs may run or not: that depends on what is left by that one.
    """

    def __init__(self, tasks: Mapping[str, PlannedTask]) -> None:
        self._tasks = dict(tasks)

    def __getitem__(self, id: str) -> PlannedTask:
        return self._tasks[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        width = max(map(len, self._tasks), default=0)
        return "\n".join([f"{id:<{width}}  {task}" for id, task in self._tasks.items()])


def planned(recorder: Recorder, workflow: Workflow, inputs: Mapping[str, Version], seed: int | None) -> RunPlan:
    """Let a run begin that takes over what it can, and look at what is left."""
    record = OnRecord(recorder, workflow, WorkflowCodes(workflow))
    record.take_over(asked=True)
    run = rehearsed(
        workflow,
        Rules(workflow.merge, workflow.on_conflict, homes(workflow)),
        inputs,
        record.seed or 0 if seed is None else seed,
        content=record.digests.of,
        combining=record.combining,
        reuse=record.reuse,
    )
    tasks = by_rank(workflow)
    told = {task.id: _told(run, rank, has_fingerprint=task.fingerprint is not None) for rank, task in enumerate(tasks)}
    return RunPlan({task.id: told[task.id] for task in workflow.tasks})


def _told(run: Run, rank: int, *, has_fingerprint: bool) -> PlannedTask:
    name, state = run.plan.names[rank], run.states[rank]
    if state is COMPLETED:
        return PlannedTask("no")
    if state is SKIPPED:
        return PlannedTask("no", run.ledger.outcome(rank).reason or "it is skipped")
    if state is EXPANDED:
        return _told_of_instances(run, rank)
    if state is READY:
        reason = run.reasons.get((name, None), "never ran")
        if has_fingerprint and "fingerprint" in reason:
            return PlannedTask("maybe", "what its fingerprint comes to isn't known yet")
        return PlannedTask("yes", reason)
    before = next(above for above in run.plan.predecessors[rank] if run.states[above] not in (COMPLETED, SKIPPED))
    return PlannedTask("maybe", f"what {run.plan.names[before]!r} leaves isn't known yet")


def _told_of_instances(run: Run, rank: int) -> PlannedTask:
    fan = run.ledger.fans[rank]
    units = [unit for unit in range(fan.first, fan.first + fan.size) if run.states[unit] is not COMPLETED]
    ready = [unit for unit in units if run.states[unit] is READY]
    if not ready:
        return PlannedTask("maybe", "what is left for its items isn't known yet")
    first = run.reasons.get(run.ledger.place(ready[0]), "never ran")
    return PlannedTask("yes", f"{len(units)} of {fan.size} items; {run.ledger.name(ready[0])}: {first}")
