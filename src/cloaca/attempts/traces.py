"""Traces: where the user's code begins in a traceback."""

from types import TracebackType


def users_traceback(error: BaseException) -> TracebackType | None:
    """The traceback without the frames that lead to the task: it starts in the user's code."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(_LEADING):
        frames = frames.tb_next
    return frames


_LEADING = (
    "cloaca.attempts.attempt",
    "cloaca.attempts.batch",
    "cloaca.attempts.coroutines",
    "cloaca.attempts.initializer",
    "cloaca.attempts.profiled",
    "cloaca.tasks.handle",
    "cloaca.tasks.binding",
    "cloaca.tasks.plain",
    "asyncio.",
    "concurrent.futures.",
)
