"""What a run is told of copies: what is passed in to them, and which of their keys are kept by task."""

from collections.abc import Iterable, Mapping

from cloaca.history.passing import Passing, Source
from cloaca.merge.rules import Home
from cloaca.workflows.copies import SEPARATOR, around
from cloaca.workflows.workflow import Copy, Workflow


def passing(workflow: Workflow) -> Passing:
    """Which keys find a value of another key, for each task of a copy that has inputs, by rank.

    What is passed in to a copy goes before what that passes on to copies of its own.
    """
    copies = {copy.prefix: copy for copy in workflow.copies}
    if not any(copy.inputs for copy in copies.values()):
        return {}
    rank = workflow.plan.rank
    sources = {prefix: _sources([copies[outer] for outer in around(prefix)], rank) for prefix in copies}
    return {rank[task.id]: sources[task.prefix] for task in workflow.tasks if task.prefix and sources[task.prefix]}


def _sources(copies: Iterable[Copy], rank: Mapping[str, int]) -> dict[str, tuple[Source, ...]]:
    """The sources of keys in copies, of which one is inside the other."""
    found: dict[str, tuple[Source, ...]] = {}
    for copy in copies:
        for key, source in copy.inputs.items():
            found[key] = (*found.get(key, ()), Source(source, rank[copy.roots[0]]))
    return found


def passed_in(workflow: Workflow) -> dict[str, str]:
    """From the keys of copies to those in which their first values are found, or their items."""
    items = {task.per_item.item: task.for_each for task in workflow.tasks if task.per_item and task.for_each}
    return {**{key: source for copy in workflow.copies for key, source in copy.inputs.items()}, **items}


def source_of(key: str, passed: Mapping[str, str]) -> str:
    """The key from which the value comes that was passed in for that one, through all copies."""
    while key in passed:
        key = passed[key]
    return key


def homes(workflow: Workflow) -> dict[str, Home]:
    """For keys of copies that are kept by task: the innermost copy that has them."""
    if not workflow.copies or not workflow.merge:
        return {}
    from cloaca.merge.named import by_task

    keys = [key for key, rule in workflow.merge.items() if rule is by_task]
    copies = {copy.prefix: copy for copy in workflow.copies}
    inner = {key: copies[prefix] for key in keys for prefix in around(key) if prefix in copies}
    return {key: Home(copy.prefix, _outside(copy, workflow)) for key, copy in inner.items()}


def _outside(copy: Copy, workflow: Workflow) -> dict[str, str]:
    """What tasks outside of a copy are called in it that have the id of one inside: that, behind a separator."""
    inside = {id.removeprefix(copy.prefix) for id in copy.ids}
    names: dict[str, str] = {}
    for task in workflow.tasks:
        name = task.id
        while name in inside and not task.id.startswith(copy.prefix):
            name = SEPARATOR + name
        if name != task.id:
            names[task.id] = name
    return names
