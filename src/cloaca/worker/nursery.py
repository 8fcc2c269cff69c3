"""The nursery's side: a process that has loaded what workers consist of, and forks one whenever it is asked to.

It is a fresh interpreter, has one thread, runs nothing of the user's, and holds nothing but its connection: so what is
forked from it is what a fresh interpreter would be that has loaded the same. If it has anything more (what Python runs
at its start may leave a thread or a file behind) it is unfit, and says nothing: its end does.

A worker says itself that it is born, once it is a session of its own: what is done to its process group before that
would miss it. How it ended is told here, as only its parent hears of it. The nursery ends with its connection, or with
the program (see `cloaca.border.lifeline`); workers have life-lines of their own, and outlive it.
"""

import gc
import os
import signal
import sys
from importlib import import_module
from select import POLLIN, poll
from socket import MSG_CMSG_CLOEXEC, MSG_WAITALL, recv_fds, send_fds, socket
from typing import NamedTuple, NoReturn
from warnings import catch_warnings

from cloaca.attempts.nesting import become_worker
from cloaca.border import inheritance, lifeline, naming
from cloaca.border.birth import BORN, DESCRIPTORS, ENDED, FIT, HELD, LOAD, LONGEST, REFUSED, TOLD, WANTED
from cloaca.worker import worker

_DESCRIPTORS = 5
"""How many descriptors it has: the standard streams, its connection and its life-line."""

_HELD_MILLISECONDS = 50
"""How often to look whether a debugger has let go of what is left of a worker."""


def main(connection: socket, lifeline_descriptor: int) -> NoReturn:
    """Serve until the connection is closed. What is forked meanwhile gets here, too, and is a worker from then on."""
    become_worker()
    lifeline.follow(lifeline_descriptor)
    inheritance.become_new()
    naming.show(naming.NURSERY)
    connection.set_inheritable(False)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()  # or each worker would write what Python's start has left there
    coordinator = os.getppid()
    try:
        wanted = _Parent(connection, lifeline_descriptor).serve()
    except OSError:  # the program has gone, or there is no room for a worker to begin
        os._exit(1)
    if wanted is not None:
        _live(wanted, coordinator)
    os._exit(0)


def _is_alone() -> bool:
    """Whether this process has one thread."""
    return len(os.listdir("/proc/self/task")) == 1


def _counts(descriptor: int) -> bool:
    """Whether it is more than the one with which they were listed, or that of a library: it is mapped, not read."""
    try:
        return ".so" not in os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:
        return False


def _tell(connection: socket, what: int, number: int = 0, how: int = 0) -> None:
    connection.sendall(TOLD.pack(what, number, how))


class _Birth(NamedTuple):
    """A worker that is asked for."""

    number: int
    initializer: int
    descriptors: list[int]


def _live(wanted: _Birth, coordinator: int) -> NoReturn:
    """Be that worker, of the program with that process id. What it reads first is where it finds modules."""
    try:
        program = socket(fileno=wanted.descriptors[0])
        size = int.from_bytes(program.recv(8, MSG_WAITALL), "little")
        sys.path[:] = program.recv(size, MSG_WAITALL).decode("utf-8", "surrogatepass").split("\0")
        sys.path_importer_cache.clear()
        naming.show_headline(naming.name_of(wanted.number), coordinator)
        lifeline_descriptor, mark, permits = wanted.descriptors[1:]
        worker.main(program, lifeline_descriptor, mark, permits, wanted.initializer, wanted.number)
    except BaseException as error:  # noqa: BLE001 - what ends an interpreter is shown; nothing else of the nursery's is done
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(1)


class _Parent:
    """The workers that were forked and live, by descriptors that tell their ends."""

    def __init__(self, connection: socket, lifeline_descriptor: int) -> None:
        self._connection = connection
        self._lifeline = lifeline_descriptor
        self._poll = poll()
        self._poll.register(connection, POLLIN)
        self._own = {0, 1, 2, connection.fileno(), lifeline_descriptor}
        self._living: dict[int, int] = {}
        self._held: list[int] = []

    def serve(self) -> _Birth | None:
        """Fork what is asked for, and tell how it ends. Returns in each that was forked; here at the end."""
        if not self._is_fit():
            return None
        while True:
            for descriptor, _ in self._poll.poll(_HELD_MILLISECONDS if self._held else None):
                if descriptor in self._living:
                    self._take_leave(descriptor)
                    continue
                wanted = self._hear()
                if wanted is False:
                    return None
                if isinstance(wanted, _Birth) and self._has_forked(wanted):
                    return wanted
            self._held = [pid for pid in self._held if not self._is_reaped(pid)]

    def _hear(self) -> _Birth | bool:
        """What is asked for; whether anything more may be."""
        try:
            told, descriptors, _, _ = recv_fds(self._connection, LONGEST, DESCRIPTORS, MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        if told.startswith(LOAD):
            return self._loads(told.removeprefix(LOAD).decode().split())
        if len(told) < WANTED.size or len(descriptors) < DESCRIPTORS or not _is_alone():
            return False
        number, initializer = WANTED.unpack(told)
        return _Birth(number, initializer, descriptors)

    def _loads(self, names: list[str]) -> bool:
        """Load modules: what they warn of, the program was told when it loaded them."""
        collects = gc.isenabled()
        gc.disable()  # what is loaded stays
        try:
            with catch_warnings(action="ignore"):
                for name in names:
                    import_module(name)
        except Exception:  # noqa: BLE001 - whatever it is, workers meet it, and tell of it, where the module is needed
            return False
        if collects:
            gc.enable()
        return self._is_fit()

    def _is_fit(self) -> bool:
        if not _is_alone() or len(self._own) < _DESCRIPTORS or self._descriptors() != self._own:
            return False  # also where standard streams are closed: what a worker is given would take their places
        gc.freeze()  # to look for garbage among what all workers share would copy it
        _tell(self._connection, FIT)
        return True

    def _descriptors(self) -> set[int]:
        """All but those of workers, and the one with which they are listed."""
        listed = map(int, os.listdir("/proc/self/fd"))
        return {descriptor for descriptor in listed if descriptor not in self._living and _counts(descriptor)}

    def _has_forked(self, wanted: _Birth) -> bool:
        """Whether this is what was forked."""
        try:
            pid = os.fork()
        except OSError as error:
            _tell(self._connection, REFUSED, error.errno or 0)
        else:
            if not pid:
                self._begin()
                return True
            self._watch(pid)
        for descriptor in wanted.descriptors:
            os.close(descriptor)
        return False

    def _begin(self) -> None:
        """Be none of this, and say so."""
        os.setsid()
        for descriptor in (self._lifeline, *self._living):
            os.close(descriptor)
        ending = os.pidfd_open(os.getpid())
        send_fds(self._connection, [TOLD.pack(BORN, os.getpid(), 0)], [ending])
        os.close(ending)
        self._connection.close()

    def _watch(self, pid: int) -> None:
        try:
            ending = os.pidfd_open(pid)
        except OSError:  # no descriptor is left for it
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            _tell(self._connection, ENDED, pid, status)
            return
        self._living[ending] = pid
        self._poll.register(ending, POLLIN)

    def _take_leave(self, descriptor: int) -> None:
        pid = self._living.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        if not self._is_reaped(pid):
            self._held.append(pid)
            _tell(self._connection, HELD, pid)

    def _is_reaped(self, pid: int) -> bool:
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped:
            _tell(self._connection, ENDED, pid, status)
        return bool(reaped)
