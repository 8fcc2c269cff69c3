"""A finding: what the data-flow check has to say of one key."""

from typing import Literal

from msgspec import Struct

FindingKind = Literal["unordered", "late", "missing", "ambiguous", "undeclared", "unmade", "unclear", "unread"]

_READING = ("KeyError: ", "MissingKeyError: ", "MergeConflict: ")
_USING = ("TypeError: ", "AttributeError: ")


class Finding(Struct, frozen=True):
    """Something in a workflow that looks like a mistake.

    `kind` is "unordered" (the key is set by a task that doesn't come before), "late" (by one that comes after),
    "missing" (by none, nor is it in the input), "ambiguous" (by two that meet), "undeclared" (the task sets it, and
    doesn't say so in `writes=`), "unmade" (it says so, and doesn't), "unclear" (a task is mapped over it, and nobody
    knows what that sets) or, for information, "unread" (no task reads it, though others follow). `task` and `key` tell
    which: no task, "", where it is the workflow's outputs that name the key. `others` are the other tasks of which
    `message` speaks, and `places` the files and lines of all, `task` first.
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
        task = task if task in (self.task, *self.others) else task.partition("[")[0]  # perhaps that of an instance
        if error.startswith(_READING):
            return task in (self.task, *self.others) and repr(self.key)[1:-1] in error
        is_of_none = error.startswith(_USING) and "NoneType" in error  # what `get` gives for a key that isn't there
        return is_of_none and task == self.task and self.kind in ("unordered", "late", "missing")
