"""Every exception that cloaca raises on purpose.

All survive pickling, whatever arguments their constructors take: `CloacaError.__reduce__` restores the message and the
attributes without calling `__init__` again. All derive from `CloacaError`, and from the built-in exception that a
caller would reach for first (`ValueError` for a wrong argument, and so on).
"""

from collections.abc import Sequence
from typing import Any

INPUT = "the input"
"""Stands for the writer of what a run was given."""

MERGE = "the merge of several tasks"
"""Stands for the writer of what merging made of several values."""

SHOWN_WRITERS = 10


def _named(writer: str) -> str:
    return writer if writer in (INPUT, MERGE) else f"task {writer!r}"


def _rebuild(cls: type["CloacaError"], args: tuple[Any, ...], state: dict[str, Any]) -> "CloacaError":
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CloacaError(Exception):
    """Base of every exception of cloaca."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


# ---- while a workflow is written -----------------------------------------------------------------------------------


class WorkflowError(CloacaError, ValueError):
    """A workflow can't be built. `findings` holds every fault that was found, one sentence each.

    Raised when a `WorkflowBuilder` block ends, or by `build()`; never while a workflow runs.
    """

    def __init__(self, workflow: str, findings: tuple[str, ...]) -> None:
        lead = f"Workflow {workflow!r} can't be built: "
        body = findings[0] if len(findings) == 1 else "".join(f"\n  - {finding}" for finding in findings)
        super().__init__(lead + body)
        self.workflow = workflow
        self.findings: tuple[str, ...] = findings


class NotSupportedYetError(CloacaError, NotImplementedError):
    """An argument is known, and cloaca doesn't act on it yet: it refuses rather than ignore it."""


# ---- while a run is asked for --------------------------------------------------------------------------------------


class UnknownWorkflowError(CloacaError, ValueError):
    """`execute` was given the name of no registered workflow; the message lists the nearest names."""


class RunnerClosedError(CloacaError, ValueError):
    """`execute` or `start` was called on a runner after `shutdown`."""


class NestedExecutionError(CloacaError, RuntimeError):
    """`execute` was called inside a worker: by a task, or by a module that a worker imported."""


class CaptureError(CloacaError, TypeError):
    """A task's function, or a merge rule, can't be sent to a worker. Raised by `execute`, before any task runs.

    `task` is the task's id, or `key` that of the merge rule (the other one is `None`); `variable` is the captured name
    (or path) at fault, `type_name` its type.
    """

    def __init__(self, task: str | None, variable: str, type_name: str, reason: str, *, key: str | None = None) -> None:
        owner = f"The function of task {task!r}" if key is None else f"The merge rule of key {key!r}"
        super().__init__(
            f"{owner} can't be sent to a worker: it uses {variable} (a {type_name}), which can't "
            f"be pickled ({reason}). Create it inside the function, or pass what it is made from through the context."
        )
        self.task = task
        self.key = key
        self.variable = variable
        self.type_name = type_name


class WorkersUnavailableError(CloacaError, RuntimeError):
    """Worker processes die before they are ready to work; what they wrote to standard error tells why."""


# ---- while a task reads and sets values ----------------------------------------------------------------------------


class EncodeError(CloacaError, TypeError):
    """A value can't be sent: raised at `context.set`, in the task.

    `key` is the context key (`None` where there is none), `path` leads from the value to the culprit
    (`model.cache.lock`), `type_name` is the culprit's type.
    """

    def __init__(self, key: str | None, path: str, type_name: str, reason: str) -> None:
        subject = "The value" if key is None else f"The value of key {key!r}"
        super().__init__(f"{subject} can't be sent: {path}: {type_name} ({reason}). Set only what can be pickled.")
        self.key = key
        self.path = path
        self.type_name = type_name


class StorageFullError(CloacaError, OSError):
    """A large value can't be stored: no folder for large values has room. Raised at `context.set`, in the task.

    `task` and `key` tell whose value it is (`None` where that isn't known), `size` how many bytes it takes; `folders`
    are pairs of a folder and the bytes that are free there.
    """

    def __init__(
        self, size: int, folders: tuple[tuple[str, int], ...], task: str | None = None, key: str | None = None
    ) -> None:
        subject = "A value" if key is None else f"The value of key {key!r}, set by {_named(task or INPUT)},"
        rooms = ", ".join(f"{folder} has {room:,} free" for folder, room in folders)
        super().__init__(
            f"{subject} takes {size:,} bytes, and there is no room for it: {rooms}. Set what is needed later, free "
            "keys that nobody needs any more, or give shared memory (/dev/shm) or the temporary folder more room."
        )
        self.task = task
        self.key = key
        self.size = size
        self.folders = folders


