"""What a run needs where tasks run in the program itself: the functions as they are, under numbers of its own."""

from collections.abc import Callable

from cloaca.dataflow.demand import limited_reads
from cloaca.merge.rules import Rules
from cloaca.pickling.functions import reads
from cloaca.sending.bindings import binding_of
from cloaca.sending.makings import Makings
from cloaca.sending.work import all_work, reads_of
from cloaca.tasks.binding import bound
from cloaca.tasks.handle import with_handle
from cloaca.workflows.workflow import Task, Workflow, asked_in_attempts, by_rank


def objects_of(
    workflow: Workflow,
    rules: Rules,
    expand: Callable[[Task], object],
    time_limit: Callable[[Task], float | None],
    first: int,
) -> Makings:
    """What runs in the program. `expand` makes what expands a mapped task; numbers count from `first`, by rank."""
    tasks = by_rank(workflow)
    number, looks = len(tasks), limited_reads(workflow)
    own = first + number
    functions: dict[int, object] = {first + rank: called(task, looks.get(rank)) for rank, task in enumerate(tasks)}
    expansions = {rank: own + 1 + rank for rank, task in enumerate(tasks) if task.for_each}
    conditions = {condition: own + number + n for n, condition in enumerate(asked_in_attempts(tasks), 1)}
    behind = own + number + len(conditions) + 1
    fingerprints = {rank: behind + rank for rank, task in enumerate(tasks) if task.fingerprint is not None}
    functions |= {own: rules, **{expansions[rank]: expand(tasks[rank]) for rank in expansions}}
    functions |= {number: condition for condition, number in conditions.items()}
    functions |= {fingerprints[rank]: tasks[rank].fingerprint for rank in fingerprints}
    calls = [(first + rank, reads_of(task, reads(task.function)), time_limit(task)) for rank, task in enumerate(tasks)]
    work = all_work(workflow.plan, tasks, calls, conditions, expansions, fingerprints)
    return Makings(work, rules, own, objects=functions)


def called(task: Task, looks: tuple[str, ...] | None = None) -> Callable[..., object]:
    """What is called for a task. `looks`: the keys that it may look at; `None`: any."""
    function = with_handle(task.function) if task.form.takes_handle else task.function
    binding = binding_of(task)
    if binding is None and task.writes is None and looks is None:
        return function
    return bound(function, binding, None if task.form.is_plain else task.writes, looks)
