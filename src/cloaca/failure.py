"""The exception that a task raised, rebuilt from its report."""

from cloaca.errors import RemoteTraceback, TaskError, add_note, attach
from cloaca.wire.codec import decode
from cloaca.wire.messages import Failed


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