class DecodeError(CloacaError):
    """A value was sent but can't be rebuilt here: raised where it is read. Names the `key` and its `writer`."""

    def __init__(self, key: str, writer: str, reason: str) -> None:
        super().__init__(
            f"The value of key {key!r}, written by {_named(writer)}, can't be rebuilt here: {reason}. "
            "Check that its class can be imported here and unpickles without side effects."
        )
        self.key = key
        self.writer = writer


def _ways_to_settle(key: str, rule: str) -> str:
    by_hand = f"  context.set({key!r}, ...)"
    if not rule:
        return f"To settle it, give the key a value in a task that comes after all of them:\n{by_hand}"
    return (
        "To settle it, give the key a merge rule, or a value in a task that comes after all of them:\n"
        f"  WorkflowBuilder(..., merge={{{key!r}: cloaca.merge.{rule}}})\n{by_hand}"
    )


class MergeConflict(CloacaError):  # noqa: N818 - a conflict is a value of the context first, an error when read
    """A key was read whose concurrent writes don't combine.

    `key` is the key; `writers`, `values` and `places` are parallel: who wrote, what (shortened reprs), and where the
    writer's function stands (`file.py:12`, or "" where that isn't known). `path` leads to the member of a dict where
    they meet (`['north']`; "" where it is the whole value); `reason` is what a merge rule raised, or `None`.
    Setting or removing the key settles it. Never retried.
    """

    def __init__(
        self,
        key: str,
        writers: tuple[str, ...],
        values: tuple[str, ...],
        *,
        places: tuple[str, ...] = (),
        path: str = "",
        rule: str = "by_task",
        reason: str | None = None,
    ) -> None:
        places = places or ("",) * len(writers)
        rows = [
            f"\n  {_named(writer)}{f' ({place})' if place else ''} wrote {value}"
            for writer, value, place in zip(writers[:SHOWN_WRITERS], values, places, strict=False)
        ]
        if len(writers) > SHOWN_WRITERS:
            rows.append(f"\n  ... and {len(writers) - SHOWN_WRITERS} more")
        super().__init__(
            f"Key {key!r} has {len(writers)} concurrent values that don't combine{f', at {path}' if path else ''}"
            f"{f' ({reason})' if reason else ''}:{''.join(rows)}\n{_ways_to_settle(key, rule)}"
        )
        self.key = key
        self.writers = writers
        self.values = values
        self.places = places
        self.path = path
        self.reason = reason

    @classmethod
    def of(cls, conflicts: Sequence["MergeConflict"]) -> "MergeConflict":
        """One error that tells of several: the first conflict's attributes, and everybody's message."""
        first = conflicts[0]
        error = cls(first.key, first.writers, first.values)
        error.__dict__.update(first.__dict__)
        error.args = ("\n".join(str(conflict) for conflict in conflicts),)
        error.__cause__ = first.__cause__
        return error


# ---- while a run goes on -------------------------------------------------------------------------------------------


class RemoteTraceback(Exception):  # noqa: N818 - the cause of an error, never raised by itself
    """The traceback of a worker, as text: the `__cause__` of an exception that a task raised."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


class TaskError(CloacaError):
    """Stands for a task's exception that can't be pickled or rebuilt; its text and traceback are kept.

    `type_name` is the type of the original exception.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(f"{type_name}: {text}")
        self.type_name = type_name


class WorkerDied(CloacaError):  # noqa: N818 - the name that users know
    """A worker process died while it ran a task. Costs that attempt, and nothing else.

    `task` is the task's id, `exit_code` the process's exit code or `None`, `signal` the name of the signal that
    ended it or `None`.
    """

    def __init__(self, task: str, exit_code: int | None, signal: str | None, reason: str | None = None) -> None:
        if reason:
            how, advice = reason, "Close only what the task has opened itself."
        elif signal:
            how = f"killed by {signal}"
            advice = (
                "Often the machine ran out of memory, or native code crashed: run it with fewer workers, or with "
                "executor='serial' under a debugger."
            )
        else:
            how, advice = f"exited with code {exit_code}", "Let the task return or raise instead of calling os._exit."
        super().__init__(f"The worker that ran task {task!r} died: {how}. {advice}")
        self.task = task
        self.exit_code = exit_code
        self.signal = signal


class WorkflowFailedError(CloacaError):
    """Raised by `WorkflowResult.raise_for_status()`. The first failed task's exception is its cause."""


class InternalError(CloacaError):
    """cloaca broke a rule of its own: please report it, with the story that the message tells."""
