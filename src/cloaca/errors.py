"""What users catch: every exception that cloaca raises on purpose.

All survive pickling, whatever arguments their constructors take: `CloacaError.__reduce__` restores the message and the
attributes without calling `__init__` again. All derive from `CloacaError`, and from the built-in exception that a
caller would reach for first (`ValueError` for a wrong argument, and so on).
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from cloaca.lasting import lasting
from cloaca.wording import a, summary

INPUT = "the input"
"""Stands for the writer of what a run was given."""

MERGE = "the merge of several tasks"
"""Stands for the writer of what merging made of several values."""

SHOWN_WRITERS = 10


def _named(writer: str) -> str:
    return writer if writer in (INPUT, MERGE) else f"task {writer!r}"


@lasting
def make_error(cls: type["CloacaError"], args: tuple[Any, ...], state: dict[str, Any]) -> "CloacaError":
    """An error as it was, without a call of its constructor."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CloacaError(Exception):
    """Base of every exception of cloaca."""

    def __reduce__(self) -> tuple[Any, ...]:
        return make_error, (type(self), self.args, self.__dict__)


# ---- while a workflow is written -----------------------------------------------------------------------------------


class WorkflowError(CloacaError, ValueError):
    """A workflow can't be built. `findings` holds every fault that was found, one sentence each.

    The message also tells where the tasks stand of which they speak.

    Raised when a `WorkflowBuilder` block ends, or by `build()`; with `check="error"` also where an execution starts
    whose input doesn't do; never while a workflow runs.
    """

    def __init__(self, workflow: str, findings: tuple[str, ...], places: tuple[str, ...] = ()) -> None:
        lead = f"Workflow {workflow!r} can't be built: "
        told = [f"{finding} ({place})" if place else finding for finding, place in zip_longest(findings, places)]
        super().__init__(lead + (told[0] if len(told) == 1 else "".join(f"\n  - {line}" for line in told)))
        self.workflow = workflow
        self.findings: tuple[str, ...] = findings


class DataflowWarning(CloacaError, UserWarning):  # noqa: N818 - it is a warning
    """A workflow whose tasks read keys that don't come, or that come from two sides; see `cloaca.check`."""


class UnknownWorkflowError(CloacaError, ValueError):
    """`execute` was given the name of no registered workflow; the message lists the nearest names."""


class ExecutionChangedError(CloacaError, ValueError):
    """An execution can't be gone on with, as its workflow has other tasks by now. `findings` are the differences."""

    def __init__(self, execution: str, workflow: str, findings: tuple[str, ...]) -> None:
        shown = "; ".join(findings[:SHOWN_WRITERS]) + (" ..." if len(findings) > SHOWN_WRITERS else "")
        super().__init__(
            f"Execution {execution!r} can't be gone on with: workflow {workflow!r} isn't what it was: {shown}. Begin "
            "a new one that takes over what still holds: runner.execute(..., reuse=True)."
        )
        self.execution = execution
        self.workflow = workflow
        self.findings = findings


class RunnerClosedError(CloacaError, ValueError):
    """`execute` or `start` was called on a runner after `shutdown`."""


class NestedExecutionError(CloacaError, RuntimeError):
    """Workers were to run something inside a worker: for a task, or for a module that a worker imported.

    In a task, only a runner with `executor="serial"` runs workflows; some levels deep.
    """


