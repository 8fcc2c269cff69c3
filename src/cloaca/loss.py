"""Why an attempt was cut off: the exception for the program, with what was measured, and the words for other tasks."""

from cloaca.errors import CloacaError, MemoryLimitExceeded, TaskTimeout, WorkerDied
from cloaca.wire.messages import Lost, Vitals

_UNKNOWN = Vitals()


def error_of(lost: Lost, task: str, nth: int) -> CloacaError:
    """What a user gets for an attempt of `task` that was lost; it was the `nth` try.

    >>> type(error_of(Lost(7, None, "SIGKILL"), "load", 1)).__name__
    'WorkerDied'
    """
    vitals = lost.vitals or _UNKNOWN
    if lost.timeout is not None:
        return TaskTimeout(task, lost.timeout, attempt=nth, seconds=vitals.seconds)
    if lost.memory_limit is not None:
        return MemoryLimitExceeded(
            task, vitals.memory or lost.memory_limit, lost.memory_limit, attempt=nth, seconds=vitals.seconds
        )
    return WorkerDied(
        task,
        lost.exit_code,
        lost.signal,
        lost.reason,
        attempt=nth,
        seconds=vitals.seconds,
        memory=vitals.memory,
        available=vitals.available,
        is_oom=vitals.is_oom,
    )


def told(lost: Lost, task: str) -> str:
    """The same in the words that other tasks may read: as nothing in them was measured, they are the same in each run.

    >>> told(Lost(7, None, "SIGKILL"), "load")
    "WorkerDied: The worker that ran task 'load' died: killed by SIGKILL."
    """
    if lost.timeout is not None:
        return f"TaskTimeout: Task {task!r} took longer than its time limit of {lost.timeout:g} s, and was stopped."
    if lost.memory_limit is not None:
        return f"MemoryLimitExceeded: Task {task!r} was stopped: its worker had more memory for itself than its limit."
    how = lost.reason or (f"killed by {lost.signal}" if lost.signal else f"exited with code {lost.exit_code}")
    return f"WorkerDied: The worker that ran task {task!r} died: {how}."
