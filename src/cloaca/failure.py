"""What a failed attempt is told as: what its task raised, rebuilt from the report, or why it was cut off."""

from cloaca.errors import CloacaError, MemoryLimitExceeded, RemoteTraceback, TaskError, TaskTimeout, WorkerDied
from cloaca.values.codec import decode
from cloaca.wire.messages import Failed, Lost, Vitals
from cloaca.wording import add_note, attach

_UNKNOWN = Vitals()


def failure_of(end: object, task: str, nth: int) -> BaseException | None:
    """What the `nth` try of `task` has failed with, that ended so; `None`: it hasn't failed."""
    match end:
        case Failed():
            return raised(end)
        case Lost():
            return error_of(end, task, nth)
        case _:
            return None


def raised(failed: Failed) -> BaseException:
    """The exception, with the worker's traceback as its cause. `TaskError` stands for one that can't be rebuilt."""
    error = _rebuilt(failed)
    if not hasattr(error, "__notes__"):
        for note in failed.notes:
            add_note(error, note)
    attach(error, "__cause__", RemoteTraceback(failed.traceback))
    return error


def _rebuilt(failed: Failed) -> BaseException:
    stand_in = TaskError(failed.type_name, failed.text)
    if failed.error is None:
        return stand_in
    try:
        error = decode(failed.error)
    except Exception:  # noqa: BLE001 - unpickling runs user code; its text and traceback are told all the same
        return stand_in
    return error if isinstance(error, BaseException) else stand_in


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


def loss_told(lost: Lost, task: str) -> str:
    """The same in the words that other tasks may read: as nothing in them was measured, they are the same in each run.

    >>> loss_told(Lost(7, None, "SIGKILL"), "load")
    "WorkerDied: The worker that ran task 'load' died: killed by SIGKILL."
    """
    if lost.timeout is not None:
        return f"TaskTimeout: Task {task!r} took longer than its time limit of {lost.timeout:g} s, and was stopped."
    if lost.memory_limit is not None:
        return f"MemoryLimitExceeded: Task {task!r} was stopped: its worker had more memory for itself than its limit."
    how = lost.reason or (f"killed by {lost.signal}" if lost.signal else f"exited with code {lost.exit_code}")
    return f"WorkerDied: The worker that ran task {task!r} died: {how}."