class CaptureError(CloacaError, TypeError):
    """A task's function, or a merge rule, can't be sent to a worker. Raised by `execute`, before any task runs.

    `task` is the task's id, `key` that of the merge rule, or `initializer` the name of the runner's initializer (the
    others are `None`; all of them, where it is the function of `map`); `variable` is the captured name (or path) at
    fault, `type_name` its type. A `reason` that is a sentence also says what to do.
    """

    def __init__(
        self,
        task: str | None,
        variable: str,
        type_name: str,
        reason: str,
        *,
        key: str | None = None,
        initializer: str | None = None,
    ) -> None:
        owner, way = "The function of map", ", or pass what it is made from in the items"
        if task is not None or key is not None:
            owner = f"The function of task {task!r}" if key is None else f"The merge rule of key {key!r}"
            way = ", or pass what it is made from through the context"
        if initializer is not None:
            owner, way = f"The runner's initializer {initializer!r}", ""
        why = (
            f". {reason}"
            if reason.endswith(".")
            else f", which can't be pickled ({reason}). Create it inside the function{way}."
        )
        super().__init__(f"{owner} can't be sent to a worker: it uses {variable} ({a(type_name)}){why}")
        self.task, self.key, self.initializer = task, key, initializer
        self.variable, self.type_name = variable, type_name


class ModuleChangedError(CloacaError, RuntimeError):
    """A worker was to import a module of which the program runs a version that can't be had any more.

    Its file was changed after the program had loaded it, and before it made a runner. What a task uses of such a
    module directly is sent along; this is raised where other modules import it. `module` is its name, `file` its file.
    """

    def __init__(self, module: str, file: str | None) -> None:
        super().__init__(
            f"Module {module!r} can't be imported in a worker: {file} was changed after the program had loaded it, so "
            f"workers would run another version. Reload it in the program (importlib.reload), or start that anew."
        )
        self.module, self.file = module, file


class WorkersUnavailableError(CloacaError, RuntimeError):
    """No worker gets ready to work: none can be started, or they end before; the message tells which.

    Where they end, what they wrote to standard error tells why. A frozen program (PyInstaller and others) has no Python
    interpreter to start workers with: there, and wherever `sys.executable` is none, `executor="serial"` runs the tasks.
    """


class InitializerError(WorkersUnavailableError):
    """The runner's initializer raised, or left a worker with more memory than its limit: no task can run.

    Raised where a result is waited for. The worker's traceback is its cause. Executions that were under way on the
    runner end with it; the next one tries the initializer anew. Not for an initializer that ends its process: after a
    few in a row, that is a plain `WorkersUnavailableError`.

    `initializer` is the name of the function, `reason` what became of it.
    """

    def __init__(self, initializer: str, reason: str) -> None:
        super().__init__(
            f"The runner's initializer {initializer!r} {reason}. No worker is ready without it: everything on this "
            "runner has ended, and the next execution tries it anew. What may fail for a moment (a network, a file "
            "that is being written) it should try again by itself."
        )
        self.initializer, self.reason = initializer, reason


# ---- while a task reads and sets values ----------------------------------------------------------------------------


class EncodeError(CloacaError, TypeError):
    """A value can't be sent: raised at `context.set`, in the task; or an item or a result of `map`, as a note tells.

    `key` is the context key (`None` where there is none), `path` leads from the value to the culprit
    (`model.cache.lock`), `type_name` is the culprit's type.
    """

    def __init__(self, key: str | None, path: str, type_name: str, reason: str) -> None:
        subject = "The value" if key is None else f"The value of key {key!r}"
        super().__init__(f"{subject} can't be sent: {path}: {type_name} ({reason}). Set only what can be pickled.")
        self.key, self.path, self.type_name = key, path, type_name


class StorageFullError(CloacaError, OSError):
    """A large value can't be stored: no folder for large values has room. Raised at `context.set`, in the task.

    A task that raises it is run again when others have let go of as much. Only where nobody could it fails with this; a
    note tells the largest values that hold the room.

    Not where none can be used at all: then large values are sent. `task` and `key` tell whose value it is (`None` where
    that isn't known), `size` how many bytes it takes; `folders` are pairs of a folder and the bytes that are free
    there, `unusable` of a folder and why it can't be used.
    """

    def __init__(
        self,
        size: int,
        folders: tuple[tuple[str, int], ...],
        task: str | None = None,
        key: str | None = None,
        *,
        unusable: tuple[tuple[str, str], ...] = (),
    ) -> None:
        subject = "A value" if key is None else f"The value of key {key!r}, set by {_named(task or INPUT)},"
        rooms = [f"{folder} has {room:,} free" for folder, room in folders]
        rooms += [f"{folder} can't be used ({why})" for folder, why in unusable]
        super().__init__(
            f"{subject} takes {size:,} bytes, and there is no room for it: {', '.join(rooms)}. Set what is needed "
            "later, free keys that nobody needs any more, or give shared memory (/dev/shm) or the temporary folder "
            "more room."
        )
        self.task, self.key, self.size, self.folders, self.unusable = task, key, size, folders, unusable


