"""Copies: a workflow as part of another one, under a prefix.

A copy has tasks and keys of its own. Their names are those of the workflow that it is a copy of, behind the prefix and
a dot. The dot is what Python puts between a thing and its part; pictures show it as it is, and "::" stands between
the names of a `TaskNamespace` already.

Inside, nothing has another name than before: see `cloaca.tasks.scope`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from cloaca.merge.given import OnConflict, Rule
from cloaca.triggers.condition import Named, renamed
from cloaca.wire.text import is_encodable
from cloaca.workflows.workflow import Copy, PerItem, Task, Workflow

SEPARATOR: Final = "."


# ---- what is given, checked ----------------------------------------------------------------------------------------


def checked_prefix(prefix: Any) -> str:
    """The prefix, with the separator. Raises `ValueError` where it can't be one."""
    if not isinstance(prefix, str) or not prefix or not is_encodable(prefix):
        raise ValueError(f"add_workflow(prefix=...) is a string that isn't empty, and {prefix!r} is not.")
    if SEPARATOR in prefix:
        raise ValueError(
            f"add_workflow(prefix=...) has no {SEPARATOR!r} in it, as that stands between the prefix and the names "
            f"behind it: {prefix!r}."
        )
    return str.__str__(prefix) + SEPARATOR


def checked_inputs(prefix: str, inputs: Any) -> dict[str, str]:
    """From keys of the copy, in full, to those that they are read from. Raises `ValueError` where there are none."""
    if inputs is None:
        return {}
    if not isinstance(inputs, Mapping):
        raise ValueError(f'add_workflow(inputs=...) maps keys to keys, as in {{"rows": "all_rows"}}, not {inputs!r}.')
    for name in (*inputs.keys(), *inputs.values()):
        if not isinstance(name, str) or not is_encodable(name):
            raise ValueError(f"add_workflow(inputs=...) maps keys, which are strings, to keys; {name!r} is none.")
    for key, source in inputs.items():
        if source.startswith(prefix):
            raise ValueError(f"add_workflow(inputs=...) reads {key!r} from {source!r}, a key of the copy itself.")
    return {prefix + key: str.__str__(source) for key, source in inputs.items()}


def checked_items(prefix: str, for_each: Any, item: Any, inputs: Mapping[str, str]) -> tuple[str, str] | None:
    """The key of the items, and the one under which each is seen, in full; `None` where there are none."""
    if for_each is None and item is None:
        return None
    items, own = _checked_key("for_each", for_each), _checked_key("item", item)
    if items.startswith(prefix):
        raise ValueError(f"add_workflow(for_each=...) finds its items in {items!r}, a key of the copies themselves.")
    if prefix + own in inputs:
        raise ValueError(f"add_workflow(inputs=...) passes in {own!r}, which is the key of the item.")
    return items, prefix + own


def _checked_key(name: str, key: Any) -> str:
    if not isinstance(key, str) or not key or not is_encodable(key):
        raise ValueError(
            'A workflow that runs for each item takes two keys, as in add_workflow(region, for_each="regions", '
            f'item="region"): that of the items, and the one under which each copy sees its own. {name}={key!r} '
            "is none."
        )
    return str.__str__(key)


# ---- making a copy -------------------------------------------------------------------------------------------------


def copy_of(workflow: Workflow, prefix: str, inputs: Mapping[str, str], for_each: str | None = None) -> Copy:
    """The workflow under a prefix; once, or one `for_each` item of a key."""
    listed = [task.id for task in workflow.tasks], workflow.get_roots(), workflow.get_leaves()
    ids, roots, leaves = _under(prefix, *listed)
    if for_each is None:
        return Copy(prefix, ids, roots, leaves, inputs)
    end = prefix.removesuffix(SEPARATOR)
    return Copy(prefix, (*ids, end), roots, (end,), inputs, for_each)


