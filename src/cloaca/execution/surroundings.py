"""Where tasks run: the program's working directory and `sys.path`, as they are when an execution starts.

Workers live longer than either, and a task may change both for itself: each attempt starts where the program was. What
the program has set of logging and warnings travels along; `logbook` and `notices` see to that.
"""

import os
import sys

from cloaca.execution.logbook import loggers_here
from cloaca.execution.notices import filters_here
from cloaca.wire.messages import Surroundings


def here() -> Surroundings:
    """Those of this process as they are now."""
    directory = _directory() or os.sep  # where the program's directory was removed under it
    path = tuple(entry or directory for entry in sys.path if isinstance(entry, str))
    return Surroundings(directory, path, loggers=loggers_here(), filters=filters_here())


def enter(surroundings: Surroundings) -> None:
    """Make them those of this process. Costs next to nothing where they are."""
    if _directory() != surroundings.directory:
        try:
            os.chdir(surroundings.directory)
        except FileNotFoundError:
            os.chdir(os.sep)
    if tuple(sys.path) != surroundings.path:
        sys.path[:] = surroundings.path


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - for each attempt: making a Path would take longer than the call
    except FileNotFoundError:
        return None