class MissingKeyError(CloacaError, KeyError):
    """A task is called with a key that is absent: raised before its function begins. Not for `context[key]`.

    `task` and `key` tell which; `close` are the nearest names that are there. Never retried.
    """

    def __init__(self, task: str, key: str, close: tuple[str, ...] = ()) -> None:
        nearest = f" The nearest names are {', '.join(map(repr, close))}." if close else ""
        super().__init__(
            f"Task {task!r} takes key {key!r}, which isn't there.{nearest} Set it in a task before or in the input, or "
            "give the parameter a default."
        )
        self.task, self.key, self.close = task, key, close

    def __str__(self) -> str:
        return str(self.args[0])


class ParameterError(CloacaError, TypeError):
    """The value of a key isn't what the task's parameter is annotated with: raised before its function begins.

    Where the input has it, an execution doesn't start: `execute` raises it. `task` and `key` tell which; `fault` is
    what was found, and where: `rows[3].price: expected float, got str`. Never retried.
    """

    def __init__(self, task: str, key: str, fault: str, advice: str = "") -> None:
        advice = advice or f"Set key {key!r} so, or annotate the parameter with what it holds."
        super().__init__(f"Task {task!r} can't be called: {fault}. {advice}")
        self.task, self.key, self.fault = task, key, fault


class UndeclaredWriteError(CloacaError, ValueError):
    """A task set or removed a key that its `writes` don't name. `close` are those of them that are spelt alike.

    Never retried.
    """

    def __init__(self, task: str, key: str, close: tuple[str, ...] = ()) -> None:
        meant = f" Did it mean {' or '.join(map(repr, close))}?" if close else ""
        super().__init__(
            f"Task {task!r} sets or removes key {key!r}, which its writes= doesn't name.{meant} Add {key!r} there, or "
            "leave the key as it is."
        )
        self.task, self.key, self.close = task, key, close


class UndeclaredReadError(CloacaError, ValueError):
    """In a workflow with `outputs`, a task looked at a key that its `reads` don't name.

    There the `reads` of a task whose code doesn't tell which keys it looks at say how long values are kept. `close` are
    those of them that are spelt alike. Never retried.
    """

    def __init__(self, task: str, key: str, close: tuple[str, ...] = ()) -> None:
        meant = f" Did it mean {' or '.join(map(repr, close))}?" if close else ""
        super().__init__(
            f"Task {task!r} looks at key {key!r}, which its reads= doesn't name.{meant} Add {key!r} there: in a "
            "workflow with outputs=, reads= says how long values are kept."
        )
        self.task, self.key, self.close = task, key, close


class DecodeError(CloacaError):
    """A value was sent but can't be rebuilt here: raised where it is read. Names the `key` and its `writer`.

    Both are `None` where it is an item or a result of `map`, as a note tells. `is_lost`: the file that the value is in
    can't be read. What was raised is its cause.
    """

    def __init__(self, key: str | None, writer: str | None, reason: str, *, is_lost: bool = False) -> None:
        subject = "The value" if key is None else f"The value of key {key!r}, written by {_named(writer or INPUT)},"
        what = "read" if is_lost else "rebuilt"
        advice = (
            "Large values are in files as long as their runner is open. Nothing else may remove or change these, as "
            "systemd does in /dev/shm when a user logs out (unless RemoveIPC=no); and to read them takes a descriptor "
            "(ulimit -n)."
            if is_lost
            else "Check that its class can be imported here and unpickles without side effects."
        )
        super().__init__(f"{subject} can't be {what} here: {reason}. {advice}")
        self.key, self.writer, self.is_lost = key, writer, is_lost