def _under(prefix: str, *listed: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The same names, behind the prefix."""
    return (tuple([prefix + name for name in names]) for names in listed)


def copied_tasks(workflow: Workflow, prefix: str) -> Iterator[Task]:
    """The tasks of the workflow, under the prefix: whatever names tasks or keys is renamed here.

    They start by the rules that they have there, not by what the whole workflow says of tasks that have none.
    """

    def id_of(named: Named) -> Named:
        return prefix + named if isinstance(named, str) else named

    for task in workflow.tasks:
        (dependencies, reads), rules = _under(prefix, task.dependencies, task.reads or ()), task.trigger_rules
        yield replace(
            task,
            id=prefix + task.id,
            dependencies=dependencies,
            reads=None if task.reads is None else reads,
            trigger_rules=None if rules is None else renamed(rules, id_of, lambda key: prefix + key),
            for_each=None if task.for_each is None else prefix + task.for_each,
            prefix=prefix + task.prefix,
            per_item=None if task.per_item is None else _named_under(prefix, task.per_item),
        )


def _named_under(prefix: str, inner: PerItem) -> PerItem:
    return PerItem(prefix + inner.prefix, prefix + inner.item)


def tasks_for_each(workflow: Workflow, copy: Copy, item: str) -> Iterator[Task]:
    """The tasks of a workflow that runs for each item, which they see as `item`; and the one that stands for it."""
    from cloaca.tasks.gathered import gathered  # what runs isn't loaded to define workflows

    inner = PerItem(copy.prefix, item)
    for task in copied_tasks(workflow, copy.prefix):
        yield replace(task, for_each=copy.for_each, per_item=inner)
    (end,) = copy.leaves
    (leaves,) = _under(copy.prefix, workflow.get_leaves())
    yield Task(end, gathered, leaves, for_each=copy.for_each, prefix=copy.prefix, per_item=inner)


def copied_copies(workflow: Workflow, prefix: str) -> Iterator[Copy]:
    """The copies that are part of the workflow, under the prefix."""
    for copy in workflow.copies:
        inputs = {prefix + key: prefix + source for key, source in copy.inputs.items()}
        ids, roots, leaves = _under(prefix, copy.ids, copy.roots, copy.leaves)
        yield Copy(prefix + copy.prefix, ids, roots, leaves, inputs, copy.for_each and prefix + copy.for_each)


# ---- what doesn't go together --------------------------------------------------------------------------------------


class Added:
    """The workflows that were added to a builder: their copies, rules, and what they say about conflicts."""

    def __init__(self) -> None:
        self.copies: list[Copy] = []
        self.rules: dict[str, Rule] = {}
        self.structured: frozenset[str] = frozenset()
        self._own: list[tuple[Copy, Workflow]] = []
        self._taken: set[str] = set()

    def add(self, workflow: Workflow, copy: Copy) -> None:
        """Add a workflow with what is part of it. Raises `ValueError` where the prefix is taken."""
        if copy.prefix in self._taken:
            prefix = copy.prefix.removesuffix(SEPARATOR)
            raise ValueError(f"A workflow was added with the prefix {prefix!r} already: give each its own.")
        self._taken.add(copy.prefix)
        self._own.append((copy, workflow))
        self.copies += [copy, *copied_copies(workflow, copy.prefix)]
        self.rules |= {copy.prefix + key: rule for key, rule in workflow.merge.items()}
        self.structured |= {copy.prefix + key for key in workflow.structured}

    def findings(self, tasks: Sequence[Task], merge: Iterable[str], on_conflict: OnConflict | None) -> Iterator[str]:
        """What of a workflow's own tasks, rules and settings doesn't go together with what was added."""
        leads = {
            copy.prefix: f"The workflow {workflow.name!r}, added as {copy.prefix.removesuffix(SEPARATOR)!r},"
            for copy, workflow in self._own
        }
        for task in tasks if leads else ():
            lead = leads.get(next(around(task.id + SEPARATOR)))
            if lead is not None and not task.prefix:
                yield f"{lead} and task {task.id!r} get in each other's way: rename one."
        for copy, workflow in self._own:
            if workflow.on_conflict != on_conflict:
                said = f"on_conflict={workflow.on_conflict!r}, and this one {on_conflict!r}"
                yield f"{leads[copy.prefix]} says {said}: one rule holds for the whole workflow, so let them agree."
        for copy, workflow in self._own:
            if copy.for_each is not None:
                yield from _unfit(copy, workflow)
        yield from self._outside_in(tasks)
        for key in merge:
            if key in self.rules or key in self.structured:
                yield f"Key {key!r} has a merge rule here, and one of the workflow that was added: leave one out."

    def _outside_in(self, tasks: Sequence[Task]) -> Iterator[str]:
        """Tasks that depend on one inside of copies that are made for items."""
        inside = {
            id: copy.leaves[0] for copy in self.copies if copy.for_each for id in copy.ids if id not in copy.leaves
        }
        for task in tasks if inside else ():
            for id in task.dependencies:
                if id in inside and not (task.per_item and task.per_item.prefix.startswith(inside[id] + SEPARATOR)):
                    yield (
                        f"Task {task.id!r} depends on {id!r}, which is a task of each copy: let it depend on "
                        f"{inside[id]!r}, which ends when all copies have."
                    )


def _unfit(copy: Copy, workflow: Workflow) -> Iterator[str]:
    """What of a workflow can't run for each item."""
    lead = f"The workflow {workflow.name!r} runs for each item of {copy.for_each!r}, and"
    for task in workflow.tasks:
        if task.for_each is not None:
            yield (
                f"{lead} its task {copy.prefix + task.id!r} for each item of {task.for_each!r}: one inside the other "
                "can't be had. Let the task go through its items itself, or give both as one list of pairs."
            )
    for inner in workflow.copies:
        if inner.inputs:
            name = inner.prefix.removesuffix(SEPARATOR)
            yield f"{lead} inputs are passed in to its copy {name!r}: set the keys in a task."
    for key, rule in workflow.merge.items():
        if getattr(rule, "__name__", "") == "by_task":
            yield f"{lead} its key {key!r} is kept by task, which can't be gathered: give it another merge rule."


def around(name: str) -> Iterator[str]:
    """The prefixes that a name may have, the shortest first."""
    return (name[: place + 1] for place, mark in enumerate(name) if mark == SEPARATOR)
