"""Nursery: a process beside the program that has loaded what workers consist of, and from which they are forked.

A fresh interpreter takes a tenth of a second of a core to become a worker; a fork takes two thousandths, and has most
of its memory in common with the others. The program itself is never forked: it has threads, locks and what not.

    program --- start ------------------------> nursery       a fresh interpreter; it loads, and waits
            <-------------- fit ---------------
            --- a worker's descriptors ------->               forks
            <-------------- born --------------  the worker   with a descriptor that tells its end
            <-------------- ended -------------               how: only its parent hears that

What is forked would be what a fresh interpreter would be. Where it would not (the program's environment, limits or
output have changed since), where there is no nursery (the system isn't Linux, or has no pidfd) or it isn't fit, where
it isn't ready in time or doesn't answer, workers are fresh interpreters. Nobody need know of that.
"""

import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from select import POLLIN, poll
from socket import AF_UNIX, MSG_CMSG_CLOEXEC, SOCK_SEQPACKET, recv_fds, send_fds, socketpair
from subprocess import TimeoutExpired
from time import monotonic

from cloaca.border import birth
from cloaca.border.birth import LOAD, TOLD, WANTED
from cloaca.border.inheritance import legacy
from cloaca.pickling.modules import is_installed
from cloaca.pool.ending import Ending
from cloaca.pool.launch import launch_nursery, wait_later
from cloaca.wire.messages import Surroundings

LOADING_SECONDS = 5.0
"""How long to wait for a nursery before the first workers are started without it."""

ANSWER_SECONDS = 10.0
"""How long it may take to answer. It does nothing else: its memory is fetched from a disk, or something holds it."""

LOOK_SECONDS = 0.1
"""How often to look meanwhile whether somebody has stopped it."""


_PRELOADED = "numpy", "scipy", "pandas"
"""What takes long to load, and leaves neither threads nor files behind where native thread pools have one thread."""

_STOPPED = frozenset("Tt")
_THREADS = b"OPENBLAS_NUM_THREADS"


def preloadable(blobs: Iterable[bytes]) -> Iterator[str]:
    """The modules that these mention, and that are worth loading before workers are forked: the program has them."""
    loaded = [name for name in _PRELOADED if (module := sys.modules.get(name)) and is_installed(module)]
    for blob in blobs if loaded else ():
        yield from (name for name in loaded if name.encode() in blob)


class NurseryLostError(OSError):
    """It has ended, or doesn't answer."""