def _ways_to_settle(key: str, rule: str, source: str, start: str) -> str:
    by_hand = f"  context.set({key!r}, ...)"
    if source:
        return (
            f"It was passed in from key {source!r} of the whole workflow. To settle it, give {source!r} a merge rule "
            f"there, or a value in a task before the copy:\n  WorkflowBuilder(..., merge={{{source!r}: "
            f"cloaca.merge.{rule or 'last'}}})\n  context.set({source!r}, ...)"
        )
    if start:
        return (
            f"To settle it, put {start} there in a task before all of them, so that each adds to it; or give the key a "
            f"value in a task that comes after all of them:\n{by_hand}"
        )
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
        source: str = "",
        start: str = "",
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
            f"{f' ({reason})' if reason else ''}:{''.join(rows)}\n{_ways_to_settle(key, rule, source, start)}"
        )
        self.key, self.writers, self.values = key, writers, values
        self.places, self.path, self.reason = places, path, reason

    @classmethod
    def of(cls, conflicts: Sequence["MergeConflict"]) -> "MergeConflict":
        """One error that tells of several: the first conflict's attributes, and everybody's message."""
        first = conflicts[0]
        error = cls(first.key, first.writers, first.values)
        error.__dict__.update(first.__dict__)
        error.args = ("\n".join(str(conflict) for conflict in conflicts),)
        error.__cause__ = first.__cause__
        return error


class ConditionError(CloacaError):
    """A task's condition can't be evaluated: it asks for a value that can't be read or compared. The task fails.

    Not for a condition that doesn't hold: then the task is skipped. `task` is the task's id, `condition` the part of
    its rule that is at fault, as text, `key` the key that this asks for. Never retried.
    """

    def __init__(self, task: str, condition: str, key: str, reason: str) -> None:
        super().__init__(
            f"Task {task!r} can't begin: nobody can tell whether {condition} holds. Looking at key {key!r} raised "
            f"{reason}. Let the tasks before it set {key!r} to something that can be compared so, or change the rule."
        )
        self.task, self.condition, self.key = task, condition, key


class FingerprintError(CloacaError):
    """A task's fingerprint raised, or returned what can't be pickled: nobody can tell what it goes by. The task fails.

    `task` is the task's id, or the name of an instance; `reason` what the fingerprint has raised, in words, which is
    the `__cause__` too. Retried as the task's policy says.
    """

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(
            f"Task {task!r} can't begin: its fingerprint raised {reason}. Let task(fingerprint=...) return what the "
            "task depends on beside its context, as a value that can be pickled."
        )
        self.task, self.reason = task, reason


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
        super().__init__(summary(type_name, text))
        self.type_name = type_name


class WorkerDied(CloacaError):  # noqa: N818 - the name that users know
    """A worker process died while it ran a task. Costs that attempt, and nothing else.

    Not raised where cloaca itself stopped the worker: see `TaskTimeout` and `MemoryLimitExceeded`.

    `task` is the task's id, `attempt` which try it was; `exit_code` the process's exit code or `None`, `signal` the
    name of the signal that ended it or `None` (a program that ignores SIGCHLD is told neither); `seconds` how long the
    attempt had run, `memory` how many bytes the worker had for itself and `available` how many the machine had left, at
    the last reading (`None` where nothing is known); `is_oom` whether the kernel's out-of-memory killer struck at about
    that time.
    """

    def __init__(
        self,
        task: str,
        exit_code: int | None,
        signal: str | None,
        reason: str | None = None,
        *,
        attempt: int = 1,
        seconds: float | None = None,
        memory: int | None = None,
        available: int | None = None,
        is_oom: bool = False,
    ) -> None:
        how = reason or (f"killed by {signal}" if signal else f"exited with code {exit_code}")
        after = "" if seconds is None else f" after {seconds:.3g} s"
        parts = [
            f"The worker that ran task {task!r} (try {attempt}) died{after}: {how}.",
            _memory_told(memory, available),
            "The kernel's out-of-memory killer struck at that time." if is_oom else "",
            _advice(signal, is_oom=is_oom, has_hung_up=reason is not None)
            if is_oom or exit_code is not None or signal is not None
            else "",
        ]
        super().__init__(" ".join(filter(None, parts)))
        self.task, self.attempt, self.exit_code, self.signal = task, attempt, exit_code, signal
        self.seconds, self.memory, self.available, self.is_oom = seconds, memory, available, is_oom


