"""Ending: how the coordinator learns that a worker's process has ended, or that it stands still.

On Linux a pidfd tells the one and `waitid` the other, and both leave it to be reaped. Where there is no pidfd (macOS,
old kernels, sandboxes that refuse it) a thread for each worker waits for its end, and reaps it: so nothing else may
wait for it, and that it stands still is asked of the system's list of processes.

Nothing here waits without a limit: a process may be in a system call that nothing interrupts, or held by a debugger,
and then neither stops nor ends when it is told to.
"""

import errno
import os
from contextlib import suppress
from select import POLLIN, poll
from threading import Thread

from cloaca.pool.child import ChildProcess

_REFUSED = frozenset({errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL})


class Ending:
    """The end of one process, as the kernel tells it. `descriptor` becomes readable with it."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid = pid
        self.descriptor = descriptor

    def comes_within(self, timeout: float) -> bool:
        """Wait for it, for at most `timeout` seconds."""
        waiting = poll()
        waiting.register(self.descriptor, POLLIN)
        return bool(waiting.poll(timeout * 1000))

    def has_stopped(self) -> bool:
        """Whether the process, which was sent SIGSTOP, stands still, or has ended."""
        try:
            return os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        except ChildProcessError:
            return True

    @property
    def state(self) -> str:
        """What the process does, by the letter that the kernel has for it (see proc(5)); "?" where it doesn't tell."""
        try:
            with open(f"/proc/{self._pid}/stat", "rb") as stat:
                return stat.read().rpartition(b") ")[2][:1].decode()
        except OSError:
            return "?"


class _WaitedFor(Ending):
    """The end of one process, as a thread tells it that waits for it."""

    def __init__(self, process: ChildProcess) -> None:
        readable, writable = os.pipe()
        super().__init__(process.pid, readable)
        try:
            Thread(target=_wait, args=(process, writable), daemon=True, name="cloaca exit watch").start()
        except RuntimeError as error:  # there is no room for another thread
            os.close(readable)
            os.close(writable)
            raise OSError(errno.EAGAIN, str(error)) from error

    def has_stopped(self) -> bool:
        import psutil

        try:
            return psutil.Process(self._pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
        except (psutil.Error, OSError):
            return False  # that can't be told


def ending_of(process: ChildProcess) -> Ending:
    """The end of a process that this one has started."""
    try:
        return Ending(process.pid, os.pidfd_open(process.pid))
    except AttributeError:
        return _WaitedFor(process)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return _WaitedFor(process)


def _wait(process: ChildProcess, writable: int) -> None:
    process.wait()
    with suppress(BrokenPipeError):  # the coordinator has waited for it, too, and has taken leave of it
        os.write(writable, b"\0")  # to close it wouldn't do where a forked child of the program holds it open
    os.close(writable)
