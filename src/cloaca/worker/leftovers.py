"""Leftovers: what a task changes of its process. A task's own end with the task.

The functions that make such changes are watched, and what was changed is put back: to look at all of it after each task
would take longer than a trivial task does. Where modules were imported, all settings are looked at: libraries pin their
process to a core, or set a locale, in C as they are loaded. What can't be put back (a lowered hard limit, another user,
another root directory) is the end of the worker, not of its tasks.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import itemgetter
from types import ModuleType
from typing import Any

from cloaca.border.imports import when_imported
from cloaca.border.surroundings import MOVES
from cloaca.worker.tripwire import note_calls
from cloaca.worker.tuning import FACES, FOR_GOOD, SETTINGS, Setting

_OF_SIGNALS = ("alarm", "pthread_sigmask", "set_wakeup_fd", "setitimer", "siginterrupt", "signal")
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_PATIENCE = 100  # how often handlers of an ended task may go off while they are taken away
_HOOKS = ("excepthook", "displayhook", "unraisablehook", "breakpointhook", "stdin")
_hooks = partial(itemgetter(*_HOOKS), sys.__dict__)


class Leftovers:
    """Remembers what this process has now. Made once, in a worker's main thread."""

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in signal.valid_signals()}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._may_go_off = False
        self._kept: dict[Setting, Any] = {}
        self._touched: dict[Setting, None] = {}
        self._is_worn = False
        self._own = frozenset(sys.modules)
        for name in _OF_SIGNALS:
            _note("_signal", name, self._note_signals)
        _note("posix", "umask", self._note_signals)
        for setting in SETTINGS:
            when_imported(setting.home, partial(self._watch, setting))
        for name in FOR_GOOD:
            _note("posix", name, self._wear_out)
        self.has_moved = False
        """Whether a task may have changed what `surroundings` puts back."""
        for home, names in MOVES.items():
            for name in names:
                _note(home, name, self._note_move)
        os.supports_fd.add(os.chdir)
        self._look()

    def were_noted(self) -> bool:
        """Whether a function was called that may have changed something, or a module was imported."""
        is_noted = self.has_moved or self._may_go_off or self._is_worn or bool(self._touched)
        return is_noted or len(sys.modules) != self._count

    def clear(self) -> None:
        """Put back what may strike: signals, and the umask. Costs nothing where nothing may have changed."""
        for _ in range(_PATIENCE):
            if not self._may_go_off:
                return
            with suppress(BaseException):  # what goes off here was the task's; of a request to end, `termination` knows
                self._put_signals_back()

    def keep(self) -> None:
        """The settings of now are what tasks find from here on."""
        self._kept = {setting: setting.read(sys.modules[setting.home]) for setting in self._kept}
        self._touched.clear()
        self._look()

    def put_back(self) -> bool:
        """Put all settings back that may have changed; whether they are."""
        self.has_moved = False  # from here on, what is put back is no task's doing
        if self._touched or len(sys.modules) != self._count:
            self._put_settings_back()
        self._put_profilers_back()
        sys.__dict__.update(zip(_HOOKS, self._hooks, strict=True))
        threading.excepthook = self._hook_of_threads
        return not self._is_worn

    # ---- signals ---------------------------------------------------------------------------------------------------

    def _note_signals(self) -> None:
        self._may_go_off = True

    def _note_move(self) -> None:
        self.has_moved = True

    def _put_signals_back(self) -> None:
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
        self._may_go_off = False

    # ---- settings --------------------------------------------------------------------------------------------------

    def _watch(self, setting: Setting, module: ModuleType) -> None:
        if not hasattr(module, setting.names[0]):
            return  # this system has nothing of the kind
        self._kept.setdefault(setting, setting.read(module))
        for name in setting.names:
            _note(setting.home, name, partial(self._touched.setdefault, setting))

    def _wear_out(self) -> None:
        self._is_worn = True

    def _look(self) -> None:
        self._count = len(sys.modules)
        self._hooks = _hooks()
        self._hook_of_threads = threading.excepthook
        self._tracer, self._profiler = sys.gettrace(), sys.getprofile()

    def _put_settings_back(self) -> None:
        if not self._own <= sys.modules.keys():
            self._is_worn = True  # what the worker itself consists of has gone
            return
        for setting, kept in list(self._kept.items()):
            module = sys.modules.get(setting.home)
            if module is not None and (setting in self._touched or setting.read(module) != kept):
                self._put(setting, module, kept)
        self._count = len(sys.modules)
        self._touched.clear()

    def _put_profilers_back(self) -> None:
        """One that is made in C, as cProfile, isn't called by Python, and can't be set from here."""
        if sys.gettrace() is not self._tracer:
            sys.settrace(self._tracer)
        if sys.getprofile() is self._profiler:
            return
        if self._profiler is None or callable(self._profiler):
            sys.setprofile(self._profiler)
        else:
            self._is_worn = True

    def _put(self, setting: Setting, module: ModuleType, kept: Any) -> None:
        try:
            setting.put(module, kept)
            is_back = setting.read(module) == kept
        except (OSError, ValueError, TypeError):
            is_back = False
        self._is_worn |= not is_back


def _note(home: str, name: str, noted: Callable[[], object]) -> None:
    """Note calls of a function, in the module that defines it, where pickle looks too, and in the one that shows it."""
    module = sys.modules[home]
    note_calls((module, sys.modules.get(FACES.get(home, ""), module)), name, noted)