def _memory_told(memory: int | None, available: int | None) -> str:
    left = "" if available is None else f"the machine had {_megabytes(available)} left"
    own = "" if memory is None else f"it had {_megabytes(memory)} for itself"
    told = " and ".join(filter(None, (own, left)))
    return f"At the last reading {told}." if told else ""


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


_CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP"})
_REQUESTS = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"})


def _advice(signal: str | None, *, is_oom: bool, has_hung_up: bool) -> str:
    if has_hung_up:
        return "Let the task close, read and write only what it has opened itself."
    if is_oom:
        return "Use fewer workers or less memory in a task; memory_limit= stops a task before the kernel has to."
    if signal in _CRASHES:
        return (
            "Native code crashed: set PYTHONFAULTHANDLER=1 to see where, or run it with executor='serial' under a "
            "debugger."
        )
    if signal in _REQUESTS:
        return "Something told it to end: the task itself, or somebody on this machine."
    if signal:
        return "Something outside killed it: often the machine ran out of memory. Then use fewer workers."
    return "Let the task return or raise instead of calling os._exit."


class TaskTimeout(CloacaError, TimeoutError):  # noqa: N818 - the name that users know
    """An attempt took longer than the task's `timeout`, or the runner's `task_timeout_seconds`, and was stopped.

    Not for a workflow that takes too long: then the result's status is "Failed", and its tasks are cancelled.

    `task` is the task's id, `attempt` which try it was, `timeout` the limit and `seconds` how long the attempt had run
    when it ended (`None` where that isn't known).
    """

    def __init__(self, task: str, timeout: float, *, attempt: int = 1, seconds: float | None = None) -> None:
        ran = "" if seconds is None else f" It had run for {seconds:.3g} s."
        super().__init__(
            f"Task {task!r} (try {attempt}) took longer than its time limit of {timeout:g} s, and was stopped.{ran} "
            "Give it more time (timeout=), or less to do."
        )
        self.task, self.attempt, self.timeout, self.seconds = task, attempt, timeout, seconds


class MemoryLimitExceeded(MemoryError, CloacaError):  # noqa: N818 - the name that users know
    """A task's worker had more memory for itself than the runner's `memory_limit`, and was stopped.

    Not for a worker that the kernel killed: that is a `WorkerDied`. `task` is the task's id, `attempt` which try it
    was, `memory` how many bytes the worker had and `limit` how many it may have, `seconds` how long the attempt had
    run (`None` where that isn't known).
    """

    def __init__(self, task: str, memory: int, limit: int, *, attempt: int = 1, seconds: float | None = None) -> None:
        after = "" if seconds is None else f" after {seconds:.3g} s"
        super().__init__(
            f"Task {task!r} (try {attempt}) was stopped{after}: its worker had {_megabytes(memory)} of memory for "
            f"itself, over the limit of {_megabytes(limit)}. Let it work on less at a time, or raise memory_limit=."
        )
        self.task, self.attempt, self.memory, self.limit, self.seconds = task, attempt, memory, limit, seconds


class NoProfileError(CloacaError, LookupError):
    """A result has no such profile: the execution wasn't profiled, the task didn't run, or another profiler was at it.

    Raised by `result.profile`; the message tells which.
    """


