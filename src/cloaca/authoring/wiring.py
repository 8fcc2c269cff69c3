"""Wiring: dependencies that follow from names. A task depends on the one that returns what it takes.

What a task returns, or declares to write, is what others may take: as a parameter, as items, as a key that its `reads`
or its condition names. A key that no task returns comes from the input.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace

from cloaca.workflows.workflow import Copy, Task

_LISTED = 20  # findings


class Wired(NamedTuple):
    """Tasks with all of their dependencies, and the keys that make these: by who takes and who returns one.

    `findings` tell of keys that several tasks return.
    """

    tasks: tuple[Task, ...]
    keys: Mapping[tuple[str, str], str]
    findings: tuple[str, ...]


def wired(tasks: Sequence[Task], copies: Iterable[Copy], merged: Collection[str]) -> Wired:
    """The tasks, each with a dependency on those that return what it takes, after those that it lists.

    A copy's first tasks take what the copy is given. Of a key that is `merged`, all tasks that return it are meant.
    Where a task lists one of them itself, that one is.
    """
    producers = _producers(tasks)
    given = {root: _given_to(copy) for copy in copies for root in copy.roots}
    made: list[Task] = []
    keys: dict[tuple[str, str], str] = {}
    findings: list[str] = []
    for task in tasks:
        found: dict[str, str] = {}
        for key in given.get(task.id, ()) if task.prefix else _taken(task):
            sources = [id for id in producers.get(key, ()) if id != task.id]
            if not sources or not set(sources).isdisjoint(task.dependencies):
                continue
            if len(sources) > 1 and key not in merged:
                findings.append(_ambiguous(task, key, sources))
            else:
                found |= {id: key for id in sources if id not in found}
        keys |= {(task.id, id): key for id, key in found.items()}
        made.append(replace(task, dependencies=(*task.dependencies, *found)) if found else task)
    return Wired(tuple(made), keys, tuple(findings[:_LISTED]))


def with_keys(finding: str, keys: Mapping[tuple[str, str], str]) -> str:
    """The finding; where it shows a cycle, with the keys that make it one."""
    *_, names = finding.split(": ")
    told = [
        f"{later} takes {keys[later, first]!r} of {first}"
        for later, first in pairwise(names.split(" -> "))
        if (later, first) in keys
    ]
    return f"{finding} ({', '.join(told)})" if told else finding


def _given_to(copy: Copy) -> tuple[str, ...]:
    """The keys of the whole workflow that a copy begins with."""
    passed = tuple(copy.inputs.values())
    return passed if copy.for_each is None else (copy.for_each, *passed)


def _producers(tasks: Iterable[Task]) -> dict[str, list[str]]:
    """The tasks that set each key, as far as they say so."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        id = task.id if task.per_item is None else task.per_item.prefix[:-1]  # what its copies leave is gathered there
        for key in task.writes or ():
            sources = found.setdefault(task.prefix + key, [])
            if id not in sources:
                sources.append(id)
    return found


def _taken(task: Task) -> Iterator[str]:
    yield from task.form.keys
    if task.for_each is not None:
        yield task.for_each
    yield from task.reads or ()
    if task.trigger_rules is not None:
        yield from task.trigger_rules.keys


def _ambiguous(task: Task, key: str, sources: Sequence[str]) -> str:
    *most, last = map(repr, sources)
    shown = f"{', '.join(most)} and {last}"
    return (
        f"Task {task.id!r} takes key {key!r}, which tasks {shown} return: list the one that is meant in its "
        "dependencies=, let each return another key, or give the key a merge rule."
    )
