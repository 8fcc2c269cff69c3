"""Tuning: settings of the kernel and the interpreter that hold for a whole process. A task's own end with the task.

The functions that change them are watched, and after a task that has called one its settings are put back. Where
modules were imported, all are looked at: libraries pin their process to a core, or set a locale, as they are loaded.
What can't be put back (a lowered hard limit, another user, another root directory) is the end of the worker, not of
its tasks.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from operator import itemgetter, methodcaller
from types import ModuleType
from typing import Any, NamedTuple

from cloaca.execution.imports import when_imported
from cloaca.execution.tripwire import note_calls


class Setting(NamedTuple):
    """What functions of a module change: how it is read, and how it is put back. Both are given the module."""

    home: str
    names: tuple[str, ...]
    read: Callable[[Any], Any]
    put: Callable[[Any, Any], object]


class Tuning:
    """Remembers the settings of this process. Made once, in a worker's main thread."""

    def __init__(self) -> None:
        self._kept: dict[Setting, Any] = {}
        self._touched: dict[Setting, None] = {}
        self._is_worn = False
        self._own = frozenset(sys.modules)
        for setting in _SETTINGS:
            when_imported(setting.home, partial(self._watch, setting))
        for name in _FOR_GOOD:
            note_calls((sys.modules["posix"], os), name, self._wear_out)
        self._look()

    def keep(self) -> None:
        """What is set now is what tasks find from here on."""
        self._kept = {setting: setting.read(sys.modules[setting.home]) for setting in self._kept}
        self._touched.clear()
        self._look()

    def put_back(self) -> bool:
        """Put everything back as it was, if anything may have changed; whether it is. Costs next to nothing else."""
        if self._touched or len(sys.modules) != self._count:
            self._put_back()
        if self._have_hooks_changed():
            sys.settrace(self._tracer)
            sys.setprofile(self._profiler)
            sys.__dict__.update(zip(_HOOKS, self._hooks, strict=True))
            threading.excepthook = self._hook_of_threads
        return not self._is_worn

    def _have_hooks_changed(self) -> bool:
        """What is set without a call is looked at each time. Tracers would trace whatever noted that they were set."""
        try:
            is_same = _hooks() == self._hooks and threading.excepthook is self._hook_of_threads
        except (AttributeError, KeyError):
            return True  # one was deleted
        return not is_same or sys.gettrace() is not self._tracer or sys.getprofile() is not self._profiler

    def _look(self) -> None:
        self._count = len(sys.modules)
        self._hooks = _hooks()
        self._hook_of_threads = threading.excepthook
        self._tracer, self._profiler = sys.gettrace(), sys.getprofile()

    def _watch(self, setting: Setting, module: ModuleType) -> None:
        if not hasattr(module, setting.names[0]):
            return  # this system has nothing of the kind
        self._kept.setdefault(setting, setting.read(module))
        face = sys.modules.get(_FACES.get(setting.home, ""))
        homes = (module,) if face is None else (module, face)
        for name in setting.names:
            note_calls(homes, name, partial(self._touched.setdefault, setting))

    def _put_back(self) -> None:
        if not self._own <= sys.modules.keys():
            self._is_worn = True  # what the worker itself consists of has gone
            return
        for setting, kept in list(self._kept.items()):
            module = sys.modules.get(setting.home)
            if module is not None and (setting in self._touched or setting.read(module) != kept):
                self._put(setting, module, kept)
        self._count = len(sys.modules)
        self._touched.clear()

    def _put(self, setting: Setting, module: ModuleType, kept: Any) -> None:
        try:
            setting.put(module, kept)
            is_back = setting.read(module) == kept
        except (OSError, ValueError, TypeError):
            is_back = False
        self._is_worn |= not is_back

    def _wear_out(self) -> None:
        self._is_worn = True


_HOOKS = ("excepthook", "displayhook", "unraisablehook", "breakpointhook", "stdin")
_hooks = partial(itemgetter(*_HOOKS), sys.__dict__)


# ---- how each is read, and put back --------------------------------------------------------------------------------


def _collecting(gc: Any) -> Any:
    return gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count() > 0


def _collect(gc: Any, kept: Any) -> None:
    is_enabled, threshold, debug, is_frozen = kept
    (gc.enable if is_enabled else gc.disable)()
    gc.set_threshold(*threshold)
    gc.set_debug(debug)
    if not is_frozen:
        gc.unfreeze()


