"""Leftovers: what a task changes about signals, and the umask; it is put back as soon as the task has ended.

The functions that make such changes are watched: to look at all handlers after each task would take longer than a
trivial task does.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import ModuleType

from cloaca.execution.tripwire import note_calls

_WATCHED: Mapping[str, Sequence[str]] = {
    "_signal": ("alarm", "pthread_sigmask", "set_wakeup_fd", "setitimer", "siginterrupt", "signal"),
    "posix": ("umask",),
}
"""By the module that defines them, where pickle looks too. What `signal` and `os` have is the same, or calls it."""

_FACES: Mapping[str, ModuleType] = {"_signal": signal, "posix": os}
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_PATIENCE = 100  # how often handlers of an ended task may go off while they are taken away


class Leftovers:
    """Remembers what this process has now. Made once, in a worker's main thread."""

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in signal.valid_signals()}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._may_exist = False
        for home, names in _WATCHED.items():
            for name in names:
                note_calls((sys.modules[home], _FACES[home]), name, self._note)

    def clear(self) -> None:
        """Put everything back as it was, if anything may have changed. Costs nothing otherwise."""
        for _ in range(_PATIENCE):
            if not self._may_exist:
                return
            with suppress(BaseException):  # what goes off here was the task's; of a request to end, `termination` knows
                self._put_back()

    def _note(self) -> None:
        self._may_exist = True

    def _put_back(self) -> None:
        """The order matters: once no timer runs and nothing is pending, nothing can go off any more."""
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number in signal.sigpending():
            if not callable(self._handlers[number]):  # a request to end isn't the task's, and goes off in what follows
                signal.signal(number, signal.SIG_IGN)  # this discards it
        for number, handler in self._handlers.items():
            if callable(handler) or signal.getsignal(number) is not handler:
                signal.signal(number, handler)  # this undoes `siginterrupt` too
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        os.umask(self._umask)
        self._may_exist = False
