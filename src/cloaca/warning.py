"""Warnings that point to the user's line, however many of cloaca's own calls lie between."""

import sys
import warnings
from types import FrameType

_PACKAGE = __name__.partition(".")[0]


def warn(message: str, category: type[UserWarning] = UserWarning) -> None:
    """Issue a warning at the innermost line that is not cloaca's own."""
    warnings.warn(message, category, stacklevel=_own_calls(sys._getframe()) + 1)


def _own_calls(frame: FrameType | None) -> int:
    """How many frames, from `frame` outwards, run code of this package."""
    count = 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        count += 1
        frame = frame.f_back
    return count
