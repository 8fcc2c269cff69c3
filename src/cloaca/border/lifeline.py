"""The life-line: a pipe that tells a worker that its coordinator is gone, whatever way it went.

The coordinator holds the writing end, and nobody else does. When it dies, the kernel closes that end, and on Linux
sends the signal that the worker asked for (`F_SETSIG`): SIGKILL, so that it works within a millisecond, in the middle
of a C call that holds the GIL too. A thread that watches the pipe would wait for the GIL, and the parent-death signal
of Linux is tied to the thread that started the worker. Elsewhere a watching thread is all there is.
"""

import fcntl
import os
import signal
import sys
from threading import Thread

_F_SETSIG = 10  # of Linux; the fcntl module doesn't name it before Python 3.13


def follow(descriptor: int) -> None:
    """Tie this process to the writing end of the pipe whose reading end is `descriptor`."""
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the argument's only form
    if sys.platform == "linux" and _is_signalled(descriptor):
        _leave_if_gone(descriptor)
    else:
        Thread(target=_watch, args=(descriptor,), daemon=True, name="cloaca life-line").start()


def _is_signalled(descriptor: int) -> bool:
    """Ask the kernel for the signal; some sandboxes know nothing of it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())  # what the tasks started goes along
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    except OSError:
        return False
    return True


def _leave_if_gone(descriptor: int) -> None:
    """The coordinator may have gone before the signal was asked for: then the pipe is at its end already."""
    try:
        os.read(descriptor, 1)
    except BlockingIOError:
        return
    os._exit(1)


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)