class WorkflowFailedError(CloacaError):
    """Raised by `WorkflowResult.raise_for_status()`, and with `raise_on_failure`. `result` is the result of the run.

    The first failed task's exception is its cause.
    """

    result: Any = None


# ---- what was recorded ---------------------------------------------------------------------------------------------


class StoreError(CloacaError, OSError):
    """Something can't be recorded, or what was recorded can't be read; the message names the file and the way out.

    What was recorded before stays as it is. `path` is the store's file (`None` where it is none). Where the store says
    what exactly is wrong, it is one of `UnknownExecutionError`, `ExecutionClaimedError`, `ClaimLostError` and
    `ValueLostError`.
    """

    def __init__(self, text: str, *, path: str | None = None) -> None:
        super().__init__(text)
        self.path = path


class UnknownExecutionError(StoreError, ValueError):
    """The store holds no execution of that id. `execution` is the id, `close` are those that look like it."""

    def __init__(self, execution: str, close: tuple[str, ...] = (), *, path: str | None = None) -> None:
        where = "The store" if path is None else f"The store {path!r}"
        nearest = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        super().__init__(
            f"{where} holds no execution {execution!r}.{nearest} runner.executions() lists those that it holds.",
            path=path,
        )
        self.execution, self.close = execution, close


class ExecutionClaimedError(StoreError):
    """An execution is under way elsewhere: nobody else can go on with it, or remove it.

    `execution` is its id, `owner` tells which process has it, `silent` for how many seconds nothing was heard of it.
    """

    def __init__(self, execution: str, owner: str, silent: float, *, way: str, path: str | None = None) -> None:
        super().__init__(
            f"Execution {execution!r} is under way: {owner} has it, and was last heard of {silent:.0f} s ago. {way}",
            path=path,
        )
        self.execution, self.owner, self.silent = execution, owner, silent


class ClaimLostError(StoreError):
    """Another process has taken an execution over, or removed it: this one can't record anything of it any more.

    That happens to a process that others had to take for dead, as one on another machine that was suspended for longer
    than a minute. `execution` is the id.
    """

    def __init__(self, execution: str, *, path: str | None = None) -> None:
        super().__init__(
            f"Execution {execution!r} isn't this process's any more: another one has taken it over or removed it, as "
            "nothing was heard of this one for long. What this one does of it from here on isn't recorded.",
            path=path,
        )
        self.execution = execution


class ValueLostError(StoreError):
    """The file of a large value, beside the store, is gone or was cut short. `file` is its path."""

    def __init__(self, file: str, what: str, *, path: str | None = None) -> None:
        super().__init__(
            f"A recorded value is lost: its file {file!r} {what}. Put the file back from a copy; or run the execution "
            "anew instead of going on with it: the tasks that made such values run again then.",
            path=path,
        )
        self.file = file


class Skip(CloacaError):  # noqa: N818 - no fault: a task says so that it has nothing to do
    """Raise it in a task that has nothing to do: it is skipped then, for that `reason`, and not tried again.

    What the task has set is forgotten, and what depends on it is treated as behind any task that was skipped. Of a
    mapped task, the instance that raises it is skipped. Anywhere else, as in a function given to `map`, it is an error
    like others.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("nightly") as builder:
    ...
    ...     @cloaca.task()
    ...     def load(context):
    ...         if not context["files"]:
    ...             raise cloaca.Skip("no new files")
    >>> with cloaca.DefaultRunner(executor="serial") as runner:
    ...     result = runner.execute(builder, {"files": []})
    >>> result.status, result.tasks["load"].status, result.tasks["load"].reason
    ('Completed', 'Skipped', 'no new files')
    """

    def __init__(self, reason: str = "it skipped itself") -> None:
        super().__init__(reason)
        self.reason = reason


class InternalError(CloacaError):
    """cloaca broke a rule of its own: please report it, with all that the message tells."""
