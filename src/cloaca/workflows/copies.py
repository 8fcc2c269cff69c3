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
from cloaca.workflows.workflow import Copy, Task, Workflow

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


# ---- making a copy -------------------------------------------------------------------------------------------------


def copy_of(workflow: Workflow, prefix: str, inputs: Mapping[str, str]) -> Copy:
    """The workflow under a prefix."""
    listed = [task.id for task in workflow.tasks], workflow.get_roots(), workflow.get_leaves()
    ids, roots, leaves = _under(prefix, *listed)
    return Copy(prefix, ids, roots, leaves, inputs)


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
        )


def copied_copies(workflow: Workflow, prefix: str) -> Iterator[Copy]:
    """The copies that are part of the workflow, under the prefix."""
    for copy in workflow.copies:
        inputs = {prefix + key: prefix + source for key, source in copy.inputs.items()}
        ids, roots, leaves = _under(prefix, copy.ids, copy.roots, copy.leaves)
        yield Copy(prefix + copy.prefix, ids, roots, leaves, inputs)


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
        for key in merge:
            if key in self.rules or key in self.structured:
                yield f"Key {key!r} has a merge rule here, and one of the workflow that was added: leave one out."


def around(name: str) -> Iterator[str]:
    """The prefixes that a name may have, the shortest first."""
    return (name[: place + 1] for place, mark in enumerate(name) if mark == SEPARATOR)