def _scheduling(posix: Any) -> Any:
    return posix.sched_getaffinity(0), posix.sched_getscheduler(0), posix.sched_getparam(0).sched_priority


def _schedule(posix: Any, kept: Any) -> None:
    cores, policy, priority = kept
    posix.sched_setaffinity(0, cores)
    if _scheduling(posix)[1:] != (policy, priority):
        posix.sched_setscheduler(0, policy, posix.sched_param(priority))


def _users(posix: Any) -> Any:
    return posix.getuid(), posix.geteuid(), posix.getgid(), posix.getegid(), posix.getgroups()


def _limits(resource: Any) -> dict[int, tuple[int, int]]:
    numbers = {value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in numbers}


def _limit(resource: Any, kept: dict[int, tuple[int, int]]) -> None:
    for number, limits in _limits(resource).items():
        if limits != kept[number]:
            resource.setrlimit(number, kept[number])


def _tracing(of_threads: Any) -> Any:
    return of_threads.gettrace(), of_threads.getprofile()


def _trace(of_threads: Any, kept: Any) -> None:
    of_threads.settrace(kept[0])
    of_threads.setprofile(kept[1])


def _interpreting(it: Any) -> Any:
    return it.getdlopenflags(), it.get_coroutine_origin_tracking_depth(), tuple(it.get_asyncgen_hooks())


def _interpret(it: Any, kept: Any) -> None:
    flags, depth, hooks = kept
    it.setdlopenflags(flags)
    it.set_coroutine_origin_tracking_depth(depth)
    it.set_asyncgen_hooks(*hooks)


def _localised(locale: Any) -> Any:
    return locale.setlocale(locale.LC_ALL)


def _localise(locale: Any, kept: Any) -> None:
    locale.setlocale(locale.LC_ALL, kept)


def _handle_faults(faulthandler: Any, kept: bool) -> None:  # noqa: FBT001 - the shape of `put`
    faulthandler.cancel_dump_traceback_later()
    for number in signal.valid_signals() - _FATAL:
        faulthandler.unregister(number)
    (faulthandler.enable if kept else faulthandler.disable)()


_FATAL = frozenset({signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})


def _back(name: str, *given: Any) -> Callable[[Any, Any], object]:
    """What puts a setting back by a function of its module, called with what is `given` and what it was."""

    def put(module: Any, kept: Any) -> object:
        return getattr(module, name)(*given, kept)

    return put


def _leave(_module: Any, _kept: Any) -> None:
    """It can't be put back."""


_OF_USERS = ("setuid", "seteuid", "setreuid", "setresuid", "setgid", "setegid", "setregid", "setresgid", "setgroups")
_OF_SYS = ("setdlopenflags", "set_coroutine_origin_tracking_depth", "set_asyncgen_hooks")
_OF_THREADS = ("settrace", "setprofile", "settrace_all_threads", "setprofile_all_threads")
_SETTINGS = (
    Setting("sys", _OF_SYS, _interpreting, _interpret),
    Setting("threading", _OF_THREADS, _tracing, _trace),
    Setting("gc", ("enable", "disable", "set_threshold", "set_debug", "freeze", "unfreeze"), _collecting, _collect),
    Setting("posix", ("sched_setaffinity", "sched_setscheduler", "sched_setparam"), _scheduling, _schedule),
    Setting("posix", ("nice", "setpriority"), methodcaller("getpriority", 0, 0), _back("setpriority", 0, 0)),
    Setting("posix", (*_OF_USERS, "initgroups"), _users, _leave),
    Setting("resource", ("setrlimit", "prlimit"), _limits, _limit),
    Setting("_thread", ("stack_size",), methodcaller("stack_size"), _back("stack_size")),
    Setting("locale", ("_setlocale",), _localised, _localise),
    Setting("_socket", ("setdefaulttimeout",), methodcaller("getdefaulttimeout"), _back("setdefaulttimeout")),
    Setting(
        "faulthandler",
        ("enable", "disable", "register", "dump_traceback_later"),
        methodcaller("is_enabled"),
        _handle_faults,
    ),
)
_FOR_GOOD = ("chroot", "unshare", "setns")
_FACES = {"posix": "os", "_socket": "socket", "_thread": "threading"}
"""Modules that have the same functions, for everybody to use."""
