"""A finding: what the data-flow check has to say of one key."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from cloaca.workflows.copies import SEPARATOR
from cloaca.workflows.workflow import Task

FindingKind = Literal[
    "unordered", "late", "missing", "ambiguous", "undeclared", "unmade", "unclear", "lost", "mistyped", "unread"
]

_READING = ("KeyError: ", "MissingKeyError: ", "MergeConflict: ")
_USING = ("TypeError: ", "AttributeError: ")


class Finding(Struct, frozen=True):
    """Something in a workflow that looks like a mistake.

    `kind` is "unordered" (the key is set by a task that doesn't come before), "late" (by one that comes after),
    "missing" (by none, nor is it in the input), "ambiguous" (by two that meet), "undeclared" (the task sets it, and
    doesn't say so in `writes=`), "unmade" (it says so, and doesn't), "unclear" (a task is mapped over it, and nobody
    knows what that sets), "lost" (the task changes a copy of its value, and doesn't set it), "mistyped" (it can't
    be what the task takes it for, as that is annotated) or, for information, "unread" (no task reads it, though others
    follow). `task` and `key` tell which: no task, "", where it is the
    workflow's outputs that name the key. `others` are the other tasks of which `message` speaks, and `places` the files
    and lines of all, `task` first.
    """

    kind: FindingKind
    task: str
    key: str
    message: str
    others: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message

    def explains(self, task: str, error: str) -> bool:
        """Whether it tells why a task failed with that error, given as "KeyError: ..."."""
        if self.kind == "mistyped":
            return task == self.task and error.startswith("ParameterError: ")
        task = task if task in (self.task, *self.others) else task.partition("[")[0]  # perhaps that of an instance
        if error.startswith(_READING):
            return task in (self.task, *self.others) and repr(self.key)[1:-1] in error
        is_of_none = error.startswith(_USING) and "NoneType" in error  # what `get` gives for a key that isn't there
        return is_of_none and task == self.task and self.kind in ("unordered", "late", "missing")


def finding_of(kind: FindingKind, key: str, text: str, tasks: Sequence[Task], directory: str) -> Finding:
    """What there is to say of a key, with the places of the tasks of which it speaks."""
    places = tuple([task.place(directory) for task in tasks])
    where = ", ".join(f"{task.id} at {place}" for task, place in zip(tasks, places, strict=True) if place)
    message = f"{text} ({where})" if where else text
    stop = "" if text.endswith((".", "?")) else "."
    return Finding(kind, tasks[0].id, key, message + stop, tuple([task.id for task in tasks[1:]]), places)


def advice_of(later: Task, first: Task) -> str:
    """What makes one task come before another; all of a copy's tasks come after what the copy depends on."""
    if later.prefix and not first.id.startswith(later.prefix):
        name = later.prefix.removesuffix(SEPARATOR)
        return f"add {first.id!r} to add_workflow(..., prefix={name!r}, dependencies=[...])"
    return f"add {first.id!r} to the dependencies of {later.id!r}"
