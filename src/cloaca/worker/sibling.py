"""Sibling: a fork whose parent is this process's own parent.

Tasks ask for their parent, and programs look through their children: whatever has started a worker, it is the
program's child, which hears of its end, and reaps it. Linux makes such a process if it is asked by `clone(2)`; the C
library's `fork` asks for none. What that does beside the system call is done here, or has no meaning where there is one
thread: locks of threads that are gone are opened again, and the thread is told its new number, by the kernel, which is
told its place.

That place is told by the C library to debuggers (`_thread_db_pthread_tid`, since glibc 2.3). Where it isn't found, or
something else stands there, there is no such fork. Handlers of `pthread_atfork` aren't run: OpenBLAS has one, which
ends its threads, where it has any.
"""

import ctypes
import errno
import os
import signal
import sys
from threading import get_native_id

from cloaca.border.birth import PROCESSORS

_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
_FLAGS = _CLONE_PARENT | _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | signal.SIGCHLD


class Siblings:
    """The fork. Raises `OSError` where there is none."""

    def __init__(self) -> None:
        machine = os.uname().machine
        if sys.platform != "linux" or machine not in PROCESSORS or sys.maxsize < 1 << 32:
            raise OSError(errno.ENOSYS, "a sibling can't be forked here")
        library = ctypes.PyDLL(None, use_errno=True)  # which holds the GIL
        self._call = library.syscall
        self._call.restype = ctypes.c_long
        self._call.argtypes = [ctypes.c_long] * 6
        place = _place_of_thread_number(library)
        last = (place, 0) if machine == "x86_64" else (0, place)  # as the kernel has them there
        self._arguments = PROCESSORS[machine], _FLAGS, 0, 0, *last

    def fork(self) -> int:
        """As `os.fork`: returns 0 in the sibling, and its process id here."""
        sys.audit("os.fork")
        api = ctypes.pythonapi
        api.PyOS_BeforeFork()
        pid: int = self._call(*self._arguments)
        number = ctypes.get_errno()
        if pid == 0:
            api.PyOS_AfterFork_Child()
            return 0
        api.PyOS_AfterFork_Parent()
        if pid < 0:
            raise OSError(number, os.strerror(number))
        return pid


def _place_of_thread_number(library: ctypes.PyDLL) -> int:
    """Where the C library keeps the number of this thread."""
    library.pthread_self.restype = ctypes.c_size_t
    try:
        bits, _, offset = (ctypes.c_uint32 * 3).in_dll(library, "_thread_db_pthread_tid")
    except ValueError:
        bits = offset = 0
    place: int = library.pthread_self() + offset
    if bits != 32 or ctypes.c_int32.from_address(place).value != get_native_id():  # noqa: PLR2004 - of an int
        raise OSError(errno.ENOSYS, "where a thread's number is kept isn't known")
    return place
