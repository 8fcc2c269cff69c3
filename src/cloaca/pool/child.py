"""Child: a process that the program has to take leave of, whoever has started it."""

import os
import signal
from contextlib import suppress
from threading import Lock, Thread


class ChildProcess:
    """A child process of this one. `returncode`: its exit code, or minus the signal that ended it, once it was reaped.

    Its end may have been told to somebody else (`is_untold`), and then the code is 0.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.is_untold = False
        self._lock = Lock()  # a process id is waited for once: later it may be another's

    def wait(self) -> None:
        """Wait for its end, and reap it."""
        with self._lock:
            self._reap(0)

    def is_reaped(self) -> bool:
        """Whether nothing is left of it any more. Something is as long as it hasn't ended, or a debugger keeps it."""
        if self._lock.acquire(blocking=False):
            try:
                self._reap(os.WNOHANG)
            finally:
                self._lock.release()
        return self.returncode is not None

    def discard(self) -> None:
        """End it, which has just been started."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait_later()

    def wait_later(self) -> None:
        """See to it that nothing is left of it when it ends, without waiting for that."""
        with suppress(RuntimeError):  # no thread can be started: it stays a zombie until the program ends
            Thread(target=self.wait, daemon=True, name="cloaca exit watch").start()

    def _reap(self, options: int) -> None:
        if self.returncode is not None:
            return
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:
            self.is_untold, self.returncode = True, 0
            return
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)
