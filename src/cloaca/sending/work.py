"""The tasks of a workflow in the terms of a run, which knows by numbers what they call."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from cloaca.engine.fan import Each
from cloaca.engine.pairing import in_copies, paired
from cloaca.engine.work import Work
from cloaca.history.plan import Plan
from cloaca.triggers.condition import Condition
from cloaca.triggers.rules import DEFAULT
from cloaca.workflows.workflow import Task

Called = tuple[int, tuple[str, ...], float | None]
"""The number of what a task calls, the keys that are sent along, and how long a try may take."""
_NONE: Mapping[int, int] = {}


def reads_of(task: Task, mentioned: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that a task will probably read: those that it declares, or else that its code mentions."""
    if task.reads is not None:
        return task.reads
    if task.form.is_plain:
        mentioned = ()
    if not (task.form.parameters or task.prefix or task.for_each):
        return mentioned  # each is there once: thousands of tasks of one code share them
    own = [*task.form.keys, *mentioned]
    named = [task.prefix + key for key in own] if task.prefix else own
    return tuple(dict.fromkeys([key for key in named if key != task.for_each]))  # an instance has its item


def all_work(
    plan: Plan,
    tasks: Sequence[Task],
    called: Iterable[Called],
    conditions: Mapping[Condition, int],
    expansions: Mapping[int, int],
    fingerprints: Mapping[int, int] = _NONE,
) -> list[Work]:
    """The work by rank.

    `conditions` and, by rank, `expansions` and `fingerprints` are the numbers of what attempts ask and call.
    """
    each = _mapped_over(plan, tasks, expansions) if expansions else {}
    return [
        Work(
            function,
            reads if task.trigger_rules is None else tuple(dict.fromkeys((*reads, *task.trigger_rules.keys))),
            timeout,
            task.retry,
            None if task.rule == DEFAULT else task.rule,
            task.trigger_rules,
            0 if task.trigger_rules is None else conditions.get(task.trigger_rules, 0),
            each.get(rank),
            task.limits,
            task.prefix,
            fingerprints.get(rank, 0),
            task.allow_failure,
            task.priority,
        )
        for rank, (task, (function, reads, timeout)) in enumerate(zip(tasks, called, strict=True))
    ]


def _mapped_over(plan: Plan, tasks: Sequence[Task], expansions: Mapping[int, int]) -> dict[int, Each]:
    """How tasks are mapped, by rank."""
    writes = {rank: tuple([tasks[rank].prefix + key for key in written_by(tasks[rank])]) for rank in expansions}
    found = paired(plan, keys_of(tasks), expansions, writes)
    prefixes = [None if task.per_item is None else task.per_item.prefix for task in tasks]
    items = ["" if task.per_item is None else task.per_item.item for task in tasks]
    for rank, inner in in_copies(plan, prefixes, items).items():
        of_all = (writes[one] for one in expansions if prefixes[one] == inner.prefix)
        own = tuple(dict.fromkeys(chain.from_iterable(of_all))) if inner.is_end else writes[rank]
        found[rank] = Each(tasks[rank].for_each or "", expansions[rank], writes=own, inner=inner)
    return found


def keys_of(tasks: Iterable[Task]) -> list[str | None]:
    """Over which keys tasks are mapped, but for those of a workflow that runs for each item."""
    return [task.for_each if task.per_item is None else None for task in tasks]


def written_by(task: Task) -> tuple[str, ...]:
    """The keys that a task sets: what it declares, or else what its code tells for certain."""
    if task.writes is not None or task.stands_for_copies:
        return task.writes or ()
    from cloaca.dataflow.touches import keys_set

    return keys_set(task.function) or ()
