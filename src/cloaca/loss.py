"""The exception that tells why an attempt was cut off."""

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
