"""A rehearsal: a run of a workflow in which nothing is called. It tells what comes of what it is given at first."""

from collections.abc import Iterable, Mapping
from itertools import count

from cloaca.engine.events import Begin
from cloaca.engine.facts import Fact
from cloaca.engine.reuse import Reuse
from cloaca.engine.run import Run
from cloaca.engine.work import Merging, Work
from cloaca.history.told_digests import Combining, ContentOf
from cloaca.merge.rules import Rules
from cloaca.sending.work import all_work
from cloaca.wire.messages import Version
from cloaca.workflows.passed import passing
from cloaca.workflows.workflow import Workflow, asked_in_attempts, by_rank

_NUMBER = 1
"""That of whatever would be called."""


def rehearsed(
    workflow: Workflow,
    rules: Rules,
    inputs: Mapping[str, Version],
    seed: int,
    *,
    earlier: Iterable[Fact] = (),
    content: ContentOf | None = None,
    combining: Combining | None = None,
    reuse: Reuse | None = None,
) -> Run:
    """The run, once it has begun: what had ended `earlier` has, and what it takes over by `reuse`; the rest waits."""
    run = rehearsal(workflow, rules, inputs, seed, earlier=earlier, content=content, combining=combining, reuse=reuse)
    run.handle(Begin(), 0.0)
    return run


def rehearsal(
    workflow: Workflow,
    rules: Rules,
    inputs: Mapping[str, Version],
    seed: int,
    *,
    earlier: Iterable[Fact] = (),
    content: ContentOf | None = None,
    combining: Combining | None = None,
    reuse: Reuse | None = None,
) -> Run:
    """The same before it has begun, for who wants to follow it."""
    return Run(
        workflow.plan,
        _work(workflow),
        inputs,
        numbers=count(),
        answers=False,
        merging=Merging(0, frozenset(workflow.merge), rules.collected, passing=passing(workflow)),
        seed=seed,
        earlier=earlier,
        content=content,
        combining=combining,
        reuse=reuse,
    )


def _work(workflow: Workflow) -> list[Work]:
    tasks = by_rank(workflow)
    ranks = range(len(tasks))
    conditions = dict.fromkeys(asked_in_attempts(tasks), _NUMBER)
    expansions = dict.fromkeys([rank for rank in ranks if tasks[rank].for_each is not None], _NUMBER)
    fingerprints = dict.fromkeys([rank for rank in ranks if tasks[rank].fingerprint is not None], _NUMBER)
    return all_work(workflow.plan, tasks, [(_NUMBER, (), None)] * len(tasks), conditions, expansions, fingerprints)
