"""Snapshot: whether what tasks may set in their process is as it was, found out at one look.

Each part of a worker puts back what is its own. To ask all of them after each task takes longer than a trivial task
does. So what is set as an attribute is compared at once, by C; what is changed by a call is noted (see `Leftovers`).
"""

import logging
import sys
import threading
import warnings
from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Any

_SYS, _WARNINGS, _THREADING, _LOGGING = vars(sys), vars(warnings), vars(threading), vars(logging)
_gettrace, _getprofile = sys.gettrace, sys.getprofile
_STREAMS = ("stdin", "stdout", "stderr")
_HOOKS = ("excepthook", "displayhook", "unraisablehook", "breakpointhook")
_of_sys = itemgetter("path", "argv", "dont_write_bytecode", *_STREAMS, *_HOOKS)
_of_warnings = itemgetter("filters", "defaultaction", "showwarning")
_of_threading, _of_logging = itemgetter("excepthook"), itemgetter("root", "lastResort")
_of_root = itemgetter("level", "handlers", "disabled")
_threshold, _is_disabled = attrgetter("disable"), itemgetter("disabled")
_of_logger = attrgetter("level", "handlers", "disabled")


class Snapshot:
    """What is set now; of loggers, the root and those given. The `sentinel` is disabled where all are."""

    def __init__(self, loggers: Iterable[logging.Logger] = (), sentinel: logging.Logger = logging.root) -> None:
        self._loggers = list(loggers)
        self._root, self._manager, self._sentinel = vars(logging.root), logging.root.manager, vars(sentinel)
        self._others = [_kept(_of_logger(logger)) for logger in self._loggers]
        self._all = _kept(self._now())

    def holds(self) -> bool:
        """Whether it is as it was."""
        try:
            is_as_it_was = self._now() == self._all
            return is_as_it_was and (not self._loggers or [*map(_of_logger, self._loggers)] == self._others)
        except Exception:  # noqa: BLE001 - something was deleted, or can't be compared
            return False

    def _now(self) -> tuple[Any, ...]:
        return (
            _of_sys(_SYS),
            _of_warnings(_WARNINGS),
            _of_root(self._root),
            _of_threading(_THREADING),
            _of_logging(_LOGGING),
            _threshold(self._manager),
            _is_disabled(self._sentinel),
            _gettrace(),
            _getprofile(),
        )


def _kept(found: Any) -> Any:
    """Lists are changed in place: they are compared with a copy."""
    if type(found) is tuple:
        return tuple([_kept(one) for one in found])
    return list(found) if type(found) is list else found
