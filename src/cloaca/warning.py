"""Warnings that point to the user's line, however many of cloaca's own calls lie between."""

import sys
import warnings
from types import FrameType

_PACKAGE = __name__.partition(".")[0]


class LostChangeWarning(UserWarning):
    """A task has changed a value that it had fetched, and never set it: the change is lost.

    Told with `CLOACA_DEBUG=1` in the environment, at the line that fetched the value, or at the task's function where
    that is called with it.
    """


def warn(message: str, category: type[UserWarning] = UserWarning) -> None:
    """Issue a warning at the innermost line that is not cloaca's own."""
    warnings.warn(message, category, stacklevel=_own_calls(sys._getframe()) + 1)


def users_line() -> tuple[str, int]:
    """The file and the number of the innermost line that is not cloaca's own."""
    frame = users_frame()
    return frame.f_code.co_filename, frame.f_lineno


def users_frame() -> FrameType:
    """The innermost frame that is not cloaca's own."""
    return sys._getframe(_own_calls(sys._getframe()))


def _own_calls(frame: FrameType | None) -> int:
    """How many frames, from `frame` outwards, run code of this package."""
    count = 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        count += 1
        frame = frame.f_back
    return count
