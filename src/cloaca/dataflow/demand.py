"""What a workflow with outputs asks for of its values, as far as declarations and code tell for certain."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cloaca.history.unwanted import Demand
from cloaca.workflows.passed import passed_in
from cloaca.workflows.workflow import Task, Workflow, by_rank

if TYPE_CHECKING:
    from cloaca.dataflow.touches import Touches


def demand_of(workflow: Workflow) -> Demand | None:
    """What is asked for; `None` where the workflow names no outputs, as all is then."""
    if workflow.outputs is None:
        return None
    passed = passed_in(workflow)
    outputs = _with_sources(workflow.outputs, passed)
    if workflow.on_conflict == "fail":  # each task looks whether branches agree that meet there
        return Demand(outputs, [None] * len(workflow.tasks))
    reads = [_reads(task, touched) for task, touched in _known(workflow)]
    return Demand(outputs, [None if keys is None else _with_sources(keys, passed) for keys in reads])


def limited_reads(workflow: Workflow) -> dict[int, tuple[str, ...]]:
    """The tasks that may look at what they declare and at nothing else, by rank, with these keys as they name them.

    Their code doesn't tell what they look at, so what they declare decides how long values are kept.
    """
    if workflow.outputs is None:
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for rank, (task, touched) in enumerate(_known(workflow)):
        keys = _reads(task, touched)
        if touched.reads_more and keys is not None:
            found[rank] = tuple(sorted(key.removeprefix(task.prefix) for key in keys))
    return found


def looked_at(workflow: Workflow) -> list[frozenset[str] | None]:
    """The keys that each task may look at, by rank, where its code tells for certain; `None`: any.

    An instance of a mapped task has its item: the others only where its code reads them too.
    """
    found: list[frozenset[str] | None] = []
    for task, touched in _known(workflow):
        keys = None if touched.reads_more else _reads(task, touched)
        if keys is not None and task.for_each and not _names(task, task.for_each):
            keys -= {task.for_each}
        found.append(keys)
    return found


def _names(task: Task, key: str) -> bool:
    """Whether the task's own code looks at the key, or is called with it."""
    from cloaca.dataflow.touches import touched_by, touches_of  # loads what reads code

    called = [touched_by(task)] if task.fingerprint is None else [touched_by(task), touches_of(task.fingerprint)]
    own = [touched.under(task.prefix) for touched in called]
    is_read = any(key in one.reads | one.asks for one in own)
    return is_read or any(task.prefix + one == key for one in task.form.keys)


def _known(workflow: Workflow) -> "Sequence[tuple[Task, Touches]]":
    from cloaca.dataflow.check import touches

    return list(zip(by_rank(workflow), touches(workflow), strict=True))


def _reads(task: Task, touched: "Touches") -> frozenset[str] | None:
    """The keys whose values a task may look at; `None`: any.

    What it sets is compared with what was there. A callback may look at all that its task saw.
    """
    if task.on_success is not None or task.on_failure is not None or touched.leaves_more:
        return None
    if touched.reads_more and task.reads is None:
        return None
    own = touched.reads | touched.asks | touched.sets
    if task.fingerprint is None:
        return own
    from cloaca.dataflow.touches import touches_of

    before = touches_of(task.fingerprint).under(task.prefix)
    return None if before.reads_more else own | before.reads | before.asks


def _with_sources(keys: Iterable[str], passed: Mapping[str, str]) -> frozenset[str]:
    """The keys, and those from which their values come where they are passed in to copies."""
    found = [*keys]
    for key in found:  # grows meanwhile
        found += [passed[key]] if key in passed else []
    return frozenset(found)
