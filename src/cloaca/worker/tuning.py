"""Tuning: settings of the kernel and the interpreter that hold for a whole process; how each is read, and put back."""

import signal
from collections.abc import Callable
from operator import methodcaller
from typing import Any, NamedTuple

FACES = {"_signal": "signal", "posix": "os", "_socket": "socket", "_thread": "threading"}
"""The modules that have the functions of others, for everybody to use."""


class Setting(NamedTuple):
    """What functions of a module change: how it is read, and how it is put back. Both are given the module."""

    home: str
    names: tuple[str, ...]
    read: Callable[[Any], Any]
    put: Callable[[Any, Any], object]


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
SETTINGS = (
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
FOR_GOOD = ("chroot", "unshare", "setns")
"""Of `posix`: what they change can't be put back."""
