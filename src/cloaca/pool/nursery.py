"""Nursery: a process beside the program that has loaded what workers consist of, and from which they are forked.

A fresh interpreter takes a tenth of a second of a core to become a worker; a fork takes two thousandths, and has most
of its memory in common with the others. The program itself is never forked: it has threads, locks and what not.

    program --- start ------------------------> nursery       a fresh interpreter; it loads, and waits
            <-------------- fit ---------------
            --- a worker's descriptors ------->               forks
            <-------------- born --------------  the worker   a child of the program

What is forked would be what a fresh interpreter would be. Where it would not (the program's environment, limits or
output have changed since), where there is no nursery (the system isn't Linux, or has no pidfd) or it isn't fit, where
it isn't ready in time or doesn't answer, workers are fresh interpreters. Nobody need know of that.
"""

import errno
import os
import signal
import sys
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from select import POLLIN, poll
from socket import AF_UNIX, SOCK_SEQPACKET, send_fds, socketpair
from time import monotonic

from cloaca.border.birth import BORN, FIT, LOAD, PROCESSORS, REFUSED, TOLD, WANTED
from cloaca.border.inheritance import legacy
from cloaca.pool.child import ChildProcess
from cloaca.pool.ending import Ending
from cloaca.pool.launch import launch_nursery
from cloaca.wire.shortage import passes

LOADING_SECONDS = 5.0
"""How long to wait for a nursery before the first workers are started without it."""

ANSWER_SECONDS = 10.0
"""How long it may take to answer. It does nothing else: its memory is fetched from a disk, or something holds it."""

LOOK_SECONDS = 0.1
"""How often to look meanwhile whether somebody has stopped it."""

LEAST_WORKERS = 2
"""From how many workers on there is a nursery. One alone is started as quickly."""

_DYING_SECONDS = 1.0
_STOPPED = frozenset("Tt")
_THREADS = b"OPENBLAS_NUM_THREADS"
_nurseries: "weakref.WeakSet[Nursery]" = weakref.WeakSet()


class NurseryLostError(OSError):
    """It has ended, or doesn't answer."""


def nursery_of(workers: int, environment: Mapping[bytes, bytes], path: Sequence[bytes]) -> "Nursery | None":
    """One for so many workers, where there can be one."""
    if workers >= LEAST_WORKERS:
        with suppress(OSError):
            return Nursery(environment, path)
    return None


class Nursery:
    """The program's end of one that has this environment, and finds modules on that path.

    Raises `OSError` where there can't be one.
    """

    def __init__(self, environment: Mapping[bytes, bytes], path: Sequence[bytes]) -> None:
        if not _has_what_it_takes():
            raise OSError(errno.ENOSYS, "workers can't be forked here")
        self.is_lost = False
        self._loading = 1  # what it consists of, and what it was told to load: so often it will say that it is fit
        self._modules: set[str] = set()
        self.due = monotonic() + LOADING_SECONDS
        self._environment = environment
        self._legacy = legacy()
        with ExitStack() as undo, ExitStack() as theirs:
            self._socket, socket = socketpair(AF_UNIX, SOCK_SEQPACKET)
            undo.callback(self._socket.close)
            theirs.callback(socket.close)
            lifeline, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            theirs.callback(os.close, lifeline)
            self._socket.setblocking(False)  # noqa: FBT003 - the argument's only form
            self._socket.send(b"\0".join(path))
            self._process = launch_nursery((socket.fileno(), lifeline), environment)
            undo.callback(self._process.discard)
            self._ending = Ending(self._process.pid, os.pidfd_open(self._process.pid))
            undo.pop_all()
        _nurseries.add(self)

    @property
    def descriptor(self) -> int:
        """It becomes readable when there is something to hear."""
        return self._socket.fileno()

    @property
    def is_loading(self) -> bool:
        """Whether workers are worth waiting for that it will be able to fork."""
        return self._loading > 0 and not self.is_lost and monotonic() < self.due

    def suits(self, environment: Mapping[bytes, bytes]) -> bool:
        """Whether what it forks now is what a fresh interpreter would be."""
        if self._loading or self.is_lost or self._environment != environment:
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
            while self._receive():
                pass

    def fork(self, number: int, descriptors: tuple[int, ...], initializer: int) -> ChildProcess:
        """Have the worker of that number forked, with these descriptors. Raises `OSError` where that can't be done."""
        try:
            send_fds(self._socket, [WANTED.pack(number, initializer)], descriptors)
        except OSError as error:
            raise self._lost() from error
        child: ChildProcess | None = None
        deadline = monotonic() + ANSWER_SECONDS
        while told := self._hear_by(deadline, child):
            what, worker, found = told
            if worker != number:
                continue
            if what == REFUSED:
                raise self._refusal(found)
            child = child or ChildProcess(found)
            if what == BORN:
                return child
        if child is not None and child.returncode is not None:
            raise OSError(errno.EAGAIN, "a worker has ended before it was one")
        if child is not None:
            child.discard()
        raise self._lost()

    def close(self) -> None:
        """Let it end, and nothing be left of it. Idempotent; a finalizer may call it."""
        if self._lifeline >= 0:
            self._end()
            if not self._ending.comes_within(_DYING_SECONDS) or not self._process.is_reaped():
                self._process.wait_later()  # the kernel or a debugger holds it
            self.abandon()

    def abandon(self) -> None:
        """Give up every descriptor. Idempotent."""
        self.is_lost = True
        self._socket.close()
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)
            os.close(self._ending.descriptor)

    def _refusal(self, number: int) -> OSError:
        error = OSError(number, os.strerror(number))
        return error if passes(error) else self._lost()

    def _lost(self) -> NurseryLostError:
        self.is_lost = True
        self._end()
        return NurseryLostError("the process from which workers are forked doesn't answer")

    def _end(self) -> None:
        """End it, and what it has just forked and isn't born: those that are have groups of their own."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _hear_by(self, deadline: float, child: ChildProcess | None) -> tuple[int, int, int] | None:
        """What it tells next, by then, unless it has ended or stands still, or what it has forked has ended."""
        waiting = poll()
        waiting.register(self._socket, POLLIN)
        while not waiting.poll(LOOK_SECONDS * 1000):
            if monotonic() >= deadline or self._ending.state in _STOPPED:
                return None
            if child is not None and child.is_reaped():
                return None
        return self._receive()

    def _receive(self) -> tuple[int, int, int] | None:
        """The next of the things that it has told; `None` at the end of them."""
        try:
            told = self._socket.recv(TOLD.size)
        except BlockingIOError:
            raise
        except OSError:
            told = b""
        if len(told) < TOLD.size:
            self.is_lost = True
            return None
        what, worker, found = TOLD.unpack(told)
        self._loading -= what == FIT
        return what, worker, found


def _has_what_it_takes() -> bool:
    """Whether this is Linux with glibc, on a processor that is known: elsewhere a nursery would start in vain."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open") or os.uname().machine not in PROCESSORS:
        return False
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):
        return False


def _abandon_all() -> None:
    for nursery in list(_nurseries):
        nursery.abandon()


os.register_at_fork(after_in_child=_abandon_all)