class Nursery:
    """The program's end of it. Raises `OSError` where there can't be one."""

    def __init__(self, surroundings: Surroundings) -> None:
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            raise OSError(errno.ENOSYS, "workers can't be forked here")
        self.is_lost = False
        self._loading = 1  # what it consists of, and what it was told to load: so often it will say that it is fit
        self._modules: set[str] = set()
        self.due = monotonic() + LOADING_SECONDS
        self._environment = surroundings.environment
        self._legacy = legacy()
        self._codes: dict[int, int | None] = {}
        self._held: set[int] = set()
        self._born: list[Nursling] = []
        self._refused: list[int] = []
        with ExitStack() as undo, ExitStack() as theirs:
            os.close(os.pidfd_open(os.getpid()))
            self._socket, socket = socketpair(AF_UNIX, SOCK_SEQPACKET)
            undo.callback(self._socket.close)
            theirs.callback(socket.close)
            lifeline, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            theirs.callback(os.close, lifeline)
            self._socket.setblocking(False)  # noqa: FBT003 - the argument's only form
            self._socket.send(b"\0".join(surroundings.path))
            self._process = launch_nursery((socket.fileno(), lifeline), surroundings)
            undo.pop_all()

    @property
    def descriptor(self) -> int:
        """It becomes readable when there is something to hear."""
        return self._socket.fileno()

    @property
    def is_loading(self) -> bool:
        """Whether workers are worth waiting for that it will be able to fork."""
        return self._loading > 0 and not self.is_lost and monotonic() < self.due

    def suits(self, surroundings: Surroundings) -> bool:
        """Whether what it forks now is what a fresh interpreter would be."""
        if self._loading or self.is_lost or self._environment != surroundings.environment:
            return False
        try:
            return self._legacy == legacy()
        except OSError:
            return False

    def load(self, names: Iterable[str]) -> None:
        """Have these modules loaded before anything more is forked, if that wasn't done, and if it may be done here."""
        new = {*names} - self._modules
        if self.is_lost or not new or self._environment.get(_THREADS) != b"1":
            return
        self._modules.update(new)
        try:
            self._socket.send(LOAD + " ".join(sorted(new)).encode())
        except OSError:
            self._lost()
            return
        self._loading += 1
        self.due = monotonic() + LOADING_SECONDS

    def hear(self) -> None:
        """Take in all that it has told."""
        with suppress(BlockingIOError):
            while not self.is_lost:
                self._take()

    def fork(self, number: int, descriptors: tuple[int, ...], initializer: int) -> "Nursling":
        """Have the worker of that number forked, with these descriptors. Raises `OSError` where that can't be done."""
        self._refused.clear()
        try:
            send_fds(self._socket, [WANTED.pack(number, initializer)], descriptors)
        except OSError as error:
            raise self._lost() from error
        deadline = monotonic() + ANSWER_SECONDS
        while not self._born:
            if self._refused:
                number = self._refused.pop()
                raise OSError(number, os.strerror(number))
            if self.is_lost or not self._hears_by(deadline):
                raise self._lost()
        return self._born.pop()

    def code_of(self, pid: int) -> int | None:
        """How a worker has ended that it has forked, and that has; `None` where nobody can tell any more.

        Raises `TimeoutExpired` where a debugger keeps what is left of it.
        """
        self.hear()
        deadline = monotonic() + ANSWER_SECONDS
        while self._codes[pid] is None and not self.is_lost:
            if pid in self._held:
                raise TimeoutExpired("worker", 0)
            if not self._hears_by(deadline):
                self._lost()
        return self._codes.pop(pid)

    def close(self) -> None:
        """Let it end. It has nothing to do any more."""
        self._end()
        self.abandon()
        try:
            self._process.wait(ANSWER_SECONDS)
        except TimeoutExpired:  # the kernel or a debugger holds it
            wait_later(self._process)

    def abandon(self) -> None:
        """Give up every descriptor. Idempotent."""
        self.is_lost = True
        self._socket.close()
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def _lost(self) -> NurseryLostError:
        self.is_lost = True
        self._end()
        return NurseryLostError("the process from which workers are forked doesn't answer")

    def _end(self) -> None:
        """End it, and what it has just forked and isn't born: those that are have groups of their own."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _hears_by(self, deadline: float) -> bool:
        """Take in what it tells next, by then, unless it stands still."""
        waiting = poll()
        waiting.register(self._socket, POLLIN)
        while not waiting.poll(LOOK_SECONDS * 1000):
            if monotonic() >= deadline or Ending(self._process.pid, self.descriptor).state in _STOPPED:
                return False
        with suppress(BlockingIOError):
            self._take()
        return True

    def _take(self) -> None:
        """Take in one of the things that it has told."""
        try:
            told, descriptors, _, _ = recv_fds(self._socket, TOLD.size, 1, MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            raise
        except OSError:
            told, descriptors = b"", []
        if len(told) < TOLD.size:
            self.is_lost = True
            return
        what, number, how = TOLD.unpack(told)
        match what:
            case birth.FIT:
                self._loading -= 1
            case birth.BORN:
                self._take_in(number, descriptors)
            case birth.REFUSED:
                self._refused.append(number)
            case birth.HELD:
                self._held.add(number)
            case birth.ENDED if number in self._codes:
                self._codes[number] = os.waitstatus_to_exitcode(how)
                self._held.discard(number)
            case _:
                self._refused.append(errno.EAGAIN)  # it has ended before it could say anything

    def _take_in(self, pid: int, descriptors: list[int]) -> None:
        if descriptors:
            self._codes[pid] = None
            self._born.append(Nursling(self, pid, descriptors[0]))
            return
        self._refused.append(errno.EMFILE)  # there was no place for its descriptor
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Nursling(Ending):
    """A worker that a nursery has forked. What its parent hears of its end is passed on."""

    is_untold = False
    untold = "how isn't known, as the process has ended, too, from which it was forked (cloaca-nursery)"

    def __init__(self, nursery: Nursery, pid: int, descriptor: int) -> None:
        super().__init__(pid, descriptor)
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def wait(self, timeout: float) -> None:
        """See to it that nothing is left of it, if it ends within so many seconds; else raise `TimeoutExpired`."""
        if self.returncode is None and not self.is_untold:
            if not self.comes_within(timeout):
                raise TimeoutExpired("worker", timeout)
            self.returncode = self._nursery.code_of(self.pid)
            self.is_untold = self.returncode is None

    def has_stopped(self) -> bool:
        """Whether the process, which was sent SIGSTOP, stands still, or has ended."""
        try:
            return all(self._state_of(thread) in "TtZX" for thread in os.listdir(f"/proc/{self.pid}/task"))
        except OSError:
            return True

    def _state_of(self, thread: str) -> str:
        with open(f"/proc/{self.pid}/task/{thread}/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2][:1].decode()
