"""Targets: the part of a workflow that some of its tasks need."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from cloaca.history.plan import plan
from cloaca.nearest import nearest
from cloaca.workflows.workflow import Copy, Target, Workflow


def restricted(workflow: Workflow, targets: Sequence[Target]) -> Workflow:
    """Return the workflow with these tasks alone, and those before them: they see what they see in the whole of it.

    Raises `ValueError` where one of them is no task of the workflow, and names the nearest ones.

    >>> from cloaca.workflows.workflow import Task
    >>> tasks = Task("load", print), Task("mean", print, ("load",)), Task("plot", print, ("load",))
    >>> whole = Workflow("sales", "", {}, tasks, plan("sales", [(task.id, task.dependencies) for task in tasks]))
    >>> restricted(whole, ["mean"]).topological_sort()
    ['load', 'mean']
    >>> restricted(whole, ["maen"])
    Traceback (most recent call last):
        ...
    ValueError: Workflow 'sales' has no task 'maen', which is a target: did you mean 'mean'?
    """
    if isinstance(targets, str) or not targets:
        raise ValueError(f"targets= is a list of ids of tasks, as in targets=['report'], not {targets!r}.")
    needed = _needed(workflow, [_id_of(workflow, target) for target in targets])
    if len(needed) == len(workflow.tasks):
        return workflow
    tasks = tuple([task for task in workflow.tasks if task.id in needed])
    return replace(
        workflow,
        tasks=tasks,
        plan=plan(workflow.name, [(task.id, task.dependencies) for task in tasks]),
        copies=tuple([_left_of(copy, needed) for copy in workflow.copies if not needed.isdisjoint(copy.ids)]),
    )


def _id_of(workflow: Workflow, target: Target) -> str:
    if not isinstance(target, str):
        found = [task.id for task in workflow.tasks if task.function is target]
        if len(found) == 1:
            _refuse_inside(workflow, found[0])
            return found[0]
        count = f"{len(found)} tasks have" if found else "no task has"
        raise ValueError(f"In workflow {workflow.name!r} {count} the function {target!r}: name a target by its id.")
    if target in workflow.plan.rank:
        _refuse_inside(workflow, target)
        return target
    matches = nearest(target, workflow.plan.rank)
    advice = f": did you mean {' or '.join(map(repr, matches))}?" if matches else "."
    if target.endswith("]") and (mapped := target.partition("[")[0]) in workflow.plan.rank:
        advice = f": name {mapped!r}, with all of its instances."
    raise ValueError(f"Workflow {workflow.name!r} has no task {target!r}, which is a target{advice}")


def _refuse_inside(workflow: Workflow, target: str) -> None:
    task = workflow.tasks[workflow.plan.defined[workflow.plan.rank[target]]]
    if task.per_item is not None and not task.stands_for_copies:
        end = task.per_item.prefix[:-1]
        raise ValueError(
            f"Task {target!r}, which is a target, is a task of each copy in workflow {workflow.name!r}: name {end!r}."
        )


def _needed(workflow: Workflow, targets: Iterable[str]) -> set[str]:
    """The tasks with these ids, and all that come before them."""
    tasks = {task.id: task for task in workflow.tasks}
    ahead = [*targets]
    needed = set(ahead)
    while ahead:
        fresh = [id for id in tasks[ahead.pop()].dependencies if id not in needed]
        needed.update(fresh)
        ahead += fresh
    return needed


def _left_of(copy: Copy, needed: set[str]) -> Copy:
    """The copy as it begins and ends now. Its tasks still have the names that they share with others outside of it."""
    roots, leaves = ([id for id in ids if id in needed] for ids in (copy.roots, copy.leaves))
    return replace(copy, roots=tuple(roots), leaves=tuple(leaves))
